"""Where the head of the chain goes after each seal: the system log, and a file beside the chain."""

from __future__ import annotations

import datetime
import os
import socket
from pathlib import Path
from typing import Final

NAME: Final = "heads"
SYSLOG: Final = "/dev/log"
_PRIORITY: Final = 10 << 3 | 5
"""authpriv.notice: what an archive of the system log keeps longest, and only root reads."""


def tell_syslog(text: str, path: str = SYSLOG) -> bool:
    """Send a line to the system log without waiting for it; whether it took it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.connect(path)
            sock.send(f"<{_PRIORITY}>sipwarden[{os.getpid()}]: {text}".encode())
    except OSError:
        return False
    return True


def note_head(folder: Path, count: int, head: str, now: int) -> None:
    """Add a line to the file of heads: time, number of the line, its hash. Raises OSError."""
    time = datetime.datetime.fromtimestamp(now / 1000, datetime.UTC).isoformat(timespec="milliseconds")
    with open(os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640), "w") as file:
        file.write(f"{time} {count} {head}\n")
