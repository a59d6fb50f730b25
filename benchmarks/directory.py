"""Look-ups in 100,000 segments and 1,000,000 intercept entries: load, memory of a worker that maps them, hits and misses.

    python benchmarks/directory.py [--segments N] [--entries N] [--refusals N]

The lists are random but for the seed: 95 % of the entries exact, 4 % prefixes of 8 to 11 digits, 1 % ranges. Refusals (none unless asked
for) each name another number; every other one has an evidence id of its own, half of the rest a category. Load is wall time of
`load_directory` on the CSV files. A look-up's time is CPU time of a loop over 50,000 different numbers in random order, less the empty
loop, the best of three; "amid listed numbers" are numbers of the same ranges that no entry names. Memory is what a new process gains by
`Directory.open`, and by all those look-ups: VmRSS counts pages of the mapped file too, which all workers share; RssAnon is each one's own.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rules.call import Trunk
from rules.directory import Directory, DirectoryConfig, load_directory
from rules.numbers import normalise

TRUNKS = {f"t{n}": Trunk(id=f"t{n}", kind="enterprise", customer=f"c{n // 2}") for n in range(2000)}
AT = 1_767_225_600.0
ASKED = 50_000


def mobile(draw: random.Random) -> str:
    """A number of which the lists hold some: +86 1[3578]x."""
    return f"+861{draw.choice('3578')}{draw.randrange(10)}{draw.randrange(10**8):08d}"


def write_lists(folder: Path, segments: int, entries: int) -> None:
    """segments.csv and intercept.csv."""
    draw = random.Random(1)
    with open(folder / "segments.csv", "w", encoding="utf-8") as file:
        file.write("customer,trunk,first,last,purpose,valid_from,valid_to,hours,direction\n")
        for n in range(segments):
            trunk = draw.randrange(2000)
            first = f"+86755{80000000 + n * 100}"
            last = f"+86755{80000000 + n * 100 + draw.choice((0, 9, 99))}"
            file.write(f"c{trunk // 2},t{trunk},{first},{last},,2020-01-01,,,\n")
    with open(folder / "intercept.csv", "w", encoding="utf-8") as file:
        file.write("list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope,created_at\n")
        for n in range(entries):
            number = mobile(draw)
            match = "exact"
            if n % 100 < 4:
                number, match = number[: draw.randrange(9, 13)], "prefix"
            elif n % 100 == 4:
                number, match = f"{number[:-2]}00-{number[:-2]}{draw.randrange(100):02d}", "range"
            kind = "called" if n % 7 == 0 else "caller"
            file.write(f"L{n % 3},{n},A,{number},{match},{kind},complaint,desk,E{n},2020-01-01,,,2026-01-01T00:00:00Z\n")


def refused(n: int) -> str:
    """The n-th number that refuses marketing calls: all different, in no order."""
    return f"+861{'3578'[n % 4]}{n * 387_420_489 % 10**9:09d}"


def write_refusals(folder: Path, refusals: int) -> None:
    """refusals.csv."""
    with open(folder / "refusals.csv", "w", encoding="utf-8") as file:
        file.write("number,evidence_ref,category,valid_from\n")
        file.writelines(
            f"{refused(n)},{f'12321-{n:09d}' if n % 2 else ''},{'property' if n % 4 == 0 else ''},2025-01-01\n" for n in range(refusals)
        )


def microseconds(look_up: Callable[..., object], calls: list[tuple[object, ...]]) -> float:
    """CPU time of one look-up."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in calls:
            pass
        empty = time.process_time() - start
        start = time.process_time()
        for arguments in calls:
            look_up(*arguments)
        best = min(best, time.process_time() - start - empty)
    return best / len(calls) * 1e6


def memory(field: str) -> float:
    """MiB of this process by /proc/self/status."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{field}:"))


def ask(folder: Path) -> None:
    """In a new process: open, look up, print."""
    with open(folder / "intercept.csv", encoding="utf-8") as file:
        rows = [line.split(",") for line in islice(file, 2 * ASKED)]
    listed = [normalise(row[3], None) for row in rows if row[4:6] == ["exact", "caller"]]
    with open(folder / "segments.csv", encoding="utf-8") as file:
        rows = [line.split(",") for line in file][1:]
    draw = random.Random(2)
    draw.shuffle(rows)
    draw.shuffle(listed)
    del listed[ASKED:]
    held = [(normalise(row[2], None), row[1]) for row in rows[:ASKED]]
    missed = [normalise(f"+8619{draw.randrange(10**9):09d}", None) for _ in range(ASKED)]
    # Misses in the midst of the listed numbers: no entry names them, but the bisection goes all the way.
    near = [normalise(mobile(draw), None) for _ in range(ASKED)]
    trunk = TRUNKS["t7"]
    before, own = memory("VmRSS"), memory("RssAnon")
    start = time.perf_counter()
    directory = Directory.open(folder / "directory.image")
    opened = time.perf_counter() - start
    print(f"open and verify {opened:.2f} s")
    print(f"memory after opening: VmRSS +{memory('VmRSS') - before:.1f} MiB, of it RssAnon +{memory('RssAnon') - own:.1f} MiB")
    near = [number for number in near if directory.listed("caller", number, None, trunk, AT) is None]
    figures = [
        ("listed, hit", microseconds(directory.listed, [("caller", number, None, trunk, AT) for number in listed])),
        ("listed, miss", microseconds(directory.listed, [("caller", number, None, trunk, AT) for number in missed])),
        ("listed, miss amid listed numbers", microseconds(directory.listed, [("caller", number, None, trunk, AT) for number in near])),
        ("listed, no entry of that type", microseconds(directory.listed, [("pair", number, number, trunk, AT) for number in near])),
        ("segment, hit", microseconds(directory.segment, [(number, name, AT) for number, name in held])),
        ("segment, held by another trunk", microseconds(directory.segment, [(number, "none", AT) for number, _ in held])),
        ("segment, miss", microseconds(directory.segment, [(number, "t7", AT) for number in missed])),
        ("holder, hit", microseconds(directory.holder, [(number, AT) for number, _ in held])),
    ]
    if refusals := directory.counts.get("refusals", 0):
        hit = [(normalise(refused(draw.randrange(refusals)), None), "property", "c7", AT) for _ in range(ASKED)]
        figures += [
            ("refusal, hit", microseconds(directory.refusal, hit)),
            ("refusal, miss", microseconds(directory.refusal, [(number, "property", "c7", AT) for number in missed])),
        ]
    for name, figure in figures:
        print(f"{name:36} {figure:6.2f} us")
    print(f"memory after all that: VmRSS +{memory('VmRSS') - before:.0f} MiB, of it RssAnon +{memory('RssAnon') - own:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Look-ups with large lists")
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--refusals", type=int, default=0)
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lists(folder, options.segments, options.entries)
        files = {"segments": ("segments.csv",), "intercept": ("intercept.csv",)}
        if options.refusals:
            write_refusals(folder, options.refusals)
            files["refusals"] = ("refusals.csv",)
        for kind, names in files.items():
            start = time.perf_counter()
            counts = load_directory(DirectoryConfig(**{kind: names}), folder, TRUNKS).counts
            print(f"load {counts}: {time.perf_counter() - start:.2f} s, VmHWM {memory('VmHWM'):.0f} MiB")
        directory = load_directory(DirectoryConfig(**files), folder, TRUNKS)
        start = time.perf_counter()
        directory.save(folder / "directory.image")
        size = (folder / "directory.image").stat().st_size / 2**20
        print(f"save {size:.0f} MiB: {time.perf_counter() - start:.2f} s")
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--ask", name], check=True)


if __name__ == "__main__":
    main()
