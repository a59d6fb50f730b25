"""RFC 3261 §16.3: is this request fit to be proxied? What is read on the way is kept, so that nothing is parsed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.flow import Flow
from proxy.sip.error import ParseError
from proxy.sip.grammar import COMMA, name_addr, number, param, split_list, split_params
from proxy.sip.kernel import compiled, nothing
from proxy.sip.message import REPEATED, SipMessage, mark, scanner
from proxy.sip.transaction import transaction_key
from proxy.sip.uri import URI_CHARACTERS, Uri, is_absolute, parse_uri
from proxy.sip.via import Via, mark_received, reader

if TYPE_CHECKING:
    from proxy.sip._kernel import Index, RequestParts

_ADDRESSES: Final = (
    b"contact",
    b"p-asserted-identity",
    b"p-preferred-identity",
    b"record-route",
    b"diversion",
    b"history-info",
    b"remote-party-id",
    b"refer-to",
    b"referred-by",
    b"reply-to",
)
_CSEQ_LIMIT: Final = (1 << 32) - 1
_TO_BE_CHECKED: Final = REPEATED | sum(map(mark, (*_ADDRESSES, b"date", b"expires")))
_CONTENT_LENGTH: Final = mark(b"content-length")
_ASSERTED: Final = mark(b"p-asserted-identity")
_requests = None if compiled is None else compiled.Requests(scanner, reader, _ADDRESSES)
_read: Callable[[Index, bytes, bytes], RequestParts | None] = nothing if _requests is None else _requests.read
_identity: Callable[[Index, bytes], bytes | None] = nothing if _requests is None else _requests.identity


class Request:
    """A request that passed the checks.

    `sender`, `to_uri` are the URIs of From and To; `cseq` the CSeq digits; `hops` Max-Forwards or None; `via_line` the topmost Via line
    with received and rport put in, None where it stays as it came; `branch` its branch, None without one; `reply_port` the port that
    responses go to on the sender's address; `key` finds the server transaction; `uri` is the Request-URI, `secure`
    whether it is a sips URI.
    """

    __slots__ = (
        "_uri",
        "_via",
        "branch",
        "call_id",
        "cseq",
        "flow",
        "from_tag",
        "hops",
        "key",
        "message",
        "method",
        "reply_port",
        "secure",
        "sender",
        "to_tag",
        "to_uri",
        "via_line",
    )

    def __init__(self, message: SipMessage, flow: Flow, address: bytes) -> None:
        """Check `message`, which came over `flow` from `address` (its text). ParseError with the status that §16.3 and §8.2 give the
        fault.
        """
        self.message = message
        self.flow = flow
        self.method = method = message.method
        self._via: Via | None = None
        self._uri: Uri | None = None
        self.via_line: bytes | None = None
        self.branch: bytes | None = None
        self.reply_port = 0
        try:
            index = message.index
            found = None if index is None else _read(index, method, address)
            if found is None:
                self._read_in_full(message, method, address)
                ordinary = plain = False
            else:
                (
                    ordinary,
                    port,
                    self.branch,
                    value,
                    parts,
                    self.call_id,
                    self.cseq,
                    self.sender,
                    self.from_tag,
                    self.to_uri,
                    self.to_tag,
                    self.hops,
                    self.key,
                    plain,
                ) = found
                if value is None:
                    self.reply_port = port  # the branch and this port are all that matters of its Via
                else:
                    self._mark_received(Via(value, parts), address, b"")
            if flow.connection and not message.marks & _CONTENT_LENGTH:  # RFC 3261 §18.3: what would its body be?
                raise ParseError(400, "No Content-Length")
            self.secure = False
            if not ordinary:
                self._uri = uri = parse_uri(message.uri)
                self.secure = uri.scheme == b"sips"
            if not plain:
                _check_rest(message)
        except ParseError as fault:
            fault.message = message
            if method == b"ACK":
                fault.status = 0
            raise

    @property
    def uri(self) -> Uri:
        """The Request-URI."""
        uri = self._uri
        if uri is None:
            uri = self._uri = parse_uri(self.message.uri)
        return uri

    @property
    def via(self) -> Via:
        """The topmost Via value as it came."""
        via = self._via
        if via is None:
            via = self._via = Via(top_value(self.message)[0])
        return via

    def identity(self) -> bytes | None:
        """The URI of P-Asserted-Identity where it stands alone on the only such line, None otherwise. Where it
        is From's too, the same object.
        """
        index = self.message.index
        return None if index is None or not self.message.marks & _ASSERTED else _identity(index, self.sender)

    def _mark_received(self, via: Via, address: bytes, rest: bytes) -> None:
        self._via = via
        self.branch = via.branch
        flow = self.flow
        self.reply_port = flow.port if via.rport is not None and not flow.connection else (via.port or 5060)  # rport is for UDP
        marked = mark_received(via, address, flow.port)
        self.via_line = None if marked is None else b"Via: " + marked + (b", " + rest if rest else b"")

    def _read_in_full(self, message: SipMessage, method: bytes, address: bytes) -> None:
        """Read what every request must have."""
        value, rest = top_value(message)
        via = Via(value)
        call_id, cseq = message.first(b"call-id"), message.first(b"cseq")
        sender, to = message.first(b"from"), message.first(b"to")
        if not call_id or not cseq or not sender or not to:
            raise ParseError(400, "Mandatory header field missing")
        self.call_id = call_id
        digits, _, name = cseq.partition(b" ")
        if name != method:
            digits, _, name = cseq.replace(b"\t", b" ").partition(b" ")
            if name.strip(b" ") != method:
                raise ParseError(400, "CSeq method does not match")
        if len(digits) > 4 or not digits.isdigit():
            number(digits, _CSEQ_LIMIT, "CSeq")
        self.cseq = digits.lstrip(b"0") or b"0"
        self.sender, self.from_tag = _party(sender, "From")
        self.to_uri, self.to_tag = _party(to, "To")
        hops = message.first(b"max-forwards")
        self.hops = None if hops is None else number(hops, 255, "Max-Forwards")
        parts = (message.uri, self.from_tag, call_id, self.cseq, value)
        self.key = transaction_key(via.branch, via.sent_by, address, method, parts)
        self._mark_received(via, address, rest)


def top_value(message: SipMessage) -> tuple[bytes, bytes]:
    """The topmost Via value and what stands behind it on its line. ParseError 400 without a Via."""
    value = message.first(b"via")
    if not value:
        raise ParseError(400, "No Via")
    if COMMA not in value:
        return value, b""
    values = split_list(value)
    return values[0], b", ".join(values[1:])


def lenient_reply(message: SipMessage, flow: Flow) -> tuple[int, bytes | None]:
    """How a malformed request is answered: the port on the sender's address, and the topmost Via line with received and rport put in.

    None for the line that stays as it came, which is that of a Via that is malformed itself: its port is read as well as can be.
    """
    try:
        value, rest = top_value(message)
        via = Via(value)
        marked = mark_received(via, flow.address.encode(), flow.port)
    except ParseError:
        return _lenient_port((message.first(b"via") or b"").partition(b",")[0], flow.port), None
    port = flow.port if via.rport is not None else (via.port or 5060)
    return port, None if marked is None else b"Via: " + marked + (b", " + rest if rest else b"")


def _lenient_port(via: bytes, source: int) -> int:
    host, _, tail = via.partition(b";")
    if any(part.partition(b"=")[0].strip().lower() == b"rport" for part in tail.split(b";")):
        return source
    port = host.rpartition(b":")[2].strip()
    return int(port) if port.isdigit() and len(port) < 6 and 0 < int(port) < 65536 else 5060


def _party(value: bytes, what: str) -> tuple[bytes, bytes]:
    """URI and tag (b"" without one) of From or To."""
    opening, closing = value.find(b"<"), value.find(b">")
    if 0 <= opening < closing:
        uri, tail = value[opening + 1 : closing], value[closing + 1 :]
        display = value[:opening].rstrip()
        if (
            uri[:4] == b"sip:"
            and not uri.translate(None, URI_CHARACTERS)
            and (
                not display
                or (display[0] == display[-1] == 0x22 and display.count(b'"') == 2 and len(display) > 1 and b"\\" not in display)
            )
            and (not tail or (tail[:5] == b";tag=" and tail[5:].isalnum()))
        ):
            return uri, tail[5:]  # the ordinary case
    _, uri, tail = name_addr(value, what)
    if not is_absolute(uri):
        raise ParseError(400, f"Bad address in {what}")
    if not tail:
        return uri, b""
    return uri, param(tail, b"tag", what) or b""


def _plain(value: bytes) -> bool:
    """Whether an address is `<uri>` and nothing else: most are, and need no closer look."""
    return (
        value[:1] == b"<"
        and value.find(b">") == len(value) - 1
        and value.find(b"<", 1) < 0
        and b" " not in value
        and b"," not in value
        and b'"' not in value
        and b":" in value
        and len(value) > 6
    )


def _check_rest(message: SipMessage) -> None:
    """A defect in what we do not use ourselves is not passed on either."""
    present = message.first_line
    if not message.marks & _TO_BE_CHECKED and b"," not in message.lines[present[b"via"]]:
        return
    if b"date" in present and not (message.first(b"date") or b"").upper().endswith(b" GMT"):
        raise ParseError(400, "Bad Date")  # RFC 3261 §20.17: GMT only
    if b"expires" in present:
        number(message.first(b"expires") or b"", _CSEQ_LIMIT, "Expires")
    for name in _ADDRESSES:
        if name not in present:
            continue
        if name not in (message.more_lines or ()):
            value = message.first(name) or b""
            if _plain(value):
                continue
        for value in message.all(name):
            if value == b"*" and name == b"contact":
                continue
            what = name.decode().title()
            _, uri, tail = name_addr(value, what)
            if not is_absolute(uri):
                raise ParseError(400, f"Bad address in {what}")
            split_params(tail, what)
    if b"via" in (message.more_lines or ()) or b"," in message.lines[present[b"via"]]:
        for value in message.all(b"via")[1:]:
            Via(value)
