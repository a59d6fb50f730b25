"""SIP over UDP: readiness callbacks, a bounded drain, one write pass for each batch.

`proxy.transport.batched` has the same with fewer system calls, where it was built.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Final

from proxy.flow import Flow, Listener
from proxy.transport.counters import TransportCounters
from proxy.transport.gathering import Gathering

BATCH: Final = 64
"""Datagrams read in one go before what they caused is sent."""

QUEUE: Final = 2048
"""Datagrams that wait for a socket that cannot take more."""

FLOWS: Final = 65536
"""Remote addresses remembered for each socket; at the limit all are forgotten, which costs one new Flow for each that still sends."""

KEEPALIVE: Final = 5
"""Octets of the shortest datagram that is no keep-alive whatever it holds."""

_LARGEST: Final = 65535

Sends = Sequence[tuple[Flow, bytes]]


class UdpTransport:
    """The UDP sockets of one worker.

    `sockets` are bound, non-blocking and keyed by their Listener's index. `receive(data, flow, now)` is called for each datagram, `flush()`
    once after each batch. Nothing here raises for what a peer or the network does. A Flow's address must be a literal: a name would block.
    From `own` sockets, this worker's alone, it is read only: everything leaves from the listening sockets, for a peer that looks at ports
    knows their address, and so does a firewall on its way.

    After a batch the whole worker sleeps for a moment where that lets it find several messages at once (`proxy.transport.gathering`).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[Listener],
        sockets: Mapping[int, socket.socket],
        receive: Callable[[bytes, Flow, float], None],
        flush: Callable[[], None],
        counters: TransportCounters,
        own: Mapping[int, socket.socket] | None = None,
    ) -> None:
        self._loop = loop
        self._receive = receive
        self._flush = flush
        self._counters = counters
        self._gathering = Gathering()
        self._ports: list[Port | None] = [None] * len(listeners)
        for index, sock in sockets.items():
            self._ports[index] = Port(sock, listeners[index])
        self._reading = [port for port in self._ports if port is not None]
        self._reading += [Port(sock, listeners[index]) for index, sock in (own or {}).items()]

    def start(self) -> None:
        """Begin to read."""
        for port in self._reading:
            self._loop.add_reader(port.descriptor, self._readable, port)

    def take_in(self, receive: Callable[[bytes, Flow, float], None]) -> None:
        """Have messages taken in by another than before."""
        self._receive = receive

    def close(self) -> None:
        """Stop reading and writing; the sockets stay open, they belong to whoever made them."""
        for port in self._reading:
            self._loop.remove_reader(port.descriptor)
            self._loop.remove_writer(port.descriptor)
            port.queue.clear()

    def flow(self, index: int, sockaddr: tuple[Any, ...]) -> Flow:
        """The Flow of a remote address on the listener of this index."""
        port = self._ports[index]
        assert port is not None
        return port.flows.get(sockaddr) or port.remember(sockaddr, sockaddr)

    def send(self, sends: list[tuple[Flow, bytes]]) -> Sends:
        """Send what goes over UDP, in order; what does not is given back."""
        ports = self._ports
        others: list[tuple[Flow, bytes]] | None = None
        for pair in sends:
            flow, data = pair
            port = ports[flow.listener.index]
            if port is None:
                if others is None:
                    others = []
                others.append(pair)
                continue
            if port.queue:
                self._enqueue(port, pair)
                continue
            try:
                port.sendto(data, flow.sockaddr)
            except BlockingIOError:
                self._enqueue(port, pair)
            except (OSError, OverflowError):  # ENOBUFS, EMSGSIZE, EPERM (a packet filter), ENETUNREACH ...: lost, as a datagram may be
                self._counters.udp_send_failed += 1
        return others or ()

    def _readable(self, port: Port) -> None:
        now = monotonic()
        receive = self._receive
        recvfrom = port.recvfrom
        flows = port.flows
        count = 0
        for _ in range(BATCH):
            try:
                data, sockaddr = recvfrom(_LARGEST)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error that belongs to an earlier send
                continue
            if len(data) < KEEPALIVE and not data.strip(b"\r\n\0"):
                self._counters.keepalives += 1
                continue
            count += 1
            receive(data, flows.get(sockaddr) or port.remember(sockaddr, sockaddr), now)
        self._flush()
        self._rest(port, count, now)

    def _rest(self, port: Port, count: int, began: float) -> None:
        """After a batch."""
        seconds = self._gathering.rest(port.descriptor, count, began, monotonic())
        if seconds:
            sleep(seconds)

    def _enqueue(self, port: Port, pair: tuple[Flow, bytes]) -> None:
        if len(port.queue) >= QUEUE:
            self._counters.udp_send_dropped += 1
            return
        if not port.queue:
            self._loop.add_writer(port.descriptor, self._writable, port)
        port.queue.append(pair)

    def _writable(self, port: Port) -> None:
        queue = port.queue
        for _ in range(BATCH):
            if not queue:
                break
            flow, data = queue[0]
            try:
                port.sendto(data, flow.sockaddr)
            except BlockingIOError:
                return
            except (OSError, OverflowError):
                self._counters.udp_send_failed += 1
            queue.popleft()
        if not queue:
            self._loop.remove_writer(port.descriptor)


class Port:
    """One socket with its listener, its known remote addresses and what waits to be sent."""

    __slots__ = ("descriptor", "family", "flows", "listener", "queue", "recvfrom", "sendto", "socket")

    def __init__(self, sock: socket.socket, listener: Listener) -> None:
        self.socket = sock
        self.descriptor = sock.fileno()
        self.family = sock.family
        self.listener = listener
        self.flows: dict[Any, Flow] = {}
        self.queue: deque[tuple[Flow, bytes]] = deque()
        self.recvfrom = sock.recvfrom
        self.sendto = sock.sendto

    def remember(self, key: Any, sockaddr: tuple[Any, ...]) -> Flow:
        """A new Flow of this remote address, to be found by `key`."""
        if len(self.flows) >= FLOWS:
            self.flows.clear()
        flow = Flow(self.listener, sockaddr[0].partition("%")[0], sockaddr[1], sockaddr)
        self.flows[key] = flow
        return flow
