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
        shown = [number.canonical for number in (*call.presented, call.from_number) if number.canonical is not None]
        leg = Leg(self, sides, called, tuple(dict.fromkeys(shown)), offset)
        self._note(Notice(True, sides, called, leg.callers, call.at))
        return leg

    def end(self, leg: Leg, now: float) -> None:
        """It is set up no longer, at the core's time `now`."""
        self._note(Notice(False, leg.sides, leg.called, leg.callers, now + leg.offset))

    def take(self) -> list[Notice]:
        """What the other workers are to hear."""
        notices, self._notices = self._notices, []
        return notices

    def hear(self, notice: Notice) -> None:
        """What another worker tells, or this one found."""
        tell = self.legs.begin if notice.begun else self.legs.end
        tell(notice.sides, notice.called, notice.callers, notice.at)
        self._counters.legs_forgotten = self.legs.overflow

    def _note(self, notice: Notice) -> None:
        self.hear(notice)
        if self.shared and len(self._notices) < NOTICES_KEPT:
            self._notices.append(notice)


class Leg:
    """A call on its way toward a trunk, until it has its final response."""

    __slots__ = ("_correlation", "called", "callers", "offset", "sides")

    def __init__(self, correlation: Correlation, sides: tuple[str, ...], called: str, callers: tuple[str, ...], offset: float) -> None:
        self._correlation = correlation
        self.sides = sides
        self.called = called
        self.callers = callers
        self.offset = offset

    def over(self, now: float) -> None:
        """The final response has gone to the caller."""
        self._correlation.end(self, now)
