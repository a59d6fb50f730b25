"""A PASSporT (RFC 8225) read: strictly, from hostile text, with no look at its signature."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final, NoReturn

from rules.passport.error import Unverified

LONGEST_TOKEN: Final = 8192
"""Characters of a token: several times what any extension in use needs."""

SIGNATURE_OCTETS: Final = 64
"""Of ES256: r and s, 32 octets each (RFC 7518 §3.4)."""

LATEST: Final = 1 << 40
"""A time in seconds that no call is made at."""

BASE, SHAKEN, DIV = "", "shaken", "div"
KNOWN: Final = frozenset({BASE, SHAKEN, DIV})
"""Extensions (`ppt`) that are read; of any other RFC 8224 §6.2 says that its Identity is to be ignored."""

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_TN: Final = re.compile(r"\+?([0-9#*]{1,32})")
_URI: Final = re.compile(r"[\x21-\x7e]{1,512}")
_ORIGID: Final = re.compile(r"[\x21-\x7e]{1,128}")


class Passport:
    """What a token says. Telephone numbers are digits without `+`.

    `signed` are the octets under the signature. `orig` and each of `dest` are ("tn", digits) or ("uri", text); `div` is like them, None but
    in a token of ppt "div". `attest` and `origid` are "" but in one of ppt "shaken".
    """

    __slots__ = ("attest", "dest", "div", "expires", "iat", "orig", "origid", "ppt", "signature", "signed", "x5u")

    def __init__(self, signed: bytes, signature: bytes, ppt: str, x5u: str) -> None:
        self.signed = signed
        self.signature = signature
        self.ppt = ppt
        self.x5u = x5u
        self.orig = ("tn", "")
        self.dest: tuple[tuple[str, str], ...] = ()
        self.iat = 0
        self.expires: int | None = None
        self.div: tuple[str, str] | None = None
        self.attest = ""
        self.origid = ""


def is_compact(token: str) -> bool:
    """Whether header and claims were left out (RFC 8225 §7)."""
    return token.startswith("..")


def read_ppt(token: str) -> str | None:
    """The extension that a full token's header names, None where the header cannot be read."""
    try:
        ppt = _object(_decode(token.partition(".")[0], "header"), "header").get("ppt", BASE)
    except Unverified:
        return None
    return ppt if isinstance(ppt, str) else None


def read_token(token: str) -> Passport:
    """A token in full form. Raises Unverified."""
    if len(token) > LONGEST_TOKEN:
        malformed(f"the token is longer than {LONGEST_TOKEN} characters")
    parts = token.split(".")
    if len(parts) != 3:
        malformed(f"a token has three parts, this one {len(parts)}")
    header = _object(_decode(parts[0], "header"), "header")
    alg = header.get("alg")
    if alg != "ES256":
        raise Unverified("STIR_SIGNATURE", f"alg is {_shown(alg)}, and only ES256 is a signature here")
    typ = header.get("typ")
    if not isinstance(typ, str) or typ.lower() != "passport":
        malformed(f"typ is {_shown(typ)}, not passport")
    if "crit" in header:
        malformed("crit names header parameters that are not understood")
    ppt = header.get("ppt", BASE)
    if not isinstance(ppt, str):
        malformed(f"ppt is {_shown(ppt)}")
    x5u = header.get("x5u")
    if not isinstance(x5u, str):
        malformed("x5u is missing" if x5u is None else f"x5u is {_shown(x5u)}")
    claims = _object(_decode(parts[1], "claims"), "claims")
    passport = Passport(f"{parts[0]}.{parts[1]}".encode("ascii"), _signature(parts[2]), ppt, x5u)
    _read_claims(passport, claims)
    return passport


def rebuild(token: str, x5u: str, orig: str, dest: str, iat: int) -> Passport:
    """A token in compact form, with what RFC 8224 §4.1 has its reader put in the place of what was left out. Raises Unverified."""
    if len(token) > LONGEST_TOKEN:
        malformed(f"the token is longer than {LONGEST_TOKEN} characters")
    header = {"alg": "ES256", "typ": "passport", "x5u": x5u}
    claims = {"dest": {"tn": [dest]}, "iat": iat, "orig": {"tn": orig}}
    texts = [json.dumps(part, separators=(",", ":")) for part in (header, claims)]
    signed = b".".join([base64.urlsafe_b64encode(text.encode()).rstrip(b"=") for text in texts])
    passport = Passport(signed, _signature(token[2:]), BASE, x5u)
    passport.orig, passport.dest, passport.iat = ("tn", orig), (("tn", dest),), iat
    return passport


def malformed(why: str) -> NoReturn:
    """Raise Unverified for what is no Identity or no PASSporT."""
    raise Unverified("STIR_FORMAT", why)


def _read_claims(passport: Passport, claims: dict[str, Any]) -> None:
    passport.iat = _time(claims, "iat")
    passport.expires = _time(claims, "exp") if "exp" in claims else None
    origins = _identities(claims, "orig", several=False)
    if len(origins) != 1:
        malformed("orig names more than one caller")
    passport.orig = origins[0]
    passport.dest = _identities(claims, "dest", several=True)
    if passport.ppt == SHAKEN:
        attest = claims.get("attest")
        if attest not in ("A", "B", "C"):
            malformed(f"attest is {_shown(attest)}, not A, B or C")
        origid = claims.get("origid")
        if not isinstance(origid, str) or not _ORIGID.fullmatch(origid):
            malformed(f"origid is {_shown(origid)}")
        passport.attest, passport.origid = attest, origid
    elif passport.ppt == DIV:
        diverted = _identities(claims, "div", several=False, also=("hi",))
        if len(diverted) != 1:
            malformed("div names more than one party")
        passport.div = diverted[0]


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < LATEST:  # true is an int to Python
        malformed(f"{name} is missing" if value is None else f"{name} is {_shown(value)}, no whole number of seconds")
    return value


def _identities(claims: dict[str, Any], name: str, *, several: bool, also: tuple[str, ...] = ()) -> tuple[tuple[str, str], ...]:
    """What orig, dest or div names; dest names each kind in a list (RFC 8225 §5.2.1)."""
    value = claims.get(name)
    if not isinstance(value, dict):
        malformed(f"{name} is missing" if value is None else f"{name} is {_shown(value)}")
    found: list[tuple[str, str]] = []
    for kind, named in value.items():
        if kind in also:
            continue
        if kind not in ("tn", "uri"):
            malformed(f"{name} names its party by {_shown(kind)}")
        if isinstance(named, list) is not several:
            malformed(f"{name}.{kind} is {_shown(named)}, {'a list' if several else 'one text'} is wanted")
        for text in named if isinstance(named, list) else [named]:
            matched = (_TN if kind == "tn" else _URI).fullmatch(text) if isinstance(text, str) else None
            if matched is None:
                malformed(f"{name}.{kind} is {_shown(text)}")
            found.append((kind, matched[1] if kind == "tn" else matched[0]))
    if not found:
        malformed(f"{name} names nobody")
    return tuple(found)


def _signature(text: str) -> bytes:
    octets = _decode(text, "signature")
    if len(octets) != SIGNATURE_OCTETS:
        raise Unverified("STIR_SIGNATURE", f"the signature has {len(octets)} octets, one of ES256 has {SIGNATURE_OCTETS}")
    return octets


def _decode(text: str, what: str) -> bytes:
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        malformed(f"the {what} is not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _object(octets: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(octets.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a name twice, a number of 5000 digits
        malformed(f"the {what} is not JSON: {str(error)[:80]}")
    if not isinstance(value, dict):
        malformed(f"the {what} is no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands there twice")
    return made


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
