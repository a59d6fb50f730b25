"""When a worker sleeps for a moment: batches and times in, seconds out."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.flow import Listener
from proxy.transport import udp
from proxy.transport.counters import TransportCounters
from proxy.transport.gathering import BUSY, REST, Gathering
from proxy.transport.udp import UdpTransport


def rests(gathering: Gathering, every: float, messages: int, took: float, seconds: float = 0.2, begin: float = 100.0) -> list[float]:
    """A batch of so many messages every so often, each taken in within `took`: what was said after each."""
    count = int(seconds / every)
    return [gathering.rest(3, messages, begin + number * every, begin + number * every + took) for number in range(count)]


@pytest.mark.parametrize(
    ("every", "messages", "took", "sleeps"),
    [
        pytest.param(0.01, 1, 0.00005, False, id="100 messages a second: a sleep would find nothing"),
        pytest.param(0.0005, 1, 0.00005, False, id="2,000, nearly one in the time that it sleeps"),
        pytest.param(0.00025, 1, 0.00005, True, id="4,000"),
        pytest.param(0.0005, 4, 0.00015, True, id="8,000 in batches, it sleeps already"),
        pytest.param(0.0005, 4, 0.00025, False, id="the same, each four times as dear: messages come while it works"),
        pytest.param(0.00005, 1, 0.00004, False, id="20,000, busy for four fifths of the time"),
        pytest.param(0.001, 64, 0.00095, False, id="all that it can take"),
    ],
)
def test_sleeps_only_where_it_pays(every: float, messages: int, took: float, sleeps: bool) -> None:
    said = rests(Gathering(), every, messages, took)
    assert set(said[len(said) // 2 :]) == {REST if sleeps else 0.0}


def test_a_message_after_a_long_time_is_answered_and_the_next_one_waited_for_as_ever() -> None:
    gathering = Gathering()
    assert rests(gathering, 0.00025, 1, 0.00005)[-1] == REST
    assert gathering.rest(3, 1, 900.0, 900.00005) == 0.0
    assert gathering.rest(3, 1, 901.0, 901.00005) == 0.0


def test_a_burst_does_not_begin_it() -> None:
    """Ten messages at once, once in a second."""
    gathering = Gathering()
    assert gathering.rest(3, 10, 1.0, 1.0001) == 0.0
    assert gathering.rest(3, 10, 2.0, 2.0001) == 0.0


@pytest.mark.parametrize("back", [0.0, 5.0])
def test_a_clock_that_stands_or_goes_back(back: float) -> None:
    gathering = Gathering()
    rests(gathering, 0.00025, 1, 0.00005)
    assert gathering.rest(3, 1, 100.0 - back, 100.0) == 0.0


def test_of_two_sockets_one_is_slept_after() -> None:
    """Both have messages at each turn; the other one is, once the first has none for long."""
    gathering = Gathering()
    rests(gathering, 0.0005, 2, 0.00005)
    said = [
        (gathering.rest(3, 2, at, at + 0.00005), gathering.rest(4, 2, at + 0.0005, at + 0.00055))
        for at in (200.0 + turn * 0.001 for turn in range(200))
    ]
    assert set(said[-50:]) in ({(REST, 0.0)}, {(0.0, REST)})
    assert [gathering.rest(4, 2, 200.2 + turn * 0.0005, 200.20005 + turn * 0.0005) for turn in range(100)][-50:] == [REST] * 50


def test_what_it_takes_to_be_busy_is_a_share() -> None:
    assert 0.0 < BUSY < 1.0


async def test_the_worker_sleeps_after_what_was_caused_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(udp, "sleep", lambda seconds: done.append(f"slept {seconds}"))
    monkeypatch.setattr(Gathering, "rest", lambda _self, socket, count, began, ended: REST if count and ended >= began else 0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        transport = udp_transport(sock, done)
        transport.start()
        peer.sendto(b"message", sock.getsockname())
        await asyncio.sleep(0.05)
        transport.close()
    assert done == ["received", "sent", f"slept {REST}"]


def udp_transport(sock: socket.socket, done: list[str]) -> UdpTransport:
    """One that says what it does."""
    listener = Listener(0, "udp", *sock.getsockname())
    return UdpTransport(
        asyncio.get_running_loop(),
        [listener],
        {0: sock},
        lambda *_: done.append("received"),
        lambda: done.append("sent"),
        TransportCounters(),
    )
