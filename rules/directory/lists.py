"""Reads intercept and release lists: rows of the sharing format, additions and withdrawals.

Per list_id, rows count in the order of seq, wherever they stand: A adds an entry; D withdraws every earlier entry of the list with the
same number, match, type and scope. A row that stands twice, word for word, counts once (imports may overlap); the same seq with another
content is a fault.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from rules.directory import fields
from rules.directory.entries import Entry, EntryIndex, EntryType, Match
from rules.directory.fault import CellFault, FaultLog
from rules.directory.index import ExactIndex, Sections, SpanIndex, canonical_key, pair_key, prefix_interval, range_interval, text_key
from rules.directory.rows import RowReader, RowWriter
from rules.directory.sheet import sheet_rows

if TYPE_CHECKING:
    from rules.call import Trunk

COLUMNS = (
    "list_id",
    "seq",
    "op",
    "number",
    "match",
    "type",
    "reason",
    "source",
    "evidence_ref",
    "valid_from",
    "valid_to",
    "scope",
    "created_at",
)
TYPES: tuple[EntryType, ...] = ("caller", "called", "pair")
ROLES = ("intercept", "release")
Interval = tuple[int, int]


class _Placed:
    """Entries of one type, as the indexes want them."""

    __slots__ = ("by_called", "exact_keys", "exact_rows", "wide")

    def __init__(self) -> None:
        self.exact_keys = array("Q")
        self.exact_rows = array("I")
        self.wide: list[tuple[Interval, int]] = []
        self.by_called: list[tuple[Interval, int]] = []


class ListReader:
    """Reads every file of one role and builds its indexes.

    `canonical_form` says of raw digits which regular number they are, if they are one after all.
    """

    def __init__(
        self, role: str, trunks: Mapping[str, Trunk], log: FaultLog, canonical_form: Callable[[str], str | None], dates: fields.Dates
    ) -> None:
        self.role = role
        self._trunks = trunks
        self._customers = {customer for trunk in trunks.values() for customer in trunk.serves}
        self._log = log
        self._canonical_form = canonical_form
        self._rows = RowWriter()
        self._placed = {type_: _Placed() for type_ in TYPES}
        self._files: list[str] = []
        # Of every row, by its id: list, seq, 1 for D, file << 32 | line.
        self._lists: dict[str, int] = {}
        self._list_of = array("I")
        self._seqs = array("Q")
        self._withdraws = bytearray()
        self._places = array("Q")
        self._newest: dict[str, int] = {}
        self._in_order = True  # the seq of each list rises from row to row, as they are written: no row can stand twice
        self._scopes = fields.Memo(fields.scope)
        self._ops = fields.Memo(fields.word(("A", "D")))
        self._matches = fields.Memo(fields.word(("exact", "prefix", "range")))
        self._types = fields.Memo(fields.word(TYPES))
        self._from = fields.Memo(dates.valid_from)
        self._to = fields.Memo(dates.valid_to)

    def read(self, data: bytes, file: str) -> None:
        """Take in one file."""
        place = len(self._files) << 32
        self._files.append(file)
        ops, matches, types, scopes, begins, ends = self._ops, self._matches, self._types, self._scopes, self._from, self._to
        release = self.role == "release"
        unknown_scopes: set[str] = set()
        for line, cells in sheet_rows(data, file, COLUMNS, 6, self._log):
            list_id, seq, op, number, match, type_, reason, source, evidence, begin, end, scope, created = cells
            try:
                entry = Entry(
                    list_id,
                    fields.sequence(seq),
                    number,
                    matches[match],  # type: ignore[arg-type]
                    types[type_],  # type: ignore[arg-type]
                    reason,
                    "police" if source.lower() == "police" else source,
                    evidence,
                    begins[begin],
                    ends[end],
                    scopes[scope],
                )
                withdraws = ops[op] == "D"
                begins[created]
                if not list_id:
                    fields.identifier(list_id)
                if end:
                    fields.period(entry.valid_from, entry.valid_to)
                if release and not withdraws:
                    _check_release(entry)
                self._place(entry, withdraws)
            except CellFault:
                self._say_what_is_wrong(file, line, cells)
                continue
            self._list_of.append(self._lists.setdefault(list_id, len(self._lists)))
            self._seqs.append(entry.seq)
            if entry.seq <= self._newest.get(list_id, -1):
                self._in_order = False
            self._newest[list_id] = entry.seq
            self._withdraws.append(withdraws)
            self._places.append(place | line)
            if scope not in unknown_scopes and entry.scope != "global" and not self._scope_known(entry.scope):
                unknown_scopes.add(scope)
                self._log.warn(file, line, f"scope {entry.scope} is not in the configuration: the entry never counts here")

    def _scope_known(self, scope: str) -> bool:
        kind, _, name = scope.partition(":")
        return name in self._trunks if kind == "trunk" else name in self._customers

    def _place(self, entry: Entry, withdraws: bool) -> None:
        """Keep the row, and where its number lies. Raises CellFault where it names no number."""
        number, match, placed = entry.number, entry.match, self._placed[entry.type]
        if match == "exact" and entry.type != "pair":
            key = self._exact_key(number)
            row = self._rows.add(entry)
            if not withdraws:
                placed.exact_keys.append(key)
                placed.exact_rows.append(row)
            return
        sides = number.split(">") if entry.type == "pair" else [number]
        if len(sides) != (2 if entry.type == "pair" else 1):
            raise CellFault("not a pair", "write caller>called, such as +8613802881946>+8675583123456")
        sides = [side.strip() for side in sides]
        if match == "exact":
            key = pair_key(self._exact_key(sides[0]), self._exact_key(sides[1]))
            row = self._rows.add(msgspec.structs.replace(entry, number=">".join(sides)))
            if not withdraws:
                placed.exact_keys.append(key)
                placed.exact_rows.append(row)
            return
        texts, intervals = zip(*[_interval(match, side) for side in sides], strict=True)
        row = self._rows.add(msgspec.structs.replace(entry, number=">".join(texts)))
        if withdraws:
            return
        # A pair is found by its narrower side: `+44>+8675583120000-...` must not be looked at for every call from +44.
        narrower = min(range(len(intervals)), key=lambda side: intervals[side][1] - intervals[side][0])
        (placed.by_called if narrower else placed.wide).append((intervals[narrower], row))

    def _exact_key(self, text: str) -> int:
        if fields.CANONICAL.fullmatch(text):
            return canonical_key(text)
        fields.exact(text)
        if canonical := self._canonical_form(text):
            raise CellFault("raw digits are for irregular numbers, and this one is regular", f"write {canonical}")
        return text_key(text)

    def _say_what_is_wrong(self, file: str, line: int, cells: tuple[str, ...]) -> None:
        """A fault for every column of a refused row."""
        value = dict(zip(COLUMNS, cells, strict=False))
        parsers: list[tuple[str, Callable[[str], object]]] = [
            ("list_id", fields.identifier),
            ("seq", fields.sequence),
            ("op", self._ops.__getitem__),
            ("match", self._matches.__getitem__),
            ("type", self._types.__getitem__),
            ("valid_from", self._from.__getitem__),
            ("valid_to", self._to.__getitem__),
            ("scope", fields.scope),
            ("created_at", self._from.__getitem__),
        ]
        wrong = False
        for column, parse in parsers:
            try:
                parse(value[column])
            except CellFault as fault:
                wrong = True
                self._log.refuse(file, line, column, value[column], fault)
        bad_words = wrong
        try:
            fields.period(self._from[value["valid_from"]], self._to[value["valid_to"]])
        except CellFault as fault:
            if not bad_words:
                self._log.refuse(file, line, "valid_to", value["valid_to"], fault)
        if self.role == "release" and value["op"].upper() == "A":
            for column, problem, remedy in _release_faults(value["match"].lower(), value["valid_to"], value["evidence_ref"]):
                self._log.fault(file, line, column, value[column], problem, remedy)
        try:
            match: Match = self._matches[value["match"]]  # type: ignore[assignment]
            pair = self._types[value["type"]] == "pair"
        except CellFault:
            return
        try:
            sides = value["number"].split(">") if pair else [value["number"]]
            if pair and len(sides) != 2:
                raise CellFault("not a pair", "write caller>called, such as +8613802881946>+8675583123456")
            for side in sides:
                if match == "exact":
                    self._exact_key(side.strip())
                else:
                    _interval(match, side.strip())
        except CellFault as fault:
            self._log.refuse(file, line, "number", value["number"], fault)

    def build(self, sections: Sections) -> int:
        """Apply withdrawals, add the arrays of EntryIndex; the number of entries that remain."""
        if not len(self._rows):
            return 0
        self._rows.sections(sections, self.role)
        rows = RowReader(sections, self.role, Entry)
        gone = self._repeated(rows) | self._withdrawn(rows)
        remain = 0
        for type_, placed in self._placed.items():
            keys, ids = placed.exact_keys, placed.exact_rows
            if gone:
                kept = [i for i, row in enumerate(ids) if row not in gone]
                keys, ids = array("Q", [keys[i] for i in kept]), array("I", [ids[i] for i in kept])
            ExactIndex.build(sections, f"{self.role}.{type_}.exact", keys, ids)
            remain += len(ids)
            for name, wide in (("wide", placed.wide), ("wide_called", placed.by_called)):
                wide = sorted([pair for pair in wide if pair[1] not in gone], key=lambda pair: pair[0][1] - pair[0][0])
                remain += len(wide)
                try:
                    SpanIndex.build(sections, f"{self.role}.{type_}.{name}", [interval for interval, _ in wide], [row for _, row in wide])
                except CellFault as fault:
                    self._log.refuse(self._files[0], 0, "number", "", fault)
        if self.role == "release":
            self._check_police(sections, [row for row in range(len(rows)) if not self._withdraws[row] and row not in gone])
        return remain

    def _repeated(self, rows: RowReader[Entry]) -> set[int]:
        """Rows that stand again. The same seq with another content goes to the log."""
        repeated: set[int] = set()
        if self._in_order:
            return repeated
        by_list: dict[int, tuple[array[int], array[int]]] = {}
        for row, list_number in enumerate(self._list_of):
            if list_number not in by_list:
                by_list[list_number] = (array("Q"), array("I"))
            seqs, ids = by_list[list_number]
            seqs.append(self._seqs[row])
            ids.append(row)
        for seqs, ids in by_list.values():
            if len(set(seqs)) == len(seqs):
                continue
            first: dict[int, int] = {}
            for seq, row in zip(seqs, ids, strict=True):
                before = first.setdefault(seq, row)
                if before == row:
                    continue
                if rows[before] == rows[row] and self._withdraws[before] == self._withdraws[row]:
                    repeated.add(row)
                    continue
                file, line = self._where(row)
                there = "{}:{}".format(*self._where(before))
                problem = f"stands in list {rows[row].list_id!r} already, with another content, at {there}"
                self._log.fault(file, line, "seq", str(seq), problem, "give each row of a list its own seq")
        return repeated

    def _withdrawn(self, rows: RowReader[Entry]) -> set[int]:
        """Rows that a later D of the same list withdraws."""
        if 1 not in self._withdraws:
            return set()
        orders: dict[tuple[str, str, str, str, str], list[int]] = {}
        for row, withdraws in enumerate(self._withdraws):
            if withdraws:
                orders.setdefault(_identity(rows[row]), []).append(row)
        gone: set[int] = set()
        used: set[int] = set()
        for row, withdraws in enumerate(self._withdraws):
            if withdraws:
                continue
            later = [order for order in orders.get(_identity(rows[row]), ()) if self._seqs[order] > self._seqs[row]]
            if later:
                gone.add(row)
                used.update(later)
        for same in orders.values():
            for order in same:
                if order not in used:
                    file, line = self._where(order)
                    text = f"list {rows[order].list_id!r} has no earlier entry with this number, match, type and scope"
                    self._log.warn(file, line, f"D withdraws nothing: {text}")
        return gone

    def _where(self, row: int) -> tuple[str, int]:
        place = self._places[row]
        return self._files[place >> 32], place & 0xFFFFFFFF

    def _check_police(self, sections: Sections, kept: list[int]) -> None:
        """A release that would lift an entry of the police is a fault."""
        if "intercept.blob" not in sections:
            return
        rows = RowReader(sections, "release", Entry)
        intercept = RowReader(sections, "intercept", Entry)
        indexes = {type_: EntryIndex(sections, "intercept", type_, intercept) for type_ in TYPES}
        for row in kept:
            release = rows[row]
            text, _, other = release.number.partition(">")
            for entry in indexes[release.type].naming(text, other or None):
                if entry.source == "police" and _meet(release, entry) and self._scopes_meet(release.scope, entry.scope):
                    file, line = self._where(row)
                    problem = f"matches entry {entry.list_id}:{entry.seq} ({entry.match} {entry.number}), whose source is police"
                    self._log.fault(file, line, "number", release.number, problem, "take it out: only the police withdraws its entries")
                    break

    def _scopes_meet(self, one: str, two: str) -> bool:
        if "global" in (one, two) or one == two:
            return True
        return any(
            {one, two} == {f"trunk:{trunk.id}", f"customer:{customer}"} for trunk in self._trunks.values() for customer in trunk.serves
        )


def _identity(entry: Entry) -> tuple[str, str, str, str, str]:
    return entry.list_id, entry.type, entry.match, entry.number, entry.scope


def _interval(match: Match, text: str) -> tuple[str, Interval]:
    """A side's text as kept, and its points."""
    if match == "prefix":
        stem = fields.prefix(text)
        return stem, prefix_interval(stem)
    first, last = fields.number_range(text)
    return f"{first}-{last}", range_interval(first, last)


def _release_faults(match: str, valid_to: str, evidence: str) -> list[tuple[str, str, str]]:
    """What an added release lacks: (column, problem, remedy)."""
    faults = []
    if match in ("prefix", "range"):
        faults.append(("match", "a release names one exact number", "write exact, and one row for each number whose appeal was upheld"))
    if not valid_to:
        faults.append(("valid_to", "a release has an expiry", "write the last day it counts, such as 2026-12-31"))
    if not evidence:
        faults.append(("evidence_ref", "a release names its evidence", "write the reference of the upheld appeal"))
    return faults


def _check_release(entry: Entry) -> None:
    for _, problem, remedy in _release_faults(entry.match, "" if entry.valid_to is None else "set", entry.evidence_ref):
        raise CellFault(problem, remedy)


def _meet(one: Entry, two: Entry) -> bool:
    """Whether the validities of two entries have an instant in common."""
    return (one.valid_to is None or two.valid_from is None or two.valid_from < one.valid_to) and (
        two.valid_to is None or one.valid_from is None or one.valid_from < two.valid_to
    )
