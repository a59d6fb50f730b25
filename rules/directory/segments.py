"""segments.csv: which numbers each customer may use on which trunk, and which calls it gets.

Where segments overlap, the narrowest wins; of equally narrow ones the one whose row names its area, then the one for a single trunk before
one for every trunk (`*`) of a customer, then the one with the later valid_from (an open one is earliest), then the one that stands first.
Overlaps are reported as warnings.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.index import Sections, SpanIndex
from rules.directory.places import HOME, area_codes, parse_places
from rules.directory.rows import RowWriter
from rules.directory.segment import EVERY, Segment, TermsRow, terms_of
from rules.directory.segment_index import Everywhere
from rules.directory.sheet import sheet_rows
from rules.numbers.locality import covers_local, locality

if TYPE_CHECKING:
    from rules.call import Trunk

COLUMNS = (
    "customer",
    "trunk",
    "first",
    "last",
    "purpose",
    "valid_from",
    "valid_to",
    "hours",
    "direction",
    "category",
    "area",
    "max_cps",
    "max_calls",
)


_OVERLAPS_READ = 200_000  # elementary intervals and pairs looked at for warnings: enough to see them all in any sane list
_LONGER = 64  # more digits than any number has


class SegmentReader:
    """Reads the rows of every segments file and builds the index."""

    def __init__(
        self,
        trunks: Mapping[str, Trunk],
        log: FaultLog,
        canonical_form: Callable[[str], str | None],
        categories: tuple[str, ...],
        dates: fields.Dates,
    ) -> None:
        self._trunks = trunks
        self._log = log
        self._dates = dates
        self.everywhere = trunks_of_customers(trunks.values())
        """What EVERY stands for."""
        self._canonical_form = canonical_form
        self._segments: list[Segment] = []
        self._purpose = fields.word(("general", "marketing", "service"), empty="general")
        self._direction = fields.word(("out", "in", "both"), empty="both")
        self._category = fields.category(categories)
        self.limited: set[str] = set()
        """Trunks with a segment for marketing or for incoming calls only, or with hours."""
        self.marketing: set[str] = set()
        """Trunks with a segment for marketing."""
        self.capped: set[str] = set()
        """Trunks with a segment that has `max_cps` or `max_calls`."""
        self.sold: set[str] = set()
        """Categories of their segments."""

    def read(self, data: bytes, file: str) -> None:
        """Take in one file."""
        begins, ends, hours = fields.Memo(self._dates.valid_from), fields.Memo(self._dates.valid_to), fields.Memo(fields.hours)

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
            "area": self._area,
            "max_cps": self._max_cps,
            "max_calls": self._max_calls,
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
            areas = parsed.pop("area")
            segment = Segment(**parsed, file=file, line=line, least=digits, most=digits if parsed["last"] else _LONGER, areas=areas)
            self._warn_irregular(segment)
            self._segments.append(segment)
            if segment.purpose == "marketing":
                self.marketing.update(self._trunks_of(segment))
                self.sold.add(segment.category)
            if segment.max_cps is not None or segment.max_calls is not None:
                self.capped.update(self._trunks_of(segment))
            if segment.purpose == "marketing" or segment.hours or segment.direction == "in":
                self.limited.update(self._trunks_of(segment))

    def _trunks_of(self, segment: Segment) -> tuple[str, ...]:
        return self.everywhere[segment.customer] if segment.trunk == EVERY else (segment.trunk,)

    def _customer(self, row: dict[str, str]) -> str:
        customer = row["customer"]
        if row["trunk"] == EVERY:
            if not customer:
                raise CellFault("* in column trunk is every trunk of a customer, and none is named", "name one, or the id of a trunk")
            if customer not in self.everywhere:
                remedy = "write * for a customer that a [[trunk]] of kind enterprise in sipwarden.toml names"
                raise CellFault("no enterprise trunk belongs to this customer", remedy)
            return customer
        known = self._trunks.get(row["trunk"])
        if known is not None and customer not in known.serves:
            if known.customers:
                whose = f"customers {', '.join(map(repr, known.customers))}"
                raise CellFault(f"trunk {known.id!r} belongs to {whose}", "write one of them, or another trunk")
            raise CellFault(f"trunk {known.id!r} belongs to customer {known.customer!r}", f"write {known.customer!r}, or another trunk")
        return customer

    def _trunk(self, row: dict[str, str]) -> str:
        if row["trunk"] not in self._trunks and row["trunk"] != EVERY:
            remedy = "name the id of a [[trunk]] in sipwarden.toml, or write * for every trunk of the customer"
            raise CellFault("no such trunk" if row["trunk"] else "no trunk", remedy)
        return row["trunk"]

    def _area(self, row: dict[str, str]) -> tuple[str, ...]:
        first = row["first"]
        local = covers_local(first.removesuffix("*"), "" if first.endswith("*") else row["last"] or first)
        if not row["area"]:
            return HOME if local else ()
        try:
            _first(row), _last(row)
        except CellFault:
            return ()  # said at their own columns
        if not local:
            raise CellFault("these numbers are the same in every area", "leave it empty; it is for codes such as 96xxx, 12345 and 110")
        return parse_places(row["area"])

    def _max_cps(self, row: dict[str, str]) -> float | None:
        return fields.rate(row["max_cps"]) if self._caps(row, "max_cps") else None

    def _max_calls(self, row: dict[str, str]) -> int | None:
        return fields.count(row["max_calls"]) if self._caps(row, "max_calls") else None

    def _caps(self, row: dict[str, str], column: str) -> bool:
        if row[column] and row["direction"].lower() == "in":
            raise CellFault("calls from this segment are not permitted at all", "leave it empty: only calls from the numbers are limited")
        return bool(row[column])

    def _warn_irregular(self, segment: Segment) -> None:
        if segment.last and self._canonical_form(segment.first) != segment.first:
            self._log.warn(segment.file, segment.line, f"{segment.first} is no regular number: no caller is ever recognised as it")
        if segment.areas == HOME and (away := [name for name in self._trunks_of(segment) if self._trunks[name].home_area is None]):
            what = f"{segment} is another number in another area, and trunk {away[0]} has no home_area"
            self._log.warn(segment.file, segment.line, f"{what}: it counts there only where no area code is before it")

    def build(self, sections: Sections) -> int:
        """Add the arrays of SegmentIndex; the number of segments."""
        intervals = [segment.interval for segment in self._segments]

        def rank(row: int) -> tuple[int, int, bool, bool, float]:
            segment = self._segments[row]
            low, high = intervals[row]
            begin = segment.valid_from if segment.valid_from is not None else float("-inf")
            return high - low, segment.most, segment.areas in ((), HOME), segment.trunk == EVERY, -begin

        order = sorted(range(len(intervals)), key=rank)  # stable: equal ones stay in the order of the files
        writer = RowWriter()
        terms = RowWriter()
        terms_known: dict[TermsRow, int] = {}
        owners: dict[tuple[str, str], int] = {}
        terms_ids, owner_ids = array("I"), array("I")
        for segment in self._segments:
            writer.add(segment)
            own = terms_of(segment)
            known = terms_known.get(own)
            if known is None:
                known = terms_known[own] = terms.add(own)
            terms_ids.append(known)
            owner_ids.append(owners.setdefault((segment.trunk, segment.customer), len(owners)))
        if intervals:
            writer.sections(sections, "segments")
            terms.sections(sections, "segments.terms")
            sections["segments.terms.ids"] = memoryview(terms_ids)
            sections["segments.owners.ids"] = memoryview(owner_ids)
            sections["segments.owners"] = memoryview(msgspec.msgpack.encode(list(owners)))
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
                one, two = self._segments[winner], self._segments[other]
                if (winner, other) in seen or not one.overlaps(two) or not self._meet(one, two):
                    continue
                seen.add((winner, other))
                there = f"{two} of {two.where} ({two.file}:{two.line})"
                self._log.warn(one.file, one.line, f"segment {one} of {one.where} overlaps {there} and wins where both hold")

    def _meet(self, one: Segment, two: Segment) -> bool:
        """Whether they hold for the same code in some area."""
        if not one.areas or not two.areas:
            return True
        local = locality(one.first if one.last else two.first) or "province"
        codes = [
            area_codes(segment.areas, local, [self._trunks[name].home_area for name in self._trunks_of(segment)]) for segment in (one, two)
        ]
        return codes[0] is None or codes[1] is None or not codes[0].isdisjoint(codes[1])


def trunks_of_customers(trunks: Collection[Trunk]) -> Everywhere:
    """The enterprise trunks of each customer."""
    found: Everywhere = {}
    for trunk in trunks:
        for customer in trunk.serves if trunk.kind == "enterprise" else ():
            if customer:
                found[customer] = (*found.get(customer, ()), trunk.id)
    return found


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
