"""The bytes of a trace file, decompressed and counted, in pieces of bounded size."""

from __future__ import annotations

import importlib
import os
import stat
import zlib
from typing import Any, Final, Protocol

PIECE: Final = 1 << 18
"""Bytes asked of the file at a time."""


class Source(Protocol):
    """What bytes are read from. b"" is the end; OSError where they cannot be read, or are no longer what they began as."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, at least one before the end."""


STDIN: Final = "-"


def size(path: str) -> int | None:
    """The bytes of a file, 0 for one that is not there; None for a pipe, and for stdin where it is one."""
    try:
        status = os.fstat(0) if path == STDIN else os.stat(path)
    except (OSError, ValueError):
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else None


class Counted:
    """An open file, or stdin for "-"; `done` counts what was read of it.

    OSError from the constructor when it cannot be opened, ValueError for a path that holds a null byte.
    """

    __slots__ = ("_file", "done")

    def __init__(self, path: str) -> None:
        self._file = open(path if path != STDIN else os.dup(0), "rb", buffering=0)  # noqa: SIM115  # its own `close`
        self.done = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, as soon as there are any: a capture that is still being written to a pipe is read as it comes."""
        data: bytes = self._file.read(size) or b""
        self.done += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Gzip:
    """A gzip file decompressed, one member after the other (RFC 1952 §2.2), never more than is asked for at once."""

    __slots__ = ("_end", "_inflate", "_packed", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._packed = b""
        self._end = False
        self._inflate = zlib.decompressobj(31)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        while not self._end:
            if not self._packed:
                self._packed = self._source.read(PIECE)
                if not self._packed:
                    self._end = True
                    raise OSError("the gzip data ends too early")
            try:
                data = self._inflate.decompress(self._packed, size)
            except zlib.error as error:
                self._end = True
                raise OSError(f"damaged gzip data: {error}") from None
            self._packed = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._next_member(self._inflate.unused_data)
            if data:
                return data
        return b""

    def _next_member(self, rest: bytes) -> None:
        """What follows the end of a member is another one, or padding that is ignored like gzip(1) does."""
        while len(rest) < 2 and (more := self._source.read(PIECE)):
            rest += more
        if rest[:2] == b"\x1f\x8b":
            self._inflate = zlib.decompressobj(31)
            self._packed = rest
        else:
            self._end = True


class Zstandard:
    """A Zstandard file decompressed by pyarrow. OSError from the constructor where that is not installed."""

    __slots__ = ("_stream",)

    def __init__(self, source: Source) -> None:
        try:
            arrow = importlib.import_module("pyarrow")
        except ImportError:
            raise OSError("compressed with Zstandard, and pyarrow is not installed: decompress it with zstd -d") from None
        self._stream: Any = arrow.CompressedInputStream(arrow.PythonFile(_Readable(source), mode="r"), "zstd")

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        try:
            data: bytes = self._stream.read(size)
        except ValueError as error:  # pyarrow's words for data that are no frames
            raise OSError(f"damaged Zstandard data: {error}") from None
        return data


class _Readable:
    """A Source with what pyarrow demands of a file object beside `read`."""

    closed = False

    def __init__(self, source: Source) -> None:
        self.read = source.read

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The file is closed by who opened it."""


class Octets:
    """Bytes from a source, looked at and taken in pieces that the caller bounds."""

    __slots__ = ("_at", "_held", "_source", "fault")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held = b""
        self._at = 0
        # Why reading stopped before the end, if it did.
        self.fault = ""

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end; they stay there."""
        at = self._at
        if len(self._held) - at < size:
            pieces = [self._held[at:]]
            have = len(pieces[0])
            while have < size and (piece := self._more()):
                pieces.append(piece)
                have += len(piece)
            self._held = b"".join(pieces)
            self._at = at = 0
        return self._held[at : at + size]

    @property
    def held(self) -> int:
        """How many bytes can be taken without reading."""
        return len(self._held) - self._at

    def take(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        at = self._at
        if len(self._held) - at < size:
            self.peek(size)
            at = self._at
        data = self._held[at : at + size]
        self._at = at + len(data)
        return data

    def skip(self, size: int) -> bool:
        """Pass over `size` bytes, however many, without keeping them; False when the end came first."""
        while size > 0:
            passed = len(self.take(min(size, PIECE)))
            if not passed:
                return False
            size -= passed
        return True

    def line(self, limit: int) -> bytes:
        r"""The next line with its \n; without it when it is longer than `limit` (the rest is the next line) or the last. b"" at the end."""
        at = self._at
        end = self._held.find(b"\n", at, at + limit) + 1
        if end:
            self._at = end
            return self._held[at:end]
        data = self.peek(limit)
        end = data.find(b"\n") + 1
        return self.take(end or len(data))

    def _more(self) -> bytes:
        if self.fault:
            return b""
        try:
            return self._source.read(PIECE)
        except OSError as error:
            self.fault = error.strerror or str(error)
            return b""


def decompressed(source: Source) -> Octets:
    """The bytes of a source, through gzip or Zstandard when they begin like that; OSError where the second is missing."""
    octets = Octets(source)
    magic = octets.peek(4)
    if magic[:3] == b"\x1f\x8b\x08":
        return Octets(Gzip(_Again(octets)))
    if magic == b"\x28\xb5\x2f\xfd":
        return Octets(Zstandard(_Again(octets)))
    return octets


class _Again:
    """What was only looked at is read again."""

    __slots__ = ("_octets",)

    def __init__(self, octets: Octets) -> None:
        self._octets = octets

    def read(self, size: int, /) -> bytes:
        octets = self._octets
        octets.peek(1)  # what one reading gives, so that a pipe is not waited for
        data = octets.take(min(size, octets.held))
        if not data and octets.fault:
            raise OSError(octets.fault)
        return data
