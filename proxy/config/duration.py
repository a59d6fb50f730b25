"""Durations as they are written in sipwarden.toml."""

from __future__ import annotations

import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(float):
    """Seconds, written "500ms", "10s", "2m", "12h" or "184d" in the file."""

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Raise ValueError for anything but a number with one unit."""
        found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None:
            raise ValueError('not a duration | a number and one of ms, s, m, h, d, in quotes: "500ms", "10s"')
        return cls(float(found[1]) * _UNITS[found[2]])
