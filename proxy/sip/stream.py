"""Framing of SIP on a byte stream by Content-Length (RFC 3261 §18.3), with RFC 5626 keep-alives."""

from __future__ import annotations

from proxy.sip.error import ParseError
from proxy.sip.message import MAX_HEAD, MAX_MESSAGE


class Framer:
    """Cuts what arrives on one connection into whole messages.

    `pings` counts double CRLF between messages since it was last set to 0 (each wants one CRLF back, RFC 5626 §4.4.1). After a
    ParseError the connection cannot be read any further: whatever comes then is ignored.
    """

    __slots__ = ("_buffer", "_lost", "_need", "_scanned", "pings")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._need = 0
        self._lost = False
        self.pings = 0

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes in, give whole messages out.

        ParseError (400, 513) when the stream has lost its frames: no Content-Length, two of them, one that is no number, a header
        section or message that is too long. Its `head` holds the offending header section so that it can be answered before the
        connection is closed: given to the core like a message it is found malformed there too (b"" for a response, which is not
        answered); the messages that were whole before it are in its `args[1]`.
        """
        if self._lost:
            return []
        buffer = self._buffer
        buffer += data
        messages: list[bytes] = []
        while buffer:
            if not self._need:
                self._skip_keepalives()
                end = buffer.find(b"\r\n\r\n", self._scanned)
                if end < 0:
                    self._scanned = max(0, len(buffer) - 3)
                    if len(buffer) >= MAX_HEAD:
                        raise self._fault(513, "Message Too Large", messages)
                    break
                if end + 4 > MAX_HEAD:
                    raise self._fault(513, "Message Too Large", messages)
                self._need = end + 4 + self._content_length(bytes(buffer[:end]), messages)
                if self._need > MAX_MESSAGE:
                    raise self._fault(513, "Message Too Large", messages)
            if len(buffer) < self._need:
                break
            messages.append(bytes(buffer[: self._need]))
            del buffer[: self._need]
            self._need = self._scanned = 0
        return messages

    def _skip_keepalives(self) -> None:
        buffer = self._buffer
        while buffer[:4] == b"\r\n\r\n":
            self.pings += 1
            del buffer[:4]
            self._scanned = 0
        # a CRLF that something else follows belongs to no ping: RFC 3261 §7.5 has it skipped
        while buffer[:2] == b"\r\n" and len(buffer) > 2 and buffer[2:3] != b"\r":
            del buffer[:2]
            self._scanned = 0

    def _content_length(self, head: bytes, messages: list[bytes]) -> int:
        found: bytes | None = None
        lower = head.lower()
        for name in (b"\r\ncontent-length", b"\r\nl"):
            at = lower.find(name)
            while at >= 0:
                line_end = head.find(b"\r\n", at + 2)
                while line_end >= 0 and head[line_end + 2 : line_end + 3] in (b" ", b"\t"):  # folded
                    line_end = head.find(b"\r\n", line_end + 2)
                field, colon, value = head[at + 2 : line_end if line_end >= 0 else len(head)].partition(b":")
                if colon and len(field.rstrip(b" \t")) == len(name) - 2:
                    if found is not None:
                        raise self._fault(400, "Header field repeated", messages)
                    found = value.strip()
                at = lower.find(name, at + 2)
        if found is None:
            raise self._fault(400, "No Content-Length", messages)
        if not found.isdigit() or len(found) > 10:
            raise self._fault(400, "Bad Content-Length", messages)
        return int(found)

    def _fault(self, status: int, phrase: str, messages: list[bytes]) -> ParseError:
        """The end of the stream. Raised by the caller: a frame that held its own exception would keep all this until the garbage
        collector comes by, and an enemy could have that be much.
        """
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        head = bytes(buffer[: end + 4 if end >= 0 else MAX_HEAD])
        buffer.clear()
        self._lost = True
        fault = ParseError(0, phrase) if head[:4].upper() == b"SIP/" else ParseError(status, phrase, head=head)
        fault.args = (*fault.args, messages)
        return fault
