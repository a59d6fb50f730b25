"""Messages that reached the wrong worker go to the right one: one SEQPACKET socket pair for each worker, written by all the others.

SEQPACKET and not DGRAM: the latter's queue is counted in messages (net.unix.max_dgram_qlen, 10 on a stock kernel), the former's in bytes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final

import msgspec

from proxy.flow import Flow
from proxy.hangup import Hangup
from proxy.transport.counters import TransportCounters

BATCH: Final = 64

UNTOLD_KEPT: Final = 8192
"""Ends of calls that wait for room in the inboxes of their owners."""

RETRY: Final = 0.05
"""Seconds until it is tried again."""

_LARGEST: Final = 1 << 17


class Parcel(msgspec.Struct, array_like=True, tag=True):
    """What one worker gives another: bytes that were received or, with `outgoing`, bytes for a connection that the receiver holds."""

    outgoing: bool
    listener: int
    address: str
    port: int
    connection: int
    data: bytes


class Held(msgspec.Struct, array_like=True, tag=True):
    """A worker accepted a connection, or lost one: requests to that address go over it, for who called over a connection need not listen
    where it called from.
    """

    listener: int
    address: str
    port: int
    worker: int
    open: bool


class Hangups(msgspec.Struct, array_like=True, tag=True):
    """Calls of the receiver's that ended at the sender's."""

    said: list[Hangup]


class Peers:
    """One worker's way to the others and its own inbox.

    `deliver(parcel, now)` is called for each parcel, `note(held)` for what another says of its connections, `hear_end(said, now)` for
    what it says of the end of a call of this worker's, `flush()` after each batch. A parcel for a full inbox is dropped and counted: a
    retransmission brings the message again. The end of a call is told again until there is room.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inbox: socket.socket | None,
        others: Mapping[int, socket.socket],
        deliver: Callable[[Parcel, float], None],
        note: Callable[[Held], None],
        hear_end: Callable[[Hangup, float], None],
        flush: Callable[[], None],
        counters: TransportCounters,
    ) -> None:
        self._loop = loop
        self._inbox = inbox
        self._others = others
        self._deliver = deliver
        self._note = note
        self._hear_end = hear_end
        self._untold: list[tuple[int, Hangup]] = []
        self._again: asyncio.TimerHandle | None = None
        self._flush = flush
        self._counters = counters
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Parcel | Held | Hangups).decode

    def start(self) -> None:
        """Begin to read the inbox."""
        if self._inbox is not None:
            self._loop.add_reader(self._inbox.fileno(), self._readable)

    def close(self) -> None:
        """Stop reading; what is left in the inbox waits for the next worker of this number."""
        if self._inbox is not None:
            self._loop.remove_reader(self._inbox.fileno())
        if self._again is not None:
            self._again.cancel()

    def hand_over(self, parcels: Sequence[tuple[int, Flow, bytes]], *, outgoing: bool = False) -> None:
        """Give messages to other workers."""
        for worker, flow, data in parcels:
            other = self._others.get(worker)
            if other is None:
                self._counters.handover_dropped += 1
                continue
            try:
                other.send(self._encode(Parcel(outgoing, flow.listener.index, flow.address, flow.port, flow.connection, data)))
            except OSError:  # EAGAIN: its queue is full
                self._counters.handover_dropped += 1

    def tell(self, news: Held) -> None:
        """Have all other workers know of a connection. One that does not hear of it opens a connection of its own."""
        data = self._encode(news)
        for other in self._others.values():
            try:
                other.send(data)
            except OSError:
                self._counters.handover_dropped += 1

    def tell_hangups(self, said: Sequence[tuple[int, Hangup]]) -> None:
        """Tell each call's owner of its end, behind what could not be told before."""
        waiting, self._untold = [*self._untold, *said], []
        by_owner: dict[int, list[Hangup]] = {}
        for owner, one in waiting:
            by_owner.setdefault(owner, []).append(one)
        for owner, ends in by_owner.items():
            for start in range(0, len(ends), BATCH):
                batch = ends[start : start + BATCH]
                try:
                    self._others[owner].send(self._encode(Hangups(batch)))
                except KeyError:  # no such worker: nothing counts the call
                    break
                except OSError:  # EAGAIN: its queue is full
                    self._untold += [(owner, one) for one in ends[start:]]
                    break
        self._counters.handover_dropped += max(0, len(self._untold) - UNTOLD_KEPT)
        del self._untold[UNTOLD_KEPT:]
        if self._untold and self._again is None:
            self._again = self._loop.call_later(RETRY, self._tell_again)

    def _tell_again(self) -> None:
        self._again = None
        self.tell_hangups(())

    def _readable(self) -> None:
        if self._inbox is None:
            return
        now = monotonic()
        for _ in range(BATCH):
            try:
                data = self._inbox.recv(_LARGEST)
            except BlockingIOError:
                break
            if not data:  # no writer is left
                self.close()
                break
            parcel = self._decode(data)
            if isinstance(parcel, Held):
                self._note(parcel)
            elif isinstance(parcel, Hangups):
                for said in parcel.said:
                    self._hear_end(said, now)
            else:
                self._deliver(parcel, now)
        self._flush()
