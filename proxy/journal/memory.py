"""Where the rings of a node's workers lie: files in memory that outlive every process of the node, found again by the next start."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from proxy.journal.board import Board, format_board
from proxy.journal.ring import RingFault, RingView, format_ring
from proxy.journal.settings import RingSetting

SHARED_MEMORY: Final = Path("/dev/shm")
RING: Final = ".ring"
OLD: Final = ".old"
BOARD: Final = "board"

log = logging.getLogger(__name__)


class MemoryFault(Exception):
    """No memory for the rings; says why, one line for each place that was tried."""


class Memory:
    """The rings and the board of one node, open. `folder` is where they are; None where they end with the node's last process."""

    def __init__(self, journal: Path, workers: int, capacity: int, now_ns: int, places: Sequence[Path]) -> None:
        """Open what an earlier start left in the first of the places that can be used, and make what is missing. Raises MemoryFault."""
        self.folder: Path | None = None
        self._fds: list[int] = []
        self.old: list[RingSetting] = []
        self.rings: list[RingView] = []
        name = f"sipwarden-{sha256(os.fsencode(journal.absolute())).hexdigest()[:16]}"
        faults = []
        for place in places:
            try:
                self._open(_own_folder(place / name), workers, capacity, now_ns)
            except (OSError, RingFault, MemoryFault) as error:
                faults.append(f"{place}: {error}")
                self.close()
                continue
            self.folder = place / name
            return
        for fault in faults:
            log.warning("no buffer for the journal in %s", fault)
        try:
            self._open(None, workers, capacity, now_ns)
        except OSError as error:
            self.close()
            raise MemoryFault(f"no memory for {workers} buffers of {capacity} octets: {error.strerror}") from None

    def ring_fd(self, worker: int) -> int:
        """The descriptor of a worker's ring."""
        return self._fds[1 + worker]

    @property
    def board_fd(self) -> int:
        """The descriptor of the board."""
        return self._fds[0]

    def settings(self) -> tuple[RingSetting, ...]:
        """The rings as a keeper is told of them: those of workers that an earlier start had, too."""
        return (*self.old, *(RingSetting(self.ring_fd(worker), worker) for worker in range(len(self.rings))))

    def close(self) -> None:
        """Let them go; the files stay, with what no keeper has taken."""
        for ring in self.rings:
            ring.close()
        for fd in self._fds:
            os.close(fd)
        self.rings.clear()
        self.old.clear()
        self._fds.clear()

    def remove(self) -> None:
        """Let them go, and remove the files where no event waits in them: for a node that has ended in good order."""
        empty = not any(ring.used for ring in self.rings) and not any(_found(old.fd)[1] for old in self.old)
        self.close()
        if empty and self.folder is not None:
            for path, _worker in _rings_in(self.folder):
                path.unlink()
            (self.folder / BOARD).unlink()
            self.folder.rmdir()

    def _open(self, folder: Path | None, workers: int, capacity: int, now_ns: int) -> None:
        self._fds.append(_file(folder, BOARD))
        format_board(self.board_fd)
        self.board = Board(self.board_fd)
        for worker in range(workers):
            fd = _file(folder, f"{worker}{RING}")
            self._fds.append(fd)
            size, left = _found(fd)
            if size != capacity and left and folder is not None:
                (folder / f"{worker}{RING}").rename(folder / f"{worker}-{now_ns}{OLD}")
                os.close(fd)
                self._fds[-1] = fd = _file(folder, f"{worker}{RING}")
            if size != capacity:
                format_ring(fd, capacity, now_ns)
            self.rings.append(RingView(fd))
        if folder is not None:
            self._open_old(folder, workers)

    def _open_old(self, folder: Path, workers: int) -> None:
        """Rings of a start with more workers, or larger ones: what is in them is taken, and those with nothing in them are removed."""
        for path, worker in _rings_in(folder):
            if path.suffix == RING and worker < workers:
                continue
            fd = _file(folder, path.name)
            if _found(fd)[1]:
                self._fds.append(fd)
                self.old.append(RingSetting(fd, worker, old=True))
            else:
                os.close(fd)
                path.unlink()


def _rings_in(folder: Path) -> Iterator[tuple[Path, int]]:
    """The files of rings in a folder, each with its worker."""
    for path in sorted(folder.iterdir()):
        digits = path.name.partition("-")[0] if path.suffix == OLD else path.stem
        if path.suffix in (RING, OLD) and digits.isascii() and digits.isdigit():
            yield path, int(digits)


def _found(fd: int) -> tuple[int, int]:
    """Capacity of an open ring, and octets that wait in it; nothing of a file that is none."""
    try:
        ring = RingView(fd)
    except RingFault:
        return 0, 0
    try:
        return ring.capacity, ring.used
    finally:
        ring.close()


def _file(folder: Path | None, name: str) -> int:
    if folder is None:
        return os.memfd_create(f"sipwarden-{name}", os.MFD_CLOEXEC)
    return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _own_folder(path: Path) -> Path:
    """A folder that only this user can use: others may write where it stands. Raises OSError, MemoryFault."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise MemoryFault(f"{path} is somebody else's")
    return path
