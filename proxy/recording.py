"""The journal as the supervisor has it: the memory that workers put events in, the keeper that takes them out, and how it all stands."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, time, time_ns
from typing import Final

import msgspec

from proxy.config import Config, JournalConfig
from proxy.journal.board import NAMES
from proxy.journal.memory import SHARED_MEMORY, Memory
from proxy.journal.ring import HIGH_WATER
from proxy.journal.settings import KeeperSettings
from proxy.journal.state import JournalState
from proxy.slot import CHILD_ENVIRONMENT, LONGEST_PAUSE, SHORTEST_PAUSE, STABLE

COMPACTOR: Final = ""
"""The module that makes other files of sealed segments (`proxy.journal.notary.CompactTask`)."""

END_LIMIT: Final = 12.0
"""Seconds that a keeper has to write what it has left."""

HUNG: Final = 60.0
"""Seconds without a sign of life after which a keeper is killed and started again; one that waits for a disk ends when that answers."""

STALE: Final = 5.0
"""Seconds without a flush, beyond the flush interval, after which the journal counts as down."""

log = logging.getLogger(__name__)


class Recording:
    """One node's journal, made before its workers start. `state` may be asked at any time."""

    def __init__(self, config: Config, journal: JournalConfig, workers: int) -> None:
        """Raises MemoryFault."""
        self.restarts = 0
        self.memory = Memory(config.state_path(journal.path), workers, journal.buffer, time_ns(), _places(config, journal))
        self._journal = journal
        self._settings = self._settings_for(config, journal)
        self._process: Process | None = None
        self._ending = asyncio.Event()
        self._began = 0.0
        self._began_at = time()
        self._pause = SHORTEST_PAUSE

    def ring_fd(self, worker: int) -> int:
        """The descriptor that a worker is given."""
        return self.memory.ring_fd(worker)

    async def keep(self) -> None:
        """Have a keeper run until `end`."""
        while not self._ending.is_set():
            self._began = monotonic()
            try:
                process = await self._start()
            except OSError as error:
                log.error("the journal's keeper cannot be started: %s", error)
            else:
                status = await process.wait()
                if not self._ending.is_set() and status != 0:
                    self.restarts += 1
                    log.error("the journal's keeper ended with status %s; it is started again, events wait in memory", status)
            pause = SHORTEST_PAUSE if monotonic() - self._began > STABLE else self._pause
            self._pause = min(pause * 2, LONGEST_PAUSE)
            try:
                async with asyncio.timeout(pause):
                    await self._ending.wait()
            except TimeoutError:
                pass

    def apply(self, config: Config) -> None:
        """Put another configuration in force: the keeper writes what it has, ends, and is started anew with it."""
        if config.journal is None:
            return
        settings = self._settings_for(config, config.journal)
        self._journal = config.journal
        if settings != self._settings:
            self._settings = settings
            self._close_input()

    def watch(self) -> None:
        """Kill a keeper that shows no sign of life."""
        age = time() - max(self.memory.board.get("heartbeat"), self.memory.board.get("started")) / 1000
        running = self._process is not None and self._process.returncode is None
        if running and age > HUNG and monotonic() - self._began > HUNG:
            log.error("the journal's keeper shows no sign of life and is killed")
            self._kill()

    async def end(self) -> None:
        """Have the keeper write what is left; the workers have ended. What it cannot write waits in memory for the next start."""
        self._ending.set()
        self._close_input()
        if self._process is not None:
            try:
                async with asyncio.timeout(END_LIMIT):
                    await self._process.wait()
            except TimeoutError:
                log.error("the journal's keeper waits for its disk and is killed; events that it has not written wait in memory")
                self._kill()

    def close(self) -> None:
        """Give the memory back where nothing waits in it."""
        try:
            self.memory.remove()
        except OSError as error:
            log.warning("the journal's buffer stays: %s", error)

    def state(self) -> JournalState:
        """How it stands now."""
        rings, board = self.memory.rings, self.memory.board
        counts = {name: board.get(name) for name in NAMES}
        flush_age = max(0.0, time() - max(counts["flushed"] / 1000, self._began_at))
        fill = max(ring.used / ring.capacity for ring in rings)
        alive = self._process is not None and self._process.returncode is None
        return JournalState(
            up=alive and bool(counts["up"]) and flush_age < self._settings.flush + STALE,
            refusing=self._journal.on_full == "refuse" and fill > HIGH_WATER,
            told=sum(ring.told for ring in rings),
            lost=sum(ring.lost for ring in rings),
            waiting=sum(ring.used for ring in rings),
            fill=fill,
            flush_age=flush_age,
            restarts=self.restarts,
            counts=counts,
        )

    async def _start(self) -> Process:
        rings = [setting.fd for setting in self._settings.rings]
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "proxy.journal.keeper",
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(self._settings.board, *rings),
            env=CHILD_ENVIRONMENT,
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(self._settings) + b"\n")
        return process

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _settings_for(self, config: Config, journal: JournalConfig) -> KeeperSettings:
        return KeeperSettings(
            path=str(config.state_path(journal.path)),
            node=config.node.name,
            key=str(config.state_path(journal.key)),
            retention=float(journal.retention),
            flush=float(journal.flush),
            segment_size=int(journal.segment_size),
            segment_time=float(journal.segment_time),
            holds="" if journal.holds is None else str(config.path(journal.holds)),
            compactor=COMPACTOR,
            board=self.memory.board_fd,
            rings=self.memory.settings(),
        )


def _places(config: Config, journal: JournalConfig) -> Sequence[Path]:
    """Where the buffers may lie, best first. The runtime directory is ours alone, and outlives a crash where the unit says so."""
    if journal.buffer_path is not None:
        return [config.state_path(journal.buffer_path)]
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return [Path(runtime), SHARED_MEMORY] if runtime else [SHARED_MEMORY]
