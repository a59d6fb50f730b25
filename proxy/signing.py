"""STIR/SHAKEN on egress: a call leaves with a PASSporT that says who is responsible for its number (RFC 8224, 8225, 8588; div: RFC 8946).

What is attested (RFC 8588 §4, ATIS-1000074):

- A, where rule 10 found the number that goes out to be the customer's own (AUTH_OK);
- else what the trunk's `attest` says: B where the customer is known but not the number, C where all that is known is the gateway, as with
  a call on a trunk that customers share which is none of theirs;
- a forwarded call that is proven (FWD_OK) and carries the PASSporT of the call to the number that forwarded it goes on with a `div` behind
  that one; without one to continue from a div is no use (RFC 8946 §4.1), and the caller, whose number is not the customer's, is B.

What is not signed: a caller who is withheld or wants to be (the token spells the number out to whoever gets it, and unlike
P-Asserted-Identity, RFC 3325 §7, nobody has to take it out at the end of the trust domain); a caller without a number; an emergency call,
which nothing may get in the way of: nobody turns it down for want of a signature, somebody may for a bad one, and half a kilobyte more
makes fragments of a datagram; what another network has signed already. Nothing that goes wrong here keeps a call from going on.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from proxy.sip.error import ParseError
from proxy.sip.grammar import split_list
from proxy.sip.message import SipMessage, unfold
from proxy.token import Secret
from rules.passport.identity import identity_values
from rules.passport.token import BASE, DIV, SHAKEN, is_compact, read_ppt

if TYPE_CHECKING:
    from rules.call import Call, Trunk
    from rules.directory import Directory
    from rules.numbers import Number
    from rules.verdict import Verdict

FRESH: Final = 60
"""Seconds that a request's Date may be off (RFC 8224 §6.1 step 3)."""

OUTCOMES: Final = {
    "A": "full attestation",
    "B": "partial attestation",
    "C": "gateway attestation",
    "div": "a forwarded call: a div behind its PASSporT",
    "carried": "left as another network signed it",
    "none": "the trunk's attest is none",
    "withheld": "a caller whose number nobody is to see",
    "no_number": "no number to sign for",
    "emergency": "an emergency call",
    "expired": "outside the dates of the certificate",
    "no_key": "a worker without a key",
    "failed": "the key did not sign",
}
"""What becomes of calls that leave by a next hop which signs: the label `outcome` of sipwarden_signatures_total."""

_ATTEST: Final = {"enterprise": "B", "interconnect": "C", "international": "C", "core": "none"}
_PROVIDERS: Final = frozenset((SHAKEN, DIV))
_HIDES: Final = frozenset(("id", "header", "user"))
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE: Final = re.compile(rb"(?i)(?:mon|tue|wed|thu|fri|sat|sun), (\d\d) ([a-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_ENDS: Final = re.compile(r"[;?:]")
_TROUBLE: Final = 60.0
"""Seconds between two words about trouble."""
_LONGEST: Final = 8192
_MOST: Final = 16
"""Characters of a token, and Identity values of a request, that are read."""
_LONGEST_URI: Final = 256
"""Characters of a called party's URI that is signed: in a token it stands once more, a third longer."""


class Credential(NamedTuple):
    """What signs: `sign` makes the 64 octets r||s of ES256 (RFC 7518 §3.4) over its argument, `x5u` is where the certificate is; nothing is
    signed before `begins` or after `ends` (Unix time).
    """

    x5u: str
    sign: Callable[[bytes], bytes]
    begins: float = 0.0
    ends: float = float("inf")


class Signer:
    """Signs calls with one credential. `tell`, once a minute at the most, is told why calls go out unsigned that should not."""

    __slots__ = ("_credential", "_div", "_names", "_secret", "_shaken", "_tell", "_told")

    def __init__(self, credential: Credential, secret: Secret, tell: Callable[[str], None] | None = None) -> None:
        self._credential = credential
        self._secret = secret
        self._tell = tell
        self._told = float("-inf")
        self._shaken = _Kind("shaken", credential.x5u)
        self._div = _Kind("div", credential.x5u)
        self._names: dict[str, str] = {}

    def sign(self, message: SipMessage, call: Call, verdict: Verdict, directory: Directory, at: float) -> str:
        """Put Identity, and Date where there is no fresh one, into a request that is about to leave, its labels put on; `at` is Unix time.

        One of OUTCOMES. Never raises for what a sender has written.
        """
        if verdict.code == "EMG_OVERRIDE":
            return "emergency"
        if is_withheld(call, verdict.labels):
            return "withheld"
        caller = telephone_number(shown_caller(call, message))
        dest = destination(call)
        if caller is None or dest is None:
            return "no_number"
        trunk = call.trunk
        div = None
        if call.identity:
            carried = [found for value in values_of(call.identity) if (found := read(value)) is not None and found.orig == caller]
            if trunk.kind != "enterprise":
                if any(found.ppt == "shaken" for found in carried):
                    return "carried"
            elif call.proven:
                div = diverted(call, carried, directory)
        attest = "A" if verdict.authenticated and trunk.kind == "enterprise" else trunk.attest or default_attest(call)
        if div is None and attest == "none":
            return "none"
        written = date(message.first(b"date"))
        iat = written if written is not None and abs(written - int(at)) <= FRESH else int(at)
        credential = self._credential
        if not (credential.begins <= min(iat, at) and max(iat, at) <= credential.ends):
            self._trouble("this is outside the dates of the certificate", at)
            return "expired"
        if div is None:
            kind, claims = self._shaken, shaken_claims(attest, dest, iat, caller, self.origid(trunk))
        else:
            kind, claims = self._div, div_claims(dest, div, iat, caller)
        token = kind.head + b"." + encoded(claims.encode())
        try:
            signature = credential.sign(token)
        except Exception as error:  # whatever the key breaks on, the call goes on
            self._trouble(f"the key does not sign: {type(error).__name__}: {error}", at)
            return "failed"
        if div is None and call.identity and trunk.kind == "enterprise":
            drop_attestations(message)
        if iat != written:
            message.replace(b"date", b"Date: " + sip_date(iat))
        message.insert_top(b"Identity: " + token + b"." + encoded(signature) + kind.tail)
        return attest if div is None else "div"

    def origid(self, trunk: Trunk) -> str:
        """The UUID that names where a call came from, to us alone: the same for all trunks of an enterprise customer, one for each other
        trunk (ATIS-1000074: a customer for B, a gateway for C). It is the same in each worker and node that shares the secret.
        """
        if trunk.origid is not None:
            return trunk.origid.lower()
        # a trunk that customers share is another's with each call: by its id alone the first one's name would be everybody's
        name = f"customer {trunk.customer}" if trunk.kind == "enterprise" and trunk.customer else f"trunk {trunk.id}"
        found = self._names.get(name)
        if found is None:
            found = self._names[name] = self._secret.origin_id(name)
        return found

    def _trouble(self, text: str, at: float) -> None:
        if self._tell is not None and abs(at - self._told) >= _TROUBLE:
            self._told = at
            self._tell(text)


class _Kind:
    """What is the same in every Identity of one type: the PASSporT's header as it is signed, the parameters behind the token."""

    __slots__ = ("head", "tail")

    def __init__(self, ppt: str, x5u: str) -> None:
        self.head = encoded(_json({"alg": "ES256", "ppt": ppt, "typ": "passport", "x5u": x5u}))
        self.tail = f';info=<{x5u}>;alg=ES256;ppt="{ppt}"'.encode()


# what is said: claims with their keys in order and no blanks (RFC 8225 §9)


def shaken_claims(attest: str, dest: str, iat: int, caller: str, origid: str) -> str:
    """The claims of a shaken PASSporT (RFC 8588 §4, §5); `dest` as `destination` gives it."""
    return f'{{"attest":"{attest}","dest":{dest},"iat":{iat},"orig":{{"tn":"{caller}"}},"origid":"{origid}"}}'


def div_claims(dest: str, div: str, iat: int, caller: str) -> str:
    """The claims of a div PASSporT (RFC 8946 §3): `div` had the call, and sent it on to `dest`."""
    return f'{{"dest":{dest},"div":{{"tn":"{div}"}},"iat":{iat},"orig":{{"tn":"{caller}"}}}}'


def encoded(data: bytes) -> bytes:
    """base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


# of whom


def is_withheld(call: Call, labels: Mapping[str, Any] | None) -> bool:
    """Whether nobody may be told the caller's number: policy withholds it, or the caller wants it so (RFC 3323, RFC 3325)."""
    if labels is not None:
        if labels.get("withhold"):
            return True
        if labels.get("strip_privacy"):
            return call.anonymous
    return call.anonymous or not _HIDES.isdisjoint(call.privacy)


def default_attest(call: Call) -> str:
    """The attestation of a trunk that says none. A call that is nobody's, on a trunk that customers share, is from no customer we know."""
    return "C" if call.tenant == "" else _ATTEST[call.trunk.kind]


def shown_caller(call: Call, message: SipMessage) -> Number:
    """The number that a verifier will find for the caller: P-Asserted-Identity's, else From's (RFC 8224 §8)."""
    number = call.caller
    if call.pai_numbers and b"p-asserted-identity" not in message.first_line and call.from_number in call.presented:
        return call.from_number  # the other is Remote-Party-ID's, which verifiers do not read
    return number


def telephone_number(number: Number) -> str | None:
    """The digits of a number with its country code (RFC 8224 §8.3), None where it is irregular. Codes have the country's too: 8695588."""
    return number.canonical[1:] if number.canonical is not None else None


def destination(call: Call) -> str | None:
    """The claim `dest`: the number that is called, or its URI without parameters (RFC 8224 §8.5) where that is no number."""
    number = telephone_number(call.called)
    if number is not None:
        return f'{{"tn":["{number}"]}}'
    scheme, _, rest = call.to.partition(":")
    userinfo, _, where = rest.partition("@")
    user = _ENDS.split(userinfo, maxsplit=1)[0]
    host = where[: where.find("]") + 1] if where.startswith("[") else _ENDS.split(where, maxsplit=1)[0]
    if (
        scheme.lower() not in ("sip", "sips")
        or not user
        or not host
        or len(user) + len(host) > _LONGEST_URI
        or not (call.to.isascii() and call.to.isprintable())
    ):
        return None
    return _json({"uri": [f"{scheme.lower()}:{user}@{host.lower()}"]}).decode()


# what was said before


class _Number(msgspec.Struct, frozen=True):
    tn: str = ""


class _Numbers(msgspec.Struct, frozen=True):
    tn: tuple[str, ...] = ()


class _Head(msgspec.Struct, frozen=True):
    ppt: str = ""


class _Claims(msgspec.Struct, frozen=True):
    orig: _Number = _Number()
    dest: _Numbers = _Numbers()


class Passport(NamedTuple):
    """What a PASSporT of another's claims; its signature was not looked at. Numbers are digits."""

    ppt: str
    orig: str
    dest: tuple[str, ...]


def read(identity: str) -> Passport | None:
    """Read the PASSporT in an Identity value, None where there is none in full form (only that can be shaken: RFC 8588 §7)."""
    token = identity.partition(";")[0].strip()
    parts = token.split(".") if len(token) <= _LONGEST else ()
    if len(parts) != 3:
        return None
    try:
        head = msgspec.json.decode(_decoded(parts[0]), type=_Head)
        claims = msgspec.json.decode(_decoded(parts[1]), type=_Claims)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None
    return Passport(head.ppt, claims.orig.tn.removeprefix("+"), tuple([number.removeprefix("+") for number in claims.dest.tn]))


def values_of(fields: Sequence[str]) -> list[str]:
    """The values of Identity header fields, the first _MOST of them. The grammar has one a field (RFC 8224 §4), some write a comma list."""
    return [value.decode("latin-1") for field in fields[:_MOST] for value in _split(field.encode("utf-8", "surrogateescape"))][:_MOST]


def _split(field: bytes) -> list[bytes]:
    try:
        return split_list(field)
    except ParseError:
        return []


def _decoded(part: str) -> bytes:
    return b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True)


def diverted(call: Call, carried: Iterable[Passport], directory: Directory) -> str | None:
    """The number for the claim `div`: the last of the trunk's own numbers that forwarded the call and to which a PASSporT that came along
    says the call went. None where no shaken PASSporT begins the chain.
    """
    chain = [found for found in carried if found.ppt in ("shaken", "div")]
    if not any(found.ppt == "shaken" for found in chain):
        return None
    for number in call.forwarders:
        if directory.segment(number, call.trunk.id, call.at, call.tenant) is None:
            return None
        digits = telephone_number(number)
        if digits is not None and any(digits in found.dest for found in chain):
            return digits
    return None


def drop_attestations(message: SipMessage) -> None:
    """Take out what a customer says in a provider's place: PASSporTs of type shaken and div, and what cannot be read, which somebody else
    may read after all. Others may go on beside ours, as many as are read.
    """
    left = _MOST
    for at in message.positions(b"identity"):
        field, _, text = message.lines[at].partition(b":")
        values = _split(unfold(text.strip()))[:left]
        left -= len(values)
        kept = [value for value in values if not attests(value.decode("latin-1"))]
        if len(kept) != 1 or b"," in text:
            message.replace_line(at, field + b": " + b", ".join(kept) if kept else None)


def attests(identity: str) -> bool:
    """Whether an Identity value is a provider's to write, whatever its claims: shaken or div by its parameter ppt or the token's header, or
    of a type that cannot be read.
    """
    values, more = identity_values([identity], 1)
    if more or not values or values[0].fault:
        return True
    value = values[0]
    ppt = BASE if is_compact(value.token) else read_ppt(value.token)
    return ppt is None or not _PROVIDERS.isdisjoint((ppt.lower(), value.ppt))


# when


def date(value: bytes | None) -> int | None:
    """A Date header field's value as Unix time; None where there is none or it is none (RFC 3261 §20.17)."""
    found = _DATE.fullmatch(value) if value is not None else None
    if found is None:
        return None
    day, month, *rest = found.groups()
    try:
        year, hour, minute, second = map(int, rest)
        return int(datetime(year, _MONTHS.index(month.decode().title()) + 1, int(day), hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None


def sip_date(at: int) -> bytes:
    """Unix time as Date has it: Sat, 13 Nov 2010 23:29:00 GMT."""
    moment = datetime.fromtimestamp(at, UTC)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02} {month} {moment.year:04} {moment:%H:%M:%S} GMT".encode()
