"""The longest pause of a worker under half load, with reloads, and how its memory grows.

    make pause [ARGS='--minutes 60']        or        python benchmarks/pause.py [--minutes M] [--reload S] [--lists DIR] [--rate N]

One worker has completed calls at half of what it takes, each minute of a load of its own; the lists are read again every `--reload` seconds
(SIGHUP). For each INVITE the kernel says when it came out of the proxy. A pause is how long one was on its way since the one before it came
out (so that those who wait behind it do not count again; waits below 1 ms are not looked at), less the time for which the worker was ready
to run and another program had its CPU (`/proc/PID/schedstat`), so that what is left is the worker's own: an upper bound, for a machine may
be stopped as a whole. For how much of it the worker ran is shown, too. It and the generator have a core each and a real-time priority where
one may ask for it; what reads the lists may run on both. Prints a line a minute, then the longest pause and the growth of memory: what the
worker shares with nobody (Anonymous), from the end of the first minute to the end of the last. Exits with 1 where a pause was longer than
`LIMIT` or a call was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Final, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accounting import anonymous
from benchmarks.big import big_lists, big_node
from benchmarks.capacity_node import go_first
from benchmarks.loads import SATURATED, Bench, Load
from benchmarks.memory import workers
from benchmarks.proxies import BOTH, NotRunning, Proxy, compiled, ours

ROOT: Final = Path(__file__).resolve().parent.parent
LIMIT: Final = 10.0
"""Milliseconds that a pause may take."""
MINUTE: Final = 60.0
SAMPLED: Final = 0.001
"""Seconds between two looks at the kernel's accounting."""
KEPT: Final = 50
SHOWN: Final = 5
"""Pauses that are kept of each minute, and shown at the end with the time at which they began."""


class Watch:
    """How long a process has run and has waited for a CPU, looked at all the while by a thread."""

    def __init__(self, process: int) -> None:
        self._file = Path(f"/proc/{process}/schedstat")
        self.forget()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(SAMPLED):
            run, delay, _ = self._file.read_text(encoding="ascii").split()
            for values, value in zip(self._looks, (time.time(), int(run) / 1e9, int(delay) / 1e9), strict=True):
                values.append(value)

    def forget(self) -> None:
        """Begin anew."""
        self._looks = (array("d"), array("d"), array("d"))

    def ran(self, begin: float, end: float) -> float:
        """Seconds of that time for which it ran, rounded up to whole looks."""
        return self._grown(1, begin, end)

    def waited(self, begin: float, end: float) -> float:
        """The same of waiting."""
        return self._grown(2, begin, end)

    def _grown(self, which: int, begin: float, end: float) -> float:
        times, values = self._looks[0], self._looks[which]
        known = min(len(times), len(values))
        if not known:
            return 0.0
        first = max(0, bisect_right(times, begin, 0, known) - 1)
        last = min(known - 1, bisect_left(times, end, 0, known))
        return values[last] - values[first]

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()


class Waits(Protocol):
    """What can say for how many seconds of a time a worker ran, and waited for a CPU."""

    def ran(self, begin: float, end: float) -> float: ...
    def waited(self, begin: float, end: float) -> float: ...


Pause = tuple[float, float, float]  # milliseconds of the worker's own, when it began, milliseconds that the worker ran meanwhile


def own_pauses(file: Path, watch: Waits) -> list[Pause]:
    """The waits of a load, longest first. Each counts from when the worker could begin: it was sent, and the one before it was out."""
    found = []
    idle = 0.0
    for end, begin in sorted(tuple(map(float, reversed(line.split()))) for line in file.read_text(encoding="ascii").splitlines()):
        begun = max(begin, idle)
        idle = end
        found.append(((end - begun - watch.waited(begun, end)) * 1e3, begun, min(watch.ran(begun, end), end - begun) * 1e3))
    return sorted(found, reverse=True)[:KEPT]


def real_time(process: int, core: int, priority: int) -> None:
    """A core that no ordinary program keeps it from, where one may ask for that."""
    os.sched_setaffinity(process, {core})
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.sched_setscheduler(process, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


def reloads(log: Path) -> int:
    """How many the node has spoken of."""
    return log.read_text(encoding="utf-8", errors="replace").count("reload")


def run(bench: Bench, proxy: Proxy, process: int, options: argparse.Namespace) -> int:
    """Load after load, and the verdict."""
    (worker,) = workers(process)
    real_time(worker, 0, 10)
    sustained = bench.generate(proxy, Load("call", SATURATED), 3.0)
    rate = options.rate or int(sustained["each_second"] / 2)
    load = Load("call", rate, stamps=True)
    print(f"half load: {rate:,} calls a second; lists read again every {options.reload:g} s", flush=True)
    watch = Watch(worker)
    over, next_reload, longest, lost, first, waits = (
        time.monotonic() + options.minutes * MINUTE,
        time.monotonic() + options.reload,
        0.0,
        0,
        0,
        0,
    )
    worst: list[Pause] = []
    minute, busiest = 0, 0.0
    try:
        while (left := over - time.monotonic()) > 1.0:
            minute += 1
            watch.forget()
            file = bench.folder / "waits"
            with bench.generating(proxy, load, min(MINUTE, left), waits=file) as running:
                real_time(running.pid, 1, 5)
                while True:
                    try:
                        output, _ = running.communicate(timeout=max(0.05, next_reload - time.monotonic()))
                        break
                    except subprocess.TimeoutExpired:
                        if time.monotonic() >= next_reload:
                            os.kill(process, signal.SIGHUP)
                            next_reload += options.reload
            said = json.loads(output)
            pauses = own_pauses(file, watch)
            size = anonymous(worker)
            first = first or size
            lost += said["lost"] + said["bad"]
            waits += said["started"]
            worst = sorted([*worst, *pauses], reverse=True)[:KEPT]
            busiest = max([busiest, *(ran for _, _, ran in pauses)])
            longest = max(longest, said["hop_max_ms"])
            print(
                f"minute {minute:3}: longest of its own {pauses[0][0] if pauses else said['hop_max_ms']:6.2f} ms, with waiting for a CPU"
                f" {said['hop_max_ms']:6.2f} ms, median {said['hop_p50_ms']:.3f}, 99.9 % {said['hop_p999_ms']:6.2f}; lost {said['lost']}"
                f" wrong {said['bad']} late {said['late']}; {size / 2**20:.1f} MiB; reloads {reloads(proxy.log)}",
                flush=True,
            )
    finally:
        watch.close()
    longest_own = worst[0][0] if worst else longest
    print(f"\n| {options.minutes:g} minutes at {rate:,} calls a second | limit | measured | stands |\n|---|---|---|---|")
    print(f"| longest pause of the worker's own | {LIMIT:g} ms | {longest_own:.2f} ms | {'met' if longest_own < LIMIT else 'NOT met'} |")
    print(f"| longest of them for which the worker ran | | {busiest:.2f} ms | |")
    print(f"| longest with waiting for a CPU | | {longest:.2f} ms | |")
    print(f"| calls lost or wrong | 0 | {lost} of {waits:,} | {'met' if not lost else 'NOT met'} |")
    print(f"| memory of the worker's own | no growth | {first / 2**20:.1f} to {anonymous(worker) / 2**20:.1f} MiB | |")
    for own, begin, ran in worst[:SHOWN]:
        at = f"{time.strftime('%H:%M:%S', time.localtime(begin))}.{int(begin % 1 * 1000):03}"
        print(f"  {own:.2f} ms at {at}, for {ran:.2f} of which the worker ran")
    return 1 if lost or longest_own >= LIMIT else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--reload", type=float, default=45.0, metavar="S", help="seconds between two reloads")
    parser.add_argument("--rate", type=int, help="calls a second, in place of half of what it takes")
    parser.add_argument("--lists", type=Path, metavar="DIR", help="lists of the promised size (CSV files of benchmarks/capacity.py)")
    options = parser.parse_args()
    options.quick = False
    if options.minutes <= 0 or options.reload <= 0:
        parser.error("--minutes and --reload: more than 0")
    go_first()
    try:
        with tempfile.TemporaryDirectory(prefix="sipwarden-bench-") as name, contextlib.ExitStack() as stack:
            bench = Bench(Path(name), 3.0, [])
            if options.lists is not None:
                proxy = big_node("sipwarden", 5060, ROOT, stack.enter_context(big_lists(options)), program=compiled(ROOT))
            else:
                proxy = ours("sipwarden", 5060, ROOT, bench.folder, program=compiled(ROOT))
            proxy.cores = BOTH  # what reads the lists is to have a core that is not the worker's
            process = stack.enter_context(proxy.running())
            return run(bench, proxy, process, options)
    except NotRunning as reason:
        print(f"pause: {reason}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
