"""When a worker sleeps before it looks at its sockets again, so that one wake-up finds several messages.

A worker that is neither idle nor busy is woken for almost every message, and a wake-up costs more than the message: the processor comes out
of sleep and finds its caches cold. Network cards gather interrupts for the same reason.
"""

from __future__ import annotations

from typing import Final

REST: Final = 0.0004
"""Seconds that a worker sleeps: what a message may come to wait, of half a second (T1) that SIP has for it."""

WORTH: Final = 1.0
"""Messages expected within it from which it pays: the sleep itself is a wake-up."""

BUSY: Final = 0.7
"""Share of its time from which a worker does not sleep: messages wait for each other as it is."""

MEMORY: Final = 0.02
"""Seconds over which rates are taken."""


class Gathering:
    """What one worker's messages have been like of late. Times in seconds, of a clock that goes on."""

    __slots__ = ("_began", "_busy", "_rate", "_rested", "_socket", "_took")

    def __init__(self) -> None:
        self._rate = 0.0
        self._busy = 0.0
        self._began = 0.0
        self._took = 0.0
        self._socket = -1
        self._rested = 0.0

    def rest(self, socket: int, messages: int, began: float, ended: float) -> float:
        """How long to sleep after a batch of `messages`, taken in from a socket and answered between these times; 0.0 for not at all.

        Of several sockets only one's batches are slept after: the sleeps of a turn of the loop would add up.
        """
        since = began - self._began
        if since <= 0.0:
            return 0.0
        weight = min(1.0, since / MEMORY)
        self._rate += weight * (messages / since - self._rate)
        self._busy += weight * (self._took / since - self._busy)
        self._began = began
        took = self._took = ended - began
        if self._rate * REST < WORTH or self._busy > BUSY or 2.0 * took > REST:
            return 0.0
        if socket != self._socket and began - self._rested < MEMORY:
            return 0.0
        self._socket = socket
        self._rested = ended
        return REST
