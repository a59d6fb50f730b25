"""TCP connections put together again, each direction for itself, and the messages on them (RFC 9293, RFC 3261 §18.3)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from proxy.replay.startline import begins, find_message, may_begin
from proxy.replay.trouble import PACKET, SNAPLEN, STREAM, TLS, WEBSOCKET, Trouble
from proxy.sip.error import ParseError
from proxy.sip.stream import Framer

MAX_STREAMS: Final = 16384
"""Directions of connections that are remembered; the one that was silent for longest goes first."""
MAX_BYTES: Final = 1 << 25
"""Bytes of all of them that wait for others."""
MAX_AHEAD: Final = 64
"""Segments of one direction that wait for an earlier one: then it is taken as lost."""
MAX_JUMP: Final = 1 << 20
"""Sequence numbers further away than any window: another connection, whose SYN was not captured."""

_HEADER: Final = Struct(">HHIIBB").unpack_from
_FIN, _SYN, _RST = 1, 2, 4


class Direction:
    """What was sent one way on a connection: packed addresses, and both ports as they stand in the header."""

    __slots__ = (
        "ahead",
        "destination",
        "framer",
        "guessed",
        "held",
        "hep",
        "initial",
        "named",
        "next",
        "place",
        "ports",
        "source",
        "was_sip",
    )

    def __init__(self, source: bytes, destination: bytes, ports: bytes, following: int, initial: int, place: str) -> None:
        self.source = source
        self.destination = destination
        self.ports = ports
        self.next = following
        self.initial = initial
        self.place = place
        self.framer: Framer | None = None
        self.hep: bytearray | None = None
        self.was_sip = False
        # Read because its first bytes may become a start line: no loss is told of what may be something else.
        self.guessed = False
        # Noted as TLS or WebSocket.
        self.named = False
        self.ahead: dict[int, tuple[bytes, float, str]] = {}
        self.held = 0


Message = tuple[Direction, bytes, float, str, bool]
"""Where it was sent, its bytes, Unix time and place of the segment that completed it, and whether it is whole."""


class Streams:
    """All connections of a capture, bounded in number and bytes."""

    __slots__ = ("_directions", "_found", "_held", "_trouble")

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._found: list[Message] = []
        self._directions: dict[bytes, Direction] = {}
        self._held = 0

    def segment(self, at: float, source: bytes, destination: bytes, data: bytes, cut: bool, place: str) -> list[Message]:
        """The messages, SIP or HEP, that this TCP segment completes."""
        if len(data) < 20:
            self._trouble.note(SNAPLEN if cut else PACKET, place, f"a TCP header in {len(data)} bytes")
            return []
        _, _, sequence, _, offset, flags = _HEADER(data)
        header = offset >> 4 << 2
        if header < 20 or header > len(data):
            self._trouble.note(SNAPLEN if cut else PACKET, place, f"a TCP header of {header} bytes in {len(data)}")
            return []
        if len(data) == header and not flags & _SYN:
            return []
        key = source + destination + data[:4]
        directions = self._directions
        stream = directions.pop(key, None)
        if flags & _SYN:
            sequence = (sequence + 1) & 0xFFFFFFFF
            if stream is None or stream.initial != sequence:
                if stream is not None:
                    self._end(stream)
                stream = Direction(source, destination, data[:4], sequence, sequence, place)
        elif stream is None:
            stream = Direction(source, destination, data[:4], sequence, -1, place)
        directions[key] = stream
        if len(directions) > MAX_STREAMS:
            self._oldest()
        payload = data[header:]
        if not payload:
            return self._taken()
        if cut:
            self._cut(stream, sequence, payload, at, place)
        else:
            self._take(stream, sequence, payload, at, place)
        if stream.framer is None and stream.hep is None and not stream.named:
            self._name(stream, key, payload, place)
        self._count(stream)
        return self._taken()

    def finish(self) -> list[Message]:
        """Nothing more comes: what waits for lost segments is read without them, and what is not complete is counted."""
        while self._directions:
            self._oldest()
        return self._taken()

    def _taken(self) -> list[Message]:
        found = self._found
        if found:
            self._found = []
        return found

    def _oldest(self) -> None:
        self._end(self._directions.pop(next(iter(self._directions))))

    def _end(self, stream: Direction) -> None:
        """Nothing more comes on this one."""
        while stream.ahead:
            self._lost(stream)
        pending = stream.framer.pending if stream.framer is not None else len(stream.hep or b"")
        if pending > 2 and (stream.was_sip or not stream.guessed):  # one CRLF is a keep-alive that waits for its second
            self._trouble.note(STREAM, stream.place, f"{pending} bytes of a message that never ended")
        self._held -= stream.held
        stream.held = 0

    def _count(self, stream: Direction) -> None:
        """Keep count of what waits."""
        held = sum([len(piece[0]) for piece in stream.ahead.values()]) if stream.ahead else 0
        if stream.framer is not None:
            held += stream.framer.pending
        elif stream.hep is not None:
            held += len(stream.hep)
        self._held += held - stream.held
        stream.held = held
        while self._held > MAX_BYTES:
            self._oldest()  # at last the one that was counted now

    def _take(self, stream: Direction, sequence: int, data: bytes, at: float, place: str) -> None:
        """Bytes at a sequence number: in order, again, or ahead of others."""
        distance = (sequence - stream.next + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        reading = stream.framer is not None or stream.hep is not None
        if not -MAX_JUMP < distance < MAX_JUMP:
            self._gap(stream, sequence)
        elif distance < 0:
            if not reading and not stream.was_sip and begins(data):
                stream.next = sequence  # the capture began in the middle, out of order
            elif -distance >= len(data):
                return  # a retransmission
            else:
                data = data[-distance:]
        elif distance > 0:
            if not reading and (stream.was_sip or stream.initial != stream.next):
                stream.next = sequence  # nothing is read here, so nothing is missed
            else:
                before = stream.ahead.get(sequence)
                if before is None or len(before[0]) < len(data):
                    stream.ahead[sequence] = (data, at, place)
                if len(stream.ahead) > MAX_AHEAD:
                    self._lost(stream)
                return
        self._read(stream, data, at, place)
        if stream.ahead:
            self._drain(stream)

    def _drain(self, stream: Direction) -> None:
        """Read what waited and is next now."""
        ahead = stream.ahead
        while ahead:
            sequence = min(ahead, key=lambda number: (number - stream.next + 0x80000000) & 0xFFFFFFFF)
            distance = (sequence - stream.next + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            if distance > 0:
                return
            data, at, place = ahead.pop(sequence)
            if -distance < len(data):
                self._read(stream, data[-distance:], at, place)

    def _lost(self, stream: Direction) -> None:
        """The segment that others wait for was not captured: go on behind it."""
        sequence = min(stream.ahead, key=lambda number: (number - stream.next) & 0xFFFFFFFF)
        missing = (sequence - stream.next) & 0xFFFFFFFF
        if stream.framer is not None or stream.hep is not None:
            self._trouble.note(STREAM, stream.ahead[sequence][2], f"{missing} bytes were not captured")
        self._gap(stream, sequence, keep=True)
        self._drain(stream)

    def _gap(self, stream: Direction, sequence: int, keep: bool = False) -> None:
        """Go on at another sequence number; what was read in part is lost."""
        stream.next = sequence
        stream.framer = stream.hep = None
        if not keep:
            stream.ahead.clear()

    def _cut(self, stream: Direction, sequence: int, data: bytes, at: float, place: str) -> None:
        """A segment of which only the beginning was captured."""
        distance = (sequence - stream.next + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        if -MAX_JUMP < distance < 0:
            return
        if begins(data):
            self._found.append((stream, data, at, place, False))
            stream.was_sip = True
        if stream.was_sip:
            self._trouble.note(SNAPLEN, place, "a TCP segment that the capture cut")
        self._gap(stream, sequence + len(data) & 0xFFFFFFFF)

    def _read(self, stream: Direction, data: bytes, at: float, place: str) -> None:
        """The next bytes in order."""
        stream.next = stream.next + len(data) & 0xFFFFFFFF
        if stream.framer is None and stream.hep is None:
            data = self._synchronised(stream, data)
            if not data:
                return
        if stream.hep is not None:
            self._read_hep(stream, stream.hep, data, at, place)
        elif stream.framer is not None:
            if not stream.framer.pending:
                stream.place = place
            self._read_sip(stream, stream.framer, data, at, place)

    def _synchronised(self, stream: Direction, data: bytes) -> bytes:
        """These bytes of a stream that is none of ours so far, from where messages begin in them; b"" when they do not."""
        if data[:4] == b"HEP3":
            stream.hep = bytearray()
            return data
        start = data.lstrip(b"\r\n")
        if not begins(start):
            stream.guessed = b"\n" not in start and may_begin(start)
            if not stream.guessed:
                begin = find_message(data) if stream.was_sip else -1
                if begin < 0:
                    return b""
                start = data[begin:]
        stream.framer = Framer()
        return start

    def _read_sip(self, stream: Direction, framer: Framer, data: bytes, at: float, place: str) -> None:
        pending = framer.pending
        why = ""
        try:
            found = framer.feed(data)
        except ParseError as fault:
            found = fault.args[1]
            why = fault.phrase
            head = fault.head
            fault.__traceback__ = None
        for position, message in enumerate(found):
            if not begins(message):
                if stream.was_sip:
                    self._trouble.note(STREAM, place, f"no SIP message where one must begin: {message[:40]!r}")
                stream.framer = None
                del found[position:]
                why = ""
                break
            stream.was_sip = True
            self._found.append((stream, message, at, place, True))
        if why:
            stream.framer = None
            if found:
                pending, data = 0, data[data.rfind(found[-1][-64:]) + min(64, len(found[-1])) :]
            rest = head if pending else data.lstrip(b"\r\n")  # as far as the segment goes
            if begins(rest):
                stream.was_sip = True
                self._found.append((stream, rest, at, place, why != "Message Too Large"))
            if stream.was_sip:
                self._trouble.note(STREAM, place, f"the stream lost its frames: {why}")

    def _read_hep(self, stream: Direction, buffer: bytearray, data: bytes, at: float, place: str) -> None:
        buffer += data
        while len(buffer) >= 6:
            length = buffer[4] << 8 | buffer[5]
            if buffer[:4] != b"HEP3" or length < 6:
                self._trouble.note(STREAM, place, f"no HEP packet where one must begin: {bytes(buffer[:40])!r}")
                stream.hep = None
                return
            if len(buffer) < length:
                return
            self._found.append((stream, bytes(buffer[:length]), at, place, True))
            del buffer[:length]

    def _name(self, stream: Direction, key: bytes, data: bytes, place: str) -> None:
        """Say once of a connection that it is one that cannot be read."""
        if data[:2] == b"\x16\x03" and len(data) > 5:
            kind, why = TLS, "TLS: unreadable without its keys"
        elif data[:4] == b"GET " and b"websocket" in data[:4096].lower():
            kind, why = WEBSOCKET, "a WebSocket"
        else:
            return
        stream.named = True
        half = (len(key) - 4) // 2
        other = self._directions.get(key[half : 2 * half] + key[:half] + key[-2:] + key[-4:-2])
        if other is None or not other.named:
            self._trouble.note(kind, place, why)
