"""Whether the wall clock is to be believed by whoever removes what is old: a clock that jumped a year ahead would remove all of it.

A clock goes on by itself no faster than time does. So the newest time that was believed is kept beside the chain, and a time that lies a
leap beyond it is doubted: the node was off for long, or the clock is wrong. It is believed again when it comes back, or has gone on from
there for as long as a leap, in which somebody is to have read what the log and the metrics say. A time that lies a leap before it is
believed: it removes nothing that the other would not have.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from proxy.journal.chain import sync_folder

NAME: Final = "clock"
LEAP: Final = 30 * 86_400_000
"""Milliseconds; of a retention below twice that, its half."""


class Seen(msgspec.Struct, frozen=True):
    """Times in ms since 1970: the newest that was `believed` since the clock was last set back by a leap; since when another is `doubted`
    (0: it is not), and the `latest` of those.
    """

    believed: int
    doubted: int = 0
    latest: int = 0

    def after(self, now: int, leap: int) -> Seen:
        """What is to be thought of a time."""
        if self.believed - now > leap:  # set right: what was believed was never the time, and would let every jump up to it pass
            return Seen(now)
        if now - self.believed <= leap:
            return Seen(max(now, self.believed))
        if not self.doubted or abs(now - self.latest) > leap:  # doubted from now on, or anew
            return Seen(self.believed, now, now)
        if now - self.doubted >= leap:
            return Seen(now)
        return Seen(self.believed, self.doubted, now)


def leap_of(retention: float) -> int:
    """How far (ms) a clock may go ahead at once; `retention` in seconds."""
    return min(LEAP, int(retention * 500))


def read_seen(folder: Path) -> Seen | None:
    """What was noted; None where nothing was, or nothing that can be read. Raises OSError."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Seen)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def note_seen(folder: Path, seen: Seen) -> None:
    """Note it, for the next look. Raises OSError."""
    aside = folder / f".{NAME}.tmp"
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), "wb") as file:
        file.write(msgspec.json.encode(seen))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(folder / NAME)
    sync_folder(folder)
