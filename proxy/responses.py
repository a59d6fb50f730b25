"""Responses as they come in (RFC 3261 §16.7 step 1, §18.1.2): each to its client transaction, to the worker that has that, or, an answer
that nobody waits for any more, on its way back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.calls import Calls, Setup
from proxy.dialogs import recorded
from proxy.enforce import keep_internal
from proxy.flow import Flow
from proxy.forward import worker_of
from proxy.relay import CANCEL_KEY, Relay, place_uri, to_tag_of, without_top_via
from proxy.routing import Peer, Routing
from proxy.sip.grammar import name_addr, param
from proxy.sip.kernel import compiled, nothing
from proxy.sip.message import SipMessage, scanner
from proxy.sip.reply import Reply
from proxy.sip.via import Via
from proxy.token import BRANCH, Secret
from proxy.transactions import TransactionLayer
from proxy.validate import top_value

_read_reply: Final[Callable[..., tuple[int, bytes, bytes, bytes, int] | None]] = nothing if compiled is None else compiled.read_reply


class Responses:
    """Finds whom a response is for. `handovers` are those of other workers' transactions: worker id, flow, bytes."""

    __slots__ = ("_calls", "_counters", "_layer", "_own_branch", "_relay", "_secret", "handovers")

    def __init__(self, layer: TransactionLayer, relay: Relay, secret: Secret, worker: int, calls: Calls) -> None:
        self._calls = calls
        self._layer = layer
        self._counters = layer.counters
        self._relay = relay
        self._secret = secret
        self._own_branch = BRANCH + b"%d." % worker
        self.handovers: list[tuple[int, Flow, bytes]] = []

    def relay(self, data: bytes, flow: Flow, now: float) -> bool:
        """Bring back a response that is an ordinary one to a request of ours, 1xx or 2xx; False for any other, of which nothing is said."""
        found = _read_reply(scanner, data, flow.listener.branch_start)
        if found is None:
            return False
        status, branch, method, onward, from_at = found
        client = self._layer.clients.get(branch)
        if client is None or client.method != method or method == b"CANCEL":
            return False
        self._relay.response(client, Reply(data, status, None, onward, from_at), now)
        return True

    def receive(self, message: SipMessage, data: bytes, flow: Flow, peer: Peer, routing: Routing, now: float) -> None:
        """A response from a known address; `data` are its bytes. ParseError for what cannot be read."""
        lines, first = message.lines, message.first_line
        at = first.get(b"via")
        method = cseq_method(message)
        if at is not None and method and b"call-id" in first and b"to" in first:  # the ordinary case: to the letter as it was sent
            start = flow.listener.branch_start
            client = self._layer.clients.get(lines[at][len(start) :]) if lines[at].startswith(start) else None
            if client is not None and client.method == method and method != b"CANCEL":
                self._relay.response(client, Reply(data, message.status, message), now)
                return
        branch = routing.own_branch(lines[at][5:]) if at is not None and lines[at][:5] == b"Via: " else None
        if branch is None:
            via = Via(top_value(message)[0])
            branch = via.branch
            if branch is None or not branch.startswith(BRANCH) or not routing.is_own(via.host, via.port):
                self._counters.discarded += 1
                return
        if not branch.startswith(self._own_branch):
            worker = worker_of(branch)
            if worker < 0:
                self._counters.discarded += 1
                return
            self.handovers.append((worker, flow, data))
            self._counters.handed_over += 1
            return
        if not method or b"call-id" not in first or b"to" not in first:
            self._counters.discarded += 1
            return
        client = self._layer.clients.get(branch + CANCEL_KEY if method == b"CANCEL" else branch)
        if client is not None and client.method == method:
            self._relay.response(client, Reply(data, message.status, message), now)
            return
        self._stray(message, method, flow, peer, routing, now)

    def _stray(self, message: SipMessage, method: bytes, flow: Flow, peer: Peer, routing: Routing, now: float) -> None:
        """A response without a transaction. RFC 6026 drops it; a 2xx to an initial INVITE from one of our peers is passed on by its Via, to
        the trunk that our token in its Record-Route names: the callee has picked up, and our worker may have been restarted meanwhile.
        """
        self._counters.stray_responses += 1
        if method != b"INVITE" or not 200 <= message.status < 300 or not peer.known:
            return
        token = recorded(message, routing, self._secret)
        if token is None:
            return
        ingress = routing.trunk_codes.get(token.ingress)
        if routing.internal and (ingress is None or ingress.kind != "core"):
            keep_internal(message, routing.internal)
        data = without_top_via(message)
        if data is None:
            return
        via = Via(SipMessage.parse(data).all(b"via")[0])
        address = (via.received or via.host).decode("latin-1").strip("[]")
        port = int(via.rport) if via.rport and via.rport.isdigit() and len(via.rport) < 6 else (via.port or 5060)
        listener = routing.listener_for(via.transport.decode("latin-1").lower(), address, None)
        if listener is None or listener.transport != "udp" or not 0 < port < 65536:
            return
        try:
            known = routing.resolve(address, port)
        except ValueError:  # a host name
            return
        if known.code == token.ingress and not routing.is_own(address.encode(), port):
            self._layer.sends.append((Flow(listener, address, port), data))
            if self._calls.active and token.invite and not self._calls.forgot(token):
                _, _, tail = name_addr(message.first(b"from") or b"", "From")
                hop = routing.hop_codes.get(token.egress)
                setup = Setup(
                    token.key,
                    message.first(b"call-id") or b"",
                    param(tail, b"tag", "From") or b"",
                    "" if ingress is None else ingress.id,
                    int((message.first(b"cseq") or b"0").split()[0]),
                    "" if hop is None else hop.id,
                )
                setup.over = True  # its transaction is
                self._calls.answered(setup, to_tag_of(message), message.status, place_uri(flow), now)


def cseq_method(response: SipMessage) -> bytes:
    """The method in a response's CSeq; b"" where the field is missing or no CSeq."""
    at = response.first_line.get(b"cseq")
    if at is None:
        return b""
    words = response.lines[at].split()
    if len(words) != 3 or words[0] != b"CSeq:":  # written in another way
        words = [b"", *(response.first(b"cseq") or b"").split()]
        if len(words) != 3:
            return b""
    digits = words[1]
    return words[2] if digits.isdigit() and (len(digits) < 10 or (len(digits) == 10 and int(digits) < 1 << 32)) else b""
