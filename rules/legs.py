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


class Seen:
    """The legs of one key: how many are still being set up, and when the last of them began or was set up (Unix time)."""

    __slots__ = ("last", "setup")

    def __init__(self, at: float) -> None:
        self.setup = 1
        self.last = at


class Legs:
    """A bounded memory of legs, without timers: each touch moves a key to the young end, and what is overdue is dropped at the old end.

    A leg is kept by called and calling number together, by called number, and by calling number, for the side that it was delivered to (see
    `side_of`): a customer, a peer, or abroad. Only calls that policy has passed and that were sent toward a side are told to it, so filling
    it takes as many accepted calls between different numbers; repeated calls between two numbers take no room. A memory that is full takes
    the oldest key of the side that has most: who floods one side pushes out that side's legs and nobody else's. `overflow` counts that.

    A leg that is being set up is active. When an answered call ends is not seen here; it counts from its answer, as a refused one from its
    refusal.
    """

    __slots__ = ("_count", "_limit", "_sides", "overflow")

    def __init__(self, limit: int = LEGS_AT_MOST) -> None:
        self._sides: OrderedDict[str, OrderedDict[str, Seen]] = OrderedDict()
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
                known = self._sides[side] = OrderedDict()
            added = 0
            for key in keys:
                seen = known.get(key)
                if seen is None:
                    known[key] = Seen(at)
                    added += 1
                else:
                    known.move_to_end(key)
                    seen.setup += 1
                    if at > seen.last:
                        seen.last = at
            if added:
                self._count += added
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
                seen = known.get(key)
                if seen is not None:
                    known.move_to_end(key)
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
            return None if known is None else _age(known.get(key), at)
        youngest: float | None = None
        for known in self._sides.values():
            age = _age(known.get(key), at)
            if age is not None and (youngest is None or age < youngest):
                youngest = age
        return youngest

    def _make_room(self, known: OrderedDict[str, Seen], added: int, at: float) -> None:
        """Drop what is overdue on this side, which has so many keys more, and on another, each in its turn, and where that is not enough,
        of the largest.
        """
        self._drop_overdue(known, added, at)
        if len(self._sides) > 1:
            side, other = next(iter(self._sides.items()))
            self._sides.move_to_end(side)
            if other is not known:
                self._drop_overdue(other, added, at)
                if not other:
                    del self._sides[side]
        if self._count > self._limit:
            largest = max(self._sides.values(), key=len)
            for _ in range(min(len(largest), added * (1 + self._limit // 4096))):  # several: finding the largest takes its time
                largest.popitem(last=False)
                self._count -= 1
                self.overflow += 1

    def _drop_overdue(self, known: OrderedDict[str, Seen], added: int, at: float) -> None:
        for _ in range(FORGOTTEN_A_TURN * added):
            if not known or at - next(iter(known.values())).last <= KEPT:
                break
            known.popitem(last=False)
            self._count -= 1


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
