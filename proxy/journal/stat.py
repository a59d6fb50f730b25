"""What a journal holds, from its chain and its folder, without reading the events."""

from __future__ import annotations

from pathlib import Path

import msgspec

from proxy.journal.chain import NAME, Compacted, Cut, Purged, Sealed, Stored, hash_of, read_lines
from proxy.journal.segment import OPEN, serial_of


class Stat(msgspec.Struct):
    """Files of a journal: how many are as they were sealed, how many compacted; octets and events of both, times in ms (0: none)."""

    segments: int = 0
    compacted: int = 0
    octets: int = 0
    events: int = 0
    first: int = 0
    last: int = 0
    open_segments: int = 0
    open_octets: int = 0
    lost: int = 0
    cut: int = 0
    purged: int = 0
    lines: int = 0
    head: str = ""


def stat(folder: Path) -> Stat:
    """Read the chain and look at the folder. Raises OSError."""
    found = Stat()
    live: dict[str, Stored] = {}
    for raw, line in read_lines(folder / NAME):
        found.lines += 1
        found.head = hash_of(raw)
        match line:
            case Sealed():
                live[line.segment.name] = line.segment
                found.lost += sum(line.lost.values())
            case Compacted():
                for name in line.segments:
                    live.pop(name, None)
                live.update((file.name, file) for file in line.files)
            case Purged():
                for name in line.files:
                    live.pop(name, None)
                found.purged += len(line.files)
            case Cut():
                found.cut += 1
    for file in live.values():
        if serial_of(file.name) is None:
            found.compacted += 1
        else:
            found.segments += 1
        found.octets += file.octets
        found.events += file.events
        if file.events:
            found.first = min(found.first, file.first) if found.first else file.first
            found.last = max(found.last, file.last)
    for path in folder.iterdir():
        if path.suffix == OPEN and serial_of(path.name) is not None:
            found.open_segments += 1
            found.open_octets += path.stat().st_size
    return found
