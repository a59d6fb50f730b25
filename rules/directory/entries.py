"""Intercept and release lists: what one entry is, and how those that match a number are found.

`match` exact names a number in canonical form, or an irregular one by its raw digits (`106980001234`, no +): that is what a caller
without a canonical number is compared with. prefix (`+86138`, a star may follow) and range (`first-last`, equally many digits) hold
canonical numbers only. A pair is `caller>called`, `match` holding for both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rules.directory.entry import Entry as Entry
from rules.directory.entry import EntryType as EntryType
from rules.directory.entry import Match as Match
from rules.directory.index import SCALE, VALUE, ExactIndex, Sections, SpanIndex, exact_key, pair_key, point
from rules.directory.rows import RowReader

if TYPE_CHECKING:
    from rules.call import Trunk
    from rules.numbers import Number


def spoken(number: Number) -> str:
    """The text by which lists know a number: canonical, or the raw digits of an irregular one; empty where there is none."""
    return number.digits if number.canonical is None else number.canonical


class EntryIndex:
    """Entries of one list and one type."""

    __slots__ = ("_by_called", "_exact", "_rows", "_spans")

    def __init__(self, sections: Sections, role: str, type_: EntryType, rows: RowReader[Entry]) -> None:
        self._rows = rows
        self._exact = ExactIndex.find_in(sections, f"{role}.{type_}.exact")
        self._spans = SpanIndex.find_in(sections, f"{role}.{type_}.wide")
        self._by_called = SpanIndex.find_in(sections, f"{role}.{type_}.wide_called")

    def __bool__(self) -> bool:
        return self._exact is not None or self._spans is not None or self._by_called is not None

    def find(self, number: Number, trunk: Trunk, at: float) -> Entry | None:
        """The entry that holds for the number, for calls from that trunk at that time.

        One of the police before any other, then an exact one, then the narrowest prefix or range, then the earliest row.
        """
        key = number.key
        rows: Sequence[int] = () if self._exact is None else self._exact.find(key or exact_key(spoken(number)))
        if self._spans is not None:
            if key:
                place = (key & VALUE) * SCALE[key >> 56]
            else:
                place = 0 if number.canonical is None else point(number.canonical)  # no interval holds 0
            wide = self._spans.find(place)
            if wide:
                rows = (*rows, *wide)
        return self._best(rows, spoken(number), None, trunk, at) if rows else None

    def find_pair(self, caller: Number, called: Number, trunk: Trunk, at: float) -> Entry | None:
        """The same for entries of type pair."""
        rows: Sequence[int]
        key, other = caller.key, called.key
        if key and other:  # as `_pair_rows`, for nearly every call
            rows = () if self._exact is None else self._exact.find(pair_key(key, other))
            if self._spans is not None and (wide := self._spans.find((key & VALUE) * SCALE[key >> 56])):
                rows = (*rows, *wide)
            if self._by_called is not None and (wide := self._by_called.find((other & VALUE) * SCALE[other >> 56])):
                rows = (*rows, *wide)
        else:
            rows = self._pair_rows(spoken(caller), caller.canonical is not None, spoken(called), called.canonical is not None)
        return self._best(rows, spoken(caller), spoken(called), trunk, at) if rows else None

    def _pair_rows(self, caller: str, caller_regular: bool, called: str, called_regular: bool) -> list[int]:
        rows: list[int] = []
        if self._exact is not None:
            rows.extend(self._exact.find(pair_key(exact_key(caller), exact_key(called))))
        if caller_regular and called_regular:
            if self._spans is not None:
                rows.extend(self._spans.find(point(caller)))
            if self._by_called is not None:
                rows.extend(self._by_called.find(point(called)))
        return rows

    def _best(self, rows: Sequence[int], text: str, other: str | None, trunk: Trunk, at: float) -> Entry | None:
        best = None
        for row in rows:
            entry = self._rows[row]
            if names(entry, text, other) and counts(entry, trunk, at):
                if entry.source == "police":
                    return entry
                best = best or entry
        return best

    def naming(self, text: str, other: str | None) -> Iterator[Entry]:
        """Every entry that names one exact number (or pair), whatever its scope and validity."""
        regular = text.startswith("+")
        if other is not None:
            rows = self._pair_rows(text, regular, other, other.startswith("+"))
        else:
            rows = list(self._exact.find(exact_key(text))) if self._exact is not None else []
            if regular and self._spans is not None:
                rows.extend(self._spans.find(point(text)))
        for row in rows:
            entry = self._rows[row]
            if names(entry, text, other):
                yield entry


def names(entry: Entry, text: str, other: str | None) -> bool:
    """Whether it holds for a number (canonical, or raw digits), for a pair that caller and that called number."""
    match, number = entry.match, entry.number
    if entry.type != "pair":
        return text == number if match == "exact" else _holds(match, number, text)
    caller, _, called = number.partition(">")
    return other is not None and _holds(match, caller, text) and _holds(match, called, other)


def counts(entry: Entry, trunk: Trunk, at: float) -> bool:
    """Whether it counts for calls from that trunk at that time."""
    begin, until, scope = entry.valid_from, entry.valid_to, entry.scope
    if (begin is not None and at < begin) or (until is not None and at >= until):
        return False
    return scope == "global" or scope == f"trunk:{trunk.id}" or scope == f"customer:{trunk.customer}"


def _holds(match: Match, pattern: str, text: str) -> bool:
    if match == "exact":
        return text == pattern
    if match == "prefix":
        return text.startswith(pattern)
    first, _, last = pattern.partition("-")
    return len(text) == len(first) and first <= text <= last
