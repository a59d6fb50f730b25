"""Rows that look-ups return, kept encoded in one section and decoded only upon a hit."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from rules.directory.index import Sections
from rules.kernel import compiled

T = TypeVar("T", bound=msgspec.Struct)


class RowWriter:
    """Encodes rows one after another."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._blob = bytearray()
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, row: msgspec.Struct) -> int:
        """The row's id: its place among the rows."""
        self._encoder.encode_into(row, self._blob, -1)
        self._ends.append(len(self._blob))
        return len(self._ends) - 2

    def sections(self, sections: Sections, name: str) -> None:
        """Add what RowReader reads. Nothing may be added to the writer after."""
        sections[f"{name}.blob"] = memoryview(self._blob)
        sections[f"{name}.ends"] = memoryview(self._ends)


class RowReader(Generic[T]):
    """Decodes one row at a time."""

    __slots__ = ("_blob", "_decode", "_encoded", "_ends")

    def __init__(self, sections: Sections, name: str, kind: type[T]) -> None:
        self._blob = sections[f"{name}.blob"]
        self._ends = sections[f"{name}.ends"]
        self._decode: Callable[[bytes | memoryview[int]], T] = msgspec.msgpack.Decoder(kind).decode
        self._encoded: Callable[[int], bytes] | None = None if compiled is None else compiled.Rows(self._blob, self._ends).encoded

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> T:
        if self._encoded is not None:
            return self._decode(self._encoded(row))
        return self._decode(self._blob[self._ends[row] : self._ends[row + 1]])
