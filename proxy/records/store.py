"""Which files are the history, and how that changes in one step that a kill or a power failure cannot halve.

    history/manifest.json                  what counts: files by day, the segments that are in them, the file of pending events
    history/pending-000012.msgpack         events of calls that had not ended (see `join`)
    history/day=2026-01-31/000012-00.parquet   records by the day (UTC) on which the call was received

A change is written aside (names that begin with a dot and end in .tmp, which DuckDB and Spark pass over), flushed, and takes effect when
the new manifest is renamed over the old. Then the files get their names, and those that they replace are removed: whoever opens the store
next finishes that where it was not done. A file that the journal's chain counts as there is removed by the keeper, once the chain has noted
what takes its place. So a reader of the manifest sees the old state or the new one, and a reader of `day=*/*.parquet` that comes in the
second between may see the calls of a merged file twice.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = "history"
"""Within the journal's."""

MANIFEST: Final = "manifest.json"
LOCK: Final = ".lock"
_OURS: Final = re.compile(r"\.?[0-9]{6,}-[0-9]{2,}\.parquet(?:\.tmp)?")
_STATE: Final = re.compile(r"\.?pending-[0-9]{6,}\.msgpack(?:\.tmp)?|\.manifest\.json\.tmp")
_DAY: Final = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})")


class StoreFault(Exception):
    """The history cannot be used as it lies; says what and where."""


class Busy(Exception):
    """Another process changes the history; says where."""


class File(msgspec.Struct, frozen=True):
    """One Parquet file: `first` and `last` are the times (ms) of its earliest and latest call."""

    name: str
    rows: int
    octets: int
    first: int
    last: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What counts. `change` rises by one with each; `segments` are the names of those whose events are in the files or pending, `kept`
    those of them that could not be read to their end, and therefore stay.
    """

    change: int = 0
    days: dict[str, tuple[File, ...]] = {}
    segments: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    pending: File | None = None
    version: int = 1

    def paths(self) -> dict[str, File]:
        """Everything that counts, by its name from the history's folder on."""
        found = {f"day={day}/{file.name}": file for day, files in self.days.items() for file in files}
        if self.pending is not None:
            found[self.pending.name] = self.pending
        return found


def day_name(number: int) -> str:
    """The name of a day that is counted from 1970-01-01, in UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)).date().isoformat()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a history; an empty one where there is no history yet. Raises StoreFault, OSError."""
    try:
        data = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return Manifest()
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreFault(f"{folder / MANIFEST}: not what a manifest is: {error}") from None
    if found.version != 1:
        raise StoreFault(f"{folder / MANIFEST}: of version {found.version}, which this program does not know")
    return found


def place(folder: Path, day: str, file: File) -> Path:
    """Where a file of the manifest lies."""
    return folder / f"day={day}" / file.name


def aside(path: Path) -> Path:
    """Where it lies until it counts."""
    return path.with_name(f".{path.name}.tmp")


class Store:
    """A history that is being changed, by one process at a time: use it within `opened`."""

    def __init__(self, folder: Path, noted: frozenset[str] = frozenset()) -> None:
        """`noted` are the files, by their name from the folder on, that are not to be removed here, since the journal's chain has them."""
        self.folder = folder
        self._noted = noted
        self.manifest = read_manifest(folder)
        self._serial = 0
        self._finish()

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, noted: frozenset[str] = frozenset()) -> Iterator[Store]:
        """Take the history for oneself; `noted` as above. Raises Busy where another process has it, StoreFault, OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"{folder}: another process is at work on it") from None
            yield cls(folder, noted)
        finally:
            os.close(fd)

    def missing(self) -> list[str]:
        """Files of the manifest that are not there any more, by their name from the history's folder on."""
        return [name for name in self.manifest.paths() if not (self.folder / name).is_file()]

    def new_file(self, day: str) -> Path:
        """The name that the next file of a day will have, its folder made; write `aside` of it."""
        path = self.folder / f"day={day}" / f"{self.manifest.change + 1:06d}-{self._serial:02d}.parquet"
        self._serial += 1
        path.parent.mkdir(exist_ok=True, mode=0o750)
        return path

    def save_pending(self, events: bytes, count: int, first: int, last: int) -> File:
        """Write events that the next change leaves pending, aside; what `commit` is told of them."""
        path = self.folder / f"pending-{self.manifest.change + 1:06d}.msgpack"
        write_flushed(aside(path), events)
        return File(path.name, count, len(events), first, last, sha256(events).hexdigest())

    def commit(self, change: Manifest) -> None:
        """Make this the history. Files and pending events that are new lie aside, flushed."""
        days = {day: files for day, files in sorted(change.days.items()) if files}
        change = msgspec.structs.replace(change, change=self.manifest.change + 1, days=days)
        for day in days:
            sync(self.folder / f"day={day}")
        path = self.folder / MANIFEST
        write_flushed(aside(path), msgspec.json.format(msgspec.json.encode(change), indent=1))
        sync(self.folder)
        os.replace(aside(path), path)
        sync(self.folder)
        self.manifest = change
        self._serial = 0
        self._finish()

    def _finish(self) -> None:
        """Give names to what counts, remove what does not: the rest of the last change, and what one left that never took effect."""
        manifest = self.manifest
        wanted = {manifest.pending.name} if manifest.pending is not None else set()
        self._settle("", wanted, _STATE)
        folders = {found[1]: path for path in self.folder.iterdir() if (found := _DAY.fullmatch(path.name))}
        for day, path in folders.items():
            files = {file.name for file in manifest.days.get(day, ())}
            self._settle(f"{path.name}/", files, _OURS)
            if not files:
                try:
                    path.rmdir()
                except OSError:  # something of somebody else's lies in it
                    pass

    def _settle(self, within: str, wanted: set[str], ours: re.Pattern[str]) -> None:
        folder = self.folder / within
        changed = False
        for path in sorted(folder.iterdir()):
            name = path.name
            final = name[1:].removesuffix(".tmp") if name.startswith(".") else name
            if not ours.fullmatch(name):
                continue
            if final not in wanted:
                if f"{within}{name}" in self._noted:
                    continue
                path.unlink()
            elif name != final:
                os.replace(path, folder / final)
            else:
                continue
            changed = True
        if changed:
            sync(folder)


def write_flushed(path: Path, data: bytes) -> None:
    """A whole new file, flushed to the disk, readable by the owner and the group."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def without(files: Iterable[File], gone: Iterable[File]) -> tuple[File, ...]:
    """The files that stay."""
    names = {file.name for file in gone}
    return tuple(file for file in files if file.name not in names)
