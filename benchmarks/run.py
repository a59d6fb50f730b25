"""CPU of one worker for each completed call and each rejected INVITE, beside one Kamailio worker under the same load and lists.

    make bench [ARGS=--quick]        or        python benchmarks/run.py [--rounds N] [--beside CHECKOUT] [--no-kamailio]

Proxies run on core 0, the caller and callee (sipgen.c) on core 1. In each round all proxies are started anew, then each load is given to
one after the other; the proxies take turns to be first. A load beside which the rest of the machine was busy is given to all of them once
more. Prints every load, then the stages of a call inside our core, then a Markdown table of ratios. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accounting import Others, cpu_seconds, tree
from benchmarks.lists import write_lists
from benchmarks.proxies import CALLEE_PORT, NotRunning, Proxy, compiled, kamailio, ours, refuse_taken_port
from benchmarks.stages import measure
from proxy.build import KERNEL as CHECKOUT_KERNEL

ROOT = Path(__file__).resolve().parent.parent
OURS, KERNEL, PURE, KAMAILIO, BESIDE = "sipwarden", "kernel only", "pure Python", "Kamailio", "other checkout"
WINDOW = 100
"""Calls that are open at the same time at saturation."""
BUSY = 0.15
"""Cores that other programs may use while a load runs."""
AFTER = 34.0
"""Seconds that finished transactions are remembered, and a little: what a call costs after it is over comes then."""

Load = tuple[str, str, int]  # what is counted, the generator's word for it, calls started each second (0: saturated)
LOADS: list[Load] = [
    ("rejected INVITE", "reject", 0),
    ("rejected INVITE", "reject", 2000),
    ("completed call", "call", 2000),
    ("completed call", "call", 0),
]


class Bench:
    """One run: its folder with lists and generator, and every measurement so far."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.sipgen = folder / "sipgen"
        self.runs: list[dict[str, Any]] = []
        self.alike = OURS
        """Which of ours is made as the other checkout's is."""
        self._ports = count(7101)  # each load has a caller of its own: nothing late from the last one is taken for its
        write_lists(folder)
        source = ROOT / "benchmarks" / "sipgen.c"
        subprocess.run([shutil.which("gcc") or "cc", "-O2", "-o", str(self.sipgen), str(source)], check=True)

    def generate(self, proxy: Proxy, word: str, rate: int, seconds: float) -> dict[str, Any]:
        """One load; what the generator says of it."""
        numbers = self.folder / ("pass.txt" if word == "call" else "refuse.txt")
        words = [proxy.port, next(self._ports), CALLEE_PORT, word, rate, WINDOW, seconds, numbers]
        command = ["taskset", "-c", "1", str(self.sipgen), *map(str, words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds + 30)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def round(self, proxies: list[Proxy], number: int, after: float) -> None:
        """Every load once, on proxies that are started for it."""
        refuse_taken_port(CALLEE_PORT)
        with contextlib.ExitStack() as running:
            pids = {proxy: running.enter_context(proxy.running()) for proxy in proxies}
            calls = {proxy: int(self.generate(proxy, "call", 0, 1.0)["ok"]) for proxy in proxies}
            for proxy in proxies:
                self.generate(proxy, "reject", 0, 0.5)
            for load in LOADS:
                rows = [self.one(proxy, pids, load) for proxy in proxies]
                if max(row["foreign"] for row in rows) >= BUSY:
                    again = [self.one(proxy, pids, load) for proxy in proxies]
                    rows = min(rows, again, key=lambda rows: max(row["foreign"] for row in rows))
                for proxy, row in zip(proxies, rows, strict=True):
                    self.runs.append(row)
                    show(number, row)
                    calls[proxy] += row["ok"] if load[1] == "call" else 0
            if after:
                begin = {proxy: cpu_seconds(tree(pid)) for proxy, pid in pids.items()}
                time.sleep(after)
                for proxy, pid in pids.items():
                    us = (cpu_seconds(tree(pid)) - begin[proxy]) / calls[proxy] * 1e6
                    self.runs.append({"proxy": proxy.name, "what": "after", "rate": 0, "us": us})

    def one(self, proxy: Proxy, pids: dict[Proxy, int], load: Load) -> dict[str, Any]:
        """One load for one proxy."""
        what, word, rate = load
        processes = tree(pids[proxy])
        others = Others(set().union(*map(tree, pids.values())))
        begin, started = cpu_seconds(processes), time.monotonic()
        found = self.generate(proxy, word, rate, self.seconds)
        time.sleep(0.2)
        spent, foreign = cpu_seconds(processes) - begin, others.used() / (time.monotonic() - started)
        return found | {"proxy": proxy.name, "what": what, "rate": rate, "us": spent / max(1, found["ok"]) * 1e6, "foreign": foreign}

    def values(self, proxy: str, what: str, rate: int) -> list[float]:
        """The microseconds of every round, in order of size."""
        return sorted(row["us"] for row in self.runs if (row["proxy"], row["what"], row["rate"]) == (proxy, what, rate))


def show(number: int, row: dict[str, Any]) -> None:
    """Print one load."""
    print(
        f"{number} {row['proxy']:14} {row['what']:15} {row['rate'] or 'saturated':>9}  {row['us']:7.1f} us CPU each"
        f"  {row['each_second']:7.0f}/s"
        f"  p50 {row['p50_ms']:6.2f} p99 {row['p99_ms']:6.2f} ms  ok {row['ok']} bad {row['bad']} lost {row['lost']} late {row['late']}"
        + (f"  BESIDE {row['foreign']:.2f} CORES OF OTHER WORK" if row["foreign"] >= BUSY else ""),
        flush=True,
    )


def python_build() -> str:
    """Which Python this is and who built it: Debian's own build is a quarter to a half faster than one without profile feedback."""
    binary = os.path.realpath(sys.executable)
    build = f"{binary}, not Debian's own build, configured {sysconfig.get_config_var('CONFIG_ARGS')}"
    if shutil.which("dpkg-query"):
        asked = subprocess.run(["dpkg-query", "-S", binary], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True)
        package = asked.stdout.partition(":")[0]
        if package:
            wanted = ["dpkg-query", "-W", "-f=${Version}", package]
            version = subprocess.run(wanted, stdout=subprocess.PIPE, check=False, text=True).stdout
            build = f"Debian's own build, {package} {version}"
    return f"{platform.python_implementation()} {platform.python_version()} ({build})"


def spread(values: list[float], digits: int) -> str:
    """Median [lowest..highest]."""
    return f"{statistics.median(values):.{digits}f} [{values[0]:.{digits}f}..{values[-1]:.{digits}f}]"


def print_times(bench: Bench, names: list[str]) -> None:
    """Microseconds by load and proxy."""
    print("\nmicroseconds of CPU each: median [lowest..highest]")
    for what, _, rate in LOADS:
        for name in names:
            print(f"  {what:15} {rate or 'saturated':>9}  {name:14} {spread(bench.values(name, what, rate), 1)}")
    for name in names:
        for value in bench.values(name, "after", 0):
            print(f"  {'completed call':15} {'afterwards':>9} {name:14} {value:.1f}")


def print_ratios(bench: Bench, names: list[str], python: str, rounds: int, made: str) -> None:
    """The table for README: what ours used over what the other used in the same round."""
    columns = [
        (mine, base)
        for mine, base in ((OURS, KAMAILIO), (KERNEL, KAMAILIO), (PURE, KAMAILIO), (OURS, KERNEL), (OURS, PURE), (bench.alike, BESIDE))
        if {mine, base} <= {*names}
    ]
    if not columns:
        return
    print(f"\nCPU of one worker each, {rounds} interleaved rounds, median [lowest..highest]; {python}; sipwarden: {made}:\n")
    print(f"| Load | {' | '.join(f'{mine}, {base} = 1' for mine, base in columns)} |\n|---|{'---|' * len(columns)}")
    for what, _, rate in LOADS:
        cells = []
        for column in columns:
            pairs = [[row["us"] for row in bench.runs if (row["proxy"], row["what"], row["rate"]) == (name, what, rate)] for name in column]
            cells.append(spread(sorted(mine / other for mine, other in zip(*pairs, strict=True)), 2))
        print(f"| {what}, {f'{rate:,} a second' if rate else 'saturated'} | {' | '.join(cells)} |")
    if not bench.values(OURS, "after", 0):
        return
    whole = {name: sum(statistics.median(bench.values(name, *key)) for key in (("completed call", 0), ("after", 0))) for name in names}
    cells = [f"{whole[mine] / whole[base]:.2f}" for mine, base in columns]
    print(f"| completed call, saturated, with what it costs afterwards | {' | '.join(cells)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three rounds, about 90 s, instead of eleven")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout of this project, to measure a change")
    parser.add_argument("--no-kamailio", action="store_true", help="only ours")
    parser.add_argument("--no-pure", action="store_true", help="not ours as pure Python")
    parser.add_argument("--no-kernel", action="store_true", help="not ours with the compiled kernel and the core interpreted")
    options = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        print("bench: wants two cores, one for the proxy and one for the load", file=sys.stderr)
        return 1
    rounds = options.rounds or (3 if options.quick else 11)
    python = python_build()
    print(f"{python}\nkernel {platform.release()}, {os.cpu_count()} cores, {rounds} rounds", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="sipwarden-bench-") as name:
            bench = Bench(Path(name), 2.5 if options.quick else 3.0)
            program = compiled(ROOT)
            proxies = [ours(OURS, 5060, ROOT, bench.folder, program=program)]
            if not options.no_kamailio:
                proxies.append(kamailio(KAMAILIO, 5062, bench.folder))
            if program and CHECKOUT_KERNEL == "compiled" and not options.no_kernel:
                proxies.append(ours(KERNEL, 5063, ROOT, bench.folder))
            if (program or CHECKOUT_KERNEL == "compiled") and not options.no_pure:
                proxies.append(ours(PURE, 5061, ROOT, bench.folder, pure=True))
            if options.beside is not None:
                beside = options.beside.resolve()
                proxies.append(ours(BESIDE, 5064, beside, bench.folder, program=program and compiled(beside)))
                bench.alike = KERNEL if program and not compiled(beside) else OURS
            for number in range(rounds):
                after = AFTER if number == rounds - 1 and not options.quick else 0.0
                bench.round(proxies[number % len(proxies) :] + proxies[: number % len(proxies)], number + 1, after)
    except NotRunning as reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    names = [proxy.name for proxy in proxies]
    print_times(bench, names)
    print(f"\nstages of a call inside our core, interpreted, kernel {CHECKOUT_KERNEL}, without a socket: microseconds of CPU")
    print("\n".join(measure(5000)))
    print_ratios(bench, names, python, rounds, "kernel and core compiled" if program else f"kernel {CHECKOUT_KERNEL}, core interpreted")
    troubled = sum(row.get("lost", 0) + row.get("bad", 0) for row in bench.runs)
    beside = sum(row.get("foreign", 0.0) >= BUSY for row in bench.runs)
    if troubled or beside:
        print(f"\nbench: {troubled} calls lost or wrong, {beside} loads measured beside other work", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
