"""How a node's journal stands, as the admin pages show it."""

from __future__ import annotations

import msgspec


class JournalState(msgspec.Struct, frozen=True):
    """How the journal stands. `told`, `lost` and `waiting` (octets in memory) are sums over all workers, `fill` the fullest buffer, 0 to 1.

    `flush_age`: seconds since the disk had everything; `counts`: what the keeper has counted, by the names of `proxy.journal.board`.
    """

    up: bool
    refusing: bool
    told: int
    lost: int
    waiting: int
    fill: float
    flush_age: float
    restarts: int
    counts: dict[str, int]

    @property
    def trouble(self) -> str:
        """What an operator has to know, in one line; "" where all is well."""
        if self.refusing:
            return "calls are refused: the journal's buffer is full"
        if self.up and self.counts.get("clock_doubted"):
            return "nothing is purged: the clock is far ahead of the newest record"
        if self.up:
            return ""
        return f"the journal is down: nothing was flushed for {self.flush_age:.0f} s, {self.waiting} octets of events wait in memory"
