"""What called parties have said about marketing calls: consent and refusals (谢绝来电), files of one form.

A row names the called `number` (exact, or a prefix ending in `*`) and may name the `category` that is sold and the `customer` who sells;
empty: any. It counts from valid_from until valid_to, like every row. `evidence_ref` says where the statement is kept: consent without it is
refused. `note` is for people.

Ten million rows fit: equal ones share one encoded row, and the index is the one of registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.index import Sections
from rules.directory.registers import Places
from rules.directory.rows import RowWriter
from rules.directory.sheet import sheet_rows
from rules.directory.statement import Statement

if TYPE_CHECKING:
    from rules.call import Trunk

COLUMNS = ("number", "evidence_ref", "category", "customer", "valid_from", "valid_to", "note")

STATEMENTS = ("consent", "refusals")
"""The files of this form."""

_REMEMBERED: Final = 65536  # rows looked at again, so that equal ones are kept once


class StatementReader:
    """Reads every file of consent or of refusals and builds its index.

    `categories` are those that the configuration knows; where it names none, any is one, and those that no segment has are warned of.
    """

    def __init__(
        self, name: str, trunks: Mapping[str, Trunk], log: FaultLog, categories: tuple[str, ...], sold: set[str], dates: fields.Dates
    ) -> None:
        self.name = name
        self._log = log
        self._places = Places()
        self._rows = RowWriter()
        self._row_of: dict[tuple[str, ...], int] = {}
        self._category = fields.Memo(fields.category(categories))
        self._sold = None if categories else sold
        self._customers = {customer for trunk in trunks.values() for customer in trunk.serves}
        self._from = fields.Memo(dates.valid_from)
        self._to = fields.Memo(dates.valid_to)
        self._required = 2 if name == "consent" else 1

    def read(self, data: bytes, file: str) -> None:
        """Take in one file."""
        row_of, places = self._row_of, self._places
        odd: set[str] = set()
        for line, cells in sheet_rows(data, file, COLUMNS, self._required, self._log):
            number = cells[0]
            said = cells[1:6]
            try:
                row = row_of.get(said)
                if row is None:
                    row = self._row(said, file, line, odd)
                places.add(number, row)
            except CellFault:
                self._say_what_is_wrong(file, line, cells)

    def _row(self, said: tuple[str, ...], file: str, line: int, odd: set[str]) -> int:
        """The row that these cells are kept as. Raises CellFault."""
        evidence, category, customer, begin, end = said
        if self.name == "consent":
            _evidence(evidence)
        statement = Statement(evidence, self._category[category], customer, self._from[begin], self._to[end])
        fields.period(statement.valid_from, statement.valid_to)
        if customer and customer not in self._customers and f"of {customer}" not in odd:
            odd.add(f"of {customer}")
            self._log.warn(file, line, f"customer {customer} is not in the configuration: the row never counts here")
        name = statement.category
        if name and self._sold is not None and name not in self._sold and name not in odd:
            odd.add(name)
            self._log.warn(file, line, f"no marketing segment has category {name}: the row counts for uncategorised calls at most")
        if len(self._row_of) >= _REMEMBERED:
            self._row_of.clear()
        row = self._row_of[said] = self._rows.add(statement)
        return row

    def _say_what_is_wrong(self, file: str, line: int, cells: tuple[str, ...]) -> None:
        """A fault for every column of a refused row."""
        value = dict(zip(COLUMNS, cells, strict=True))
        parsers = {"number": fields.number_or_prefix, "category": self._category.__getitem__, "valid_from": self._from.__getitem__}
        if self.name == "consent":
            parsers["evidence_ref"] = _evidence
        wrong = False
        for column in COLUMNS:
            try:
                if column in parsers:
                    parsers[column](value[column])
                elif column == "valid_to":
                    until = self._to[value["valid_to"]]
                    fields.period(None if wrong else self._from[value["valid_from"]], until)
            except CellFault as fault:
                wrong = wrong or column == "valid_from"
                self._log.refuse(file, line, column, value[column], fault)

    def build(self, sections: Sections, file: str) -> int:
        """Add the arrays of StatementIndex; the number of rows. `file` is named where they cannot be built."""
        if len(self._rows):
            self._rows.sections(sections, self.name)
        try:
            return self._places.build(sections, self.name)
        except CellFault as fault:
            self._log.refuse(file, 0, "number", "", fault)
            return 0


def _evidence(text: str) -> str:
    if not text:
        raise CellFault("consent without evidence", "write the reference under which the consent is kept")
    return text
