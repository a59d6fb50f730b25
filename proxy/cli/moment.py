"""Times as they are given to commands."""

from __future__ import annotations

import argparse
from datetime import datetime, tzinfo


def moment(text: str) -> datetime:
    """An argument in ISO 8601, with or without a zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time; for example 2026-01-31T09:00:00+08:00") from None
    if not 1970 < found.year < 9999:
        raise argparse.ArgumentTypeError(f"{text!r} is outside the calendar; for example 2026-01-31T09:00:00+08:00")
    return found


def in_ms(when: datetime, zone: tzinfo) -> int:
    """Milliseconds since 1970; a time without a zone is one of `zone`."""
    return int((when if when.tzinfo is not None else when.replace(tzinfo=zone)).timestamp() * 1000)
