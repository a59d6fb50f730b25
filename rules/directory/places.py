"""Where a segment of a service code holds: column `area` of segments.csv.

96xxx is another code in each province, 12345 and 110 behind each area code. A row for one of them holds where the trunk is at home: for
96xxx in the province of its `home_area`, for the others behind that area code. A row that names its places, area codes and provinces,
holds there and nowhere else. A number without an area code before it is one of the trunk's home area.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from rules.directory.fault import CellFault
from rules.numbers.locality import province_of
from rules.numbers.plan import PLAN, Locality

Places = tuple[str, ...]
"""Area codes, and provinces by their Chinese name; () for numbers that are the same everywhere."""

HOME: Final[Places] = ("home",)
"""Wherever the trunk is at home."""

_PROVINCES: Final = {name.lower(): area.province["zh"] for area in PLAN.areas.values() for name in area.province.values() if name}


def parse_places(text: str) -> Places:
    """A cell `755; 广东; Guangdong`. Raises CellFault."""
    return tuple(dict.fromkeys(_place(part.strip()) for part in text.split(";")))


def _place(text: str) -> str:
    known = _PROVINCES.get(text.lower())
    if known is not None:
        return known
    if text in PLAN.areas:
        return text
    if text.startswith("0") and text[1:] in PLAN.areas:
        raise CellFault("an area code stands here without its 0", f"write {text[1:]}")
    if len(text) > 32:
        raise CellFault("too long for an area code or province", "write area codes and provinces, such as 755; 广东")
    close = get_close_matches(text.lower(), _PROVINCES, 1, 0.8) or [name for name in _PROVINCES if text.startswith(name)]
    hint = f"write {_PROVINCES[close[0]]}" if close else "write area codes and provinces, such as 755; 广东"
    raise CellFault("no such area code or province", hint)


def holds_on(places: Places, local: Locality, area: str | None, home: str | None) -> bool:
    """Whether a row holds for a code that a trunk of home area `home` presents behind `area` (None: with none before it).

    Two that are not known are the same place only where the code says nothing: such a trunk has it, and says nothing of another area.
    """
    if area is None:
        if places == HOME:
            return True
        area = home
    return area is not None and _are_in(places, local, area, home)


def may_hold(places: Places, local: Locality, area: str | None, homes: Iterable[str | None]) -> bool:
    """Whether a row of trunks with those home areas may hold for a code that somebody else names: on any of them, and where nobody says
    which area's code it is.
    """
    return area is None or any(_are_in(places, local, area, home) for home in homes)


def area_codes(places: Places, local: Locality, homes: Iterable[str | None]) -> frozenset[str] | None:
    """The area codes in which a row holds; None where it is not known."""
    if places != HOME:
        return frozenset(code for code in PLAN.areas if _are_in(places, local, code, None))
    known = [home for home in homes if home is not None]
    return frozenset(code for code in PLAN.areas for home in known if _same(local, code, home)) or None


def _are_in(places: Places, local: Locality, area: str, home: str | None) -> bool:
    if places == HOME:
        return home is not None and _same(local, area, home)
    return area in places or province_of(area) in places


def _same(local: Locality, area: str, home: str) -> bool:
    return area == home or (local == "province" and province_of(area) == province_of(home) != "")
