"""Rows of a day by the time of their receipt, however many there are: files of the history are sorted by called number.

As many as RUN octets of rows are sorted in memory. Where there are more, such runs go to one unnamed temporary file (in TMPDIR), in small
compressed pieces, and are merged from there: memory is bounded by RUN, and by PIECE octets for each run.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any, Final

TIME: Final = "received_at"
"""The column that rows are sorted by: int64, without nulls."""

RUN: Final = 64 << 20
PIECE: Final = 512 << 10


def by_time(tables: Iterable[Any], *, run: int = RUN, piece: int = PIECE) -> Iterator[Any]:
    """Tables of one schema, as tables whose rows are in order of time. Raises OSError where the temporary file finds no room."""
    kept: list[Any] = []
    octets = 0
    with ExitStack() as opened:
        file: IO[bytes] | None = None
        runs: list[_Run] = []
        for table in tables:
            if not table.num_rows:
                continue
            kept.append(table)
            octets += table.nbytes
            if octets >= run:
                if file is None:
                    file = opened.enter_context(TemporaryFile(prefix="sipwarden-replay-"))
                runs.append(_Run(file, _sorted(kept), piece))
                kept = []
                octets = 0
        if kept and file is not None:
            runs.append(_Run(file, _sorted(kept), piece))
        elif kept:
            yield from _cut(_sorted(kept), piece)
        kept = []
        yield from _merged(runs)


def _sorted(tables: list[Any]) -> Any:
    import pyarrow as pa

    whole = pa.concat_tables(tables)
    return whole.sort_by(TIME)


def _cut(table: Any, octets: int) -> Iterator[Any]:
    """A table in pieces of about as many octets."""
    rows = max(1, int(octets * table.num_rows / max(1, table.nbytes)))
    for at in range(0, table.num_rows, rows):
        yield table.slice(at, rows)


def _merged(runs: list[_Run]) -> Iterator[Any]:
    import pyarrow as pa

    runs = [run for run in runs if run.refill()]
    while runs:
        bound = min(run.last for run in runs)
        yield pa.concat_tables([run.upto(bound) for run in runs if run.first <= bound]).sort_by(TIME)
        runs = [run for run in runs if run.refill()]


class _Run:
    """Sorted rows in the temporary file, of which one piece is in memory, from time `first` to `last`."""

    def __init__(self, file: IO[bytes], table: Any, piece: int) -> None:
        self._fd = file.fileno()
        self._pieces: list[tuple[int, int]] = []
        self._table: Any = None
        self._next = 0
        self.first = self.last = 0
        try:
            self._write(file, table, piece)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: the temporary file of a day, in {gettempdir()} (TMPDIR names another)") from None

    def _write(self, file: IO[bytes], table: Any, piece: int) -> None:
        import pyarrow as pa

        options = pa.ipc.IpcWriteOptions(compression="lz4")
        for part in _cut(table, piece):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, part.schema, options=options) as stream:
                stream.write_table(part)
            data = sink.getvalue()
            self._pieces.append((file.tell(), data.size))
            file.write(data)
        file.flush()

    def refill(self) -> bool:
        """Whether there are rows; reads the next piece where the one before is used up."""
        import pyarrow as pa

        if self._table is None or not self._table.num_rows:
            if self._next == len(self._pieces):
                return False
            at, size = self._pieces[self._next]
            self._next += 1
            self._table = pa.ipc.open_stream(os.pread(self._fd, size, at)).read_all().combine_chunks()
        times = self._table[TIME]
        self.first, self.last = times[0].as_py(), times[-1].as_py()
        return True

    def upto(self, bound: int) -> Any:
        """Take the rows until a time."""
        times = self._table[TIME]
        rows = bisect_right(range(len(times)), bound, key=lambda at: times[at].as_py())
        piece, self._table = self._table.slice(0, rows), self._table.slice(rows)
        return piece
