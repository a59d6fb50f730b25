from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from proxy.flow import Flow, Listener
from proxy.transport import udp
from proxy.transport.counters import TransportCounters
from proxy.transport.udp import UdpTransport


class Bench:
    """A UdpTransport over one socket, and a peer."""

    def __init__(self, family: socket.AddressFamily, host: str) -> None:
        self.host = host
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        self.peer = socket.socket(family, socket.SOCK_DGRAM)
        self.peer.bind((host, 0))
        self.peer.settimeout(2)
        self.listener = Listener(0, "udp", host, self.address[1])
        self.stream_listener = Listener(1, "tcp", host, self.address[1])
        self.counters = TransportCounters()
        self.received: list[tuple[bytes, Flow, float]] = []
        self.flushes = 0
        self.transport = UdpTransport(
            asyncio.get_running_loop(),
            [self.listener, self.stream_listener],
            {0: self.socket},
            lambda data, flow, now: self.received.append((data, flow, now)),
            self.flush,
            self.counters,
        )

    def flush(self) -> None:
        self.flushes += 1

    def close(self) -> None:
        self.transport.close()
        self.socket.close()
        self.peer.close()


async def settled() -> None:
    await asyncio.sleep(0.05)


@pytest_asyncio.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["ipv4", "ipv6"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made = Bench(*request.param)
    made.transport.start()
    yield made
    made.close()


async def test_receives_in_batches_and_knows_the_sender(bench: Bench) -> None:
    for number in range(udp.BATCH + 5):
        bench.peer.sendto(b"message %d" % number, bench.address)
    await settled()
    assert [data for data, _, _ in bench.received] == [b"message %d" % number for number in range(udp.BATCH + 5)]
    assert bench.flushes == 2
    assert len({now for _, _, now in bench.received}) == 2  # one look at the clock for each batch
    flow = bench.received[0][1]
    assert all(other is flow for _, other, _ in bench.received)
    assert (flow.address, flow.port) == bench.peer.getsockname()[:2]
    assert flow.listener is bench.listener
    assert flow.connection == 0


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n", b"\0\0\0\0"])
async def test_keepalives_are_no_messages(bench: Bench, data: bytes) -> None:
    bench.peer.sendto(data, bench.address)
    bench.peer.sendto(b"SIP", bench.address)
    await settled()
    assert [data for data, _, _ in bench.received] == [b"SIP"]
    assert bench.counters.keepalives == 1


async def test_sends_in_order_and_gives_back_what_is_not_udp(bench: Bench) -> None:
    flow = bench.transport.flow(0, bench.peer.getsockname())
    other = Flow(bench.stream_listener, bench.host, 5060)
    assert bench.transport.send([(flow, b"one"), (other, b"stream"), (flow, b"two")]) == [(other, b"stream")]
    assert bench.peer.recv(100) == b"one"
    assert bench.peer.recv(100) == b"two"
    assert bench.transport.send([]) == ()


async def test_what_the_kernel_refuses_is_counted_and_nothing_else(bench: Bench) -> None:
    flow = bench.transport.flow(0, bench.peer.getsockname())
    nowhere = Flow(bench.listener, bench.host, 0)
    impossible = Flow(bench.listener, bench.host, 99999)
    bench.transport.send([(flow, b"x" * 70000), (nowhere, b"x"), (impossible, b"x"), (flow, b"after")])
    assert bench.counters.udp_send_failed == 3
    assert bench.peer.recv(100) == b"after"


class Busy:
    """A socket that is full for as long as told."""

    def __init__(self, sock: socket.socket) -> None:
        self.full = True
        self.sent: list[bytes] = []
        self._socket = sock

    def sendto(self, data: bytes, _address: tuple[Any, ...]) -> None:
        if self.full:
            raise BlockingIOError
        self.sent.append(data)

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        return self._socket.recvfrom(size)

    def fileno(self) -> int:
        return self._socket.fileno()


async def test_a_full_socket_queues_in_order_up_to_a_bound() -> None:
    bench = Bench(socket.AF_INET, "127.0.0.1")
    busy = Busy(bench.socket)
    counters = TransportCounters()
    transport = UdpTransport(
        asyncio.get_running_loop(),
        [bench.listener],
        {0: busy},  # type: ignore[dict-item]
        lambda *_: None,
        lambda: None,
        counters,
    )
    flow = transport.flow(0, bench.peer.getsockname())
    transport.send([(flow, b"%d" % number) for number in range(udp.QUEUE + 10)])
    assert counters.udp_send_dropped == 10
    busy.full = False
    transport.send([(flow, b"late")])  # waits its turn, and there is no room yet
    assert counters.udp_send_dropped == 11
    await settled()
    transport.send([(flow, b"last")])
    assert busy.sent == [b"%d" % number for number in range(udp.QUEUE)] + [b"last"]
    transport.close()
    bench.close()


async def test_remembered_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "FLOWS", 3)
    bench = Bench(socket.AF_INET, "127.0.0.1")
    flows = [bench.transport.flow(0, ("192.0.2.1", port)) for port in range(1, 9)]
    assert [flow.port for flow in flows] == list(range(1, 9))
    assert bench.transport.flow(0, ("192.0.2.1", 8)) is flows[7]
    assert bench.transport.flow(0, ("192.0.2.1", 1)) is not flows[0]
    bench.close()
