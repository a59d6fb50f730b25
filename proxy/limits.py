"""How many calls a trunk or segment may have, at a time and in a second, on the whole node."""

from __future__ import annotations

from hashlib import blake2b
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

SECOND: Final = 1_000_000_000
"""In ns."""

SLOWEST: Final = 1e-6
"""Calls a second; a rate below that is as good as one call in eleven days, and its times still have room in 8 bytes."""


class Subject:
    """What calls are counted of: a trunk, or a segment that has a limit. `count` are this worker's calls.

    Both limits are exact over all workers, since a worker looks at the others' numbers and tells its own in the subject's turn
    (`proxy.tally`), which is a few microseconds and ends with the worker that has it. Without a limit there is no turn to wait for.

    The rate is a bucket of one second's worth, at least one call. What it holds is one number: the time at which it is full again if
    nobody starts a call, in ns of the clock that all processes share. Each worker tells the time that its own last call led to; the
    highest counts. A rate that has changed is another bucket, and full: nothing of the old one holds anybody up.
    """

    __slots__ = ("_before", "_calls", "_each", "_fills", "_full_at", "_rate", "_tally", "count", "key", "name")

    def __init__(self, name: str, key: int, tally: Tally) -> None:
        """`key`: even, the same in all workers, and no other subject's."""
        self.name = name
        self.key = key
        self.count = 0
        self._tally = tally
        self._calls = tally.place(key)
        self._rate = 0.0
        self._each = 0
        self._fills = 0  # the key of the bucket, 0: none yet
        self._full_at = 0
        self._before = 0

    def take_turn(self) -> None:
        """Have `add` and `start` find what is true of all workers, and stay true until `end_turn`."""
        self._tally.take_turn(self.key)

    def end_turn(self) -> None:
        """Let other workers look."""
        self._tally.end_turn(self.key)

    def add(self, limit: int | None) -> bool:
        """Count one call more; False, and no call more, where that is above the limit."""
        if limit is not None and self.count + self._tally.others(self.key) >= limit:
            return False
        self.recount(self.count + 1)
        return True

    def remove(self) -> None:
        """Count one call less."""
        self.recount(self.count - 1)

    def recount(self, count: int) -> None:
        """This worker's calls as they were found."""
        self.count = count
        if self._calls >= 0:
            self._tally.write(self._calls, count)

    def start(self, rate: float, now: float, *, force: bool = False) -> bool:
        """Count the start of a call; False where the rate (calls a second) has no room for it, and it does not count; with
        `force` it does, since it starts all the same.
        """
        if rate != self._rate:
            self._use(rate)
        at = int(now * 1e9)
        full_at = max(at, self._full_at, self._tally.highest(self._fills)) + self._each
        latest = at + max(SECOND, self._each)  # when it is full again if it is empty now
        room = full_at <= latest
        if room or force:
            self._before = self._full_at
            self._tell(min(full_at, latest))
        return room

    def take_back(self) -> None:
        """In the same turn: a call that was counted by `start` did not start."""
        self._tell(self._before)

    def forget(self) -> None:
        """Give the places of a subject without calls back."""
        self._tally.forget(self.key)
        if self._fills:
            self._tally.forget(self._fills)

    def _use(self, rate: float) -> None:
        """Take the bucket of a rate, with what this worker told of it before."""
        if self._fills:
            self._tally.forget(self._fills)
        self._rate = rate
        self._each = int(SECOND / max(rate, SLOWEST))
        self._fills = rate_key(self.key, rate)
        place = self._tally.place(self._fills)
        self._full_at = self._tally.read(place) if place >= 0 else 0

    def _tell(self, full_at: int) -> None:
        self._full_at = full_at
        place = self._tally.place(self._fills)
        if place >= 0:
            self._tally.write(place, full_at)


def rate_key(key: int, rate: float) -> int:
    """The odd number under which the starts of a subject are told that may have so many a second."""
    return int.from_bytes(blake2b(f"{key} {rate!r}".encode(), digest_size=8, person=b"rate").digest(), "little") | 1


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
