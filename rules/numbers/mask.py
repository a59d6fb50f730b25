"""Numbers as logs, metrics, the console and everybody without the traceback role see them (records.md, Privacy).

    masked(normalise("13912341946", None))        "139****1946"
    masked(normalise("075583123456", None))       "755-83****56"

Service codes are whole: they are nobody's. The stars are four whatever they hide.
"""

from __future__ import annotations

from typing import Final

from rules.numbers.normalise import normalise
from rules.numbers.number import Number

STARS: Final = "****"

PUBLIC: Final = frozenset(("EMG", "GOV", "OPR", "SVC1", "SVC95", "SVC96", "C400", "C800", "IPACC"))
"""Kinds that are no person's."""

_LONG: Final = 10
"""Digits from which on three at the front and four at the end may be shown."""


def masked(number: Number) -> str:
    """A number that names no person any more; "" where there was none."""
    canonical = number.canonical
    if canonical is None:
        return _irregular(number)
    digits = canonical.removeprefix("+")
    if number.country == "86":
        national = digits[2:]
        if number.kind in PUBLIC:
            return f"{number.area}-{national}" if number.area is not None else national
        if number.kind == "GEO" and number.area is not None:
            subscriber = national[len(number.area) :]
            return f"{number.area}-{subscriber[:2]}{STARS}{subscriber[-2:]}"
        return _between(national)
    country = number.country or ""
    return f"+{country}{STARS}{digits[-4:]}" if len(digits) - len(country) >= _LONG - 2 else f"+{country}{STARS}"


def masked_text(text: str) -> str:
    """The same of a number as it was written: canonical, as dialled, or a URI. Never raises."""
    return masked(normalise(text, None)) if text else ""


def _irregular(number: Number) -> str:
    """Nothing of a name; of digits that are no number of the plan as much as of one that is."""
    digits = number.digits
    if not digits:
        return STARS if number.raw and not number.absent else ""
    if "PROTECTED" in number.flags:
        return digits
    return _between(digits)


def _between(digits: str) -> str:
    if len(digits) >= _LONG:
        return f"{digits[:3]}{STARS}{digits[-4:]}"
    return f"{digits[:2]}{STARS}" if len(digits) > 4 else STARS
