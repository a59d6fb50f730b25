"""From the URI of one header value to a Number (numbers.md, "Normalisation" 1 to 8)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rules.kernel import compiled
from rules.numbers.classify import Reading, classify, names_protected
from rules.numbers.number import Form, Number
from rules.numbers.plan import PLAN, Area

GENERATION: Final = 16_384
"""Entries of one generation of the cache; two are kept."""
LONGEST_CACHED: Final = 128
"""Characters of an input that may be cached, and of a user part (parameters apart) that is looked at."""
LONGEST_RAW: Final = 256

ABROAD: Final = (7, 15)
"""Fewest and most digits of an international number, country code included (E.164 6.2: at most 15)."""

is_number: Final = re.compile(r"\+?[0-9]+").fullmatch
has_only_signs: Final = re.compile(r"[0-9+]+").fullmatch
TRUNK0: Final = ("TRUNK0",)
SEPARATORS: Final = dict.fromkeys(map(ord, "-.() "))
HEX: Final = {f"{a}{b}": chr(int(a + b, 16)) for a in "0123456789abcdefABCDEF" for b in "0123456789abcdefABCDEF"}

BY_PREFIX: Final = frozenset(("MOB", "MVNO", "GEO"))
"""Kinds that the first digits decide, where the whole has 10 or 11 digits: a mobile range has at most five digits and
begins with 1, an area code and the first digit behind it have at most four.
"""


class Beginning:
    """What the length and the first digits of a national number say of it: kind and area, where they decide."""

    __slots__ = ("area", "decides", "kind")

    def __init__(self, decides: bool, kind: str | None = None, area: str | None = None) -> None:
        self.decides = decides
        self.kind = kind
        self.area = area


UNDECIDED: Final = Beginning(False)
PLACES: Final = 20_000
"""Places in `_beginnings` of the numbers of ten digits, which those of eleven follow: each at the value of its first five digits where it
begins with 1, else of its first four.
"""

_beginnings: list[Beginning | None] = [None] * (2 * PLACES)
"""None where no number has begun so yet."""
_young: dict[tuple[str, str | None], Number] = {}
_old: dict[tuple[str, str | None], Number] = {}


def normalise(uri: str, home_area: str | None) -> Number:
    """Read the number in a sip, sips or tel URI, or in a bare user part; a scheme is told in either case.

    `home_area` is the trunk's area code (a trunk 0 before it is ignored): what local numbers belong to. An unknown one counts as none.
    Never raises, whatever the text. Percent-encoding is undone once, after the parameters are split off (RFC 3261 19.1.1), so `%252B` and
    `%3Bx` are no `+` and no parameter; full-width digits are not folded. A global phone-context (RFC 3966 5.1.5) goes before the number
    whatever its country, since a US number in a US context must not be read as one of Shanghai; a domain as context says nothing.
    """
    number = _ordinary(uri) or _young.get((uri, home_area))
    if number is not None:
        return number
    return _miss(uri, home_area)


def clear_cache() -> None:
    """Forget every number read so far."""
    _young.clear()
    _old.clear()
    for place in range(2 * PLACES):
        _beginnings[place] = None


def cache_size() -> int:
    """Numbers kept at present, at most twice GENERATION."""
    return len(_young) + len(_old)


def _miss(uri: str, home_area: str | None) -> Number:
    global _young, _old
    if len(uri) > LONGEST_CACHED:
        return _read(uri, home_area)
    number = _old.get((uri, home_area))
    if number is None:
        number = _read(uri, home_area, short=True)
    if len(_young) >= GENERATION:
        _young, _old = {}, _young
    _young[(uri, home_area)] = number
    return number


def _ordinary(uri: str) -> Number | None:
    """A regular mobile or fixed number, written +86, with a trunk 0 or bare, as the whole user part of a sip URI or the whole of a tel URI;
    None for any other.

    Numbers hardly ever come again, and keeping each costs more than reading it this way: these are not kept.
    """
    found = _read_number(uri)
    return None if found is None else _by_beginning(found[0], found)


Digits = tuple[str, str, int, int]
"""A user part that is a national number of ten or eleven digits, with +86 before it, a 0 or neither: the user part, `+86` and the number,
its key, its place in `_beginnings`.
"""


def read_number(uri: str) -> Digits | None:
    """The digits of an URI that is nothing else before its host; None for any other, and where there is a second @ or what is not ASCII."""
    if not uri.isascii():
        return None
    if uri.startswith("sip:"):
        at = uri.find("@", 4)
        return None if at < 0 or uri.find("@", at + 1) >= 0 else _digits(uri[4:at])
    return _digits(uri[4:]) if uri.startswith("tel:") else None


_read_number: Final[Callable[[str], Digits | None]] = read_number if compiled is None else compiled.read_number


def _digits(user: str) -> Digits | None:
    if user.startswith("+86"):
        nsn = user[3:]
    elif user.startswith("0"):
        nsn = user[1:]
    else:
        nsn = user
    size = len(nsn)
    if (size != 10 and size != 11) or not (nsn.isdecimal() and nsn.isascii()):
        return None
    place = int(nsn[:5] if nsn[0] == "1" else nsn[:4]) + (PLACES if size == 11 else 0)
    canonical = user if user[0] == "+" else "+86" + nsn
    return user, canonical, (size + 2) << 56 | int(canonical), place


def _by_beginning(raw: str, digits: Digits) -> Number | None:
    """What `_plus` made of the first number that begins so holds for all of them, where the plan decides by that alone: see `_learn`."""
    user, canonical, key, place = digits
    found = _beginnings[place]
    if found is None:
        found = _beginnings[place] = _learn(canonical[3:])
    if not found.decides:
        return None
    if user is canonical:
        return Number(raw, user, canonical, found.kind, found.area, (), None, "86", None, "plus", key=key)
    flags = TRUNK0 if user[0] == "0" else ()
    return Number(raw, user, canonical, found.kind, found.area, flags, None, "86", None, "national", key=key)


def _learn(nsn: str) -> Beginning:
    """What the beginning of one number says, where that is all that counts: a mobile or fixed number without a flag or a second
    reading. Such a one reads the same behind a trunk 0, and bare: it is too long for a local number.

    Whole-number facts (all zeros, a protected or service code behind an area code) never give such a reading: they set a code, a flag or an
    alternative, or have fewer than 10 digits.
    """
    if nsn[0] == "0":
        return UNDECIDED  # a trunk 0 behind +86 or another one
    reading = classify(PLAN, nsn, bare=False, trunk0=False, home=None)
    regular = reading.code is None and reading.digits == nsn and reading.kind in BY_PREFIX
    if not regular or reading.flags or reading.alternatives:
        return UNDECIDED
    return Beginning(True, reading.kind, reading.area)


def _read(uri: str, home_area: str | None, *, short: bool = False) -> Number:
    """Take the URI apart: user part, its parameters, and the host where no number stands before it. `short`: what `_by_beginning` knows
    need not be read whole.
    """
    scheme = uri[:5].lower()
    host = ""
    if scheme.startswith("tel:"):
        user = uri[4:]
    else:
        sip = scheme.startswith("sip:")
        rest = uri[4:] if sip else uri[5:] if scheme == "sips:" else uri
        user, at, host = rest.partition("@")
        if at:
            if "@" in host and "@" in host.partition(";")[0].partition("?")[0]:
                # Two readers would disagree on where the user part ends.
                return Number(user[:LONGEST_RAW], code="CLI_NON_DIGIT", form="text")
            user = user.partition(":")[0]
        elif sip or scheme == "sips:":
            user, host = "", rest
    raw = user[:LONGEST_RAW]
    user, _, parameters = user.partition(";")
    if len(user) > LONGEST_CACHED:
        return _overlong(raw, user)
    if "%" in user:
        user = _decode(user)
    if not (user.isdecimal() and user.isascii()) and not is_number(user):
        digits = user.translate(SEPARATORS)
        if not is_number(digits):
            return _no_number(raw, user, digits, host)
        user = digits
    if parameters and user[0] != "+":
        user = _context(parameters) + user
    if short:
        found = _digits(user)
        number = None if found is None else _by_beginning(raw, found)
        if number is not None:
            return number
    if user[0] == "+":
        return _plus(raw, user, home_area)
    return _dialled(raw, user, home_area)


def _host(text: str) -> str:
    """Host of a hostport with URI parameters and headers behind it, in lower case."""
    return text[:LONGEST_RAW].partition(";")[0].partition("?")[0].partition(":")[0].lower()


def _decode(text: str) -> str:
    """Undo percent-encoding once. A broken escape stays as it is; bytes over 7F become characters that no number has."""
    first, *parts = text.split("%")
    return first + "".join([HEX[part[:2]] + part[2:] if part[:2] in HEX else "%" + part for part in parts])


def _context(parameters: str) -> str:
    """The prefix that phone-context gives, "" where there is none or it is a domain."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.lower() == "phone-context":
            if len(value) > LONGEST_CACHED:
                return ""
            prefix = (_decode(value) if "%" in value else value).translate(SEPARATORS)
            return prefix if prefix[:1] == "+" and is_number(prefix) else ""
    return ""


def _overlong(raw: str, user: str) -> Number:
    text = user[:LONGEST_CACHED].translate(SEPARATORS)
    regular = not text or is_number(text)
    return Number(raw, code="CLI_LEN" if regular else "CLI_NON_DIGIT", form="text")


def _no_number(raw: str, user: str, digits: str, host: str) -> Number:
    """Text where a number should be: nothing, a word for nothing, or a name."""
    word = user.strip().lower()
    named = _host(host) if host else ""
    if word in PLAN.anonymous_users or (named in PLAN.anonymous_hosts and not has_only_signs(digits)):
        return Number(raw, code="CLI_ANON", absent=True)
    if not digits or word in PLAN.unavailable_users or (named in PLAN.unavailable_hosts and not has_only_signs(digits)):
        return Number(raw, code="CLI_EMPTY", absent=True)
    return Number(raw, code="CLI_BAD_PLUS" if has_only_signs(digits) else "CLI_NON_DIGIT", form="text")


def _plus(raw: str, digits: str, home_area: str | None) -> Number:
    if digits[1] == "0":
        return Number(raw, digits, code="CLI_BAD_PLUS", form="plus")
    if digits.startswith("86", 1):
        return _national(raw, digits, digits[3:], "plus", (), home_area)
    return _abroad(raw, digits, digits[1:], "plus")


def _dialled(raw: str, digits: str, home_area: str | None) -> Number:
    """A number without +."""
    if digits[0] == "0":
        if not digits.strip("0"):
            return Number(raw, digits, code="CLI_ALL_ZERO", country="86", form="national")
        if digits[1] == "0":
            if digits.startswith("86", 2):
                return _national(raw, digits, digits[4:], "idd", ("IDD86",), home_area)
            return _abroad(raw, digits, digits[2:], "idd")
        return _national(raw, digits, digits, "national", (), home_area)
    if digits.startswith("86"):
        size = len(digits)
        # 86 and a whole national number, its trunk 0 counted in; longer only for an IoT card.
        if 12 <= size <= 13 or (size == 15 and (found := PLAN.find_class(digits[2:])) is not None and found.kind == "IOT"):
            return _national(raw, digits, digits[2:], "cc", ("CC_NO_PLUS",), home_area)
    return _national(raw, digits, digits, "national", (), home_area)


def _national(raw: str, digits: str, nsn: str, form: Form, flags: tuple[str, ...], home_area: str | None) -> Number:
    trunk0 = nsn[:1] == "0"
    national = form == "national"
    if trunk0 and nsn != "0":
        nsn = nsn[1:]
        flags = (*flags, "TRUNK0" if national else "TRUNK0_AFTER_CC")
    bare = national and not trunk0
    reading = classify(PLAN, nsn, bare=bare, trunk0=trunk0, home=_home(home_area) if bare and home_area else None)
    code, kind, canonical, area, found, alternatives = reading
    if trunk0 and not national and (code is None or code == "CLI_SUB_FIRST"):
        code = "CLI_TRUNK0"
    if found:
        flags = flags + found if flags else found
    if canonical is None:
        if _deserves_search(reading, digits) and names_protected(PLAN, digits):
            flags = (*flags, "PROTECTED")
    else:
        canonical = "+86" + canonical
    return Number(raw, digits, canonical, kind, area, flags, code, "86", nsn, form, alternatives)


def _deserves_search(reading: Reading, digits: str) -> bool:
    """Whether an irregular national number may hide a protected code: not a local number of an area that we do not know."""
    return reading.code != "CLI_LOCAL_NO_AREA" and len(digits) <= LONGEST_CACHED


def _home(home_area: str) -> Area | None:
    return PLAN.areas.get(home_area) or PLAN.areas.get(home_area.removeprefix("0"))


def _abroad(raw: str, digits: str, full: str, form: Form) -> Number:
    """An international number that is not +86; `full` has the country code and no prefix."""
    country = PLAN.find_country(full)
    size = len(full)
    flags = ("PROTECTED",) if size <= 9 and names_protected(PLAN, digits) else ()
    if country is None:
        return Number(raw, digits, flags=flags, code="CLI_INTL_BAD", form=form)
    code = country.code
    nsn = full[len(code) :]
    if not ABROAD[0] <= size <= ABROAD[1]:
        return Number(raw, digits, flags=flags, code="CLI_INTL_BAD", country=code, nsn=nsn, form=form)
    if full == full[0] * size and full not in PLAN.repeated:
        return Number(raw, digits, flags=flags, code="CLI_REPEAT", country=code, nsn=nsn, form=form)
    return Number(raw, digits, "+" + full, "HMT" if code in PLAN.hmt else "INTL", None, flags, None, code, nsn, form)
