"""What policy is told in the words of a configuration or of a message: ingress trunks, and the steps of a call's way."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

TrunkKind = Literal["enterprise", "interconnect", "international", "core"]


Mode = Literal["enforce", "observe"]


class Trunk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ingress trunk as the operator configured it: a `[[trunk]]` table of sipwarden.toml."""

    id: str
    kind: TrunkKind
    customer: str = ""
    customers: tuple[str, ...] = ()
    """Several customers behind one trunk, instead of `customer`."""
    customer_header: str | None = None
    """The header field in which the trunk says which of them calls; without one the number tells (see `Call.tell_customer`)."""
    sources: tuple[str, ...] = ()
    tls_identity: str | None = None
    home_area: str | None = None
    next_hop: str | None = None
    mode: Mode = "enforce"
    deliver: str | None = None
    reject_profile: str = "default"
    redress: str = ""
    go_on: Literal["302", "404"] = "302"
    forwarding: Literal["deny", "mark", "correlated"] = "correlated"
    suspended: bool = False
    owner: str = ""
    location: str = ""
    from_number: Literal["authenticate", "ignore"] = "authenticate"
    rpid_as_pai: bool = False
    attest: Literal["B", "C", "none"] | None = None
    """What a signature says of callers that were not authenticated (RFC 8588 §4): B our customer's, C only that they came in here, or no
    signature. None: B on an enterprise trunk, C on interconnect and international ones, none on core.
    """
    origid: str | None = None
    """The UUID that signatures name this trunk by; None: one that stands for its customer, made from the node's secret."""
    hidden: Literal["reject", "strip"] = "reject"
    trunk0: Literal["mark", "reject"] = "mark"
    satellite: bool = False
    voicemail: tuple[str, ...] = ()
    iot_voice: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("OPTIONS",)
    max_cps: float | None = None
    max_calls: int | None = None
    over_limit: Literal["503", "486"] = "503"
    """How calls above these are refused: 503 has the peer try another node of ours, 486 tells the caller that the line is busy."""
    emergency_cps: float = 10.0
    cli_format: Literal["e164", "cc"] = "e164"
    unverified: Literal["withhold", "mark", "reject"] = "withhold"
    roaming_failure: Literal["reject", "withhold", "mark"] = "reject"
    own_number: Literal["reject", "mark"] = "reject"
    identity: Literal["off", "mark", "reject", "require"] = "mark"
    stir_reason: tuple[Literal["responses", "request"], ...] = ()

    @property
    def serves(self) -> tuple[str, ...]:
        """Every customer behind the trunk, "" where it names none."""
        return self.customers or (self.customer,)


NO_TRUNK: Final = Trunk(id="", kind="interconnect")
"""Stands for the ingress of a call whose source matches no trunk (TRK_UNKNOWN)."""


class Diverted(msgspec.Struct, frozen=True):
    """One step of a call's way that History-Info (RFC 7044) tells: `uri` sent it on, for `cause` (RFC 4458; None: not said)."""

    uri: str
    cause: int | None = None
