"""Requests inside a dialog on their way: checked against their token, judged again where they present a new identity, sent on by their
route set (RFC 3261 §16.4 to §16.6).
"""

from __future__ import annotations

from typing import Final

from proxy.answers import Answers
from proxy.calls import Calls, Within
from proxy.dialogs import Onward, customer_side, destination, is_target_refresh, route_onward
from proxy.enforce import Refusal, distrust, hide_caller, keep_internal, keep_trust
from proxy.flow import Flow
from proxy.forward import Branches, Outgoing, loops, new_loop_hash, numbered
from proxy.intake import asserted, privacy_values
from proxy.relay import Relay
from proxy.routing import Peer, Routing
from proxy.screening import LOOP, Screening
from proxy.sip.message import mark
from proxy.sip.response import PHRASES
from proxy.token import DialogToken, Secret
from proxy.transactions import TransactionLayer
from proxy.validate import Request
from rules.call import Trunk

_OF_CALLS: Final = (b"BYE", b"INVITE", b"UPDATE", b"INFO", b"PRACK")
"""Methods of a call itself; one of a subscription inside its dialog may be answered 481 when that is over, and the call goes on."""
_IDENTITIES: Final = mark(b"p-asserted-identity") | mark(b"p-preferred-identity") | mark(b"remote-party-id") | mark(b"identity")
NO_SUCH_CALL: Final = Refusal(481, PHRASES[481])
_NO_WAY: Final = Refusal(404, "No Way To Destination")


class InDialog:
    """Sends requests inside dialogs on."""

    __slots__ = ("_answers", "_branches", "_calls", "_counters", "_layer", "_relay", "_screening", "_secret")

    def __init__(
        self,
        layer: TransactionLayer,
        relay: Relay,
        answers: Answers,
        screening: Screening,
        secret: Secret,
        branches: Branches,
        calls: Calls,
    ) -> None:
        self._calls = calls
        self._layer = layer
        self._counters = layer.counters
        self._relay = relay
        self._answers = answers
        self._screening = screening
        self._secret = secret
        self._branches = branches

    def forward(self, request: Request, peer: Peer, routing: Routing, now: float) -> None:
        """Send a request with a To tag on by its route set, or refuse it. ParseError for a route set that cannot be read."""
        onward = route_onward(request, routing, self._secret)
        if onward is None:
            self._counters.dialog_refused += 1
            self._answers.refuse(request, NO_SUCH_CALL, now)
            return
        if is_target_refresh(request.method):
            trunk = peer.trunk or customer_at(peer, routing)
            # a next hop that is neither a trunk nor a customer's is our own side, which no trunk's rules concern
            checked = trunk is not None and not self._same_party(request, onward, peer, trunk, routing)
            refused = self._screening.identity_refused(request, trunk, now) if trunk is not None and checked else None
            if refused is not None:
                self._counters.dialog_refused += 1
                self._answers.refuse(request, refused, now)
                return
            if trunk is not None and trunk.kind != "core":
                distrust(request.message)
        flow = destination(onward.uri, request.flow, routing, onward.token)
        if flow is None:
            self._answers.refuse(request, _NO_WAY, now)
            return
        loop_hash = new_loop_hash(self._secret, request, onward.routes, peer.code, b"")
        if loops(request, loop_hash, routing):
            self._counters.loops += 1
            self._answers.refuse(request, LOOP, now)
            return
        if request.message.marks & _IDENTITIES:
            keep_trust(request.message, privacy_values(request.message), customer_side(routing, onward.token))
        if routing.internal and (peer.trunk is None or peer.trunk.kind != "core"):
            keep_internal(request.message, routing.internal)
        if onward.token.withheld and onward.token.from_caller:
            hide_caller(request.message)
        server = self._screening.open(request, now)
        if server is None:
            return
        followed = self._calls.active and request.method in _OF_CALLS
        bye = request.method == b"BYE"
        if followed and not bye:
            server.within = self._within(request, onward, flow, routing)
        self._relay.forward_to(server, Outgoing(request, loop_hash, b""), flow, now)
        if followed and bye:
            self._hung_up(request, onward, peer, flow, routing, now)

    def _hung_up(self, request: Request, onward: Onward, peer: Peer, flow: Flow, routing: Routing, now: float) -> None:
        """A BYE was sent on: the calls of all passages that it takes are over, whatever becomes of it, for its sender has hung up. But not
        where it went back to its sender, whose call goes on then: to its address, or to another of its trunk's (our own network has no
        reason to, and has many). A call that came to us twice is two.
        """
        tokens = (onward.token, *onward.more)
        there = _peer_at(flow, routing)
        own = there.trunk is not None and there.trunk is peer.trunk and there.trunk.kind != "core"
        if (own or there.key == peer.key) and not _is_side(there, tokens[-1]):
            return
        for token in tokens:
            within = _call_of(request, token, routing)
            self._calls.hung_up(within, "caller" if token.from_caller else "callee", "bye", now)

    def _within(self, request: Request, onward: Onward, flow: Flow, routing: Routing) -> Within | None:
        """The call that a request belongs to, where its answer may tell that it is over: it must come from an address of the other side,
        and not from one that the sender of the request picked.
        """
        token = onward.more[-1] if onward.more else onward.token
        return _call_of(request, token, routing) if _is_side(_peer_at(flow, routing), token) else None

    def _same_party(self, request: Request, onward: Onward, peer: Peer, trunk: Trunk, routing: Routing) -> bool:
        """Whether a re-INVITE or UPDATE comes from the trunk that its side of the dialog has, and presents what that side presented
        before.
        """
        token = onward.token
        if token.from_caller:
            expected = peer.code == token.ingress
        else:
            owner = routing.hop_codes.get(token.egress)
            customer = routing.customer_of(owner) if owner is not None else None
            expected = token.egress in peer.hop_codes or customer is trunk
        return expected and self._secret.same_identity(token, request.sender, asserted(request, trunk))

    def acknowledge(self, request: Request, peer: Peer, routing: Routing) -> None:
        """Send the ACK of a 2xx on, outside any transaction."""
        onward = route_onward(request, routing, self._secret) if request.to_tag and request.hops != 0 else None
        flow = destination(onward.uri, request.flow, routing, onward.token) if onward is not None else None
        if onward is None or flow is None:
            self._counters.stray_acks += 1
            return
        if routing.internal and (peer.trunk is None or peer.trunk.kind != "core"):
            keep_internal(request.message, routing.internal)
        if onward.token.withheld and onward.token.from_caller:
            hide_caller(request.message)
        # Max-Forwards bounds an ACK that loops, and without our token it does not get this far: no loop hash. But a retransmitted one
        # gets the same branch (§16.11), and another one another, from senders too whose own branches are not unique.
        said = hash((request.key, request.call_id, request.cseq, request.to_tag))
        mark = numbered(b"", said & 0xFFFFFFFFFFFF, 12, b"")
        self._layer.sends.append((flow, Outgoing(request, mark, b"").render(flow, self._branches.for_ack(mark))))


def _peer_at(flow: Flow, routing: Routing) -> Peer:
    """What is known of the address that a flow leads to."""
    peer: Peer | None = flow.peer
    if peer is None or peer.routing is not routing:
        peer = flow.peer = routing.resolve(flow.address, flow.port)
    return peer


def _is_side(peer: Peer, token: DialogToken) -> bool:
    """Whether an address is one of the side that a request with this token runs to, as configured."""
    return token.egress in peer.hop_codes if token.from_caller else token.ingress == peer.code


def _call_of(request: Request, token: DialogToken, routing: Routing) -> Within:
    """The call of one passage through us that a request belongs to."""
    tags = (request.from_tag, request.to_tag) if token.from_caller else (request.to_tag, request.from_tag)
    trunk = routing.trunk_codes.get(token.ingress)
    return Within(token, request.call_id, tags, "" if trunk is None else trunk.id)


def customer_at(peer: Peer, routing: Routing) -> Trunk | None:
    """The trunk whose customer gets the calls of the next hop that an address is a target of; None for any other address."""
    for code in peer.hop_codes:
        hop = routing.hop_codes.get(code)
        customer = routing.customer_of(hop) if hop is not None else None
        if customer is not None:
            return customer
    return None
