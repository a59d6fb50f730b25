"""What `make bench` measures: for each section the proxies, the loads, and which of them are compared."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.big import big_lists, big_node
from benchmarks.loads import HIGH, SATURATED, Bench, Load
from benchmarks.memory import measure_memory
from benchmarks.peers import floor, kamailio, sippy
from benchmarks.proxies import BOTH, compiled, ours
from proxy.build import KERNEL as CHECKOUT_KERNEL

ROOT = Path(__file__).resolve().parent.parent
OURS, RECORDS, KERNEL, PURE, FLOOR, KAMAILIO = "sipwarden", "records on", "kernel only", "pure Python", "floor", "Kamailio"
BESIDE, BESIDE_KERNEL = "other checkout", "other checkout, kernel only"
SIPPY, QUIET, DIRECT = "sippy", "sippy, no log", "direct"
OURS_TWO, KAMAILIO_TWO = "sipwarden, 2 workers", "Kamailio, 2 workers"
SMALL, BIG = "100,000 entries", "10,000,000 entries"
AFTER = 34.0
"""Seconds that finished transactions are remembered, and a little: what a call costs after it is over comes then."""

Section = Callable[[Bench, argparse.Namespace], None]


def rounds(options: argparse.Namespace, wanted: int) -> range:
    """How often: as the command line says, else once where it is to be quick."""
    return range(1, 1 + (options.rounds or (1 if options.quick else wanted)))


def rates(options: argparse.Namespace) -> tuple[int, ...]:
    """Calls a second."""
    return (2000, SATURATED) if options.quick else (500, 2000, HIGH, SATURATED)


def udp(bench: Bench, options: argparse.Namespace) -> None:
    """One worker of each, one peer."""
    folder, program = bench.folder, compiled(ROOT)
    proxies = [ours(OURS, 5060, ROOT, folder, program=program)]
    if not options.no_kamailio:
        proxies += [kamailio(KAMAILIO, 5062, folder), floor(FLOOR, 5068, folder)]
    if options.journal:
        proxies.append(ours(RECORDS, 5064, ROOT, folder, program=program, journal=True))
    if program and CHECKOUT_KERNEL == "compiled" and not options.no_kernel:
        proxies.append(ours(KERNEL, 5063, ROOT, folder))
    if (program or CHECKOUT_KERNEL == "compiled") and not options.no_pure:
        proxies.append(ours(PURE, 5061, ROOT, folder, pure=True))
    if options.beside is not None:
        beside = options.beside.resolve()
        name = BESIDE_KERNEL if program and not compiled(beside) else BESIDE  # which of ours it is like
        proxies.append(ours(name, 5066, beside, folder, program=program and compiled(beside)))
    loads = [Load(word, rate) for word in ("reject", "call", "cancel") for rate in rates(options)]
    if not options.quick:
        loads.append(Load("call", 2000, hold=2.0))
    for number in rounds(options, 4):
        bench.round("udp", number, proxies, loads, {OURS, KAMAILIO})
    if not options.quick:
        bench.afterwards("udp", proxies, AFTER)


def tcp(bench: Bench, options: argparse.Namespace) -> None:
    """The same over connections that stay."""
    folder, program = bench.folder, compiled(ROOT)
    proxies = [ours(OURS, 5060, ROOT, folder, program=program, transport="tcp")]
    if not options.no_kamailio:
        proxies.append(kamailio(KAMAILIO, 5062, folder, transport="tcp"))
    if program and not options.no_pure:
        proxies.append(ours(PURE, 5061, ROOT, folder, pure=True, transport="tcp"))
    loads = [Load(word, rate, "tcp") for word in ("reject", "call", "cancel") for rate in rates(options)]
    for number in rounds(options, 3):
        bench.round("tcp", number, proxies, loads, {OURS, KAMAILIO})


def workers(bench: Bench, options: argparse.Namespace) -> None:
    """Two workers beside one, all on both cores with the load, from one peer and from eight."""
    folder, program = bench.folder, compiled(ROOT)
    proxies = [ours(OURS, 5060, ROOT, folder, program=program), ours(OURS_TWO, 5061, ROOT, folder, program=program, workers=2)]
    if not options.no_kamailio:
        proxies += [kamailio(KAMAILIO, 5062, folder), kamailio(KAMAILIO_TWO, 5063, folder, workers=2)]
    for proxy in proxies:
        proxy.cores = BOTH
    loads = [Load(word, rate, peers=peers) for word, rate in (("call", 1000), ("reject", 2000)) for peers in (1, 8)]
    for number in rounds(options, 4):
        bench.round("workers", number, proxies, loads, set())


def python(bench: Bench, options: argparse.Namespace) -> None:
    """The Python peer. Calls ring for 20 ms: it reorders a 180 and a 200 that come together."""
    folder = bench.folder
    proxies = [ours(OURS, 5060, ROOT, folder, program=compiled(ROOT))]
    proxies += [sippy(SIPPY, 5065, folder, quiet=False), sippy(QUIET, 5067, folder, quiet=True)]
    loads = [Load("call", 50, ring=0.02, window=40), Load("call", SATURATED, ring=0.02, window=40)]
    for number in rounds(options, 3):
        bench.round("python", number, proxies, loads, set())


def latency(bench: Bench, options: argparse.Namespace) -> None:
    """What a proxy adds to an INVITE's way, at half of what it sustains; the direct path at the same rate."""
    proxies = [ours(OURS, 5060, ROOT, bench.folder, program=compiled(ROOT))]
    if not options.no_kamailio:
        proxies.append(kamailio(KAMAILIO, 5062, bench.folder))
    load = Load("call", SATURATED, stamps=True)
    seconds = 2.0 if options.quick else 10.0
    for number in rounds(options, 3):
        with bench.started(proxies) as pids:
            for proxy in proxies:
                bench.warm(proxy, pids[proxy], [load])
                rate = int(bench.generate(proxy, Load("call", SATURATED), bench.seconds)["each_second"] / 2) or 1
                for name, by in ((proxy.name, proxy), (f"{DIRECT}, {proxy.name}", None)):
                    row = bench.generate(by, load, seconds, rate)
                    bench.rows.append(
                        row | {"section": "latency", "round": number, "proxy": name, "what": load.what, "speed": "half", "rate": rate}
                    )
                    figures = "  ".join(f"{part} {row[f'hop_{part}_ms']:.3f}" for part in ("p50", "p99", "p999", "max"))
                    print(f"{number} {name:22} {rate:5} a second  hop in ms: {figures}  lost {row['lost']} late {row['late']}", flush=True)


def capacity(bench: Bench, options: argparse.Namespace) -> None:
    """Ours over lists a hundred times as long."""
    folder, program = bench.folder, compiled(ROOT)
    small = ours(SMALL, 5060, ROOT, folder, program=program)
    with big_lists(options) as lists:
        began = time.monotonic()
        big = big_node(BIG, 5061, ROOT, lists, program=program)
        loads = [Load(word, rate) for word in ("reject", "call") for rate in (2000, SATURATED)]
        # starting it from CSV takes minutes: once is enough
        bench.round("capacity", 1, [small, big], loads, set(), times=len(rounds(options, 4)))
        print(f"capacity: {time.monotonic() - began:.0f} s with reading the lists", flush=True)


def memory(bench: Bench, options: argparse.Namespace) -> None:
    """Bytes for each call, in setup and in progress."""
    measure_memory(bench, options)


SECTIONS: dict[str, Section] = {
    "udp": udp,
    "tcp": tcp,
    "workers": workers,
    "python": python,
    "latency": latency,
    "capacity": capacity,
    "memory": memory,
}
