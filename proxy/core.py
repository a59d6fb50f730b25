"""The proxy, sans-IO: bytes and time in, bytes out (RFC 3261 §16 for a screening proxy that is transaction-stateful).

`Proxy.receive` says what a message is and who it is for; the transactions are in `proxy.transactions`, what becomes of forwarded requests in `proxy.relay`,
requests inside dialogs in `proxy.dialogs`. No clock, no socket, no exception for any input.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from proxy.config import Config
from proxy.counters import Counters
from proxy.dialogs import Onward, destination, is_target_refresh, route_onward
from proxy.enforce import Refusal, apply_labels, refusal
from proxy.flow import Flow, Listener
from proxy.forward import Branches, Outgoing, loops, new_loop_hash, worker_of
from proxy.health import Health, Ping
from proxy.intake import asserted, call_of
from proxy.refusals import RefusedTransactions, UnknownSources
from proxy.relay import CANCEL_KEY, Relay, answer_directly, without_top_via
from proxy.routing import Hop, Peer, Routing
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.sip.response import PHRASES, build_response
from proxy.sip.timers import TRANSACTION
from proxy.sip.transaction import State
from proxy.sip.via import Via
from proxy.token import BRANCH, Secret
from proxy.transactions import ServerTransaction, Timer, TransactionLayer
from proxy.validate import Request, lenient_reply_port, top_value
from rules import RuleSet
from rules.call import Call, Trunk
from rules.verdict import Lookup, Verdict

ALLOW: Final = b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, MESSAGE, SUBSCRIBE\r\n"
_CAPABLE: Final = ALLOW + b"Accept: application/sdp\r\nSupported: \r\n"
_REFUSED_MEMORY: Final = 131_072
_UNKNOWN_MEMORY: Final = 4096
_UNKNOWN_LIFE: Final = 60.0
_TIMERS_A_TURN: Final = 256
_FLOWS: Final = 16_384
_FAULTS_KEPT: Final = 5
_FORBIDDEN: Final = Refusal(403, "Forbidden")
_NOT_FOUND: Final = Refusal(404, "Not Found")


class Duty(Enum):
    """Timer kinds of the core itself."""

    PING = "OPTIONS"
    LOOKUP = "a parked call whose look-up never came back"


class Parked:
    """A call whose verdict waits for a look-up: 100 was sent, the INVITE's server transaction is open."""

    __slots__ = ("call", "lookup", "pai", "peer", "seconds", "server")

    def __init__(self, call: Call, lookup: Lookup, peer: Peer, pai: tuple[bytes, ...], server: ServerTransaction, seconds: float) -> None:
        self.call = call
        self.lookup = lookup
        self.peer = peer
        self.pai = pai
        self.server = server
        self.seconds = seconds


class Proxy:
    """One worker's proxy core.

    Give it every message with its flow and the time (monotonic seconds); take `take_sends()`, `take_lookups()` and `take_handovers()` after each batch;
    call `handle_timer` at `next_timer()`. `ruleset` and `routing` are swapped by one assignment each (`apply`). `wall_offset` added to the time gives Unix
    time. `clock` only measures how long decisions take. `faults` holds the first tracebacks of defects in this program, for the worker to log.
    """

    def __init__(
        self,
        config: Config,
        ruleset: RuleSet,
        listeners: list[Listener],
        secret: bytes,
        worker: int = 0,
        clock: Callable[[], float] | None = None,
        salt: bytes = b"0000",
        now: float = 0.0,
    ) -> None:
        """`secret` as Secret; `salt` must differ between starts of a worker. RoutingError as Routing."""
        self.counters = Counters()
        self.secret = Secret(secret)
        self.ruleset = ruleset
        self.routing = Routing(config, listeners, self.secret)
        self.worker = worker
        self.wall_offset = 0.0
        self.faults: list[str] = []
        self._clock = clock
        self._limit = config.node.max_transactions
        self._layer = TransactionLayer(self.counters)
        self._branches = Branches(worker, salt)
        self._health = Health(self._layer, self._branches)
        self._relay = Relay(self._layer, self._branches, self.secret, self._health.heard)
        self._refused = RefusedTransactions(TRANSACTION, _REFUSED_MEMORY)
        self._unknown = UnknownSources(_UNKNOWN_LIFE, _UNKNOWN_MEMORY)
        self._parked: dict[int, Parked] = {}
        self._tickets = 0
        self._lookups: list[tuple[Lookup, int]] = []
        self._handovers: list[tuple[int, Flow, bytes]] = []
        self._flows: dict[tuple[int, str, int], Flow] = {}
        self._health.start(self.routing, self._layer.timers, Duty.PING, now)

    # the rim's side

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one message in. Never raises: what this program gets wrong is counted and kept in `faults`."""
        self.counters.received += 1
        try:
            self._receive(data, flow, now)
        except Exception:
            self._defect()

    def send_failed(self, flow: Flow, data: bytes, now: float) -> None:
        """A stream destination could not be reached: a request counts as answered 503 (§16.9), a response is lost."""
        self.counters.connect_failures += 1
        try:
            message = SipMessage.parse(data)
            branch = Via(top_value(message)[0]).branch
            if message.is_request and branch is not None:
                client = self._layer.clients.get(branch + CANCEL_KEY if message.method == b"CANCEL" else branch)
                if client is not None and client.state in (State.CALLING, State.TRYING) and client.flow is flow:
                    self._relay.timed_out(client, now, 500)
        except ParseError:
            self.counters.discarded += 1
        except Exception:
            self._defect()

    def resume(self, ticket: int, answer: object, now: float) -> None:
        """The answer of a look-up (None: there is none)."""
        parked = self._parked.pop(ticket, None)
        if parked is None:
            self.counters.lookups_late += 1
            return
        try:
            self._resume(parked, answer, now)
        except Exception:
            self._defect()

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None for never."""
        return self._layer.timers.next_due()

    def handle_timer(self, now: float) -> None:
        """Fire what is due, a bounded number at a time: what is left is due again at once."""
        for kind, owner in self._layer.timers.expired(now, _TIMERS_A_TURN):
            try:
                self._fire(kind, owner, now)
            except Exception:
                self._defect()

    def take_sends(self) -> list[tuple[Flow, bytes]]:
        """What is to be sent, in order."""
        sends = self._layer.sends
        if sends:
            self._layer.sends = []
            self.counters.sent += len(sends)
        return sends

    def take_lookups(self) -> list[tuple[Lookup, int]]:
        """Look-ups to start, each with the ticket for `resume`."""
        lookups, self._lookups = self._lookups, []
        return lookups

    def take_handovers(self) -> list[tuple[int, Flow, bytes]]:
        """Messages that belong to another worker's transactions: worker id, flow, bytes."""
        handovers, self._handovers = self._handovers, []
        return handovers

    def apply(self, config: Config, ruleset: RuleSet, now: float) -> None:
        """Put a new configuration and policy in force; calls in progress go on. RoutingError leaves the old one."""
        routing = Routing(config, self.routing.listeners, self.secret)
        known = {target.uri: target for _, target in self.routing.all_targets()}
        for _, target in routing.all_targets():
            if target.uri in known:
                target.up, target.unanswered = known[target.uri].up, known[target.uri].unanswered
        self.routing = routing
        self.ruleset = ruleset
        self._limit = config.node.max_transactions
        self._flows.clear()
        self._layer.timers.drop_unused()
        self._health.start(routing, self._layer.timers, Duty.PING, now)

    def gauges(self) -> dict[str, Any]:
        """What is open at this moment, for the metrics."""
        return {
            "transactions_server": len(self._layer.servers),
            "transactions_client": len(self._layer.clients),
            "parked": len(self._parked),
            "next_hops": {(hop.id, target.uri): target.up for hop, target in self.routing.all_targets()},
        }

    def pending(self) -> int:
        """INVITE transactions without a final response: what a worker that is to stop waits for."""
        return sum(1 for server in self._layer.servers.values() if server.invite and server.state is State.PROCEEDING)

    def _defect(self) -> None:
        self.counters.internal_errors += 1
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(traceback.format_exc())

    # what came in

    def _receive(self, data: bytes, flow: Flow, now: float) -> None:
        peer: Peer | None = flow.peer
        if peer is None or peer.routing is not self.routing:
            peer = flow.peer = self.routing.resolve(flow.address, flow.port)
        if not peer.known and data[:4] != b"SIP/":
            self._refuse_unknown(data, flow, peer, now)
            return
        try:
            message = SipMessage.parse(data)
            if not message.is_request:
                self._response(message, data, flow, peer, now)
                return
            request = Request(message, flow, peer.key)
        except ParseError as fault:
            self._malformed(fault, flow, peer)
            return
        try:
            self._request(request, peer, now)
        except ParseError as fault:  # found later, in what only some requests have looked at
            fault.message = message
            self._malformed(fault, flow, peer)

    def _malformed(self, fault: ParseError, flow: Flow, peer: Peer) -> None:
        self.counters.parse_errors += 1
        message = fault.message
        if not fault.status or message is None or message.method == b"ACK" or b"via" not in message.first_line or not peer.known:
            self.counters.discarded += 1
            return
        self._layer.sends.append((self._reply_flow(flow, lenient_reply_port(message)), self._bare(message, fault.status, fault.phrase)))

    def _bare(self, message: SipMessage, status: int, phrase: str) -> bytes:
        tag = self.secret.to_tag(b"malformed", message.first(b"call-id") or b"", message.first(b"from") or b"", message.first(b"cseq") or b"")
        return build_response(message, f"SIP/2.0 {status} {phrase}".encode(), None, tag)

    def _refuse_unknown(self, data: bytes, flow: Flow, peer: Peer, now: float) -> None:
        """policy.md, "Saying no in SIP": one 403 for an address in 60 s, for any method but ACK, malformed included; silence after."""
        counters = self.counters
        if data[:4] == b"ACK " or not self._unknown.may_answer(peer.refuse_key, now):
            counters.unknown_silent += 1
            return
        try:
            message = SipMessage.parse(data)
        except ParseError as fault:
            counters.parse_errors += 1
            if fault.message is None or b"via" not in fault.message.first_line:
                counters.unknown_silent += 1
                return
            message = fault.message
        if b"via" not in message.first_line:
            counters.unknown_silent += 1
            return
        counters.unknown_refused += 1
        if message.method == b"INVITE":
            counters.decided("", "reject", "TRK_UNKNOWN", 0.0)
        self._layer.sends.append((self._reply_flow(flow, lenient_reply_port(message)), self._bare(message, 403, "Forbidden")))

    def _reply_flow(self, flow: Flow, port: int | None) -> Flow:
        """Where a response goes (RFC 3261 §18.2.2, RFC 3581): back on a stream; on UDP to the sender's address, never to one that it names."""
        if flow.connection or port is None or port == flow.port:
            return flow
        key = (flow.listener.index, flow.address, port)
        found = self._flows.get(key)
        if found is None:
            if len(self._flows) >= _FLOWS:
                self._flows.clear()
            found = self._flows[key] = Flow(flow.listener, flow.address, port)
        return found

    # requests

    def _request(self, request: Request, peer: Peer, now: float) -> None:
        method = request.method
        server = self._layer.servers.get(request.key)
        if method == b"ACK":
            self._ack(request, server, peer, now)
            return
        if method == b"CANCEL":
            self._cancel(request, server, now)
            return
        if server is not None:
            self._layer.again(server)
            return
        answered = self._refused.find(request.key, now)
        if answered is not None:
            self.counters.retransmissions_in += 1
            self._send_refusal(request, answered)
            return
        trunk = peer.trunk
        message = request.message
        own = request.uri.user is None and self.routing.is_own(request.uri.host, request.uri.port)
        if method == b"OPTIONS" and own and not request.to_tag:
            self._layer.sends.append((self._reply_flow(request.flow, request.reply_port), answer_directly(request, self.secret, 200, _CAPABLE)))
        elif request.hops == 0:
            self._refuse(request, Refusal(483, PHRASES[483]), now)
        elif b"proxy-require" in message.first_line:
            tags = b", ".join(message.all(b"proxy-require"))
            self._refuse(request, Refusal(420, PHRASES[420], b"Unsupported: " + tags + b"\r\n"), now)
        elif request.to_tag:
            self._in_dialog(request, peer, now)
        elif trunk is None:
            if method == b"INVITE":
                self.counters.decided("", "reject", "TRK_UNKNOWN", 0.0)
            self._refuse(request, _FORBIDDEN, now)
        elif method == b"INVITE":
            self._screen(request, trunk, peer, now)
        elif method.decode("latin-1") in trunk.methods and not trunk.suspended:
            self._out_of_dialog(request, trunk, peer, now)
        else:
            self._refuse(request, Refusal(405, PHRASES[405], ALLOW), now)

    def _refuse(self, request: Request, answer: Refusal, now: float) -> None:
        """Answer without a transaction, and remember to answer retransmissions alike."""
        self._refused.remember(request.key, answer, now)
        self._send_refusal(request, answer)

    def _send_refusal(self, request: Request, answer: Refusal) -> None:
        via = request.via
        tag = self.secret.to_tag(via.branch or via.value, request.call_id, request.from_tag, request.cseq)
        data = build_response(request.message, answer.start, request.via_line, tag, answer.extra)
        flow = request.flow if request.reply_port == request.flow.port else self._reply_flow(request.flow, request.reply_port)
        self._layer.sends.append((flow, data))

    def _open(self, request: Request, now: float) -> ServerTransaction | None:
        """A server transaction for a request that is forwarded or parked, None (and 503) where there are too many."""
        if len(self._layer.servers) >= self._limit:
            self.counters.transactions_refused += 1
            self._send_refusal(request, Refusal(503, PHRASES[503], b"Retry-After: 5\r\n"))
            return None
        server = ServerTransaction(request.key, request, self._reply_flow(request.flow, request.reply_port))
        self._layer.servers[request.key] = server
        if server.invite:
            self._relay.answer(server, 100, now)
        return server

    # initial INVITE

    def _screen(self, request: Request, trunk: Trunk, peer: Peer, now: float) -> None:
        started = self._clock() if self._clock is not None else 0.0
        pai = asserted(request.message, trunk)
        call = call_of(request, trunk, request.flow.source, pai, now + self.wall_offset)
        found = self.ruleset.evaluate(call)
        seconds = self._clock() - started if self._clock is not None else 0.0
        if isinstance(found, Lookup):
            server = self._open(request, now)
            if server is not None:
                self._park(Parked(call, found, peer, pai, server, seconds), now)
            return
        self._decided(found, call, peer, pai, request, None, seconds, now)

    def _park(self, parked: Parked, now: float) -> None:
        self.counters.lookups_started += 1
        self._tickets = ticket = self._tickets + 1
        self._parked[ticket] = parked
        parked.server.parked = ticket
        self._lookups.append((parked.lookup, ticket))
        self._layer.timers.start(now, parked.lookup.deadline + 1.0, Duty.LOOKUP, ticket)  # the rim keeps the deadline; this keeps the call from being lost

    def _resume(self, parked: Parked, answer: object, now: float) -> None:
        server = parked.server
        server.parked = 0
        request = server.request
        if request is None or server.state is not State.PROCEEDING:
            self.counters.lookups_late += 1
            return
        started = self._clock() if self._clock is not None else 0.0
        found = self.ruleset.resume(parked.call, parked.lookup, answer)
        parked.seconds += self._clock() - started if self._clock is not None else 0.0
        if isinstance(found, Lookup):
            parked.lookup = found
            self._park(parked, now)
            return
        self._decided(found, parked.call, parked.peer, parked.pai, request, server, parked.seconds, now)

    def _decided(
        self, verdict: Verdict, call: Call, peer: Peer, pai: tuple[bytes, ...], request: Request, server: ServerTransaction | None, seconds: float, now: float
    ) -> None:
        verdict.elapsed_us = seconds * 1e6
        self.counters.decided(verdict.trunk, verdict.action, verdict.code, seconds)
        if verdict.action == "reject":
            self._turn_down(request, server, refusal(verdict), now)
            return
        hop = self.routing.hop_for(call.trunk, call.called, self.ruleset.directory, call.at, emergency=verdict.code == "EMG_OVERRIDE")
        if hop is None:
            self._turn_down(request, server, _NOT_FOUND, now)
            return
        message = request.message
        ingress = peer.code
        loop_hash = new_loop_hash(self.secret, request, b"", ingress, hop.code)
        if loops(request, loop_hash, self.routing):
            self.counters.loops += 1
            self._turn_down(request, server, Refusal(482, PHRASES[482]), now)
            return
        if b"route" in message.first_line:
            message.remove(b"route")  # the trunk decides where a call goes, never its sender
        egress = self._customer_of(hop) if call.trunk.kind == "core" else None
        apply_labels(message, verdict, call.privacy, egress)
        if server is None:
            server = self._open(request, now)
            if server is None:
                return
        token = self.secret.dialog_token(request.call_id, request.from_tag, ingress, hop.code, request.sender, pai, request.to_uri)
        self._relay.forward_to_hop(server, Outgoing(request, loop_hash, token), hop, now)

    def _turn_down(self, request: Request, server: ServerTransaction | None, answer: Refusal, now: float) -> None:
        if server is None:
            self._refuse(request, answer, now)
        else:
            phrase = answer.start[12:].decode()
            self._relay.answer(server, answer.status, now, answer.extra, phrase)

    def _customer_of(self, hop: Hop) -> Trunk | None:
        """The trunk whose customer gets the calls of this next hop."""
        for trunk in self.routing.trunks.values():
            if trunk.deliver == hop.id:
                return trunk
        return None

    # other requests

    def _out_of_dialog(self, request: Request, trunk: Trunk, peer: Peer, now: float) -> None:
        hop = self.routing.hops.get(trunk.next_hop) if trunk.next_hop is not None else None
        if hop is None:
            self._refuse(request, _NOT_FOUND, now)
            return
        loop_hash = new_loop_hash(self.secret, request, b"", peer.code, hop.code)
        if loops(request, loop_hash, self.routing):
            self.counters.loops += 1
            self._refuse(request, Refusal(482, PHRASES[482]), now)
            return
        if b"route" in request.message.first_line:
            request.message.remove(b"route")
        server = self._open(request, now)
        if server is None:
            return
        token = b""
        if request.method in (b"SUBSCRIBE", b"REFER", b"NOTIFY"):  # what may set up a dialog
            token = self.secret.dialog_token(request.call_id, request.from_tag, peer.code, hop.code, request.sender, (), request.to_uri)
        self._relay.forward_to_hop(server, Outgoing(request, loop_hash, token), hop, now)

    def _in_dialog(self, request: Request, peer: Peer, now: float) -> None:
        onward = route_onward(request, self.routing, self.secret)
        if onward is None:
            self.counters.dialog_refused += 1
            self._refuse(request, Refusal(481, PHRASES[481]), now)
            return
        if is_target_refresh(request.method) and not self._same_party(request, onward, peer):
            verdict = self._screen_again(request, peer, now)
            if verdict is not None and verdict.action == "reject":
                self.counters.dialog_refused += 1
                self._refuse(request, refusal(verdict), now)
                return
        flow = destination(onward.uri, request.flow, self.routing, onward.token)
        if flow is None:
            self._refuse(request, Refusal(404 if self.routing.is_own(onward.uri.host, onward.uri.port) else 502, "No Way To Destination"), now)
            return
        loop_hash = new_loop_hash(self.secret, request, onward.routes, peer.code, b"")
        if loops(request, loop_hash, self.routing):
            self.counters.loops += 1
            self._refuse(request, Refusal(482, PHRASES[482]), now)
            return
        server = self._open(request, now)
        if server is not None:
            self._relay.forward_to(server, Outgoing(request, loop_hash, b""), flow, now)

    def _same_party(self, request: Request, onward: Onward, peer: Peer) -> bool:
        """Whether a re-INVITE or UPDATE comes from the trunk that its side of the dialog has, and presents what that side presented before."""
        token = onward.token
        if token.from_caller:
            expected = peer.code == token.ingress
        else:
            owner = self.routing.hop_codes.get(token.egress)
            customer = self._customer_of(owner) if owner is not None else None
            expected = token.egress in peer.hop_codes or (customer is not None and customer is peer.trunk)
        return expected and self.secret.same_identity(token, request.sender, asserted(request.message, peer.trunk))

    def _screen_again(self, request: Request, peer: Peer, now: float) -> Verdict | None:
        """A new identity inside a dialog is judged like a new call; None where it comes from our own side, which no trunk rule concerns.

        A look-up is not waited for: without its answer the rule's own default stands.
        """
        trunk = peer.trunk
        if trunk is None:
            return None
        pai = asserted(request.message, trunk)
        call = call_of(request, trunk, request.flow.source, pai, now + self.wall_offset)
        found = self.ruleset.evaluate(call)
        while isinstance(found, Lookup):
            found = self.ruleset.resume(call, found, None)
        return found

    # ACK and CANCEL

    def _ack(self, request: Request, server: ServerTransaction | None, peer: Peer, now: float) -> None:
        if server is not None and server.state in (State.COMPLETED, State.CONFIRMED):
            self._layer.acknowledged(server, now)
            return
        via = request.via
        if request.to_tag and request.to_tag == self.secret.to_tag(via.branch or via.value, request.call_id, request.from_tag, request.cseq):
            self.counters.stateless_acks += 1
            return
        onward = route_onward(request, self.routing, self.secret) if request.to_tag and request.hops != 0 else None
        flow = destination(onward.uri, request.flow, self.routing, onward.token) if onward is not None else None
        if onward is None or flow is None:
            self.counters.stray_acks += 1
            return
        routes = onward.routes + b"\n" + (via.branch or via.value)  # a retransmitted ACK gets the same branch (§16.11)
        loop_hash = new_loop_hash(self.secret, request, routes, peer.code, b"")
        if loops(request, new_loop_hash(self.secret, request, onward.routes, peer.code, b""), self.routing):
            self.counters.loops += 1
            return
        outgoing = Outgoing(request, loop_hash, b"")
        self._layer.sends.append((flow, outgoing.render(flow, self._branches.for_ack(loop_hash))))

    def _cancel(self, request: Request, server: ServerTransaction | None, now: float) -> None:
        key = request.key + CANCEL_KEY
        again = self._layer.servers.get(key)
        if again is not None:
            self._layer.again(again)
            return
        if server is None or not server.invite:
            self._send_refusal(request, Refusal(481, PHRASES[481]))
            return
        own = ServerTransaction(key, request, self._reply_flow(request.flow, request.reply_port))
        self._layer.servers[key] = own
        lines = request.message.lines
        reasons = [lines[at] for at in request.message.positions(b"reason")]
        self._relay.answer(own, 200, now)
        if server.parked:
            self._parked.pop(server.parked, None)
            server.parked = 0
            server.cancelled = True
            self.counters.cancelled += 1
            self._relay.answer(server, 487, now)
        else:
            self._relay.cancel(server, reasons, now)

    # responses

    def _response(self, message: SipMessage, data: bytes, flow: Flow, peer: Peer, now: float) -> None:
        via = Via(top_value(message)[0])
        branch = via.branch
        if branch is None or not branch.startswith(BRANCH) or not self.routing.is_own(via.host, via.port):
            self.counters.discarded += 1
            return
        worker = worker_of(branch)
        if worker != self.worker:
            self._handovers.append((worker, flow, data))
            self.counters.handed_over += 1
            return
        digits, _, method = (message.first(b"cseq") or b"").partition(b" ")
        method = method.strip()
        if not digits.isdigit() or len(digits) > 10 or int(digits) >= 1 << 32 or b"call-id" not in message.first_line or b"to" not in message.first_line:
            self.counters.discarded += 1
            return
        client = self._layer.clients.get(branch + CANCEL_KEY if method == b"CANCEL" else branch)
        if client is not None and client.method == method:
            self._relay.response(client, message, now)
            return
        self._stray(message, method, peer)

    def _stray(self, message: SipMessage, method: bytes, peer: Peer) -> None:
        """A response without a transaction. RFC 6026 drops it; a 2xx to INVITE from one of our peers to one of our peers is passed on by its Via,
        since it may be that of a call whose worker was restarted, and the callee has picked up."""
        self.counters.stray_responses += 1
        if method != b"INVITE" or not 200 <= message.status < 300 or not peer.known:
            return
        data = without_top_via(message)
        if data is None:
            return
        via = Via(SipMessage.parse(data).all(b"via")[0])
        address = (via.received or via.host).decode("latin-1").strip("[]")
        port = int(via.rport) if via.rport and via.rport.isdigit() and len(via.rport) < 6 else (via.port or 5060)
        listener = self.routing.listener_for(via.transport.decode("latin-1").lower(), address, None)
        if listener is None or listener.transport != "udp" or not 0 < port < 65536:
            return
        try:
            known = self.routing.resolve(address, port)
        except ValueError:  # a host name
            return
        if known.known and not self.routing.is_own(address.encode(), port):
            self._layer.sends.append((Flow(listener, address, port), data))

    # timers

    def _fire(self, kind: Any, owner: Any, now: float) -> None:
        if isinstance(kind, Timer):
            if kind is Timer.NO_RESPONSE:
                self._relay.no_response(owner, now)
            elif kind is Timer.RINGING:
                self._relay.rang_out(owner, now)
            elif kind is Timer.CANCEL_WAIT:
                self._relay.cancel_unanswered(owner, now)
            elif self._layer.timer(kind, owner, now):
                self._relay.timed_out(owner, now)
        elif kind is Duty.PING:
            assert isinstance(owner, Ping)
            self._health.due(owner, Duty.PING, self.routing, now)
        elif owner in self._parked:
            self.resume(owner, None, now)
