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
"""A key has its place in one set, of so many entries: 1,048,576 in a table of 32 MiB."""

_SIDES: Final = WAYS
_LASTS: Final = 2 * WAYS
_SETUPS: Final = 3 * WAYS
_SET: Final = 4 * WAYS
"""Numbers of a set, 8 octets each: first the names of its entries, then what else is known of each, in the same order."""


def table_octets(sets: int = SETS) -> int:
    """Size of one table. Memory that is all zero is an empty one."""
    return sets * _SET * 8


class Table:
    """One worker's legs. Of each entry: a digest of its key (its name), a digest of the side, when it was last heard of (Unix time; 0: it
    is free), how many calls are being set up.
    """

    __slots__ = ("numbers", "times")

    def __init__(self, memory: memoryview) -> None:
        """`memory` has `table_octets()`, and is never written to through a table that is another worker's."""
        self.numbers: memoryview[int] = memory.cast("Q")
        self.times: memoryview[float] = memory.cast("d")

    def none_in_setup(self) -> None:
        """Begin again with a table that another worker has written: its calls that were being set up nobody will end."""
        numbers = self.numbers
        zeros = memoryview(bytes(len(numbers) // _SET * 8)).cast("Q")
        for place in range(_SETUPS, _SET):
            numbers[place::_SET] = zeros


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
        """`digest`: a keyed digest in 16 hex digits, the same for all workers; all tables are of one size, a power of two of sets."""
        super().__init__(0)
        self._own = own
        self._others = tuple(others)
        self._digest = digest
        self._mask = len(own.numbers) // _SET - 1
        self._side_digests: dict[str, int] = {}

    def __len__(self) -> int:
        """Entries of this worker's table that are in use or overdue: looks at all of them."""
        times = self._own.times
        return sum(1 for at in range(0, len(times), _SET) for last in times[at + _LASTS : at + _SETUPS] if last)

    def begin(self, sides: tuple[str, ...], called: str, callers: tuple[str, ...], at: float) -> tuple[Any, ...]:
        """As Legs."""
        keys = self._digests(called, callers)
        noted: list[tuple[int, int, int]] = []
        for side in sides:
            code = self._side(side)
            noted += [(self._note(key, code, at), key, code) for key in keys]
        return tuple(noted)

    def end(self, sides: tuple[str, ...], called: str, callers: tuple[str, ...], at: float) -> None:
        """As Legs."""
        keys = self._digests(called, callers)
        for side in sides:
            code = self._side(side)
            self.end_by(sides, tuple([(self._find(key, code), key, code) for key in keys]), at)

    def end_by(self, sides: tuple[str, ...], keys: tuple[Any, ...], at: float) -> None:
        """As Legs."""
        numbers, times = self._own.numbers, self._own.times
        place: int
        for place, key, code in keys:
            if place < 0 or numbers[place] != key or numbers[place + _SIDES] != code:  # it had to make room
                continue
            if at > times[place + _LASTS]:
                times[place + _LASTS] = at
            setups = numbers[place + _SETUPS]
            if setups:
                numbers[place + _SETUPS] = setups - 1

    def age(self, side: str | None, called: Number | None, caller: Number | None, at: float) -> float | None:
        """As Legs, over all workers' tables."""
        first = "" if called is None else called.canonical
        second = "" if caller is None else caller.canonical
        if first is None or second is None:
            return None
        key = int(self._digest((f"{first}>{second}" if second else first).encode()), 16)
        code = None if side is None else self._side(side)
        youngest: float | None = None
        base = (key & self._mask) * _SET
        for table in (self._own, *self._others):
            names = table.numbers[base : base + WAYS].tolist()
            if key not in names:
                continue
            for place, name in enumerate(names, base):
                if name != key or (code is not None and table.numbers[place + _SIDES] != code):
                    continue
                last, setups = table.times[place + _LASTS], table.numbers[place + _SETUPS]
                age = at - last
                if not last or age > KEPT or table.numbers[place] != key:  # looked at again: it may have changed hands meanwhile
                    continue
                if setups or age < 0.0:
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
        numbers = self._own.numbers
        base = (key & self._mask) * _SET
        names = numbers[base : base + WAYS].tolist()
        if key in names:
            for place, name in enumerate(names, base):
                if name == key and numbers[place + _SIDES] == side and self._own.times[place + _LASTS]:
                    return place
        return -1

    def _note(self, key: int, side: int, at: float) -> int:
        """One more call of this key toward this side; its place."""
        numbers, times = self._own.numbers, self._own.times
        place = self._find(key, side)
        if place >= 0:
            if at > times[place + _LASTS]:
                times[place + _LASTS] = at
            numbers[place + _SETUPS] += 1
            return place
        base = (key & self._mask) * _SET
        lasts = list(times[base + _LASTS : base + _SETUPS])  # not tolist(), which mypy takes for numbers without fractions
        oldest = min(lasts)
        if not oldest or at - oldest > KEPT:
            place = base + lasts.index(oldest)
        else:
            place = base + self._loser(numbers[base + _SIDES : base + _LASTS].tolist(), lasts)
            self.overflow += 1
        times[place + _LASTS] = 0.0
        numbers[place] = key
        numbers[place + _SIDES] = side
        numbers[place + _SETUPS] = 1
        times[place + _LASTS] = at
        return place

    def _digests(self, called: str, callers: tuple[str, ...]) -> list[int]:
        digest = self._digest
        return [int(digest(key.encode()), 16) for key in keys_of(called, callers)]

    @staticmethod
    def _loser(sides: Sequence[int], lasts: Sequence[float]) -> int:
        """Which entry of a full set makes room: the oldest of the side that has most."""
        most = max([sides.count(side) for side in sides])
        return min([(last, place) for place, last in enumerate(lasts) if sides.count(sides[place]) == most])[1]
