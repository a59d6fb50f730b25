"""What this node delivered lately, told to policy and to the other workers: the proof that a forwarded call needs (policy.md, rule 9)."""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.counters import Counters
from rules.call import Call
from rules.legs import Legs

NOTICES_KEPT: Final = 1024
"""Notices that wait for the other workers; more are not told. They are taken after each batch of input."""


class Notice(NamedTuple):
    """A call's way toward a trunk began, or (`begun` False) is set up no longer. `at` is Unix time; the rest as in `Legs.begin`."""

    begun: bool
    sides: tuple[str, ...]
    called: str
    callers: tuple[str, ...]
    at: float


class Correlation:
    """One worker's memory of legs. `shared`: other workers are to hear of each; then `take` their notices and `hear` of theirs.

    Memory is the process's own: a worker that starts again knows nothing of the calls before it, and nodes do not share it. A forwarded
    call whose first leg is not known is one without proof. A notice for a full inbox is dropped and counts as `handover_dropped`.
    """

    __slots__ = ("_counters", "_notices", "legs", "shared")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.legs = Legs()
        self.shared = False
        self._notices: list[Notice] = []

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
        if self.shared:
            self._note(Notice(True, sides, called, callers, call.at))
        return Leg(self, sides, called, callers, keys, offset)

    def end(self, leg: Leg, now: float) -> None:
        """It is set up no longer, at the core's time `now`."""
        at = now + leg.offset
        self.legs.end_by(leg.sides, leg.keys, at)
        if self.shared:
            self._note(Notice(False, leg.sides, leg.called, leg.callers, at))

    def take(self) -> list[Notice]:
        """What the other workers are to hear."""
        notices, self._notices = self._notices, []
        return notices

    def hear(self, notice: Notice) -> None:
        """What another worker tells."""
        legs = self.legs
        if notice.begun:
            legs.begin(notice.sides, notice.called, notice.callers, notice.at)
            self._counters.legs_forgotten = legs.overflow
        else:
            legs.end(notice.sides, notice.called, notice.callers, notice.at)

    def _note(self, notice: Notice) -> None:
        if len(self._notices) < NOTICES_KEPT:
            self._notices.append(notice)


class Leg:
    """A call on its way toward a trunk, until it has its final response. `keys` are what this worker's memory keeps it by."""

    __slots__ = ("_correlation", "called", "callers", "keys", "offset", "sides")

    def __init__(
        self, correlation: Correlation, sides: tuple[str, ...], called: str, callers: tuple[str, ...], keys: tuple[str, ...], offset: float
    ) -> None:
        self._correlation = correlation
        self.sides = sides
        self.called = called
        self.callers = callers
        self.keys = keys
        self.offset = offset

    def over(self, now: float) -> None:
        """The final response has gone to the caller."""
        self._correlation.end(self, now)
