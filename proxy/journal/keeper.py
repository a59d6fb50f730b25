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
from proxy.journal.key import KeyFault
from proxy.journal.notary import NO_ROOM, Notary
from proxy.journal.ring import RingReader
from proxy.journal.settings import KeeperSettings
from proxy.journal.volume import Volume, VolumeFault
from proxy.log import start_logging

STEP: Final = 0.05
"""Seconds between two looks at the rings."""

END: Final = "end"
"""The node ends: its workers do, too, and what they have put in until then is written."""

AGAIN_NOW: Final = "again"
"""Another keeper is wanted, with other settings: end at once. Anything on standard input behind the settings says so."""

AGAIN: Final = 1.0
"""Seconds between two tries where the disk does not do what it should."""

LONGEST_PAUSE: Final = 10.0

COMPLAIN: Final = 60.0

LAST_WAIT: Final = 10.0
"""Seconds that workers have to end after the supervisor has."""

ROUNDS: Final = 8
"""Looks at the rings in the end: each takes a quarter of what a ring can hold, and they are filled no more."""

SEALS_WAITING: Final = 4
"""Finished segments that wait for the disk; with as many no further one is begun."""

NICE: Final = 5

SETTINGS_LIMIT: Final = 1 << 20

log = logging.getLogger("proxy.journal.keeper")  # the module is run as __main__


class Keeper:
    """Everything a keeper does. `heard` waits for some seconds, and tells what whoever started it said: "" for nothing, AGAIN_NOW, END."""

    def __init__(self, settings: KeeperSettings, heard: Callable[[float], str]) -> None:
        self._settings = settings
        self._heard = heard
        self._board = Board(settings.board)
        self._rings = [RingReader(ring.fd, ring.worker) for ring in settings.rings]
        self._complained: dict[str, float] = {}

    def run(self) -> int:
        """Work until the node ends; 0, or 1 where events are left in the rings."""
        self._board.put("started", _milliseconds())
        said = ""
        pause = AGAIN
        while True:
            began = monotonic()
            try:
                self._work(said)
            except (OSError, VolumeFault, KeyFault) as error:
                self._board.put("up", 0)
                self._board.add("failures")
                self._complain("events wait in memory: %s", error)
            else:
                return 0
            if said:
                left = sum(ring.used for ring in self._rings)
                log.error("%d octets of events could not be written; they wait in memory for the next start", left)
                return 1
            pause = AGAIN if monotonic() - began > COMPLAIN else min(pause * 2, LONGEST_PAUSE)
            self._beat()
            said = self._heard(pause)

    def _work(self, said: str) -> None:
        """Open the folder and write until told to end, or once where that was said already. Raises what went wrong."""
        settings = self._settings
        volume = Volume(Path(settings.path), settings.node, Path(settings.key), _milliseconds(), self._beat)
        try:
            self._board.add("cut", volume.cut)
            positions = volume.positions()
            for ring in self._rings:
                ring.skip_to(positions.get(ring.worker, 0))
            notary = Notary(volume, settings, self._board, self._rings, self._complain)
            notary.start()
            try:
                self._write(volume, notary, said)
            finally:
                notary.stop()
            if notary.error is not None:
                raise notary.error
        finally:
            volume.close()

    def _beat(self) -> None:
        """Show a sign of life."""
        self._board.put("heartbeat", _milliseconds())

    def _write(self, volume: Volume, notary: Notary, said: str) -> None:
        wait = 0.0
        while not (said := said or self._heard(wait)):
            if notary.error is not None:
                return
            self._beat()
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
        if said == END:
            self._write_last(volume)
        else:  # the next keeper goes on with this segment
            self._drain(volume)

    def _write_last(self, volume: Volume) -> None:
        """Wait until the workers are gone, and leave a segment that is sealed."""
        until = monotonic() + LAST_WAIT
        while not all(ring.writer_gone for ring in self._rings) and monotonic() < until:
            self._drain(volume)
            sleep(STEP)
        for _ in range(ROUNDS):
            self._drain(volume)
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


def _standard_input(seconds: float) -> str:
    """Wait; what standard input says. Its end is the supervisor's."""
    ready, _, _ = select.select([0], [], [], seconds)
    if not ready:
        return ""
    return AGAIN_NOW if os.read(0, 512) else END


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
    return Keeper(_settings(), _standard_input).run()


if __name__ == "__main__":
    sys.exit(main())
