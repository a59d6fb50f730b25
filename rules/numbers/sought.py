"""A number that somebody asks for, in whatever form, and whether a call has it, in whatever form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from rules.numbers.normalise import normalise

LAST: Final = 7
"""Last digits that are the same in numbers that are alike: a subscriber's number in most places."""

LONG: Final = 512
"""Characters of a header value or URI that are looked at."""


class Sought(NamedTuple):
    """A number as somebody wrote it: every canonical reading, and its digits without what may stand before a number."""

    written: str
    canonical: tuple[str, ...]
    core: str


def sought(written: str, areas: Iterable[str] = ()) -> Sought:
    """Read a number in any form; `areas` are those whose local numbers it may be one of. It may have no reading at all."""
    first = normalise(written, None)
    found = dict.fromkeys([first.canonical, *first.alternatives])
    for area in areas:
        number = normalise(written, area)
        found |= dict.fromkeys([number.canonical, *number.alternatives])
    if first.form == "national" and first.canonical is None and not first.digits.startswith("0"):
        abroad = normalise("+" + first.digits, None)  # as a gateway writes it that sends country codes bare
        if abroad.kind in ("INTL", "HMT"):
            found[abroad.canonical] = None
    return Sought(written, tuple(reading for reading in found if reading is not None), core(first.digits))


def core(digits: str) -> str:
    """Digits without +, 00, 86 and a trunk 0 before them: what is left of a number whichever way it is written."""
    rest = digits.removeprefix("+") if digits.startswith("+") else digits.removeprefix("00")
    if rest.startswith("86") and (rest != digits or len(rest) > 9):
        rest = rest[2:]
    return rest.removeprefix("0")


def uri_of(value: str) -> str:
    """The URI of a header value, or the text itself."""
    opening, closing = value.find("<"), value.rfind(">")
    return value[opening + 1 : closing] if 0 <= opening < closing else value


def called_as(wanted: Sought, raw: str) -> bool:
    """Whether a called number that has no canonical form, or was never looked at (a call that no rule judged), is the one sought."""
    number = normalise(uri_of(raw[:LONG]), None)
    if number.digits:
        return number.canonical in wanted.canonical or (bool(wanted.core) and core(number.digits) == wanted.core)
    return not wanted.core and number.raw.lower() == normalise(wanted.written, None).raw.lower() != ""
