"""Registers: files with one column `number` (exact, or a prefix ending in `*`), some with a word to each number.

own: numbers that belong to us; ported: numbers of ours that another operator serves now; overseas: `number,trunk`, enterprise numbers
hosted abroad (trunk empty: on any); roaming: `number,state`, abroad, home or unknown.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.index import SCALE, VALUE, ExactIndex, Sections, SpanIndex, canonical_key, point, prefix_interval
from rules.directory.sheet import sheet_rows

if TYPE_CHECKING:
    from rules.call import Trunk
    from rules.numbers import Number

COLUMNS = {"own": ("number",), "ported": ("number",), "overseas": ("number", "trunk"), "roaming": ("number", "state")}
"""The files of this form."""

_ROW_BITS = 28  # a prefix in its index: how many digits it has (at most 15), above its row
_ROW_MASK = (1 << _ROW_BITS) - 1

T = TypeVar("T")


class Places:
    """Where the numbers of one kind of file lie, while it is read."""

    __slots__ = ("_keys", "_prefixes", "_rows")

    def __init__(self) -> None:
        self._keys = array("Q")
        self._rows = array("I")
        self._prefixes: list[tuple[tuple[int, int], int]] = []

    def add(self, number: str, row: int) -> None:
        """A number, or a prefix with its star, and its row. Raises CellFault."""
        if fields.CANONICAL.fullmatch(number):
            self._keys.append(canonical_key(number))
            self._rows.append(row)
        else:
            stem = fields.number_or_prefix(number)[:-1]
            self._prefixes.append((prefix_interval(stem), (len(stem) - 1) << _ROW_BITS | row))

    def build(self, sections: Sections, name: str) -> int:
        """Add the arrays of RegisterIndex; the number of rows. Raises CellFault where prefixes overlap too deeply."""
        ExactIndex.build(sections, f"{name}.exact", self._keys, self._rows)
        self._prefixes.sort(key=lambda pair: pair[0][1] - pair[0][0])
        SpanIndex.build(sections, f"{name}.wide", [interval for interval, _ in self._prefixes], [row for _, row in self._prefixes])
        return len(self._keys) + len(self._prefixes)


class RegisterReader:
    """Reads every file of one register and builds its index."""

    def __init__(self, name: str, trunks: Mapping[str, Trunk], log: FaultLog) -> None:
        self.name = name
        self._log = log
        self._trunks = trunks
        self._words: dict[str, int] = {}
        self._places = Places()
        self._states: dict[str, str] = {}
        self._word: Callable[[str], str] = {"overseas": self._trunk, "roaming": fields.word(("abroad", "home", "unknown"))}.get(name, str)

    def _trunk(self, text: str) -> str:
        if text and text not in self._trunks:
            raise CellFault("no such trunk", "name the id of a [[trunk]] in sipwarden.toml, or leave it empty for any")
        return text

    def read(self, data: bytes, file: str) -> None:
        """Take in one file."""
        columns = COLUMNS[self.name]
        required = 2 if self.name == "roaming" else 1
        for line, cells in sheet_rows(data, file, columns, required, self._log):
            number, second = cells[0], cells[1] if len(columns) == 2 else ""
            good = True
            try:
                fields.number_or_prefix(number)
            except CellFault as fault:
                self._log.refuse(file, line, "number", number, fault)
                good = False
            try:
                text = self._word(second)
                if good and self.name == "roaming" and self._states.setdefault(number, text) != text:
                    raise CellFault(f"this number is {self._states[number]!r} in an earlier row", "keep one row for each number")
            except CellFault as fault:
                self._log.refuse(file, line, columns[-1], second, fault)
                good = False
            if good:
                self._places.add(number, self._words.setdefault(text, len(self._words)))

    def build(self, sections: Sections, words: dict[str, tuple[str, ...]], file: str) -> int:
        """Add the arrays of RegisterIndex and its words; the number of rows. `file` is named where they cannot be built."""
        words[self.name] = tuple(self._words)
        try:
            return self._places.build(sections, self.name)
        except CellFault as fault:
            self._log.refuse(file, 0, "number", "", fault)
            return 0


class RegisterIndex(Generic[T]):
    """Finds what a register has for a number; `row` gives it by its row."""

    __slots__ = ("_exact", "_row", "_spans")

    def __init__(self, sections: Sections, name: str, row: Callable[[int], T]) -> None:
        self._row = row
        self._exact = ExactIndex.find_in(sections, f"{name}.exact")
        self._spans = SpanIndex.find_in(sections, f"{name}.wide")

    def find(self, number: Number) -> list[T]:
        """What stands in its rows: of the number itself first, then of the longest prefix on."""
        text = number.canonical
        if text is None:
            return []
        key = number.key or canonical_key(text)
        found = [] if self._exact is None else list(self._exact.find(key))
        if self._spans is not None:
            for row in self._spans.find((key & VALUE) * SCALE[key >> 56] if number.key else point(text)):
                if row >> _ROW_BITS < len(text):  # the prefix is not longer than the number
                    found.append(row & _ROW_MASK)
        return [self._row(row) for row in found] if found else []
