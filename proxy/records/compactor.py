"""What the journal's keeper runs from time to time: `python -m proxy.records.compactor`, with a CompactTask on standard input.

Takes sealed segments into the history, merges small files, and answers with what the chain has to note: which files are there now, and
which segments and files they take the place of. It compares the history with the chain for that, so that whatever one run did not get to
say, killed between its work and its answer, the next one says.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Final

import msgspec

from proxy.journal.chain import NAME as CHAIN
from proxy.journal.chain import Compacted, Purged, Sealed, Stored, read_lines
from proxy.journal.notary import CompactTask, Replacement
from proxy.journal.segment import sealed_segments
from proxy.records.compact import Report, compact
from proxy.records.merge import merge_days
from proxy.records.store import FOLDER, Busy, Manifest, Store, StoreFault, read_manifest

NICE: Final = 15

_CHANGE: Final = re.compile(r"(?:/|-)([0-9]{6,})(?:-[0-9]+\.parquet|\.msgpack)$")
"""The number of the change that made a file of the history."""
COLLECT: Final = (200_000, 100, 100)
"""When the garbage collector looks: rows make no circles, and there are hundreds of thousands of them."""


def run(journal: Path, now: int, *, merging: bool) -> tuple[Report, Replacement | None]:
    """Compact everything that is sealed, and merge what is due where that is wanted; `now` in ms. What was done, and what the chain does
    not know of it. Raises OSError, StoreFault, Busy.
    """
    live = live_files(journal)
    _refuse_older(journal, live)
    noted = frozenset(name.removeprefix(f"{FOLDER}/") for name in live)
    with Store.opened(journal / FOLDER, noted) as store:
        report = compact(journal, store, sealed_segments(journal), now)
        if merging:
            report.merged = merge_days(store, now)
        return report, replacement(store.manifest, live)


def replacement(manifest: Manifest, live: Iterable[str]) -> Replacement | None:
    """What the chain does not know of the history yet, None where it knows everything; `live` are the files that it counts as there."""
    noted = set(live)
    wanted = {f"{FOLDER}/{name}": file for name, file in manifest.paths().items()}
    files = [Stored(name, file.sha256, file.octets, file.rows, file.first, file.last) for name, file in wanted.items() if name not in noted]
    stay = set(manifest.kept)
    taken = [name for name in manifest.segments if name in noted and name not in stay]
    replaced = sorted(name for name in noted if name.startswith(f"{FOLDER}/") and name not in wanted)
    return Replacement((*taken, *replaced), tuple(files)) if taken or replaced or files else None


def _refuse_older(journal: Path, live: set[str]) -> None:
    """A manifest that is missing, or older than what the chain knows of, counts files as replaced that are all there is of their calls."""
    changes = [int(found[1]) for name in live if name.startswith(f"{FOLDER}/") and (found := _CHANGE.search(name))]
    if changes and max(changes) > read_manifest(journal / FOLDER).change:
        raise StoreFault(f"{journal / FOLDER}: its manifest is missing or older than change {max(changes)} in the chain: restore it")


def live_files(journal: Path) -> set[str]:
    """The names that the chain counts as there. Raises OSError."""
    live: set[str] = set()
    try:
        for _raw, line in read_lines(journal / CHAIN):
            match line:
                case Sealed():
                    live.add(line.segment.name)
                case Compacted():
                    live.difference_update(line.segments)
                    live.update(file.name for file in line.files)
                case Purged():
                    live.difference_update(line.files)
    except FileNotFoundError:
        pass
    return live


def main() -> int:
    """0 with an answer, 1 where it did not work: the next run makes good."""
    with suppress(OSError):  # a sandbox may forbid it
        os.nice(NICE)
    gc.set_threshold(*COLLECT)
    journal = Path(msgspec.json.decode(sys.stdin.buffer.read(), type=CompactTask).folder)
    made: list[Replacement] = []
    try:
        _, change = run(journal, int(time() * 1000), merging=True)
        if change is not None:
            made.append(change)
    except Busy:  # somebody does it by hand: what it makes is noted the next time
        pass
    except (OSError, StoreFault) as error:
        print(f"compaction: {error}", file=sys.stderr)  # noqa: T201
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
