"""How what a called party has said about marketing calls is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rules.directory.index import Sections
from rules.directory.register_index import RegisterIndex
from rules.directory.rows import RowReader
from rules.directory.statement import Statement

if TYPE_CHECKING:
    from rules.numbers import Number


class StatementIndex:
    """Finds what a called party has said."""

    __slots__ = ("_index", "_rows")

    def __init__(self, sections: Sections, name: str) -> None:
        self._index = RegisterIndex(sections, name)
        self._rows: RowReader[Statement] = RowReader(sections, name, Statement)

    def refusal(self, number: Number, category: str, customer: str, at: float) -> Statement | None:
        """A refusal of this category or of any; a call that does not say what it sells is stopped by a refusal of any category."""
        for row in self._index.find(number):
            said = self._rows[row]
            of = said.category
            if (not of or not category or of == category) and counts(said, customer, at):
                return said
        return None

    def consent(self, number: Number, category: str, customer: str, at: float) -> Statement | None:
        """Consent to this category or to any."""
        for row in self._index.find(number):
            said = self._rows[row]
            of = said.category
            if (not of or of == category) and counts(said, customer, at):
                return said
        return None

    def of(self, number: Number) -> Iterator[Statement]:
        """Everything the number has said, whether it counts or not."""
        for row in self._index.find(number):
            yield self._rows[row]


def counts(said: Statement, customer: str, at: float) -> bool:
    """Whether it counts for calls of that customer at that time."""
    of, begin, until = said.customer, said.valid_from, said.valid_to
    return (not of or of == customer) and (begin is None or begin <= at) and (until is None or at < until)
