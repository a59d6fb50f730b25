"""Our own journal as a trace: a folder with its segments and its history, the history, a day or a file of it, or one segment; what a file
holds before the first damage is read, and the damage named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from heapq import merge
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import IO, Final

from proxy.events import Event
from proxy.journal.segment import MAGIC, OPEN, SEALED, Segment, serial_of
from proxy.records.columns import DAY
from proxy.records.compact import pending_events
from proxy.records.merge import end_of
from proxy.records.store import FOLDER, MANIFEST, File, Manifest, StoreFault, aside, place, read_manifest
from proxy.replay.compacted import Part, recorded
from proxy.replay.recorded import Recorded
from proxy.replay.trouble import DAMAGED, FILE, Trouble
from proxy.replay.window import ALWAYS, SETUP, Window

SKEW: Final = 600_000
"""Milliseconds by which a segment's events may lie before its beginning: clocks are set, workers restart."""

HELD: Final = 256
"""Files of the history, the newest, and as many segments, the oldest, that are opened at the beginning: a keeper that compacts and merges
meanwhile removes them.
"""

TRIES: Final = 5
"""How often the history may change while it is opened before it is taken as it lies."""

_PARQUET: Final = b"PAR1"
_DAY: Final = re.compile(r"day=([0-9]{4}-[0-9]{2}-[0-9]{2})")


def is_journal(path: str) -> bool:
    """Whether a path is a folder, or a file that begins like a segment or like a file of the history. What cannot be opened is none."""
    try:
        return Path(path).is_dir() or (Path(path).is_file() and _begins(path, MAGIC, _PARQUET))  # of a pipe nothing could be given back
    except (OSError, ValueError):
        return False


def _begins(path: str, *magics: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(MAGIC)).startswith(magics)


def runs(paths: Iterable[str]) -> list[tuple[bool, list[str]]]:
    """The paths in their order, those of journals apart from those of captures."""
    return [(journal, list(several)) for journal, several in groupby(paths, is_journal)]


def read_journal(path: str, trouble: Trouble, window: Window = ALWAYS) -> Iterator[Recorded]:
    """The calls of a journal within a window: those of the history by day, in order of time, and in their place among them, each once, the
    events that are still pending there and those of the segments that are not in the history, oldest segment first. `trouble.packets`
    counts events and rows. Raises nothing for what a file holds.
    """
    with ExitStack() as held:
        try:
            streams = _streams(Path(path), trouble, window, held)
            yield from merge(*streams, key=attrgetter("at")) if len(streams) > 1 else streams[0]
        except (OSError, StoreFault) as error:
            trouble.note(FILE, path, getattr(error, "strerror", None) or str(error))


def _streams(path: Path, trouble: Trouble, window: Window, held: ExitStack) -> list[Iterator[Recorded]]:
    day = _DAY.fullmatch(path.absolute().name)
    if not path.is_dir():
        if _begins(str(path), _PARQUET):
            return [recorded([[Part(str(path), _Opened(path))]], window, trouble)]
        return [_events([_Lying(path, held)], trouble, window)]
    if day is not None:
        manifest = read_manifest(path.absolute().parent)
        files = [path / file.name for file in manifest.days.get(day[1], ())]
        files = files or sorted(entry for entry in path.glob("*.parquet") if not entry.name.startswith("."))
        if not files:
            trouble.note(FILE, str(path), "a day without files of a history")
        return [recorded([[Part(str(file), _Opened(file)) for file in files]], window, trouble)]
    if (path / MANIFEST).is_file():
        return _History(path, None, trouble, window, held).streams()
    if (path / FOLDER).is_dir():
        return _History(path / FOLDER, path, trouble, window, held).streams()
    segments = _segments(path)
    if not segments:
        trouble.note(FILE, str(path), "a folder without segments or history of a journal")
    return [_events([_Lying(segment, None) for segment in segments], trouble, window)]


class _Opened:
    """Opens a file of the history, which has no name of its own in the moment between the manifest and its renaming."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def hold(self, held: ExitStack) -> None:
        """Open it now. Raises OSError."""
        self._file = held.enter_context(self())

    def __call__(self) -> IO[bytes]:
        if self._file is not None:
            return self._file
        try:
            return self._path.open("rb")
        except FileNotFoundError as error:
            try:
                return aside(self._path).open("rb")
            except FileNotFoundError:
                raise error from None


class _Lying:
    """A segment; with `held` it is opened at once, which raises OSError."""

    def __init__(self, path: Path, held: ExitStack | None) -> None:
        self.path = path
        self._segment = None if held is None else held.enter_context(_segment(path))  # and closed there

    def open(self) -> AbstractContextManager[Segment]:
        """It, opened, for the length of a `with`. Raises OSError."""
        return nullcontext(self._segment) if self._segment is not None else _segment(self.path)


def _segment(path: Path) -> Segment:
    try:
        return Segment(path)
    except FileNotFoundError:
        if path.suffix == SEALED:
            raise
        return Segment(path.with_suffix(SEALED))  # sealed in this moment


class _History:
    """A history, and the journal that it belongs to where that counts too, as they lay at one moment."""

    def __init__(self, folder: Path, journal: Path | None, trouble: Trouble, window: Window, held: ExitStack) -> None:
        self._folder = folder
        self._trouble = trouble
        self._window = window
        for tries in range(TRIES):
            with ExitStack() as opened:
                try:
                    self._manifest = read_manifest(folder)
                except StoreFault as error:  # no file counts then, and no segment is known to be in one
                    self._manifest = Manifest()
                    trouble.note(FILE, str(folder / MANIFEST), str(error))
                else:
                    if not (folder / MANIFEST).is_file() and any(folder.glob("day=*")):
                        trouble.note(FILE, str(folder / MANIFEST), "is not there: nobody knows which files of the history count")
                self._days = [files for day in sorted(self._manifest.days) if (files := self._wanted(day))]
                self._parts = [[(path, _Opened(path)) for path in files] for files in self._days]
                newest = [part for parts in reversed(self._parts) for part in reversed(parts)][:HELD]
                for _path, part in newest:
                    _hold(part, opened)
                self._pending, found = self._read_pending()
                self._segments: list[_Lying] | None = None
                if journal is not None:
                    taken = set(self._manifest.segments)
                    lying = [path for path in _segments(journal) if path.with_suffix(SEALED).name not in taken]
                    self._segments = []
                    for number, path in enumerate(lying):
                        try:
                            self._segments.append(_Lying(path, opened if number < HELD else None))
                        except FileNotFoundError:
                            continue  # it was taken, or is missing: whichever it is the manifest tells
                if tries == TRIES - 1 or not self._changed():  # a segment may have been taken and removed before it was listed
                    if not found:
                        trouble.note(FILE, str(folder), "the file of pending calls is missing")
                    held.push(opened.pop_all())
                    return

    def streams(self) -> list[Iterator[Recorded]]:
        """Each in order of time, as far as segments are."""
        parts = [[Part(str(path), opened) for path, opened in day] for day in self._parts]
        found = [recorded(parts, self._window, self._trouble), self._of_pending()]
        if self._segments is not None:
            found.append(_events(self._segments, self._trouble, self._window))
        return found

    def _wanted(self, day: str) -> list[Path]:
        """The files of a day that may have a call of the window; the manifest says between which times they lie."""
        try:
            end = end_of(day)
        except ValueError:
            self._trouble.note(FILE, str(self._folder / MANIFEST), f"names a day that is none: {day}")
            return []
        if end <= self._window.first or end - DAY >= self._window.last:
            return []
        files: Sequence[File] = self._manifest.days[day]
        return [place(self._folder, day, file) for file in files if file.last >= self._window.first and file.first < self._window.last]

    def _read_pending(self) -> tuple[list[Event], bool]:
        try:
            return sorted(pending_events(self._folder, self._manifest.pending), key=attrgetter("at")), True
        except FileNotFoundError:
            return [], False
        except StoreFault as error:
            assert self._manifest.pending is not None
            self._trouble.note(DAMAGED, str(self._folder / self._manifest.pending.name), str(error))
            return [], True

    def _changed(self) -> bool:
        try:
            return read_manifest(self._folder).change != self._manifest.change
        except StoreFault:
            return False

    def _of_pending(self) -> Iterator[Recorded]:
        name = self._folder / (self._manifest.pending.name if self._manifest.pending is not None else "")
        for number, event in enumerate(self._pending, 1):
            if self._window.has(event):
                self._trouble.packets += 1
                yield Recorded(event, f"{name}:{number}")


def _hold(part: _Opened, held: ExitStack) -> None:
    """Open a file that a merge may remove. What is wrong with it is told when it is read."""
    try:
        part.hold(held)
    except OSError:
        pass


def _segments(folder: Path) -> list[Path]:
    """By serial; of a segment that is sealed at this moment, and stands there twice, the sealed one."""
    found: dict[tuple[int, str], Path] = {}
    for entry in sorted(folder.iterdir()):  # .open comes before .seg
        serial = serial_of(entry.name)
        if serial is not None and entry.suffix in (OPEN, SEALED):
            found[serial, entry.stem] = entry
    return [found[key] for key in sorted(found)]


def _events(segments: Iterable[_Lying], trouble: Trouble, window: Window) -> Iterator[Recorded]:
    for lying in segments:
        path = lying.path
        number = 0
        try:
            with lying.open() as segment:
                if segment.header is not None and segment.header.started - SKEW > window.last + SETUP:
                    continue
                for number, entry in enumerate(segment, 1):
                    if window.has(entry.event):
                        trouble.packets += 1
                        yield Recorded(entry.event, f"{path}:{number}")
                if segment.damage:
                    trouble.note(DAMAGED, f"{path}:{number + 1}", segment.damage)
        except OSError as error:
            trouble.note(FILE, str(path), error.strerror or str(error))
