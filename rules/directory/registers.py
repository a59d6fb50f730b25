"""Registers: files with one column `number` (exact, or a prefix ending in `*`), some with a word to each number.

own: numbers that belong to us; ported: numbers of ours that another operator serves now; overseas: `number,trunk`, enterprise numbers
hosted abroad (trunk empty: on any); roaming: `number,state`, abroad, home or unknown.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.index import ExactIndex, Sections, SpanIndex, canonical_key, prefix_interval
from rules.directory.register_index import ROW_BITS
from rules.directory.sheet import sheet_rows

if TYPE_CHECKING:
    from rules.call import Trunk

COLUMNS = {"own": ("number",), "ported": ("number",), "overseas": ("number", "trunk"), "roaming": ("number", "state")}
"""The files of this form."""


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
            self._prefixes.append((prefix_interval(stem), (len(stem) - 1) << ROW_BITS | row))

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
