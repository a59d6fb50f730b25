"""Records of the history as a trace: each row gives the Attempt that it was made of, and what told how its call was set up or ended.

A row keeps the values of header fields, not the lines: written anew they stand in another order, one value a line, which changes no
verdict. An octet that was not UTF-8 stands in a row as `\\xNN`, and becomes that octet again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from typing import IO, Any, Final, NamedTuple

import msgspec

from proxy.events import Answer, Attempt, End, Event
from proxy.records import parquet
from proxy.records.lines import OTHER
from proxy.replay.recorded import Recorded
from proxy.replay.sorting import TIME, by_time
from proxy.replay.trouble import DAMAGED, FILE, Trouble
from proxy.replay.window import Window

BATCH: Final = 8192
"""Rows of a file that are read at once, at the most."""
BATCH_BYTES: Final = 8 << 20
WAITING: Final = 65_536
"""Calls at once whose end is still to be told; of more, the soonest is told early."""

_NAMES: Final = {
    "via": b"Via",
    "from": b"From",
    "to": b"To",
    "pai": b"P-Asserted-Identity",
    "ppi": b"P-Preferred-Identity",
    "diversion": b"Diversion",
    "history_info": b"History-Info",
    "privacy": b"Privacy",
    "identity": b"Identity",
}
_TIMES: Final = (TIME, "answered_at", "ended_at")
_TEXT: Final = (
    "trunk",
    "kind",
    "customer",
    "upstream",
    "address",
    "transport",
    "caller_raw",
    "called_raw",
    "action",
    "code",
    "rule",
    "answers",
)
_COLUMNS: Final = (*_TIMES, "ended_by", "why", "status", "port", "cseq", "call_id", "from_tag", *_TEXT, *_NAMES, OTHER)
_PART: Final = "part"
_ROW: Final = "row"
_OCTET: Final = re.compile(rb"\\x([89a-f][0-9a-f])")

_NOTHING: Final[Any] = {
    field.name: () if field.name in ("marks", "lines") else 0 if field.type is int else "" for field in msgspec.structs.fields(Attempt)
}


class Part(NamedTuple):
    """One Parquet file: its name, and what opens it (which raises OSError)."""

    name: str
    open: Callable[[], IO[bytes]]


def recorded(days: Iterable[Sequence[Part]], window: Window, trouble: Trouble) -> Iterator[Recorded]:
    """The calls of the history within a window, in order of time within each day, and what told how they ended when that was told.

    `trouble.packets` counts the rows. Nothing that a file holds raises: what stands before the first damage is read, and the damage named.
    Raises OSError where there is no room for the temporary file of a day.
    """
    ends: list[tuple[int, int, Recorded]] = []
    turn = 0
    for parts in days:
        for table in by_time(_tables(parts, window, trouble)):
            for row in table.to_pylist():
                trouble.packets += 1
                if row["action"] is None:
                    continue  # its attempt was lost: nothing to judge
                place = f"{parts[row[_PART]].name}:{row[_ROW]}"
                attempt, end = _events(row)
                while ends and ends[0][0] <= attempt.at:
                    yield heappop(ends)[2]
                yield Recorded(attempt, place)
                if end is not None:
                    turn += 1
                    heappush(ends, (end.at, turn, Recorded(end, place)))
                    if len(ends) > WAITING:
                        yield heappop(ends)[2]
    while ends:
        yield heappop(ends)[2]


def _tables(parts: Sequence[Part], window: Window, trouble: Trouble) -> Iterator[Any]:
    import pyarrow as pa

    for number, part in enumerate(parts):
        try:
            file = part.open()
        except OSError as error:
            trouble.note(FILE, part.name, error.strerror or str(error))
            continue
        with file:
            try:
                yield from _of_file(file, number, window)
            except _Foreign as error:
                trouble.note(FILE, part.name, str(error))
            except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
                trouble.note(DAMAGED, part.name, str(error).partition("\n")[0] or type(error).__name__)


class _Foreign(Exception):
    """A file that is none of a history; says why."""


def _of_file(raw: IO[bytes], number: int, window: Window) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(raw)
        there = set(file.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        text = str(error).partition("\n")[0]
        raise _Foreign(f"no Parquet file that can be read: {text}") from None
    missing = [name for name in _COLUMNS if name not in there]
    if missing:
        raise _Foreign(f"no file of a history: it has no column {missing[0]}")
    every = parquet.schema()
    wanted = pa.schema([every.field(name) for name in _COLUMNS])
    metadata = file.metadata
    each = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)) / max(1, metadata.num_rows)
    size = max(64, min(BATCH, int(BATCH_BYTES / max(each, 1.0))))
    before = 1
    for batch in file.iter_batches(batch_size=size, columns=list(_COLUMNS), use_threads=False):
        batch.validate(full=True)
        table = pa.Table.from_batches([batch]).select(_COLUMNS).cast(wanted)
        for name in _TIMES:
            table = table.set_column(table.schema.get_field_index(name), name, table[name].cast("int64"))
        rows = table.num_rows
        table = table.append_column(_PART, pa.array([number] * rows, pa.int32()))
        table = table.append_column(_ROW, pa.array(range(before, before + rows), pa.int64()))
        before += rows
        times = table[TIME]
        if times.null_count:
            raise ValueError(f"a row before {before} has no time")
        yield table.filter(pc.and_(pc.greater_equal(times, window.first), pc.less_equal(times, window.last - 1)))


def _events(row: dict[str, Any]) -> tuple[Attempt, Event | None]:
    """The Attempt of a row, and the Answer or End that told its final response, where another event did."""
    at = row[TIME]
    answered, ended, status = row["answered_at"], row["ended_at"], row["status"] or 0
    lines = [name + b": " + _octets(value) for column, name in _NAMES.items() for value in row[column] or () if value is not None]
    lines += [_octets(line) for line in row[OTHER] or () if line is not None]
    key = (_octets(row["call_id"] or ""), _octets(row["from_tag"] or ""), row["trunk"] or "", row["cseq"] or 0)
    at_once = answered is None and ended == at and row["ended_by"] == "proxy"
    attempt = Attempt(
        **{
            **_NOTHING,
            **{name: row[name] or "" for name in _TEXT},
            "at": at,
            "call_id": key[0],
            "from_tag": key[1],
            "cseq": key[3],
            "port": row["port"] or 0,
            "status": status if at_once else 0,
            "lines": tuple(lines),
        }
    )
    if at_once:
        return attempt, None
    if answered is not None and (ended is None or answered <= ended):
        # of an answered call that failed later the row has the later status
        return attempt, Answer(max(at, answered), *key, status if 200 <= status < 300 else 200, "", "")
    if ended is not None and status:
        return attempt, End(max(at, ended), *key, status, "proxy", row["why"] or "")
    return attempt, None


def _octets(text: str) -> bytes:
    """A value as it came: see `proxy.records.lines.text`."""
    data = text.encode("utf-8", "surrogateescape")
    return _OCTET.sub(lambda found: bytes.fromhex(found[1].decode()), data) if b"\\x" in data else data
