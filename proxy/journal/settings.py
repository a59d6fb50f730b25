"""What a keeper is told by whoever starts it: one JSON document on the first line of its standard input, which then stays open."""

from __future__ import annotations

import msgspec


class RingSetting(msgspec.Struct, frozen=True):
    """A ring by its file descriptor, and the worker that writes to it; `old` for one that no worker writes to any more."""

    fd: int
    worker: int
    old: bool = False


class KeeperSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in octets. `compactor` is a module that makes other files of sealed segments, "" for none."""

    path: str
    node: str
    key: str
    retention: float
    flush: float
    segment_size: int
    segment_time: float
    holds: str = ""
    compactor: str = ""
    board: int
    rings: tuple[RingSetting, ...]
