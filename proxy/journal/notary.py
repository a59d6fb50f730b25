"""The keeper's second thread: everything that may wait for a disk for long. It flushes, seals, publishes heads, compacts and purges."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, time
from typing import Final

import msgspec

from proxy.events import Attempt
from proxy.journal.board import Board
from proxy.journal.chain import Stored
from proxy.journal.clock import NAME as CLOCK
from proxy.journal.clock import Seen, leap_of, note_seen, read_seen
from proxy.journal.heads import note_head, tell_syslog
from proxy.journal.holds import ALL, Hold, HoldsFault, Numbers, read_holds
from proxy.journal.ring import RingReader
from proxy.journal.segment import SEALED, Segment
from proxy.journal.settings import KeeperSettings
from proxy.journal.trail import NAME as TRAIL
from proxy.journal.trail import TrailFault
from proxy.journal.volume import Volume

PURGE_EVERY: Final = 3600.0
SIGN_EVERY: Final = 1.0
"""Seconds between two looks at the trail of tracebacks."""

PURGE_AT_ONCE: Final = 1000
"""Files that one line of the chain removes at most."""

COMPACT_AGAIN: Final = 600.0
"""Seconds before a compaction that failed is tried again."""

AFTER_ANOTHER: Final = 10.0
"""Seconds before it is tried again to start one while another still runs."""

TASK: Final = ".compact.task"
ANSWER: Final = ".compact.answer"

STUCK: Final = "a file of the journal is left as it is: %s"
NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))

log = logging.getLogger(__name__)


class Replacement(msgspec.Struct, frozen=True):
    """What a compactor made: whole files, on the disk under their final names, that hold everything of some sealed segments."""

    segments: tuple[str, ...]
    files: tuple[Stored, ...]


class CompactTask(msgspec.Struct, frozen=True):
    """What a compactor is given on its standard input, as JSON: the journal's folder and its sealed segments, oldest first.

    It answers with a JSON list of Replacement on standard output and status 0. It may leave segments for later. Files that it had begun
    and that no line of the chain names are its own to remove or to make again; it runs one at a time, and may be killed at any moment.
    """

    folder: str
    segments: tuple[Stored, ...]


class Notary:
    """Runs from `start` to `stop`. What goes wrong ends it and is in `error`: the volume is then to be opened anew."""

    def __init__(
        self, volume: Volume, settings: KeeperSettings, board: Board, rings: Sequence[RingReader], complain: Callable[[str, object], None]
    ) -> None:
        self.error: Exception | None = None
        self.stuck = False
        """Whether the keeper finds no room for what it would write."""
        self._volume = volume
        self._settings = settings
        self._board = board
        self._rings = rings
        self._complain = complain
        self._thread = threading.Thread(target=self._run, name="notary", daemon=True)
        self._wake = threading.Event()
        self._ending = False
        self._flushed = -1
        self._purge_at = monotonic()
        self._sign_at = monotonic()
        self._compact_at = monotonic()
        self._compacting: subprocess.Popen[bytes] | None = None
        # the newest record that was there before this start: what comes from now on is told by the clock that is in question
        self._newest = max((file.last for file in volume.live.values() if file.events), default=0)
        self._unknown = False  # whether nobody can say what is to be thought of the clock
        self._tell_stuck()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is a segment to seal."""
        self._wake.set()

    def stop(self) -> None:
        """Do what is left and end; waits for it."""
        self._ending = True
        self._wake.set()
        self._thread.join()
        if self._compacting is not None:
            self._compacting.kill()
            self._compacting.wait()

    def _run(self) -> None:
        try:
            while not self._ending:
                self._wake.wait(self._settings.flush)
                self._wake.clear()
                self._turn()
            self._turn()
        except Exception as error:  # the keeper decides what becomes of it
            self.error = error

    def _turn(self) -> None:
        """Everything that is due."""
        now = _milliseconds()
        volume = self._volume
        written = volume.segment.header.serial << 48 | volume.segment.octets
        if written != self._flushed:
            try:
                volume.flush()
            except OSError:
                self._board.add("flush_failures")
                raise
            self._flushed = written
        self._board.put("flushed", now)
        try:
            self._settle(now)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            self._complain("nothing can be sealed: %s", error)
            self._board.put("up", 0)
        else:
            self._board.put("up", int(not self.stuck))
        self._board.put("chain", volume.chain.count)

    def _settle(self, now: int) -> None:
        while self._volume.unsealed:
            self._seal()
            self._compact_at = monotonic()
        if self._ending or monotonic() >= self._sign_at:
            self._sign_at = monotonic() + SIGN_EVERY
            self._sign_trail(now)
        if self._ending:
            return
        if monotonic() >= self._purge_at:
            self._purge_at = monotonic() + PURGE_EVERY
            self._purge(now)
        self._compact()

    def _seal(self) -> None:
        lost = {ring: ring.lost_unsealed for ring in self._rings}
        now = _milliseconds()
        line = self._volume.seal(now, {str(ring.worker): count for ring, count in lost.items() if count})
        if line is None:
            return
        for ring, count in lost.items():
            ring.loss_sealed(count)
        self._board.add("sealed")
        self._publish(now)

    def _sign_trail(self, now: int) -> None:
        """Have the chain vouch for what was asked since."""
        try:
            if self._volume.asked(now):
                self._publish(now)
        except TrailFault as fault:
            self._unsigned(str(fault))
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            self._unsigned(error.strerror or str(error))
        else:
            self._board.put("unsigned", 0)

    def _unsigned(self, why: str) -> None:
        self._board.put("unsigned", 1)
        self._complain("what tracebacks were asked for is not signed: %s", f"{self._volume.folder / TRAIL}: {why}")

    def _publish(self, now: int) -> None:
        chain = self._volume.chain
        if not tell_syslog(f"journal of {chain.node}: line {chain.count}, head {chain.head}"):
            self._board.add("syslog_failures")
        note_head(self._volume.folder, chain.count, chain.head, now)

    def _purge(self, now: int) -> None:
        """Remove what is old, where the clock is to be believed."""
        full: OSError | None = None
        try:
            known = read_seen(self._volume.folder)
            seen = (known or Seen(min(self._newest, now) or now)).after(now, leap_of(self._settings.retention))
            if seen != known:
                full = self._noted(seen)
        except OSError as error:
            self._unknown = True
            self._tell_stuck()
            where = self._volume.folder / CLOCK
            self._complain("nothing is purged: %s", f"{where} is to be a file that the node can read and replace: {error}")
            return
        if self._unknown:
            self._unknown = False
            self._tell_stuck()
        self._board.put("clock_doubted", int(bool(seen.doubted)))
        if not seen.doubted:
            self._purge_old(now)
        elif known is None or seen.doubted != known.doubted:
            log.error(
                "nothing is purged: the clock says %s, and the newest time that was believed is %s. Was the node off, this passes by"
                " itself; is the clock wrong, set it right",
                _said(now),
                _said(seen.believed),
            )
        if full is not None:
            raise full

    def _noted(self, seen: Seen) -> OSError | None:
        """Note what is thought of the clock; the error where there is no room, for that keeps nobody from making some. Raises OSError."""
        try:
            note_seen(self._volume.folder, seen)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return error
        return None

    def _purge_old(self, now: int) -> None:
        before = now - int(self._settings.retention * 1000)
        old = [file for file in self._volume.live.values() if file.last < before]
        if not old:
            return
        try:
            holds = read_holds(Path(self._settings.holds)) if self._settings.holds else []
        except HoldsFault as fault:
            self._complain("nothing is purged: %s", fault)
            return
        held = {file.name for file in old if self._held(file, holds)}
        for at in range(0, len(old), PURGE_AT_ONCE):
            some = old[at : at + PURGE_AT_ONCE]
            gone = tuple(file.name for file in some if file.name not in held)
            if gone:
                self._volume.purge(gone, before, tuple(file.name for file in some if file.name in held), now)
                self._tell_stuck()
                self._board.add("purged", len(gone))
                self._publish(now)

    def _tell_stuck(self) -> None:
        """Say which files are left as they are."""
        stuck = self._volume.stuck
        self._board.put("stuck", len(stuck) + bool(self._unknown))
        for name, why in stuck.items():
            self._complain(STUCK, f"{self._volume.folder / name} {why}{f' (and {len(stuck) - 1} more)' if len(stuck) > 1 else ''}")
            break

    def _held(self, file: Stored, holds: Sequence[Hold]) -> bool:
        """Whether a hold keeps a file. Of a hold on a number, segments without that number are purged; other files are kept whole."""
        numbers = {hold.number for hold in holds if hold.covers(file.first, file.last)}
        if not numbers or ALL in numbers or not file.name.endswith(SEALED):
            return bool(numbers)
        wanted = Numbers(numbers)
        try:
            with Segment(self._volume.folder / file.name) as segment:
                for entry in segment:
                    event = entry.event
                    if isinstance(event, Attempt) and wanted.has(event):
                        return True
                return bool(segment.damage or segment.unknown)
        except OSError:  # nobody can say what is in it
            return True

    def _compact(self) -> None:
        """Start the compactor where there is something for it, and take what one that has ended made."""
        if not self._settings.compactor:
            return
        running = self._compacting
        if running is not None:
            if running.poll() is not None:
                self._compacting = None
                self._take(running)
        elif monotonic() >= self._compact_at:
            self._compact_at = monotonic() + PURGE_EVERY
            segments = tuple(file for file in self._volume.live.values() if file.name.endswith(SEALED))
            if segments:
                self._start(CompactTask(str(self._volume.folder), segments))

    def _start(self, task: CompactTask) -> None:
        folder = self._volume.folder
        command = [sys.executable, "-P", "-m", self._settings.compactor]
        with open(os.open(folder / TASK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640), "r+b", buffering=0) as given:
            try:
                fcntl.flock(given, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the compactor keeps it, as its standard input
            except BlockingIOError:  # one that outlived the keeper before this one
                self._compact_at = monotonic() + AFTER_ANOTHER
                return
            given.truncate()
            given.write(msgspec.json.encode(task))
            given.seek(0)
            with open(folder / ANSWER, "wb") as answer:
                self._compacting = subprocess.Popen(command, stdin=given, stdout=answer)

    def _take(self, ended: subprocess.Popen[bytes]) -> None:
        answer = (self._volume.folder / ANSWER).read_bytes()
        try:
            if ended.returncode:
                raise ValueError(f"ended with status {ended.returncode}")
            made = msgspec.json.decode(answer, type=list[Replacement])
            for one in made:
                absent = [name for name in one.segments if name not in self._volume.live]
                short = [file.name for file in one.files if (self._volume.folder / file.name).stat().st_size != file.octets]
                if absent or short:
                    raise ValueError(f"names files that are not there: {', '.join(absent + short)}")
        except (ValueError, FileNotFoundError) as error:
            self._board.add("compact_failures")
            self._compact_at = monotonic() + COMPACT_AGAIN
            self._complain("compaction failed, the segments stay: %s", error)
            return
        for one in made:
            self._volume.compacted(one.segments, one.files, _milliseconds())
            self._tell_stuck()
            self._publish(_milliseconds())


def _said(at: int) -> str:
    """A time (ms) as it is read by people; such as no calendar has, as it is."""
    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return str(at)


def _milliseconds() -> int:
    return int(time() * 1000)
