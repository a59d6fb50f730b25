"""The transaction layer by itself: what is sent when, over datagrams and over streams (times of RFC 3261 §17 and RFC 6026)."""

from __future__ import annotations

import pytest

from proxy.counters import Counters
from proxy.flow import Flow, Listener
from proxy.sip.message import SipMessage
from proxy.sip.timers import T4, TRANSACTION
from proxy.sip.transaction import Event, State
from proxy.transactions import ClientTransaction, ServerTransaction, Timer, TransactionLayer
from proxy.validate import Request

FLOWS = {
    "udp": Flow(Listener(0, "udp", "127.0.0.1", 5060), "127.0.0.2", 5060),
    "tcp": Flow(Listener(1, "tcp", "127.0.0.1", 5060), "127.0.0.2", 5060, connection=1),
}
A = [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
E = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


class Clocked:
    """A layer whose timers run; `sent` are the times at which something was sent."""

    def __init__(self) -> None:
        self.layer = TransactionLayer(Counters())
        self.now = 0.0
        self.sent: list[float] = []
        self.timed_out: list[float] = []

    def take(self) -> None:
        self.sent += [self.now] * len(self.layer.sends)
        self.layer.sends.clear()

    def run(self, until: float) -> None:
        self.take()
        while (due := self.layer.timers.next_due()) is not None and due <= until:
            self.now = due
            while (queue := self.layer.timers.due(due)) is not None:
                if self.layer.timer(queue.kind, queue.take(), due):
                    self.timed_out.append(due)
            self.take()
        self.now = until


def client(method: bytes, transport: str) -> ClientTransaction:
    return ClientTransaction(b"branch", method, b"request", FLOWS[transport], None, 0.0)


def server(method: str, transport: str) -> ServerTransaction:
    lines = [f"{method} sip:a@b SIP/2.0", "Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From: <sip:a@b>;tag=1", "To: <sip:b@b>"]
    data = "\r\n".join([*lines, "Call-ID: c", f"CSeq: 1 {method}", "Content-Length: 0", "", ""]).encode()
    flow = FLOWS[transport]
    return ServerTransaction(b"key", Request(SipMessage.parse(data), flow, b"127.0.0.2"), flow)


@pytest.mark.parametrize(
    ("method", "transport", "times"),
    [(b"INVITE", "udp", A), (b"BYE", "udp", E), (b"INVITE", "tcp", []), (b"BYE", "tcp", [])],
)
def test_client_that_hears_nothing(method: bytes, transport: str, times: list[float]) -> None:
    clocked = Clocked()
    clocked.layer.send_request(client(method, transport), 0.0)
    clocked.run(100.0)
    assert clocked.sent == [0.0, *times]
    assert clocked.timed_out == [32.0]


@pytest.mark.parametrize(("method", "later"), [(b"INVITE", []), (b"BYE", [0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5])])
def test_client_that_heard_a_provisional_response(method: bytes, later: list[float]) -> None:
    clocked = Clocked()
    one = client(method, "udp")
    clocked.layer.send_request(one, 0.0)
    clocked.run(0.2)
    clocked.layer.response(one, Event.PROVISIONAL, 0.2)
    clocked.run(100.0)
    assert clocked.sent == [0.0, *later]
    assert clocked.timed_out == ([] if method == b"INVITE" else [32.0])  # a ringing INVITE is Timer C's, which is the proxy's


@pytest.mark.parametrize(
    ("method", "transport", "event", "life"),
    [
        (b"INVITE", "udp", Event.SUCCESS, TRANSACTION),  # M
        (b"INVITE", "tcp", Event.SUCCESS, TRANSACTION),
        (b"INVITE", "udp", Event.FAILURE, TRANSACTION),  # D
        (b"INVITE", "tcp", Event.FAILURE, 0.0),
        (b"BYE", "udp", Event.SUCCESS, T4),  # K
        (b"BYE", "udp", Event.FAILURE, T4),
        (b"BYE", "tcp", Event.SUCCESS, 0.0),
    ],
)
def test_client_lingers(method: bytes, transport: str, event: int, life: float) -> None:
    clocked = Clocked()
    one = client(method, transport)
    clocked.layer.send_request(one, 0.0)
    clocked.run(1.0)
    clocked.layer.response(one, event, 1.0)
    assert (b"branch" in clocked.layer.clients) is bool(life)
    clocked.run(1.0 + life - 0.01)
    assert (b"branch" in clocked.layer.clients) is bool(life)
    clocked.run(1.0 + life)
    assert not clocked.layer.clients and one.state is State.TERMINATED
    clocked.run(100.0)
    assert not clocked.timed_out


@pytest.mark.parametrize(("transport", "times"), [("udp", [1.0, 1.5, 2.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5, 32.5]), ("tcp", [1.0])])
def test_failure_that_nobody_acknowledges(transport: str, times: list[float]) -> None:
    clocked = Clocked()
    one = server("INVITE", transport)
    clocked.layer.open(one)
    clocked.layer.respond(one, Event.FAILURE, b"486", 1.0)
    clocked.now = 1.0
    clocked.run(32.9)
    assert clocked.sent == times
    assert clocked.layer.servers
    clocked.run(33.1)  # timer H
    assert not clocked.layer.servers
    assert clocked.sent == times


@pytest.mark.parametrize(("transport", "life"), [("udp", T4), ("tcp", 0.0)])
def test_failure_that_is_acknowledged(transport: str, life: float) -> None:
    clocked = Clocked()
    one = server("INVITE", transport)
    clocked.layer.open(one)
    clocked.layer.respond(one, Event.FAILURE, b"486", 0.0)
    clocked.layer.acknowledged(one, 0.1)
    clocked.layer.acknowledged(one, 0.2)
    clocked.run(0.1 + life - 0.01 if life else 0.2)
    assert bool(clocked.layer.servers) is bool(life)
    clocked.layer.again(one)
    clocked.run(0.1 + life)
    assert not clocked.layer.servers
    clocked.run(100.0)
    assert clocked.sent == [0.0]


@pytest.mark.parametrize(
    ("method", "transport", "life"),
    [("INVITE", "udp", TRANSACTION), ("INVITE", "tcp", TRANSACTION), ("BYE", "udp", TRANSACTION), ("BYE", "tcp", 0)],
)
def test_answered_server_lingers(method: str, transport: str, life: float) -> None:
    """Timers L and J."""
    clocked = Clocked()
    one = server(method, transport)
    clocked.layer.open(one)
    assert clocked.layer.respond(one, Event.SUCCESS, b"200", 0.0)
    clocked.run(max(life - 0.1, 0.0))
    assert bool(clocked.layer.servers) is bool(life)
    clocked.layer.again(one)
    clocked.run(life)
    assert not clocked.layer.servers
    assert len(clocked.sent) == (2 if method == "BYE" and transport == "udp" else 1)  # a 2xx to INVITE is the callee's to repeat
    assert not clocked.layer.respond(one, Event.FAILURE, b"500", 40.0)


def test_late_timers_mean_nothing() -> None:
    clocked = Clocked()
    one = client(b"INVITE", "udp")
    clocked.layer.send_request(one, 0.0)
    clocked.layer.end_client(one)
    for kind in (Timer.RETRANSMIT, Timer.TIMEOUT, Timer.LINGER):
        assert clocked.layer.timer(kind, one, 1.0) is False
    clocked.run(100.0)
    assert clocked.sent == [0.0]
