"""What policy sees of one call: where it came from and which numbers it presents.

Nothing here knows SIP syntax: the proxy's `intake` (or the HTTP face, or a library user) takes header values apart and hands the pieces
over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rules.legs import Legs
from rules.numbers import Number
from rules.numbers.locality import locality
from rules.numbers.normalise import normalise
from rules.trunk import NO_TRUNK as NO_TRUNK
from rules.trunk import Diverted as Diverted
from rules.trunk import Mode as Mode
from rules.trunk import Trunk as Trunk
from rules.trunk import TrunkKind as TrunkKind

if TYPE_CHECKING:
    from rules.directory import Directory, Segment


ABROAD: Final = "abroad"
"""The side of every international trunk: a call that went out by one gateway may come back by another."""

HOPS_READ: Final = 6
"""Diverting numbers of one call that are looked at: more than 5 are refused unread."""

_SHOWN: Final = 64
"""Characters of what a trunk says of its customer that `explain` repeats."""

SERVICE_TRANSLATION: Final = 380
"""A cause (RFC 8119) that forwards nothing: the number of a service was translated to the line that answers it."""


def side_of(trunk: Trunk) -> str | None:
    """Who gets the calls that are delivered toward a trunk, as `Legs` knows it: one name for all trunks of a customer; None for our own
    network. A trunk that several customers share is no customer's until it is known whose call it is (`Call.trunk` then says so).
    """
    if trunk.kind == "core" or not trunk.id:
        return None
    if trunk.kind == "international":
        return ABROAD
    return f"customer {trunk.customer}" if trunk.customer else f"trunk {trunk.id}"


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
    counts it), `diversion` each Diversion URI in header order, so that the first is the most recent (RFC 5806), `hops` how many diversions
    they stand for where that is more (their `counter`), `history_info` what History-Info tells, the most recent first; URIs may also be
    bare numbers. `privacy` holds Privacy's values in lower case, `identity` each Identity header field as it came, `date` Date. `at` is
    Unix time in seconds. `legs` remembers other calls, None where nobody does. `anonymous` is worked out from From's URI. `customer` is
    what the trunk says of whose call it is, where several share it (None: it does not say).

    What numbers.md calls "which header carries the calling number" is decided here:

    `kind`, `trunk_id`  the trunk's: every rule asks for them;
    `presented`  every number that must be authenticated, PAI before From;
    `caller`     the first of them, or the irregular Number that stands where it should be (code CLI_EMPTY or CLI_ANON when there is none).

    On a trunk that several customers share, `tell_customer` finds whose call it is; `trunk` is then the trunk as if it were only that
    customer's ("" where nobody's), and `tenant` is that customer, None on every other trunk.

    An identity that shows no number at all (a user part such as `alice`, or only a domain) is no number presented while another identity
    carries one. On an international trunk whose `cli_format` is "cc" a number without `+` or `00` is read as if `+` stood before it.
    """

    __slots__ = (
        "_diverted",
        "_forwarders",
        "_forwards",
        "_permitted",
        "anonymous",
        "answers",
        "at",
        "call_id",
        "called",
        "caller",
        "date",
        "diversion",
        "from_number",
        "history_info",
        "hops",
        "identity",
        "instead",
        "kind",
        "labels",
        "legs",
        "marks",
        "pai_numbers",
        "presented",
        "privacy",
        "proven",
        "said_customer",
        "sender",
        "source",
        "state",
        "tenant",
        "to",
        "told_by",
        "trunk",
        "trunk_id",
        "weightless",
        "why",
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
        hops: int = 0,
        history_info: tuple[Diverted, ...] = (),
        privacy: tuple[str, ...] = (),
        identity: tuple[str, ...] = (),
        date: str = "",
        call_id: str = "",
        legs: Legs | None = None,
        customer: str | None = None,
    ) -> None:
        self.trunk = trunk
        self.trunk_id: str = trunk.id
        kind = trunk.kind
        self.kind: TrunkKind = kind
        self.sender = sender
        self.to = to
        self.at = at
        self.source = source
        self.diversion = diversion
        self.hops = hops
        self.history_info = history_info
        self.privacy = privacy
        self.identity = identity
        self.date = date
        self.call_id = call_id
        self.legs = legs
        self.said_customer = customer
        self.tenant: str | None = None
        area = trunk.home_area
        read = _read_country_code if kind == "international" and trunk.cli_format == "cc" else normalise
        self.called = normalise(to, area)
        self.from_number = own = read(sender, area)
        self.anonymous = own.code == "CLI_ANON"
        if not pai:
            self.pai_numbers: tuple[Number, ...] = ()
            self.presented: tuple[Number, ...] = () if own.absent else (own,)
            self.caller = own
        else:
            shown: tuple[Number, ...]
            if len(pai) == 1:
                first = own if pai[0] == sender else read(pai[0], area)
                self.pai_numbers = (first,)
                shown = self.pai_numbers if first.canonical is not None or shows_number(first) else ()
            else:
                self.pai_numbers = tuple([read(value, area) for value in pai])
                first = self.pai_numbers[0]
                shown = tuple([number for number in self.pai_numbers if shows_number(number)])
            if not shown and not shows_number(own):
                shown = tuple([number for number in (*self.pai_numbers, own) if not number.absent][:1])
            elif not shown:
                shown = (own,)  # as if PAI were absent
            elif kind == "enterprise" and trunk.from_number == "authenticate" and not presents(shown, own) and shows_number(own):
                shown = (*shown, own)
            self.presented = shown
            self.caller = shown[0] if shown else own
        self.weightless: tuple[str, ...] = ()
        self.marks: list[str] = []
        self.labels: dict[str, Any] | None = None
        self.answers: dict[tuple[str, str], object] | None = None
        self.state: Any = None  # a RuleSet's own note of where the chain stands while a Lookup is out
        self.why: list[str] | None = None  # `explain` puts a list here, and rules then say which value decided
        self.instead: Number | None = None  # rule `forwarding`: the number that is authenticated in place of those presented
        self.proven = False  # and whether the call that it forwards was seen
        self._forwarders: tuple[Number, ...] | None = None
        self._forwards: list[Diverted] | None = None
        self._diverted: tuple[Number, ...] | None = None
        self._permitted: bool | None = None

    @property
    def customer(self) -> str:
        """Whose call it is: the trunk's customer, or the one that was told; "" where that is nobody."""
        return self.trunk.customer

    def tell_customer(self, directory: Directory) -> None:
        """Find whose call it is, on a trunk with `customers`: whom the trunk names, or, where it names nobody and has no
        `customer_header`, whose segment has the number.

        By number the last diverting number tells where it is in a segment of the trunk (its customer sends the call, whoever called it),
        else the first number presented that is.
        """
        trunk = self.trunk
        said = self.said_customer
        customer = ""
        self.told_by: Number | None = None
        if said is not None or trunk.customer_header is not None:
            if said is not None and directory.serves(trunk.id, said):
                customer = said
        else:
            diverting = self.diverting
            for number in self.presented if diverting is None else (diverting, *self.presented):
                segment = directory.segment(number, trunk.id, self.at)
                if segment is not None:
                    customer = segment.customer
                    self.told_by = number
                    break
        self.trunk = msgspec.structs.replace(trunk, customer=customer)
        self.tenant = customer

    @property
    def told(self) -> str:
        """How the customer was told, in words; "" where the trunk has only one."""
        trunk = self.trunk
        if self.tenant is None:
            return ""
        header = trunk.customer_header
        if self.said_customer is None and header is None:
            if self.told_by is None:
                return f"no number of the call is in a segment of {trunk.id}, so it is nobody's"
            return f"a call of {trunk.customer} by its number {self.told_by.canonical}"
        said = "it is not said whose call it is" if self.said_customer is None else f"{self.said_customer[:_SHOWN]!r}"
        by = f"{header}: " if header else ""
        return f"{by}{said}" + (f", a call of {trunk.customer}" if trunk.customer else f", no customer of {trunk.id}")

    @property
    def whose(self) -> str:
        """Whose segments count, in words."""
        return self.trunk.id if self.tenant is None else f"{self.tenant or 'nobody'} on {self.trunk.id}"

    def named(self, number: Number) -> str:
        """How `explain` names a number: a code that is another one elsewhere with its area."""
        if number.canonical is None:
            return repr(number.raw)
        area = number.area or self.trunk.home_area
        return f"{number.canonical} of area {area}" if area is not None and locality(number.canonical) else number.canonical

    @property
    def forwarders(self) -> tuple[Number, ...]:
        """The numbers that forwarded the call, the last first and at most HOPS_READ of them. History-Info counts where it tells of any
        (service translation is none), else Diversion.
        """
        if not self.history_info and not self.diversion:
            return ()
        found = self._forwarders
        if found is None:
            steps = self.forwards
            found = self._forwarders = self._read([step.uri for step in steps]) if steps else self.diverted
        return found

    @property
    def forwards(self) -> list[Diverted]:
        """The steps in History-Info that forwarded the call."""
        if self._forwards is None:
            self._forwards = [step for step in self.history_info if step.cause != SERVICE_TRANSLATION]
        return self._forwards

    @property
    def diverted(self) -> tuple[Number, ...]:
        """The numbers in Diversion, as `forwarders`."""
        if self._diverted is None:
            self._diverted = self._read(self.diversion)
        return self._diverted

    @property
    def diverting(self) -> Number | None:
        """The last diverting number, None where nobody forwarded the call."""
        forwarders = self._forwarders
        if forwarders is None:
            forwarders = self.forwarders
        return forwarders[0] if forwarders else None

    def forwards_for(self, directory: Directory) -> bool:
        """Whether a segment authorises the last diverting number, on an enterprise trunk that permits forwarding.

        If so the caller is somebody else's, and rules 4, 5 and 7 judge it by the interconnect column.
        """
        if not self.history_info and not self.diversion:
            return False
        if self._permitted is None:
            trunk = self.trunk
            number = self.diverting
            self._permitted = (
                number is not None
                and self.kind == "enterprise"
                and trunk.forwarding != "deny"
                and directory.holds(number, trunk.id, self.at, self.tenant)
            )
        return self._permitted

    def forwarder(self, directory: Directory) -> Segment | None:
        """That segment, None where there is none or `forwards_for` says no."""
        number = self.diverting if self.forwards_for(directory) else None
        return None if number is None else directory.segment(number, self.trunk.id, self.at, self.tenant)

    def begin_again(self) -> None:
        """Forget what rules have noted: the call is to be judged from the start, perhaps by others. Answers to look-ups stay."""
        self.marks = []
        self.weightless = ()
        self.labels = None
        self.instead = None
        self.proven = False
        self._permitted = None

    def _read(self, uris: Sequence[str]) -> tuple[Number, ...]:
        area = self.trunk.home_area
        return tuple([normalise(uri, area) for uri in uris[:HOPS_READ]])

    def mark(self, code: str) -> None:
        """Note a reason code once."""
        if code not in self.marks:
            self.marks.append(code)

    def mark_weightless(self, code: str) -> None:
        """Note a reason code of a rule in observe mode: rule label does not weigh it."""
        if code not in self.weightless:
            self.weightless = (*self.weightless, code)
        self.mark(code)

    def label(self, name: str, value: object) -> None:
        """Set one label that `enforce` or a reader of the verdict acts on (country, withhold, strip_privacy ...)."""
        if self.labels is None:
            self.labels = {}
        self.labels[name] = value


def presents(shown: tuple[Number, ...], number: Number) -> bool:
    """Whether a number is among those shown, behind the same area code: 96777 of one province is not that of another."""
    for one in shown:  # noqa: SIM110  it is one, nearly always, and a generator costs more than all else
        if one is number or (one == number and one.area == number.area):
            return True
    return False


def shows_number(number: Number) -> bool:
    """Whether an identity shows what a callee could take for a number: any digit of any script, not just a name."""
    if number.absent:
        return False
    return number.code != "CLI_NON_DIGIT" or any(character.isnumeric() for character in number.raw)


def _read_country_code(uri: str, home_area: str | None) -> Number:
    """Read a number of a peer that sends country codes without `+` or `00`: policy.md, international ingress, "prepend and run again"."""
    number = normalise(uri, home_area)
    if number.form not in ("cc", "national") or not number.digits or number.digits[0] == "0":
        return number
    return normalise("+" + number.digits, home_area)
