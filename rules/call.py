"""What policy sees of one call: where it came from and which numbers it presents.

Nothing here knows SIP syntax: the proxy's `intake` (or the HTTP face, or a library user) takes header values apart and hands the pieces over.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from rules.numbers import Number, normalise

TrunkKind = Literal["enterprise", "interconnect", "international", "core"]
Mode = Literal["enforce", "observe"]


class Trunk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ingress trunk as the operator configured it: a `[[trunk]]` table of sipwarden.toml."""

    id: str
    kind: TrunkKind
    customer: str = ""
    sources: tuple[str, ...] = ()
    tls_identity: str | None = None
    home_area: str | None = None
    next_hop: str | None = None
    mode: Mode = "enforce"
    deliver: str | None = None
    reject_profile: str = "default"
    forwarding: Literal["deny", "mark", "correlated"] = "correlated"
    suspended: bool = False
    owner: str = ""
    location: str = ""
    from_number: Literal["authenticate", "ignore"] = "authenticate"
    rpid_as_pai: bool = False
    hidden: Literal["reject", "strip"] = "reject"
    trunk0: Literal["mark", "reject"] = "mark"
    satellite: bool = False
    voicemail: tuple[str, ...] = ()
    iot_voice: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("OPTIONS",)
    max_cps: float | None = None
    max_calls: int | None = None
    emergency_cps: float = 10.0
    cli_format: Literal["e164", "cc"] = "e164"
    unverified: Literal["withhold", "mark", "reject"] = "withhold"
    roaming_failure: Literal["reject", "withhold", "mark"] = "reject"
    own_number: Literal["reject", "mark"] = "reject"


NO_TRUNK: Final = Trunk(id="", kind="interconnect")
"""Stands for the ingress of a call whose source matches no trunk (TRK_UNKNOWN)."""


class Source:
    """Where a message came from: address (text, IPv6 without brackets), port, transport in lower case, identity of a TLS peer."""

    __slots__ = ("address", "port", "tls_identity", "transport")

    def __init__(self, address: str, port: int, transport: str = "udp", tls_identity: str | None = None) -> None:
        self.address = address
        self.port = port
        self.transport = transport
        self.tls_identity = tls_identity

    def __repr__(self) -> str:
        return f"{self.transport}:[{self.address}]:{self.port}" if ":" in self.address else f"{self.transport}:{self.address}:{self.port}"


class Call:
    """One initial INVITE (or one `/v1/decide` request), numbers normalised.

    `sender` is From's URI, `to` the Request-URI, `pai` each P-Asserted-Identity URI in order (Remote-Party-ID already added where the trunk
    counts it); URIs may also be bare numbers. `privacy` holds Privacy's values in lower case. `at` is Unix time in seconds.
    `anonymous` is worked out from From's URI. What numbers.md calls "which header carries the calling number" is decided here:

    `presented`  every number that must be authenticated, PAI before From;
    `caller`     the first of them, or the irregular Number that stands where it should be (code CLI_EMPTY or CLI_ANON when there is none).
    """

    __slots__ = (
        "anonymous",
        "answers",
        "at",
        "call_id",
        "called",
        "caller",
        "diversion",
        "from_number",
        "history_info",
        "identity",
        "labels",
        "marks",
        "pai_numbers",
        "position",
        "presented",
        "privacy",
        "sender",
        "source",
        "state",
        "to",
        "trunk",
    )

    def __init__(
        self,
        trunk: Trunk,
        sender: str,
        to: str,
        *,
        at: float,
        source: Source | None = None,
        pai: tuple[str, ...] = (),
        diversion: tuple[str, ...] = (),
        history_info: tuple[str, ...] = (),
        privacy: tuple[str, ...] = (),
        identity: tuple[str, ...] = (),
        call_id: str = "",
    ) -> None:
        self.trunk = trunk
        self.sender = sender
        self.to = to
        self.at = at
        self.source = source
        self.diversion = diversion
        self.history_info = history_info
        self.privacy = privacy
        self.identity = identity
        self.call_id = call_id
        area = trunk.home_area
        self.called = normalise(to, area)
        self.from_number = own = normalise(sender, area)
        self.anonymous = own.code == "CLI_ANON"
        self.pai_numbers: tuple[Number, ...] = tuple([normalise(value, area) for value in pai]) if pai else ()
        self.presented: tuple[Number, ...]
        if not self.pai_numbers:
            self.presented = () if own.absent else (own,)
        elif trunk.kind != "enterprise" or own.absent or trunk.from_number == "ignore" or own == self.pai_numbers[0]:
            self.presented = self.pai_numbers
        else:
            self.presented = (*self.pai_numbers, own)
        self.caller = self.presented[0] if self.presented else own
        self.marks: list[str] = []
        self.labels: dict[str, Any] | None = None
        self.answers: dict[tuple[str, str], object] | None = None
        self.position = 0
        self.state: Any = None

    def mark(self, code: str) -> None:
        """Note a reason code once."""
        if code not in self.marks:
            self.marks.append(code)

    def label(self, name: str, value: object) -> None:
        """Set one label that `enforce` or a reader of the verdict acts on (country, withhold, strip_privacy ...)."""
        if self.labels is None:
            self.labels = {}
        self.labels[name] = value
