"""One page of shared memory on which the keeper shows how it stands; the supervisor reads it without asking, and it outlives both."""

from __future__ import annotations

import mmap
import os
from typing import Final

NAMES: Final = (
    "heartbeat",
    "flushed",
    "up",
    "octets",
    "events",
    "flush_failures",
    "failures",
    "sealed",
    "cut",
    "purged",
    "compact_failures",
    "syslog_failures",
    "damaged",
    "segment_octets",
    "started",
    "chain",
    "stuck",
    "clock_doubted",
    "unsigned",
)
"""The words. heartbeat, flushed, started: times in ms since 1970; up: 1 while events reach the disk; segment_octets: of the open segment;
chain: lines in it; stuck: files that cannot be dealt with; clock_doubted: 1 while nothing is purged since the clock is not believed;
unsigned: 1 while the trail of tracebacks cannot be signed; all others count since the board was made.
"""

PAGE: Final = 4096


class Board:
    """The page, mapped."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, PAGE, mmap.MAP_SHARED)
        self._words = memoryview(self._map).cast("Q")

    def get(self, name: str) -> int:
        """A word."""
        return self._words[NAMES.index(name)]

    def put(self, name: str, value: int) -> None:
        """Show a word."""
        self._words[NAMES.index(name)] = value

    def add(self, name: str, count: int = 1) -> None:
        """Count something."""
        self._words[NAMES.index(name)] += count

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._map.close()


def format_board(fd: int) -> None:
    """Give an open file the size of a board; what it has shown before stays. Raises OSError."""
    os.posix_fallocate(fd, 0, PAGE)
