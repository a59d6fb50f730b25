"""A whole node as its own processes, on free ports of loopback, and scripted peers that talk to it over sockets."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.build import slow

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
[node]
name = "test"
workers = {workers}

[[listen]]
address = "127.0.0.1:{port}"

[[listen]]
address = "[::1]:{port}"

[[trunk]]
id = "acme"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.2", "::1"]
home_area = "755"
next_hop = "switch"

[[trunk]]
id = "core"
kind = "core"
sources = ["127.0.0.5"]

[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.5:{switch}"]

[directory]
segments = ["segments.csv"]

[admin]
listen = "127.0.0.1:{admin}"
"""
SEGMENTS = """customer,trunk,first,last
acme,acme,+8675583123400,+8675583123499
"""


def free_port() -> int:
    """A port that nobody has on any of the addresses that a node uses."""
    while True:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as one, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as two:
            one.bind(("::", 0))
            port: int = one.getsockname()[1]
            try:
                two.bind(("::", port))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "did not come true in time"
        time.sleep(0.02)


SLOW = f"WARNING proxy.supervisor: {slow()}\n" if slow() else ""


class Node:
    """`sipwarden run` in a folder of its own; `process` is the supervisor."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.folder = folder
        self.port, self.admin, self.switch = free_port(), free_port(), free_port()
        self.config = folder / "sipwarden.toml"
        self.text = CONFIG.format(port=self.port, admin=self.admin, switch=self.switch, workers=workers)
        self.config.write_text(self.text)
        (folder / "segments.csv").write_text(SEGMENTS)
        self.process: subprocess.Popen[bytes]
        self._log = folder / "log"
        self._out = folder / "out"

    def launch(self, *program: str) -> None:
        """Start the process; not yet ready. `program`: what Python is to run in the place of `-m proxy`."""
        with open(self._log, "wb") as log, open(self._out, "wb") as out:
            environment = os.environ | {"TMPDIR": str(self.folder)}
            command = [sys.executable, *(program or ("-m", "proxy")), "run", "-c", str(self.config)]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=log, env=environment)

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.launch()
        wait_until(lambda: "admin on" in self.out or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.log

    def stop(self) -> int:
        """End in good order; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def hang_up(self) -> None:
        """SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    @property
    def log(self) -> str:
        """Standard error so far, behind what it says first where not all is compiled."""
        return self.whole_log.removeprefix(SLOW)

    @property
    def whole_log(self) -> str:
        """Standard error so far."""
        return self._log.read_text()

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text()

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return self.children(b"proxy.session")

    def children(self, module: bytes) -> list[int]:
        """Process ids of the supervisor's children that run a module."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                words = (path / "cmdline").read_bytes().split(b"\0")
            except (OSError, IndexError):
                continue
            if parent == self.process.pid and module in words:
                found.append(int(path.name))
        return sorted(found)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an admin page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, sample: str) -> float:
        """One sample of /metrics, named with its labels; 0 where it is absent."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def running(folder: Path, workers: int = 1) -> Iterator[Node]:
    """A node that is ready, ended at the end."""
    node = Node(folder, workers)
    node.start()
    try:
        yield node
    finally:
        node.stop()


class Peer:
    """A UDP peer; `serial` makes its calls different."""

    serial = 0

    def __init__(self, address: str, port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.socket.settimeout(5)
        self.address, self.port = self.socket.getsockname()[:2]

    def request(
        self, method: str, to: str = "+8675522223333", caller: str = "075583123401", transport: str = "UDP", uri: str = ""
    ) -> bytes:
        """A request of a new transaction and dialog."""
        Peer.serial += 1
        host = f"[{self.address}]" if ":" in self.address else self.address
        return (
            f"{method} {uri or f'sip:{to}@127.0.0.1'} SIP/2.0\r\n"
            f"Via: SIP/2.0/{transport} {host}:{self.port};branch=z9hG4bK{os.getpid()}x{Peer.serial};rport\r\n"
            f"From: <sip:{caller}@{host}>;tag=t{Peer.serial}\r\nTo: <sip:{to}@127.0.0.1>\r\nCall-ID: c{os.getpid()}-{Peer.serial}\r\n"
            f"CSeq: 1 {method}\r\nContact: <sip:{host}:{self.port}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        ).encode()

    def send(self, data: bytes, port: int) -> None:
        """To the node."""
        self.socket.sendto(data, ("::1" if ":" in self.address else "127.0.0.1", port))

    def receive(self, seconds: float = 5.0) -> bytes:
        """The next message, b"" where none comes."""
        return self.socket.recv(65535) if select.select([self.socket], [], [], seconds)[0] else b""

    def final(self) -> bytes:
        """The next response that is not provisional."""
        while (data := self.receive()).startswith(b"SIP/2.0 1"):
            pass
        return data

    def answer(self, request: bytes, status: str = "200 OK") -> bytes:
        """A response to a request that was received."""
        head = [
            line for line in request.split(b"\r\n") if line.lower().startswith((b"via:", b"from:", b"call-id:", b"cseq:", b"record-route:"))
        ]
        to = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"to:"))
        contact = f"Contact: <sip:{self.address}:{self.port}>".encode()
        return b"\r\n".join([b"SIP/2.0 " + status.encode(), *head, to + b";tag=callee", contact, b"Content-Length: 0", b"", b""])

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
