"""segments.csv: which numbers each trunk may use, and which calls it gets.

Where segments overlap, the narrowest wins; of equally narrow ones the one with the later valid_from (an open one is earliest); then the one
that stands first. Overlaps are reported as warnings.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.index import DIGITS, SCALE, VALUE, Sections, SpanIndex, point, prefix_interval, range_interval
from rules.directory.rows import RowReader, RowWriter
from rules.directory.sheet import sheet_rows

if TYPE_CHECKING:
    from rules.call import Trunk
    from rules.numbers import Number

COLUMNS = ("customer", "trunk", "first", "last", "purpose", "valid_from", "valid_to", "hours", "direction", "category")

Purpose = Literal["general", "marketing", "service"]
Direction = Literal["out", "in", "both"]

_OVERLAPS_READ = 200_000  # elementary intervals and pairs looked at for warnings: enough to see them all in any sane list
_LONGER = 64  # more digits than any number has

CACHED = 4096
"""Decoded segments kept: some 3 MiB. A power of two."""


class Segment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of segments.csv.

    A prefix has `first` "+86138*" and `last` "", a single number `first` == `last`. It counts while valid_from <= t < valid_to, Unix
    seconds, None where open. `hours` is the cell's text ("" always; `fields.hours` takes it apart). `category` is what a marketing segment
    sells, "" where it does not say. `file` and `line`: where it stands.
    """

    customer: str
    trunk: str
    first: str
    last: str
    purpose: Purpose
    valid_from: float | None
    valid_to: float | None
    hours: str
    direction: Direction
    category: str
    file: str
    line: int
    least: int
    """A number in the segment has at least so many digits ..."""
    most: int
    """... and at most so many."""

    def __str__(self) -> str:
        return self.first if self.last in ("", self.first) else f"{self.first}-{self.last}"

    @property
    def interval(self) -> tuple[int, int]:
        """Points [low, high) of its numbers, see `index`."""
        return range_interval(self.first, self.last) if self.last else prefix_interval(self.first[:-1])

    def overlaps(self, other: Segment) -> bool:
        """True when some number is in both at some time, their intervals of points overlapping."""
        return (
            self.least <= other.most
            and other.least <= self.most
            and (self.least <= DIGITS or not self.last or not other.last or self.first == other.first)
            and (self.valid_to is None or other.valid_from is None or other.valid_from < self.valid_to)
            and (other.valid_to is None or self.valid_from is None or self.valid_from < other.valid_to)
        )


class SegmentReader:
    """Reads the rows of every segments file and builds the index."""

    def __init__(
        self, trunks: Mapping[str, Trunk], log: FaultLog, canonical_form: Callable[[str], str | None], categories: tuple[str, ...]
    ) -> None:
        self._trunks = trunks
        self._log = log
        self._canonical_form = canonical_form
        self._segments: list[Segment] = []
        self._purpose = fields.word(("general", "marketing", "service"), empty="general")
        self._direction = fields.word(("out", "in", "both"), empty="both")
        self._category = fields.category(categories)
        self.limited: set[str] = set()
        """Trunks with a segment for marketing or for incoming calls only, or with hours."""
        self.marketing: set[str] = set()
        """Trunks with a segment for marketing."""
        self.sold: set[str] = set()
        """Categories of their segments."""

    def read(self, data: bytes, file: str) -> None:
        """Take in one file."""
        begins, ends, hours = fields.Memo(fields.valid_from), fields.Memo(fields.valid_to), fields.Memo(fields.hours)

        def end(row: dict[str, str]) -> float | None:
            until = ends[row["valid_to"]]
            try:
                begin = begins[row["valid_from"]]
            except CellFault:
                return until  # said at its own column
            fields.period(begin, until)
            return until

        def hours_text(row: dict[str, str]) -> str:
            hours[row["hours"]]
            return row["hours"]

        def category(row: dict[str, str]) -> str:
            if row["category"] and row["purpose"].lower() != "marketing":
                raise CellFault("only a marketing segment has a category", "leave it empty, or write purpose marketing")
            return self._category(row["category"])

        parsers: dict[str, Callable[[dict[str, str]], object]] = {
            "customer": self._customer,
            "trunk": self._trunk,
            "first": _first,
            "last": _last,
            "purpose": lambda row: self._purpose(row["purpose"]),
            "valid_from": lambda row: begins[row["valid_from"]],
            "valid_to": end,
            "hours": hours_text,
            "direction": lambda row: self._direction(row["direction"]),
            "category": category,
        }
        for line, cells in sheet_rows(data, file, COLUMNS, 3, self._log):
            value = dict(zip(COLUMNS, cells, strict=False))
            parsed: dict[str, Any] = {}
            good = True
            for column, parse in parsers.items():
                try:
                    parsed[column] = parse(value)
                except CellFault as fault:
                    good = False
                    self._log.refuse(file, line, column, value[column], fault)
            if not good:
                continue
            digits = len(value["first"].removesuffix("*")) - 1
            segment = Segment(**parsed, file=file, line=line, least=digits, most=digits if parsed["last"] else _LONGER)
            self._warn_irregular(segment)
            self._segments.append(segment)
            if segment.purpose == "marketing":
                self.marketing.add(segment.trunk)
                self.sold.add(segment.category)
            if segment.purpose == "marketing" or segment.hours or segment.direction == "in":
                self.limited.add(segment.trunk)

    def _customer(self, row: dict[str, str]) -> str:
        known = self._trunks.get(row["trunk"])
        if known is not None and known.customer != row["customer"]:
            raise CellFault(f"trunk {known.id!r} belongs to customer {known.customer!r}", f"write {known.customer!r}, or another trunk")
        return row["customer"]

    def _trunk(self, row: dict[str, str]) -> str:
        if row["trunk"] not in self._trunks:
            raise CellFault("no such trunk" if row["trunk"] else "no trunk", "name the id of a [[trunk]] in sipwarden.toml")
        return row["trunk"]

    def _warn_irregular(self, segment: Segment) -> None:
        if segment.last and self._canonical_form(segment.first) != segment.first:
            self._log.warn(segment.file, segment.line, f"{segment.first} is no regular number: no caller is ever recognised as it")

    def build(self, sections: Sections) -> int:
        """Add the arrays of SegmentIndex; the number of segments."""
        intervals = [segment.interval for segment in self._segments]

        def rank(row: int) -> tuple[int, int, float]:
            segment = self._segments[row]
            low, high = intervals[row]
            return high - low, segment.most, -(segment.valid_from if segment.valid_from is not None else float("-inf"))

        order = sorted(range(len(intervals)), key=rank)  # stable: equal ones stay in the order of the files
        writer = RowWriter()
        for segment in self._segments:
            writer.add(segment)
        if intervals:
            writer.sections(sections, "segments")
            try:
                SpanIndex.build(sections, "segments", [intervals[row] for row in order], order)
            except CellFault as fault:
                self._log.refuse(self._segments[0].file, 0, "first", "", fault)
                return 0
            self._warn_overlaps(SpanIndex(sections, "segments"))
        self._segments = []  # a million of them take a gigabyte, and other lists are still to be read
        return len(intervals)

    def _warn_overlaps(self, index: SpanIndex) -> None:
        seen: set[tuple[int, int]] = set()
        budget = _OVERLAPS_READ
        for cover in index.overlaps():
            for winner, other in combinations(cover[:8], 2):
                budget -= 1
                if budget < 0:
                    return
                if (winner, other) in seen or not self._segments[winner].overlaps(self._segments[other]):
                    continue
                seen.add((winner, other))
                one, two = self._segments[winner], self._segments[other]
                there = f"{two} of trunk {two.trunk} ({two.file}:{two.line})"
                self._log.warn(one.file, one.line, f"segment {one} of trunk {one.trunk} overlaps {there} and wins where both hold")


def _first(row: dict[str, str]) -> str:
    text = row["first"]
    if text.endswith("*"):
        return f"{fields.prefix(text)}*"
    return fields.canonical(text)


def _last(row: dict[str, str]) -> str:
    """`last`: empty for a prefix; for a single number the number itself."""
    first, last = row["first"], row["last"]
    if first.endswith("*"):
        if last:
            raise CellFault("a prefix has no last number", "leave it empty")
        return ""
    if not last or last == first:
        return first
    last = fields.canonical(last)
    try:
        fields.canonical(first)
    except CellFault:
        return last  # said at its own column
    return fields.ordered(first, last)[1]


class SegmentIndex:
    """Finds segments. The one decoded last for each place of the cache is kept: busy customers call again."""

    __slots__ = ("_cache", "_cover", "_heads", "_rows", "_starts")

    def __init__(self, sections: Sections) -> None:
        self._rows = RowReader(sections, "segments", Segment)
        self._cache: list[tuple[int, Segment] | None] = [None] * CACHED  # each with its row
        # The arrays of SpanIndex, read here without a call in between: this is the hot path of every legitimate call.
        self._starts = sections["segments.starts"]
        self._heads = sections["segments.heads"]
        self._cover = sections["segments.cover"]

    def forget(self) -> Iterator[None]:
        """Drop the decoded segments, some at each step."""
        for place in range(0, CACHED, 256):
            self._cache[place : place + 256] = [None] * 256
            yield

    def find(self, number: Number, trunk: str | None, unwanted: Direction | None, at: float) -> Segment | None:
        """The best segment at that time that holds the number: of `trunk` (None: of any), its direction not `unwanted`."""
        key = number.key
        if key:
            length = key >> 56
            return self._find(length, (key & VALUE) * SCALE[length], trunk, unwanted, at)
        text = number.canonical
        return None if text is None else self._find_text(text, trunk, unwanted, at)

    def find_alternative(self, number: Number, trunk: str | None, unwanted: Direction | None, at: float) -> Segment | None:
        """The same for the number's other readings, in their order."""
        for text in number.alternatives:
            found = self._find_text(text, trunk, unwanted, at)
            if found is not None:
                return found
        return None

    def naming(self, number: Number) -> Iterator[Segment]:
        """Every segment that holds the number in its canonical form, whatever its trunk, direction and dates; the best first."""
        text = number.canonical
        if text is None:
            return
        length = len(text) - 1
        found = bisect_right(self._starts, point(text))
        for row in self._cover[self._heads[found - 1] : self._heads[found]]:
            segment = self._rows[row]
            if segment.least <= length <= segment.most and (length <= DIGITS or not segment.last or segment.first == text):
                yield segment

    def _find_text(self, text: str, trunk: str | None, unwanted: Direction | None, at: float) -> Segment | None:
        return self._find(len(text) - 1, point(text), trunk, unwanted, at, text)

    def _find(
        self, length: int, place: int, trunk: str | None, unwanted: Direction | None, at: float, text: str | None = None
    ) -> Segment | None:
        heads = self._heads
        found = bisect_right(self._starts, place)
        here = heads[found - 1]
        end = heads[found]
        cache = self._cache
        while here < end:
            row = self._cover[here]
            here += 1
            kept = cache[row & (CACHED - 1)]
            if kept is None or kept[0] != row:
                kept = cache[row & (CACHED - 1)] = (row, self._rows[row])
            segment = kept[1]
            if (
                (trunk is None or segment.trunk == trunk)
                and segment.least <= length <= segment.most
                and segment.direction != unwanted
                and ((begin := segment.valid_from) is None or begin <= at)
                and ((until := segment.valid_to) is None or at < until)
                and (length <= DIGITS or not segment.last or segment.first == text)  # longer ones share a point
            ):
                return segment
        return None
