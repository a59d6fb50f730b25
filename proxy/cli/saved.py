"""A SIP message from a file, as an engineer has saved it: from a trace with CRLF, or from an editor with LF."""

from __future__ import annotations

from pathlib import Path

from proxy.flow import Flow, Listener
from proxy.routing import Routing
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.validate import Request


class UnusableMessage(Exception):
    """A file that holds no INVITE that could be judged; says why."""


def read_invite(path: Path, address: str, port: int, routing: Routing) -> Request:
    """The INVITE in a file, checked as if it had come from `address` and `port`. Raises UnusableMessage."""
    try:
        data = on_the_wire(path.read_bytes())
    except OSError as error:
        raise UnusableMessage(f"{path}: {error.strerror or error}") from None
    listener = routing.listener_for("udp", address, None) or Listener(0, "udp", "::1" if ":" in address else "127.0.0.1", 5060)
    try:
        message = SipMessage.parse(data)
        if not message.is_request:
            raise UnusableMessage(f"{path}: a response ({message.status}); only an INVITE is judged")
        request = Request(message, Flow(listener, address, port), address.encode())
    except ParseError as fault:
        answer = f"the node answers {fault.status}" if fault.status else "the node drops it"
        raise UnusableMessage(f"{path}: not a SIP message that can be judged: {fault.phrase} ({answer})") from None
    if request.method != b"INVITE":
        raise UnusableMessage(f"{path}: a request {request.method.decode('latin-1')}; only an INVITE is judged")
    return request


def on_the_wire(data: bytes) -> bytes:
    """A file's content as it would be sent. Where an editor has left no CR, every line gets one, and the empty line that ends the header
    section is added where it is wanting; what has CRs is taken as it is.
    """
    if b"\r" in data:
        return data
    data = data.lstrip(b"\n").replace(b"\n", b"\r\n")
    if b"\r\n\r\n" not in data:
        data = data.rstrip(b"\r\n") + b"\r\n\r\n"
    return data
