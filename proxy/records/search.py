"""Calls to a number within a time, from all that is kept: the files of the history, what is pending, and the journal's segments that are not
in it yet, the open one too, so that a call of a second ago is found.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.events import Attempt, Event
from proxy.journal.segment import OPEN, SEALED, Segment, serial_of
from proxy.records.columns import DAY, NAMES, row
from proxy.records.compact import pending_events
from proxy.records.join import LONGEST, Key, resolve
from proxy.records.likeness import Sought, called_as
from proxy.records.store import FOLDER, File, Manifest, aside, day_name, place, read_manifest

SKEW: Final = 600_000
"""Milliseconds by which a segment's events may lie before its beginning or behind its last change: clocks are set, workers restart."""

TRIES: Final = 5
"""How often the history may change under a search before it is given up."""


class Record(msgspec.Struct, frozen=True):
    """What a search shows of a call; times in ms, UTC. `from_` holds the values of From."""

    received_at: int
    ringing_at: int | None
    answered_at: int | None
    ended_at: int | None
    status: int | None
    kind: str | None
    trunk: str
    customer: str | None
    upstream: str | None
    address: str | None
    port: int | None
    transport: str | None
    called: str | None
    caller: str | None
    called_raw: str | None
    caller_raw: str | None
    call_id: str
    from_tag: str
    cseq: int | None
    icid: str | None
    from_: list[str] | None = msgspec.field(name="from")
    pai: list[str] | None
    ppi: list[str] | None
    action: str | None
    code: str | None
    sent_as: str | None


_COLUMNS: Final = [field.encode_name for field in msgspec.structs.fields(Record)]
_TIMES: Final = ("received_at", "ringing_at", "answered_at", "ended_at")


class Changed(Exception):
    """The history changed faster than it could be read."""


def search(journal: Path, called: Sought, first: int, last: int) -> Iterator[Record]:
    """Every call to a number that was received from `first` to `last` (ms), in no order, each once.

    Raises OSError, StoreFault, and Changed where the history was changed under each of TRIES attempts before anything was found.
    """
    for _ in range(TRIES):
        manifest = read_manifest(journal / FOLDER)
        try:
            yield from _search(journal, manifest, called, first, last)
        except _Gone:
            continue
        return
    raise Changed(f"{journal / FOLDER} is being changed all the time; try again")


class _Gone(Exception):
    """A file of the manifest is not there any more."""


def _search(journal: Path, manifest: Manifest, called: Sought, first: int, last: int) -> list[Record]:
    folder = journal / FOLDER
    found: dict[tuple[Any, ...], Record] = {}
    # the newest first: what is compacted meanwhile is read twice, and counted once
    for record in _loose(journal, manifest, called, first, last):
        found[_key(record)] = record
    for number in range(first // DAY, last // DAY + 1):
        day = day_name(number)
        for file in manifest.days.get(day, ()):
            if file.first <= last and file.last >= first:
                for record in _of_file(_readable(folder, day, file), called, first, last):
                    found[_key(record)] = record
    return list(found.values())


def _key(record: Record) -> tuple[Any, ...]:
    return record.call_id, record.from_tag, record.trunk, record.cseq, record.called_raw


def _readable(folder: Path, day: str, file: File) -> Path:
    path = place(folder, day, file)
    for name in (path, aside(path), path):  # aside: the manifest counts already, and the name is not given yet
        if name.is_file():
            return name
    if read_manifest(folder).change == 0 or file in read_manifest(folder).days.get(day, ()):
        raise FileNotFoundError(2, "the manifest names this file, and it is missing", str(path))
    raise _Gone


# files of the history


def _of_file(path: Path, called: Sought, first: int, last: int) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise _Gone from None
    with file:
        wanted = pa.array(called.canonical, pa.string())
        for group in _groups(file.metadata, called.canonical, first, last):
            keys = file.read_row_group(group, columns=["called", "received_at"], use_threads=False)
            times = keys["received_at"].cast("int64")
            number = keys["called"]
            mask = pc.and_(
                pc.or_(pc.is_in(number, value_set=wanted), pc.is_null(number)),
                pc.and_(pc.greater_equal(times, first), pc.less_equal(times, last)),
            )
            places = pc.indices_nonzero(mask)
            if not len(places):
                continue
            rows = file.read_row_group(group, columns=_COLUMNS, use_threads=False).take(places)
            for name in _TIMES:
                at = rows.schema.get_field_index(name)
                rows = rows.set_column(at, name, rows[name].cast("int64"))
            for value in rows.to_pylist():
                if value["called"] is not None or called_as(called, value["called_raw"] or ""):
                    yield msgspec.convert(value, Record)


def _groups(metadata: Any, canonical: tuple[str, ...], first: int, last: int) -> Iterator[int]:
    """Row groups that may hold what is sought; the statistics say which cannot."""
    by_name = {metadata.schema.column(at).path: at for at in range(metadata.num_columns)}
    number_at, time_at = by_name["called"], by_name["received_at"]
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        times = columns.column(time_at).statistics
        if times is not None and times.has_min_max and not (times.min_raw <= last and times.max_raw >= first):
            continue
        numbers = columns.column(number_at).statistics
        if numbers is None or not numbers.has_null_count or numbers.null_count:
            yield group
        elif numbers.has_min_max:
            low, high = numbers.min, numbers.max
            if any(low <= number <= high for number in canonical):
                yield group


# what is not in a file yet


def _loose(journal: Path, manifest: Manifest, called: Sought, first: int, last: int) -> Iterator[Record]:
    """Calls whose events are pending or in segments that were not taken yet."""
    try:
        pending = pending_events(journal / FOLDER, manifest.pending)
    except FileNotFoundError:
        raise _Gone from None
    groups: dict[Key, list[Event]] = {}
    for event in pending:
        if isinstance(event, Attempt) and first <= event.at <= last and _is_called(event, called):
            groups[(event.call_id, event.from_tag, event.trunk)] = []
    segments = _segments(journal, set(manifest.segments))
    needles = [number.encode() for number in (*called.canonical, called.core or called.written) if number]
    starts = [start for _, start, _ in segments]
    hits: list[tuple[Path, int]] = []
    for place_, (path, start, changed) in enumerate(segments):
        if start - SKEW > last + LONGEST or changed + SKEW < first:
            continue
        hits.append((path, place_))
        if start - SKEW > last or not _contains(path, needles):
            continue
        for event in _events(path):
            if isinstance(event, Attempt) and first <= event.at <= last and _is_called(event, called):
                groups[(event.call_id, event.from_tag, event.trunk)] = []
    if not groups:
        return
    del starts
    calls = {key[0] for key in groups}
    for event in pending:
        _gather(event, groups)
    for path, _ in hits:
        if _contains(path, list(calls)):
            for event in _events(path):
                _gather(event, groups)
    for events in groups.values():
        for call in resolve(events)[0]:
            if call.attempt is not None and first <= call.attempt.at <= last and _is_called(call.attempt, called):
                values = dict(zip(NAMES, row(call, ""), strict=True))
                yield msgspec.convert({name: values[name] for name in _COLUMNS}, Record)


def _gather(event: Event, groups: dict[Key, list[Event]]) -> None:
    events = groups.get((event.call_id, event.from_tag, event.trunk))
    if events is not None:
        events.append(event)


def _is_called(event: Attempt, called: Sought) -> bool:
    return event.called in called.canonical if event.called else called_as(called, event.called_raw)


def _segments(journal: Path, taken: set[str]) -> list[tuple[Path, int, int]]:
    """Segments that are not in the history, the oldest first, each with its beginning and last change (ms)."""
    found = []
    for path in journal.iterdir():
        if path.suffix not in (OPEN, SEALED) or path.name in taken or (serial := serial_of(path.name)) is None:
            continue
        try:
            with Segment(path) as segment:
                start = segment.header.started if segment.header is not None else 0
                found.append((serial, path, start, int(path.stat().st_mtime * 1000)))
        except FileNotFoundError:  # just sealed: it has its other name now
            sealed = path.with_suffix(SEALED)
            if sealed.name not in taken and sealed.is_file():
                found.append((serial, sealed, 0, int(sealed.stat().st_mtime * 1000)))
    return [(path, start, changed) for _, path, start, changed in sorted(dict.fromkeys(found))]


def _contains(path: Path, needles: Iterable[bytes]) -> bool:
    """Whether any of these octets stand in a file: far quicker than to decode it."""
    with _opened(path).open("rb") as file:
        if not file.seek(0, 2):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(data.find(needle) >= 0 for needle in needles)


def _events(path: Path) -> Iterator[Event]:
    with Segment(_opened(path)) as segment:
        for entry in segment:
            yield entry.event


def _opened(path: Path) -> Path:
    """A segment's name now: it may have been sealed since it was listed."""
    return path if path.suffix == SEALED or path.is_file() else path.with_suffix(SEALED)
