"""How far the trail of tracebacks has been written (`proxy.records.audit`): what the keeper signs of it, and what `verify` compares.

The trail is appended to by people who may not read the node's key; each line names the SHA-256 of the one before it. The keeper looks at it
each second, and has the chain say what its newest whole line is: signed like everything there, that vouches for all lines up to it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

NAME: Final = "traceback.audit"
NONE: Final = "0" * 64
"""What the first line names as the hash before it."""

CHUNK: Final = 1 << 20
AT_ONCE: Final = 8 << 20
"""Octets that are read in one look, the rest is for the next; and the longest line."""


class TrailFault(Exception):
    """A trail that nothing can be said of; says why."""


class Shorter(Exception):
    """A trail that was removed, or lost its end; says what is there."""


class Link(msgspec.Struct, frozen=True):
    """What in a line ties it to the one before it."""

    n: int
    previous: str


class Reached:
    """The end of a whole line of the trail: its number from 1 (0: the beginning), its hash, and the octet behind it."""

    __slots__ = ("head", "line", "octets")

    def __init__(self, line: int = 0, head: str = NONE, octets: int = 0) -> None:
        self.line = line
        self.head = head
        self.octets = octets


def open_trail(folder: Path) -> int:
    """The file, open for reading. Raises OSError, and TrailFault for what is no file of its own."""
    try:
        fd = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise TrailFault("is a link") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise TrailFault("is no file")
    return fd


def reach(folder: Path, before: Reached) -> Reached:
    """The newest whole line, looked for from an earlier one on, and on the disk; that itself where there is no newer.

    Raises OSError, TrailFault, Shorter.
    """
    try:
        fd = open_trail(folder)
    except FileNotFoundError:
        if before.line:
            raise Shorter("was removed") from None
        return before
    try:
        size = os.fstat(fd).st_size
        if size < before.octets:
            raise Shorter(f"has {size} octets, and had {before.octets}")
        reached = before
        for end in _ends(fd, before, min(size, before.octets + AT_ONCE)):
            reached = end
        if reached is not before:
            os.fsync(fd)  # who appended it may not have come that far
        elif size >= before.octets + AT_ONCE:
            raise TrailFault(f"line {before.line + 1} is longer than {AT_ONCE} octets")
        return reached
    finally:
        os.close(fd)


def _ends(fd: int, before: Reached, size: int) -> Iterator[Reached]:
    """Each whole line behind an earlier one, in bounded memory however long a line is. Raises OSError."""
    digest = sha256()
    line, at = before.line, before.octets
    while at < size:
        chunk = os.pread(fd, min(CHUNK, size - at), at)
        if not chunk:
            return
        begin = 0
        while (end := chunk.find(b"\n", begin)) >= 0:
            digest.update(chunk[begin:end])
            line += 1
            yield Reached(line, digest.hexdigest(), at + end + 1)
            digest = sha256()
            begin = end + 1
        digest.update(chunk[begin:])
        at += len(chunk)


def lines(file: BinaryIO) -> Iterator[tuple[int, str, bool]]:
    """Each whole line: its number, its hash, and whether it follows from the one before it. A line that a crash cut short says nothing of
    itself: the next one vouches for what is left of it.
    """
    previous = NONE
    number = 0
    while raw := file.readline(AT_ONCE):
        digest = sha256(raw.rstrip(b"\n"))
        part = raw
        while not part.endswith(b"\n"):
            part = file.readline(AT_ONCE)
            if not part:
                return
            digest.update(part.rstrip(b"\n"))
        number += 1
        try:
            link = msgspec.json.decode(raw, type=Link)
            follows = (link.n, link.previous) == (number, previous)
        except (msgspec.DecodeError, UnicodeDecodeError):
            follows = True
        previous = digest.hexdigest()
        yield number, previous, follows
