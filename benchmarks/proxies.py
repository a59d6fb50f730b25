"""The proxies that are compared: started on core 0 with their lists, asked until they answer, ended by their process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.lists import config

CALLEE_PORT = 5080
SHARED_MEMORY = 2000
"""MiB for Kamailio's transactions: it keeps a finished call's for 5 s. Taken at the start, so that no page fault is measured."""
START_LIMIT = 30.0
STOP_LIMIT = 10.0

_HERE = Path(__file__).resolve().parent
_PROBE = (
    b"OPTIONS sip:127.0.0.1:%d SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;rport;branch=z9hG4bKprobe%d\r\nMax-Forwards: 70\r\n"
    b"From: <sip:bench@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: %d@bench\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class NotRunning(Exception):
    """A proxy that cannot be measured; says which and why."""


class Proxy:
    """Something that listens on `port` of 127.0.0.1 and forwards to 5080. `command` is run in `folder`, its output goes to `log`."""

    def __init__(
        self, name: str, port: int, command: list[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._folder = folder
        self._log = log
        self._environment = os.environ | (environment or {})

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Start it, give its process id, end it. NotRunning where the port is taken or it does not answer."""
        refuse_taken_port(self.port)
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", "0", *self._command],
                cwd=self._folder,
                env=self._environment,
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
        limit = time.monotonic() + START_LIMIT
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            probe.settimeout(0.2)
            serial = 0
            while time.monotonic() < limit and process.poll() is None:
                serial += 1
                with contextlib.suppress(OSError):  # nothing yet, or nobody at that port yet
                    probe.sendto(_PROBE % (self.port, probe.getsockname()[1], serial, serial), ("127.0.0.1", self.port))
                    if probe.recv(4096).startswith(b"SIP/2.0 "):
                        return
                time.sleep(0.1)
        raise NotRunning(f"{self.name} does not answer{self._said()}")

    def _said(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "".join(f"\n  {line}" for line in lines[-10:])


def compiled(checkout: Path) -> Path | None:
    """The `sipwarden` of a checkout's wheel, core and kernel compiled; None where `make bench` has not built it there."""
    program = checkout / ".venv-compiled" / "bin" / "sipwarden"
    return program if program.is_file() else None


def ours(name: str, port: int, checkout: Path, lists: Path, *, program: Path | None = None, pure: bool = False) -> Proxy:
    """`sipwarden run`: `program`, which is a whole installation, or else a checkout's modules on this Python; `pure`: nothing compiled."""
    file = lists / f"sipwarden-{port}.toml"
    file.write_text(config(port), encoding="utf-8")
    command = [*([str(program)] if program else [sys.executable, "-m", "proxy"]), "run", "-c", str(file)]
    return Proxy(
        name, port, command, lists if program else checkout, lists / f"sipwarden-{port}.log", {"SIPWARDEN_PURE": "1"} if pure else None
    )


def kamailio(name: str, port: int, lists: Path) -> Proxy:
    """Kamailio with one worker, the tuned allocator and the same lists. NotRunning where it is not installed."""
    program = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise NotRunning("there is no kamailio: apt-get install kamailio kamailio-extra-modules, or --no-kamailio")
    script = (_HERE / "kamailio.cfg").read_text(encoding="utf-8")
    for word, meant in (("FOLDER", str(lists)), ("PORT", str(port)), ("WORKERS", "1")):
        script = script.replace(word, meant)
    file = lists / "kamailio.cfg"
    file.write_text(script, encoding="utf-8")
    allocator = ["-x", "tlsf", "-X", "tlsf", "-m", str(SHARED_MEMORY), "-M", "32"]
    command = [program, "-f", str(file), "-Y", str(lists), "-DD", "-E", *allocator]
    return Proxy(name, port, command, lists, lists / "kamailio.log")


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
