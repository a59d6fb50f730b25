"""Service codes that are another code elsewhere: 96xxx in each province, 12345 and 110 behind each area code (Normalisation 8)."""

from __future__ import annotations

from rules.numbers.plan import PLAN, Locality

_STARTS = frozenset(f"+86{stem}"[:5] for stem in PLAN.local)
"""What the codes that differ by area begin with."""


def locality(canonical: str) -> Locality:
    """Where a number in canonical form is the same number: "" everywhere, or behind its own area code, or in its own province."""
    found = PLAN.find_service(canonical[3:]) if canonical.startswith("+86") else None
    return "" if found is None else found.local


def province_of(area: str) -> str:
    """The province of an area code, in Chinese; "" where none is known."""
    found = PLAN.areas.get(area)
    return "" if found is None else found.province["zh"]


def area_before(nsn: str, code: str) -> str | None:
    """The area code behind which a national number has this service code; None where it has none."""
    area = nsn.removesuffix(code)
    return area if area in PLAN.areas and area != nsn else None


def covers_local(first: str, last: str) -> bool:
    """Whether some code that differs by area or province may lie from `first` to `last`, or begin as `first` does where `last` is ""."""
    start = first[:5]
    if len(start) == 5 and start not in _STARTS and (not last or last.startswith(start)):
        return False  # as nearly all are, of a million
    for stem in PLAN.local:
        start = f"+86{stem}"
        if last:
            if first[: len(start)] <= start <= last[: len(start)]:
                return True
        elif start.startswith(first) or first.startswith(start):
            return True
    return False
