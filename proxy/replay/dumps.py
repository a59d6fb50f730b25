"""SIP messages in text: `.sip` files (one message, or several one after the other), and the dumps that `marks` names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import tzinfo
from typing import Final

from proxy.replay.marks import Mark
from proxy.replay.message import Captured
from proxy.replay.octets import Octets
from proxy.replay.startline import begins
from proxy.replay.trouble import DAMAGED, FILE, Trouble

MAX_LINE: Final = 1 << 16
MAX_TEXT: Final = 1 << 18
"""Bytes of one message in a dump."""

_RULER: Final = re.compile(rb"[ \t]*(?:-{3,}|<-{5,}>|\|{10,}|={10,}|~{10,})[ \t\r]*\n?$")
_LENGTH: Final = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_NESTED: Final = re.compile(rb"(?:message|multipart)/", re.IGNORECASE)
_WITHIN: Final = re.compile(
    rb"(?:(?:INVITE|ACK|BYE|CANCEL|OPTIONS|REGISTER|PRACK|UPDATE|INFO|SUBSCRIBE|NOTIFY|REFER|MESSAGE|PUBLISH)"
    rb" (?:sips?|tel|urn):[^\r\n]* SIP/2\.0"
    rb"|SIP/2\.0 \d{3} [^\r\n]*)\r?\n?$"
)


class _Reading:
    """The message that is being read, line by line."""

    __slots__ = (
        "at",
        "body",
        "destination",
        "destination_port",
        "dots",
        "head",
        "indent",
        "lines",
        "size",
        "source",
        "source_port",
        "start",
        "transport",
    )

    def __init__(self, mark: Mark, indent: bytes, start: int) -> None:
        self.at = mark.at
        self.source, self.source_port = mark.source, mark.source_port
        self.destination, self.destination_port = mark.destination, mark.destination_port
        self.transport = mark.transport
        self.dots = mark.dots
        self.indent = indent
        self.start = start
        self.lines: list[bytes] = []
        self.size = 0
        # Set when the empty line came: the header section, and the size of the body so far.
        self.head: bytes | None = None
        self.body = 0

    def add(self, line: bytes) -> bool:
        """Take a line in; False when it is outside of the message's indentation."""
        if self.indent:
            if line.startswith(self.indent):
                line = line[len(self.indent) :]
            elif line.strip():
                return False
            else:
                line = b"\n"
        if self.dots:
            stripped = line.rstrip(b"\n")
            line = stripped[:-1] + b"\r\n" if stripped.endswith(b".") else line
        self.lines.append(line)
        self.size += len(line)
        if self.head is not None:
            self.body += len(line) + (not line.endswith(b"\r\n"))
        elif not line.strip(b"\r\n"):
            self.head = b"".join(self.lines)
        return True

    def may_end(self) -> bool:
        """Whether what looks like another message's start line is one: in a body that is a message itself it is not."""
        head = self.head
        if head is None or not _NESTED.search(head):
            return True
        length = _LENGTH.search(head)
        return length is None or self.body >= int(length[1])

    def message(self) -> bytes:
        """The bytes, with CRLF where the dump has LF, without what follows the body."""
        data = b"".join(self.lines)
        if b"\r\n" not in (self.head or data):
            data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:  # the empty line was lost
            return data.rstrip(b"\r\n") + b"\r\n\r\n"
        length = _LENGTH.search(data, 0, end)
        size = int(length[1]) if length else -1
        if 0 <= size <= len(data) - end:
            return data[: end + size]
        body = data[end:]
        return data[:end] + (body.rstrip(b"\r\n") + b"\r\n" if body.strip(b"\r\n") else b"")


def messages(octets: Octets, name: str, trouble: Trouble, zone: tzinfo) -> Iterator[Captured]:
    """The SIP messages in a text, in its order. Times without a zone are in `zone`."""
    mark = Mark()
    reading: _Reading | None = None
    number = found = 0
    # Marks and rulers count from the first mark on: the body of a message in a `.sip` file may hold lines like them.
    dump = False
    whole_line = True
    if octets.peek(3) == b"\xef\xbb\xbf":  # a byte order mark, as editors of Windows put before a text
        octets.take(3)
    while line := octets.line(MAX_LINE):
        at_start, whole_line = whole_line, line.endswith(b"\n")
        number += at_start
        begin = _begin(line, mark.garbled and reading is None) if at_start else -1
        if begin >= 0 and (reading is None or reading.may_end()):
            if reading is not None:
                found += 1
                yield _captured(reading, name)
                mark.forget()
            garbled = bool(line[:begin].strip())
            reading = _Reading(mark, b"" if garbled else line[:begin], number)
            reading.add(line if not garbled else line[begin:])
            continue
        if reading is None:
            dump = mark.read(line, zone) or dump
            continue
        marked = dump and reading.head is not None and (mark.read(line, zone) or bool(_RULER.match(line)))
        if not marked and reading.add(line):
            if reading.size > MAX_TEXT:
                trouble.note(DAMAGED, f"{name}:{reading.start}", f"a message of more than {MAX_TEXT} bytes")
                reading = None
            continue
        found += 1
        yield _captured(reading, name)
        reading = None
        if not marked:
            mark.read(line, zone)
    if octets.fault:
        trouble.note(FILE, name, octets.fault)
    if reading is not None:
        found += 1
        yield _captured(reading, name)
    if not found:
        trouble.note(FILE, name, "no capture, and no SIP message in a form that is known")
    trouble.packets += found
    trouble.messages += found


def _begin(line: bytes, garbled: bool) -> int:
    """Where a start line begins in a line: behind its indentation, or behind what tcpdump -A makes of headers; -1 when nowhere."""
    begin = len(line) - len(line.lstrip(b" \t"))
    if line[begin : begin + 1].isalpha() and begins(_undotted(line), begin):
        return begin
    within = _WITHIN.search(line) if garbled else None
    return within.start() if within else -1


def _undotted(line: bytes) -> bytes:
    """A start line as ngrep writes it, without the dot for its CR."""
    return line[:-2] + b"\n" if line.endswith(b".\n") else line


def _captured(reading: _Reading, name: str) -> Captured:
    return Captured(
        reading.at,
        reading.source,
        reading.source_port,
        reading.destination,
        reading.destination_port,
        reading.transport,
        reading.message(),
        f"{name}:{reading.start}",
        reading.head is not None,
    )
