"""A running node under steady calls: how long each waits for its first answer, and what of that the worker is to blame for.

500 INVITEs a second from sixteen ports, half of which each of two workers has: three in five are refused (callers outside the segments,
listed callers, fixed lines from abroad), the others are sent on and come back busy. No number comes twice. A call's wait is from the
moment before it is sent until the kernel has the first answer (its own time stamp), so that nothing the sender does counts. The kernel
also says for how long a worker was ready to run and had to wait for a CPU (`/proc/PID/schedstat`). "Own" is the time from when the worker
could begin (the call was sent, and the answer before this one given) to the answer, without such waiting: whatever stops a worker shows
there once. On a machine that others use it is no more than an upper bound.
"""

from __future__ import annotations

import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).resolve().parent.parent))  # behind what is installed, which may be compiled

from benchmarks.capacity_lists import block, entry, mobile

PORT: Final = 5090
SWITCH: Final = 5091
ADMIN: Final = 5092
RATE: Final = 500
PORTS: Final = 16
LOST: Final = 2.0
NICENESS: Final = -15
STAMP: Final = struct.Struct("ll")
SO_TIMESTAMPNS: Final = 35
INTERRUPTED: Final = 0.0003
"""Sending takes far less; what took longer was interrupted, and the call left at the end of that time rather than at its beginning."""
SAMPLED: Final = 0.002
"""Seconds between two looks at the kernel's accounting."""


class Sample:
    """Nanoseconds that each worker has run and has waited for a CPU, at one time."""

    __slots__ = ("at", "delays", "runs")

    def __init__(self, workers: list[int]) -> None:
        self.runs = []
        self.delays = []
        for pid in workers:
            run, delay, _ = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
            self.runs.append(int(run))
            self.delays.append(int(delay))
        self.at = time.time()


class Load:
    """The callers, and the switch that is always busy."""

    def __init__(self, workers: list[int], segments: int, entries: int) -> None:
        self._workers = workers
        self._draw = random.Random(11)
        self._serial = 0
        own = [n for n in range(segments) if n % 50 > 5 and n // 100 * 7919 % 2000 == 0]
        self._own = [first for n in own if (first := block(n)[1])[-1] != "*"]
        self._entries = entries
        self._callers = [self._socket(f"127.0.0.{2 + n % 3}") for n in range(PORTS)]
        self._switch = self._socket("127.0.0.9", SWITCH)
        self._worker_of = [0] * PORTS
        self._open: dict[int, tuple[float, int]] = {}
        self.waits: list[tuple[float, float, int]] = []
        self._samples: list[Sample] = []
        for n in range(PORTS):
            before = Sample(workers)
            for _ in range(60):
                self._send(n)
                self._receive(0.002)
            after = Sample(workers)
            runs = [b - a for a, b in zip(before.runs, after.runs, strict=True)]
            self._worker_of[n] = runs.index(max(runs))

    @staticmethod
    def _socket(address: str, port: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        made.bind((address, port))
        return made

    def _caller(self, kind: int) -> str:
        """127.0.0.2 is a customer, 3 another operator, 4 a gateway to abroad."""
        draw = self._draw
        if kind == 0:
            return self._own[draw.randrange(len(self._own))] if draw.random() < 0.3 else mobile(draw.randrange(5 * 10**8, 9 * 10**8))
        if kind == 1:
            if draw.random() < 0.3:
                while (found := entry(draw.randrange(self._entries)))[1:] != ("exact", "caller") or found[0][0] != "+":
                    pass
                return found[0]
            return mobile(draw.randrange(5 * 10**8, 9 * 10**8))
        return f"+8610{draw.randrange(20_000_000, 59_999_999)}" if draw.random() < 0.6 else f"+4420{draw.randrange(10**7, 10**8)}"

    def _send(self, n: int) -> None:
        self._serial += 1
        sock = self._callers[n]
        address, port = sock.getsockname()
        caller = self._caller(n % 3)
        called = f"+8621{self._draw.randrange(20_000_000, 59_999_999)}"
        data = (
            f"INVITE sip:{called}@127.0.0.1:{PORT};user=phone SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {address}:{port};branch=z9hG4bK-c{self._serial}\r\n"
            f"Max-Forwards: 68\r\nFrom: <sip:{caller}@{address};user=phone>;tag=f{self._serial}\r\nTo: <sip:{called}@127.0.0.1>\r\n"
            f"Call-ID: {self._serial}@{address}\r\nCSeq: 1 INVITE\r\nContact: <sip:{address}:{port}>\r\n"
            f"P-Asserted-Identity: <sip:{caller}@{address};user=phone>\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        sent = time.time()
        self._open[self._serial] = (sent, n)
        sock.sendto(data, ("127.0.0.1", PORT))
        if (now := time.time()) - sent > INTERRUPTED:
            self._open[self._serial] = (now, n)

    def _receive(self, seconds: float) -> None:
        """Take in what comes within that time."""
        until = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([*self._callers, self._switch], [], [], max(0.0, until - time.monotonic()))
            for sock in ready:
                data, ancillary, _, source = sock.recvmsg(4096, 64)
                if sock is self._switch:
                    if data.startswith(b"INVITE "):
                        sock.sendto(busy(data), source)
                    continue
                seconds_, nanoseconds = STAMP.unpack(ancillary[0][2])
                serial = int(between(data, b"Call-ID: ", b"@"))
                sent = self._open.pop(serial, None)
                if sent is not None:
                    self.waits.append((sent[0], seconds_ + nanoseconds / 1e9, self._worker_of[sent[1]]))
                if data.startswith(b"SIP/2.0 486"):
                    sock.sendto(acknowledged(data), source)
            if ready:
                self._samples.append(Sample(self._workers))
            if time.monotonic() >= until:
                return

    def run(self, over: Callable[[], bool]) -> Waits:
        """Call until `over`."""
        self.waits = []
        self._open = {}
        self._samples = samples = [Sample(self._workers)]
        began = time.monotonic()
        sent = 0
        looked = began
        while True:
            now = time.monotonic()
            if now - samples_at(samples, began) >= SAMPLED:
                samples.append(Sample(self._workers))
            if now - looked > 0.2:
                looked = now
                if over():
                    break
            while sent < (now - began) * RATE:
                self._send(sent % PORTS)
                sent += 1
            self._receive(0.0005)
        self._receive(0.3)
        samples.append(Sample(self._workers))
        return Waits(self.waits, samples, len(self._open), time.monotonic() - began)

    def close(self) -> None:
        """Close the sockets."""
        for sock in (*self._callers, self._switch):
            sock.close()


def samples_at(samples: list[Sample], began: float) -> float:
    """When the last sample was taken, on the clock that `began` is of."""
    return samples[-1].at - time.time() + time.monotonic()


class Waits:
    """What one run showed: waits in milliseconds, whole and without the time for which the worker waited for a CPU."""

    def __init__(self, waits: list[tuple[float, float, int]], samples: list[Sample], lost: int, seconds: float) -> None:
        self.calls = len(waits)
        self.lost = lost
        self.seconds = seconds
        times = [sample.at for sample in samples]
        self.stops: list[tuple[float, int, float]] = []  # when, of which worker, how long
        self.whole = sorted([(answered - sent) * 1e3 for sent, answered, _ in waits])
        self.own: list[float] = []
        idle = [0.0] * len(samples[0].runs)
        for sent, answered, worker in sorted(waits, key=lambda wait: wait[1]):
            begun = max(sent, idle[worker])  # before that the worker had others to answer
            idle[worker] = answered
            own = (answered - begun) * 1e3
            if own > 1.0:
                before = samples[max(0, bisect_right(times, begun) - 1)]
                after = samples[min(len(samples) - 1, bisect_left(times, answered))]
                own = max(0.0, own - (after.delays[worker] - before.delays[worker]) / 1e6)
                if own > 5.0:
                    self.stops.append((begun - times[0], worker, own))
            self.own.append(own)
        self.own.sort()
        first, last = samples[0], samples[-1]
        self.cores = sum(b - a for a, b in zip(first.runs, last.runs, strict=True)) / 1e9 / (last.at - first.at)

    def row(self, name: str) -> str:
        """A line of the table."""

        def at(values: list[float], share: float) -> float:
            return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0

        figures = [at(self.whole, 0.5), at(self.whole, 0.999), at(self.whole, 1.0), at(self.own, 0.999), at(self.own, 1.0)]
        cells = [
            name,
            f"{self.seconds:.0f} s",
            f"{self.calls:,}",
            f"{self.lost}",
            *[f"{figure:.2f}" for figure in figures],
            f"{len(self.stops)}",
        ]
        return f"| {' | '.join(cells)} |"


def go_first(process: int | None = None) -> None:
    """Let the programs of others keep this process (or another that leads a session) and what it starts from no CPU, where one may ask for
    that.
    """
    if process is None and os.getsid(0) != os.getpid() != os.getpgrp():
        os.setsid()
    with suppress(OSError):
        Path(f"/proc/{process or 'self'}/autogroup").write_text(str(NICENESS), encoding="ascii")
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, process or 0, NICENESS)


HEAD: Final = (
    "| | lasted | calls | lost | median, ms | 99.9 % | longest | 99.9 % own | longest own | own above 5 ms |\n" + "|---" * 10 + "|"
)


def between(data: bytes, start: bytes, end: bytes) -> bytes:
    """What stands between two marks."""
    return data.partition(start)[2].partition(end)[0]


def header_lines(data: bytes, *names: bytes) -> list[bytes]:
    """The lines of these header fields, as they came."""
    return [line for line in data.split(b"\r\n") if line.lower().startswith(names)]


def busy(invite: bytes) -> bytes:
    """The switch's answer."""
    lines = header_lines(invite, b"via:", b"from:", b"call-id:", b"cseq:", b"record-route:")
    (to,) = header_lines(invite, b"to:")
    return b"\r\n".join([b"SIP/2.0 486 Busy Here", *lines, to + b";tag=s", b"Content-Length: 0", b"", b""])


def acknowledged(answer: bytes) -> bytes:
    """The ACK of a refusal."""
    lines = header_lines(answer, b"via:", b"from:", b"call-id:", b"to:")
    request = b"ACK sip:x@127.0.0.1:%d SIP/2.0" % PORT
    return b"\r\n".join([request, *lines, b"CSeq: 1 ACK", b"Max-Forwards: 70", b"Content-Length: 0", b"", b""])


class Node:
    """`sipwarden run` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        self.began = time.monotonic()
        with open(self._log, "wb") as log:
            command = [sys.executable, "-m", "proxy", "run", "-c", str(folder / "sipwarden.toml")]
            self.process = subprocess.Popen(
                command, cwd=Path(__file__).resolve().parent.parent, stdout=log, stderr=log, start_new_session=True
            )
        go_first(self.process.pid)
        while "admin on" not in self.log:
            if self.process.poll() is not None or time.monotonic() - self.began > 1800:
                raise SystemExit(self.log)
            time.sleep(0.1)
        self.start_seconds = time.monotonic() - self.began
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        self.workers = [int(pid) for pid in children.split()]
        for pid in self.workers:
            with suppress(PermissionError):  # what else runs here is not to be measured, what the node itself runs beside them is
                os.sched_setscheduler(pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(encoding="utf-8")

    def reload(self) -> Callable[[], bool]:
        """SIGHUP; what is returned says whether the reload is over, and the old lists are gone."""
        before = self.log.count("reload")
        self.process.send_signal(signal.SIGHUP)
        ended: list[float] = []

        def over() -> bool:
            if not ended and self.log.count("reload") > before:
                ended.append(time.monotonic())
            return bool(ended) and time.monotonic() - ended[0] > 25.0

        return over

    def memory(self) -> list[dict[str, float]]:
        """MiB of each worker: Rss, Pss, and Anonymous, which is what it shares with nobody."""
        found = []
        for pid in self.workers:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            found.append({name: int(size) / 1024 for name, size in re.findall(r"^(Rss|Pss|Anonymous): +(\d+) kB", text, re.MULTILINE)})
        return found

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)
