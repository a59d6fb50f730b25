"""Answers outside any transaction: refusals, malformed requests, sources that match no trunk (RFC 3261 §8.2.7, policy.md "Saying no in
SIP").
"""

from __future__ import annotations

from typing import Final

from proxy.attempts import unknown
from proxy.calls import Calls
from proxy.counters import Counters
from proxy.enforce import Refusal
from proxy.flow import Flow
from proxy.refusals import RefusedTransactions, UnknownSources
from proxy.routing import Peer
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.sip.response import build_response
from proxy.sip.timers import TRANSACTION
from proxy.sip.transaction import ack_key
from proxy.token import Secret
from proxy.transactions import TransactionLayer
from proxy.validate import Request, lenient_reply

_REFUSED_MEMORY: Final = 131_072
_UNKNOWN_MEMORY: Final = 4096
_UNKNOWN_LIFE: Final = 60.0
_FLOWS: Final = 16_384

SILENCE: Final = Refusal(0, "")
"""What a request gets that is dropped: nothing, and its retransmissions nothing either."""


class Answers:
    """Writes final responses that hold no transaction, and remembers them as long as retransmissions may come."""

    __slots__ = ("_calls", "_counters", "_flows", "_layer", "_refused", "_secret", "_unknown")

    def __init__(self, layer: TransactionLayer, secret: Secret, calls: Calls) -> None:
        self._calls = calls
        self._layer = layer
        self._counters: Counters = layer.counters
        self._secret = secret
        self._refused = RefusedTransactions(TRANSACTION, _REFUSED_MEMORY)
        self._unknown = UnknownSources(_UNKNOWN_LIFE, _UNKNOWN_MEMORY)
        self._flows: dict[tuple[int, str, int], Flow] = {}

    def reply_flow(self, flow: Flow, port: int) -> Flow:
        """Where a response goes (RFC 3261 §18.2.2, RFC 3581).

        Back on a stream (the transport connects to the Via's port where that is gone); on UDP to the sender's address and the port that
        its Via asks for, never to an address that it names.
        """
        if flow.connection:
            flow.reply_port = port
            return flow
        if port == flow.port:
            return flow
        key = (flow.listener.index, flow.address, port)
        found = self._flows.get(key)
        if found is None:
            if len(self._flows) >= _FLOWS:
                self._flows.clear()
            found = self._flows[key] = Flow(flow.listener, flow.address, port)
        found.peer = flow.peer
        return found

    def to_tag(self, request: Request) -> bytes:
        """The To tag of our responses to this request, and of the ACK that acknowledges a refusal."""
        return self._secret.to_tag(request.branch or request.via.value, request.call_id, request.from_tag, request.cseq)

    def refuse(self, request: Request, answer: Refusal, now: float) -> None:
        """Answer, and remember to answer retransmissions alike."""
        self._refused.remember(request.key, answer, now)
        self._counters.refusal_memory_overflow = self._refused.overflow
        self.send(request, answer)

    def refused_before(self, request: Request, now: float) -> bool:
        """Whether this is a retransmission of a request that was refused; it has then been answered as before."""
        answer = self._refused.find(request.key, now)
        if answer is None:
            return False
        self._counters.retransmissions_in += 1
        self.send(request, answer)
        return True

    def refused(self, request: Request, now: float) -> bool:
        """Whether an ACK belongs to a request that was refused without a transaction."""
        return self._refused.find(request.key, now) is not None

    def acknowledges(self, data: bytes, address: bytes, now: float) -> bool:
        """The same of the octets of an ACK from that address; False says nothing.

        An ACK is told by its Via alone (RFC 3261 §17.2.3), and nothing is ever answered to it: what else stands in it need not be read.
        """
        key = ack_key(data, address)
        return key is not None and self._refused.find(key, now) is not None

    def fate(self, request: Request, now: float) -> Refusal | None:
        """What the INVITE that an ACK or CANCEL belongs to was answered without a transaction; None for any other."""
        return self._refused.find(request.key, now)

    def send(self, request: Request, answer: Refusal) -> None:
        """Answer a request that is as good as forgotten: nothing is remembered."""
        if not answer.status:
            return
        data = build_response(request.message, answer.start, request.via_line, self.to_tag(request), answer.lines(request.message))
        flow = request.flow if request.reply_port == request.flow.port else self.reply_flow(request.flow, request.reply_port)
        self._layer.sends.append((flow, data))

    def malformed(self, fault: ParseError, flow: Flow, peer: Peer) -> None:
        """Answer a malformed request of a known peer with the status of its fault; ACK, responses and what cannot be answered are
        dropped.
        """
        self._counters.parse_errors += 1
        message = fault.message
        if (
            not fault.status
            or message is None
            or not message.is_request
            or message.method == b"ACK"
            or b"via" not in message.first_line
            or not peer.known
        ):
            self._counters.discarded += 1
            return
        self._send_bare(message, fault.status, fault.phrase, flow)

    def unknown_source(self, data: bytes, flow: Flow, peer: Peer, now: float) -> None:
        """One 403 for an address in 60 s, for any method but ACK, malformed included; silence after."""
        counters = self._counters
        if data[:2] == b"\r\n":
            data = data.lstrip(b"\r\n")
        if data[:4] in (b"ACK ", b"SIP/") or not self._unknown.may_answer(peer.refuse_key, now):
            counters.unknown_silent += 1
            return
        message: SipMessage | None
        try:
            message = SipMessage.parse(data)
        except ParseError as fault:
            counters.parse_errors += 1
            message = fault.message
        if message is None or not message.is_request or b"via" not in message.first_line:
            counters.unknown_silent += 1
            return
        counters.unknown_refused += 1
        if message.method == b"INVITE":
            counters.decided("", "reject", "TRK_UNKNOWN", 0.0)
            if self._calls.events is not None:
                self._calls.events.append(unknown(message, flow, now + self._calls.wall_offset, 403, "TRK_UNKNOWN"))
        self._send_bare(message, 403, "Forbidden", flow)

    def _send_bare(self, message: SipMessage, status: int, phrase: str, flow: Flow) -> None:
        tag = self._secret.to_tag(
            b"malformed", message.first(b"call-id") or b"", message.first(b"from") or b"", message.first(b"cseq") or b""
        )
        port, via_line = lenient_reply(message, flow)
        data = build_response(message, f"SIP/2.0 {status} {phrase}".encode(), via_line, tag)
        self._layer.sends.append((self.reply_flow(flow, port), data))
