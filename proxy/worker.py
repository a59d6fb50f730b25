"""One worker process: the core between its transports, timers and look-ups. Started by the supervisor as `python -m proxy.worker FD`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from mmap import PROT_READ, mmap
from pathlib import Path
from secrets import token_hex
from time import monotonic, perf_counter, time
from typing import Any, Final

import uvloop

from proxy.control import Ask, Begin, Channel, Drain, Drained, End, Forget, Load, Loaded, Ready, Snapshot, Switch, Switched, ToWorker
from proxy.core import Proxy
from proxy.flow import Flow
from proxy.generation import Generation, open_generation
from proxy.log import start_logging
from proxy.lookup import Lookups
from proxy.routing import Routing
from proxy.token import keyed
from proxy.transport.batched import UDP
from proxy.transport.counters import TransportCounters
from proxy.transport.peers import Held, Parcel, Peers
from proxy.transport.stream import Connection, StreamTransport
from rules.directory import Directory
from rules.shared_legs import SharedLegs, Table, table_octets

SHORTEST: Final = 0.01
"""Seconds between two looks at the timers at least: none of SIP's needs to be more exact, and each look is a wake-up."""

CLOCK: Final = 30.0
"""Seconds between two looks at the wall clock, which may be set."""

SALT_OCTETS: Final = 4
"""Random octets that tell this start's branches from those of the worker before it."""

DRAIN_LOOK: Final = 0.05
"""Seconds between two looks at what is still open while draining."""

DRAIN_LIMIT: Final = 5.0
"""Seconds that a worker has which is told to end by a signal."""

LINGER: Final = 10.0
"""Seconds after which no call waits any more that an old generation has begun to judge."""

SETTLED: Final = 1.0
"""Seconds after which what is still there is taken for no garbage."""

PARTING: Final = 0.002
"""Seconds between two steps of giving old lists back."""

GIVE_WAY: Final = 1e-4
"""Seconds after which a thread that loads gives way to the one that has the calls. Each may give way to the other at every system call."""

log = logging.getLogger("proxy.worker")  # the module is run as __main__


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
    ) -> None:
        config = generation.config
        self.loop = loop
        self.number = number
        self.generation = generation
        self.counters = TransportCounters()
        self.listeners = config.listeners()
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
        self.peers = Peers(loop, inbox, others or {}, self._deliver, self._noted, self.flush, self.counters)
        if legs:
            proxy.share_legs(_shared(legs, number, secret))
        self.lookups = Lookups(loop, self._answered, self.counters)
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
        for handle in (self._timer, self._clock):
            if handle is not None:
                handle.cancel()

    def flush(self) -> None:
        """Send, hand over and look up what the core asks for, and see when it wants to be woken."""
        proxy = self.proxy
        sends = proxy.take_sends()
        if sends:
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
        node = generation.config.node
        self.streams.limit(node.max_connections, node.max_connections_per_source)
        self.flush()

    def _serve(self, generation: Generation) -> None:
        """Have the look-ups that a generation asks for; what is known already needs no call to wait."""
        self.lookups.configure(generation.config.lookup)
        self.lookups.fetch_certificates(generation.config.certificates, generation.ca)
        generation.ruleset.recall = self.lookups.recall

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
        delay = max(SHORTEST, wanted - monotonic())
        self._timer_at = max(wanted, monotonic() + SHORTEST)
        self._timer = self.loop.call_later(delay, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self.proxy.handle_timer(monotonic())
        self.flush()

    def _set_clock(self) -> None:
        self.proxy.wall_offset = time() - monotonic()
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
            self.proxy.receive(parcel.data, flow, now)


class Session:
    """A worker's talk with its supervisor, from the first message to the end of the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel) -> None:
        self._loop = loop
        self._channel = channel
        self._next: tuple[Generation, Routing] | None = None
        self._wanted = ""  # the folder of the generation that is to become the next
        self._loading = asyncio.Lock()
        self._loads: set[asyncio.Task[None]] = set()
        self._draining = False
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until drained or until the supervisor is gone."""
        begin = await self._channel.receive(ToWorker)
        assert isinstance(begin, Begin)
        worker = self._make(begin)
        settle()
        keep_settled(self._loop)
        await worker.start()
        self._loop.add_signal_handler(signal.SIGTERM, self._drain, worker, DRAIN_LIMIT)
        self._channel.send(Ready())
        listening = self._loop.create_task(self._listen(worker))
        await self._over.wait()
        listening.cancel()
        worker.close()
        await worker.lookups.closed()
        await self._channel.flush()
        self._channel.close()

    async def _listen(self, worker: Worker) -> None:
        try:
            while True:
                self._obey(await self._channel.receive(ToWorker), worker)
        except EOFError:  # the supervisor has ended: nobody would restart, reload or watch this worker
            self._over.set()

    def _make(self, begin: Begin) -> Worker:
        """The worker; nothing else keeps its first generation."""
        generation = open_generation(Path(begin.folder), again=True)
        if generation.unsigned:
            log.error("calls are not signed: %s", generation.unsigned)
        return Worker(
            self._loop,
            generation,
            begin.secret,
            [socket.socket(fileno=fd) for fd in begin.sockets],
            ports=[socket.socket(fileno=fd) for fd in begin.ports],
            number=begin.worker,
            legs=begin.legs,
            inbox=socket.socket(fileno=begin.inbox),
            others={number: socket.socket(fileno=fd) for number, fd in begin.others.items()},
        )

    def _obey(self, message: ToWorker, worker: Worker) -> None:
        match message:
            case Ask():
                self._channel.send(worker.snapshot())
            case Load(folder):
                self._next = None
                self._wanted = folder
                task = self._loop.create_task(self._load(folder, worker))
                self._loads.add(task)
                task.add_done_callback(self._loads.discard)
            case Switch():
                if self._next is None:
                    log.error("told to put a generation in force, and none is ready: the old one stays")
                    return
                old = worker.generation.directory
                worker.switch(*self._next)
                self._next = None
                gc.freeze()
                gc.enable()
                self._loop.call_later(LINGER, self._part_with, old)
                self._channel.send(Switched())
            case Forget():
                self._next = None
                self._wanted = ""
                if not self._loading.locked():
                    gc.enable()
            case Drain(limit):
                self._drain(worker, limit)
            case End():
                self._end(worker)

    async def _load(self, folder: str, worker: Worker) -> None:
        """Make a generation ready while everything else that the supervisor says is obeyed: one at a time, and kept only if it is wanted
        still.
        """
        async with self._loading:
            if folder != self._wanted:
                return
            gc.disable()  # a look at everything that is loaded would stop the calls
            error = ""
            try:
                ready = await asyncio.to_thread(worker.prepare, Path(folder))
            except Exception as wrong:  # whatever is wrong with it, it is not put in force
                error = f"{type(wrong).__name__}: {wrong}"
            else:
                if folder == self._wanted:
                    self._next = ready
            if self._next is None:
                gc.enable()
            self._channel.send(Loaded(folder, error))

    def _part_with(self, old: Directory) -> None:
        """Let a directory go that is no longer in force. Where something still holds it, only a look for garbage can end that."""
        held = weakref.ref(old.life)
        steps = old.let_go()

        def step(steps: Iterator[None]) -> None:
            if next(steps, steps) is None:
                self._loop.call_later(PARTING, step, steps)
            else:
                self._loop.call_later(LINGER, lambda: settle() if held() is not None else None)

        step(steps)

    def _drain(self, worker: Worker, limit: float) -> None:
        if not self._draining:
            self._draining = True
            worker.proxy.drain()
            self._look(worker, monotonic() + limit)

    def _look(self, worker: Worker, until: float) -> None:
        if worker.idle:
            self._channel.send(Drained())
            self._loop.call_later(max(0.0, until - monotonic()), self._end, worker)
        elif monotonic() >= until:
            self._end(worker)
        else:
            self._loop.call_later(DRAIN_LOOK, self._look, worker, until)

    def _end(self, worker: Worker) -> None:
        self._channel.send(worker.snapshot())
        self._over.set()


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


def settle() -> None:
    """Take what was loaded out of the garbage collector's sight, and let it look at what is new only (see `keep_settled`)."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 1_000_000, 1_000_000)


def keep_settled(loop: asyncio.AbstractEventLoop) -> None:
    """Take what has lived for a second out of the collector's sight, once a second, in no time however much it is.

    Transactions live for half a minute and are no garbage: a collector that looks at all of them finds nothing and stops the calls for
    tens of milliseconds. What is dropped within that second in a circle is still found, a thousand objects at a look; an older circle
    stays until the next `settle`.
    """
    gc.freeze()
    loop.call_later(SETTLED, keep_settled, loop)


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _main(fd: int) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=fd))
    await Session(loop, Channel(reader, writer)).run()


def main(arguments: list[str]) -> int:
    """Run the worker whose control socket is the descriptor named."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's goes to all; the supervisor ends its workers
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    start_logging()
    sys.setswitchinterval(GIVE_WAY)
    _raise_file_limit()
    os.set_blocking(int(arguments[0]), False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(int(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
