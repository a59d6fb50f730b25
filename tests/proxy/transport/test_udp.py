from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.flow import Flow, Listener
from proxy.transport import batched, udp
from proxy.transport.batched import BatchedUdpTransport, pack, unpack
from proxy.transport.counters import TransportCounters
from proxy.transport.udp import UdpTransport

compiled = pytest.mark.skipif(batched.compiled is None, reason=f"no compiled kernel: {batched.without}")
TRANSPORTS = [pytest.param(UdpTransport, id="pure"), pytest.param(BatchedUdpTransport, id="compiled", marks=compiled)]


class Bench:
    """A UdpTransport over one socket, and a peer. `mixed` is a socket for IPv6 and IPv4, and an IPv4 peer."""

    def __init__(self, transport: type[UdpTransport], family: socket.AddressFamily, host: str, mixed: bool = False) -> None:
        self.host = host
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if mixed else 1)
        self.socket.bind(("::" if mixed else host, 0))
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        self.peer = socket.socket(socket.AF_INET if mixed else family, socket.SOCK_DGRAM)
        self.peer.bind((host.removeprefix("::ffff:"), 0))
        if mixed:
            self.address = (host.removeprefix("::ffff:"), self.address[1])
        self.peer.settimeout(2)
        self.listener = Listener(0, "udp", host, self.address[1])
        self.stream_listener = Listener(1, "tcp", host, self.address[1])
        self.counters = TransportCounters()
        self.received: list[tuple[bytes, Flow, float]] = []
        self.flushes = 0
        self.transport = transport(
            asyncio.get_running_loop(),
            [self.listener, self.stream_listener],
            {0: self.socket},
            lambda data, flow, now: self.received.append((data, flow, now)),
            self.flush,
            self.counters,
        )

    def flush(self) -> None:
        self.flushes += 1

    @property
    def peer_address(self) -> tuple[Any, ...]:
        """The peer, as this socket names it."""
        port = self.peer.getsockname()[1]
        return (self.host, port, 0, 0) if self.socket.family == socket.AF_INET6 else (self.host, port)

    def close(self) -> None:
        self.transport.close()
        self.socket.close()
        self.peer.close()


def drained(sock: socket.socket) -> list[bytes]:
    """What waits at a socket."""
    found: list[bytes] = []
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(70000))
    return found


async def settled() -> None:
    await asyncio.sleep(0.05)


PLACES = [
    pytest.param((socket.AF_INET, "127.0.0.1"), id="ipv4"),
    pytest.param((socket.AF_INET6, "::1"), id="ipv6"),
    pytest.param((socket.AF_INET6, "::ffff:127.0.0.1", True), id="mixed"),
]


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> type[UdpTransport]:
    made: type[UdpTransport] = request.param
    return made


@pytest_asyncio.fixture(params=PLACES)
async def bench(request: pytest.FixtureRequest, transport: type[UdpTransport]) -> AsyncIterator[Bench]:
    made = Bench(transport, *request.param)
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
    assert (flow.address, flow.port) == bench.peer_address[:2]
    assert flow.sockaddr == bench.peer_address
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
    flow = bench.transport.flow(0, bench.peer_address)
    other = Flow(bench.stream_listener, bench.host, 5060)
    assert bench.transport.send([(flow, b"one"), (other, b"stream"), (flow, b"two")]) == [(other, b"stream")]
    assert bench.peer.recv(100) == b"one"
    assert bench.peer.recv(100) == b"two"
    assert bench.transport.send([]) == ()


async def test_what_the_kernel_refuses_is_counted_and_nothing_else(bench: Bench) -> None:
    flow = bench.transport.flow(0, bench.peer_address)
    nowhere = Flow(bench.listener, bench.host, 0)
    impossible = Flow(bench.listener, bench.host, 99999)
    bench.transport.send([(flow, b"x" * 70000), (nowhere, b"x"), (impossible, b"x"), (flow, b"after")])
    assert bench.counters.udp_send_failed == 3
    assert bench.peer.recv(100) == b"after"


async def test_an_answer_goes_back_on_the_flow(bench: Bench) -> None:
    bench.peer.sendto(b"ask me", bench.address)
    await settled()
    (_, flow, _) = bench.received[0]
    assert bench.transport.flow(0, bench.peer_address) is flow
    bench.transport.send([(flow, b"%d" % number) for number in range(200)])
    assert [bench.peer.recv(100) for _ in range(200)] == [b"%d" % number for number in range(200)]


async def test_the_longest_datagram_arrives_whole(bench: Bench) -> None:
    longest = bytes(range(256)) * 255 + b"x" * (65507 - 255 * 256)
    bench.peer.sendto(longest, bench.address)
    bench.peer.sendto(b"short", bench.address)
    await settled()
    assert [data for data, _, _ in bench.received] == [longest, b"short"]
    bench.transport.send([(bench.received[0][1], longest)])
    assert bench.peer.recv(70000) == longest


async def test_addresses_of_the_other_family_are_lost(bench: Bench) -> None:
    other = Flow(bench.listener, "127.0.0.1" if bench.listener.ipv6 else "::1", 5060)
    own = bench.transport.flow(0, bench.peer_address)
    bench.transport.send([(own, b"before"), (other, b"lost"), (own, b"after")])
    assert bench.counters.udp_send_failed == 1
    assert drained(bench.peer) == [b"before", b"after"]


async def test_icmp_errors_stop_nothing(bench: Bench) -> None:
    """IP_RECVERR has the kernel tell of ports that nobody listens at, in the place of a datagram."""
    for level, option in ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)):
        if level == socket.IPPROTO_IP or bench.socket.family == socket.AF_INET6:
            bench.socket.setsockopt(level, option, 1)
    with socket.socket(bench.peer.family, socket.SOCK_DGRAM) as gone:
        gone.bind((bench.peer.getsockname()[0], 0))
        port = gone.getsockname()[1]
    nobody = Flow(bench.listener, bench.host, port)
    flow = bench.transport.flow(0, bench.peer_address)
    for number in range(5):
        bench.transport.send([(nobody, b"x"), (flow, b"first %d" % number), (nobody, b"x"), (flow, b"second %d" % number)])
        bench.peer.sendto(b"in %d" % number, bench.address)
        await settled()
    assert [data for data, _, _ in bench.received] == [b"in %d" % number for number in range(5)]
    assert len(drained(bench.peer)) + bench.counters.udp_send_failed >= 10  # a send may hear of the error of the one before it


async def test_a_sender_at_port_0_is_only_a_number(transport: type[UdpTransport]) -> None:
    """Such a datagram can be forged; what is sent back is refused by the kernel."""
    bench = Bench(transport, socket.AF_INET, "127.0.0.1")
    flow = bench.transport.flow(0, ("127.0.0.1", 0))
    assert (flow.address, flow.port) == ("127.0.0.1", 0)
    bench.transport.send([(flow, b"x")])
    assert bench.counters.udp_send_failed == 1
    bench.close()


class Busy:
    """A socket that is full for as long as told."""

    family = socket.AF_INET

    def __init__(self, sock: socket.socket) -> None:
        self.full = True
        self.sent: list[bytes] = []
        self._socket = sock

    def sendto(self, data: bytes, _address: tuple[Any, ...]) -> None:
        if self.full:
            raise BlockingIOError
        self.sent.append(data)

    def send_batch(self, _descriptor: int, sends: list[tuple[Flow, bytes]], begin: int, _listener: Listener) -> int:
        """sendmmsg, which takes less than it is given."""
        if self.full:
            raise BlockingIOError
        taken = [data for _, data in sends[begin : begin + 7]]
        self.sent += taken
        return len(taken)

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        return self._socket.recvfrom(size)

    def fileno(self) -> int:
        return self._socket.fileno()


async def test_a_full_socket_queues_in_order_up_to_a_bound(transport: type[UdpTransport]) -> None:
    bench = Bench(transport, socket.AF_INET, "127.0.0.1")
    busy = Busy(bench.socket)
    counters = TransportCounters()
    made = transport(
        asyncio.get_running_loop(),
        [bench.listener],
        {0: busy},  # type: ignore[dict-item]
        lambda *_: None,
        lambda: None,
        counters,
    )
    if isinstance(made, BatchedUdpTransport):
        made._send = busy.send_batch
    flow = made.flow(0, bench.peer_address)
    made.send([(flow, b"%d" % number) for number in range(udp.QUEUE + 10)])
    assert counters.udp_send_dropped == 10
    busy.full = False
    made.send([(flow, b"late")])  # waits its turn, and there is no room yet
    assert counters.udp_send_dropped == 11
    await settled()
    made.send([(flow, b"last")])
    assert busy.sent == [b"%d" % number for number in range(udp.QUEUE)] + [b"last"]
    made.close()
    bench.close()


async def test_remembered_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch, transport: type[UdpTransport]) -> None:
    monkeypatch.setattr(udp, "FLOWS", 3)
    bench = Bench(transport, socket.AF_INET, "127.0.0.1")
    flows = [bench.transport.flow(0, ("192.0.2.1", port)) for port in range(1, 9)]
    assert [flow.port for flow in flows] == list(range(1, 9))
    assert bench.transport.flow(0, ("192.0.2.1", 8)) is flows[7]
    assert bench.transport.flow(0, ("192.0.2.1", 1)) is not flows[0]
    bench.close()


# what only the compiled one has


@pytest.mark.parametrize(
    ("sockaddr", "family"),
    [
        (("192.0.2.1", 5060), socket.AF_INET),
        (("0.0.0.0", 0), socket.AF_INET),
        (("2001:db8::1", 65535, 0, 0), socket.AF_INET6),
        (("fe80::1", 5060, 7, 3), socket.AF_INET6),
        (("::ffff:192.0.2.1", 5060, 0, 0), socket.AF_INET6),
    ],
)
def test_addresses_packed_and_unpacked(sockaddr: tuple[Any, ...], family: int) -> None:
    assert unpack(pack(sockaddr, family)) == sockaddr
    assert len(pack(sockaddr, family)) == (16 if family == socket.AF_INET else 28)


LISTENER = Listener(0, "udp", "127.0.0.1", 5060)


def toward(packed: bytes, listener: Listener = LISTENER) -> Flow:
    """A flow to what the kernel is given as its address."""
    flow = Flow(listener, "127.0.0.1", 5061)
    flow.packed = packed
    return flow


class NoFlow:
    """What has a flow's names and another's values."""

    listener = LISTENER
    packed = "x" * 16


@compiled
def test_a_batch_ends_where_the_kernel_takes_no_more(tmp_path: Path) -> None:
    """A UNIX socket's queue is short: the first call takes a part of the batch, the next nothing."""
    assert batched.compiled is not None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        receiver.bind(str(tmp_path / "socket"))
        sender.bind(str(tmp_path / "sender"))
        address = struct.pack("=H", socket.AF_UNIX) + str(tmp_path / "socket").encode() + b"\0"
        there = toward(address)
        batch = [(there, b"number %d" % number) for number in range(1000)]
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(batch):
                taken = batched.compiled.send(sender.fileno(), batch, sent, LISTENER)
                assert 0 < taken <= batched.compiled.BATCH
                sent += taken
        assert 0 < sent < len(batch)
        receiver.setblocking(False)
        kernel, found, known = batched.compiled.Receiver(), [], list[bytes]()

        def remember(port: str, name: bytes) -> Flow:
            assert port == "port"
            known.append(name)
            return there

        def receive() -> tuple[int, int]:
            counts: tuple[int, int] = kernel.receive(
                receiver.fileno(), {}, remember, "port", lambda data, flow, now: found.append((flow, data, now)), 7.5
            )
            return counts

        count, kept_alive = receive()
        assert (count, kept_alive) == (len(found), 0)
        assert found == [(there, data, 7.5) for _, data in batch[:count]]
        assert known == [struct.pack("=H", socket.AF_UNIX) + str(tmp_path / "sender").encode() + b"\0"]  # asked once for all
        with pytest.raises(BlockingIOError):
            [receive() for _ in range(len(batch))]
        with pytest.raises(FileNotFoundError):
            batched.compiled.send(sender.fileno(), [(toward(address[:-3] + b"\0"), b"x")], 0, LISTENER)


@compiled
def test_a_batch_ends_before_another_listener_and_before_an_address_that_is_not_packed() -> None:
    assert batched.compiled is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        address = pack(peer.getsockname(), socket.AF_INET)
        here, other, unpacked = toward(address), toward(address, Listener(1, "udp", "127.0.0.1", 5062)), toward(b"")
        sends = [(here, b"a"), (toward(address), b"b"), (other, b"c"), (here, b"d"), (unpacked, b"e"), (here, b"f")]
        assert batched.compiled.send(sock.fileno(), sends, 0, LISTENER) == 2
        assert batched.compiled.send(sock.fileno(), sends, 2, LISTENER) == 0
        assert batched.compiled.send(sock.fileno(), sends, 3, LISTENER) == 1
        assert batched.compiled.send(sock.fileno(), sends, 4, LISTENER) == 0
        assert batched.compiled.send(sock.fileno(), sends, 5, LISTENER) == 1
        assert drained(peer) == [b"a", b"b", b"d", b"f"]


@compiled
def test_what_goes_wrong_in_taking_a_datagram_in_comes_out() -> None:
    assert batched.compiled is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"a message", sock.getsockname())
        with pytest.raises(ZeroDivisionError):
            batched.compiled.Receiver().receive(sock.fileno(), {}, lambda *_: 1 / 0, None, lambda *_: None, 0.0)


@compiled
@pytest.mark.parametrize(
    ("sends", "begin"),
    [
        ([(toward(b"y" * 500), b"x")], 0),
        ([(toward(b"x" * 16), None)], 0),
        ([(NoFlow(), b"x")], 0),
        ([(toward(b"x" * 16), "x")], 0),
        ([b"xx"], 0),
        ([()], 0),
        (None, 0),
        ([], -1),
    ],
)
def test_refuses_what_is_no_batch(sends: Any, begin: int) -> None:
    assert batched.compiled is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises((TypeError, ValueError, AttributeError)):
        batched.compiled.send(sock.fileno(), sends, begin, LISTENER)


@compiled
def test_empty_batches_and_lost_descriptors() -> None:
    assert batched.compiled is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert batched.compiled.send(sock.fileno(), [], 0, LISTENER) == 0
        assert batched.compiled.send(sock.fileno(), [(toward(b"y"), b"x")], 1, LISTENER) == 0
        with pytest.raises(OSError, match=r"."):
            batched.compiled.send(sock.fileno(), [(toward(b"yy"), b"x")], 0, LISTENER)
    receive = batched.compiled.Receiver().receive
    for work in (
        lambda: batched.compiled.send(-1, [(toward(b"y" * 16), b"x")], 0, LISTENER),
        lambda: receive(-1, {}, lambda *_: None, None, lambda *_: None, 0.0),
    ):
        with pytest.raises(OSError, match="Bad file descriptor"):
            work()
