"""SIPp as caller and callee, with the scenarios of tests/cases/sipp, and what it counted."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.interop.node import CALLED, CALLER, await_bound, environment, free_port

SCENARIOS = Path(__file__).resolve().parents[1] / "cases" / "sipp"


@dataclass(frozen=True)
class Result:
    """What one SIPp reported in the end."""

    status: int
    successful: int
    failed: int
    retransmissions: int
    seconds: float
    errors: str
    created: int

    def clean(self, calls: int) -> None:
        """Fail where a call went wrong or anything was sent twice."""
        assert self.status == 0, self
        assert (self.successful, self.failed, self.retransmissions) == (calls, 0, 0), self


class SIPp:
    """One SIPp process, started at once.

    `transport` is SIPp's own name for it: u1 (UDP), un (UDP, a socket for each call), t1 (TCP, one connection).
    """

    def __init__(
        self,
        folder: Path,
        scenario: str,
        *,
        address: str,
        port: int = 0,
        transport: str = "u1",
        calls: int = 1,
        rate: float = 0,
        remote: tuple[str, int] | None = None,
        called: str = CALLED,
        caller: str = CALLER,
        hold: int = 0,
        limit: int = 40,
        more: Sequence[str] = (),
    ) -> None:
        self.port = port or free_port()
        self.address = address
        name = f"{scenario}-{self.port}"
        self._statistics = folder / f"{name}.csv"
        self._errors = folder / f"{name}.errors"
        self._limit = limit
        command = ["sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", _bracketed(address), "-p", str(self.port), "-t", transport]
        command += ["-m", str(calls), "-nostdin", "-timeout", f"{limit}s", "-timeout_error", "-cp", str(free_port())]
        command += ["-trace_stat", "-stf", str(self._statistics), "-fd", "600", "-trace_err", "-error_file", str(self._errors)]
        command += ["-s", called, "-key", "caller", caller, "-d", str(hold), "-timer_resol", "5", "-max_socket", "2000", *more]
        if rate:
            command += ["-r", str(rate), "-l", "30000"]
        if remote is not None:
            command.append(f"{_bracketed(remote[0])}:{remote[1]}")
        self._said = folder / f"{name}.stderr"
        with open(self._said, "wb") as said:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
            )
        self._transport = "udp" if transport.startswith("u") else "tcp"

    def ready(self) -> SIPp:
        """Wait until it listens."""
        await_bound(self._transport, self.address, self.port)
        return self

    def result(self) -> Result:
        """Wait for the end."""
        status = self.process.wait(self._limit + 10)
        assert self._statistics.exists(), (status, self._said.read_text(errors="replace"))
        with open(self._statistics, newline="") as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
        errors = self._errors.read_text(errors="replace")[:4000] if self._errors.exists() else ""
        hours, minutes, seconds, *_ = last["ElapsedTime(C)"].split(":")
        return Result(
            status=status,
            successful=int(last["SuccessfulCall(C)"]),
            failed=int(last["FailedCall(C)"]),
            retransmissions=int(last["Retransmissions(C)"]),
            seconds=int(hours) * 3600 + int(minutes) * 60 + float(seconds),
            errors=errors,
            created=int(last["TotalCallCreated"]),
        )

    def end(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextmanager
def peers(folder: Path) -> Iterator[Peers]:
    """Start SIPps in a block; all have ended after it."""
    with ExitStack() as stack:
        yield Peers(folder, stack)


class Peers:
    """Starts SIPps that end with the test."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def start(self, scenario: str, **settings: object) -> SIPp:
        """As SIPp."""
        made = SIPp(self._folder, scenario, **settings)  # type: ignore[arg-type]
        self._stack.callback(made.end)
        return made


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
