"""Everything at the size that is promised: 1,000,000 segments, 10,000,000 intercept entries, 10,000,000 refusals.

    python benchmarks/capacity.py [--segments N] [--entries N] [--refusals N] [--seconds S] [--folder DIR] [--only load,evaluate,node]

Writes the lists (into DIR, where they stay; else into a folder that is removed), loads them from CSV as the supervisor does, opens the
built file as a worker does, judges calls of nine kinds over it, reads numbers of many forms, then starts a node with two workers, puts
steady calls on it and reloads it, unchanged and with a changed list: see `capacity_lists.py` and `capacity_node.py`. Prints the tables of
README.md. Times of one call are CPU time, the median and the extremes of `TURNS` turns, each with other calls; "for the first time" is the
first turn of a new process, which has not touched the file yet. It takes a quarter of an hour, 3 GiB of disk and 4 of memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).resolve().parent.parent))  # behind what is installed, which may be compiled

import msgspec

from benchmarks.capacity_lists import Calls, write_lists
from benchmarks.capacity_node import ADMIN, HEAD, PORT, SWITCH, Load, Node, go_first
from proxy.generation import Report, open_generation
from rules import Call, RuleSet
from rules.numbers import normalise

ROOT: Final = Path(__file__).resolve().parent.parent
TURNS: Final = 7
EACH: Final = 3000
STAGES: Final = ("load", "evaluate", "node")


def spread(values: Sequence[float]) -> str:
    """Median and extremes."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}..{max(values):.2f}]"


def load(folder: Path) -> None:
    """From CSV, in a process of its own; then the built file, which is left in `folder`/built."""
    built = folder / "built"
    built.mkdir(exist_ok=True)
    began = time.monotonic()
    command = [sys.executable, "-P", "-m", "proxy.generation", str(folder / "sipwarden.toml"), str(built)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        report = msgspec.json.decode(process.stdout.read(), type=Report)
        _, _, used = os.wait4(process.pid, 0)
    if report.faults:
        raise SystemExit("\n".join(map(str, report.faults)))
    wall = time.monotonic() - began
    sizes = {name: sum(path.stat().st_size for path in folder.glob(name)) / 2**20 for name in ("*.csv", "built/directory.bin")}
    opened = []
    for _ in range(TURNS):
        began = time.monotonic()
        generation = open_generation(built)
        opened.append(time.monotonic() - began)
        counts = generation.directory.counts
        del generation
    print(f"\n{', '.join(f'{count:,} {name}' for name, count in counts.items())}; CSV {sizes['*.csv']:.0f} MiB\n")
    print("| | |\n|---|---|")
    print(f"| from CSV: wall, CPU | {wall:.0f} s, {used.ru_utime + used.ru_stime:.0f} s |")
    print(f"| from CSV: peak memory | {used.ru_maxrss / 2**20:.1f} GiB |")
    print(f"| the built file | {sizes['built/directory.bin']:.0f} MiB |")
    print(f"| from the built file, SHA-256 verified: wall | {spread(opened)} s |", flush=True)


def judge(ruleset: RuleSet, calls: list[Call]) -> float:
    """Microseconds of CPU that each costs."""
    evaluate = ruleset.evaluate
    began = time.process_time()
    for call in calls:
        evaluate(call)
    return (time.process_time() - began) / len(calls) * 1e6


def evaluate(folder: Path, segments: int, entries: int, refusals: int) -> None:
    """Calls of each kind, and the mix of them."""
    generation = open_generation(folder / "built")
    ruleset = generation.ruleset
    calls = Calls(segments, entries, refusals)
    kinds = calls.kinds
    draw = random.Random(2)
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 1_000_000, 1_000_000)  # as the worker has it
    print("\n| evaluate, us of CPU | share of the mix | callers that come once | codes |\n|---|---|---|---|")

    def mixed() -> list[Call]:
        names = draw.choices(list(kinds), [share for share, _ in kinds.values()], k=EACH)
        return [kinds[name][1]() for name in names]

    first = judge(ruleset, mixed())
    for name, (share, make) in kinds.items():
        figures = [judge(ruleset, [make() for _ in range(EACH)]) for _ in range(TURNS)]
        codes = sorted({getattr(ruleset.evaluate(make()), "code", "?") for _ in range(200)})
        print(f"| {name} | {share:.0%} | {spread(figures)} | {', '.join(codes)} |", flush=True)
    figures = [judge(ruleset, mixed()) for _ in range(TURNS)]
    print(f"| **the mix** | | **{spread(figures)}** | |")
    print(f"| the mix, for the first time (pages of the file are mapped as they are touched) | | {first:.2f} | |")
    again = mixed()
    figures = []
    for _ in range(TURNS):
        for call in again:
            call.begin_again()
        figures.append(judge(ruleset, again))
    print(f"| the mix, the same calls again | | {spread(figures)} | |", flush=True)


def numbers() -> None:
    """`normalise` of numbers that come once."""
    draw = random.Random(3)

    def digits(count: int, first: str = "0123456789") -> str:
        return draw.choice(first) + "".join(draw.choices("0123456789", k=count - 1))

    forms: dict[str, Callable[[], str]] = {
        "+86 mobile": lambda: f"sip:+861{draw.choice('3578')}{digits(9)}@a.example",
        "+86 fixed line": lambda: f"sip:+86755{digits(8, '2345678')}@a.example;user=phone",
        "tel URI": lambda: f"tel:+8621{digits(8, '2345678')}",
        "trunk 0 and area code": lambda: f"sip:0755{digits(8, '2345678')}@a.example",
        "bare mobile": lambda: f"sip:13{digits(9)}@a.example",
        "local number, home area of the trunk": lambda: f"sip:{digits(8, '2345678')}@a.example",
        "86 without +": lambda: f"sip:86755{digits(8, '2345678')}@a.example",
        "00 86": lambda: f"sip:0086755{digits(8, '2345678')}@a.example",
        "bare digits, no URI": lambda: f"+86755{digits(8, '2345678')}",
        "separators": lambda: f"tel:+86-755-{digits(4, '2345678')}-{digits(4)}",
        "percent-encoded": lambda: f"sip:%2B86755{digits(8, '2345678')}@a.example",
        "phone-context": lambda: f"tel:{digits(8, '2345678')};phone-context=+86755",
        "95 code with extension": lambda: f"sip:+8695588{digits(4)}@a.example",
        "fixed line of Ningxia (951: two readings)": lambda: f"sip:+86951{digits(7, '2345678')}@a.example",
        "96 code behind an area code": lambda: f"sip:+86{draw.choice(('10', '21', '755'))}96{digits(3)}@a.example",
        "400": lambda: f"sip:400{digits(7)}@a.example",
        "106 SMS code": lambda: f"sip:106{digits(9)}@a.example",
        "IoT card": lambda: f"sip:+8614{digits(11)}@a.example",
        "+1": lambda: f"sip:+1212{digits(7)}@a.example",
        "00 852": lambda: f"sip:00852{digits(8, '23569')}@a.example",
        "irregular: twenty digits": lambda: f"sip:{digits(20, '123456789')}@a.example",
        "irregular: nine digits": lambda: f"sip:+86{digits(9, '123456789')}@a.example",
        "irregular: ten digits behind a 0": lambda: f"sip:0{digits(10, '123456789')}@a.example",
        "a name": lambda: f"sip:user{digits(9)}@a.example",
    }
    print("\n| normalise, a number that comes once | us of CPU |\n|---|---|")
    for name, make in forms.items():
        figures = []
        for _ in range(TURNS):
            made = [make() for _ in range(EACH)]
            began = time.process_time()
            for uri in made:
                normalise(uri, "755")
            figures.append((time.process_time() - began) / EACH * 1e6)
        print(f"| {name} | {spread(figures)} |", flush=True)


def busy(niceness: int) -> subprocess.Popen[bytes]:
    """A process that does nothing but work."""
    return subprocess.Popen([sys.executable, "-c", f"import os; os.nice({niceness})\nwhile True: sorted(range(10**6), key=str)"])


def node(folder: Path, segments: int, entries: int, seconds: float) -> None:
    """A running node: memory, and pauses while it loads."""
    running = Node(folder)
    calls = None
    try:
        print(f"\nA node of two workers took {running.start_seconds:.0f} s to start from CSV.\n")
        fresh = running.memory()
        calls = Load(running.workers, segments, entries)
        rows = [HEAD]

        def lasting() -> Callable[[], bool]:
            until = time.monotonic() + seconds
            return lambda: time.monotonic() > until

        def measure(name: str, over: Callable[[], bool]) -> None:
            assert calls is not None
            waits = calls.run(over)
            rows.append(waits.row(name))
            print(
                rows[-1], "".join(f"\n  own {own:.1f} ms of worker {worker} at {at:.2f} s" for at, worker, own in waits.stops), flush=True
            )

        measure("no reload", lasting())
        before = running.memory()
        other = busy(25)
        measure("no reload, a program of niceness 10 beside it", lasting())
        other.kill()
        other.wait()
        measure("reload, nothing changed", running.reload())
        with open(folder / "intercept.csv", "a", encoding="ascii") as file:
            file.write("L99,1,A,+8613000000001,exact,caller,fraud,12321,E,2025-01-01,,global,2025-01-01T08:00:00+08:00\n")
        measure("reload, an intercept entry more", running.reload())
        print("\n" + "\n".join(rows) + "\n\n| MiB of each worker | Rss | Pss | its own (anonymous) |\n|---|---|---|---|")
        for when, sizes in (("started", fresh), ("after calls", before), ("after two reloads and calls", running.memory())):
            for number, size in enumerate(sizes):
                print(f"| {number + 1}, {when} | {size['Rss']:.0f} | {size['Pss']:.0f} | {size['Anonymous']:.0f} |")
        print(running.log, file=sys.stderr)
    finally:
        if calls is not None:
            calls.close()
        running.stop()


def machine() -> str:
    """What it ran on."""
    name = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if line.startswith("model name")),
        "",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {name}, {memory:.0f} GiB, Linux {platform.release()}, CPython {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--refusals", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the runs without a reload last")
    parser.add_argument("--folder", type=Path, help="where the lists are, or are to be written and stay")
    parser.add_argument("--only", default=",".join(STAGES), help=f"some of {','.join(STAGES)}")
    options = parser.parse_args()
    sizes = (options.segments, options.entries, options.refusals)
    go_first()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(exist_ok=True)
        if not (folder / "consent.csv").exists():
            write_lists(folder, PORT, SWITCH, ADMIN, *sizes)
        print(f"{machine()}; other programs beside it: load {os.getloadavg()[0]:.1f}")
        wanted = options.only.split(",")
        if "load" in wanted:
            load(folder)
        if "evaluate" in wanted:
            evaluate(folder, *sizes)
            numbers()
        if "node" in wanted:
            node(folder, options.segments, options.entries, options.seconds)


if __name__ == "__main__":
    main()
