"""What happens to a forwarded request after it left: responses, the next target, CANCEL, Timer C (RFC 3261 §16.7 to §16.10).

A server transaction is the response context; it tries its targets one after the other and sends exactly one final response upstream, and
every 2xx.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.calls import Calls
from proxy.enforce import keep_internal, keep_trust
from proxy.events import By
from proxy.flow import Flow
from proxy.forward import Branches, Outgoing, build_ack, build_cancel
from proxy.intake import privacy_values
from proxy.routing import Hop, Peer, Target
from proxy.sip.error import ParseError
from proxy.sip.grammar import COMMA, TOKEN, is_token, name_addr, param
from proxy.sip.message import SipMessage, mark
from proxy.sip.reply import Reply
from proxy.sip.response import START_LINES, build_response
from proxy.sip.timers import TIMER_C, TRANSACTION
from proxy.sip.transaction import Action, Event, State, response_event
from proxy.token import Secret
from proxy.transactions import ClientTransaction, ServerTransaction, Timer, TransactionLayer
from proxy.validate import Request

CANCEL_KEY: Final = b" CANCEL"
"""What the key of a CANCEL's client transaction has behind the branch that it shares with its INVITE."""

_TIMESTAMP: Final = mark(b"timestamp")
_URI: Final = TOKEN + b":@;=&?/[],$()"
"""Octets of a URI in brackets: neither quotes nor brackets among them."""


class Relay:
    """Forwards requests through transactions and brings their responses back.

    `pinged` hears what became of requests that were our own (OPTIONS pings): the client transaction and the response's status, 0 for none.
    """

    __slots__ = ("_branches", "_calls", "_counters", "_layer", "_pinged", "_ringing", "_secret")

    def __init__(
        self,
        layer: TransactionLayer,
        branches: Branches,
        secret: Secret,
        pinged: Callable[[ClientTransaction, int, float], None],
        calls: Calls,
    ) -> None:
        self._calls = calls
        self._layer = layer
        self._ringing = layer.timers.queue(TIMER_C, Timer.RINGING)
        self._counters = layer.counters
        self._branches = branches
        self._secret = secret
        self._pinged = pinged

    # requests

    def forward_to_hop(self, server: ServerTransaction, outgoing: Outgoing, hop: Hop, now: float) -> None:
        """Try a next hop's targets, best first."""
        server.render = outgoing
        server.own_from = outgoing.own_from()
        server.hop = hop
        server.targets = hop.order()
        self._next_target(server, now)

    def forward_to(self, server: ServerTransaction, outgoing: Outgoing, flow: Flow, now: float) -> None:
        """Forward to one destination that the route set named."""
        server.render = outgoing
        server.own_from = outgoing.own_from()
        self._send(server, flow, None, now)

    def _next_target(self, server: ServerTransaction, now: float) -> None:
        targets = server.targets
        assert targets is not None
        target = targets[0]
        server.targets = targets[1:] if len(targets) > 1 else None
        self._send(server, target.flow, target, now)

    def _send(self, server: ServerTransaction, flow: Flow, target: Target | None, now: float) -> None:
        outgoing: Outgoing = server.render
        branch = self._branches.new(outgoing.loop_hash)
        client = ClientTransaction(branch, outgoing.request.method, outgoing.render(flow, branch), flow, server, now)
        client.target = target
        if server.client is not None:
            server.clients = [*(server.clients or ()), server.client]
        server.client = client
        self._layer.send_request(client, now)
        if server.targets and server.hop is not None:
            self._layer.timers.start(now, server.hop.no_response, Timer.NO_RESPONSE, client)

    def answer(self, server: ServerTransaction, status: int, now: float, extra: bytes = b"", phrase: str = "") -> None:
        """Send a response of our own in a server transaction."""
        request = server.request
        if request is None:
            return
        if status > 100:
            tag = self._secret.to_tag(request.branch or request.via.value, request.call_id, request.from_tag, request.cseq)
            if server.told is not None:
                extra += b"Reason: " + server.told + b"\r\n"
        else:
            tag = b""
            if request.message.marks & _TIMESTAMP:
                extra = request.message.lines[request.message.first_line[b"timestamp"]] + b"\r\n"  # RFC 3261 §8.2.6.1
        start = f"SIP/2.0 {status} {phrase}".encode() if phrase else START_LINES[status]
        data = build_response(request.message, start, request.via_line, tag, extra)
        if self._layer.respond(server, response_event(status), data, now) and status >= 300:
            self._refused(server, status, "timeout" if status == 408 else "refused", now, ours=True)

    # responses

    def response(self, client: ClientTransaction, reply: Reply, now: float) -> None:
        """A response that matched a client transaction."""
        server = client.server
        if server is not None and not reply.goes_on:
            self._counters.stray_responses += 1  # nobody to pass it to: as if it never came
            return
        event = response_event(reply.status)
        ringing_first = client.state == State.CALLING
        sent = client.data  # over a stream the transaction ends with its final response
        actions = self._layer.response(client, event, now)
        if event == Event.FAILURE and actions & Action.ACKNOWLEDGE:
            self._acknowledge(client, sent, reply.message, again=not actions & Action.PASS_ON)
        if not actions & Action.PASS_ON:
            return
        if server is None:
            if client.target is not None and event != Event.PROVISIONAL:
                self._pinged(client, reply.status, now)
            return
        if event == Event.PROVISIONAL:
            self._provisional(client, server, reply, ringing_first, now)
        elif event == Event.SUCCESS:
            if server.invite and client.state == State.ACCEPTED:
                client.data = b""
            if server.clients:
                self._cancel_others(server, client, now)
            server.targets = None
            self._pass_on(server, reply, Event.SUCCESS, now)
            if server.setup is not None:
                self._calls.answered(server.setup, to_tag_of(reply.message), reply.status, answering(client), now)
        elif server.client is client:
            self._failure(server, reply, now)

    def _acknowledge(self, client: ClientTransaction, sent: bytes, failure: SipMessage, *, again: bool) -> None:
        if again:
            self._counters.retransmissions_in += 1
        else:
            sent = build_ack(sent, failure)
            if client.state == State.COMPLETED:
                client.data = sent
        self._layer.sends.append((client.flow, sent))

    def _provisional(self, client: ClientTransaction, server: ServerTransaction, reply: Reply, first: bool, now: float) -> None:
        if server.invite:
            until = now + TIMER_C
            if until - client.ringing_until > 1.0 and (first or reply.status > 100):  # a callee cannot make timers faster than one a second
                client.ringing_until = until
                self._ringing.start(now, client)
            if client.cancel_wanted and not client.cancel_sent:
                self._send_cancel(client, server, now)
        if reply.status == 100 or server.client is not client:
            return
        rang = server.rang
        server.rang = True
        self._pass_on(server, reply, Event.PROVISIONAL, now)
        if not rang and server.setup is not None:
            self._calls.rang(server.setup, reply.status, now)

    def _failure(self, server: ServerTransaction, reply: Reply, now: float) -> None:
        status = reply.status
        if server.timed_out:
            self.answer(server, 408, now)
        elif status in (408, 503) and server.targets and not server.rang and not server.cancelled:
            self._counters.failovers += 1
            self._next_target(server, now)
        elif status == 503:
            if server.setup is not None:
                self._refused(server, 500, "refused", now)
            self.answer(server, 500, now)  # §16.7 step 6: our client must not take us for overloaded
        else:
            self._pass_on(server, reply, Event.FAILURE, now)

    def _pass_on(self, server: ServerTransaction, reply: Reply, event: int, now: float) -> None:
        upstream: Peer | None = server.flow.peer
        internal: tuple[bytes, ...] = ()
        if upstream is not None and (upstream.trunk is None or upstream.trunk.kind != "core"):
            internal = upstream.routing.internal
        data = reply.onward
        if data is None or internal or server.told is not None:
            data = self._edited(server, reply.message, upstream, internal)
        elif server.own_from is not None:
            data = reply.with_from(server.own_from)
        if data is not None and self._layer.respond(server, event, data, now):
            if event == Event.FAILURE:
                self._refused(server, reply.status, "refused", now)
        else:
            if data is not None and event == Event.SUCCESS and server.invite:  # the callee has picked up, however late (§16.7 step 5)
                self._layer.sends.append((server.flow, data))
            else:
                self._counters.stray_responses += 1

    def _edited(self, server: ServerTransaction, message: SipMessage, upstream: Peer | None, internal: tuple[bytes, ...]) -> bytes | None:
        """What goes on of a response that needs a closer look; None where there is nobody to pass it to."""
        present = message.first_line
        if b"privacy" in present and (b"p-asserted-identity" in present or b"remote-party-id" in present):
            keep_trust(message, privacy_values(message), upstream.trunk if upstream is not None else None)
        if internal:
            keep_internal(message, internal)
        if server.own_from is not None and b"from" in present:
            message.replace_line(present[b"from"], server.own_from)
        if server.told is not None:
            message.insert_top(b"Reason: " + server.told)
        return without_top_via(message)

    def _refused(self, server: ServerTransaction, status: int, why: str, now: float, *, ours: bool = False) -> None:
        """A final failure response went upstream; `ours`: nobody behind us gave it."""
        setup = server.setup
        if setup is not None:
            if server.cancelled:
                self._calls.failed(setup, status, "caller", "cancelled", now)
            else:
                self._calls.failed(setup, status, "proxy" if ours else "callee", why, now)
        elif server.within is not None and (status == 481 or status == 408):
            within = server.within
            server.within = None
            side: By = "proxy" if ours else "callee" if within.token.from_caller else "caller"
            self._calls.hung_up(within, side, "lost", now)

    # nothing came

    def no_response(self, client: ClientTransaction, now: float) -> None:
        """`no_response` is over: the next target, if this one has not said a word."""
        server = client.server
        if client.state != State.CALLING and client.state != State.TRYING:
            return
        if server is None or server.client is not client or not server.targets:
            return
        client.abandoned = client.cancel_wanted = True
        if server.cancelled:
            self.answer(server, 487, now)
            return
        self._counters.failovers += 1
        self._next_target(server, now)

    def timed_out(self, client: ClientTransaction, now: float, status: int = 408) -> None:
        """Timer B or F, or the destination could not be reached (`status` 500)."""
        server = client.server
        layer = self._layer
        layer.end_client(client)
        if server is None:
            if client.target is not None:
                self._pinged(client, 0, now)
            return
        if client.method == b"CANCEL" or server.client is not client:
            return
        if status == 408 and not server.invite:
            if server.within is not None:
                self._calls.hung_up(server.within, "proxy", "lost", now)
            layer.end_server(server)  # RFC 4320 §4.2: no 408 for what is not INVITE, its sender times out at the same moment
        elif server.cancelled:
            self.answer(server, 487, now)
        elif server.targets:
            self._counters.failovers += 1
            self._next_target(server, now)
        elif server.request is not None:
            if status == 408:
                self._counters.timeouts += 1
            self.answer(server, status, now)

    def rang_out(self, client: ClientTransaction, now: float) -> None:
        """Timer C (§16.8): CANCEL what rings too long; the caller gets 408 with the callee's final response, or when none comes."""
        server = client.server
        if client.state != State.PROCEEDING or now < client.ringing_until - 0.01 or server is None or server.client is not client:
            return
        if client.cancel_sent:
            return
        self._counters.timeouts += 1
        server.timed_out = True
        self._send_cancel(client, server, now)

    def cancel_unanswered(self, client: ClientTransaction, now: float) -> None:
        """64*T1 after our CANCEL (§9.1): the INVITE counts as cancelled, whatever became of it."""
        server = client.server
        if client.state == State.PROCEEDING:
            self._layer.end_client(client)
            if server is not None and server.client is client:
                self.answer(server, 487 if server.cancelled else 408, now)

    # CANCEL

    def cancel(self, server: ServerTransaction, reasons: list[bytes], now: float) -> None:
        """The caller's CANCEL for a forwarded INVITE (§16.10): passed on as soon as the callee has answered with anything."""
        if server.state != State.PROCEEDING or server.cancelled:
            return
        self._counters.cancelled += 1
        server.cancelled = True
        server.reasons = reasons
        for client in (server.client, *(server.clients or ())):
            if client is not None:
                self._cancel(client, server, now)

    def _cancel_others(self, server: ServerTransaction, answered: ClientTransaction, now: float) -> None:
        for client in (server.client, *(server.clients or ())):
            if client is not None and client is not answered:
                client.abandoned = True  # nor is its request sent again
                if server.invite:
                    self._cancel(client, server, now)

    def _cancel(self, client: ClientTransaction, server: ServerTransaction, now: float) -> None:
        if client.state == State.CALLING:
            client.cancel_wanted = True  # §9.1: no CANCEL before a provisional response
        elif client.state == State.PROCEEDING and not client.cancel_sent:
            self._send_cancel(client, server, now)

    def _send_cancel(self, client: ClientTransaction, server: ServerTransaction, now: float) -> None:
        client.cancel_sent = True
        data = build_cancel(client.data, server.reasons or [])
        self._layer.send_request(ClientTransaction(client.key + CANCEL_KEY, b"CANCEL", data, client.flow, None, now), now)
        self._layer.timers.start(now, TRANSACTION, Timer.CANCEL_WAIT, client)


def to_tag_of(response: SipMessage) -> bytes:
    """The To tag of a response; b"" without one, or where it cannot be read."""
    at = response.first_line.get(b"to")
    if at is not None and response.lines[at].startswith(b"To: <"):  # as nearly always: a URI in brackets, the tag behind it and no more
        uri, _, tail = response.lines[at][5:].partition(b">")
        if tail.startswith(b";tag=") and is_token(tail[5:]) and not uri.translate(None, _URI):
            return tail[5:]
    try:
        return param(name_addr(response.first(b"to") or b"", "To")[2], b"tag", "To") or b""
    except ParseError:
        return b""


def answering(client: ClientTransaction) -> str:
    """Who answered, as a URI."""
    return client.target.uri if client.target is not None else place_uri(client.flow)


def place_uri(flow: Flow) -> str:
    """A remote address as a URI."""
    host = f"[{flow.address}]" if ":" in flow.address else flow.address
    return f"sip:{host}:{flow.port}" + ("" if flow.listener.transport == "udp" else f";transport={flow.listener.transport}")


def without_top_via(message: SipMessage) -> bytes | None:
    """A response with its topmost Via value taken off; None where no other is left to answer to."""
    at = message.first_line[b"via"]
    line = message.lines[at]
    if COMMA not in line:
        more = message.more_lines
        if more is None or b"via" not in more:
            return None
        if at == 1 and message.replaced is None and message.top is None and b"content-length" in message.first_line:
            begin = len(message.lines[0]) + 2  # nothing else to edit: all that stands behind the line, as it came
            return message.raw[:begin] + message.raw[begin + len(line) + 2 :]
        message.replace_line(at, None)
    else:
        if len(message.all(b"via")) < 2:
            return None
        message.remove_values(b"via", 1)
    return message.to_bytes()


def answer_directly(request: Request, secret: Secret, status: int, extra: bytes = b"", phrase: str = "") -> bytes:
    """A final response outside any transaction (§8.2.7): its To tag is the same for every retransmission."""
    tag = secret.to_tag(request.branch or request.via.value, request.call_id, request.from_tag, request.cseq)
    start = f"SIP/2.0 {status} {phrase}".encode() if phrase else START_LINES[status]
    return build_response(request.message, start, request.via_line, tag, extra)
