"""Timers without an object each: one queue for every duration and kind, entries in order of their time.

Nothing is ever cancelled. An entry that fires is given to its owner, who looks whether it still means anything (RFC 3261's timers are
all of a few fixed lengths, so a queue stays sorted by itself).
"""

from __future__ import annotations

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


_STRETCH: Final = 256
"""Entries that are kept and given up together."""


class _Stretch:
    """Some entries of a queue, one behind the other: when each is due, and its owner."""

    __slots__ = ("dues", "next", "owners")

    def __init__(self) -> None:
        self.dues: list[float] = []
        self.owners: list[Any] = []
        self.next: _Stretch | None = None


class Queue:
    """Timers of one duration and one kind."""

    __slots__ = ("_at", "_first", "_last", "_size", "delay", "kind")

    def __init__(self, delay: float, kind: int) -> None:
        self.delay = delay
        self.kind = kind
        self._first = self._last = _Stretch()
        self._at = 0
        self._size = 0

    def start(self, now: float, owner: object) -> None:
        """Have `owner` fire `delay` seconds from `now`. Times that run backwards fire late, never out of order."""
        last = self._last
        if len(last.owners) >= _STRETCH:
            last.next = self._last = last = _Stretch()
        last.dues.append(now + self.delay)
        last.owners.append(owner)
        self._size += 1

    def is_due(self, now: float) -> bool:
        """Whether the first entry is due."""
        return self._size > 0 and self._first.dues[self._at] <= now

    def next_due(self) -> float:
        """When the first entry is due, where there is one."""
        return self._first.dues[self._at]

    def take(self) -> Any:
        """Take the first entry and give its owner. IndexError where there is none."""
        first, at = self._first, self._at
        owner = first.owners[at]
        first.owners[at] = None
        self._size -= 1
        self._at = at = at + 1
        if at >= _STRETCH:
            self._first = first = first.next or _Stretch()
            self._at = 0
            if not self._size:
                self._last = first
        return owner

    def __len__(self) -> int:
        return self._size


class Timers:
    """Pending timers of one worker. `queues` are all there are."""

    __slots__ = ("_others", "queues")

    def __init__(self) -> None:
        self.queues: list[Queue] = []
        self._others: dict[tuple[float, int], Queue] = {}

    def queue(self, delay: float, kind: int) -> Queue:
        """A new queue, for whoever has timers of that duration and kind all the time."""
        made = Queue(delay, kind)
        self.queues.append(made)
        return made

    def start(self, now: float, delay: float, kind: int, owner: object) -> None:
        """Have (kind, owner) fire `delay` seconds from `now`."""
        key = (delay, kind)
        queue = self._others.get(key)
        if queue is None:
            queue = self._others[key] = self.queue(delay, kind)
        queue.start(now, owner)

    def next_due(self) -> float | None:
        """When the earliest entry is due; None without any."""
        earliest = 0.0
        found = False
        for queue in self.queues:
            if len(queue):
                due = queue.next_due()
                if not found or due < earliest:
                    earliest = due
                    found = True
        return earliest if found else None

    def due(self, now: float) -> Queue | None:
        """A queue whose first entry is due. Whoever takes a bounded number, one after the other, holds up no messages in a burst."""
        for queue in self.queues:
            if queue.is_due(now):
                return queue
        return None

    def drop_unused(self) -> None:
        """Forget durations that nothing waits for (after a reload changed them)."""
        for key in [key for key, queue in self._others.items() if not len(queue)]:
            self.queues.remove(self._others.pop(key))

    def __len__(self) -> int:
        return sum([len(queue) for queue in self.queues])
