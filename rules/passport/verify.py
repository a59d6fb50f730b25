"""What a verification service makes of a call's Identity (RFC 8224 §6.2, RFC 8588, RFC 8946).

Everything that costs nothing is looked at first: form, freshness, orig, dest and the way a diverted call has come. Only for what is right
so far is a certificate asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rules.call import Call, shows_number
from rules.numbers import Number
from rules.passport.error import Unverified
from rules.passport.identity import IdentityValue, identity_values
from rules.passport.location import Location, parse_location
from rules.passport.token import BASE, DIV, KNOWN, Passport, is_compact, malformed, read_ppt, read_token, rebuild

if TYPE_CHECKING:
    from rules.passport.credential import Trust

VALUES: Final = 8
"""Identity values of one call that are read: the caller's, one for each of five diversions, and some of extensions."""

DIVERTED_LIFE: Final = 600.0
"""Seconds that may lie between a call's first PASSporT and its last diversion: as long as telephones ring, five times over."""

_DATE: Final = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEIGHT: Final = {"A": 0, "": 1, "B": 2, "C": 3}
"""What is said of the caller, the best first; a PASSporT without an extension says nothing of it."""

Certificates = Callable[[Location], str]
"""Gives the certificate that lies there, in PEM. Raises Unverified (STIR_CERT), or Wanted."""


class Wanted(Exception):
    """A certificate that has to be asked for first."""

    def __init__(self, location: Location) -> None:
        super().__init__(location.url)
        self.location = location


class Read:
    """One Identity value that is not to be ignored: `passport` and `location` where it could be read, else `fault`."""

    __slots__ = ("by_number", "fault", "location", "passport", "proof", "value")

    def __init__(self, value: IdentityValue) -> None:
        self.value = value
        self.passport: Passport | None = None
        self.location: Location | None = None
        self.fault: Unverified | None = None
        self.proof = ""  # by what its certificate may speak, once that is proven
        self.by_number = False  # and whether the number itself is named there

    @property
    def diverts(self) -> bool:
        """Whether it tells of a diversion, and not of the caller."""
        return self.passport.ppt == DIV if self.passport is not None else self.value.ppt == DIV


class Findings:
    """What was found. `vouching` is the PASSporT that holds for the caller, None without one; `diversions` how many others it took.

    `full`: its signer answers for the caller's right to every number presented. `failed` are the values that do not hold, the caller's
    before those of diversions. `ignored` are extensions that are not read. `more`: there were more values than VALUES.
    """

    __slots__ = ("diversions", "failed", "full", "ignored", "more", "proof", "vouching")

    def __init__(self) -> None:
        self.vouching: Passport | None = None
        self.diversions = 0
        self.full = False
        self.proof = ""
        self.failed: list[Read] = []
        self.ignored: list[str] = []
        self.more = False


def verify_identity(call: Call, trust: Trust | None, skew: float, certificates: Certificates, *, heed_date: bool = True) -> Findings:
    """Verify what a call carries, at `call.at`. `skew`: seconds that iat and Date may differ from it. Raises Wanted, and nothing else."""
    findings = Findings()
    values, findings.more = identity_values(call.identity, VALUES)
    date = read_date(call.date) if call.date else None
    readings: list[Read] = []
    for value in values:
        ppt = value.ppt or (None if is_compact(value.token) else read_ppt(value.token)) or BASE
        if ppt not in KNOWN:
            findings.ignored.append(ppt[:32])
            continue
        readings.append(_read(value, call, date))
    callers = [reading for reading in readings if not reading.diverts]
    diversions = [reading for reading in readings if reading.diverts]
    ways: list[tuple[Read, list[Read]]] = []
    for caller in callers:
        if caller.fault is None:
            way = _way(caller, diversions, call)
            if isinstance(way, Unverified):
                caller.fault = way
            elif (stale := _stale(way, call.at, skew, date if heed_date else None)) is not None:
                caller.fault = stale
            else:
                ways.append((caller, way))
    wanted: Wanted | None = None
    for caller, way in ways:
        for step in way:
            try:
                _prove(step, trust, call.at, certificates)
            except Wanted as asked:
                wanted = wanted or asked
            except Unverified as fault:
                step.fault = fault
                if step is not caller:
                    caller.fault = Unverified(fault.code, f"its diversion does not hold: {fault.why}")
                break
    if wanted is not None:
        raise wanted
    used = {id(step) for caller, way in ways if caller.fault is None for step in way}
    for diversion in diversions:
        if diversion.fault is None and id(diversion) not in used:
            diversion.fault = Unverified("STIR_DIV", "it diverts no call that another Identity vouches for")
    findings.failed = [reading for reading in (*callers, *diversions) if reading.fault is not None]
    holding = [(caller, way) for caller, way in ways if caller.fault is None]
    if holding:
        caller, way = min(holding, key=lambda each: _WEIGHT[each[0].passport.attest if each[0].passport is not None else ""])
        passport = caller.passport
        assert passport is not None
        findings.vouching, findings.proof, findings.diversions = passport, caller.proof, len(way) - 1
        answers = passport.attest == "A" or (passport.ppt == BASE and caller.by_number)
        findings.full = answers and all(same_party(passport.orig, number, "") for number in call.presented)
    return findings


def read_date(text: str) -> float | None:
    """Date (RFC 3261 §20.17) as Unix time, None for what is no SIP-date."""
    found = _DATE.fullmatch(text.strip())
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[place]) for place in (1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def same_party(party: tuple[str, str], number: Number, uri: str) -> bool:
    """Whether ("tn", digits) or ("uri", text) is the party that a header field shows as `uri`, read as `number`.

    A number is compared in E.164, digits only (RFC 8224 §8.3); a service code as it is dialled, too.
    """
    kind, text = party
    if kind == "uri":
        return bool(uri) and _bare(text) == _bare(uri)
    if number.canonical is None:
        return bool(number.digits) and number.digits.removeprefix("+") == text
    if number.canonical == "+" + text or "+" + text in number.alternatives:
        return True
    return number.kind in _CODES and number.canonical == "+86" + text


_CODES: Final = frozenset({"EMG", "GOV", "OPR", "SVC1", "SVC95", "SVC96", "C400", "C800", "SMS"})


def _bare(uri: str) -> str:
    """A URI without what RFC 8224 §8.5 leaves aside: parameters, headers, port, the case of scheme and host, the s of sips."""
    scheme, _, rest = uri.partition(":")
    rest = rest.partition("?")[0]
    user, at, host = rest.rpartition("@")
    host = host.partition(";")[0].lower()
    scheme = scheme.lower().removesuffix("s") if scheme.lower() == "sips" else scheme.lower()
    if at and not host.startswith("["):
        host = host.partition(":")[0]
    return f"{scheme}:{user}{at}{host}"


def _read(value: IdentityValue, call: Call, date: float | None) -> Read:
    reading = Read(value)
    try:
        if value.fault:
            malformed(value.fault)
        if value.alg and value.alg != "ES256":
            raise Unverified("STIR_SIGNATURE", f"alg is {value.alg[:32]!r}, and only ES256 is a signature here")
        passport = _compact(value, call, date) if is_compact(value.token) else read_token(value.token)
        if value.ppt and value.ppt != passport.ppt:
            malformed(f"ppt is {value.ppt} in the header field and {passport.ppt or 'nothing'!r:.40} in the PASSporT")
        location = _locate(passport.x5u, "x5u")
        if value.info and value.info != passport.x5u and _locate(value.info, "info") != location:
            raise Unverified("STIR_CERT", "info and x5u name different certificates")
        reading.passport, reading.location = passport, location
        if not _speaks_of(passport.orig, call):
            shown = call.caller.canonical or repr(call.caller.raw[:32]) if call.presented else "nobody"
            raise Unverified("STIR_ORIG", f"it is {passport.orig[1]}'s, and the call shows {shown}")
    except Unverified as fault:
        reading.fault = fault
    return reading


def _speaks_of(orig: tuple[str, str], call: Call) -> bool:
    """Whether orig is the caller that is shown: the first number presented, however many there are; From's URI only where
    P-Asserted-Identity carries no number that would be shown instead.
    """
    if orig[0] == "tn":
        return bool(call.presented) and same_party(orig, call.caller, "")
    return same_party(orig, call.from_number, call.sender) and not any(shows_number(number) for number in call.pai_numbers)


def _locate(url: str, name: str) -> Location:
    try:
        return parse_location(url)
    except ValueError as error:
        raise Unverified("STIR_CERT", f"{name} is {error}") from None


def _compact(value: IdentityValue, call: Call, date: float | None) -> Passport:
    """RFC 8224 §4.1; extensions that add claims want the full form (RFC 8946 §4, ATIS-1000074)."""
    caller, called = call.caller.canonical, call.called.canonical
    if value.ppt:
        malformed(f"a PASSporT of ppt {value.ppt} has no compact form")
    if not value.info:
        malformed("a PASSporT in compact form needs info")
    if date is None:
        malformed("a PASSporT in compact form needs a Date")
    if caller is None or called is None:
        malformed("a PASSporT in compact form needs a caller and a called number")
    return rebuild(value.token, value.info, caller[1:], called[1:], int(date))


def _names(dest: tuple[tuple[str, str], ...], call: Call) -> bool:
    return any(same_party(party, call.called, call.to) for party in dest)


def _way(caller: Read, diversions: Sequence[Read], call: Call) -> list[Read] | Unverified:
    """The PASSporTs from the caller's to the one whose dest is called, one for each diversion (RFC 8946 §4.2)."""
    assert caller.passport is not None
    ways = [[caller]]
    seen = {id(caller)}
    while ways:
        way = ways.pop(0)
        last = way[-1].passport
        assert last is not None
        if _names(last.dest, call):
            return way
        for diversion in diversions:
            passport = diversion.passport
            if diversion.fault is not None or passport is None or id(diversion) in seen:
                continue
            if passport.orig == last.orig and passport.div in last.dest:
                seen.add(id(diversion))
                ways.append([*way, diversion])
    meant = ", ".join(text for _, text in caller.passport.dest[:3])
    shown = call.called.canonical or repr(call.called.raw[:32])
    if diversions:
        return Unverified("STIR_DIV", f"it is for {meant}, and no row of diversions leads from there to {shown}")
    return Unverified("STIR_DEST", f"it is for {meant}, and {shown} is called")


def _stale(way: list[Read], at: float, skew: float, date: float | None) -> Unverified | None:
    """The last PASSporT must be fresh; those before it were, when the call was diverted."""
    times = [reading.passport.iat for reading in way if reading.passport is not None]
    age = at - times[-1]
    if abs(age) > skew:
        return Unverified("STIR_STALE", f"iat is {abs(age):.0f} s {'old' if age > 0 else 'ahead'}, {skew:g} s are allowed")
    if len(way) > 1:
        if any(later + skew < earlier for earlier, later in pairwise(times)):
            return Unverified("STIR_STALE", "a diversion is older than the call that it diverts")
        if at - times[0] > skew + DIVERTED_LIFE:
            return Unverified("STIR_STALE", f"the call was diverted {at - times[0]:.0f} s after it began, {DIVERTED_LIFE:g} s are allowed")
    elif date is not None and abs(at - date) > skew:
        return Unverified("STIR_STALE", f"Date is {abs(at - date):.0f} s {'old' if at > date else 'ahead'}, {skew:g} s are allowed")
    for reading in way:
        if reading.passport is not None and reading.passport.expires is not None and reading.passport.expires < at - skew:
            return Unverified("STIR_STALE", f"it expired {at - reading.passport.expires:.0f} s ago")
    return None


def _prove(reading: Read, trust: Trust | None, at: float, certificates: Certificates) -> None:
    """That a certificate which leads back to a root, and speaks for whom it must, has signed. Raises Unverified, Wanted."""
    if reading.fault is not None:
        raise reading.fault
    if reading.proof:
        return
    if trust is None:
        raise Unverified("STIR_CREDENTIAL", "no roots are configured")
    passport, location = reading.passport, reading.location
    assert passport is not None and location is not None
    credential = trust.credential(certificates(location), at)
    by_number, proof = trust.check_authority(credential, passport.div or passport.orig)
    if not credential.signed(passport.signed, passport.signature):
        raise Unverified("STIR_SIGNATURE", "the signature is not that of the certificate's key")
    reading.by_number, reading.proof = by_number, proof
