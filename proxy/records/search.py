"""Calls to a number within a time, from all that is kept: the files of the history, what is pending, and the journal's segments that are
not in it yet, the open one too, so that a call of a second ago is found.
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
from proxy.records.store import FOLDER, File, Manifest, aside, day_name, place, read_manifest
from rules.numbers.sought import Sought, called_as

SKEW: Final = 600_000
"""Milliseconds by which a segment's events may lie before its beginning or behind its last change: clocks are set, workers restart."""

TRIES: Final = 5
"""How often the history may change under a search before it is given up."""


MANY: Final = 1000
"""Calls from which on a segment is read at once, instead of being searched for each of them first."""


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


MOST: Final = 100_000
"""Calls that one search gathers."""


class TooMany(Exception):
    """More calls than MOST; says what to do."""


class Changed(Exception):
    """The history changed faster than it could be read."""


def search(journal: Path, called: Sought, first: int, last: int, notes: list[str]) -> list[Record]:
    """Every call to a number that was received from `first` to `last` (ms), in no order, each once. `notes` gets a line for each thing
    because of which calls may be missing in the answer.

    Raises OSError, StoreFault, TooMany, and Changed where the files were moved away under each of TRIES attempts.
    """
    for _ in range(TRIES):
        manifest = read_manifest(journal / FOLDER)
        said: list[str] = []
        try:
            found = _search(journal, manifest, called, first, last, said)
        except _Gone:
            continue
        notes += said
        return found
    raise Changed(f"{journal} is being changed all the time; try again")


class _Gone(Exception):
    """A file is not there any more: the history has changed."""


def _search(journal: Path, manifest: Manifest, called: Sought, first: int, last: int, notes: list[str]) -> list[Record]:
    folder = journal / FOLDER
    found: dict[tuple[Any, ...], Record] = {}
    # what is in no file yet comes first: compacted meanwhile, it is found twice, and counts once
    _add(_loose(journal, manifest, called, first, last, notes), found)
    for number in range(first // DAY, last // DAY + 1):
        day = day_name(number)
        for file in manifest.days.get(day, ()):
            if file.first > last or file.last < first:
                continue
            path = _readable(folder, day, file, notes)
            if path is not None:
                _add_file(path, called, first, last, found, notes)
    return list(found.values())


def _add_file(path: Path, called: Sought, first: int, last: int, found: dict[tuple[Any, ...], Record], notes: list[str]) -> None:
    """The calls of a file; of one that is damaged those before the damage, and a note."""
    import pyarrow as pa

    try:
        _add(_of_file(path, called, first, last), found)
    except (pa.ArrowException, OSError, ValueError, KeyError, msgspec.MsgspecError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        notes.append(f"{path} is damaged, and not all of its calls are shown ({why}): sipwarden journal verify")


def _add(records: Iterable[Record], found: dict[tuple[Any, ...], Record]) -> None:
    for record in records:
        found[(record.call_id, record.from_tag, record.trunk, record.cseq, record.called_raw)] = record
        if len(found) > MOST:
            raise TooMany(f"more than {MOST:,} calls to that number: a shorter --window finds fewer")


def _readable(folder: Path, day: str, file: File, notes: list[str]) -> Path | None:
    """Where a file is now; None, and a note, where it is gone and should not be."""
    path = place(folder, day, file)
    for name in (path, aside(path), path):  # aside: the manifest counts already, and the name is not given yet
        if name.is_file():
            return name
    if file in read_manifest(folder).days.get(day, ()):
        notes.append(f"{path} is missing: purged, or removed by somebody (sipwarden journal verify)")
        return None
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


def _loose(journal: Path, manifest: Manifest, called: Sought, first: int, last: int, notes: list[str]) -> Iterator[Record]:
    """Calls whose events are pending or in segments that were not taken yet."""
    try:
        pending = pending_events(journal / FOLDER, manifest.pending)
    except FileNotFoundError:
        if read_manifest(journal / FOLDER).pending != manifest.pending:
            raise _Gone from None
        notes.append("the file of pending calls is missing: some that were going on when the history was last written are not shown")
        pending = []
    segments = _segments(journal, set(manifest.segments))
    if read_manifest(journal / FOLDER).change != manifest.change:
        raise _Gone  # a segment may have been taken and removed before it was listed
    groups: dict[Key, list[Event]] = {}

    def note(events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Attempt) and first <= event.at <= last and _is_called(event, called):
                groups[(event.call_id, event.from_tag, event.trunk)] = []

    note(pending)
    for segment in segments:  # all of their events: a called number that no rule has read may be written in any way
        if segment.may_tell(first, last):
            note(segment.events())
    if not groups:
        return
    _gather(pending, groups)
    calls = [key[0] for key in groups]
    for segment in segments:
        if segment.may_tell(first, last + LONGEST) and (len(calls) > MANY or segment.contains(calls)):
            _gather(segment.events(), groups)
    for events in groups.values():
        for call in resolve(events)[0]:
            if call.attempt is not None and first <= call.attempt.at <= last and _is_called(call.attempt, called):
                values = dict(zip(NAMES, row(call, ""), strict=True))
                yield msgspec.convert({name: values[name] for name in _COLUMNS}, Record)


def _gather(told: Iterable[Event], groups: dict[Key, list[Event]]) -> None:
    for event in told:
        events = groups.get((event.call_id, event.from_tag, event.trunk))
        if events is not None:
            events.append(event)


def _is_called(event: Attempt, called: Sought) -> bool:
    return event.called in called.canonical if event.called else called_as(called, event.called_raw)


class _Segment:
    """A segment that is not in the history: its beginning and last change, in ms."""

    def __init__(self, path: Path, start: int, changed: int) -> None:
        self._path = path
        self._start = start
        self._changed = changed

    def may_tell(self, first: int, last: int) -> bool:
        """Whether it may have an event from that time."""
        return self._start - SKEW <= last and self._changed + SKEW >= first

    def contains(self, needles: Iterable[bytes]) -> bool:
        """Whether any of these octets stand in it: far quicker than to decode it."""
        with self._now().open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(data.find(needle) >= 0 for needle in needles)

    def events(self) -> Iterator[Event]:
        """Its events. Raises _Gone where it is not there any more."""
        try:
            segment = Segment(self._now())
        except FileNotFoundError:
            raise _Gone from None
        with segment:
            for entry in segment:
                yield entry.event

    def _now(self) -> Path:
        """Its name now: it may have been sealed since it was listed, or taken."""
        for path in (self._path, self._path.with_suffix(SEALED)):
            if path.is_file():
                return path
        raise _Gone


def _segments(journal: Path, taken: set[str]) -> list[_Segment]:
    """Segments that are not in the history, the oldest first."""
    names: dict[int, Path] = {}
    for path in sorted(journal.iterdir()):  # .open before .seg
        serial = serial_of(path.name)
        if path.suffix in (OPEN, SEALED) and serial is not None and path.with_suffix(SEALED).name not in taken:
            names[serial] = path
    found = []
    for _, path in sorted(names.items()):
        try:
            changed = int(path.stat().st_mtime * 1000)
            with Segment(path) as segment:
                if segment.header is not None:
                    found.append(_Segment(path, segment.header.started, changed))
        except FileNotFoundError:
            if not path.with_suffix(SEALED).is_file():
                raise _Gone from None
            found.append(_Segment(path, 0, 1 << 62))  # just sealed
    return found
