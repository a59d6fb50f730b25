"""The sockets of one demo peer: SIP over UDP and TCP on one address and one port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple, cast

from proxy.sip.error import ParseError
from proxy.sip.stream import Framer

_TRIES = 20


class Place(NamedTuple):
    """Where a message came from or goes to."""

    transport: str
    address: str
    port: int


def bind_pair(address: str) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same free port, non-blocking; the latter does not listen yet. Raises OSError."""
    for last in reversed(range(_TRIES)):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            udp.bind((address, 0))
            tcp.bind((address, udp.getsockname()[1]))  # free for one is not free for the other
        except OSError:
            udp.close()
            tcp.close()
            if not last:
                raise
            continue
        udp.setblocking(False)
        tcp.setblocking(False)
        return udp, tcp
    raise AssertionError("the last try returns or raises")


class Wire:
    """Gives every message that arrives to `received`, and sends. TCP connections are used again, in both directions."""

    def __init__(self, address: str, received: Callable[[bytes, Place], None]) -> None:
        self.address = address
        self.port = 0
        self.received = received
        self.connections: dict[tuple[str, int], asyncio.WriteTransport] = {}
        self._udp: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._opening: dict[tuple[str, int], list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen. OSError where this machine does not have the address."""
        loop = asyncio.get_running_loop()
        udp, tcp = bind_pair(self.address)
        self.port = udp.getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        self._server = await loop.create_server(lambda: _Connection(self), sock=tcp)

    def close(self) -> None:
        """Stop, and hang up."""
        if self._udp is not None:
            self._udp.close()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for connection in list(self.connections.values()):
            connection.close()

    def send(self, data: bytes, to: Place) -> None:
        """Send one message; over TCP on a connection that there is, else on a new one."""
        where = (to.address, to.port)
        if to.transport == "udp":
            assert self._udp is not None
            self._udp.sendto(data, where)
        elif where in self.connections:
            self.connections[where].write(data)
        elif where in self._opening:
            self._opening[where].append(data)
        else:
            self._opening[where] = [data]
            task = asyncio.get_running_loop().create_task(self._connect(where))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, where: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_connection(lambda: _Connection(self), *where, local_addr=(self.address, 0))
        except OSError:  # nobody is there: what waits is lost, and its sender's timer says so
            del self._opening[where]
            return
        for data in self._opening.pop(where):
            transport.write(data)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.wire.received(data, Place("udp", addr[0], addr[1]))


class _Connection(asyncio.Protocol):
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.framer = Framer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self.peer: tuple[str, int] = transport.get_extra_info("peername")[:2]
        self.wire.connections[self.peer] = self.transport

    def data_received(self, data: bytes) -> None:
        try:
            messages = self.framer.feed(data)
        except ParseError:
            self.transport.close()
            return
        for message in messages:
            self.wire.received(message, Place("tcp", *self.peer))

    def connection_lost(self, exc: Exception | None) -> None:
        self.wire.connections.pop(self.peer, None)
