"""The live trace: SIP messages as they came and went, told to a capture server in HEP3 (Homer, heplify-server, sngrep).

Signalling never waits for it. A message is noted in a bounded queue, whose oldest makes room for a new one and is counted; the queue is
told when the loop comes to it, a few messages at a time. What cannot be sent at once waits there, what the kernel refuses is counted.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from time import monotonic, time
from typing import Final
from zlib import crc32

from proxy.config import TraceConfig
from proxy.flow import Flow
from proxy.hep import TCP, UDP, Hep, encode
from proxy.transport.counters import TransportCounters

AT_ONCE: Final = 32
"""Messages that are told before the loop looks at its other work again."""

CALLS: Final = 65_536
"""Calls of the trunks that are traced which are known at once; the one that was silent for longest is forgotten."""

_LONGEST_ID: Final = 256
_PROTOCOLS: Final = {"udp": UDP, "tcp": TCP}

Receive = Callable[[bytes, Flow, float], None]


class LiveTrace:
    """Tells one worker's messages. `receive` stands between the transports and the core's own, `sent` hears of what leaves.

    Where only some trunks are traced, a call is one of theirs when a message of it comes from or goes to one of their addresses; its other
    messages are known by its Call-ID from then on, in this worker.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: TraceConfig, node: str, receive: Receive, counters: TransportCounters
    ) -> None:
        """`receive` takes a message in; OSError where there can be no socket."""
        self._loop = loop
        self._receive = receive
        self._counters = counters
        self._config = config
        self._agent = config.capture_id
        self._key = config.password.encode("utf-8", "replace")
        self._node = node.encode()
        self._trunks = frozenset(config.trunks)
        self._below = round(config.sample * (1 << 32))
        self._calls: OrderedDict[bytes, None] = OrderedDict()
        self._queue: deque[tuple[bytes, Flow, bool, float, bytes]] = deque()
        self._addresses: dict[str, bytes] = {}
        self._wall = 0.0
        self.set_clock(time() - monotonic())
        self._waiting = False
        address = config.address
        self._socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Tell no more; messages are taken in still. A second time nothing happens."""
        if self._socket.fileno() >= 0:
            self._below = 0
            self._loop.remove_writer(self._socket.fileno())
            self._queue.clear()
            self._socket.close()

    def set_clock(self, offset: float) -> None:
        """`offset` seconds after the monotonic clock's is Unix time, from now on; what is noted already keeps its time."""
        self._wall = offset

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """A message came."""
        self._receive(data, flow, now)  # first: it tells whose address this is
        self._note(data, flow, now, came=True)

    def sent(self, sends: Iterable[tuple[Flow, bytes]]) -> None:
        """Messages leave."""
        now = monotonic()
        for flow, data in sends:
            self._note(data, flow, now, came=False)

    def _note(self, data: bytes, flow: Flow, now: float, *, came: bool) -> None:
        name = call_id(data)
        if crc32(name) >= self._below:
            return
        if self._trunks and not self._concerned(name, flow):
            return
        queue = self._queue
        if len(queue) >= self._config.queue:
            queue.popleft()
            self._counters.trace_dropped += 1
        queue.append((data, flow, came, now + self._wall, name))
        if not self._waiting:
            self._waiting = True
            self._loop.call_soon(self._tell)

    def _concerned(self, name: bytes, flow: Flow) -> bool:
        peer = flow.peer
        trunk = None if peer is None else peer.trunk
        calls = self._calls
        if name in calls:
            calls.move_to_end(name)
            return True
        if trunk is None or trunk.id not in self._trunks:
            return False
        if name:
            calls[name] = None
            if len(calls) > CALLS:
                calls.popitem(last=False)
        return True

    def _tell(self) -> None:
        self._waiting = False
        queue = self._queue
        for _ in range(min(AT_ONCE, len(queue))):
            try:
                self._socket.send(self._packet(*queue[0]))
            except BlockingIOError:
                self._waiting = True
                self._loop.add_writer(self._socket.fileno(), self._writable)
                return
            except (OSError, ValueError, OverflowError):  # nobody listens there, no way, too long for a datagram, a clock without a date
                self._counters.trace_failed += 1
            else:
                self._counters.trace_sent += 1
            queue.popleft()
        if queue:
            self._waiting = True
            self._loop.call_soon(self._tell)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._tell()

    def _packet(self, data: bytes, flow: Flow, came: bool, at: float, name: bytes) -> bytes:
        listener = flow.listener
        ours, theirs = self._packed(listener.host), self._packed(flow.address)
        source, destination = ((theirs, flow.port), (ours, listener.port)) if came else ((ours, listener.port), (theirs, flow.port))
        seconds = int(at)
        return encode(
            Hep(
                *source,
                *destination,
                seconds,
                int((at - seconds) * 1e6),
                data,
                protocol=_PROTOCOLS[listener.transport],
                agent=self._agent,
                key=self._key,
                correlation=name,
                node=self._node,
            )
        )

    def _packed(self, address: str) -> bytes:
        found = self._addresses.get(address)
        if found is None:
            if len(self._addresses) >= CALLS:
                self._addresses.clear()
            found = self._addresses[address] = ip_address(address).packed
        return found


def call_id(data: bytes) -> bytes:
    """The Call-ID of a message, b"" where it has none: enough to tell calls apart, whatever else is wrong with it."""
    at = data.find(b"\nCall-ID:")
    if at >= 0:  # as nearly everybody writes it
        end = data.find(b"\n", at + 9)
        return data[at + 9 : end if end >= 0 else len(data)].strip()[:_LONGEST_ID]
    for line in data.split(b"\r\n\r\n", 1)[0].split(b"\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"call-id", b"i"):
            return value.strip()[:_LONGEST_ID]
    return b""
