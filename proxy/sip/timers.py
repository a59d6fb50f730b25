"""Timers without an object each: one deque for every duration, entries in order of their time.

Nothing is ever cancelled. An entry that fires is given to its owner, who looks whether it still means anything (RFC 3261's timers are
all of a few fixed lengths, so a deque stays sorted by itself).
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

T1: Final = 0.5
"""Round-trip time estimate, seconds (RFC 3261 §17.1.1.1)."""
T2: Final = 4.0
"""Longest interval between retransmissions of a non-INVITE request or a response to INVITE."""
T4: Final = 5.0
"""How long a message may stay in the network."""
TRANSACTION: Final = 64 * T1
"""Timers B, F, H, J, L and M."""
TIMER_C: Final = 185.0
"""How long an INVITE may ring (§16.6 step 11: more than three minutes, counted from any of its provisional responses)."""


class Timers:
    """Pending timers of one worker; entries are (due, kind, owner)."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Any, Any]]] = {}

    def start(self, now: float, delay: float, kind: object, owner: object) -> None:
        """Have (kind, owner) fire `delay` seconds from `now`. Times that run backwards fire late, never out of order."""
        queue = self._queues.get(delay)
        if queue is None:
            queue = self._queues[delay] = deque()
        queue.append((now + delay, kind, owner))

    def next_due(self) -> float | None:
        """When the earliest entry is due; None without any."""
        earliest: float | None = None
        for queue in self._queues.values():
            if queue:
                due = queue[0][0]
                if earliest is None or due < earliest:
                    earliest = due
        return earliest

    def expired(self, now: float, limit: int) -> list[tuple[Any, Any]]:
        """Take at most `limit` entries that are due: the rest stays due, so that a burst never holds up the messages behind it."""
        fired: list[tuple[Any, Any]] = []
        for queue in self._queues.values():
            while queue and queue[0][0] <= now:
                if len(fired) >= limit:
                    return fired
                _, kind, owner = queue.popleft()
                fired.append((kind, owner))
        return fired

    def drop_unused(self) -> None:
        """Forget durations that nothing waits for (after a reload changed them)."""
        for delay in [delay for delay, queue in self._queues.items() if not queue]:
            del self._queues[delay]

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())
