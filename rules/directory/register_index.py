"""How what stands in a register, or has been stated of a number, is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rules.directory.index import SCALE, VALUE, ExactIndex, Sections, SpanIndex, canonical_key, point

if TYPE_CHECKING:
    from rules.numbers import Number

ROW_BITS: Final = 28
"""A prefix in its index: how many digits it has (at most 15), above so many bits of its row."""

_ROW_MASK: Final = (1 << ROW_BITS) - 1
_NO_ROWS: Final[tuple[int, ...]] = ()


class RegisterIndex:
    """Finds the rows that name a number."""

    __slots__ = ("_exact", "_spans")

    def __init__(self, sections: Sections, name: str) -> None:
        self._exact = ExactIndex.find_in(sections, f"{name}.exact")
        self._spans = SpanIndex.find_in(sections, f"{name}.wide")

    def find(self, number: Number) -> Sequence[int]:
        """The number's own rows first, then those of the longest prefix on."""
        text = number.canonical
        if text is None:
            return _NO_ROWS
        key = number.key or canonical_key(text)
        found: Sequence[int] = _NO_ROWS if self._exact is None else self._exact.find(key)
        if self._spans is not None:
            wide = self._spans.find((key & VALUE) * SCALE[key >> 56] if number.key else point(text))
            if wide:
                size = len(text)
                found = (*found, *[row & _ROW_MASK for row in wide if row >> ROW_BITS < size])  # no prefix is longer than the number
        return found


class Register:
    """A register whose rows are words."""

    __slots__ = ("_index", "_words")

    def __init__(self, sections: Sections, name: str, words: tuple[str, ...]) -> None:
        self._index = RegisterIndex(sections, name)
        self._words = words

    def find(self, number: Number) -> list[str]:
        """What stands in the number's rows."""
        return [self._words[row] for row in self._index.find(number)]

    def has(self, number: Number) -> bool:
        """Whether the number stands in it."""
        return len(self._index.find(number)) > 0
