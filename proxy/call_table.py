"""The memory that the calls of a node are kept and counted in, as one worker sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.call_records import HEADER, RECORD
from proxy.tally import ROW_SIZE, Tally

PLAIN_CAPACITY: Final = 4096
"""Records where nobody gave memory for more."""


class CallTable:
    """The memory that calls are kept and counted in: `rows` of all workers (see Tally), `records` of worker `own`."""

    __slots__ = ("own", "records", "tally", "workers")

    def __init__(self, rows: Sequence[memoryview], records: memoryview, own: int, tally: Tally | None = None) -> None:
        self.own = own
        self.workers = len(rows)
        self.records = records
        self.tally = tally if tally is not None else Tally(rows, own)


def plain_table() -> CallTable:
    """A table of the process's own, for one worker."""
    return CallTable([memoryview(bytearray(ROW_SIZE)).cast("Q")], memoryview(bytearray(HEADER + PLAIN_CAPACITY * RECORD)), 0)
