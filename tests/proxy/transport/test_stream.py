from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from proxy.flow import Flow, Listener
from proxy.sip.error import ParseError
from proxy.transport import stream
from proxy.transport.counters import TransportCounters
from proxy.transport.stream import StreamTransport

MESSAGE = b"OPTIONS sip:x SIP/2.0\r\nCall-ID: %d\r\nContent-Length: 0\r\n\r\n"


class Bench:
    """A StreamTransport that listens on loopback."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.bind((host, 0))
        self.host = host
        self.port: int = self.socket.getsockname()[1]
        self.listener = Listener(0, "tcp", host, self.port)
        self.counters = TransportCounters()
        self.received: list[tuple[bytes, Flow]] = []
        self.failed: list[tuple[Flow, bytes]] = []
        self.announced: list[tuple[int, bool]] = []
        self.answer: Callable[[bytes, Flow], None] = lambda data, flow: None
        self.transport = StreamTransport(
            asyncio.get_running_loop(),
            [self.listener],
            {0: self.socket},
            self.receive,
            lambda: None,
            lambda flow, data, _now: self.failed.append((flow, data)),
            self.counters,
            worker=3,
            announce=lambda connection, held: self.announced.append((connection.port, held)),
        )

    def receive(self, data: bytes, flow: Flow, _now: float) -> None:
        self.received.append((data, flow))
        self.answer(data, flow)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


def on_workers_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test with a started Bench on uvloop, as workers do: its connections differ from asyncio's own."""

    async def whole(*arguments: Any, **named: Any) -> None:
        bench = Bench()
        await bench.transport.start()
        try:
            await test(bench, *arguments, **named)
        finally:
            bench.transport.close()
            await asyncio.sleep(0.01)
            bench.socket.close()

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(whole(*arguments, **named))

    signature = inspect.signature(test)
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return run


@on_workers_loop
async def test_messages_come_whole_however_they_are_cut(bench: Bench) -> None:
    _, writer = await bench.connect()
    whole = b"".join(MESSAGE % number for number in range(3))
    for at in range(0, len(whole), 7):
        writer.write(whole[at : at + 7])
        await asyncio.sleep(0)
    await bench.until(lambda: len(bench.received) == 3)
    assert [data for data, _ in bench.received] == [MESSAGE % number for number in range(3)]
    flow = bench.received[0][1]
    assert flow.connection & 255 == 3  # the worker
    assert flow.connection >> 8 > 0
    assert (flow.address, flow.port) == writer.get_extra_info("sockname")[:2]
    writer.close()


@on_workers_loop
async def test_more_messages_than_a_batch(bench: Bench) -> None:
    _, writer = await bench.connect()
    count = stream.BATCH * 3 + 1
    writer.write(b"".join(MESSAGE % number for number in range(count)))
    await bench.until(lambda: len(bench.received) == count)
    assert [data for data, _ in bench.received] == [MESSAGE % number for number in range(count)]
    writer.close()


@on_workers_loop
async def test_answers_take_the_connection_that_asked(bench: Bench) -> None:
    bench.answer = lambda data, flow: bench.transport.send(flow, b"answer to " + data[-10:])
    reader, writer = await bench.connect()
    writer.write(MESSAGE % 1)
    assert (await reader.read(100)).startswith(b"answer to ")
    writer.close()


@on_workers_loop
async def test_double_crlf_is_answered_by_one(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(b"\r\n\r\n" + MESSAGE % 1 + b"\r\n\r\n")
    assert await reader.readexactly(4) == b"\r\n\r\n"
    await bench.until(lambda: len(bench.received) == 1)
    assert bench.counters.keepalives == 2
    writer.close()


@on_workers_loop
async def test_a_stream_that_cannot_be_framed_is_answered_and_closed(bench: Bench) -> None:
    bench.answer = lambda data, flow: bench.transport.send(flow, b"400" if b"Bad" in data else b"200")
    reader, writer = await bench.connect()
    writer.write(MESSAGE % 1 + b"OPTIONS sip:Bad SIP/2.0\r\nCall-ID: 2\r\n\r\n" + MESSAGE % 3)
    assert await reader.read() == b"200400"
    assert len(bench.received) == 2
    assert bench.counters.connections_unframed == 1
    writer.close()


@on_workers_loop
async def test_a_stream_that_cannot_be_framed_leaves_no_cycle(bench: Bench) -> None:
    """What an enemy sent is freed at once, not when the garbage collector comes by."""
    gc.collect()
    gc.disable()
    try:
        reader, writer = await bench.connect()
        writer.write(b"OPTIONS sip:x SIP/2.0\r\nCall-ID: 2\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        await asyncio.sleep(0.01)
        assert [held for held in gc.get_objects() if isinstance(held, ParseError)] == []
    finally:
        gc.enable()


@on_workers_loop
async def test_says_which_connections_it_has(bench: Bench) -> None:
    _, writer = await bench.connect()
    port = writer.get_extra_info("sockname")[1]
    await bench.until(lambda: bench.announced == [(port, True)])
    assert bench.transport.holder(Flow(bench.listener, "127.0.0.1", port)) == 3
    writer.close()
    await bench.until(lambda: bench.announced == [(port, True), (port, False)])


@on_workers_loop
async def test_another_workers_connection_is_used(bench: Bench) -> None:
    flow = Flow(bench.listener, "192.0.2.9", 40000)
    assert bench.transport.holder(flow) == 3
    bench.transport.note((0, "192.0.2.9", 40000), 5, held=True)
    assert bench.transport.holder(flow) == 5
    bench.transport.note((0, "192.0.2.9", 40000), 4, held=False)  # late news of an older one
    assert bench.transport.holder(flow) == 5
    bench.transport.note((0, "192.0.2.9", 40000), 5, held=False)
    assert bench.transport.holder(flow) == 3
    assert bench.transport.holder(Flow(bench.listener, "192.0.2.9", 40000, connection=0x702)) == 2


@on_workers_loop
async def test_opens_one_connection_for_all_that_waits(bench: Bench) -> None:
    accepted: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer.get_extra_info("peername")[0].encode())
        accepted.append(await reader.readexactly(6))
        writer.write(MESSAGE % 9)
        accepted.append(await reader.readexactly(5))
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.9", 0)
    flow = Flow(bench.listener, "127.0.0.9", server.sockets[0].getsockname()[1])
    bench.transport.send(flow, b"one")
    bench.transport.send(flow, b"two")
    await bench.until(lambda: len(bench.received) == 1)
    assert bench.received[0][1].connection
    bench.transport.send(flow, b"three")
    await bench.until(lambda: len(accepted) == 3)
    assert accepted == [b"127.0.0.1", b"onetwo", b"three"]
    assert bench.counters.connections_opened == 1
    server.close()


@on_workers_loop
async def test_what_cannot_be_opened_fails_for_each_message(bench: Bench) -> None:
    flow = Flow(bench.listener, "127.0.0.1", 1)
    bench.transport.send(flow, b"one")
    bench.transport.send(flow, b"two")
    assert not bench.failed  # never while a batch is being sent
    await bench.until(lambda: len(bench.failed) == 2)
    assert bench.failed == [(flow, b"one"), (flow, b"two")]


@on_workers_loop
async def test_what_does_not_open_in_time_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CONNECT_TIMEOUT", 0.05)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = []
    for _ in range(3):  # fill its queue: the next SYN gets no answer
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(full.getsockname())
        waiting.append(one)
    flow = Flow(bench.listener, *full.getsockname())
    bench.transport.send(flow, b"one")
    await bench.until(lambda: bool(bench.failed))
    for one in (full, *waiting):
        one.close()


@on_workers_loop
async def test_a_connection_that_is_gone_fails(bench: Bench) -> None:
    _, writer = await bench.connect()
    writer.write(MESSAGE % 1)
    await bench.until(lambda: bool(bench.received))
    flow = bench.received[0][1]
    writer.close()
    await bench.until(lambda: bench.transport.connections == 0)
    bench.transport.send(flow, b"too late")
    await bench.until(lambda: bench.failed == [(flow, b"too late")])


@on_workers_loop
async def test_too_many_connections_are_refused(bench: Bench) -> None:
    bench.transport.limit(3, 2)
    pairs = [await bench.connect() for _ in range(3)]
    assert await pairs[2][0].read() == b""
    assert bench.counters.connections_refused == 1
    pairs[0][1].close()
    await bench.until(lambda: bench.transport.connections == 1)
    reader, writer = await bench.connect()
    writer.write(MESSAGE % 1)
    await bench.until(lambda: bool(bench.received))
    for _, one in (*pairs, (reader, writer)):
        one.close()


@on_workers_loop
async def test_a_peer_that_does_not_read_is_closed(bench: Bench) -> None:
    _, writer = await bench.connect()
    writer.write(MESSAGE % 1)
    await bench.until(lambda: bool(bench.received))
    flow = bench.received[0][1]
    for _ in range(400):
        bench.transport.send(flow, b"x" * 65000)
    assert bench.counters.connections_unread == 1
    await bench.until(lambda: bool(bench.failed))
    writer.close()


@pytest.mark.parametrize("start", [b"OPTIONS sip:x SIP/2.0\r\n", MESSAGE % 1 + b"OPTIONS", b"\r\n\r\nOPTIONS"])
@on_workers_loop
async def test_a_message_that_takes_too_long_ends_its_connection(bench: Bench, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(stream, "MESSAGE_TIMEOUT", 0.05)
    monkeypatch.setattr(stream, "SWEEP", 0.02)
    bench.transport.close()
    await bench.transport.start()
    reader, writer = await bench.connect()
    writer.write(start)
    try:
        async with asyncio.timeout(3):
            await reader.readuntil(b"never")
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    assert bench.counters.connections_slow == 1
    writer.close()


@on_workers_loop
async def test_a_quiet_connection_stays_until_it_is_idle(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MESSAGE_TIMEOUT", 0.02)
    monkeypatch.setattr(stream, "IDLE_TIMEOUT", 0.3)
    monkeypatch.setattr(stream, "SWEEP", 0.02)
    bench.transport.close()
    await bench.transport.start()
    reader, writer = await bench.connect()
    writer.write(MESSAGE % 1 + b"\r\n")
    await asyncio.sleep(0.15)
    assert bench.transport.connections == 1
    assert await reader.read() == b""
    assert bench.counters.connections_idle == 1
    writer.close()


async def test_ipv6() -> None:
    bench = Bench("::1")
    await bench.transport.start()
    bench.answer = lambda data, flow: bench.transport.send(flow, flow.address.encode())
    reader, writer = await bench.connect()
    writer.write(MESSAGE % 1)
    assert await reader.readexactly(3) == b"::1"
    writer.close()
    bench.transport.close()
    await asyncio.sleep(0.01)
    bench.socket.close()
