"""The benchmark's generator and floor: calls of each kind come through, and what does not is counted."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import build_tool

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc (Debian: apt-get install gcc libc6-dev)")


def free_ports(count: int) -> int:
    """The first of so many UDP and TCP ports in a row of 127.0.0.1 that nobody has."""
    for first in range(21000, 29000, count):
        try:
            for port in range(first, first + count):
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sipgen")
    build_tool(made, "sipgen", "sipgen.c", "wire.c")
    build_tool(made, "floor", "floor.c")
    (made / "numbers.txt").write_text("8613800000001\n8613800000002\n", encoding="ascii")
    return made


@pytest.fixture(scope="module")
def floor(folder: Path) -> Iterator[int]:
    """Its port; the callee is at the one before it, and the five behind the next are free."""
    first = free_ports(8)
    with subprocess.Popen([str(folder / "floor"), str(first + 1), str(first)]) as running:
        try:
            yield first + 1
        finally:
            running.kill()


def generate(folder: Path, *words: str) -> dict[str, Any]:
    command = [str(folder / "sipgen"), f"numbers={folder / 'numbers.txt'}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize(
    ("load", "sent", "more"),
    [
        ("call", 6, ()),
        ("call", 6, ("peers=4",)),
        ("call", 6, ("ring=0.1", "hold=0.1")),
        ("cancel", 6, ()),
        ("reject", 2, ()),
    ],
)
@pytest.mark.parametrize("speed", [("rate=300",), ("window=10",)])
def test_calls_come_through_the_floor(
    folder: Path, floor: int, load: str, sent: int, more: tuple[str, ...], speed: tuple[str, ...]
) -> None:
    port = floor + 1 if load == "reject" else floor
    said = generate(
        folder,
        f"load={load}",
        f"proxy=127.0.0.1:{port}",
        f"caller=127.0.0.1:{floor + 2}",
        f"callee=127.0.0.1:{floor - 1}",
        "seconds=0.2",
        *speed,
        *more,
    )
    assert said["started"] >= 10
    assert said["ok"] == said["started"]
    assert (said["bad"], said["lost"], said["unexpected"], said["repeated"]) == (0, 0, 0, 0)
    assert said["sent"] == sent * said["started"]


@pytest.mark.parametrize("load", ["call", "cancel"])
def test_tcp_on_the_direct_path(folder: Path, load: str) -> None:
    first = free_ports(2)
    words = (f"proxy=127.0.0.1:{first}", f"callee=127.0.0.1:{first}", f"caller=127.0.0.1:{first + 1}", "seconds=0.2", "window=20")
    said = generate(folder, f"load={load}", "transport=tcp", *words)
    assert said["started"] > 20
    assert said["ok"] == said["started"]
    assert said["sent"] == 6 * said["started"]


@pytest.mark.parametrize("load", ["call", "reject"])
def test_with_stamps_a_hop_takes_its_time(folder: Path, floor: int, load: str, tmp_path: Path) -> None:
    waits = tmp_path / "waits"
    port = floor + 1 if load == "reject" else floor
    words = (f"proxy=127.0.0.1:{port}", f"callee=127.0.0.1:{floor - 1}", f"caller=127.0.0.1:{floor + 4}", "seconds=0.5", "rate=300")
    said = generate(folder, f"load={load}", "stamps=1", f"waits={waits}", *words)
    assert said["hop_p50_ms"] <= said["hop_p99_ms"] <= said["hop_p999_ms"] <= said["hop_max_ms"]
    assert said["hop_max_ms"] > 0
    long = [float(end) - float(begin) for begin, end in map(str.split, waits.read_text(encoding="ascii").splitlines())]
    assert bool(long) == (said["hop_max_ms"] > 1.0)
    assert all(wait > 0.0009 for wait in long)


def test_calls_that_nobody_answers_are_lost(folder: Path) -> None:
    first = free_ports(3)
    words = (f"proxy=127.0.0.1:{first}", f"callee=127.0.0.1:{first + 1}", f"caller=127.0.0.1:{first + 2}", "seconds=0.1", "window=7")
    said = generate(folder, *words)
    assert (said["started"], said["ok"], said["lost"]) == (7, 0, 7)


def test_another_answer_than_wanted_is_bad(folder: Path, floor: int) -> None:
    words = (f"proxy=127.0.0.1:{floor + 1}", f"callee=127.0.0.1:{floor - 1}", f"caller=127.0.0.1:{floor + 3}", "seconds=0.1", "rate=100")
    said = generate(folder, "load=call", *words)
    assert said["bad"] == said["started"] > 0


def test_a_word_that_it_does_not_know(folder: Path) -> None:
    done = subprocess.run([str(folder / "sipgen"), "peer=3"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "peer=3" in done.stderr
