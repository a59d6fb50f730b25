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
from proxy.transport.udp import BATCH, Port, Sends, UdpTransport

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

    def send(self, sends: list[tuple[Flow, bytes]]) -> Sends:
        """As UdpTransport."""
        others: list[tuple[Flow, bytes]] | None = None
        at, end = 0, len(sends)
        while at < end:
            pair = sends[at]
            flow = pair[0]
            port = self._ports[flow.listener.index]
            if port is None:
                if others is None:
                    others = []
                others.append(pair)
                at += 1
            elif not flow.packed and not self._pack(flow, port.family):
                at += 1
            elif port.queue:
                self._enqueue(port, pair)
                at += 1
            else:
                taken = self._deliver(port, sends, at)
                if not taken:
                    self._enqueue(port, pair)
                at += taken or 1
        return others or ()

    def _pack(self, flow: Flow, family: int) -> bool:
        """Whether a socket of this family can send to a flow at all."""
        try:
            flow.packed = pack(flow.sockaddr, family)
        except (OSError, OverflowError):
            self._counters.udp_send_failed += 1
            return False
        return True

    @staticmethod
    def _remember(port: Port, packed: bytes) -> Flow:
        flow = port.remember(packed, unpack(packed))
        flow.packed = packed
        return flow

    def _deliver(self, port: Port, sends: list[tuple[Flow, bytes]], at: int) -> int:
        """Send what is for this port, from there on: how many are done with, 0 where the socket is full."""
        try:
            taken: int = self._send(port.descriptor, sends, at, port.listener)
        except BlockingIOError:
            return 0
        except OSError:  # as in UdpTransport: this one is lost, those behind it are not
            self._counters.udp_send_failed += 1
            return 1
        return taken

    def _readable(self, port: Port) -> None:
        now = monotonic()
        count = kept_alive = 0
        for _ in range(BATCH):
            try:
                count, kept_alive = self._receiver.receive(port.descriptor, port.flows, self._remember, port, self._receive, now)
                break
            except BlockingIOError:
                break
            except OSError:  # an ICMP error that belongs to an earlier send
                continue
        self._counters.keepalives += kept_alive
        self._flush()
        self._rest(port, count, now)

    def _writable(self, port: Port) -> None:
        queue = port.queue
        for _ in range(self._deliver(port, list(islice(queue, BATCH)), 0)):
            queue.popleft()
        if not queue:
            self._loop.remove_writer(port.descriptor)


UDP: Final[type[UdpTransport]] = UdpTransport if compiled is None else BatchedUdpTransport
"""What a worker takes."""
