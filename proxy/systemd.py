"""The service manager's notification protocol, sd_notify(3). Does nothing where there is none."""

from __future__ import annotations

import os
import socket
from time import clock_gettime_ns
from typing import Final

CLOCK_MONOTONIC: Final = 1


def notify(*states: str) -> bool:
    """Send assignments such as READY=1; whether there was somebody to send them to."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(states).encode(), address)
    except OSError:
        return False
    return True


def reloading() -> None:
    """Say that a reload has begun; READY=1 ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1, half of what the unit allows; None without a watchdog."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID")
    if not limit.isdigit() or (pid is not None and pid != str(os.getpid())):
        return None
    return int(limit) / 2_000_000
