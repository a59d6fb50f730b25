"""The memory of delivered calls that all workers of a node share: each writes a table of its own, and all read all of them.

Nothing is sent between workers: what one notes the others see at once, and looking at every worker's table is for the few calls that ask.
A table is plain memory and needs no lock, since only one worker writes to it; it outlives its worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from rules.legs import KEPT, Legs, keys_of
from rules.numbers import Number

SETS: Final = 1 << 17
WAYS: Final = 8
"""A key has its place in one set, of so many entries: 1,048,576 in a table, 28 octets each."""

_WIDTHS: Final = (8, 8, 8, 4)  # of the columns of a Table


def table_octets(sets: int = SETS) -> int:
    """Size of one table. Memory that is all zero is an empty one."""
    return sets * WAYS * sum(_WIDTHS)


class Table:
    """One worker's legs, as columns: digest of the key, digest of the side, when it was last heard of (Unix time; 0: a free entry), how
    many are being set up.
    """

    __slots__ = ("lasts", "names", "setups", "sides")

    def __init__(self, memory: memoryview, sets: int = SETS) -> None:
        """`memory` has `table_octets(sets)`, and is never written to through a table that is another worker's."""
        parts = []
        begin = 0
        for octets in _WIDTHS:
            end = begin + sets * WAYS * octets
            parts.append(memory[begin:end])
            begin = end
        self.names: memoryview[int] = parts[0].cast("Q")
        self.sides: memoryview[int] = parts[1].cast("Q")
        self.lasts: memoryview[float] = parts[2].cast("d")
        self.setups: memoryview[int] = parts[3].cast("I")

    @staticmethod
    def setups_at(sets: int = SETS) -> tuple[int, int]:
        """First octet and number of octets of the last column: what a worker that starts again empties, for those calls are not its own."""
        octets = sets * WAYS * _WIDTHS[-1]
        return table_octets(sets) - octets, octets


class SharedLegs(Legs):
    """`Legs` in a table that other processes read, beside theirs.

    Keys and sides are kept as keyed digests of 64 bits, so that nobody outside can find two that are alike. A key has room in one set of 8
    entries; in a full one, of what is not overdue, the side with most entries there loses its oldest: who floods one side pushes out that
    side's legs, and others' only from a set in which his own have no more than theirs. `overflow` counts that.

    Another worker may read an entry while it is written. An entry that changes hands is marked free first and gets its time last; in
    between it is not found, as if it had been read a moment earlier.
    """

    __slots__ = ("_digest", "_mask", "_others", "_own", "_side_digests")

    def __init__(self, own: Table, others: Sequence[Table], digest: Callable[[bytes], bytes]) -> None:
        """`digest`: a keyed digest in 16 hex digits, the same for all workers; all tables are of one size."""
        super().__init__(0)
        self._own = own
        self._others = tuple(others)
        self._digest = digest
        self._mask = len(own.names) // WAYS - 1
        self._side_digests: dict[str, int] = {}

    def __len__(self) -> int:
        """Entries of this worker's table that are in use or overdue: looks at all of them."""
        return sum(1 for last in self._own.lasts if last)

    def begin(self, sides: tuple[str, ...], called: str, callers: tuple[str, ...], at: float) -> tuple[Any, ...]:
        """As Legs."""
        digest = self._digest
        keys = tuple([int(digest(key.encode()), 16) for key in keys_of(called, callers)])
        for side in sides:
            code = self._side(side)
            for key in keys:
                self._note(key, code, at)
        return keys

    def end(self, sides: tuple[str, ...], called: str, callers: tuple[str, ...], at: float) -> None:
        """As Legs."""
        digest = self._digest
        self.end_by(sides, tuple([int(digest(key.encode()), 16) for key in keys_of(called, callers)]), at)

    def end_by(self, sides: tuple[str, ...], keys: tuple[Any, ...], at: float) -> None:
        """As Legs."""
        own = self._own
        for side in sides:
            code = self._side(side)
            for key in keys:
                place = self._find(key, code)
                if place >= 0:
                    if at > own.lasts[place]:
                        own.lasts[place] = at
                    if own.setups[place]:
                        own.setups[place] -= 1

    def age(self, side: str | None, called: Number | None, caller: Number | None, at: float) -> float | None:
        """As Legs, over all workers' tables."""
        first = "" if called is None else called.canonical
        second = "" if caller is None else caller.canonical
        if first is None or second is None:
            return None
        key = int(self._digest((f"{first}>{second}" if second else first).encode()), 16)
        code = None if side is None else self._side(side)
        youngest: float | None = None
        base = (key & self._mask) * WAYS
        for table in (self._own, *self._others):
            names = table.names[base : base + WAYS].tolist()
            if key not in names:
                continue
            for place, name in enumerate(names, base):
                if name != key or (code is not None and table.sides[place] != code):
                    continue
                last, active = table.lasts[place], table.setups[place]
                age = at - last
                if not last or age > KEPT or table.names[place] != key:  # looked at again: it may have changed hands meanwhile
                    continue
                if active or age < 0.0:
                    age = 0.0
                if youngest is None or age < youngest:
                    youngest = age
        return youngest

    def _side(self, side: str) -> int:
        code = self._side_digests.get(side)
        if code is None:  # customers and trunks: as many as sipwarden.toml and the segments name
            code = self._side_digests[side] = int(self._digest(b"side " + side.encode()), 16)
        return code

    def _find(self, key: int, side: int) -> int:
        """The place of an entry in our own table, -1 where it is not."""
        own = self._own
        base = (key & self._mask) * WAYS
        names = own.names[base : base + WAYS].tolist()
        if key in names:
            for place, name in enumerate(names, base):
                if name == key and own.sides[place] == side and own.lasts[place]:
                    return place
        return -1

    def _note(self, key: int, side: int, at: float) -> None:
        own = self._own
        place = self._find(key, side)
        if place >= 0:
            if at > own.lasts[place]:
                own.lasts[place] = at
            own.setups[place] += 1
            return
        base = (key & self._mask) * WAYS
        lasts = own.lasts[base : base + WAYS].tolist()
        oldest = min(lasts)
        if not oldest or at - oldest > KEPT:
            place = base + lasts.index(oldest)
        else:
            place = base + self._loser(own.sides[base : base + WAYS].tolist(), lasts)
            self.overflow += 1
        own.lasts[place] = 0.0
        own.names[place] = key
        own.sides[place] = side
        own.setups[place] = 1
        own.lasts[place] = at

    @staticmethod
    def _loser(sides: Sequence[int], lasts: Sequence[float]) -> int:
        """Which entry of a full set makes room: the oldest of the side that has most."""
        most = max([sides.count(side) for side in sides])
        return min([(last, place) for place, last in enumerate(lasts) if sides.count(sides[place]) == most])[1]
