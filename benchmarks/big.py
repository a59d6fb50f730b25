"""Lists of the promised size for a load from one trunk: those of capacity_lists.py, with the calling numbers that go with them."""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.capacity_lists import TRUNKS, block, entry, intercept_rows, mobile, segment_rows, write_config
from benchmarks.lists import CALLERS
from benchmarks.proxies import NotRunning, Proxy, node

SEGMENTS, ENTRIES = 1_000_000, 10_000_000
CALLER, SWITCH = "127.0.0.2", 5080
"""The address of the first trunk, t0; the switch is at 127.0.0.9."""
START_LIMIT = 900.0
LISTS = ("segments.csv", "intercept.csv", "refusals.csv", "consent.csv")


@contextlib.contextmanager
def big_lists(options: argparse.Namespace) -> Iterator[Path]:
    """A folder with the lists, or links to those in `options.lists`, and with the numbers of the load. Quick: a tenth of the size."""
    part = 10 if options.quick else 1
    segments, entries = SEGMENTS // part, ENTRIES // part
    with tempfile.TemporaryDirectory(prefix="sipwarden-bench-") as name:
        folder = Path(name)
        if options.lists is not None:
            segments, entries = SEGMENTS, ENTRIES
            for file in LISTS:
                if not (options.lists / file).is_file():
                    raise NotRunning(f"--lists {options.lists}: there is no {file}; benchmarks/capacity.py --folder DIR writes all four")
                (folder / file).symlink_to((options.lists / file).resolve())
        else:
            print(f"bench: writing {segments:,} segments and {entries:,} intercept entries", flush=True)
            for file, rows in (("segments.csv", segment_rows(segments)), ("intercept.csv", intercept_rows(entries))):
                with open(folder / file, "w", encoding="ascii") as written:
                    written.writelines(rows)
            (folder / "refusals.csv").write_text("number,evidence_ref,category,valid_from\n", encoding="ascii")
            (folder / "consent.csv").write_text("number,evidence_ref,category,customer,valid_from,valid_to\n", encoding="ascii")
        passing, refused = callers(segments, entries)
        (folder / "pass.txt").write_text("\n".join(passing) + "\n", encoding="ascii")
        (folder / "refuse.txt").write_text("\n".join(refused) + "\n", encoding="ascii")
        yield folder


def callers(segments: int, entries: int) -> tuple[list[str], list[str]]:
    """Digits of numbers that trunk t0 may call with at any time and to anybody; of others, every other one on the list."""
    draw = random.Random(13)
    passing = []
    for n in range(segments):
        if n // 100 * 7919 % TRUNKS == 0 and n % 50 > 5 and n % 100 > 8:  # fixed lines: none of them is on the list
            _, first, size = block(n)
            if first[-1] == "*":
                passing += [f"{first[1:-1]}{tail:02d}" for tail in range(100)]
            else:
                passing += [str(int(first) + at) for at in range(size)]
    draw.shuffle(passing)
    refused: list[str] = []
    while len(refused) < CALLERS:
        number, match, kind = entry(draw.randrange(entries))
        if match == "exact" and kind == "caller" and number[0] == "+":
            refused += [number[1:], mobile(draw.randrange(5 * 10**8, 9 * 10**8))[1:]]
    return passing[:CALLERS], refused


def big_node(name: str, port: int, checkout: Path, lists: Path, *, program: Path | None, limit: int = 0) -> Proxy:
    """One worker over them; `limit`: the transactions that it may have, where that is more than it has by itself."""
    write_config(lists, port, SWITCH, port + 4000)
    file = lists / "sipwarden.toml"
    text = file.read_text(encoding="ascii").replace("workers = 2", f"workers = 1\nmax_transactions = {limit}" if limit else "workers = 1")
    file.write_text(text, encoding="ascii")
    made = node(name, port, checkout, file, program=program)
    made.start_limit = START_LIMIT
    made.callee, made.caller, made.numbers = f"127.0.0.9:{SWITCH}", CALLER, lists
    return made
