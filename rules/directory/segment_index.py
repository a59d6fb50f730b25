"""Segments as they are looked up: by number, the best first."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from rules.directory.index import DIGITS, SCALE, VALUE, Sections, SpanIndex, point
from rules.directory.places import holds_on, may_hold
from rules.directory.rows import RowReader
from rules.directory.segment import EVERY, Direction, Segment, TermsRow
from rules.directory.terms import Terms
from rules.numbers.locality import area_before, locality

if TYPE_CHECKING:
    from rules.numbers import Number

Everywhere = dict[str, tuple[str, ...]]
"""The enterprise trunks of each customer, by id, in the order of sipwarden.toml."""

NONE: Final = -1
"""No row."""

CACHED: Final = 4096
"""Decoded segments kept, and terms: some 3 MiB of each. A power of two."""


class SegmentIndex:
    """Finds segments, by the number of their row; NONE where there is none. The one decoded last for each place of the cache is kept: busy
    customers call again. Terms likewise: few differ.

    `everywhere` is what EVERY stands for, `homes` the home area of each trunk that has one.
    """

    __slots__ = (
        "_cache",
        "_everywhere",
        "_homes",
        "_owner_ids",
        "_owners",
        "_rows",
        "_spans",
        "_terms",
        "_terms_cache",
        "_terms_ids",
    )

    def __init__(self, sections: Sections, everywhere: Everywhere, homes: dict[str, str]) -> None:
        self._everywhere = {customer: frozenset(trunks) for customer, trunks in everywhere.items()}
        self._homes = homes
        self._spans = SpanIndex(sections, "segments")
        self._rows = RowReader(sections, "segments", Segment)
        self._terms = RowReader(sections, "segments.terms", TermsRow)
        self._terms_ids = sections["segments.terms.ids"]
        self._owner_ids = sections["segments.owners.ids"]
        self._owners: list[tuple[str, str]] = msgspec.msgpack.decode(sections["segments.owners"], type=list[tuple[str, str]])
        self._cache: list[tuple[int, Segment] | None] = [None] * CACHED
        self._terms_cache: list[Terms | None] = [None] * CACHED

    def forget(self) -> Iterator[None]:
        """Drop the decoded segments, some at each step."""
        for place in range(0, CACHED, 256):
            self._cache[place : place + 256] = [None] * 256
            self._terms_cache[place : place + 256] = [None] * 256
            yield

    def segment(self, row: int) -> Segment:
        """A whole row."""
        kept = self._cache[row & (CACHED - 1)]
        if kept is None or kept[0] != row:
            kept = self._cache[row & (CACHED - 1)] = (row, self._rows[row])
        return kept[1]

    def terms(self, row: int) -> Terms:
        """The terms of a row."""
        which = self._terms_ids[row]
        kept = self._terms_cache[which & (CACHED - 1)]
        if kept is None or kept.which != which:
            kept = self._terms_cache[which & (CACHED - 1)] = Terms(which, self._terms[which])
        return kept

    def customer(self, row: int) -> str:
        """Whose a row is."""
        return self._owners[self._owner_ids[row]][1]

    def find(
        self,
        number: Number,
        trunk: str | None,
        unwanted: Direction | None,
        at: float,
        tenant: str | None = None,
        home: str | None = None,
        text: str | None = None,
    ) -> int:
        """The best segment at that time that holds the number: of `trunk` (None: of any), its direction not `unwanted`.

        `tenant`: of this customer only. `home`: the home area of a caller on another trunk, where `trunk` is None. `text`: another reading
        of the number, instead of its canonical form.
        """
        key = number.key
        if key and text is None:
            length = key >> 56
            place = (key & VALUE) * SCALE[length]
        else:
            if text is None:
                text = number.canonical
                if text is None:
                    return NONE
            length = len(text) - 1
            place = point(text)
        for row in self._spans.find(place):
            owner = self._owners[self._owner_ids[row]]
            of = owner[0]
            if not (trunk is None or of == trunk or (of == EVERY and trunk in self._everywhere[owner[1]])):
                continue
            if tenant is not None and owner[1] != tenant:
                continue
            terms = self.terms(row)
            if (
                terms.least <= length <= terms.most
                and terms.direction != unwanted
                and ((begin := terms.valid_from) is None or begin <= at)
                and ((until := terms.valid_to) is None or at < until)
                and (length <= DIGITS or terms.prefix or self.segment(row).first == text)  # longer ones share a point
                and (not terms.areas or self._is_there(terms, owner, number, text, trunk, home))
            ):
                return row
        return NONE

    def find_alternative(
        self, number: Number, trunk: str | None, unwanted: Direction | None, at: float, tenant: str | None = None, home: str | None = None
    ) -> int:
        """The same for the number's other readings, in their order."""
        for text in number.alternatives:
            found = self.find(number, trunk, unwanted, at, tenant, home, text)
            if found >= 0:
                return found
        return NONE

    def naming(self, number: Number) -> Iterator[Segment]:
        """Every segment that holds the number in its canonical form, whatever its trunk, direction and dates; the best first."""
        text = number.canonical
        if text is None:
            return
        length = len(text) - 1
        for row in self._spans.find(point(text)):
            segment = self._rows[row]
            if segment.least <= length <= segment.most and (length <= DIGITS or not segment.last or segment.first == text):
                yield segment

    def _is_there(
        self, terms: Terms, owner: tuple[str, str], number: Number, text: str | None, trunk: str | None, home: str | None
    ) -> bool:
        """Whether a code that differs by area is the one that the segment means."""
        code = text or number.canonical or ""
        local = locality(code)
        if not local:
            return True
        area = number.area if code == number.canonical else area_before(number.nsn, code[3:])
        if trunk is not None:
            return holds_on(terms.areas, local, area, self._homes.get(trunk))
        trunks: Collection[str] = self._everywhere[owner[1]] if owner[0] == EVERY else (owner[0],)
        return may_hold(terms.areas, local, area or home, map(self._homes.get, trunks))
