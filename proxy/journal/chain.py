"""The chain: one signed line for everything that is done to the journal's files, each naming the hash of the line before it.

A line is a JSON object whose last key is `signature`: Ed25519 over the line without that key. The SHA-256 of the newest line is the head:
who keeps it elsewhere (the system log has each) can prove later that nothing up to it was changed or removed (`journal verify --head`).

    begun       the first line: the node and its public key
    sealed      a segment is finished: its SHA-256, size, events, times, and how many events were lost meanwhile
    cut         a torn tail was cut off a segment, or an open segment was found damaged
    compacted   segments have become other files, each with its SHA-256; only after this line are the segments removed
    purged      files are removed whose time is over; only after this line are they
    asked       the trail of tracebacks has grown: its newest line, which vouches for those before it (`proxy.journal.trail`)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

NAME: Final = "chain"
ASIDE: Final = ".damaged-"
"""What follows NAME, before a time, where a chain that could not be read was put aside."""

NONE: Final = "0" * 64
"""What the first line names as the hash before it."""

_KEY: Final = b',"signature":"'
_TAIL: Final = len(_KEY) + 128 + len(b'"}')
LONGEST_LINE: Final = 16 << 20


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What every line has: its number from 1, when it was written (ms since 1970, UTC), the hash before it, the key that signs it."""

    n: int
    at: int
    previous: str
    node: str
    key: str


class Stored(msgspec.Struct, frozen=True):
    """A file of the journal, by its name from the journal's folder on, and what is in it; first and last are event times (ms)."""

    name: str
    sha256: str
    octets: int
    events: int
    first: int = 0
    last: int = 0


class Begun(Stamp, frozen=True, kw_only=True, tag="begun", tag_field="kind"):
    """The first line, and one for each new key."""

    public: str


class Sealed(Stamp, frozen=True, kw_only=True, tag="sealed", tag_field="kind"):
    """A finished segment. `lost` counts events that found no room since the seal before, by worker."""

    segment: Stored
    serial: int
    lost: dict[str, int] = {}


class Cut(Stamp, frozen=True, kw_only=True, tag="cut", tag_field="kind"):
    """The end of a segment that was no whole frame: what was kept, what was cut off, its hash and why."""

    segment: str
    kept: int
    cut: int
    sha256: str
    why: str


class Compacted(Stamp, frozen=True, kw_only=True, tag="compacted", tag_field="kind"):
    """Files that took the place of segments, which are removed after this line."""

    segments: tuple[str, ...]
    files: tuple[Stored, ...]


class Purged(Stamp, frozen=True, kw_only=True, tag="purged", tag_field="kind"):
    """Files removed after this line, since all in them is older than `before` (ms); `held` are those that a legal hold kept."""

    files: tuple[str, ...]
    before: int
    held: tuple[str, ...] = ()


class Asked(Stamp, frozen=True, kw_only=True, tag="asked", tag_field="kind"):
    """The newest line of the trail of tracebacks: its number, its SHA-256, and the octets up to its end."""

    line: int
    head: str
    octets: int


Line = Begun | Sealed | Cut | Compacted | Purged | Asked

_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


class Signer(Protocol):
    """What signs: an Ed25519 private key."""

    def sign(self, data: bytes, /) -> bytes:
        """The signature, 64 octets."""
        ...


class ChainFault(Exception):
    """A chain that cannot be written on; says why."""


class Chain:
    """The chain of one journal, open for writing. One process has it at a time (the keeper)."""

    def __init__(self, folder: Path, node: str, signer: Signer, key: str, public: str, now: int) -> None:
        """Open or begin it; a last line that was not written whole is cut off. Raises OSError, ChainFault."""
        self.path = folder / NAME
        self.node = node
        self.head = NONE
        self.count = 0
        self.torn = 0
        self._signer = signer
        self._key = key
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._end = 0
        last_key = ""
        try:
            for number, (raw, line) in enumerate(read_lines(self.path), 1):
                if line is None:
                    raise ChainFault(f"{self.path}:{number}: no line of a chain")
                self._end += len(raw) + 1
                self.head, self.count = hash_of(raw), line.n
                if isinstance(line, Begun):
                    last_key = line.key
            self.torn = os.fstat(self._fd).st_size - self._end
            if self.torn:
                os.ftruncate(self._fd, self._end)
                os.fsync(self._fd)
            if last_key != key:
                self.append(Begun(public=public, **self.stamp(now)))
        except BaseException:
            os.close(self._fd)
            raise

    def stamp(self, now: int) -> dict[str, Any]:
        """The fields of `Stamp` for the next line."""
        return {"n": self.count + 1, "at": now, "previous": self.head, "node": self.node, "key": self._key}

    def append(self, line: Line) -> None:
        """Write a line and wait until the disk has it. Raises OSError, and then the line is not there."""
        body = _encoder.encode(line)
        raw = body[:-1] + _KEY + self._signer.sign(body).hex().encode() + b'"}'
        try:
            write_all(self._fd, raw + b"\n", self._end)
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._end += len(raw) + 1
        self.head, self.count = hash_of(raw), line.n

    def close(self) -> None:
        """Let the file go."""
        os.close(self._fd)


def hash_of(raw: bytes) -> str:
    """The hash that the next line names, of a line as it stands in the file."""
    return sha256(raw).hexdigest()


def taken_apart(raw: bytes) -> tuple[bytes, bytes] | None:
    """What was signed, and the signature; None where this is no signed line."""
    body, mark, signature = raw[:-_TAIL], raw[-_TAIL : len(_KEY) - _TAIL], raw[len(_KEY) - _TAIL : -2]
    if len(raw) <= _TAIL or mark != _KEY or raw[-2:] != b'"}':
        return None
    try:
        return body + b"}", bytes.fromhex(signature.decode("ascii"))
    except ValueError:
        return None


def read_lines(path: Path) -> Iterator[tuple[bytes, Line | None]]:
    """Each whole line of a chain, as it stands and what it says (None where it says nothing sensible). Raises OSError."""
    with open(path, "rb") as file:
        while (raw := file.readline(LONGEST_LINE)).endswith(b"\n"):
            raw = raw[:-1]
            yield raw, line_of(raw)
        if len(raw) >= LONGEST_LINE:
            yield raw, None


def line_of(raw: bytes) -> Line | None:
    """What a line says, its signature left aside."""
    parts = taken_apart(raw)
    if parts is None:
        return None
    try:
        return _decoder.decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def write_all(fd: int, data: bytes | memoryview, at: int) -> None:
    """Write everything at an offset; a short write is gone on with. Raises OSError."""
    rest = memoryview(data)
    while rest:
        done = os.pwrite(fd, rest, at)
        rest = rest[done:]
        at += done


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
