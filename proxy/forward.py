"""Writing the request that goes on (RFC 3261 §16.6 steps 1 to 8): Via, Record-Route, Max-Forwards, spliced into the bytes that came."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.flow import Flow
from proxy.sip.kernel import compiled
from proxy.sip.message import SipMessage
from proxy.sip.via import Via
from proxy.token import BRANCH, PARAM, Secret

if TYPE_CHECKING:
    from proxy.routing import Routing
    from proxy.validate import Request

_MAX_FORWARDS: Final = tuple(b"Max-Forwards: %d" % hops for hops in range(256))


def write_numbered(before: bytes, number: int, width: int, behind: bytes) -> bytes:
    """`before`, the number in hex digits (`width` of them at least, 16 at most), `behind`."""
    return b"%b%0*x%b" % (before, width, number, behind)


numbered: Final[Callable[[bytes, int, int, bytes], bytes]] = write_numbered if compiled is None else compiled.numbered
_holds: Final[Callable[[bytes, bytes], bool]] = bytes.__contains__ if compiled is None else compiled.holds


class Branches:
    """Makes the branches of one worker: mark, worker id, serial number, loop hash."""

    __slots__ = ("_prefix", "_serial")

    def __init__(self, worker: int, salt: bytes) -> None:
        """`salt`: different for every start of a worker, so that a restarted one never repeats a branch."""
        self._prefix = BRANCH + b"%d." % worker + salt
        self._serial = 0

    def new(self, loop_hash: bytes) -> bytes:
        """A branch that was never used before."""
        self._serial += 1
        return numbered(self._prefix, self._serial, 1, b"." + loop_hash)

    def for_ack(self, loop_hash: bytes) -> bytes:
        """The branch of a statelessly forwarded ACK: the same for each of its retransmissions (§16.11)."""
        return self._prefix + b"a." + loop_hash


def worker_of(branch: bytes) -> int:
    """The worker id in a branch of ours, -1 in others."""
    digits = branch[len(BRANCH) :].partition(b".")[0]
    return int(digits) if branch.startswith(BRANCH) and digits.isdigit() and len(digits) < 6 else -1


def loop_fields(request: Request, routes: bytes, ingress: bytes, egress: bytes) -> tuple[bytes, ...]:
    """RFC 5393 §4.2's fields with ingress and egress: equal when the same request comes the same way again, and not when it spirals."""
    message = request.message
    required = message.first(b"proxy-require") or b""
    return (message.uri, request.from_tag, request.to_tag, request.call_id, request.cseq, required, routes, ingress, egress)


def loops(request: Request, loop_hash: bytes, routing: Routing) -> bool:
    """Whether a Via of ours in the request carries this very loop hash."""
    message = request.message
    if not _holds(message.raw, BRANCH):
        return False
    for value in message.all(b"via"):
        via = Via(value)
        if (
            via.branch is not None
            and via.branch.startswith(BRANCH)
            and via.branch.endswith(b"." + loop_hash)
            and routing.is_own(via.host, via.port)
        ):
            return True
    return False


class Outgoing:
    """One request on its way: everything that is the same for each target it is tried at.

    `token` is the dialog token for Record-Route, b"" where none is inserted. Edits made to `message` before stay in (labels, dropped
    Routes).
    """

    __slots__ = ("loop_hash", "message", "request", "token")

    def __init__(self, request: Request, loop_hash: bytes, token: bytes) -> None:
        message = request.message
        self.request = request
        self.message = message
        self.loop_hash = loop_hash
        self.token = token
        hops = request.hops
        if hops is None:
            message.insert_top(b"Max-Forwards: 70")
        else:
            message.replace_line(message.place(b"max-forwards"), _MAX_FORWARDS[hops - 1])
        if request.via_line is not None:
            message.replace_line(message.place(b"via"), request.via_line)

    def own_from(self) -> bytes | None:
        """The From line that the sender wrote, where what goes on has another: responses carry it back (RFC 3261 §8.2.6.2)."""
        message = self.message
        replaced = message.replaced
        if replaced is None:
            return None
        at = message.place(b"from")
        return message.line_at(at) if at in replaced else None

    def render(self, flow: Flow, branch: bytes) -> bytes:
        """The bytes for one target. Two Record-Routes where the listeners differ, the target's above (RFC 5658)."""
        message = self.message
        kept = message.top
        top = [flow.listener.via + b";branch=" + branch]
        if self.token:
            ingress = self.request.flow.listener
            if flow.listener is not ingress:
                top.append(record_route(flow.listener.uri, self.token))
            top.append(record_route(ingress.uri, self.token))
        message.top = top + kept if kept else top
        data = message.to_bytes()
        message.top = kept
        return data


def record_route(uri: bytes, token: bytes) -> bytes:
    """Our Record-Route line: loose routing, with the dialog token."""
    return b"Record-Route: <" + uri + b";lr;" + PARAM + b"=" + token + b">"


def build_cancel(sent: bytes, reasons: list[bytes]) -> bytes:
    """The CANCEL for an INVITE that we sent (RFC 3261 §9.1): same Request-URI, top Via, From, To, Call-ID, CSeq number and Route;
    `reasons` are
    Reason lines of the CANCEL that caused it (RFC 3326).
    """
    return _companion(sent, b"CANCEL", None, reasons)


def build_ack(sent: bytes, response: SipMessage) -> bytes:
    """The ACK for a failure response to an INVITE that we sent (§17.1.1.3): as the INVITE, with the response's To."""
    at = response.first_line.get(b"to")
    return _companion(sent, b"ACK", None if at is None else response.lines[at], [])


def _companion(sent: bytes, method: bytes, to_line: bytes | None, extra: list[bytes]) -> bytes:
    invite = SipMessage.parse(sent)
    lines = invite.lines
    out = [method + b" " + invite.uri + b" SIP/2.0", lines[invite.first_line[b"via"]], b"Max-Forwards: 70"]
    out += [lines[at] for at in invite.positions(b"route")]
    out.append(lines[invite.first_line[b"from"]])
    out.append(to_line if to_line is not None else lines[invite.first_line[b"to"]])
    out.append(lines[invite.first_line[b"call-id"]])
    out.append(b"CSeq: " + (invite.first(b"cseq") or b"1 ").split()[0] + b" " + method)
    return b"\r\n".join(out + extra) + b"\r\nContent-Length: 0\r\n\r\n"


def build_options(flow: Flow, branch: bytes, uri: bytes, tag: bytes) -> bytes:
    """An OPTIONS ping to a next hop."""
    own = flow.listener.uri
    lines = [
        b"OPTIONS " + uri + b" SIP/2.0",
        flow.listener.via + b";branch=" + branch,
        b"Max-Forwards: 70",
        b"From: <" + own + b">;tag=" + tag,
        b"To: <" + uri + b">",
        b"Call-ID: " + branch[len(BRANCH) :] + b"@" + flow.listener.host.encode(),
        b"CSeq: 1 OPTIONS",
        b"Contact: <" + own + b">",
    ]
    return b"\r\n".join(lines) + b"\r\nContent-Length: 0\r\n\r\n"


def new_loop_hash(secret: Secret, request: Request, routes: bytes, ingress: bytes, egress: bytes) -> bytes:
    """The loop hash of a request on this way through us."""
    return secret.loop_hash(loop_fields(request, routes, ingress, egress))
