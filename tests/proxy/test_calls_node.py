"""Limits of a whole node: two workers, killed in mid-call, and never one call too many."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.proxy.node import Node, Peer, wait_until

LIMIT = 5
GAUGE = 'sipwarden_calls{trunk="acme"}'


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path, workers=2)
    node.config.write_text(node.text.replace('id = "acme"\n', f'id = "acme"\nmax_calls = {LIMIT}\n'))
    node.start()
    yield node
    node.stop()


class Line:
    """Callers of one trunk, each at a port of its own, so that both workers get some; and the switch that they call."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.switch = Peer("127.0.0.5", node.switch)
        self.callers: list[Peer] = []
        self.up: list[tuple[Peer, bytes, bytes]] = []
        """Callers with the INVITE that they sent and the 200 that they got."""

    def invite(self, count: int) -> list[tuple[Peer, bytes]]:
        sent = []
        for _ in range(count):
            caller = Peer("127.0.0.2")
            self.callers.append(caller)
            invite = caller.request("INVITE")
            caller.send(invite, self.node.port)
            sent.append((caller, invite))
        return sent

    def answer(self) -> int:
        """Answer every INVITE that reached the switch; how many calls there were."""
        calls = set()
        while request := self.switch.receive(0.5):
            if request.startswith(b"INVITE"):
                calls.add(next(line for line in request.split(b"\r\n") if line.startswith(b"Call-ID")))
                self.switch.send(self.switch.answer(request), self.node.port)
        return len(calls)

    def finals(self, sent: list[tuple[Peer, bytes]]) -> list[bytes]:
        """The status of each call; those that were answered are up."""
        statuses = []
        for caller, invite in sent:
            final = caller.final()
            statuses.append(final[8:11])
            if final.startswith(b"SIP/2.0 200"):
                self.up.append((caller, invite, final))
        return statuses

    def hang_up(self, *, by_switch: bool = False) -> None:
        """One call that is up less, at whichever worker the BYE gets to."""
        caller, _, answer = self.up.pop()
        lines = answer.split(b"\r\n")
        route = next(line for line in lines if line.startswith(b"Record-Route:")).replace(b"Record-Route", b"Route")
        sender, to, call_id = (
            next(line for line in lines if line.startswith(name + b":")).partition(b": ")[2] for name in (b"From", b"To", b"Call-ID")
        )
        who = self.switch if by_switch else caller
        uri, left, right = (f"sip:127.0.0.2:{caller.port}", to, sender) if by_switch else (f"sip:127.0.0.5:{self.switch.port}", sender, to)
        head = f"BYE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {who.address}:{who.port};branch=z9hG4bKbye{os.urandom(6).hex()}\r\n"
        parts = (head.encode() + route, b"From: " + left, b"To: " + right, b"Call-ID: " + call_id, b"CSeq: 2 BYE", b"Max-Forwards: 70")
        who.send(b"\r\n".join((*parts, b"Content-Length: 0\r\n\r\n")), self.node.port)
        other = caller if by_switch else self.switch
        while not (bye := other.receive()).startswith(b"BYE"):
            assert bye, "no BYE"
        other.send(other.answer(bye).replace(b";tag=callee\r\nContact", b"\r\nContact"), self.node.port)  # whose To has a tag already

    def close(self) -> None:
        for peer in (self.switch, *self.callers):
            peer.close()


@pytest.fixture
def line(node: Node) -> Iterator[Line]:
    line = Line(node)
    yield line
    line.close()


def kill(node: Node, place: int) -> None:
    """Kill a worker, and wait until there is another one."""
    before = node.workers()
    os.kill(before[place], signal.SIGKILL)
    wait_until(lambda: len(node.workers()) == 2 and node.workers() != before and node.get("/readyz")[0] == 200, 30)


def test_never_one_call_too_many_on_two_workers_that_are_killed(node: Node, line: Line) -> None:
    sent = line.invite(24)  # all at once
    assert line.answer() == LIMIT
    line.finals(sent)
    sent = line.invite(8)
    assert line.answer() == 0
    assert set(line.finals(sent)) == {b"503"}
    assert node.metric(GAUGE) == LIMIT
    for turn in range(2):
        kill(node, turn)
        sent = line.invite(8)
        assert line.answer() == 0
        assert set(line.finals(sent)) == {b"503"}
        assert node.metric(GAUGE) == LIMIT
    line.hang_up()
    line.hang_up(by_switch=True)
    wait_until(lambda: node.metric(GAUGE) == LIMIT - 2)
    sent = line.invite(2)
    assert line.answer() == 2
    assert line.finals(sent) == [b"200", b"200"]
    while line.up:
        line.hang_up(by_switch=len(line.up) % 2 == 0)
    wait_until(lambda: node.metric(GAUGE) == 0)
    assert node.metric('sipwarden_limited_calls_total{code="TRK_CALLS",trunk="acme"}') > 0


def test_a_rate_is_of_the_whole_node(tmp_path: Path) -> None:
    """Calls at the rate that is allowed go on at whichever worker they arrive, its first one too; of a rush as many as there is room."""
    rate = 5
    node = Node(tmp_path, workers=3)
    node.config.write_text(node.text.replace('id = "acme"\n', f'id = "acme"\nmax_cps = {rate}\n'))
    node.start()
    try:
        with closing(Line(node)) as line:
            for _ in range(12):
                line.invite(1)
                time.sleep(1.05 / rate)
            assert line.answer() == 12
            time.sleep(1.0)
            began = time.monotonic()
            line.invite(30)
            took = time.monotonic() - began
            passed = line.answer()
            assert rate <= passed <= rate + took * rate + 1
            assert node.metric('sipwarden_limited_calls_total{code="TRK_CPS",trunk="acme"}') == 30 - passed
    finally:
        node.stop()
