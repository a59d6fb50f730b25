"""SipMessage: one message over the bytes it came in, indexed in one pass, read lazily, edited by splicing lines.

The compiled kernel (proxy.sip.kernel), where there is one, does that pass for ordinary messages; what it leaves is read here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.sip.error import ParseError
from proxy.sip.grammar import COMMA, CR, is_token, number, split_list
from proxy.sip.kernel import compiled, nothing

if TYPE_CHECKING:
    from proxy.sip._kernel import Index, Scanned, Scanner

MAX_MESSAGE: Final = 65535
"""Bytes of the longest message that is taken."""
MAX_HEAD: Final = 32768
"""Bytes of the longest header section, with the empty line that ends it."""
MAX_HEADERS: Final = 512
"""Lines of the longest header section."""

_COMPACT: Final = {
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"n": b"identity-info",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
    b"y": b"identity",
}

_USUAL: Final = (
    b"Via From To Call-ID CSeq Max-Forwards Contact Content-Type Content-Length Route Record-Route Proxy-Require Require "
    b"Supported Unsupported Allow Allow-Events User-Agent Server P-Asserted-Identity P-Preferred-Identity Remote-Party-ID Privacy "
    b"Diversion History-Info Identity Date Subject Session-Expires Min-SE Expires Accept Accept-Encoding Accept-Language "
    b"Organization P-Charging-Vector P-Access-Network-Info P-Early-Media Reason RSeq RAck Event Authorization "
    b"Proxy-Authorization WWW-Authenticate Proxy-Authenticate Warning Content-Disposition MIME-Version Timestamp Retry-After "
    b"Refer-To Referred-By Replaces Call-Info Error-Info Alert-Info In-Reply-To Priority Reply-To Content-Encoding "
    b"Content-Language Subscription-State Join Path Service-Route Attestation-Info Origination-Id"
).split()

LISTS: Final = frozenset(
    (
        b"via route record-route contact p-asserted-identity p-preferred-identity remote-party-id diversion history-info "
        b"require proxy-require supported unsupported allow allow-events accept accept-encoding accept-language call-info "
        b"alert-info error-info in-reply-to warning reason path service-route content-encoding content-language"
    ).split()
)
"""Header fields whose grammar is a comma list (RFC 3261 §7.3.1 and the RFCs of the extensions)."""

SINGLE: Final = frozenset(
    b"from to call-id cseq max-forwards content-length content-type date expires refer-to replaces event rseq rack".split()
)
"""Header fields that may stand in a message once only, and that somebody on the way acts on (§16.3: what a proxy need not look at, it
passes).
"""


def _known_names() -> dict[bytes, bytes]:
    known: dict[bytes, bytes] = {}
    for name in _USUAL:
        for spelling in (name, name.lower(), name.upper()):
            known[spelling] = name.lower()
    for letter, name in _COMPACT.items():
        known[letter] = name
        known[letter.upper()] = name
    return known


_KNOWN: Final = _known_names()
_LEARNED_LIMIT: Final = len(_KNOWN) + 1024
_LEARNED_SIZE: Final = 40
REPEATED: Final = 1
"""The mark of a message in which some header field has several lines."""

_MARKED: Final = (
    b"content-length proxy-require route contact p-asserted-identity p-preferred-identity record-route diversion history-info"
    b" remote-party-id refer-to referred-by reply-to date expires privacy identity timestamp call-info attestation-info origination-id"
).split()
_MARKS: Final = {name: 2 << place for place, name in enumerate(_MARKED)}


def mark(name: bytes) -> int:
    """The bit of `SipMessage.marks` that says that the field is there. KeyError for fields that nobody asks about in this way."""
    return _MARKS[name]


_METHODS: Final = frozenset(b"INVITE ACK BYE CANCEL OPTIONS PRACK UPDATE INFO REFER NOTIFY SUBSCRIBE MESSAGE REGISTER PUBLISH".split())
_CONTENT_LENGTH: Final = mark(b"content-length")
_COPIED: Final = (b"via", b"from", b"to", b"call-id", b"cseq")


def canonical_name(line: bytes) -> bytes:
    """The lower-case full name of a header line's field; ParseError 400 when the line has none."""
    written, colon, _ = line.partition(b":")
    name = written.rstrip(b" \t")
    if not colon or not is_token(name):
        raise ParseError(400, "Bad header line")
    lower = name.lower()
    key = _COMPACT.get(lower, lower)
    if len(_KNOWN) < _LEARNED_LIMIT and len(written) < _LEARNED_SIZE:
        _KNOWN[written] = key  # bounded in number and size: names, and blanks behind them, are the sender's choice
    return key


def index_lines(lines: list[bytes]) -> tuple[dict[bytes, int], dict[bytes, list[int]] | None]:
    """Index a message's lines (start line first): the first line of each header field, and every line of those that stand more than
    once.
    """
    first: dict[bytes, int] = {}
    more: dict[bytes, list[int]] | None = None
    known = _KNOWN
    for at, line in enumerate(lines[1:], 1):
        name, colon, _ = line.partition(b":")
        key = known.get(name)
        if key is None or not colon:
            key = canonical_name(line)
        if key in first:
            if more is None:
                more = {}
            if key in more:
                more[key].append(at)
            else:
                more[key] = [first[key], at]
        else:
            first[key] = at
    return first, more


scanner: Scanner | None = (
    None
    if compiled is None
    else compiled.Scanner(_KNOWN, canonical_name, SINGLE, _METHODS, _MARKS, REPEATED, MAX_MESSAGE, MAX_HEAD, MAX_HEADERS)
)
_scan: Callable[[bytes], Scanned | None] = nothing if scanner is None else scanner.scan
_splice: Callable[[list[bytes], dict[int, bytes | None] | None, bytes | None, list[bytes] | None, bytes | None, bytes], bytes] | None = (
    None if compiled is None else compiled.splice
)


class SipMessage:
    """One SIP message.

    Requests have `method` and `uri`; responses have `status` (int) and `phrase`. `lines` are the header section as it came, start line
    first, folded lines kept together; `first_line` and `more_lines` the places of each header field in them; `body` what Content-Length
    counts (or the rest of the datagram where there is none). Names are given in lower case. `marks` tells quickly which fields are there,
    see `mark`. `index` is what the kernel has found, None where it read nothing: of that, lines and all else are made when they are asked
    for.
    """

    __slots__ = (
        "_body",
        "_first_line",
        "_lines",
        "_more_lines",
        "index",
        "is_request",
        "marks",
        "method",
        "phrase",
        "raw",
        "replaced",
        "start",
        "status",
        "top",
        "uri",
    )

    def __init__(self, found: Scanned | None = None) -> None:
        """An empty message, or what the kernel has found."""
        self.start: bytes | None = None
        self.top: list[bytes] | None = None
        self.replaced: dict[int, bytes | None] | None = None
        self._more_lines: dict[bytes, list[int]] | None = None
        self.index: Index | None = None
        if found is not None:
            self.index, self.raw, self.marks, self.method, self.uri, self.status, self.phrase = found
            self.is_request = not self.status
            self._lines: list[bytes] | None = None
            self._first_line: dict[bytes, int] | None = None
            self._body: bytes | None = None
            return
        self.raw = b""
        self._lines = []
        self._body = b""
        self._first_line = {}
        self.marks = 0
        self.is_request = True
        self.method = b""
        self.uri = b""
        self.status = 0
        self.phrase = b""

    @property
    def lines(self) -> list[bytes]:
        """The header section as it came."""
        lines = self._lines
        if lines is None:
            assert self.index is not None
            lines = self._lines = self.index.lines()
        return lines

    @property
    def first_line(self) -> dict[bytes, int]:
        """The place in `lines` of the first line of each header field."""
        first = self._first_line
        return first if first is not None else self._fields()

    @property
    def more_lines(self) -> dict[bytes, list[int]] | None:
        """The places of every line of the fields that have several, None where none has."""
        if self._first_line is None and self.marks & REPEATED:
            self._fields()
        return self._more_lines

    @property
    def body(self) -> bytes:
        """What follows the header section."""
        body = self._body
        if body is None:
            assert self.index is not None
            body = self._body = self.index.body()
        return body

    def _fields(self) -> dict[bytes, int]:
        assert self.index is not None
        first, self._more_lines = self.index.fields()
        self._first_line = first
        return first

    def _index_lines(self, lines: list[bytes]) -> None:
        self._lines = lines
        self._first_line, self._more_lines = first, more = index_lines(lines)
        self.marks = sum([bit for name, bit in _MARKS.items() if name in first], 0 if more is None else REPEATED)

    @classmethod
    def parse(cls, raw: bytes) -> SipMessage:
        """Read one datagram or framed stream message. ParseError is the only exception, with what could be read in its `message`."""
        found = _scan(raw)
        if found is not None:  # an ordinary message, and nothing is wrong with it
            return SipMessage(found)
        message = cls()
        if raw[:2] == b"\r\n":
            raw = raw.lstrip(b"\r\n")  # RFC 3261 §7.5
        end = raw.find(b"\r\n\r\n")
        if end < 0:
            if len(raw) >= MAX_HEAD:
                raise _unreadable(raw, 513, "Message Too Large")
            raise _unreadable(raw, 400, "No end of header section")
        head = raw[:end]
        lines = head.split(b"\r\n")
        breaks = len(lines) - 1
        if breaks > MAX_HEADERS or len(raw) > MAX_MESSAGE or end + 4 > MAX_HEAD:
            raise _unreadable(raw, 513, "Message Too Large")
        unbroken = b"".join(lines)
        if b"\n" in unbroken or b"\r" in unbroken:
            raise _unreadable(raw, 400, "Bare CR or LF in header section")
        if b"\r\n " in head or b"\r\n\t" in head:
            lines = _unsplit(lines)
        try:
            message._index_lines(lines)
            message._start_line(lines[0])
            if message.more_lines is not None and not SINGLE.isdisjoint(message.more_lines):
                raise ParseError(400, "Header field repeated")
            at = message.first_line.get(b"content-length")
            if at is None:
                message._body = raw[end + 4 :]
                message.raw = raw
            else:
                size = number(lines[at].partition(b":")[2].strip(), 1 << 31, "Content-Length")
                if size > len(raw) - end - 4:
                    raise ParseError(400, "Content-Length beyond end of message")
                message.raw = raw = raw[: end + 4 + size]  # what follows in the datagram is not ours to pass on (RFC 3261 §18.3)
                message._body = raw[end + 4 :]
        except ParseError as fault:
            if not message.first_line:
                raise _unreadable(raw, fault.status, fault.phrase) from None
            if _unanswered(raw):
                raise ParseError(0, fault.phrase) from None
            fault.message = message
            raise
        return message

    @classmethod
    def salvage(cls, raw: bytes) -> SipMessage | None:
        """What can be read of a malformed request: the method and the lines that a response copies; None without a Via line."""
        message = cls()
        raw = raw[:MAX_HEAD]
        lines = raw.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n").split(b"\n")[:MAX_HEADERS]
        message.method = lines[0].partition(b" ")[0]
        kept = lines[:1]
        for joined in _unsplit(lines)[1:]:
            line = unfold(joined)
            name = line.partition(b":")[0].rstrip(b" \t").lower()
            if _COMPACT.get(name, name) in _COPIED and b"\r" not in line and b"\0" not in line:
                kept.append(line)
        message._index_lines(kept)
        return message if b"via" in message.first_line else None

    def _start_line(self, line: bytes) -> None:
        if line[:8] == b"SIP/2.0 ":
            code = line[8:11]
            self.is_request = False
            if not code.isdigit() or line[11:12] not in (b" ", b"") or not b"100" <= code <= b"699":
                raise ParseError(0, "Bad status line")
            self.status = int(code)
            self.phrase = line[12:]
            return
        parts = line.split(b" ")
        self.method = parts[0]
        if len(parts) != 3 or (parts[0] not in _METHODS and not is_token(parts[0])) or not parts[1]:
            raise ParseError(400, "Bad request line")
        self.uri = parts[1]
        if parts[2] != b"SIP/2.0":
            if parts[2].upper() == b"SIP/2.0":
                self.start = parts[0] + b" " + parts[1] + b" SIP/2.0"  # §7.1: read in any case, sent in upper case
                return
            raise ParseError(
                505 if parts[2][:4].upper() == b"SIP/" else 400,
                "Version Not Supported" if parts[2][:4].upper() == b"SIP/" else "Bad request line",
            )

    def first(self, name: bytes) -> bytes | None:
        """The value of the first line of `name`, folding undone, blanks around it removed; None where there is none."""
        at = self.first_line.get(name)
        if at is None:
            return None
        line = self.lines[at]
        value = line[line.find(b":") + 1 :].strip()
        return unfold(value) if CR in value else value

    def place(self, name: bytes) -> int:
        """The index into `lines` of the first line of `name`, one of the usual fields; 0 where there is none."""
        if self.index is not None and self._first_line is None:
            return self.index.place(name)
        return self.first_line.get(name, 0)

    def line_at(self, at: int) -> bytes:
        """One of `lines`."""
        if self.index is not None and self._lines is None:
            return self.index.line_at(at)
        return self.lines[at]

    def count(self, name: bytes) -> int:
        """How many lines of `name` there are."""
        if self.more_lines is not None and name in self.more_lines:
            return len(self.more_lines[name])
        return 1 if name in self.first_line else 0

    def positions(self, name: bytes) -> list[int]:
        """Indices into `lines` of every line of `name`."""
        if self.more_lines is not None and name in self.more_lines:
            return self.more_lines[name]
        at = self.first_line.get(name)
        return [] if at is None else [at]

    def all(self, name: bytes) -> list[bytes]:
        """Every value of `name` in order: one a line, and each of a comma list where the grammar has one (LISTS). ParseError 400 for
        open quotes.
        """
        values: list[bytes] = []
        places = self.positions(name)
        if len(places) == 1:
            line = self.lines[places[0]]
            if COMMA not in line and CR not in line:  # the ordinary case
                return [line[line.find(b":") + 1 :].strip()]
        for at in places:
            value = unfold(self.lines[at].partition(b":")[2].strip())
            if name in LISTS:
                values += split_list(value)
            else:
                values.append(value)
        return values

    # edits: recorded, and spliced in by to_bytes

    def insert_top(self, line: bytes) -> None:
        """Put a header line above all others (what is inserted later stands higher)."""
        if self.top is None:
            self.top = [line]
        else:
            self.top.insert(0, line)

    def replace(self, name: bytes, line: bytes) -> None:
        """Put `line` in the place of the first line of `name`; above all others where there is none."""
        at = self.first_line.get(name)
        if at is None:
            self.insert_top(line)
        else:
            self.replace_line(at, line)

    def replace_line(self, at: int, line: bytes | None) -> None:
        """Put `line` in the place of `lines[at]`; None takes the line out."""
        if self.replaced is None:
            self.replaced = {at: line}
        else:
            self.replaced[at] = line

    def remove(self, name: bytes) -> None:
        """Take every line of `name` out."""
        for at in self.positions(name):
            self.replace_line(at, None)

    def remove_values(self, name: bytes, values: int) -> None:
        """Take the first `values` values of a list header field out, however they are spread over lines and commas."""
        for at in self.positions(name):
            if not values:
                return
            field, _, text = self.lines[at].partition(b":")
            parts = split_list(unfold(text.strip()))
            kept = parts[values:]
            values -= len(parts) - len(kept)
            self.replace_line(at, field + b": " + b", ".join(kept) if kept else None)

    def set_uri(self, uri: bytes) -> None:
        """Change the Request-URI."""
        self.start = self.method + b" " + uri + b" SIP/2.0"

    def undo_edits(self) -> None:
        """Forget every edit."""
        self.start = self.top = self.replaced = None

    def to_bytes(self) -> bytes:
        """The message with its edits spliced in; without edits exactly the bytes that came. An edited message has a Content-Length."""
        replaced = self.replaced
        if self.top is None and replaced is None and self.start is None:
            return self.raw
        size = None  # a stream may be next, where a body without its length is read as the next message
        if not self.marks & _CONTENT_LENGTH:
            size = b"Content-Length: %d" % len(self.body)
        if self.index is not None:
            return self.index.splice(replaced, self.start, self.top, size)
        if _splice is not None:
            return _splice(self.lines, replaced, self.start, self.top, size, self.body)
        lines = self.lines[:]
        gone: list[int] = []
        if replaced is not None:
            for at, line in replaced.items():
                if line is None:
                    gone.append(at)
                else:
                    lines[at] = line
        if self.start is not None:
            lines[0] = self.start
        if gone:
            gone.sort(reverse=True)
            for at in gone:
                del lines[at]
        if size is not None:
            lines.append(size)
        if self.top is not None:
            lines[1:1] = self.top
        lines += (b"", self.body)
        return b"\r\n".join(lines)


def _unanswered(raw: bytes) -> bool:
    """Whether this is a response or an ACK, to which nothing is ever answered."""
    return raw[:4] == b"ACK " or raw[:4].upper() == b"SIP/"


def _unreadable(raw: bytes, status: int, phrase: str) -> ParseError:
    """The fault of a message that has no index: what can be salvaged of a request, nothing of a response or ACK."""
    if _unanswered(raw):
        return ParseError(0, phrase)
    return ParseError(status, phrase, SipMessage.salvage(raw))


def unfold(value: bytes) -> bytes:
    """Undo line folding: a line break with the blanks after it is one blank (RFC 3261 §7.3.1)."""
    if CR not in value:
        return value
    return b" ".join(part.strip() for part in value.split(b"\r\n"))


def _unsplit(lines: list[bytes]) -> list[bytes]:
    """Put folded lines together again, their line breaks kept."""
    joined: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and len(joined) > 1:
            joined[-1] = joined[-1] + b"\r\n" + line
        else:
            joined.append(line)
    return joined
