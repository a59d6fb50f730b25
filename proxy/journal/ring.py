"""Shared memory between one worker and the keeper: the worker puts frames in, the keeper takes them out.

A ring is a file in memory (tmpfs), reserved whole when it is made, so that a store into it never waits for a disk, never fails for want of
room, and outlives every process. Its first page has what both sides tell each other, a cache line for each word; the frames follow.
Positions count all octets that were ever put in, and begin at the time in nanoseconds: a ring that is made anew begins behind the old one.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

from proxy.events import Event
from proxy.journal.frame import CRC, HEAD, LONGEST, REST, Damage, frame_at, time_of

MAGIC: Final = b"swring01"
PAGE: Final = 4096
"""Octets before the frames."""

_CAPACITY, _HEAD, _TAIL, _TOLD, _LOST, _SEALED_LOST = 1, 8, 16, 24, 32, 40
"""Places of the words in the first page: the worker writes head, told and lost, the keeper tail and what of the loss is in a seal."""

_WRITER_LOCK: Final = 0
"""The octet that a worker locks while it writes: two nodes with the same ring would destroy each other's frames."""

HIGH_WATER: Final = 0.75
"""Fill from which a node that must record refuses calls: what is left is for the calls that go on, and for the refusals."""


class Taken(NamedTuple):
    """Frames that wait in a ring: their octets, how many there are, times of the first and last event (ms), the position behind them."""

    data: bytes
    events: int
    first: int
    last: int
    position: int


class RingFault(Exception):
    """A file that is no ring, or one that somebody else writes to."""


class _Ring:
    """The mapped file, as either side sees it."""

    def __init__(self, fd: int, *, whole: bool = True) -> None:
        size = os.fstat(fd).st_size
        if size <= PAGE:
            raise RingFault("is too small for a ring")
        self._map = mmap.mmap(fd, size if whole else PAGE, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        self._whole = memoryview(self._map)
        self._words = self._whole[:PAGE].cast("Q")
        self._data = self._whole[PAGE:]
        self.capacity: int = self._words[_CAPACITY]
        if self._map[: len(MAGIC)] != MAGIC or self.capacity != size - PAGE:
            self.close()
            raise RingFault("is no ring")

    @property
    def used(self) -> int:
        """Octets that wait for the keeper."""
        return self._words[_HEAD] - self._words[_TAIL]

    @property
    def told(self) -> int:
        """Events that the workers of this ring ever put in."""
        return self._words[_TOLD]

    @property
    def lost(self) -> int:
        """Events that found no room."""
        return self._words[_LOST]

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._data.release()
        self._whole.release()
        self._map.close()


class RingView(_Ring):
    """A ring as the supervisor looks at it: its first page only."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, whole=False)


class RingWriter(_Ring):
    """A worker's side."""

    def __init__(self, fd: int, worker: int) -> None:
        """Raises RingFault, also where another process writes to it."""
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _WRITER_LOCK)
        except OSError:
            raise RingFault("another process writes to it") from None
        super().__init__(fd)
        self._worker = worker
        self._encode = msgspec.msgpack.Encoder().encode
        self._high = int(self.capacity * HIGH_WATER)

    @property
    def full(self) -> bool:
        """Whether it is so full that a node which must record can take no more calls."""
        return self._words[_HEAD] - self._words[_TAIL] > self._high

    def put(self, events: Sequence[Event]) -> int:
        """Put a batch of events in, all or none; how many were lost. They are the kernel's when this returns. Never raises for an event."""
        words = self._words
        head: int = words[_HEAD]
        encode, worker, pack, seal = self._encode, self._worker, REST.pack, CRC.pack
        position = head
        parts = []
        for event in events:
            try:
                payload = encode(event)
            except UnicodeEncodeError:  # octets that were no UTF-8, on their way as surrogates
                payload = encode(_readable(event))
            size = len(payload)
            if size > LONGEST:
                words[_LOST] += 1
                continue
            rest = pack(size, worker, position) + payload
            parts.append(seal(crc32(rest)))
            parts.append(rest)
            position += HEAD + size
        data = b"".join(parts)
        count = len(parts) // 2
        if len(data) > self.capacity - (head - words[_TAIL]):
            words[_LOST] += count
            return len(events)
        at = head % self.capacity
        end = at + len(data)
        if end <= self.capacity:
            self._data[at:end] = data
        else:
            first = self.capacity - at
            self._data[at:] = data[:first]
            self._data[: len(data) - first] = data[first:]
        words[_TOLD] += count
        words[_HEAD] = position  # last: what is before it is whole
        return len(events) - count


class RingReader(_Ring):
    """The keeper's side of the ring of one worker."""

    def __init__(self, fd: int, worker: int) -> None:
        super().__init__(fd)
        self.worker = worker
        self.damaged = 0
        """Octets that were no frames and were passed over."""
        self._fd = fd

    def skip_to(self, position: int) -> None:
        """Leave out what was written already: everything before a position, where the ring still has that."""
        if self._words[_TAIL] < position <= self._words[_HEAD]:
            self._words[_TAIL] = position

    def taken(self) -> Taken:
        """Whole frames that wait, a quarter of the ring or so at the most. They stay until `done`.

        What is no frame in between is left out, to the end, and counted: it can only be damage of memory.
        """
        tail: int = self._words[_TAIL]
        head: int = self._words[_HEAD]
        size = min(head - tail, self.capacity)
        at = tail % self.capacity
        data = bytes(self._data[at : at + size])
        if len(data) < size:
            data += self._data[: size - len(data)]
        view = memoryview(data)
        count = end = 0
        times: list[int] = []
        most = self.capacity // 4
        while end < size and end <= most:
            try:
                found = frame_at(view, end, size)
                if found.position != tail + end:
                    raise Damage("is not at its place")
            except Damage:
                self.damaged += size - end
                return Taken(data[:end], count, min(times, default=0), max(times, default=0), head)
            times.append(time_of(found.payload))
            end = found.end
            count += 1
        return Taken(data[:end], count, min(times, default=0), max(times, default=0), tail + end)

    def done(self, position: int) -> None:
        """Free everything before a position: it is in a file."""
        self._words[_TAIL] = position

    @property
    def lost_unsealed(self) -> int:
        """Events lost since the last seal that told of lost ones."""
        return max(0, self._words[_LOST] - self._words[_SEALED_LOST])

    def loss_sealed(self, count: int) -> None:
        """So many of them are in a seal now."""
        self._words[_SEALED_LOST] += count

    @property
    def writer_gone(self) -> bool:
        """Whether no process writes to it. A process cannot ask this of itself."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _WRITER_LOCK)
        except OSError:
            return False
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, _WRITER_LOCK)
        return True


def format_ring(fd: int, capacity: int, now_ns: int) -> None:
    """Make an open file an empty ring, its memory reserved. Raises OSError."""
    os.ftruncate(fd, 0)
    os.posix_fallocate(fd, 0, PAGE + capacity)
    words = [0] * (PAGE // 8)
    words[_CAPACITY] = capacity
    words[_HEAD] = words[_TAIL] = now_ns
    first = bytearray(struct.pack(f"={len(words)}Q", *words))
    first[: len(MAGIC)] = MAGIC
    os.pwrite(fd, first, 0)


def _readable(event: Event) -> Event:
    """The event with what cannot be encoded written as an escape; its header lines still have the octets."""
    return msgspec.structs.replace(event, **{name: _escaped(value) for name, value in msgspec.structs.asdict(event).items()})


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, tuple):
        return tuple(map(_escaped, value))
    return value
