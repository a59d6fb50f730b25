"""SIP over TCP: accepted and opened connections, reused by address, bounded in number, memory and patience."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Final, cast

from proxy.flow import Flow, Listener
from proxy.sip.error import ParseError
from proxy.sip.stream import Framer
from proxy.transport.counters import TransportCounters

CONNECT_TIMEOUT: Final = 2.0
"""Seconds that a connection may take to open."""

MESSAGE_TIMEOUT: Final = 32.0
"""Seconds that one message may take to arrive (64*T1, when its transaction is over anyway)."""

IDLE_TIMEOUT: Final = 600.0
"""Seconds without a byte in either direction after which a connection is closed."""

SWEEP: Final = 2.0
"""Seconds between looks at those two."""

WAITING_BYTES: Final = 1 << 20
"""What may wait for one connection to open, or for one peer to read."""

BATCH: Final = 64
"""Messages of one connection taken in one go; the others wait a turn of the loop, unread bytes with them."""

BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""

WORKER_BITS: Final = 8
"""The low bits of a connection's number name the worker that holds it."""

Destination = tuple[int, str, int]  # a listener's index, remote address, remote port


class StreamTransport:
    """The TCP listeners and connections of one worker.

    `sockets` are bound sockets keyed by their Listener's index; connections are opened from their addresses. `receive(data, flow, now)` is
    called for each message, `flush()` after each batch, `send_failed(flow, data, now)` for each message that could not be sent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[Listener],
        sockets: Mapping[int, socket.socket],
        receive: Callable[[bytes, Flow, float], None],
        flush: Callable[[], None],
        send_failed: Callable[[Flow, bytes, float], None],
        counters: TransportCounters,
        *,
        worker: int = 0,
        announce: Callable[[Connection, bool], None] | None = None,
    ) -> None:
        """`announce(connection, open)` hears of each accepted connection, and of its end."""
        self.loop = loop
        self.listeners = listeners
        self.receive = receive
        self.flush = flush
        self.send_failed = send_failed
        self.counters = counters
        self._sockets = sockets
        self._worker = worker
        self._announce = announce
        self._elsewhere: dict[Destination, int] = {}
        self.limit(4096, 256)
        self._serial = 0
        self._by_number: dict[int, Connection] = {}
        self._by_destination: dict[Destination, Connection] = {}
        self._per_source: Counter[str] = Counter()
        self._opening: dict[Destination, _Opening] = {}
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None

    def limit(self, connections: int, connections_per_source: int) -> None:
        """Set how many connections there may be, and how many one address may open; those there are stay."""
        self._max = connections
        self._max_per_source = connections_per_source

    def note(self, destination: Destination, worker: int, *, held: bool) -> None:
        """Another worker has, or has no more, a connection from this address."""
        if held:
            self._elsewhere[destination] = worker
        elif self._elsewhere.get(destination) == worker:
            del self._elsewhere[destination]

    def holder(self, flow: Flow) -> int:
        """The worker that is to send what goes to this flow: that of its connection, or of one that was accepted from this address."""
        if flow.connection:
            return flow.connection & ((1 << WORKER_BITS) - 1)
        if not self._elsewhere:
            return self._worker
        destination = (flow.listener.index, flow.address, flow.port)
        return self._worker if destination in self._by_destination else self._elsewhere.get(destination, self._worker)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._by_number)

    async def start(self) -> None:
        """Begin to accept."""
        for index, sock in self._sockets.items():
            listener = self.listeners[index]
            accept = partial(Connection, self, listener)
            # a copy, since a server closes its socket with itself
            self._servers.append(await self.loop.create_server(accept, sock=sock.dup(), backlog=BACKLOG))
        self._sweeper = self.loop.call_later(SWEEP, self._sweep)

    def close(self) -> None:
        """Stop accepting and close every connection after what was written has left."""
        for server in self._servers:
            server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for opening in self._opening.values():
            opening.task.cancel()
        for connection in list(self._by_number.values()):
            connection.transport.close()

    def send(self, flow: Flow, data: bytes) -> None:
        """Send on the flow's connection; on another one to the same address where that is gone; on a new one where there is none.

        A response whose connection is gone goes to the port of its Via (RFC 3261 §18.2.2).
        """
        connection = self._by_number.get(flow.connection) if flow.connection else None
        destination = (flow.listener.index, flow.address, flow.port)
        if connection is None:
            connection = self._by_destination.get(destination)
        if connection is None and flow.connection and flow.reply_port:
            flow = Flow(flow.listener, flow.address, flow.reply_port)
            destination = (flow.listener.index, flow.address, flow.port)
            connection = self._by_destination.get(destination)
        if connection is not None and connection.write(data):
            return
        if connection is not None or flow.connection:
            # not at once: this runs while a batch is being sent
            self.loop.call_soon(self._fail, [(flow, data)])
            return
        opening = self._opening.get(destination)
        if opening is None:
            if len(self._by_number) + len(self._opening) >= self._max:
                self.counters.connections_refused += 1
                self.loop.call_soon(self._fail, [(flow, data)])
                return
            opening = self._opening[destination] = _Opening()
            opening.task = self.loop.create_task(self._open(flow, destination, opening))
        if opening.size + len(data) > WAITING_BYTES:
            self.loop.call_soon(self._fail, [(flow, data)])
            return
        opening.size += len(data)
        opening.waiting.append((flow, data))

    def opened(self, connection: Connection, *, accepted: bool) -> bool:
        """Take a new connection into the tables; False where there are too many."""
        address = connection.address
        full = len(self._by_number) >= self._max or (accepted and self._per_source[address] >= self._max_per_source)
        if full:
            self.counters.connections_refused += 1
            return False
        self._serial += 1
        connection.number = self._serial << WORKER_BITS | self._worker
        self._by_number[connection.number] = connection
        self._by_destination[connection.listener.index, address, connection.port] = connection
        self._per_source[address] += 1
        if accepted:
            self.counters.connections_accepted += 1
            if self._announce is not None:
                self._announce(connection, True)
        else:
            self.counters.connections_opened += 1
        return True

    def closed(self, connection: Connection) -> None:
        """Take a connection out of the tables."""
        if self._by_number.pop(connection.number, None) is None:
            return
        if connection.accepted and self._announce is not None:
            self._announce(connection, False)
        destination = (connection.listener.index, connection.address, connection.port)
        if self._by_destination.get(destination) is connection:
            del self._by_destination[destination]
        self._per_source[connection.address] -= 1
        if self._per_source[connection.address] <= 0:
            del self._per_source[connection.address]

    async def _open(self, flow: Flow, destination: Destination, opening: _Opening) -> None:
        listener = flow.listener
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                # an ephemeral port of the listener's own address: peers know us by it
                local = self._sockets[listener.index].getsockname()[0]
                _, protocol = await self.loop.create_connection(
                    partial(Connection, self, listener, accepted=False), flow.address, flow.port, local_addr=(local, 0)
                )
        except (OSError, TimeoutError, OverflowError):
            del self._opening[destination]
            self._fail(opening.waiting)
            return
        del self._opening[destination]
        failed = [(waiting, data) for waiting, data in opening.waiting if not protocol.write(data)]
        if failed:
            self._fail(failed)

    def _fail(self, messages: Sequence[tuple[Flow, bytes]]) -> None:
        now = monotonic()
        for flow, data in messages:
            self.send_failed(flow, data, now)
        self.flush()

    def _sweep(self) -> None:
        now = monotonic()
        for connection in list(self._by_number.values()):
            if connection.partial_since is not None and now - connection.partial_since > MESSAGE_TIMEOUT:
                self.counters.connections_slow += 1
                connection.transport.abort()
            elif now - connection.heard > IDLE_TIMEOUT:
                self.counters.connections_idle += 1
                connection.transport.close()
        self._sweeper = self.loop.call_later(SWEEP, self._sweep)


class _Opening:
    """A connection that is being opened and what waits for it."""

    __slots__ = ("size", "task", "waiting")

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self.waiting: list[tuple[Flow, bytes]] = []
        self.size = 0


class Connection(asyncio.Protocol):
    """One TCP connection."""

    def __init__(self, owner: StreamTransport, listener: Listener, *, accepted: bool = True) -> None:
        self.owner = owner
        self.listener = listener
        self.accepted = accepted
        self.address = ""
        self.port = 0
        self.number = 0
        self.heard = 0.0
        self.partial_since: float | None = None
        self.transport: asyncio.Transport
        self.flow: Flow | None = None
        self._framer = Framer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who is there; hang up where there are too many."""
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if not peer:  # gone already
            self.transport.abort()
            return
        self.address = peer[0].partition("%")[0]
        self.port = peer[1]
        self.heard = monotonic()
        if not self.owner.opened(self, accepted=self.accepted):
            self.transport.abort()
            return
        self.flow = Flow(self.listener, self.address, self.port, connection=self.number)

    def data_received(self, data: bytes) -> None:
        """Cut messages out and hand them over."""
        flow = self.flow
        if flow is None:
            return
        owner = self.owner
        now = self.heard = monotonic()
        framer = self._framer
        lost: bytes | None = None  # not the error: its traceback holds this very frame, a cycle that would keep every byte read
        try:
            messages = framer.feed(data)
        except ParseError as error:
            lost = error.head
            messages = error.args[1]
        if framer.pings:
            owner.counters.keepalives += framer.pings
            self.write(b"\r\n" * framer.pings)
            framer.pings = 0
        if framer.pending <= len(b"\r\n\r"):  # half a ping is no message
            self.partial_since = None
        elif self.partial_since is None or messages:
            self.partial_since = now
        self._deliver(messages, lost)

    def _deliver(self, messages: list[bytes], lost: bytes | None) -> None:
        """Give one batch to the core; come back for the rest, and for the end of a stream that cannot be framed any more: `lost` is the
        head that is to be answered, b"" where none is.
        """
        flow = self.flow
        if flow is None:
            return
        owner = self.owner
        now = monotonic()
        for message in messages[:BATCH]:
            owner.receive(message, flow, now)
        if len(messages) > BATCH:
            self.transport.pause_reading()
            owner.loop.call_soon(self._deliver, messages[BATCH:], lost)
        elif lost is not None:
            owner.counters.connections_unframed += 1
            if lost:
                owner.receive(lost, flow, now)
            self.flow = None
        else:
            self.transport.resume_reading()
        owner.flush()
        if self.flow is None:
            self.transport.close()

    def write(self, data: bytes) -> bool:
        """Send; False where the connection is closing or its peer has stopped reading, which ends it."""
        transport = self.transport
        if transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(data) > WAITING_BYTES:
            self.owner.counters.connections_unread += 1
            transport.abort()
            return False
        transport.write(data)
        self.heard = monotonic()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.flow = None
        self.owner.closed(self)
