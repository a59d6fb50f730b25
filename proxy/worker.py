"""One worker: the core between its transports, timers and look-ups."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from mmap import PROT_READ, mmap
from pathlib import Path
from secrets import token_hex
from time import monotonic, perf_counter, time
from typing import Any, Final

from proxy.call_table import CallTable
from proxy.config import Config, TraceConfig
from proxy.control import Snapshot
from proxy.core import Proxy
from proxy.flow import Flow
from proxy.generation import Generation, open_generation
from proxy.journal.recorder import Recorder, open_ring
from proxy.livetrace import LiveTrace
from proxy.lookup import Lookups
from proxy.owners import Owners
from proxy.routing import Routing
from proxy.token import keyed
from proxy.transport.batched import UDP
from proxy.transport.counters import TransportCounters
from proxy.transport.peers import Held, Parcel, Peers
from proxy.transport.stream import Connection, StreamTransport
from rules.shared_legs import SharedLegs, Table, table_octets

SHORTEST: Final = 0.01
"""Seconds between two looks at the timers at least: none of SIP's needs to be more exact, and each look is a wake-up."""

LOOK: Final = 0.2
"""Seconds between two looks whether calls can be recorded again."""

CLOCK: Final = 30.0
"""Seconds between two looks at the wall clock, which may be set."""

SALT_OCTETS: Final = 4
"""Random octets that tell this start's branches from those of the worker before it."""

log = logging.getLogger(__name__)


class Worker:
    """Joins one core to its sockets. Everything that the core wants done is done in `flush`, once for each batch of input."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        generation: Generation,
        secret: bytes,
        sockets: Sequence[socket.socket],
        *,
        ports: Sequence[socket.socket] = (),
        number: int = 0,
        legs: Sequence[int] = (),
        inbox: socket.socket | None = None,
        others: Mapping[int, socket.socket] | None = None,
        ring: int = -1,
        calls: CallTable | None = None,
        owners: memoryview | None = None,
        reaches: Sequence[int] = (),
    ) -> None:
        """`calls`: the memory to count calls in; without one, calls are followed only where their events are asked for. `owners`: the
        memory in which several workers note whose an INVITE is; `reaches`: up to which octet the kernel looks for a Call-ID, by listener.
        """
        config = generation.config
        self.loop = loop
        self.number = number
        self.generation = generation
        self.counters = TransportCounters()
        self.listeners = config.listeners()
        for listener, reach in zip(self.listeners, reaches, strict=False):
            listener.reach = 0 if ports else reach  # what comes to a port of one worker's own came by no Call-ID
        own: dict[int, socket.socket] = {}
        if ports:
            udp = [listener for listener in self.listeners if listener.transport == "udp"]
            for listener, sock in zip(udp, ports, strict=True):
                own[listener.index] = sock
                listener.answered_at(sock.getsockname()[1])
        salt = token_hex(SALT_OCTETS).encode()
        self.proxy = proxy = Proxy(
            config,
            generation.ruleset,
            self.listeners,
            secret,
            worker=number,
            clock=perf_counter,
            salt=salt,
            now=monotonic(),
            credential=generation.credential,
        )
        proxy.watch_signing(_unsigned)
        self.recorder: Recorder | None = None
        if ring >= 0:
            self.recorder = Recorder(open_ring(ring, number), self._refuse_calls)
            proxy.keep_events()
        by_kind: dict[str, dict[int, socket.socket]] = {"udp": {}, "tcp": {}}
        for listener, sock in zip(self.listeners, sockets, strict=True):
            by_kind[listener.transport][listener.index] = sock
        self.udp = UDP(loop, self.listeners, by_kind["udp"], proxy.receive, self.flush, self.counters, own)
        self.streams = StreamTransport(
            loop,
            self.listeners,
            by_kind["tcp"],
            proxy.receive,
            self.flush,
            proxy.send_failed,
            self.counters,
            worker=number,
            announce=self._announce,
        )
        self.streams.limit(config.node.max_connections, config.node.max_connections_per_source)
        self.peers = Peers(loop, inbox, others or {}, self._deliver, self._noted, proxy.hear_of_hangup, self.flush, self.counters)
        if legs:
            proxy.share_legs(_shared(legs, number, secret))
        if owners is not None:
            proxy.share_owners(Owners(owners, number, secret))
        self._calls = calls
        self._counting = False
        self._count_calls(generation)
        self.lookups = Lookups(loop, self._answered, self.counters)
        self.trace: LiveTrace | None = None
        self._trace_as: TraceConfig | None = None
        self._serve(generation)
        self._failures: Counter[str] = Counter()  # of rule sets that are no longer in force
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._clock: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin to take messages."""
        self._set_clock()
        await self.streams.start()
        self.peers.start()
        self.udp.start()
        self.flush()

    def close(self) -> None:
        """Stop at once; connections are closed after what was written has left."""
        self.udp.close()
        self.peers.close()
        self.streams.close()
        self.lookups.close()
        if self.trace is not None:
            self.trace.close()
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None
        for handle in (self._timer, self._clock):
            if handle is not None:
                handle.cancel()

    def flush(self) -> None:
        """Send, hand over and look up what the core asks for, and see when it wants to be woken."""
        proxy = self.proxy
        if self.recorder is not None:
            events = proxy.take_events()
            if events:
                self.recorder.put(events)  # before anything is sent: what the network has heard of is written
        hangups = proxy.take_hangups()
        if hangups:
            self.peers.tell_hangups(hangups)
        sends = proxy.take_sends()
        if sends:
            if self.trace is not None:
                self.trace.sent(sends)
            for flow, data in self.udp.send(sends):
                owner = self.streams.holder(flow)
                if owner != self.number:
                    self.peers.hand_over([(owner, flow, data)], outgoing=True)
                else:
                    self.streams.send(flow, data)
        handovers = proxy.take_handovers()
        if handovers:
            self.peers.hand_over(handovers)
        lookups = proxy.take_lookups()
        if lookups:
            self.lookups.start(lookups)
        if proxy.faults:
            for fault in proxy.faults:
                log.error("a message made this program fail:\n%s", fault)
            proxy.faults.clear()
        if self._timer is None or self._timer_at - SHORTEST > monotonic():  # otherwise nothing can be wanted earlier
            wanted = proxy.next_timer()
            if wanted is not None and (self._timer is None or wanted < self._timer_at - SHORTEST):
                self._arm(wanted)

    def prepare(self, folder: Path) -> tuple[Generation, Routing]:
        """Open a generation and make everything that `switch` wants, while calls go on in another thread. Raises what is wrong with it."""
        generation = open_generation(folder)
        return generation, Routing(generation.config, self.listeners, self.proxy.secret)

    def switch(self, generation: Generation, routing: Routing | None = None) -> None:
        """Put another generation in force; calls in progress go on."""
        self._serve(generation)
        self.proxy.apply(generation.config, generation.ruleset, monotonic(), generation.credential, routing)
        self._failures.update(self.generation.ruleset.failures)
        self.generation = generation
        self._count_calls(generation)
        node = generation.config.node
        self.streams.limit(node.max_connections, node.max_connections_per_source)
        self.flush()

    def _count_calls(self, generation: Generation) -> None:
        """Count calls from now on where records or limits want that. Each costs a third of what it takes to pass it on: where nobody wants
        it, none is followed.
        """
        config = generation.config
        limited = any(trunk.max_calls is not None or trunk.max_cps is not None for trunk in config.trunk)
        wanted = limited or config.journal is not None or bool(generation.directory.capped)
        if wanted and self._calls is not None and not self._counting:
            self._counting = True
            self.proxy.count_calls(self._calls, monotonic())

    def _serve(self, generation: Generation) -> None:
        """Have the look-ups that a generation asks for; what is known already needs no call to wait."""
        self.lookups.configure(generation.config.lookup)
        self.lookups.fetch_certificates(generation.config.certificates, generation.ca)
        generation.ruleset.recall = self.lookups.recall
        if self.recorder is not None:
            journal = generation.config.journal
            self.recorder.must_record = journal is not None and journal.on_full == "refuse"
            self.recorder.look()
        self._trace(generation.config)

    def _trace(self, config: Config) -> None:
        """Tell a capture server of messages, or no more, as the configuration has it."""
        if config.trace == self._trace_as:
            return
        if self.trace is not None:
            self.trace.close()
            self.trace = None
        self._trace_as = config.trace
        if config.trace is not None:
            try:
                self.trace = LiveTrace(self.loop, config.trace, config.node.name, self.proxy.receive, self.counters)
            except OSError as error:
                self._trace_as = None  # the next reload tries again
                log.error("no live trace: %s: %s", config.trace.collector, error.strerror or error)
        receive = self.proxy.receive if self.trace is None else self.trace.receive
        self.udp.take_in(receive)
        self.streams.receive = receive

    def _refuse_calls(self, refuse: bool) -> None:
        self.proxy.refuse_calls(refuse)
        if refuse:
            log.error("calls are refused, but emergency calls: the buffer of the journal is full")
            self.loop.call_later(LOOK, self._look)
        else:
            log.warning("calls are taken again: the journal has room")

    def _look(self) -> None:
        if self.recorder is not None:
            self.recorder.look()
            if self.recorder.refusing:
                self.loop.call_later(LOOK, self._look)

    def snapshot(self) -> Snapshot:
        """Counters and gauges as they stand."""
        counted = self.proxy.counters.snapshot()
        gauges = self.proxy.gauges()
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Snapshot(
            events=counted["events"] | self.counters.snapshot(),
            invites=counted["invites"],
            observed=counted["observed"],
            spared=counted["spared"],
            decisions=tuple(counted["decisions"]),
            decision_sum=counted["decision_sum"],
            signatures=dict(self.proxy.counters.signatures),
            limits=tuple((trunk, code, count) for (trunk, code), count in self.proxy.counters.limits.items()),
            calls=gauges["calls"],
            rule_failures=dict(self._failures + Counter(self.generation.ruleset.failures)),
            transactions_server=gauges["transactions_server"],
            transactions_client=gauges["transactions_client"],
            parked=gauges["parked"],
            connections=self.streams.connections,
            lookups=tuple((kind, outcome, count) for (kind, outcome), count in self.lookups.counts.items()),
            lookup_states=self.lookups.states(),
            next_hops=tuple(gauges["next_hops"].items()),
            policy_version=self.generation.ruleset.policy_version,
            directory_version=self.generation.directory.version,
            cpu_seconds=used.ru_utime + used.ru_stime,
            resident_bytes=_resident(),
        )

    @property
    def idle(self) -> bool:
        """Whether no INVITE waits for its final response."""
        return not self.proxy.pending()

    def _arm(self, wanted: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = monotonic()
        # what a turn at the timers has left over is due for long already, and there may be more of it than one turn each SHORTEST takes
        delay = 0.0 if wanted < now - SHORTEST else max(SHORTEST, wanted - now)
        self._timer_at = now + delay
        self._timer = self.loop.call_later(delay, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self.proxy.handle_timer(monotonic())
        self.flush()

    def _set_clock(self) -> None:
        self.proxy.wall_offset = offset = time() - monotonic()
        if self.trace is not None:
            self.trace.set_clock(offset)
        self._clock = self.loop.call_later(CLOCK, self._set_clock)

    def _answered(self, ticket: int, answer: object) -> None:
        self.proxy.resume(ticket, answer, monotonic())
        self.flush()

    def _announce(self, connection: Connection, open_: bool) -> None:
        self.peers.tell(Held(connection.listener.index, connection.address, connection.port, self.number, open_))

    def _noted(self, held: Held) -> None:
        self.streams.note((held.listener, held.address, held.port), held.worker, held=held.open)

    def _deliver(self, parcel: Parcel, now: float) -> None:
        if parcel.listener >= len(self.listeners):
            return
        listener = self.listeners[parcel.listener]
        if listener.transport == "udp":
            sockaddr: tuple[Any, ...] = (parcel.address, parcel.port, 0, 0) if listener.ipv6 else (parcel.address, parcel.port)
            flow = self.udp.flow(parcel.listener, sockaddr)
        else:
            flow = Flow(listener, parcel.address, parcel.port, connection=parcel.connection)
        if parcel.outgoing:
            self.streams.send(flow, parcel.data)
        else:
            self.proxy.receive_handed(parcel.data, flow, now)


def _shared(descriptors: Sequence[int], number: int, secret: bytes) -> SharedLegs:
    """The legs of all workers, whose tables are in these files, by worker; `number` is ours. What a worker before us had being set up, no
    call of ours will end.
    """
    own = Table(memoryview(mmap(descriptors[number], table_octets())))
    if os.fstat(descriptors[number]).st_blocks:
        own.none_in_setup()
    others = [mmap(file, table_octets(), prot=PROT_READ) for at, file in enumerate(descriptors) if at != number]
    return SharedLegs(own, [Table(memoryview(other)) for other in others], keyed(secret, b"sw-legs", 16))


def _unsigned(why: str) -> None:
    log.error("calls are not signed: %s", why)


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
