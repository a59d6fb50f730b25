"""What deploy/FAILURES.md tells operators: what no other test shows of it, and that what it names is there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.counters import EVENTS
from proxy.transport.counters import TRANSPORT_EVENTS
from tests.proxy.node import ROOT, Peer, running, wait_until
from tests.proxy.test_recording import events, journal, keeper, node_with, refused

TOLD = (ROOT / "deploy/FAILURES.md").read_text("utf-8")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with closing(Peer("127.0.0.2")) as made:
        yield made


@pytest.mark.parametrize(("answer", "comes"), [("200 OK", True), ("486 Busy Here", False)])
def test_of_calls_that_a_killed_worker_was_setting_up_answers_go_on(tmp_path: Path, peer: Peer, answer: str, comes: bool) -> None:
    with running(tmp_path) as node, closing(Peer("127.0.0.5", node.switch)) as switch:
        peer.send(peer.request("INVITE"), node.port)
        while not (invite := switch.receive()).startswith(b"INVITE"):
            assert invite
        assert peer.receive().startswith(b"SIP/2.0 100 ")
        os.kill(node.workers()[0], signal.SIGKILL)
        wait_until(lambda: node.metric("sipwarden_worker_restarts_total") == 1 and node.get("/readyz")[0] == 200, 30)
        switch.send(switch.answer(invite, answer), node.port)
        wait_until(lambda: node.metric('sipwarden_events_total{event="stray_responses"}') == 1)
        assert (peer.receive(2.0 if comes else 0.2)[:11] == b"SIP/2.0 200") is comes
        peer.send(peer.request("INVITE"), node.port)  # and the next call
        while not (data := switch.receive()).startswith(b"INVITE") or b"-%d\r\n" % Peer.serial not in data:
            assert data
        switch.send(switch.answer(data, "486 Busy Here"), node.port)
        assert peer.final().startswith(b"SIP/2.0 486 ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_read_only_disk_costs_no_call_and_no_record(tmp_path: Path, peer: Peer) -> None:
    place = tmp_path / "journal"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a file system")
    try:
        with node_with(tmp_path) as node:
            for _ in range(50):
                assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
            assert node.metric("sipwarden_journal_up") == 0
            wait_until(lambda: node.metric("sipwarden_journal_failures_total") > 0)
            assert node.metric("sipwarden_journal_waiting_bytes") > 0
            wait_until(lambda: node.log.count("events wait in memory: [Errno 30] Read-only file system") == 1)
            subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
            wait_until(lambda: node.metric("sipwarden_journal_up") == 1, 30)
            wait_until(lambda: len(events(node)) == 50)
            assert node.metric("sipwarden_journal_lost_total") == 0
            assert journal(node, "verify")[0] == 0
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_does_not_answer_costs_no_call_and_no_record(tmp_path: Path, peer: Peer) -> None:
    """Only the keeper waits for it: here it stands still, as one does that a disk has."""
    with node_with(tmp_path, 'flush = "100ms"\n') as node:
        wait_until(lambda: node.metric("sipwarden_journal_up") == 1, 30)
        os.kill(keeper(node), signal.SIGSTOP)
        for _ in range(50):
            assert refused(peer, node) == b"SIP/2.0 403 Forbidden"
        wait_until(lambda: node.metric("sipwarden_journal_up") == 0, 30)
        assert node.metric("sipwarden_journal_flush_age_seconds") > 5
        assert node.metric("sipwarden_journal_waiting_bytes") > 0
        assert node.get("/readyz")[0] == 200
        assert "the journal is down" in node.get("/readyz")[1]
        os.kill(keeper(node), signal.SIGCONT)
        wait_until(lambda: node.metric("sipwarden_journal_up") == 1, 30)
        wait_until(lambda: len(events(node)) == 50)
        assert node.metric("sipwarden_journal_lost_total") == 0


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(\w+)`", TOLD)
    assert len(named) > 15
    absent = [
        (path, name)
        for path, name in named
        if re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE) is None
    ]
    assert not absent


def test_every_metric_that_is_named_is_there(tmp_path: Path) -> None:
    named = set(re.findall(r"`(sipwarden_[a-z_]+)", TOLD))
    with node_with(tmp_path) as node:
        text = node.get("/metrics")[1]
    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    assert len(named) > 10 and named <= families
    assert set(re.findall(r'event="(\w+)"', TOLD)) <= {*EVENTS, *TRANSPORT_EVENTS}


def test_every_line_of_the_log_that_is_named_is_there() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "proxy").rglob("*.py"))
    named = re.findall(r"“([^”]+)”", TOLD)
    assert len(named) > 8
    absent = [(line, part) for line in named for part in line.split("…") if part.strip() and part.strip() not in code]
    assert not absent
