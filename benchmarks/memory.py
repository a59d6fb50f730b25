"""Memory for each call: in setup (ringing), in progress (answered), and after it, with 100,000 at a time beside 10,000,000 list entries.

    python benchmarks/memory.py [--calls N] [--lists DIR] [--quick]        (make bench ARGS='--only memory' is the same)

Figures are what the worker shares with nobody (Anonymous, /proc/PID/smaps_rollup), less what it had before, divided by the calls. 2,000
calls are begun each second; all ring until each has begun, then all are answered, and held until the INVITE transactions of the last have
been forgotten (RFC 6026: 32 s after the 200); then all hang up, and what is left 34 s later is shown, too.
"""

from __future__ import annotations

import argparse
import re
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
RATE: Final = 2000
MARGIN: Final = 5.0
FORGOTTEN: Final = 34.0
"""Seconds after which an answered INVITE's transactions are gone."""


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
    starting = calls / RATE
    ring = starting + 2 * MARGIN
    load = Load("call", RATE, ring=ring, hold=starting + FORGOTTEN + MARGIN)
    with big_lists(options) as lists:
        proxy = big_node("sipwarden", 5060, ROOT, lists, program=compiled(ROOT), limit=4 * calls + 10_000)
        with proxy.running() as process:
            (worker,) = workers(process)
            bench.generate(proxy, Load("call", 500), 2.0)
            time.sleep(FORGOTTEN)
            before = anonymous(worker)
            began = time.monotonic()

            def show(moment: str, size: int) -> None:
                each = (size - before) / calls
                row = {"section": "memory", "round": 1, "proxy": "sipwarden", "what": moment, "speed": f"{calls:,}"}
                bench.rows.append(row | {"bytes": each, "size": size})
                own = f"{size / 2**20:8.1f} MiB of the worker's own"
                state = f"{transactions(proxy.port + 4000):,} transactions"
                print(f"memory: {moment:26} {own}, {each:8.0f} bytes for each of {calls:,} calls; {state}", flush=True)

            print(f"memory: before{'':20} {before / 2**20:8.1f} MiB of the worker's own", flush=True)
            with bench.generating(proxy, load, starting) as running:
                time.sleep(max(0.0, began + starting + MARGIN - time.monotonic()))
                show("in setup", anonymous(worker))
                time.sleep(max(0.0, began + ring + starting + FORGOTTEN - time.monotonic()))
                show("in progress", anonymous(worker))
                output, _ = running.communicate(timeout=load.hold + 2 * starting + 60.0)
            print(f"memory: {output.decode().strip()}", flush=True)
            if not options.quick:
                time.sleep(FORGOTTEN)
                show("after they have ended", anonymous(worker))


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
