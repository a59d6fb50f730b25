"""A worker's side of the journal: events go into its ring, and calls are refused where the node may take none that it cannot record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import sleep
from typing import Final

from proxy.events import Event
from proxy.journal.ring import RingFault, RingWriter

TRIES: Final = 50
TRY_AGAIN: Final = 0.1
"""Seconds between two tries to have a ring that a worker before this one, of a supervisor that was killed, has not let go yet."""


class Recorder:
    """`refuse` is called with True when calls are to be refused for want of room, with False when they can be taken again."""

    def __init__(self, ring: RingWriter, refuse: Callable[[bool], None]) -> None:
        self._ring = ring
        self._refuse = refuse
        self.must_record = False
        """Whether calls are refused rather than not recorded (`on_full`)."""
        self.refusing = False

    def put(self, events: Sequence[Event]) -> None:
        """Have the kernel keep these events: they outlive this process from now on. What finds no room is counted."""
        self._ring.put(events)
        if self.must_record or self.refusing:
            self.look()

    def look(self) -> None:
        """See whether calls can be taken."""
        full = self.must_record and self._ring.full
        if full != self.refusing:
            self.refusing = full
            self._refuse(full)

    def close(self) -> None:
        """Let the ring go."""
        self._ring.close()


def open_ring(fd: int, worker: int) -> RingWriter:
    """A worker's ring, for which it waits some seconds where another process still writes to it. Raises RingFault."""
    for _ in range(TRIES - 1):
        try:
            return RingWriter(fd, worker)
        except RingFault:
            sleep(TRY_AGAIN)
    return RingWriter(fd, worker)
