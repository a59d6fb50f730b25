"""The live trace: what a capture server hears, and that signalling never waits for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config import TraceConfig
from proxy.flow import Flow, Listener
from proxy.hep import Hep, decode
from proxy.livetrace import AT_ONCE, LiveTrace, call_id
from proxy.transport.counters import TransportCounters

UDP = Listener(0, "udp", "192.0.2.1", 5060)
UDP6 = Listener(1, "udp", "2001:db8::1", 5060)
TCP = Listener(2, "tcp", "192.0.2.1", 5060)


def message(name: str, start: str = "INVITE sip:110@192.0.2.1 SIP/2.0") -> bytes:
    return f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nCall-ID: {name}\r\n\r\n".encode()


def flow(trunk: str | None = None, listener: Listener = UDP, address: str = "192.0.2.9") -> Flow:
    made = Flow(listener, address, 5070)
    made.peer = SimpleNamespace(trunk=None if trunk is None else SimpleNamespace(id=trunk))
    return made


class Collector:
    """A capture server and a trace that tells it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **settings: Any) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.counters = TransportCounters()
        self.taken: list[bytes] = []
        config = TraceConfig(collector=f"127.0.0.1:{self.socket.getsockname()[1]}", **settings)
        self.trace = LiveTrace(loop, config, "gw1", lambda data, _flow, _now: self.taken.append(data), self.counters)

    def heard(self) -> list[Hep]:
        found = []
        while True:
            try:
                found.append(decode(self.socket.recv(65536)))
            except BlockingIOError:
                return found

    async def settle(self) -> list[Hep]:
        for _ in range(200):
            await asyncio.sleep(0)
        return self.heard()


Collect = Callable[..., Collector]


@pytest.fixture
async def collect() -> AsyncIterator[Collect]:
    made: list[Collector] = []

    def new(**settings: Any) -> Collector:
        made.append(Collector(asyncio.get_running_loop(), **settings))
        return made[-1]

    yield new
    for one in made:
        one.trace.close()
        one.socket.close()


@pytest.fixture
async def collector(collect: Collect) -> Collector:
    return collect(capture_id=2001, password="secret")


async def test_what_comes_and_what_goes_is_told(collector: Collector) -> None:
    came, went = message("a@x"), message("a@x", "SIP/2.0 403 Forbidden")
    collector.trace.receive(came, flow(), 5.0)
    collector.trace.sent([(flow(), went)])
    assert collector.taken == [came]
    first, second = await collector.settle()
    ours, theirs = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.9")
    assert (first.source, first.source_port, first.destination, first.destination_port) == (theirs, 5070, ours, 5060)
    assert (second.source, second.source_port, second.destination, second.destination_port) == (ours, 5060, theirs, 5070)
    assert (first.payload, second.payload) == (came, went)
    for one in (first, second):
        assert (one.agent, one.key, one.correlation, one.node, one.protocol, one.kind) == (2001, b"secret", b"a@x", b"gw1", 17, 1)
        assert 0 <= one.microseconds < 1_000_000
    assert collector.counters.trace_sent == 2


@pytest.mark.parametrize(("listener", "address", "protocol"), [(UDP6, "2001:db8::9", 17), (TCP, "192.0.2.9", 6)])
async def test_other_families_and_transports(collector: Collector, listener: Listener, address: str, protocol: int) -> None:
    collector.trace.receive(message("a"), flow(None, listener, address), 5.0)
    (told,) = await collector.settle()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert (told.source, told.protocol) == (socket.inet_pton(family, address), protocol)


async def test_a_message_that_cannot_be_read_is_told_all_the_same(collector: Collector) -> None:
    for junk in (b"\xff\xfe", b"INVITE", b"", b"OPTIONS sip:x SIP/2.0\r\n\r\n"):
        collector.trace.receive(junk, flow(), 5.0)
    assert [one.payload for one in await collector.settle()] == [b"\xff\xfe", b"INVITE", b"", b"OPTIONS sip:x SIP/2.0\r\n\r\n"]


async def test_a_sample_has_whole_calls(collect: Collect) -> None:
    collector = collect(sample=0.25)
    names = [f"call-{at}" for at in range(400)]
    for name in names:
        collector.trace.receive(message(name), flow(), 5.0)
        collector.trace.sent([(flow(), message(name, "SIP/2.0 403 Forbidden"))])
        await asyncio.sleep(0)
    told = [one.correlation for one in await collector.settle()]
    assert 50 < len(set(told)) < 150
    assert sorted(told) == sorted([*set(told), *set(told)])


async def test_only_calls_of_the_trunks_that_were_named(collect: Collect) -> None:
    collector = collect(trunks=("acme",))
    collector.trace.receive(message("theirs"), flow("acme"), 5.0)
    collector.trace.sent([(flow("core"), message("theirs")), (flow("core"), message("another"))])
    collector.trace.receive(message("another"), flow("peer"), 5.0)
    collector.trace.receive(message("nobody's"), flow(None), 5.0)
    assert [one.correlation for one in await collector.settle()] == [b"theirs", b"theirs"]


async def test_a_full_queue_drops_the_oldest_and_counts(collect: Collect) -> None:
    collector = collect(queue=10)
    for at in range(25):
        collector.trace.receive(message(str(at)), flow(), 5.0)
    told = [one.correlation for one in await collector.settle()]
    assert told == [str(at).encode() for at in range(15, 25)]
    assert (collector.counters.trace_dropped, collector.counters.trace_sent) == (15, 10)


async def test_signalling_comes_between(collect: Collect) -> None:
    collector = collect(queue=10_000)
    for at in range(AT_ONCE * 3):
        collector.trace.receive(message(str(at)), flow(), 5.0)
    assert collector.heard() == []
    turns = []
    for _ in range(3):
        await asyncio.sleep(0)
        turns.append(len(collector.heard()))
    assert turns == [AT_ONCE] * 3


async def test_a_capture_server_that_is_gone_or_slow_stops_nothing(collect: Collect) -> None:
    collector = collect()
    collector.socket.close()
    for at in range(100):
        collector.trace.receive(message(str(at)), flow(), 5.0)
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(collector.taken) == 100
    assert collector.counters.trace_failed > 0
    assert collector.counters.trace_failed + collector.counters.trace_sent == 100
    collector.trace.close()
    await asyncio.sleep(0)
    collector.trace.receive(message("after the end"), flow(), 5.0)
    assert len(collector.taken) == 101


async def test_what_is_too_long_for_a_datagram_is_counted(collector: Collector) -> None:
    collector.trace.receive(message("a") + b"x" * 65_500, flow(), 5.0)
    collector.trace.receive(message("b"), flow(), 5.0)
    assert [one.correlation for one in await collector.settle()] == [b"b"]
    assert (collector.counters.trace_failed, collector.counters.trace_sent) == (1, 1)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"INVITE a SIP/2.0\r\nCall-ID: x\r\n\r\n", b"x"),
        (b"INVITE a SIP/2.0\r\nCall-ID:x\r\nCall-ID: y\r\n\r\n", b"x"),
        (b"INVITE a SIP/2.0\r\ncall-id : x@y \r\n\r\n", b"x@y"),
        (b"INVITE a SIP/2.0\r\nI: x\r\n\r\n", b"x"),
        (b"INVITE a SIP/2.0\r\ni : x", b"x"),
        (b"INVITE a SIP/2.0\r\nIdentity: x\r\nSubject: i: y\r\n\r\ni: body", b""),
        (b"INVITE a SIP/2.0\r\nCall-ID: " + b"x" * 1000, b"x" * 256),
        (b"", b""),
        (b"\n:\n\n:::", b""),
    ],
)
def test_calls_are_told_apart_by_call_id(data: bytes, name: bytes) -> None:
    assert call_id(data) == name


async def test_a_clock_that_is_set_is_followed(collector: Collector) -> None:
    for offset in (1_700_000_000.25, 1_800_000_000.0, 1_600_000_000.0):
        collector.trace.set_clock(offset)
        collector.trace.receive(message("a@x"), flow(), 5.5)
        (one,) = await collector.settle()
        assert one.seconds + one.microseconds / 1e6 == offset + 5.5


@pytest.mark.parametrize("offset", [-100.0, 5e9])
async def test_a_clock_without_a_date_holds_up_nothing_behind_it(collector: Collector, offset: float) -> None:
    collector.trace.set_clock(offset)
    collector.trace.receive(message("a@x"), flow(), 5.0)
    collector.trace.set_clock(1_700_000_000.0)
    collector.trace.receive(message("b@x"), flow(), 5.0)
    assert [one.correlation for one in await collector.settle()] == [b"b@x"]
    assert collector.counters.trace_failed == 1
