"""The supervisor: opens the sockets, starts workers and starts them again, reloads all or nothing, ends in good order.

It carries no calls: while nothing happens it wakes up only to see that the workers are alive.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

from proxy.admin.server import AdminServer
from proxy.build import slow
from proxy.config import Config, unpack
from proxy.control import Begin, Drain, End, Forget, Load, Snapshot, Switch
from proxy.generation import CONFIG, Report
from proxy.journal.memory import MemoryFault
from proxy.journal.state import JournalState
from proxy.reading import KILL_LIMIT, fixed, read, remove
from proxy.recording import Recording
from proxy.secret import node_secret
from proxy.shared import make_memory, make_owners
from proxy.slot import Slot, WorkerGone
from proxy.sockets import open_admin, open_inboxes, open_own, open_sockets, place, receive_drops
from proxy.steering import steer
from proxy.systemd import notify, reloading, watchdog_interval
from proxy.totals import Totals
from rules.shared_legs import table_octets

READY_LIMIT: Final = 60.0
"""Seconds that a worker may take to start."""

LOAD_LIMIT: Final = 60.0
"""Seconds that a worker may take to make a new generation ready."""

DRAIN_LIMIT: Final = 5.0
"""Seconds that open transactions have to end in."""

LOOK: Final = 10.0
"""Seconds between looks at the workers."""

HUNG: Final = 30.0
"""Seconds without an answer after which a worker is killed and started again."""

SNAPSHOT_LIMIT: Final = 1.0
"""Seconds that a scrape waits for a busy worker; then its last numbers are shown."""

SHOWN_FAULTS: Final = 20

log = logging.getLogger(__name__)


class StartFault(Exception):
    """What keeps the node from starting, one line for each fault."""


class Supervisor:
    """One running node, made within a running event loop. `say` prints the lines of the start."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self.path = path
        self.reloads = 0
        self.reload_failures = 0
        self.restarts = 0
        self.draining = False
        self.slots: list[Slot] = []
        self.config: Config
        self._say = say
        self._past = Totals()
        self._folder = Path()
        self._runtime = Path()
        self._generation = 0
        self._sockets: list[list[socket.socket]] = []
        self._ports: list[list[socket.socket]] = []
        self.steering: dict[str, int] = {}
        self._inboxes: list[tuple[socket.socket, socket.socket]] = []
        self._legs: list[int] = []
        self._calls = -1
        self._owners = -1
        self._secret = b""
        self._recording: Recording | None = None
        self._changing = asyncio.Lock()  # held while a worker starts and while a reload is put in force: neither sees half of the other
        self._reloading = asyncio.Lock()  # one reload after the other
        self._on_demand: asyncio.Task[None] | None = None
        self._reload_wanted = asyncio.Event()
        self._end = asyncio.Event()
        self._failed = False
        self._started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> bool:
        """Run until told to end; False where it ends because something of its own failed. Raises StartFault, SocketFault or SecretFault
        where the node cannot start.
        """
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
        self._runtime = Path(tempfile.mkdtemp(prefix="sipwarden-", dir=runtime))
        try:
            await self._run()
        finally:
            shutil.rmtree(self._runtime, ignore_errors=True)
        return not self._failed

    async def _run(self) -> None:
        if line := slow():
            log.warning("%s", line)
        report, folder = await self._build()
        if report.faults:
            raise StartFault("\n".join(map(str, report.faults)))
        if report.warnings:
            log.warning("%d warnings about the configuration: `sipwarden check` shows them", len(report.warnings))
        self._folder = folder
        self.config = config = unpack((folder / CONFIG).read_bytes())
        self._secret = node_secret(config.state_path(config.node.secret_file))
        count = config.node.workers or len(os.sched_getaffinity(0))
        bindings = config.bindings()
        self._sockets = open_sockets(bindings, count)
        self._ports = open_own([config.worker_ports(number) for number in range(count)])
        self.steering = steer(self._sockets, bindings, wanted=config.node.steering)
        self._inboxes = open_inboxes(count)
        self._legs = open_tables(count) if count > 1 else []
        self._calls = make_memory(count)
        self._owners = make_owners(count) if count > 1 else -1
        admin = AdminServer(self, open_admin(*config.admin.bound)) if config.admin is not None else None
        if config.journal is not None:
            try:
                self._recording = Recording(config, config.journal, count)
            except MemoryFault as fault:
                raise StartFault(str(fault)) from None
            self._spawn(self._recording.keep())
        self.slots = [Slot(number) for number in range(count)]
        gc.freeze()  # a scrape makes hundreds of thousands of tuples and no garbage: the collector would look at them over and over
        gc.set_threshold(100_000, 50, 50)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        if admin is not None:
            admin.start()
        for slot in self.slots:
            self._spawn(self._keep(slot))
        self._spawn(self._end_without_start())
        try:
            if await self._started:
                for binding in bindings:
                    self._say(f"listening on {place(binding)}")
                if config.node.worker_ports is not None:
                    for first, last in zip(config.worker_ports(0), config.worker_ports(count - 1), strict=True):
                        self._say(f"responses at {place(first)}" + (f" to {last[2]}" if last != first else ""))
                if config.admin is not None:
                    self._say(f"admin on http://{config.admin.listen}")
                notify("READY=1", f"STATUS={count} workers")
                for task in (self._watch(), self._feed_watchdog()):
                    self._spawn(task)
                self._on_demand = self._spawn(self._reload_on_demand())
            await self._end.wait()
        finally:
            await self._drain()
            if admin is not None:
                await admin.stop()
            if self._recording is not None:
                self._recording.close()
                self._recording = None

    @property
    def ready(self) -> bool:
        """Whether every worker takes calls and none is being told to end."""
        return not self.draining and bool(self.slots) and all(slot.ready for slot in self.slots)

    @property
    def workers_up(self) -> int:
        """How many workers take calls."""
        return sum(slot.ready for slot in self.slots)

    async def snapshots(self) -> tuple[Totals, list[Snapshot]]:
        """Counters of all workers that there are and were, and the newest snapshot of each that there is."""
        await asyncio.gather(*(slot.refresh(SNAPSHOT_LIMIT) for slot in self.slots if slot.ready))
        latest = [slot.latest for slot in self.slots if slot.latest is not None]
        return self._past.plus(latest), latest

    def journal(self) -> JournalState | None:
        """How the journal stands; None where there is none."""
        return None if self._recording is None else self._recording.state()

    def socket_drops(self) -> int:
        """Datagrams that the kernel dropped because a worker did not read them in time."""
        every = (sock for sockets in (*self._sockets, *self._ports) for sock in sockets)
        return sum(receive_drops(sock) for sock in every if sock.type == socket.SOCK_DGRAM)

    async def reload(self) -> bool:
        """Read everything again and put it in force in all workers, or in none."""
        reloading()
        try:
            async with self._reloading:
                faults = await self._reload()
        finally:
            if not self.draining:
                notify("READY=1")
        if faults:
            self.reload_failures += 1
            # one record: each fault as one of its own would be held back from the sixth in a minute on
            shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN_FAULTS])
            log.error("reload failed: %d faults, the old configuration stays in force:\n%s", len(faults), shown)
            return False
        self.reloads += 1
        log.info("reloaded")
        return True

    async def _reload(self) -> Sequence[object]:
        report, folder = await self._build()  # for minutes where lists are long: workers that die meanwhile are started again
        faults: Sequence[object] = report.faults
        if not faults:
            async with self._changing:
                faults = await self._put_in_force(folder)
        if faults:
            self._spawn(remove(folder))
        return faults

    async def _put_in_force(self, folder: Path) -> Sequence[object]:
        config = unpack((folder / CONFIG).read_bytes())
        faults: Sequence[object] = fixed(self.config, config) or await self._load(folder)
        if faults:
            return faults
        old, self._folder, self.config = self._folder, folder, config
        for slot in self.slots:
            slot.tell(Switch())
        if self._recording is not None:
            self._recording.apply(config)
        self._spawn(remove(old))
        return ()

    async def _load(self, folder: Path) -> list[str]:
        """Have every worker make a generation ready; what went wrong where it did in any."""
        absent = [f"worker {slot.number} is not running" for slot in self.slots if not slot.ready]
        if absent:
            return absent
        answers = await asyncio.gather(*(slot.load(Load(str(folder)), LOAD_LIMIT) for slot in self.slots))
        wrong = [f"worker {slot.number}: {answer}" for slot, answer in zip(self.slots, answers, strict=True) if answer]
        if wrong:
            for slot in self.slots:
                slot.tell(Forget())
        return wrong

    async def _build(self) -> tuple[Report, Path]:
        self._generation += 1
        folder = self._runtime / str(self._generation)
        return await read(self.path, folder, behind=bool(self.slots)), folder

    async def _keep(self, slot: Slot) -> None:
        """Have a worker run in this slot for as long as the node runs."""
        while True:
            async with self._changing:
                if self.draining:  # maybe since it waits
                    return
                try:
                    await slot.start(self._begin(slot), READY_LIMIT)
                except WorkerGone as error:
                    log.error("worker %d did not start: %s", slot.number, error)
                    if not self._started.done():
                        self._started.set_exception(StartFault(f"worker {slot.number} did not start: {error}"))
                        return
            if not self._started.done() and all(other.ready for other in self.slots):
                self._started.set_result(True)
            await slot.ended()
            self._bury(slot)
            await asyncio.sleep(slot.pause(monotonic()))

    def _bury(self, slot: Slot) -> None:
        """Keep what a worker that has ended had counted."""
        if slot.latest is not None:
            self._past.add(slot.latest)
            slot.latest = None
        if not self.draining:
            self.restarts += 1
            log.error("worker %d ended with status %s; it is started again", slot.number, slot.status)

    def _begin(self, slot: Slot) -> Begin:
        others = {other.number: self._inboxes[other.number][1].fileno() for other in self.slots if other is not slot}
        return Begin(
            worker=slot.number,
            folder=str(self._folder),
            secret=self._secret,
            sockets=tuple(sock.fileno() for sock in self._sockets[slot.number]),
            ports=tuple(sock.fileno() for sock in self._ports[slot.number]),
            legs=tuple(self._legs),
            inbox=self._inboxes[slot.number][0].fileno(),
            others=others,
            ring=-1 if self._recording is None else self._recording.ring_fd(slot.number),
            calls=self._calls,
            owners=self._owners,
            reaches=tuple(self.steering.get(place(binding), 0) for binding in self.config.bindings()),
        )

    async def _end_without_start(self) -> None:
        """Let a node that is told to end before its workers are ready end at once."""
        await self._end.wait()
        if not self._started.done():
            self._started.set_result(False)

    async def _watch(self) -> None:
        """See that workers answer; kill those that do not, which starts them again."""
        while True:
            await asyncio.sleep(LOOK)
            for slot in self.slots:
                if slot.ready and not slot.probe(monotonic(), HUNG):
                    log.error("worker %d does not answer and is killed", slot.number)
                    slot.kill()
            if self._recording is not None:
                self._recording.watch()

    async def _feed_watchdog(self) -> None:
        interval = watchdog_interval()
        while interval is not None:
            notify("WATCHDOG=1")
            await asyncio.sleep(interval)

    async def _reload_on_demand(self) -> None:
        """One reload after another; what is asked for while one runs is one more, which sees the newest files."""
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self.reload()

    async def _drain(self) -> None:
        """Let calls that are being set up come to their answer, then end the workers: all at once, for each may receive what another waits
        for.
        """
        self.draining = True
        notify("STOPPING=1")
        if self._on_demand is not None:
            self._on_demand.cancel()  # and the process that reads for it
        try:
            async with asyncio.timeout(DRAIN_LIMIT):
                await asyncio.gather(*(slot.drain(Drain(DRAIN_LIMIT)) for slot in self.slots))
        except TimeoutError:
            pass
        for slot in self.slots:
            slot.tell(End())
        if not await self._all_ended(2.0):
            for slot in self.slots:
                slot.kill()
            await self._all_ended(2.0)
        if self._recording is not None:
            await self._recording.end()
        if self._on_demand is not None:
            await asyncio.wait([self._on_demand], timeout=KILL_LIMIT)  # what it reads into is removed next
        for task in list(self._tasks):
            task.cancel()

    async def _all_ended(self, limit: float) -> bool:
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*(slot.ended() for slot in self.slots))
        except TimeoutError:
            return False
        return True

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("the supervisor itself failed", exc_info=task.exception())
            self._failed = True
            self._end.set()


def open_tables(workers: int) -> list[int]:
    """Memory for the legs of each worker, as descriptors: it takes no room before it is used, and outlives the workers."""
    made = [os.memfd_create(f"sipwarden-legs-{worker}") for worker in range(workers)]
    for file in made:
        os.ftruncate(file, table_octets())
    return made
