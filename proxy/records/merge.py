"""Many small files of a day to few: all of a day to one once no call of it can still be going on, eight of a size to one before that.

Files are sorted, so this reads each from front to back, a batch at a time: memory is bounded by the batches, however large the day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.records import parquet
from proxy.records.columns import DAY
from proxy.records.compact import save
from proxy.records.join import LINGER, LONGEST
from proxy.records.store import File, Store, place, without

TOGETHER: Final = 8
"""Files of about one size that are merged to one."""

SMALL: Final = 65_536
"""Rows below which sizes are not told apart."""

BATCH: Final = 16_384
"""Rows of each file that are in memory at once, at the most."""

BATCH_BYTES: Final = 16 << 20

LATE: Final = 20
"""A day that is over is merged when one row in as many lies outside its largest file."""

AT_ONCE: Final = 32
"""Files that are merged in one go."""


def merge_days(store: Store, now: int, *, together: int = TOGETHER) -> int:
    """Merge what is due, each day a change of its own; how many files went into larger ones. Raises OSError, StoreFault."""
    merged = 0
    for day in list(store.manifest.days):
        while True:
            files = store.manifest.days.get(day, ())
            chosen = choose(files, over=now >= end_of(day) + LONGEST + LINGER, together=together)
            if not chosen:
                break
            merge(store, day, chosen)
            merged += len(chosen)
    return merged


def end_of(day: str) -> int:
    """The first millisecond after a day."""
    return (date.fromisoformat(day).toordinal() - date(1970, 1, 1).toordinal() + 1) * DAY


def choose(files: tuple[File, ...], *, over: bool, together: int = TOGETHER) -> tuple[File, ...]:
    """The files that are merged next; none where that would not pay."""
    if over:
        largest = max((file.rows for file in files), default=0)
        late = sum(file.rows for file in files) - largest  # a day is not written anew for a few that came late
        return files[:AT_ONCE] if len(files) >= together or late * LATE > largest else ()
    sizes: dict[int, list[File]] = {}
    for file in files:
        step = 0
        while file.rows >= SMALL * together**step:
            step += 1
        sizes.setdefault(step, []).append(file)
    for same in sizes.values():
        if len(same) >= together:
            return tuple(same[:together])
    return ()


def merge(store: Store, day: str, chosen: tuple[File, ...]) -> None:
    """Replace files of a day by one."""
    paths = [place(store.folder, day, file) for file in chosen]
    new = save(store.new_file(day), merged(paths))
    days = {**store.manifest.days}
    days[day] = (*without(days[day], chosen), new)
    store.commit(msgspec.structs.replace(store.manifest, days=days))


def merged(paths: list[Path]) -> Iterator[Any]:
    """The rows of several files in order, as tables of a row group each."""
    import pyarrow as pa

    sources = [source for source in map(_Source, paths) if source.refill()]
    kept: list[Any] = []
    rows = octets = 0
    while sources:
        bound = min(source.last for source in sources)
        pieces = [piece for source in sources if (piece := source.upto(bound)).num_rows]
        sources = [source for source in sources if source.refill()]
        piece = parquet.in_order(pa.concat_tables(pieces)) if len(pieces) > 1 else pieces[0]
        kept.append(piece)
        rows += piece.num_rows
        octets += piece.nbytes
        while rows and rows >= (size := parquet.group_rows(octets / rows)):
            whole = pa.concat_tables(kept)
            yield whole.slice(0, size)
            rest = whole.slice(size)
            kept = [rest]
            rows, octets = rest.num_rows, rest.nbytes
    if rows:
        yield pa.concat_tables(kept)


class _Source:
    """One file, read from front to back: `last` is the place in the order of the last row that is in memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        metadata = file.metadata
        each = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)) / max(1, metadata.num_rows)
        size = max(64, min(BATCH, int(BATCH_BYTES / max(each, 1.0))))
        self._batches: Iterator[Any] = file.iter_batches(batch_size=size, use_threads=False)
        self._schema = file.schema_arrow
        self._table: Any = None
        self.last: tuple[bool, str, int] = (False, "", 0)

    def refill(self) -> bool:
        """Whether there are rows; reads the next ones where those before are used up."""
        import pyarrow as pa

        while self._table is None or not self._table.num_rows:
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._table = pa.Table.from_batches([batch])
            self.last = self._at(batch.num_rows - 1)
        return True

    def upto(self, bound: tuple[bool, str, int]) -> Any:
        """Take the rows that stand no later in the order than a place."""
        low, high = 0, self._table.num_rows
        while low < high:
            middle = (low + high) // 2
            if self._at(middle) <= bound:
                low = middle + 1
            else:
                high = middle
        piece, self._table = self._table.slice(0, low), self._table.slice(low)
        return piece

    def _at(self, index: int) -> tuple[bool, str, int]:
        called = self._table["called"][index].as_py()
        return called is None, called or "", self._table["received_at"][index].cast("int64").as_py()
