"""Sealed segments to records: events are joined, calls that are over written to the files of their days, the rest kept as pending events.

It runs outside the workers. Killed at any moment it loses and doubles nothing: segments, the files made of them and the events that are
still pending change together (`store`). Memory is bounded by PART and by what `join` keeps pending, however much lies there to be done.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from proxy.events import Event
from proxy.journal.segment import Segment
from proxy.records import parquet
from proxy.records.columns import DAY, Row, row, weight
from proxy.records.join import Call, Joiner
from proxy.records.store import File, Manifest, Store, StoreFault, aside, day_name, sync

PART: Final = 128 * 1024
"""Rows that are gathered before they are written."""

PART_BYTES: Final = 256 << 20
"""Octets of their text."""

COMMIT: Final = 1_000_000
"""Rows after which what was done is made to count."""

_pending: Final[msgspec.msgpack.Decoder[list[Event]]] = msgspec.msgpack.Decoder(list[Event])
_encoder: Final = msgspec.msgpack.Encoder()


class Report(msgspec.Struct):
    """What was done. `repeated`, `cut` and `unfinished` are those of Joiner; `lost` counts calls whose attempt was not there, `merged`
    files that went into larger ones; `missing` are files that were there before (purged, or removed by somebody: `journal verify` tells),
    `kept` says which segments could not be read to their end, and why.
    """

    segments: int = 0
    events: int = 0
    records: int = 0
    pending: int = 0
    repeated: int = 0
    cut: int = 0
    unfinished: int = 0
    lost: int = 0
    merged: int = 0
    missing: list[str] = []
    kept: list[str] = []


def compact(journal: Path, store: Store, segments: Sequence[Path], now: int, *, part: int = PART, commit: int = COMMIT) -> Report:
    """Take sealed segments into the history, in the order of their serials, those that were taken before apart; `now` in ms.

    Raises OSError, StoreFault.
    """
    report = Report()
    manifest = store.manifest
    report.missing = store.missing()
    if report.missing:
        gone = set(report.missing)
        days = {day: tuple(file for file in files if f"day={day}/{file.name}" not in gone) for day, files in manifest.days.items()}
        pending = None if manifest.pending is not None and manifest.pending.name in gone else manifest.pending
        store.commit(msgspec.structs.replace(manifest, days=days, pending=pending))
    # of those that are gone nobody asks any more
    taken = [name for name in manifest.segments if (journal / name).is_file()]
    kept = [name for name in manifest.kept if (journal / name).is_file()]
    known = set(taken)
    fresh = [path for path in segments if path.name not in known]
    work = _Work(store, report, part)
    reached = 0
    for path in fresh:
        with Segment(path) as segment:
            if segment.header is not None:
                work.node = segment.header.node
            for entry in segment:
                event = entry.event
                report.events += 1
                work.add(work.joiner.feed(event))
                if event.at // 1000 > reached // 1000 and event.at <= now:
                    reached = event.at
                    work.add(work.joiner.ripe(reached))
            if segment.damage or segment.unknown:
                kept.append(path.name)
                report.kept.append(f"{path.name}: {segment.damage or f'{segment.unknown} events that this version does not know'}")
        report.segments += 1
        taken.append(path.name)
        if work.since >= commit:
            work.commit(taken, kept)
    if fresh:
        work.commit(taken, kept)
    report.pending = work.joiner.size
    report.repeated, report.cut, report.unfinished = work.joiner.repeated, work.joiner.cut, work.joiner.unfinished
    return report


class _Work:
    """Rows on their way into files, and what the next commit will say. `since` counts rows since the last."""

    def __init__(self, store: Store, report: Report, part: int) -> None:
        self.node = ""
        self.joiner = Joiner()
        self.joiner.restore(pending_events(store.folder, store.manifest.pending))
        self.since = 0
        self._store = store
        self._report = report
        self._part = part
        self._rows: dict[int, list[Row]] = {}
        self._count = self._weight = 0
        self._new: dict[str, list[File]] = {}

    def add(self, calls: Iterable[Call]) -> None:
        """Make records of calls."""
        for call in calls:
            if call.attempt is None:
                self._report.lost += 1
            record = row(call, self.node)
            self._rows.setdefault(record[0] // DAY, []).append(record)
            self._count += 1
            self._weight += weight(call)
            if self._count >= self._part or self._weight >= PART_BYTES:
                self._write()

    def _write(self) -> None:
        for number, rows in sorted(self._rows.items()):
            day = day_name(number)
            self._new.setdefault(day, []).append(save(self._store.new_file(day), [parquet.table(rows)]))
        self.since += self._count
        self._report.records += self._count
        self._rows.clear()
        self._count = self._weight = 0

    def commit(self, segments: list[str], kept: list[str]) -> None:
        """Make all of it count."""
        self._write()
        store = self._store
        days = {**store.manifest.days}
        for day, files in self._new.items():
            days[day] = (*days.get(day, ()), *files)
        events = list(self.joiner.pending())
        pending = None
        if events:
            first, last = min(event.at for event in events), max(event.at for event in events)
            pending = store.save_pending(_encoder.encode(events), len(events), first, last)
        store.commit(Manifest(days=days, segments=tuple(segments), kept=tuple(kept), pending=pending))
        self._new.clear()
        self.since = 0


def pending_events(folder: Path, pending: File | None) -> list[Event]:
    """What a manifest says is pending. Raises OSError, StoreFault."""
    if pending is None:
        return []
    path = folder / pending.name
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # the manifest counts already, and the name is not given yet
        data = aside(path).read_bytes()
    try:
        return _pending.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreFault(f"{path}: not what pending events are: {error}") from None


def save(path: Path, tables: Iterable[object]) -> File:
    """Write tables, each sorted and behind the one before it, aside of a path; flushed. What the manifest will say of it."""
    import pyarrow.compute as pc

    hidden = aside(path)
    rows = 0
    first: int | None = None
    last = 0
    os.close(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640))  # as all of the journal
    with parquet.writer(hidden) as file:
        for table in tables:
            parquet.write(file, table)
            rows += table.num_rows  # type: ignore[attr-defined]
            least, most = pc.min_max(table["received_at"].cast("int64")).as_py().values()  # type: ignore[index]
            first = least if first is None else min(first, least)
            last = max(last, most)
    sync(hidden)
    with hidden.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return File(name=path.name, rows=rows, octets=hidden.stat().st_size, first=first or 0, last=last, sha256=digest)
