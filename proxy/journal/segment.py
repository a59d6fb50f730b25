"""Segments on disk: a line that says what the file is, a frame with the header, then the frames of events as they came.

    NODE-SERIAL.open    the one that the keeper writes to
    NODE-SERIAL.seg     sealed: its SHA-256 stands in the chain, it never changes again

Frames of several workers are mixed; those of one worker are in order. `Segment` reads both kinds, in bounded memory, and never raises for
what a file contains: it gives every event before the first damage, and says where and what that is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from proxy.events import Event
from proxy.journal.frame import HEAD, KEEPER, LONGEST, Damage, event_of, frame, frame_at, time_of

MAGIC: Final = b"sipwarden journal segment 1\n"
OPEN: Final = ".open"
SEALED: Final = ".seg"
CHUNK: Final = 1 << 20
"""Octets read at a time."""

_NAME: Final = re.compile(r"(?P<node>.+)-(?P<serial>[0-9]{10})\.(?:open|seg|damaged)")


class Header(msgspec.Struct, frozen=True):
    """What a segment says of itself: who wrote it, its number in the chain, when it was begun (ms since 1970, UTC)."""

    node: str
    serial: int
    started: int
    version: int = 1


class Entry(NamedTuple):
    """One event of a segment, with the worker that told it and its position among all that this worker told."""

    worker: int
    position: int
    event: Event


class Segment:
    """One file, opened for reading. Use it once, in a `with`: `for entry in segment`.

    `header` is None where the beginning is damaged; then there are no events. After the iteration `end` is the octet after the last whole
    frame, `damage` says what follows it ("" for nothing: the file ends there), and `unknown` counts whole frames with an event that this
    version does not know.
    """

    def __init__(self, path: Path, *, upto: int | None = None) -> None:
        """Open it; only its first `upto` octets count where that is given. Raises OSError."""
        self.path = path
        self.end = 0
        self.damage = ""
        self.unknown = 0
        self.header: Header | None = None
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self._fd).st_size if upto is None else upto
            self._begin()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def __iter__(self) -> Iterator[Entry]:
        """The events from the first to the last that is whole."""
        if self.header is None:
            return
        for worker, position, payload in self._frames():
            event = event_of(payload)
            if event is None:
                self.unknown += 1
            else:
                yield Entry(worker, position, event)

    def times(self) -> Iterator[tuple[int, int, int]]:
        """Worker, the position behind its frame, and time of each event, which is not read any further."""
        if self.header is not None:
            for worker, position, payload in self._frames():
                yield worker, position + HEAD + len(payload), time_of(payload)

    def _begin(self) -> None:
        data = os.pread(self._fd, min(self.size, len(MAGIC) + HEAD + LONGEST), 0)
        if not data.startswith(MAGIC):
            self.damage = "is no segment of a journal" if len(data) >= len(MAGIC) else "ends within its first line"
            return
        try:
            first = frame_at(memoryview(data), len(MAGIC), len(data))
            if first.worker != KEEPER:
                raise Damage("has no header")
            self.header = msgspec.json.decode(first.payload, type=Header)
        except Damage as damage:
            self.damage = f"header: {damage}"
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.damage = "header: not what a header is"
        else:
            self.end = first.end

    def _frames(self) -> Iterator[tuple[int, int, memoryview]]:
        """Worker, position and payload of each frame; a payload is valid until the next is asked for."""
        kept = b""
        read = self.end
        while True:
            chunk = os.pread(self._fd, min(CHUNK, self.size - read), read) if read < self.size else b""
            read += len(chunk)
            data = kept + chunk
            view = memoryview(data)
            at = 0
            try:
                while at < len(data):
                    found = frame_at(view, at, len(data))
                    at = found.end
                    self.end += HEAD + len(found.payload)
                    yield found.worker, found.position, found.payload
            except Damage as damage:
                if not damage.short or not chunk:
                    self.damage = f"octet {self.end}: {damage}"
                    return
            if not chunk:
                return
            kept = data[at:]


def begin(header: Header) -> bytes:
    """The first octets of a segment."""
    return MAGIC + frame(KEEPER, 0, msgspec.json.encode(header))


def file_name(node: str, serial: int, ending: str) -> str:
    """What a segment is called; `ending` is OPEN or SEALED."""
    return f"{node}-{serial:010d}{ending}"


def serial_of(name: str) -> int | None:
    """The serial in a segment's file name; None where it is no such name."""
    found = _NAME.fullmatch(name)
    return None if found is None else int(found["serial"])


def sealed_segments(folder: Path) -> list[Path]:
    """The sealed segments of a journal, oldest first. Raises OSError."""
    found = [(serial, entry) for entry in folder.iterdir() if entry.suffix == SEALED and (serial := serial_of(entry.name)) is not None]
    return [entry for _serial, entry in sorted(found)]
