"""One kind of look-up without its clock and its socket: what was answered lately, what is being asked, whether it makes sense to ask.

`now` is a time in seconds that never goes back. Everything is bounded: answers kept by `remembered`, questions open by `concurrent`; who
waits for a question is bounded by the calls that can be parked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

ASK: Final = "ask"
JOINED: Final = "joined"
CACHED: Final = "cached"
REFUSED: Final = "refused"
PAUSED: Final = "paused"

Fate = Literal["ask", "joined", "cached", "refused", "paused"]
"""What becomes of a question: it is to be asked, it waits for the same question's answer, its answer is known, or it has no answer because
too many are open or the service has failed too often.
"""


class NoAnswer(Exception):
    """Why a service gave no answer. `alive`: it answered that it has none, so asking it about something else still makes sense."""

    def __init__(self, why: str, *, alive: bool = False) -> None:
        super().__init__(why)
        self.alive = alive


class Answers:
    """Answers by key, each for its own time; the one that was not asked for longest makes room. With `group`, which names the group of a
    key, one of its own group does where that has `share` answers.
    """

    def __init__(self, size: int, group: Callable[[str], str] | None = None, share: int = 0) -> None:
        self._size = size
        self._group = group
        self._share = share
        self._kept: dict[str, tuple[object, float]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, now: float) -> object:
        """The answer; None where there is none or its time is over."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        del self._kept[key]
        if now < kept[1]:
            self._kept[key] = kept
            return kept[0]
        return None

    def put(self, key: str, answer: object, until: float) -> None:
        """Keep an answer until that time."""
        self._kept.pop(key, None)
        while len(self._kept) >= self._size:
            if not self._kept:
                return  # nothing is kept at all
            del self._kept[next(iter(self._kept))]
        if self._group is not None:
            group = self._group(key)
            others = [other for other in self._kept if self._group(other) == group]
            if len(others) >= self._share:
                del self._kept[others[0]]
        self._kept[key] = (answer, until)


class Breaker:
    """Closed until `failures` in a row, then open for `pause` seconds; then one question is let through, and its fate decides."""

    def __init__(self, failures: int, pause: float) -> None:
        self._limit = failures
        self._pause = pause
        self._failures = 0
        self._until = 0.0
        self._trying = False
        self.is_open = False

    def allows(self, now: float) -> bool:
        """Whether a question may be asked now; it must be, and its fate told."""
        if not self.is_open:
            return True
        if self._trying or now < self._until:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """The service answered."""
        self._failures = 0
        self.is_open = self._trying = False

    def failed(self, now: float) -> bool:
        """The service did not answer; True where that opens the breaker or keeps it open for another pause."""
        self._failures += 1
        if self.is_open and not self._trying:
            return False  # asked before it opened
        if self.is_open or self._failures >= self._limit:
            self.is_open = True
            self._trying = False
            self._until = now + self._pause
            return True
        return False


class Desk:
    """Takes questions for one service. `lives` is how many seconds each answer is kept, one that is not named there not at all; or how many
    any answer is.
    """

    def __init__(self, lives: Mapping[str, float] | float, *, remembered: int, concurrent: int, failures: int, pause: float) -> None:
        self._lives = lives
        self._concurrent = concurrent
        self._waiting: dict[str, dict[int, None]] = {}  # tickets in their order
        self.answers = Answers(remembered)
        self.breaker = Breaker(failures, pause)

    @property
    def open(self) -> int:
        """Questions that are being asked."""
        return len(self._waiting)

    def recall(self, key: str, now: float) -> object:
        """A kept answer, or None."""
        return self.answers.get(key, now)

    def take(self, key: str, ticket: int, now: float) -> tuple[Fate, object]:
        """Take a question; with CACHED comes its answer. After ASK or JOINED the ticket waits for `answered`, `failed` or `leave`."""
        answer = self.answers.get(key, now)
        if answer is not None:
            return CACHED, answer
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting[ticket] = None
            return JOINED, None
        if len(self._waiting) >= self._concurrent:
            return REFUSED, None
        if not self.breaker.allows(now):
            return PAUSED, None
        self._waiting[key] = {ticket: None}
        return ASK, None

    def leave(self, key: str, ticket: int) -> None:
        """A ticket waits no longer; the question goes on, for its answer may be kept."""
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.pop(ticket, None)

    def answered(self, key: str, answer: object, now: float) -> list[int]:
        """The service's answer; the tickets that waited for it."""
        self.breaker.succeeded()
        lives = self._lives
        life = lives if isinstance(lives, float) else lives.get(answer, 0.0) if isinstance(answer, str) else 0.0
        if life > 0:
            self.answers.put(key, answer, now + life)
        return list(self._waiting.pop(key, ()))

    def failed(self, key: str, now: float, *, alive: bool = False) -> tuple[list[int], bool]:
        """The service had no answer, or (`alive`) none to this question: the tickets that waited, and whether that opened the breaker."""
        waited = list(self._waiting.pop(key, ()))
        if alive:
            self.breaker.succeeded()
            return waited, False
        return waited, self.breaker.failed(now)
