"""A node with a journal, from outside: what it writes and shows, what it refuses, and how it goes on after the worst."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from proxy.events import Attempt, End, Event
from proxy.journal.segment import Segment, sealed_segments
from tests.proxy.node import ROOT, Node, Peer
from tests.proxy.node import wait_until as wait_some_time

STRANGER = "075599999999"


def wait_until(condition: Callable[[], bool]) -> None:
    """Longer than others do: processes start."""
    wait_some_time(condition, 30)


@contextmanager
def node_with(folder: Path, more: str = "", *, start: bool = True) -> Iterator[Node]:
    """A running node with a journal in `folder`, and its memory there too."""
    (folder / "memory").mkdir(exist_ok=True)
    node = Node(folder)
    node.config.write_text(f'{node.text}\n[journal]\npath = "journal"\nkey = "journal.key"\nbuffer_path = "memory"\n{more}')
    node.start()
    try:
        yield node
    finally:
        node.stop()


def keeper(node: Node) -> int:
    """The process id of the keeper."""
    pid = node.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            if b"proxy.journal.keeper" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def refused(peer: Peer, node: Node, caller: str = STRANGER, to: str = "13800138000") -> bytes:
    """The first line of what a call is answered."""
    peer.send(peer.request("INVITE", to=to, caller=caller), node.port)
    return peer.final().partition(b"\r\n")[0]


def events(node: Node) -> list[Event]:
    folder = node.folder / "journal"
    found: list[Event] = []
    for path in (*sealed_segments(folder), *sorted(folder.glob("*.open"))):
        with Segment(path) as segment:
            found += [entry.event for entry in segment]
    return found


def journal(node: Node, *words: str) -> tuple[int, str, str]:
    """`sipwarden journal`: status, output, errors."""
    command = [sys.executable, "-m", "proxy", "journal", words[0], "-c", str(node.config), *words[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer("127.0.0.2")
    yield made
    made.close()


def test_a_node_without_a_journal_writes_none(tmp_path: Path, peer: Peer) -> None:
    node = Node(tmp_path)
    node.start()
    assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
    assert "sipwarden_journal" not in node.get("/metrics")[1]
    assert journal(node, "verify")[0] == 2
    assert node.stop() == 0
    assert not list(tmp_path.glob("journal*"))


def test_calls_are_recorded_shown_and_proven(tmp_path: Path, peer: Peer) -> None:
    with node_with(tmp_path) as node:
        assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        wait_until(lambda: len(events(node)) == 1)
        (event,) = events(node)
        assert isinstance(event, Attempt)
        assert (event.caller, event.code, event.status, event.trunk, event.port) == ("+8675599999999", "AUTH_FAIL", 403, "acme", peer.port)
        assert node.metric("sipwarden_journal_events_total") == 1
        wait_until(lambda: node.metric("sipwarden_journal_up") == 1)
        assert node.get("/readyz") == (200, "ready\n")
        status, out, _ = journal(node, "verify", "--json")
        assert (status, json.loads(out)["open_events"]) == (0, 1)
        assert node.stop() == 0
        assert list((tmp_path / "memory").iterdir()) == []
    status, out, _ = journal(node, "stat", "--json")
    found = json.loads(out)
    assert (status, found["segments"], found["events"], found["lost"]) == (0, 1, 1, 0)
    status, out, _ = journal(node, "dump")
    assert (status, [json.loads(line)["event"] for line in out.splitlines()]) == (0, ["attempt"])
    head = found["head"]
    assert journal(node, "verify", "--head", head)[0] == 0
    assert journal(node, "verify", "--head", "0" * 64)[0] == 1
    assert journal(node, "verify", "--head", "x")[0] == 2
    (path,) = sealed_segments(tmp_path / "journal")
    path.write_bytes(path.read_bytes().replace(b"AUTH_FAIL", b"AUTH_PASS"))
    status, out, _ = journal(node, "verify")
    assert status == 1
    assert out.startswith(f"first break: line 2, {path.name}: was changed: its SHA-256 is another\n")


def test_what_was_answered_outlives_the_death_of_all_processes(tmp_path: Path, peer: Peer) -> None:
    with node_with(tmp_path) as node:
        wait_until(lambda: keeper(node) > 0 and node.metric("sipwarden_journal_up") == 1)
        victims = [keeper(node), *node.workers()]
        os.kill(victims[0], signal.SIGSTOP)  # nothing reaches the disk from here on
        assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        for pid in (node.process.pid, *victims):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.process.wait(10)
        assert events(node) == []
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in victims))
        node.start()
        wait_until(lambda: len(events(node)) == 1)
        assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        wait_until(lambda: len(events(node)) == 2)
        assert journal(node, "verify")[0] == 0


def test_a_keeper_that_is_killed_is_started_again_and_calls_go_on(tmp_path: Path, peer: Peer) -> None:
    with node_with(tmp_path) as node:
        wait_until(lambda: keeper(node) > 0)
        os.kill(keeper(node), signal.SIGKILL)
        assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        wait_until(lambda: node.metric("sipwarden_journal_keeper_restarts_total") == 1 and len(events(node)) == 1)
        assert "keeper ended with status -9" in node.log
        node.config.write_text(node.config.read_text() + 'retention = "200d"\n')
        before = keeper(node)
        node.hang_up()
        wait_until(lambda: keeper(node) not in (0, before))
        assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        wait_until(lambda: len(events(node)) == 2)
        assert node.metric("sipwarden_journal_keeper_restarts_total") == 1
        node.config.write_text(node.config.read_text().replace('path = "journal"', 'path = "elsewhere"'))
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reload_failures_total") == 1)
        assert "journal: cannot change while running" in node.log


def test_a_node_that_must_record_refuses_calls_while_it_cannot(tmp_path: Path, peer: Peer) -> None:
    switch = Peer("127.0.0.5")
    with node_with(tmp_path, 'buffer = "1MiB"\non_full = "refuse"\n') as node:
        node.config.write_text(node.config.read_text().replace(f"127.0.0.5:{node.switch}", f"127.0.0.5:{switch.port}"))
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1 and keeper(node) > 0)
        os.kill(keeper(node), signal.SIGSTOP)
        for _ in range(4000):
            refused(peer, node)
            if "calls are refused" in node.log:
                break
        assert refused(peer, node, caller="075583123401") == b"SIP/2.0 503 Service Unavailable"
        peer.send(peer.request("INVITE", to="110", caller="075583123401"), node.port)
        assert switch.receive().startswith(b"INVITE sip:110@")
        assert node.metric("sipwarden_journal_refusing") == 1
        assert node.get("/readyz") == (503, "calls are refused: the journal's buffer is full\n")
        os.kill(keeper(node), signal.SIGCONT)
        wait_until(lambda: node.metric("sipwarden_journal_refusing") == 0)
        wait_until(lambda: "calls are taken again" in node.log)
        peer.send(peer.request("INVITE", to="13800138000", caller="075583123401"), node.port)
        while not (data := switch.receive()).startswith(b"INVITE sip:13800138000@"):
            assert data
        assert node.metric("sipwarden_journal_lost_total") == 0
        wait_until(lambda: len(events(node)) == node.metric("sipwarden_journal_events_total"))
    switch.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB where the journal will be."""
    place = tmp_path / "journal"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_full_disk_costs_no_call_and_no_record(tmp_path: Path, peer: Peer, small_disk: Path) -> None:
    with node_with(tmp_path) as node:
        assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        wait_until(lambda: len(events(node)) == 1)
        with suppress(OSError), open(small_disk / "ballast", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        for _ in range(300):
            assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        wait_until(lambda: node.metric("sipwarden_journal_up") == 0)
        status, text = node.get("/readyz")
        assert (status, text.partition(":")[0]) == (200, "ready\nthe journal is down")
        wait_until(lambda: node.log.count("events wait in memory: [Errno 28]") == 1)
        (small_disk / "ballast").unlink()
        wait_until(lambda: node.metric("sipwarden_journal_up") == 1)
        wait_until(lambda: len(events(node)) == 301)
        assert node.metric("sipwarden_journal_lost_total") == 0
        assert journal(node, "verify")[0] == 0


def test_events_of_the_end_are_told_of_calls_that_went_on(tmp_path: Path, peer: Peer) -> None:
    with node_with(tmp_path) as node:
        switch = Peer("127.0.0.5", node.switch)
        peer.send(peer.request("INVITE", caller="075583123401"), node.port)
        request = switch.receive()
        switch.send(switch.answer(request, "486 Busy Here"), node.port)
        assert peer.final().startswith(b"SIP/2.0 486")
        wait_until(lambda: len(events(node)) == 2)
        attempt, end = events(node)
        assert isinstance(attempt, Attempt) and isinstance(end, End)
        assert (attempt.status, attempt.egress, end.status, end.by) == (0, "switch", 486, "callee")
        assert (attempt.call_id, attempt.from_tag, attempt.trunk, attempt.cseq) == (end.call_id, end.from_tag, end.trunk, end.cseq)
        switch.close()
