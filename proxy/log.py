"""Logging to standard error, bounded in rate: no message, however provoked, can flood the log."""

from __future__ import annotations

import logging
import sys
from time import monotonic
from typing import Final

BURST: Final = 5
"""Records of one kind (logger and format) let through in one period."""

PERIOD: Final = 60.0
"""Seconds."""

KINDS: Final = 1000


class RateLimit(logging.Filter):
    """Lets BURST records of a kind through in each PERIOD and says afterwards how many it held back."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        kind = (record.name, str(record.msg))
        now = monotonic()
        since, count = self._kinds.get(kind, (now, 0))
        held = 0
        if now - since >= PERIOD:
            held = max(0, count - BURST)
            since, count = now, 0
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            self._kinds.clear()
        self._kinds[kind] = (since, count + 1)
        if held:
            record.msg = f"{record.msg} (and {held} more like this one in the last minutes)"
        return count < BURST


def start_logging(level: int = logging.INFO) -> None:
    """Send this process's log to standard error."""
    stream = logging.StreamHandler(sys.stderr)
    stream.addFilter(RateLimit())
    stream.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a warning for each bad request would let anybody fill the log
