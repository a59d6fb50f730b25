"""Loads given to proxies in interleaved rounds, and what each cost: the measuring part of `make bench`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.accounting import Others, cpu_by_process, cpu_seconds, tree
from benchmarks.lists import write_lists
from benchmarks.peers import build_tool
from benchmarks.proxies import BOTH, CALLEE, CALLER, NotRunning, Proxy, refuse_taken_port

WINDOW = 100
"""Calls that are open at the same time at saturation."""
BUSY = 0.15
"""Cores that other programs may use while a load runs."""
SATURATED, HIGH = 0, -1
"""Rates: as many calls as it takes; and HIGHEST a second, or what the slower of those that set the pace does with ease."""
HIGHEST = 5000
EASE = 0.8
AFTERWARDS = "afterwards"
"""In place of a rate: when calls are over, and only their timers cost."""
WORDS = {"reject": "rejected INVITE", "call": "completed call", "cancel": "cancelled call"}


@dataclass(frozen=True)
class Load:
    """`word` is the generator's; `rate` calls are started each second; times in seconds."""

    word: str
    rate: int
    transport: str = "udp"
    peers: int = 1
    ring: float = 0.0
    hold: float = 0.0
    window: int = WINDOW
    stamps: bool = False

    @property
    def what(self) -> str:
        """Words for it, without the rate."""
        parts = [WORDS[self.word]]
        if self.transport != "udp":
            parts.append(self.transport.upper())
        if self.peers > 1:
            parts.append(f"{self.peers} peers")
        if self.hold:
            parts.append(f"held {self.hold:g} s")
        return ", ".join(parts)

    @property
    def speed(self) -> str:
        """Words for the rate."""
        return {SATURATED: "saturated", HIGH: "high"}.get(self.rate, f"{self.rate:,} a second")


class Bench:
    """One run: its folder with lists and generator, and every measurement: rows of `section`, `proxy`, `what`, `speed`, figures."""

    def __init__(self, folder: Path, seconds: float, rows: list[dict[str, Any]]) -> None:
        self.folder = folder
        self.seconds = seconds
        self.rows = rows
        self._ports = count(7101)  # each load has a caller of its own: nothing late from the last one is taken for its
        write_lists(folder)
        self.sipgen = build_tool(folder, "sipgen", "sipgen.c", "wire.c")

    def generate(
        self, proxy: Proxy | None, load: Load, seconds: float, rate: int | None = None, waits: Path | None = None
    ) -> dict[str, Any]:
        """One load; what the generator says of it. Without a proxy: from caller to callee."""
        with self.generating(proxy, load, seconds, rate, waits) as running:
            try:
                output, _ = running.communicate(timeout=seconds + load.ring + load.hold + 30)
            except subprocess.TimeoutExpired:
                raise NotRunning(f"the generator did not end: {load.what}, {load.speed}") from None
        if running.returncode:
            raise NotRunning(
                f"the generator ended with {running.returncode} at {load.what}, {load.speed}, of {proxy.name if proxy else 'itself'}"
            )
        found: dict[str, Any] = json.loads(output)
        return found

    @contextlib.contextmanager
    def generating(
        self, proxy: Proxy | None, load: Load, seconds: float, rate: int | None = None, waits: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The generator while it runs."""
        lists = (proxy.numbers if proxy else None) or self.folder
        callee = proxy.callee if proxy else CALLEE
        refuse_taken_port(int(callee.partition(":")[2]))
        at = f"127.0.0.1:{proxy.refuses_at if load.word == 'reject' and proxy.refuses_at else proxy.port}" if proxy else callee
        words = {
            "load": load.word,
            "transport": load.transport,
            "proxy": at,
            "caller": f"{proxy.caller if proxy else CALLER}:{next(self._ports)}",
            "callee": callee,
            "peers": load.peers,
            "rate": load.rate if rate is None else rate,
            "window": load.window,
            "seconds": seconds,
            "ring": load.ring,
            "hold": load.hold,
            "numbers": lists / ("refuse.txt" if load.word == "reject" else "pass.txt"),
            "stamps": int(load.stamps),
        } | ({"waits": waits} if waits else {})
        cores = BOTH if proxy and proxy.cores == BOTH else "1"
        command = ["taskset", "-c", cores, str(self.sipgen), *(f"{name}={value}" for name, value in words.items())]
        running = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            yield running
        finally:
            running.kill()
            running.wait()

    @contextlib.contextmanager
    def started(self, proxies: list[Proxy]) -> Iterator[dict[Proxy, int]]:
        """All of them, warm."""
        with contextlib.ExitStack() as running:
            yield {proxy: running.enter_context(proxy.running()) for proxy in proxies}

    def round(self, section: str, number: int, proxies: list[Proxy], loads: list[Load], pace: set[str], times: int = 1) -> None:
        """Every load, on proxies that are started for it; those of `pace` set the high rate. `times`: rounds on one start."""
        at = number % len(proxies)
        proxies = proxies[at:] + proxies[:at]  # they take turns to be first
        with self.started(proxies) as pids:
            for proxy in proxies:
                self.warm(proxy, pids[proxy], loads)
            for turn, load in ((turn, load) for turn in range(times) for load in loads):
                rate = self._high(proxies, load, pace) if load.rate == HIGH else load.rate
                able = [proxy for proxy in proxies if load.word in proxy.words and rate <= proxy.sustains[load.word]]
                rows = [self.one(proxy, pids, load, rate) for proxy in able]
                if rows and max(row["foreign"] for row in rows) >= BUSY:
                    again = [self.one(proxy, pids, load, rate) for proxy in able]
                    rows = min(rows, again, key=lambda rows: max(row["foreign"] for row in rows))
                for row in rows:
                    self.rows.append(row | {"section": section, "round": number + turn})
                    show(self.rows[-1])

    def warm(self, proxy: Proxy, pid: int, loads: list[Load]) -> None:
        """A second of each word without a rate: what it sustains, by its CPU, so that other programs do not count."""
        for word in dict.fromkeys(load.word for load in loads):
            if word in proxy.words:
                first = next(load for load in loads if load.word == word)
                before = cpu_seconds(tree(pid))
                found = self.generate(proxy, Load(word, SATURATED, first.transport, ring=first.ring, window=first.window), 1.0)
                each_second = found["ok"] / max(1e-9, cpu_seconds(tree(pid)) - before)
                proxy.sustains[word] = max(each_second, proxy.sustains.get(word, 0.0))

    def one(self, proxy: Proxy, pids: dict[Proxy, int], load: Load, rate: int) -> dict[str, Any]:
        """One load for one proxy."""
        processes = tree(pids[proxy])
        others = Others(set().union(*map(tree, pids.values())))
        before, started = cpu_by_process(processes), time.monotonic()
        found = self.generate(proxy, load, self.seconds, rate)
        time.sleep(0.2)
        after = cpu_by_process(processes)
        spent = sum(after.values()) - sum(before.values())
        shares = sorted((after[process] - before[process] for process in processes), reverse=True)[: proxy.workers]
        foreign = others.used() / (time.monotonic() - started)
        return found | {
            "proxy": proxy.name,
            "what": load.what,
            "speed": load.speed,
            "rate": rate,
            "us": spent / max(1, found["ok"]) * 1e6,
            "foreign": foreign,
            "shares": [share / max(spent, 1e-9) for share in shares],
        }

    def afterwards(self, section: str, proxies: list[Proxy], seconds: float) -> None:
        """A second of calls, and what they cost after they are over: timers that forget them, `seconds` long."""
        with self.started(proxies) as pids:
            calls = {proxy: self.generate(proxy, Load("call", SATURATED), 2.0)["ok"] for proxy in proxies}
            before = {proxy: cpu_seconds(tree(pid)) for proxy, pid in pids.items()}
            time.sleep(seconds)
            for proxy, pid in pids.items():
                us = (cpu_seconds(tree(pid)) - before[proxy]) / max(1, calls[proxy]) * 1e6
                row = {"section": section, "round": 0, "proxy": proxy.name, "what": "completed call", "speed": AFTERWARDS}
                self.rows.append(row | {"us": us, "rate": 0})

    def _high(self, proxies: list[Proxy], load: Load, pace: set[str]) -> int:
        able = [proxy.sustains[load.word] for proxy in proxies if proxy.name in pace and load.word in proxy.sustains]
        return min(HIGHEST, int(EASE * min(able, default=0.0)) // 500 * 500) or 500


def show(row: dict[str, Any]) -> None:
    """Print one load."""
    print(
        f"{row['round']} {row['proxy']:22} {row['what'] + ', ' + row['speed']:44} {row['us']:7.1f} us CPU each  {row['each_second']:7.0f}/s"
        f"  p50 {row['p50_ms']:6.2f} p99 {row['p99_ms']:6.2f} ms  ok {row['ok']} bad {row['bad']} lost {row['lost']} late {row['late']}"
        + (f"  {'+'.join(f'{share:.0%}' for share in row['shares'])}" if len(row["shares"]) > 1 else "")
        + (f"  BESIDE {row['foreign']:.2f} CORES OF OTHER WORK" if row["foreign"] >= BUSY else ""),
        flush=True,
    )
