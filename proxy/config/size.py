"""Sizes as they are written in sipwarden.toml."""

from __future__ import annotations

import re
from typing import Final

_SIZE: Final = re.compile(r"([0-9]{1,6})(KiB|MiB|GiB)")
_UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Size(int):
    """Octets, written "512KiB", "64MiB" or "1GiB" in the file."""

    @classmethod
    def parse(cls, text: object) -> Size:
        """Raise ValueError for anything but a whole number with one unit."""
        found = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None:
            raise ValueError('not a size | a whole number and one of KiB, MiB, GiB, in quotes: "64MiB"')
        return cls(int(found[1]) * _UNITS[found[2]])
