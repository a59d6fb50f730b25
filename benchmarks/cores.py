"""Two workers behind one address and one busy peer: does each take its half, is a call lost, what is handed over?

    python -m benchmarks.cores [--rate 1000] [--seconds 30] [--rounds 3] [--workers 2]

Completed calls with no hold time from one address and port to another (sipgen.c), steered by Call-ID and as the kernel does it by itself,
in turns. The load shares the machine's cores with the node, so that only ratios say something: the workers' shares of the CPU, and CPU for
each call beside that of one worker.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.accounting import cpu_seconds, tree
from benchmarks.lists import config, write_lists
from benchmarks.proxies import CALLEE_PORT, compiled, end

ROOT = Path(__file__).resolve().parent.parent
PORT, ADMIN = 5070, 5071
START_LIMIT = 30.0


class Running:
    """A node under load; `workers` are the process ids of its workers."""

    def __init__(self, process: subprocess.Popen[bytes], count: int) -> None:
        self.process = process
        self.workers = sorted(pid for pid in tree(process.pid) if b"proxy.session" in Path(f"/proc/{pid}/cmdline").read_bytes())
        if len(self.workers) != count:
            raise SystemExit(f"cores: {len(self.workers)} workers run instead of {count}")

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def load(self, sipgen: Path, numbers: Path, rate: int, seconds: float, caller: int) -> dict[str, Any]:
        """One load: what the generator says of it, CPU of each worker and of all, and what the node counted."""
        before, each, all_ = self.metrics(), [cpu_seconds([pid]) for pid in self.workers], cpu_seconds(tree(self.process.pid))
        words = [PORT, caller, CALLEE_PORT, "call", rate, 100, seconds, numbers]
        done = subprocess.run([str(sipgen), *map(str, words)], stdout=subprocess.PIPE, check=True, timeout=seconds + 30)
        found: dict[str, Any] = json.loads(done.stdout)
        spent = cpu_seconds(tree(self.process.pid)) - all_
        used = [cpu_seconds([pid]) - earlier for pid, earlier in zip(self.workers, each, strict=True)]
        after = self.metrics()
        counted = {
            name: int(after[key] - before[key])
            for name in ("handed_over", "handover_dropped", "udp_receive_dropped")
            for key in (f'sipwarden_events_total{{event="{name}"}}',)
        }
        return found | counted | {"us": spent / max(1, found["ok"]) * 1e6, "shares": [one / sum(used) for one in used]}


@contextlib.contextmanager
def running(folder: Path, workers: int, *, steered: bool) -> Iterator[Running]:
    """A node of this checkout, from its wheel where there is one."""
    file = folder / "cores.toml"
    text = config(PORT).replace("workers = 1", f"workers = {workers}\nsteering = {str(steered).lower()}")
    file.write_text(f'{text}\n[admin]\nlisten = "127.0.0.1:{ADMIN}"\n', encoding="utf-8")
    program = compiled(ROOT)
    command = [str(program)] if program else [sys.executable, "-m", "proxy"]
    process = subprocess.Popen(
        [*command, "run", "-c", str(file)], cwd=folder if program else ROOT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        limit = time.monotonic() + START_LIMIT
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/readyz", timeout=1):
                break
            if time.monotonic() > limit or process.poll() is not None:
                raise SystemExit("cores: the node does not start")
            time.sleep(0.1)
        yield Running(process, workers)
    finally:
        end(process)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=1000, help="calls begun each second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for port in (PORT, CALLEE_PORT):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", port))
    print(
        f"{options.rate} calls a second, {options.seconds:g} s each; {os.cpu_count()} cores; wheel: {compiled(ROOT) is not None}",
        flush=True,
    )
    rows: dict[tuple[int, bool], list[dict[str, Any]]] = {}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sipwarden-cores-") as name:
        folder = Path(name)
        write_lists(folder)
        sipgen = folder / "sipgen"
        subprocess.run([shutil.which("gcc") or "cc", "-O2", "-o", str(sipgen), str(ROOT / "benchmarks" / "sipgen.c")], check=True)
        kinds = [(1, False), (options.workers, False), (options.workers, True)]
        for number in range(options.rounds):
            for workers, steered in kinds[number % 3 :] + kinds[: number % 3]:
                with running(folder, workers, steered=steered) as node:
                    node.load(sipgen, folder / "pass.txt", options.rate, 1.0, 7201)
                    row = node.load(sipgen, folder / "pass.txt", options.rate, options.seconds, 7202)
                rows.setdefault((workers, steered), []).append(row)
                failed += row["started"] - row["ok"]
                shares = " ".join(f"{share:.0%}" for share in row["shares"])
                how = f"{workers} worker{'s' * (workers > 1)}, {'by Call-ID' if steered else 'by address':10}"
                print(
                    f"{number + 1} {how}  {row['us']:6.1f} us CPU a call"
                    f"  shares {shares:8}  {row['ok']} of {row['started']} complete, {row['late']} late"
                    f"  p50 {row['p50_ms']:.2f} p99 {row['p99_ms']:.2f} ms  handed over {row['handed_over']}"
                    f" (dropped {row['handover_dropped']}), dropped by the kernel {row['udp_receive_dropped']}",
                    flush=True,
                )
    for kind in kinds[1:]:
        ratios = sorted(mine["us"] / one["us"] for mine, one in zip(rows[kind], rows[kinds[0]], strict=True))
        name = f"{kind[0]} workers, {'by Call-ID' if kind[1] else 'by address'}"
        print(f"{name}: {statistics.median(ratios):.2f} [{ratios[0]:.2f}..{ratios[-1]:.2f}] of one worker's CPU a call")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
