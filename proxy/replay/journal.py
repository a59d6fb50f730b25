"""Our own journal as a trace: the events of its segments, which have a verdict's inputs but no messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from proxy.events import Attempt, Event
from proxy.journal.segment import OPEN, SEALED, Segment, serial_of
from proxy.replay.captured import Progress
from proxy.replay.trouble import CUT, DAMAGED, FILE, Trouble


class Told(NamedTuple):
    """An event of a journal, and its place: "gw1-0000000007.seg:3" is the third of that segment."""

    event: Event
    place: str


def read_journal(folder: str, trouble: Trouble, progress: Progress | None = None) -> Iterator[Told]:
    """The events of the segments in a journal's folder, oldest segment first, the one that is being written last.

    Segments that were compacted to history are not here any more. Nothing that a file holds raises: damage is counted in `trouble` (all
    before it is given), and so is a folder without segments. `packets` counts the events, `messages` the attempts among them.
    """
    try:
        segments = _segments(Path(folder))
        if not segments:
            trouble.note(FILE, folder, "no segment of a journal is in this folder")
        sizes = [_size(path) for path in segments]
    except (OSError, ValueError) as error:
        trouble.note(FILE, folder, getattr(error, "strerror", None) or str(error))
        return
    total = sum(sizes)
    done = 0
    for path, size in zip(segments, sizes, strict=True):
        yield from _events(path, trouble, done, total, progress)
        done += size
        if progress is not None:
            progress(done, total)


def _segments(folder: Path) -> list[Path]:
    """By serial; of a segment that is sealed at this moment, and stands there twice, the sealed one."""
    found: dict[tuple[int, str], Path] = {}
    for entry in sorted(folder.iterdir()):  # .open comes before .seg
        serial = serial_of(entry.name)
        if serial is not None and entry.suffix in (OPEN, SEALED):
            found[serial, entry.stem] = entry
    return [found[key] for key in sorted(found)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # sealed in this moment
        return path.with_suffix(SEALED).stat().st_size


def _opened(path: Path) -> Segment:
    try:
        return Segment(path)
    except FileNotFoundError:
        if path.suffix == SEALED:
            raise
        return Segment(path.with_suffix(SEALED))


def _events(path: Path, trouble: Trouble, before: int, total: int, progress: Progress | None) -> Iterator[Told]:
    name = os.fspath(path)
    try:
        with _opened(path) as segment:
            number = 0
            for number, entry in enumerate(segment, 1):
                trouble.packets += 1
                trouble.messages += isinstance(entry.event, Attempt)
                yield Told(entry.event, f"{name}:{number}")
                if progress is not None and not number & 0xFFF:
                    progress(before + min(segment.end, total - before), total)
            if segment.damage:
                # what is being written may end within a frame
                trouble.note(CUT if path.suffix == OPEN else DAMAGED, f"{name}:{number + 1}", segment.damage)
            if segment.unknown:
                trouble.note(DAMAGED, name, f"{segment.unknown} events that this version does not know")
    except OSError as error:
        trouble.note(FILE, name, error.strerror or str(error))
