"""Our own journal as a trace: a folder of segments, or one segment; what it holds before the first damage is read, and the damage named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from proxy.journal.segment import MAGIC, OPEN, SEALED, Segment, serial_of
from proxy.replay.recorded import Recorded
from proxy.replay.trouble import DAMAGED, FILE, Trouble


def is_journal(path: str) -> bool:
    """Whether a path is a folder, or a file that begins like a segment. What cannot be opened is none."""
    try:
        if Path(path).is_dir():
            return True
        if not Path(path).is_file():
            return False  # a pipe, whose beginning could not be given back
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def runs(paths: Iterable[str]) -> list[tuple[bool, list[str]]]:
    """The paths in their order, those of journals apart from those of captures."""
    return [(journal, list(several)) for journal, several in groupby(paths, is_journal)]


def read_journal(path: str, trouble: Trouble) -> Iterator[Recorded]:
    """The events of a journal, segment after segment, oldest first; `trouble.packets` counts them. Raises nothing for what a file holds."""
    try:
        files = _segments(Path(path)) if Path(path).is_dir() else [Path(path)]
    except OSError as error:
        trouble.note(FILE, path, error.strerror or str(error))
        return
    if not files:
        trouble.note(FILE, path, "a folder without segments of a journal")
    for file in files:
        yield from _events(file, trouble)


def _segments(folder: Path) -> list[Path]:
    files = [entry for entry in folder.iterdir() if entry.suffix in (OPEN, SEALED)]
    found = [(serial, entry) for entry in files if (serial := serial_of(entry.name)) is not None]
    return [entry for _, entry in sorted(found)]


def _events(file: Path, trouble: Trouble) -> Iterator[Recorded]:
    number = 0
    try:
        with Segment(file) as segment:
            for number, entry in enumerate(segment, 1):
                trouble.packets += 1
                yield Recorded(entry.event, f"{file}:{number}")
            if segment.damage:
                trouble.note(DAMAGED, f"{file}:{number + 1}", segment.damage)
    except OSError as error:
        trouble.note(FILE, str(file), error.strerror or str(error))
