"""A journal's folder, as its keeper works in it: the open segment, the chain, and what stands in the chain of the other files.

Each step leaves the folder so that the next start can go on, whenever the process or the machine ends:

    sealing       fsync the segment; its line in the chain; rename .open to .seg
    compaction    the new files are whole and on the disk; their line in the chain; remove the segments
    purging       its line in the chain; remove the files

What is found half done (a line without its rename or removal) is finished by `Volume.open`, and a torn tail is cut off and noted.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from proxy.journal.chain import (
    ASIDE,
    Asked,
    Chain,
    ChainFault,
    Compacted,
    Cut,
    Line,
    Purged,
    Sealed,
    Stored,
    read_lines,
    sync_folder,
    write_all,
)
from proxy.journal.chain import NAME as CHAIN
from proxy.journal.key import key_name, signing_key
from proxy.journal.ring import Taken
from proxy.journal.segment import OPEN, SEALED, Header, Segment, begin, file_name, serial_of
from proxy.journal.trail import NAME as TRAIL
from proxy.journal.trail import Reached, Shorter, reach

LOCK: Final = "keeper.lock"
DAMAGED: Final = ".damaged"
CHUNK: Final = 1 << 20

STUBBORN: Final = frozenset((errno.EACCES, errno.EBUSY, errno.EISDIR, errno.ENOTDIR, errno.EPERM, errno.EROFS))
"""What the system says of one file that cannot be removed where others can; anything else is a disk that does not do what it should."""

BEAT: Final = 4096
"""Events, or octets times CHUNK, between two signs of life while the folder is put in order."""

log = logging.getLogger(__name__)


class VolumeFault(Exception):
    """A folder that cannot be worked in; says why."""


class OpenSegment:
    """The segment that is written to. `octets` is its length, `events` what is in it, `first` and `last` their times (ms)."""

    def __init__(self, path: Path, fd: int, header: Header) -> None:
        self.path = path
        self.fd = fd
        self.header = header
        self.octets = 0
        self.events = 0
        self.first = 0
        self.last = 0
        self.positions: dict[int, int] = {}
        self._hash = sha256()

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises OSError, and then nothing was appended."""
        try:
            write_all(self.fd, data, self.octets)
        except OSError:
            os.ftruncate(self.fd, self.octets)
            raise
        self._hash.update(data)
        self.octets += len(data)

    def take(self, worker: int, taken: Taken) -> None:
        """Append frames from a ring. Raises OSError, and then nothing was appended."""
        self.write(taken.data)
        self._count(taken.events, taken.first, taken.last)
        self.positions[worker] = taken.position

    def stored(self) -> Stored:
        """What the chain says of it once it is sealed."""
        name = file_name(self.header.node, self.header.serial, SEALED)
        return Stored(name, self._hash.hexdigest(), self.octets, self.events, self.first, self.last)

    def adopt(self, segment: Segment, beat: Callable[[], None]) -> None:
        """Know what is in the file already, up to the last whole frame; `beat` is called all the while."""
        for number, (worker, position, at) in enumerate(segment.times()):
            if not number % BEAT:
                beat()
            self._count(1, at, at)
            self.positions[worker] = position
        self.octets = segment.end
        at = 0
        while at < segment.end:
            beat()
            chunk = os.pread(self.fd, min(CHUNK, segment.end - at), at)
            if not chunk:
                raise VolumeFault(f"{self.path}: became shorter while it was read")
            self._hash.update(chunk)
            at += len(chunk)

    def _count(self, events: int, first: int, last: int) -> None:
        if events:
            self.first = min(self.first, first) if self.events else first
            self.last = max(self.last, last)
            self.events += events


class Volume:
    """The folder, locked for this process. `unsealed` are finished segments that wait for their seal, oldest first; `live` are the sealed
    and compacted files that should be there, by name. What `seal`, `compacted` and `purge` do may run in one other thread.

    `stuck` are files that cannot be removed, renamed or opened as they should be, with why: the journal goes on without, and tries again at
    each later removal those that the chain counts as removed or sealed.
    """

    def __init__(self, folder: Path, node: str, key: Path, now: int, beat: Callable[[], None] = lambda: None) -> None:
        """Put the folder in order, and begin a segment or go on with one; `now` in ms since 1970. That takes as long as it takes to read
        what is not sealed: `beat` is called all the while.

        Raises OSError, VolumeFault, KeyFault.
        """
        self.folder = folder
        self.node = node
        self.live: dict[str, Stored] = {}
        self.cut = 0
        self.unsealed: list[OpenSegment] = []
        self.stuck: dict[str, str] = {}
        self._unopened: dict[str, str] = {}
        self._asked = Reached()
        self._beat = beat
        self._serial = 0
        self._removed: set[str] = set()
        self._sealed: set[int] = set()
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._open: list[int] = [self._lock]
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise VolumeFault(f"{folder}: another keeper writes this journal") from None
            self.chain = self._chain(key, now)
            try:
                self._know()
                self._finish(opening=True)
                self.segment = self._resume(now)
            except BaseException:
                self.chain.close()
                raise
        except BaseException:
            self._let_go()
            raise

    def close(self) -> None:
        """Let everything go as it is."""
        self.chain.close()
        self._let_go()

    def positions(self) -> dict[int, int]:
        """The position behind the last frame of each worker in what is not sealed."""
        positions: dict[int, int] = {}
        for segment in (*self.unsealed, self.segment):
            positions.update(segment.positions)
        return positions

    def rotate(self, now: int) -> None:
        """Begin a new segment; the old one waits for its seal. Raises OSError, and then the old one goes on."""
        segment = self._begin(now)
        self.unsealed.append(self.segment)
        self.segment = segment

    def flush(self) -> None:
        """Wait until the disk has everything that was written. Raises OSError."""
        for segment in (*self.unsealed, self.segment):
            os.fsync(segment.fd)

    def seal(self, now: int, lost: dict[str, int]) -> Sealed | None:
        """Seal the oldest finished segment; its line, or None where none waits. Raises OSError, and then it still waits.

        `lost` is what was lost since the seal before, by worker.
        """
        if not self.unsealed:
            return None
        segment = self.unsealed[0]
        os.fsync(segment.fd)
        stored = segment.stored()
        line = Sealed(segment=stored, serial=segment.header.serial, lost=lost, **self.chain.stamp(now))
        self.chain.append(line)
        segment.path.rename(self.folder / stored.name)
        sync_folder(self.folder)
        self.live[stored.name] = stored
        self.unsealed.pop(0)
        self._close(segment.fd)
        return line

    def compacted(self, segments: tuple[str, ...], files: tuple[Stored, ...], now: int) -> None:
        """Note that files which are whole and on the disk take the place of segments, and remove those. Raises OSError."""
        self._do(Compacted(segments=segments, files=files, **self.chain.stamp(now)))

    def purge(self, files: tuple[str, ...], before: int, held: tuple[str, ...], now: int) -> None:
        """Note that files are removed, and remove them. Raises OSError."""
        self._do(Purged(files=files, before=before, held=held, **self.chain.stamp(now)))

    def asked(self, now: int) -> bool:
        """Note how far the trail of tracebacks was written, where that is further than was noted; whether it is. Raises OSError,
        TrailFault.
        """
        try:
            reached = reach(self.folder, self._asked)
        except Shorter as error:  # `verify` will name it by what was noted before; what comes now is vouched for from its beginning
            log.error("%s %s: somebody took questions out of it", self.folder / TRAIL, error)
            self._asked = Reached()
            reached = reach(self.folder, self._asked)
        if reached.line == self._asked.line:
            return False
        self.chain.append(Asked(line=reached.line, head=reached.head, octets=reached.octets, **self.chain.stamp(now)))
        self._asked = reached
        return True

    def _chain(self, key: Path, now: int) -> Chain:
        """The chain; one that cannot be read is put aside, for `verify` to tell of, and another begun: records go on."""
        signer = signing_key(key)
        public = signer.public_key()
        more = (self.node, signer, key_name(public), public.public_bytes_raw().hex(), now)
        try:
            return Chain(self.folder, *more)
        except ChainFault as fault:
            aside = self.folder / f"{CHAIN}{ASIDE}{now}"
            log.error("%s; it is put aside as %s, and a new chain begins", fault, aside.name)
            (self.folder / CHAIN).rename(aside)
            return Chain(self.folder, *more)

    def _do(self, line: Compacted | Purged) -> None:
        self.chain.append(line)
        self._note(line)
        self._finish()

    def _know(self) -> None:
        """Read in the chain what there should be."""
        for number, (_raw, line) in enumerate(read_lines(self.folder / CHAIN)):
            if not number % BEAT:
                self._beat()
            if line is not None:
                self._note(line)

    def _note(self, line: Line) -> None:
        match line:
            case Sealed():
                self.live[line.segment.name] = line.segment
                self._sealed.add(line.serial)
                self._serial = max(self._serial, line.serial)
            case Compacted():
                self.live.update((file.name, file) for file in line.files)
                self._remove(line.segments)
                self._removed.difference_update(file.name for file in line.files)
            case Purged():
                self._remove(line.files)
            case Asked():
                self._asked = Reached(line.line, line.head, line.octets)

    def _remove(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.live.pop(name, None)
        self._removed.update(names)

    def _finish(self, *, opening: bool = False) -> None:
        """Do what lines of the chain say was to be done: remove files, give sealed segments their name. While the folder is opened,
        nothing that one file does keeps all others from being written.
        """
        left: set[str] = set()
        stuck: dict[str, str] = {}
        for number, name in enumerate(self._removed):
            if opening and not number % BEAT:
                self._beat()
            if ".." in Path(name).parts or name.startswith("/"):
                continue
            try:
                (self.folder / name).unlink(missing_ok=True)
            except OSError as error:
                if not opening and error.errno not in STUBBORN:
                    raise
                left.add(name)
                stuck[name] = f"cannot be removed: {error.strerror or error}; remove it by hand (chattr -i, rm)"
        self._removed = left
        for path in self._with(OPEN):
            if serial_of(path.name) not in self._sealed:
                continue
            try:
                path.rename(path.with_suffix(SEALED))
            except OSError as error:
                if not opening and error.errno not in STUBBORN:
                    raise
                stuck[path.name] = f"is sealed and cannot be renamed: {error.strerror or error}"
        self.stuck = stuck | self._unopened
        sync_folder(self.folder)

    def _with(self, ending: str) -> list[Path]:
        found = [(serial, path) for path in self.folder.iterdir() if path.suffix == ending and (serial := serial_of(path.name)) is not None]
        return [path for _serial, path in sorted(found)]

    def _resume(self, now: int) -> OpenSegment:
        """The newest segment that is not sealed is gone on with; older ones wait for their seal."""
        found = []
        self._serial = max([self._serial, *(serial_of(path.name) or 0 for path in self.folder.iterdir())])
        for path in self._with(OPEN):
            if serial_of(path.name) in self._sealed:
                continue  # it is, but could not be given its name
            try:
                segment = self._repaired(path, now)
            except OSError as error:
                if error.errno not in STUBBORN:
                    raise
                self._unopened[path.name] = f"cannot be gone on with: {error.strerror or error}; its owner and mode are to be the node's"
                continue
            if segment is not None:
                found.append(segment)
        self.stuck |= self._unopened
        if not found:
            return self._begin(now)
        *self.unsealed, newest = found
        return newest

    def _repaired(self, path: Path, now: int) -> OpenSegment | None:
        """An open segment with what is no whole frame cut off, and that noted; None where nothing is left."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._open.append(fd)
        with Segment(path) as segment:
            header = segment.header
            opened = OpenSegment(path, fd, header or Header(self.node, 0, now))
            if header is not None:
                opened.adopt(segment, self._beat)
            if segment.size > segment.end:
                self._cut(path, fd, segment, now)
        if header is None:
            if segment.size:
                path.rename(path.with_suffix(DAMAGED))  # what is behind a damaged header may still be of use to somebody
            else:
                path.unlink()
            self._close(fd)
            return None
        os.ftruncate(fd, segment.end)
        return opened

    def _cut(self, path: Path, fd: int, segment: Segment, now: int) -> None:
        digest = sha256()
        for at in range(segment.end, segment.size, CHUNK):
            self._beat()
            digest.update(os.pread(fd, min(CHUNK, segment.size - at), at))
        octets = segment.size - segment.end
        log.error("%s: a tail of %d octets is cut off: %s", path.name, octets, segment.damage)
        stamp = self.chain.stamp(now)
        self.chain.append(
            Cut(segment=path.name, kept=segment.end, cut=octets, sha256=digest.hexdigest(), why=segment.damage, **stamp),
        )
        self.cut += 1

    def _begin(self, now: int) -> OpenSegment:
        header = Header(self.node, self._serial + 1, now)
        path = self.folder / file_name(self.node, header.serial, OPEN)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        segment = OpenSegment(path, fd, header)
        try:
            segment.write(begin(header))
            sync_folder(self.folder)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._serial = header.serial
        self._open.append(fd)
        return segment

    def _close(self, fd: int) -> None:
        self._open.remove(fd)
        os.close(fd)

    def _let_go(self) -> None:
        for fd in self._open:
            os.close(fd)
        self._open.clear()
