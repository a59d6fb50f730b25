"""A worker process: its talk with the supervisor from the first message to the end. Started as `python -m proxy.session FD`."""

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
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final

import uvloop

from proxy.control import Ask, Begin, Channel, Drain, Drained, End, Forget, Load, Loaded, Ready, Switch, Switched, ToWorker
from proxy.generation import Generation, open_generation
from proxy.log import start_logging
from proxy.routing import Routing
from proxy.shared import map_owners, map_table
from proxy.worker import Worker
from rules.directory import Directory

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

log = logging.getLogger("proxy.session")  # the module is run as __main__


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
            ring=begin.ring,
            calls=map_table(begin.calls, begin.worker),
            owners=map_owners(begin.owners) if begin.owners >= 0 else None,
            reaches=begin.reaches,
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
