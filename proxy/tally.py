"""Numbers that all workers of a node add up: one row for each worker, in memory that they share, written by that worker alone.

A row is a hash table of its own: pairs of a key and its count, 8 bytes each, in places that depend on the key alone. So workers need not
agree on anything but keys, also while a reload has reached some of them and not the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

COLUMNS: Final = 1 << 16
"""Pairs in a row."""

ROW_SIZE: Final = COLUMNS * 16
"""Bytes of a row."""

_REACH: Final = 64
"""Places in which a key may stand."""


class Tally:
    """The rows as one worker sees them. `rows` are memoryviews of unsigned 8-byte numbers; `turn` takes a key's turn (True) or gives it
    back (False): of all workers one has it, and what it wrote meanwhile the next one sees.
    """

    __slots__ = ("_keys", "_others", "_own", "_turn")

    def __init__(self, rows: Sequence[memoryview], own: int, turn: Callable[[int, bool], object] | None = None) -> None:
        self._own = rows[own]
        self._others = [row for number, row in enumerate(rows) if number != own]
        self._turn = turn
        self._keys: dict[int, int] = {}

    def place(self, key: int) -> int:
        """Where a key's count stands in the own row; -1 where there is no room. What stood there of a key that nobody here uses any more
        gives way.
        """
        found = self._keys.get(key)
        if found is not None:
            return found
        own = self._own
        free = -1
        for step in range(_REACH):
            at = (key + step) % COLUMNS * 2
            there = own[at]
            if there == key:
                self._keys[key] = at + 1
                return at + 1
            if free < 0 and (not there or there not in self._keys):
                free = at
            if not there:
                break
        if free < 0:
            return -1
        own[free + 1] = 0
        own[free] = key
        self._keys[key] = free + 1
        return free + 1

    def drop_left(self) -> None:
        """In a row that another process has left: set the counts of even keys that have no place yet to 0. They are of what is there at a
        time; those of odd keys only ever grow.
        """
        own = self._own
        for at in range(0, COLUMNS * 2, 2):
            key = own[at]
            if key and not key & 1 and key not in self._keys:
                own[at + 1] = 0

    def forget(self, key: int) -> None:
        """Let a key's place be taken by another key."""
        self._keys.pop(key, None)

    def read(self, place: int) -> int:
        """The own count."""
        return self._own[place]

    def write(self, place: int, count: int) -> None:
        """Tell the own count. An aligned number of 8 bytes is never seen half written."""
        self._own[place] = count

    def take_turn(self, key: int) -> None:
        """Wait until no other worker has the turn of a key, and have it. A worker that ends gives its turns back. Raises OSError where the
        system cannot grant it.
        """
        if self._turn is not None and self._others:
            self._turn(key, True)

    def end_turn(self, key: int) -> None:
        """Let others have it."""
        if self._turn is not None and self._others:
            self._turn(key, False)

    def others(self, key: int) -> int:
        """What all other workers count of a key."""
        return sum(self._found(key))

    def highest(self, key: int) -> int:
        """The highest number that another worker tells of a key, 0 where none does."""
        return max(self._found(key), default=0)

    def _found(self, key: int) -> list[int]:
        found = []
        for row in self._others:
            for step in range(_REACH):
                at = (key + step) % COLUMNS * 2
                there = row[at]
                if there == key:
                    found.append(row[at + 1])
                    break
                if not there:
                    break
        return found
