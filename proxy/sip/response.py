"""Responses that we make ourselves (RFC 3261 §8.2.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.sip.error import ParseError
from proxy.sip.grammar import tag_of
from proxy.sip.kernel import compiled
from proxy.sip.message import SipMessage, unfold

if TYPE_CHECKING:
    from proxy.sip._kernel import Index

PHRASES: Final = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    487: "Request Terminated",
    500: "Server Internal Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    505: "Version Not Supported",
    513: "Message Too Large",
}
START_LINES: Final = {status: f"SIP/2.0 {status} {phrase}".encode() for status, phrase in PHRASES.items()}
"""Status lines of responses with these phrases, without a line break."""
_END: Final = b"Content-Length: 0\r\n\r\n"

_respond: Callable[[Index, bytes, bytes | None, bytes, bytes], bytes | None] | None = None if compiled is None else compiled.respond


def build_response(request: SipMessage, start: bytes, via_line: bytes | None, to_tag: bytes, extra: bytes = b"") -> bytes:
    """A response without a body to `request`.

    `start` is the status line without its line break; `via_line` replaces the topmost Via line where `received` or `rport` had to be put
    in;
    `to_tag` is added to To unless To has a tag; `extra` holds further header lines, each ending in CRLF. Via, From, To, Call-ID and CSeq
    are copied as they came. Whatever of them a malformed request lacks is left out.
    """
    if _respond is not None and request.index is not None:
        made = _respond(request.index, start, via_line, to_tag, extra)
        if made is not None:
            return made
    lines = request.lines
    first = request.first_line
    more = request.more_lines
    out = [start]
    if more is not None and b"via" in more:
        vias = more[b"via"]
        out.append(via_line if via_line is not None else lines[vias[0]])
        out += [lines[at] for at in vias[1:]]
    elif b"via" in first:
        out.append(via_line if via_line is not None else lines[first[b"via"]])
    at = first.get(b"from")
    if at is not None:
        out.append(lines[at])
    at = first.get(b"to")
    if at is not None:
        to = lines[at]
        out.append(to + b";tag=" + to_tag if to_tag and not has_tag(to) else to)
    at = first.get(b"call-id")
    if at is not None:
        out.append(lines[at])
    at = first.get(b"cseq")
    if at is not None:
        out.append(lines[at])
    out.append(extra + _END if extra else _END)
    return b"\r\n".join(out)


def has_tag(line: bytes) -> bool:
    """Whether a From or To line carries a tag parameter; display names and URIs that contain the text do not count."""
    tail = line[line.rfind(b">") + 1 :]
    if not tail or b"tag" not in tail.lower():
        return False
    if b'"' in tail:  # a quoted parameter value, which may contain anything
        try:
            return tag_of(unfold(line.partition(b":")[2].strip()), "address") is not None
        except ParseError:
            return True  # a malformed line is copied as it came
    return any(part.partition(b"=")[0].strip().lower() == b"tag" for part in tail.split(b";")[1:])
