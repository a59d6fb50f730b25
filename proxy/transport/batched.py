"""SIP over UDP with one system call for many datagrams, each way (recvmmsg, sendmmsg): UdpTransport's compiled twin.

Remote addresses stay as the kernel writes them (struct sockaddr), and are taken apart once for each.
"""

from __future__ import annotations

import socket
import struct
from itertools import islice
from time import monotonic
from typing import Any, Final

from proxy.flow import Flow
from proxy.sip.kernel import load
from proxy.transport.udp import BATCH, KEEPALIVE, Port, Sends, UdpTransport

compiled, without = load("proxy.transport._batch")

_FAMILY: Final = struct.Struct("=H")
_IPV4: Final = struct.Struct("!H4s8x")
_IPV6: Final = struct.Struct("!HI16s")
_SCOPE: Final = struct.Struct("=I")


def pack(sockaddr: tuple[Any, ...], family: int) -> bytes:
    """The struct sockaddr of a remote address. OSError or OverflowError for one that a socket of this family cannot send to."""
    address = socket.inet_pton(family, sockaddr[0].partition("%")[0])
    port = sockaddr[1]
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535")
    if family == socket.AF_INET:
        return _FAMILY.pack(family) + _IPV4.pack(port, address)
    label, scope = sockaddr[2:] if len(sockaddr) == 4 else (0, 0)
    return _FAMILY.pack(family) + _IPV6.pack(port, label, address) + _SCOPE.pack(scope)


def unpack(packed: bytes) -> tuple[Any, ...]:
    """What `pack` was given."""
    (family,) = _FAMILY.unpack_from(packed)
    if family == socket.AF_INET:
        port, address = _IPV4.unpack_from(packed, 2)
        return socket.inet_ntop(family, address), port
    port, label, address = _IPV6.unpack_from(packed, 2)
    return socket.inet_ntop(family, address), port, label, _SCOPE.unpack_from(packed, 24)[0]


class BatchedUdpTransport(UdpTransport):
    """UdpTransport, with batches for the kernel too."""

    def __init__(self, *arguments: Any) -> None:
        """As UdpTransport."""
        super().__init__(*arguments)
        assert compiled is not None
        self._receiver = compiled.Receiver()
        self._send = compiled.send

    def flow(self, index: int, sockaddr: tuple[Any, ...]) -> Flow:
        """As UdpTransport."""
        port = self._ports[index]
        assert port is not None
        packed = pack(sockaddr, port.family)
        return port.flows.get(packed) or self._remember(port, packed)

    def send(self, sends: Sends) -> Sends:
        """As UdpTransport."""
        ports = self._ports
        others: list[tuple[Flow, bytes]] | None = None
        batch: list[tuple[bytes, bytes]] = []
        current: Port | None = None
        for pair in sends:
            flow, data = pair
            port = ports[flow.listener.index]
            if port is None:
                if others is None:
                    others = []
                others.append(pair)
                continue
            if port is not current:
                if current is not None:
                    self._send_batch(current, batch)
                    batch = []
                current = port
            packed = flow.packed
            if not packed:
                try:
                    packed = flow.packed = pack(flow.sockaddr, port.family)
                except (OSError, OverflowError):
                    self._counters.udp_send_failed += 1
                    continue
            batch.append((data, packed))
        if current is not None:
            self._send_batch(current, batch)
        return others or ()

    @staticmethod
    def _remember(port: Port, packed: bytes) -> Flow:
        flow = port.remember(packed, unpack(packed))
        flow.packed = packed
        return flow

    def _send_batch(self, port: Port, batch: list[tuple[bytes, bytes]]) -> None:
        sent = 0 if port.queue else self._deliver(port, batch)
        if sent < len(batch):
            for data, packed in batch[sent:]:
                self._enqueue(port, data, packed)

    def _deliver(self, port: Port, batch: list[tuple[bytes, bytes]]) -> int:
        """Send until done or until the socket is full; how many of the batch are done with."""
        done = 0
        while done < len(batch):
            try:
                done += self._send(port.descriptor, batch, done)
            except BlockingIOError:
                break
            except OSError:  # as in UdpTransport: this one is lost, those behind it are not
                self._counters.udp_send_failed += 1
                done += 1
        return done

    def _readable(self, port: Port) -> None:
        now = monotonic()
        receive = self._receive
        flows = port.flows
        for _ in range(BATCH):
            try:
                batch = self._receiver.receive(port.descriptor)
                break
            except BlockingIOError:
                batch = ()
                break
            except OSError:  # an ICMP error that belongs to an earlier send
                batch = ()
        for data, packed in batch:
            if len(data) < KEEPALIVE and not data.strip(b"\r\n\0"):
                self._counters.keepalives += 1
                continue
            receive(data, flows.get(packed) or self._remember(port, packed), now)
        self._flush()

    def _writable(self, port: Port) -> None:
        queue = port.queue
        batch = list(islice(queue, BATCH))
        for _ in range(self._deliver(port, batch)):
            queue.popleft()
        if not queue:
            self._loop.remove_writer(port.descriptor)


UDP: Final[type[UdpTransport]] = UdpTransport if compiled is None else BatchedUdpTransport
"""What a worker takes."""
