"""Registers: files with one column `number` (exact, or a prefix ending in `*`), some with a word to each number.

own: numbers that belong to us; ported: numbers of ours that another operator serves now; overseas: `number,trunk`, enterprise numbers
hosted abroad (trunk empty: on any); roaming: `number,state`, abroad, home or unknown. consent and refusals (`number`, and more columns)
and holidays (`date`, and more) are read and checked, and not yet asked.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.index import SCALE, VALUE, ExactIndex, Sections, SpanIndex, canonical_key, point, prefix_interval
from rules.directory.sheet import sheet_rows

if TYPE_CHECKING:
    from rules.call import Trunk
    from rules.numbers import Number

COLUMNS = {"own": ("number",), "ported": ("number",), "overseas": ("number", "trunk"), "roaming": ("number", "state")}
"""Registers that look-ups ask."""

CHECKED = {"consent": ("number", fields.canonical), "refusals": ("number", fields.canonical), "holidays": ("date", fields.valid_from)}
"""Files that are only read and checked: the column that each must have, and what stands in it."""

_WORD_BITS = 26  # a prefix's row: how many digits it has, above the number of its word
_WORD_MASK = (1 << _WORD_BITS) - 1


class RegisterReader:
    """Reads every file of one register and builds its index."""

    def __init__(self, name: str, trunks: Mapping[str, Trunk], log: FaultLog) -> None:
        self.name = name
        self._log = log
        self._trunks = trunks
        self._words: dict[str, int] = {}
        self._keys = array("Q")
        self._key_words = array("I")
        self._prefixes: list[tuple[tuple[int, int], int]] = []
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
                stem = fields.prefix(number) if number.endswith("*") else fields.canonical(number)
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
                word = self._words.setdefault(text, len(self._words))
                if number.endswith("*"):
                    self._prefixes.append((prefix_interval(stem), (len(stem) - 1) << _WORD_BITS | word))
                else:
                    self._keys.append(canonical_key(stem))
                    self._key_words.append(word)

    def build(self, sections: Sections, words: dict[str, tuple[str, ...]], file: str) -> int:
        """Add the arrays of RegisterIndex and its words; the number of rows. `file` is named where they cannot be built."""
        words[self.name] = tuple(self._words)
        ExactIndex.build(sections, f"{self.name}.exact", self._keys, self._key_words)
        self._prefixes.sort(key=lambda pair: pair[0][1] - pair[0][0])
        try:
            SpanIndex.build(sections, f"{self.name}.wide", [interval for interval, _ in self._prefixes], [row for _, row in self._prefixes])
        except CellFault as fault:
            self._log.refuse(file, 0, "number", "", fault)
        return len(self._keys) + len(self._prefixes)


class RegisterIndex:
    """Finds the words that a register has for a number."""

    __slots__ = ("_exact", "_spans", "_words")

    def __init__(self, sections: Sections, name: str, words: tuple[str, ...]) -> None:
        self._words = words
        self._exact = ExactIndex.find_in(sections, f"{name}.exact")
        self._spans = SpanIndex.find_in(sections, f"{name}.wide")

    def find(self, number: Number) -> list[str]:
        """Its words: of the number itself first, then of the longest prefix on."""
        text = number.canonical
        if text is None:
            return []
        key = number.key or canonical_key(text)
        found = [] if self._exact is None else list(self._exact.find(key))
        if self._spans is not None:
            for row in self._spans.find((key & VALUE) * SCALE[key >> 56] if number.key else point(text)):
                if row >> _WORD_BITS < len(text):  # the prefix is not longer than the number
                    found.append(row & _WORD_MASK)
        return [self._words[word] for word in found]


def check_file(name: str, data: bytes, file: str, log: FaultLog) -> int:
    """Check a file of CHECKED; the number of its rows."""
    column, parse = CHECKED[name]
    rows = 0
    for line, cells in sheet_rows(data, file, (column,), 1, log, more=True):
        rows += 1
        try:
            fields.prefix(cells[0]) if cells[0].endswith("*") and column == "number" else parse(cells[0] or "-")
        except CellFault as fault:
            log.refuse(file, line, column, cells[0], fault)
    return rows
