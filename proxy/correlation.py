"""What this node delivered lately, told to policy: the proof that a forwarded call needs (policy.md, rule 9)."""

from __future__ import annotations

from typing import Any

from proxy.counters import Counters
from rules.call import Call
from rules.legs import Legs


class Correlation:
    """One worker's memory of legs. `legs` may be replaced, before the first call, by one that workers share.

    Nodes do not share it. A forwarded call whose first leg is not known is one without proof.
    """

    __slots__ = ("_counters", "legs")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.legs = Legs()

    def begin(self, call: Call, sides: tuple[str, ...], offset: float) -> Leg | None:
        """An accepted call leaves toward these sides; `offset` makes Unix time of the core's. None where nobody could ask for it."""
        called = call.called.canonical
        if called is None:
            return None
        presented = call.presented
        own = call.from_number
        callers: tuple[str, ...]
        if len(presented) == 1 and presented[0] is own and own.canonical is not None:
            callers = (own.canonical,)
        else:
            shown = [number.canonical for number in (*presented, own) if number.canonical is not None]
            callers = tuple(dict.fromkeys(shown))
        legs = self.legs
        keys = legs.begin(sides, called, callers, call.at)
        self._counters.legs_forgotten = legs.overflow
        return Leg(legs, sides, keys, offset)


class Leg:
    """A call on its way toward a trunk, until it has its final response. `keys` are what the memory keeps it by."""

    __slots__ = ("_legs", "keys", "offset", "sides")

    def __init__(self, legs: Legs, sides: tuple[str, ...], keys: tuple[Any, ...], offset: float) -> None:
        self._legs = legs
        self.sides = sides
        self.keys = keys
        self.offset = offset

    def over(self, now: float) -> None:
        """The final response has gone to the caller, at the core's time `now`."""
        self._legs.end_by(self.sides, self.keys, now + self.offset)
