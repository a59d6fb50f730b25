"""The keeper of a node's journal, a process of its own: `python -m proxy.journal.keeper`, with `KeeperSettings` on standard input.

It takes frames from the workers' rings to the open segment many times a second, and leaves what may take long to its `Notary`. It ends when
its standard input ends, after the workers have; killed at any moment it loses and doubles nothing, for the rings keep what is not written.
Whatever is wrong with the disk, it says so once a minute and tries again each second, for as long as it runs.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep, time
from typing import Final

import msgspec

from proxy.journal.board import Board
from proxy.journal.chain import ChainFault
from proxy.journal.key import KeyFault
from proxy.journal.notary import NO_ROOM, Notary
from proxy.journal.ring import RingReader
from proxy.journal.settings import KeeperSettings
from proxy.journal.volume import Volume, VolumeFault
from proxy.log import start_logging

STEP: Final = 0.05
"""Seconds between two looks at the rings."""

AGAIN: Final = 1.0
"""Seconds between two tries where the disk does not do what it should."""

LONGEST_PAUSE: Final = 10.0

COMPLAIN: Final = 60.0

LAST_WAIT: Final = 10.0
"""Seconds that workers have to end after the supervisor has."""

SEALS_WAITING: Final = 4
"""Finished segments that wait for the disk; with as many no further one is begun."""

NICE: Final = 5

SETTINGS_LIMIT: Final = 1 << 20

log = logging.getLogger("proxy.journal.keeper")  # the module is run as __main__


class Keeper:
    """Everything a keeper does. `ended` waits for some seconds, and says whether the node has ended."""

    def __init__(self, settings: KeeperSettings, ended: Callable[[float], bool]) -> None:
        self._settings = settings
        self._ended = ended
        self._board = Board(settings.board)
        self._rings = [RingReader(ring.fd, ring.worker) for ring in settings.rings]
        self._complained: dict[str, float] = {}

    def run(self) -> int:
        """Work until the node ends; 0, or 1 where events are left in the rings."""
        self._board.put("started", _milliseconds())
        over = False
        pause = AGAIN
        while True:
            began = monotonic()
            try:
                self._work(final=over)
            except (OSError, VolumeFault, KeyFault, ChainFault) as error:
                self._board.put("up", 0)
                self._board.add("failures")
                self._complain("events wait in memory: %s", error)
            else:
                return 0
            if over:
                left = sum(ring.used for ring in self._rings)
                log.error("%d octets of events could not be written; they wait in memory for the next start", left)
                return 1
            pause = AGAIN if monotonic() - began > COMPLAIN else min(pause * 2, LONGEST_PAUSE)
            over = self._pause(pause)

    def _pause(self, seconds: float) -> bool:
        """Wait, and be seen to live; whether the node ended."""
        self._board.put("heartbeat", _milliseconds())
        return self._ended(seconds)

    def _work(self, *, final: bool) -> None:
        """Open the folder and write until the node has ended. Raises what went wrong."""
        settings = self._settings
        volume = Volume(Path(settings.path), settings.node, Path(settings.key), _milliseconds())
        try:
            self._board.add("cut", volume.cut)
            positions = volume.positions()
            for ring in self._rings:
                ring.skip_to(positions.get(ring.worker, 0))
            notary = Notary(volume, settings, self._board, self._rings, self._complain)
            notary.start()
            try:
                self._write(volume, notary, final=final)
            finally:
                notary.stop()
            if notary.error is not None:
                raise notary.error
        finally:
            volume.close()

    def _write(self, volume: Volume, notary: Notary, *, final: bool) -> None:
        wait = 0.0
        while not final and not self._ended(wait):
            if notary.error is not None:
                return
            self._board.put("heartbeat", _milliseconds())
            try:
                wait = 0.0 if self._drain(volume) else STEP
                if self._due(volume) and len(volume.unsealed) < SEALS_WAITING:
                    volume.rotate(_milliseconds())
                    notary.wake()
                notary.stuck = False
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._complain("events wait in memory: %s", error)
                self._board.put("up", 0)
                notary.stuck = True
                wait = AGAIN
        self._write_last(volume)

    def _write_last(self, volume: Volume) -> None:
        """Wait until the workers are gone, and leave a segment that is sealed."""
        until = monotonic() + LAST_WAIT
        while not all(ring.writer_gone for ring in self._rings) and monotonic() < until:
            self._drain(volume)
            sleep(STEP)
        while self._drain(volume):
            pass
        if volume.segment.events:
            volume.rotate(_milliseconds())

    def _drain(self, volume: Volume) -> bool:
        """Write what waits in the rings; whether there is more of it."""
        more = False
        for ring in self._rings:
            if not ring.used:
                continue
            before = ring.damaged
            taken = ring.taken()
            if taken.data:
                volume.segment.take(ring.worker, taken)
            ring.done(taken.position)
            self._board.add("octets", len(taken.data))
            self._board.add("events", taken.events)
            if ring.damaged > before:
                self._board.add("damaged", ring.damaged - before)
                self._complain("%s octets of events were damaged in memory and are lost", ring.damaged - before)
            more = more or ring.used > ring.capacity // 8
        self._board.put("segment_octets", volume.segment.octets)
        return more

    def _due(self, volume: Volume) -> bool:
        """Whether the open segment is full, or old."""
        segment = volume.segment
        old = abs(_milliseconds() - segment.header.started) >= self._settings.segment_time * 1000
        return segment.octets >= self._settings.segment_size or (old and segment.events > 0)

    def _complain(self, words: str, what: object) -> None:
        """Log, each kind of trouble once a minute at most."""
        now = monotonic()
        if now - self._complained.get(words, -COMPLAIN) >= COMPLAIN:
            self._complained[words] = now
            log.error(words, what)


def _milliseconds() -> int:
    return int(time() * 1000)


def _end_of_input(seconds: float) -> bool:
    """Wait; whether whoever started us is gone or has closed our standard input."""
    ready, _, _ = select.select([0], [], [], seconds)
    return bool(ready) and not os.read(0, 512)


def _settings() -> KeeperSettings:
    """Read octet by octet: nothing behind the line is for anybody else."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < SETTINGS_LIMIT and (octet := os.read(0, 1)):
        line += octet
    return msgspec.json.decode(line, type=KeeperSettings)


def main() -> int:
    """Run the keeper that standard input describes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the supervisor's; it closes our input in the end
        signal.signal(number, signal.SIG_IGN)
    start_logging()
    with suppress(OSError):
        os.nice(NICE)
    return Keeper(_settings(), _end_of_input).run()


if __name__ == "__main__":
    sys.exit(main())
