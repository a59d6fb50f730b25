"""What the supervisor and a worker say to each other, over one stream socket pair: msgpack behind a 4-octet length."""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final, TypeVar

import msgspec

_LENGTH: Final = struct.Struct("!I")
_LARGEST: Final = 64 << 20


class Begin(msgspec.Struct, tag=True, frozen=True):
    """First words to a new worker: who it is, what it runs on and which descriptors it was given."""

    worker: int
    folder: str
    secret: bytes
    sockets: tuple[int, ...]
    """File descriptors of the sockets of `Config.bindings()`, in their order."""
    ports: tuple[int, ...]
    """File descriptors of the sockets of `Config.worker_ports()`."""
    legs: tuple[int, ...]
    """File descriptors of all workers' tables of legs, by worker; none where there is one worker only."""
    inbox: int
    others: dict[int, int]
    """File descriptors of the other workers' inboxes."""
    ring: int = -1
    """File descriptor of the memory that events are put in, -1 where there is no journal."""
    calls: int = -1
    """The descriptor of the memory in which all workers count calls (`proxy.shared`)."""
    owners: int = -1
    """The descriptor of the memory in which they note whose an INVITE is, -1 where there is one worker only."""
    reaches: tuple[int, ...] = ()
    """Up to which octet of a datagram the kernel looks for a Call-ID, for each of `Config.bindings()`; 0: it goes by addresses."""


class Load(msgspec.Struct, tag=True, frozen=True):
    """Make a generation ready beside the one in force."""

    folder: str


class Switch(msgspec.Struct, tag=True, frozen=True):
    """Put the generation that is ready in force."""


class Forget(msgspec.Struct, tag=True, frozen=True):
    """Drop the generation that is ready: another worker could not load it."""


class Ask(msgspec.Struct, tag=True, frozen=True):
    """Tell your counters. Also how a worker shows that it is alive."""


class Drain(msgspec.Struct, tag=True, frozen=True):
    """Say Drained when no INVITE waits for its final response, and serve on until told to end, `limit` seconds at the most: what reaches
    this worker may belong to a call of another's.
    """

    limit: float


class End(msgspec.Struct, tag=True, frozen=True):
    """End now."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The worker takes calls."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """Answer to the Load of this folder; `error` is "" where it worked. It may come after the supervisor has given up waiting for it."""

    folder: str
    error: str


class Drained(msgspec.Struct, tag=True, frozen=True):
    """Answer to Drain, or to a signal that tells the worker to end: it has no call of its own to wait for."""


class Switched(msgspec.Struct, tag=True, frozen=True):
    """Answer to Switch, where a generation was ready."""


class LookupState(msgspec.Struct, frozen=True):
    """How things stand between a worker and the service of one kind of look-up."""

    kind: str
    paused: bool
    """Whether its breaker is open: it failed too often and is not asked."""
    open: int
    kept: int
    """Answers in the cache."""


Series = tuple[tuple[tuple[str, str, str], int], ...]
"""Counts by three labels."""


class Snapshot(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Everything a worker has counted since it started, and how things stand."""

    events: dict[str, int]
    invites: Series
    decisions: tuple[int, ...]
    decision_sum: float
    observed: Series = ()
    """Rejections that observe mode did not enforce, by trunk, rule and code."""
    spared: dict[str, int] = {}
    """Calls with any, by trunk."""
    rule_failures: dict[str, int] = {}
    transactions_server: int = 0
    transactions_client: int = 0
    parked: int = 0
    connections: int = 0
    next_hops: tuple[tuple[tuple[str, str], bool], ...] = ()
    """Whether each target of each next hop is found up."""
    lookups: tuple[tuple[str, str, int], ...] = ()
    """Look-ups by kind and outcome."""
    signatures: dict[str, int] = {}
    """Calls that left by a next hop which signs, by outcome."""
    limits: tuple[tuple[str, str, int], ...] = ()
    """Calls above a limit, by trunk and code."""
    calls: dict[str, int] = {}
    """Calls that are not over, by trunk."""
    lookup_states: tuple[LookupState, ...] = ()
    policy_version: str = ""
    directory_version: str = ""
    cpu_seconds: float = 0.0
    resident_bytes: int = 0


ToWorker = Begin | Load | Switch | Forget | Ask | Drain | End
ToSupervisor = Ready | Loaded | Switched | Drained | Snapshot

M = TypeVar("M")


class Channel:
    """One end of the socket pair. `receive` raises EOFError when the other end is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._encoder = msgspec.msgpack.Encoder()

    def send(self, message: ToWorker | ToSupervisor) -> None:
        """Queue one message; what a dead peer does not read is dropped."""
        data = self._encoder.encode(message)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self, kind: Any) -> Any:
        """The next message, one of the union `kind`."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > _LARGEST:
                raise EOFError
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise EOFError from None
        return msgspec.msgpack.decode(data, type=kind)

    async def flush(self) -> None:
        """Wait until the kernel has what was queued."""
        try:
            await self._writer.drain()
        except ConnectionError:
            pass

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
