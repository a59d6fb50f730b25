"""How many calls a trunk or segment may have, at a time and in a second, on the whole node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.tally import Tally
from rules.notes import Would
from rules.profile import above_limit

if TYPE_CHECKING:
    from rules.call import Call, Trunk
    from rules.directory import Directory, Segment
    from rules.verdict import Verdict

RULE: Final = "limits"
"""What a verdict names as its rule where a limit is reached."""


class Subject:
    """What calls are counted of: a trunk, or a segment that has a limit. `count` are this worker's calls.

    The law of both limits: a worker writes its own number first and then reads the others'. Of two workers that do so at the same moment
    at least one sees the other's number, so that they never both take what only one may have; each takes back what is over the limit.
    (Both may: then one call is refused that might have gone on. The limit is never passed.)

    The rate is a token bucket of one second's worth, at least one call. Each worker has a view of what the bucket holds: at each look that
    is filled up first, then what others have taken since the last look is taken out, but never below nothing, which the bucket holds at
    least. Whatever order things really happened in, the bucket holds no less than that: no view grants what is not there.
    """

    __slots__ = ("_calls", "_last", "_level", "_looked", "_others", "_started", "_starts", "_tally", "count", "key", "name")

    def __init__(self, name: str, key: int, tally: Tally) -> None:
        """`key`: even, the same in all workers, and no other subject's."""
        self.name = name
        self.key = key
        self.count = 0
        self._tally = tally
        self._calls = tally.place(key)
        self._starts = -1
        self._started = 0
        self._looked = False
        self._level = 0.0
        self._last = 0.0
        self._others = 0

    def add(self, limit: int | None) -> bool:
        """Count one call more; False, and no call more, where that is above the limit."""
        self.count += 1
        if self._calls >= 0:
            self._tally.write(self._calls, self.count)
        if limit is None or self.count + self._tally.others(self.key) <= limit:
            return True
        self.remove()
        return False

    def remove(self) -> None:
        """Count one call less."""
        self.count -= 1
        if self._calls >= 0:
            self._tally.write(self._calls, self.count)

    def recount(self, count: int) -> None:
        """This worker's calls as they were found."""
        self.count = count
        if self._calls >= 0:
            self._tally.write(self._calls, count)

    def start(self, rate: float, now: float, *, force: bool = False) -> bool:
        """Count the start of a call; False where the rate (calls a second) has no room for it, and it does not count; with
        `force` it does, since it starts all the same.
        """
        tally = self._tally
        if self._starts < 0:
            self._starts = tally.place(self.key + 1)
            if self._starts < 0:
                return True
            self._started = tally.read(self._starts)
        most = max(1.0, rate)
        self._started += 1
        tally.write(self._starts, self._started)
        others = tally.others(self.key + 1)
        if self._looked:
            filled = min(most, self._level + max(0.0, now - self._last) * rate)
            level = max(0.0, filled - max(0, others - self._others))
        else:  # full where nobody has started a call yet, else empty, since others may have used it up just now
            self._looked = True
            level = most if not others and self._started == 1 else 0.0
        self._last = now
        self._others = others
        self._level = level - 1.0
        if level >= 1.0:
            return True
        if force:
            self._level = 0.0
        else:
            self.take_back()
        return False

    def take_back(self) -> None:
        """A call that was counted by `start` did not start."""
        if self._starts >= 0:
            self._started -= 1
            self._tally.write(self._starts, self._started)
            self._level += 1.0

    def forget(self) -> None:
        """Give the places of a subject without calls back."""
        self._tally.forget(self.key)
        if self._starts >= 0:
            self._tally.forget(self.key + 1)


def limited_segment(call: Call, directory: Directory) -> Segment | None:
    """The segment with a limit that a call counts for: of the number that was authenticated."""
    trunk = call.trunk
    number = call.instead or (call.presented[0] if call.presented else None)
    if trunk.kind != "enterprise" or number is None:
        return None
    segment = directory.segment(number, trunk.id, call.at, call.tenant)
    return segment if segment is not None and (segment.max_cps is not None or segment.max_calls is not None) else None


def above(verdict: Verdict, trunk: Trunk, code: str) -> None:
    """A limit is reached: the call is refused, or on a trunk that is observed that is noted."""
    said = above_limit(trunk.reject_profile, trunk.over_limit)
    if trunk.mode == "observe":
        would = Would("reject", code, RULE, said.status)
        if verdict.observed is None:
            verdict.would = would
            verdict.observed = [would]
        else:
            verdict.observed.append(would)
        return
    verdict.action = "reject"
    verdict.code = code
    verdict.rule = RULE
    verdict.status = said.status
    verdict.phrase = said.phrase
    verdict.reason = said.reason
    verdict.call_info = said.call_info
