"""The proxies that are compared: started on their cores with their lists, asked until they answer, ended by their process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lists import config

CALLEE = "127.0.0.1:5080"
CALLER = "127.0.0.1"
ONE, BOTH = "0", "0,1"
"""Cores: a single worker has one of its own; two workers share both with the load, as the scheduler likes."""
START_LIMIT = 90.0
STOP_LIMIT = 10.0

_PROBE = (
    b"OPTIONS sip:127.0.0.1:%d SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bKprobe%d\r\nMax-Forwards: 70\r\n"
    b"From: <sip:bench@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: %d@bench\r\nCSeq: 1 OPTIONS\r\nContact: <sip:127.0.0.1:%d>\r\n"
    b"Content-Length: 0\r\n\r\n"
)


class NotRunning(Exception):
    """A proxy that cannot be measured; says which and why."""


@dataclass(eq=False)
class Proxy:
    """Something that listens on `port` of 127.0.0.1 and forwards to `callee`. `command` is run in `folder`, its output goes to `log`."""

    name: str
    port: int
    command: list[str]
    folder: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: str = ONE
    workers: int = 1
    refuses_at: int = 0
    """Where it listens for calls that are to be refused; 0: on `port`, too."""
    start_limit: float = START_LIMIT
    callee: str = CALLEE
    caller: str = CALLER
    numbers: Path | None = None
    """A folder with pass.txt and refuse.txt; None: the benchmark's."""
    words: tuple[str, ...] = ("reject", "call", "cancel")
    """What it can be given."""
    sustains: dict[str, float] = field(default_factory=dict)
    """What it took each second in the closed loop, by load."""

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Start it, give its process id, end it. NotRunning where the port is taken or it does not answer."""
        refuse_taken_port(self.port)
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", self.cores, *self.command],
                cwd=self.folder,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._wait(process)
                yield process.pid
                if process.poll() is not None:
                    raise NotRunning(f"{self.name} ended while it was measured{self._said()}")
            finally:
                end(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        limit = time.monotonic() + self.start_limit
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            probe.settimeout(0.2)
            own = probe.getsockname()[1]
            serial = 0
            while time.monotonic() < limit and process.poll() is None:
                serial += 1
                with contextlib.suppress(OSError):  # nothing yet, or nobody at that port yet
                    probe.sendto(_PROBE % (self.port, own, serial, serial, own), ("127.0.0.1", self.port))
                    if probe.recv(4096).startswith(b"SIP/2.0 "):
                        return
                time.sleep(0.1)
        raise NotRunning(f"{self.name} does not answer{self._said()}")

    def _said(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "".join(f"\n  {line}" for line in lines[-10:])


def compiled(checkout: Path) -> Path | None:
    """The `sipwarden` of a checkout's wheel, core and kernel compiled; None where `make bench` has not built it there."""
    program = checkout / ".venv-compiled" / "bin" / "sipwarden"
    return program if program.is_file() else None


def ours(
    name: str,
    port: int,
    checkout: Path,
    lists: Path,
    *,
    program: Path | None = None,
    pure: bool = False,
    transport: str = "udp",
    workers: int = 1,
    journal: bool = False,
) -> Proxy:
    """`sipwarden run`: `program`, which is a whole installation, or else a checkout's modules on this Python; `pure`: nothing compiled."""
    file = lists / f"sipwarden-{port}.toml"
    file.write_text(config(port, workers=workers, transport=transport, journal=journal), encoding="utf-8")
    return node(name, port, checkout, file, program=program, pure=pure, workers=workers)


def node(name: str, port: int, checkout: Path, file: Path, *, program: Path | None = None, pure: bool = False, workers: int = 1) -> Proxy:
    """The same with a configuration that is written already."""
    return Proxy(
        name,
        port,
        [*([str(program)] if program else [sys.executable, "-m", "proxy"]), "run", "-c", str(file)],
        file.parent if program else checkout,
        file.with_suffix(".log"),
        {"SIPWARDEN_PURE": "1"} if pure else {},
        cores=ONE if workers == 1 else BOTH,
        workers=workers,
    )


def refuse_taken_port(port: int) -> None:
    """NotRunning where another program has this port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise NotRunning(f"another program has UDP port 127.0.0.1:{port} ({error.strerror}); see `ss -lunp`") from None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and what it left behind in its session."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
