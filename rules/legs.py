"""Which calls were lately delivered toward a trunk: the other leg by which a forwarded call proves itself.

A call that its callee forwards comes back with the caller it came in with. Whoever knows that the call went there a moment ago need not
believe a Diversion header.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from rules.numbers import Number

KEPT: Final = 600.0
"""Seconds that a leg is remembered after it was last heard of; no rule can look back further."""

LEGS_AT_MOST: Final = 131_072
"""Keys remembered for all sides together (a leg has at least two): about 30 MB."""

FORGOTTEN_A_TURN: Final = 4
"""Overdue keys dropped for each key that is added: more than come in, and never a pause."""

_SMALL: Final = 1024
_PARTS: Final = 64
"""A side with more keys than a small one has them in so many parts: a dictionary that makes room copies all it has, and nothing is answered
meanwhile. A power of two.
"""


class Seen:
    """The legs of one key: how many are still being set up, and when the last of them began or was set up (Unix time)."""

    __slots__ = ("last", "setup")

    def __init__(self, at: float) -> None:
        self.setup = 1
        self.last = at


class _Side:
    """The legs toward one side. Each of its parts has its keys in the order in which they were last touched; `oldest` says of each part
    that none in it was touched before.
    """

    __slots__ = ("_turn", "count", "oldest", "parts")

    def __init__(self) -> None:
        self.parts: list[OrderedDict[str, Seen]] = [OrderedDict()]
        self.oldest = [0.0]
        self.count = 0
        self._turn = 0

    def part(self, key: str) -> OrderedDict[str, Seen]:
        """Where a key has its place."""
        parts = self.parts
        return parts[0] if len(parts) == 1 else parts[hash(key) & (_PARTS - 1)]

    def grew(self, added: int) -> None:
        """So many keys were added."""
        self.count += added
        if self.count > _SMALL and len(self.parts) == 1:
            (known,) = self.parts
            self.parts = [OrderedDict() for _ in range(_PARTS)]
            self.oldest = [self.oldest[0]] * _PARTS
            for key, seen in known.items():
                self.part(key)[key] = seen

    def drop_overdue(self, tries: int, at: float) -> int:
        """Look at the old end of parts, each in its turn, and drop what is overdue there; how many."""
        dropped = 0
        for _ in range(tries):
            turn = self._turn
            if at - self.oldest[turn] > KEPT:
                part = self.parts[turn]
                self.oldest[turn] = oldest = next(iter(part.values())).last if part else at
                if at - oldest > KEPT:
                    part.popitem(last=False)
                    dropped += 1
            elif len(self.parts) == 1:
                break
            self._turn = (turn + 1) % len(self.parts)
        self.count -= dropped
        return dropped

    def drop_oldest(self) -> None:
        """Drop the oldest key of a part, of each in its turn."""
        while not self.parts[self._turn]:
            self._turn = (self._turn + 1) % len(self.parts)
        self.parts[self._turn].popitem(last=False)
        self._turn = (self._turn + 1) % len(self.parts)
        self.count -= 1


class Legs:
    """A bounded memory of legs, without timers: each touch moves a key to the young end, and what is overdue is dropped at the old end.

    A leg is kept by called and calling number together, by called number, and by calling number, for the side that it was delivered to (see
    `side_of`): a customer, a peer, or abroad. Only calls that policy has passed and that were sent toward a side are told to it, so filling
    it takes as many accepted calls between different numbers; repeated calls between two numbers take no room. A memory that is full takes
    an oldest key of the side that has most: who floods one side pushes out that side's legs and nobody else's. `overflow` counts that.

    A leg that is being set up is active. When an answered call ends is not seen here; it counts from its answer, as a refused one from its
    refusal.
    """

    __slots__ = ("_count", "_limit", "_sides", "overflow")

    def __init__(self, limit: int = LEGS_AT_MOST) -> None:
        self._sides: OrderedDict[str, _Side] = OrderedDict()
        self._limit = limit
        self._count = 0
        self.overflow = 0

    def __len__(self) -> int:
        return self._count

    def begin(self, sides: tuple[str, ...], called: str, callers: tuple[str, ...], at: float) -> tuple[Any, ...]:
        """A call to `called` was sent toward these sides. Numbers are canonical; `callers` are all that it shows.

        The keys that it is kept by: `end_by` takes them.
        """
        keys = keys_of(called, callers)
        for side in sides:
            known = self._sides.get(side)
            if known is None:
                known = self._sides[side] = _Side()
            added = 0
            for key in keys:
                part = known.part(key)
                seen = part.get(key)
                if seen is None:
                    part[key] = Seen(at)
                    added += 1
                else:
                    part.move_to_end(key)
                    seen.setup += 1
                    if at > seen.last:
                        seen.last = at
            if added:
                self._count += added
                known.grew(added)
                self._make_room(known, added, at)
        return keys

    def end(self, sides: tuple[str, ...], called: str, callers: tuple[str, ...], at: float) -> None:
        """It is set up no longer: answered, refused or given up. What is not remembered stays forgotten."""
        self.end_by(sides, keys_of(called, callers), at)

    def end_by(self, sides: tuple[str, ...], keys: tuple[Any, ...], at: float) -> None:
        """The same, by the keys that `begin` gave."""
        for side in sides:
            known = self._sides.get(side)
            if known is None:
                continue
            for key in keys:
                part = known.part(key)
                seen = part.get(key)
                if seen is not None:
                    part.move_to_end(key)
                    if at > seen.last:
                        seen.last = at
                    if seen.setup > 0:
                        seen.setup -= 1

    def age(self, side: str | None, called: Number | None, caller: Number | None, at: float) -> float | None:
        """Seconds since the last leg toward `side` that matches, 0 while one is being set up, None where none is remembered.

        `side`, `called` or `caller` None: any. Any side is asked of each of them: not for every call.
        """
        first = "" if called is None else called.canonical
        second = "" if caller is None else caller.canonical
        if first is None or second is None:
            return None
        key = f"{first}>{second}" if second else first
        if side is not None:
            known = self._sides.get(side)
            return None if known is None else _age(known.part(key).get(key), at)
        youngest: float | None = None
        for known in self._sides.values():
            age = _age(known.part(key).get(key), at)
            if age is not None and (youngest is None or age < youngest):
                youngest = age
        return youngest

    def _make_room(self, known: _Side, added: int, at: float) -> None:
        """Drop what is overdue on this side, which has so many keys more, and on another, each in its turn, and where that is not enough,
        of the largest.
        """
        self._count -= known.drop_overdue(FORGOTTEN_A_TURN * added, at)
        if len(self._sides) > 1:
            side, other = next(iter(self._sides.items()))
            self._sides.move_to_end(side)
            if other is not known:
                self._count -= other.drop_overdue(FORGOTTEN_A_TURN * added, at)
                if not other.count:
                    del self._sides[side]
        if self._count > self._limit:
            largest = max(self._sides.values(), key=_size)
            for _ in range(min(largest.count, added * (1 + self._limit // 4096))):  # several: finding the largest takes its time
                largest.drop_oldest()
                self._count -= 1
                self.overflow += 1


def _size(side: _Side) -> int:
    return side.count


def _age(seen: Seen | None, at: float) -> float | None:
    if seen is None:
        return None
    age = at - seen.last
    if age > KEPT:
        return None
    return 0.0 if seen.setup or age < 0.0 else age


def keys_of(called: str, callers: tuple[str, ...]) -> tuple[str, ...]:
    """What a leg is kept by: its numbers together, and each."""
    if len(callers) == 1:  # as nearly always
        caller = callers[0]
        return (called, f"{called}>{caller}", f">{caller}")
    keys = [called]
    for caller in callers:
        keys += (f"{called}>{caller}", f">{caller}")
    return tuple(keys)
