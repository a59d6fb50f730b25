"""Memory for each call: in progress (answered), in setup (ringing), and after it, with 100,000 at a time beside 10,000,000 list entries.

    python benchmarks/memory.py [--calls N] [--lists DIR] [--quick]        (make bench ARGS='--only memory' is the same)

Figures are what the worker shares with nobody (Anonymous, /proc/PID/smaps_rollup). First the calls are begun within 50 seconds, answered at
once and held: after 36 seconds as many INVITE transactions are forgotten (RFC 6026: 32 s after the 200) as begin, so that what the worker
grows by from there to the end is for calls in progress. Then, those being over, as many ring at the same time: what the worker has beyond
what it had before all calls, divided by them, is for calls in setup. Last, what it still has 34 seconds after those: its allocator keeps
it for the next, which is no growth.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.accounting import anonymous, tree
from benchmarks.big import big_lists, big_node
from benchmarks.loads import Bench, Load
from benchmarks.proxies import NotRunning, compiled

ROOT: Final = Path(__file__).resolve().parent.parent
CALLS: Final = 100_000
STARTING: Final = 50.0
"""Seconds within which the calls are begun."""
MARGIN: Final = 5.0
FORGOTTEN: Final = 34.0
"""Seconds after which an answered INVITE's transactions are gone."""
STEADY: Final = FORGOTTEN + 2.0


def workers(process: int) -> list[int]:
    """The worker processes of a node. NotRunning where it has none."""
    found = sorted(pid for pid in tree(process) if b"proxy.session\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    if not found:
        raise NotRunning(f"process {process} has no worker: is proxy.session still what the supervisor starts?")
    return found


def transactions(port: int) -> int:
    """How many the node has by its own word. Memory that is still there when they are gone is kept by its allocator for the next."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(int(float(value)) for value in re.findall(r"^sipwarden_transactions\{[^}]*\} (\S+)$", text, re.MULTILINE))


def measure_memory(bench: Bench, options: argparse.Namespace) -> None:
    """A row for each moment."""
    calls = options.calls or (CALLS // 10 if options.quick else CALLS)
    rate = max(1, int(calls / STARTING))
    with big_lists(options) as lists:
        proxy = big_node("sipwarden", 5060, ROOT, lists, program=compiled(ROOT), limit=4 * calls + 10_000)
        with proxy.running() as process:
            (worker,) = workers(process)

            def show(moment: str, size: int, bytes_each: float) -> None:
                row = {"section": "memory", "round": 1, "proxy": "sipwarden", "what": moment, "speed": f"{calls:,}"}
                bench.rows.append(row | {"bytes": bytes_each, "size": size})
                own = f"{size / 2**20:8.1f} MiB of the worker's own"
                state = f"{transactions(proxy.port + 4000):,} transactions"
                print(f"memory: {moment:22} {own}, {bytes_each:8.0f} bytes for each of {calls:,} calls; {state}", flush=True)

            def at(moment: float) -> int:
                time.sleep(max(0.0, began + moment - time.monotonic()))
                return anonymous(worker)

            bench.generate(proxy, Load("call", rate), 2.0)
            time.sleep(FORGOTTEN)
            began = time.monotonic()
            before = at(0.0)
            print(f"memory: before {before / 2**20:.1f} MiB of the worker's own", flush=True)
            with bench.generating(proxy, Load("call", rate, hold=STARTING + MARGIN), STARTING) as running:
                steady = at(STEADY)
                size = at(STARTING)
                show("in progress", size, (size - steady) / (rate * (STARTING - STEADY)))
                _ended(running, calls)
            time.sleep(FORGOTTEN)
            began = time.monotonic()
            with bench.generating(proxy, Load("call", rate, ring=STARTING + 2 * MARGIN), STARTING) as running:
                size = at(STARTING + MARGIN)
                show("in setup", size, (size - before) / calls)
                _ended(running, calls)
            if not options.quick:
                time.sleep(FORGOTTEN)
                size = anonymous(worker)
                show("after they have ended", size, (size - before) / calls)


def _ended(running: subprocess.Popen[bytes], calls: int) -> None:
    """Wait for the generator. NotRunning where more than a hundredth of the calls failed: the figures would not be of so many."""
    output, _ = running.communicate(timeout=3 * STARTING)
    said = json.loads(output)
    if said["ok"] < 0.99 * calls:
        raise NotRunning(f"of {calls:,} calls {said['ok']:,} ended well, {said['bad']:,} otherwise, {said['lost']:,} not at all")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, help=f"how many at a time; {CALLS:,} by themselves")
    parser.add_argument("--lists", type=Path, metavar="DIR", help="CSV files of benchmarks/capacity.py")
    parser.add_argument("--quick", action="store_true", help="10,000 calls and a tenth of the lists")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sipwarden-bench-") as name:
            measure_memory(Bench(Path(name), 1.0, []), options)
    except NotRunning as reason:
        print(f"memory: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
