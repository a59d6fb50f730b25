"""A directory as one file that every worker maps: written aside and renamed, its SHA-256 verified when it is opened.

Layout, in the byte order of the machine that wrote it: 8 octets of magic, SHA-256 of all that follows, then two 64-bit lengths (whole file,
head), the head (msgpack), and the sections, each on a multiple of 8. A file is never changed in place: whoever has mapped it keeps what was
verified.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rules.directory.fault import DirectoryFault
from rules.directory.index import Sections

_MAGIC = b"sipwdir3"
_LENGTHS = struct.Struct("=QQ")
_START = len(_MAGIC) + 32 + _LENGTHS.size
_AT_ONCE = 1 << 20
"""Octets that are mapped or unmapped in one system call, for which the whole process waits."""
_POPULATE_READ = 22
"""MADV_POPULATE_READ of Linux 5.14, which mmap does not name."""
_REMEDY = "build it again from the lists"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is not an array: version, warnings, how many rows of what, the word lists of registers, the calendar, what segments are limited
    or for marketing, and where the sections lie.
    """

    version: str
    warnings: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    words: dict[str, tuple[str, ...]] = {}
    time_zone: str = "Asia/Shanghai"
    holidays: dict[str, int] = {}
    """Day of the week that a date counts as."""
    limited: tuple[str, ...] = ()
    marketing: tuple[str, ...] = ()
    capped: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    everywhere: dict[str, tuple[str, ...]] = {}
    """The enterprise trunks of each customer."""
    homes: dict[str, str] = {}
    """The home area of each trunk that has one."""
    byteorder: str = sys.byteorder
    sections: dict[str, tuple[int, int, str]] = {}
    """Offset from the end of the head (rounded up to 8), octets, format."""


def save_image(path: Path, head: Head, sections: Sections) -> None:
    """Write the image beside `path`, flush it to disk and rename it over `path`. Raises OSError."""
    table: dict[str, tuple[int, int, str]] = {}
    offset = 0
    for name, section in sections.items():
        table[name] = (offset, section.nbytes, section.format)
        offset += _round(section.nbytes)
    encoded = msgspec.msgpack.encode(msgspec.structs.replace(head, sections=table, byteorder=sys.byteorder))
    encoded += bytes(_round(len(encoded) + _START) - len(encoded) - _START)
    lengths = _LENGTHS.pack(_START + len(encoded) + offset, len(encoded))
    parts: list[bytes | memoryview[int]] = [lengths, encoded]
    for section in sections.values():
        parts += [section.cast("B"), bytes(_round(section.nbytes) - section.nbytes)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            file.write(_MAGIC)
            file.write(digest.digest())
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_image(path: Path) -> tuple[Head, Sections]:
    """Map an image. Raises DirectoryFault where it is not one, or not the one that was written.

    It is read once to be verified; then all its pages are mapped, so that no call pays for the first look at one (twice what its verdict
    costs). They are the file's own, shared by all who have it mapped.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(_START)
            if start[: len(_MAGIC)] != _MAGIC:
                raise DirectoryFault(str(path), 0, "", "", "not a directory image of this version of sipwarden", _REMEDY)
            size = os.fstat(file.fileno()).st_size
            if len(start) < _START:
                raise DirectoryFault(str(path), 0, "", "", f"truncated: {size} octets", _REMEDY)
            digest = hashlib.sha256(start[len(_MAGIC) + 32 :])
            block = memoryview(bytearray(1 << 20))
            while count := file.readinto(block):
                digest.update(block[:count])
            whole, head_length = _LENGTHS.unpack(start[len(_MAGIC) + 32 :])
            if size < whole:
                raise DirectoryFault(str(path), 0, "", "", f"truncated: {size} of {whole} octets", _REMEDY)
            if size != whole or digest.digest() != start[len(_MAGIC) : len(_MAGIC) + 32]:
                raise DirectoryFault(str(path), 0, "", "", "changed since it was written: SHA-256 differs", _REMEDY)
            mapped = mmap.mmap(file.fileno(), whole, access=mmap.ACCESS_READ)
            _populate(mapped)
            view = memoryview(mapped)
    except OSError as error:
        raise DirectoryFault(str(path), 0, "", "", f"cannot be read: {error.strerror or error}", _REMEDY) from None
    try:
        head = msgspec.msgpack.decode(bytes(view[_START : _START + head_length]).rstrip(b"\0"), type=Head)
        if head.byteorder != sys.byteorder:
            raise DirectoryFault(str(path), 0, "", "", f"written by a {head.byteorder}-endian machine", _REMEDY)
        first = _START + head_length
        return head, {name: view[first + at : first + at + size].cast(kind) for name, (at, size, kind) in head.sections.items()}  # type: ignore[call-overload]
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise DirectoryFault(str(path), 0, "", "", f"not understood ({error})", _REMEDY) from None


def _populate(mapped: mmap.mmap) -> None:
    """Map every page now, a little at a time. A kernel that cannot do that maps each when it is touched."""
    for start in range(0, len(mapped), _AT_ONCE):
        try:
            mapped.madvise(_POPULATE_READ, start, min(_AT_ONCE, len(mapped) - start))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return


def give_back(sections: Sections) -> Iterator[None]:
    """Unmap the pages of a mapped image that this process has touched, a little at each step: all at once takes a tenth of a second, and
    the whole process waits. Whoever reads there all the same gets them again.
    """
    for mapped in {id(section.obj): section.obj for section in sections.values() if isinstance(section.obj, mmap.mmap)}.values():
        for start in range(0, len(mapped), _AT_ONCE):
            mapped.madvise(mmap.MADV_DONTNEED, start, min(_AT_ONCE, len(mapped) - start))
            yield


def _round(length: int) -> int:
    return (length + 7) & ~7
