"""What the admin pages want to know of the running node."""

from __future__ import annotations

from typing import Protocol

from proxy.control import Snapshot
from proxy.totals import Totals


class RunningNode(Protocol):
    """The supervisor, as far as the pages are concerned."""

    reloads: int
    reload_failures: int
    restarts: int
    draining: bool
    steering: dict[str, int]
    """Of each UDP listener up to which octet datagrams are searched for a Call-ID, by which workers get them; 0: by address and port."""

    @property
    def ready(self) -> bool:
        """Whether every worker takes calls."""
        ...

    @property
    def workers_up(self) -> int:
        """How many workers take calls."""
        ...

    async def snapshots(self) -> tuple[Totals, list[Snapshot]]:
        """Counters summed over all workers, and the newest snapshot of each that runs."""
        ...

    def socket_drops(self) -> int:
        """Datagrams dropped by the kernel for want of buffer."""
        ...
