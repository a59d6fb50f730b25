"""The proxy, sans-IO: bytes and time in, bytes out (RFC 3261 §16 for a screening proxy that is transaction-stateful).

`Proxy.receive` says what a message is and who it is for; the transactions are in `proxy.transactions`, new calls in `proxy.screening`,
requests inside dialogs in `proxy.indialog`, responses in `proxy.responses`, what becomes of forwarded requests in `proxy.relay`. No clock,
no socket, no exception for any input.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

from proxy.answers import Answers
from proxy.attempts import unjudged
from proxy.call_table import CallTable
from proxy.calls import SWEEP, Calls
from proxy.config import Config
from proxy.counters import Counters
from proxy.enforce import Refusal
from proxy.events import Event
from proxy.flow import Flow, Listener
from proxy.forward import Branches
from proxy.hangup import Hangup
from proxy.health import Health, Ping
from proxy.indialog import NO_SUCH_CALL, InDialog
from proxy.owners import Owners, by_call_id
from proxy.redirect import CANCELLED, other_answer
from proxy.relay import CANCEL_KEY, Relay, answer_directly
from proxy.responses import Responses
from proxy.routing import Peer, Routing
from proxy.screening import FORBIDDEN, Screening
from proxy.signing import Credential, Signer
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage, mark
from proxy.sip.response import PHRASES
from proxy.sip.transaction import State
from proxy.sip.via import Via
from proxy.token import TAG_SIZE, Secret
from proxy.transactions import ServerTransaction, Timer, TransactionLayer
from proxy.validate import Request, top_value
from rules import RuleSet
from rules.call import Call, Trunk
from rules.legs import Legs
from rules.profile import REDIRECT
from rules.verdict import Lookup, Verdict

_METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO")
"""Methods that every trunk may use; those of its `methods` come to them."""
_CAPABLE: Final = b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\nAccept: application/sdp\r\nSupported: \r\n"
_PROXY_REQUIRE: Final = mark(b"proxy-require")
_TIMERS_A_TURN: Final = 256
_TIMERS_A_KIND: Final = 16
_FAULTS_KEPT: Final = 5
_TOO_MANY_HOPS: Final = Refusal(483, PHRASES[483])
_NO_TLS: Final = Refusal(416, PHRASES[416])
"""A sips URI promises TLS on every hop (RFC 3261 §26.2.2): what cannot keep that must not send the request on."""


class Proxy:
    """One worker's proxy core.

    Give it every message with its flow and the time (monotonic seconds); take `take_sends()`, `take_lookups()` and `take_handovers()`
    after each batch; call `handle_timer` at `next_timer()`. `ruleset` and `routing` are swapped by one assignment each (`apply`).
    `wall_offset` added to the time gives Unix time. `clock` only measures how long decisions take. `faults` holds the first tracebacks
    of defects in this program, for the worker to log.
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
        credential: Credential | None = None,
    ) -> None:
        """`secret` as Secret; `salt` must differ between starts of a worker; `credential` signs calls. RoutingError as Routing."""
        self.counters = Counters()
        self.secret = Secret(secret)
        self.routing = Routing(config, listeners, self.secret)
        self.worker = worker
        self.faults: list[str] = []
        self._layer = TransactionLayer(self.counters)
        self._branches = Branches(worker, salt)
        self._health = Health(self._layer, self._branches)
        self._calls = calls = Calls(self.counters, self.secret, config.node.longest_call, salt)
        self._relay = relay = Relay(self._layer, self._branches, self.secret, self._health.heard, calls)
        self._responses = Responses(self._layer, relay, self.secret, worker, calls)
        self._answers = answers = Answers(self._layer, self.secret, calls)
        self._screening = Screening(
            self._layer, relay, answers, self.secret, ruleset, self.routing, config.node.max_transactions, clock, calls, worker, crc32(salt)
        )
        self._in_dialog = InDialog(self._layer, relay, answers, self._screening, self.secret, self._branches, calls)
        self._sweeping = False
        self._handed = False
        self._tell_unsigned: Callable[[str], None] | None = None
        self._sign_with(credential)
        self._health.start(self.routing, now)

    # the rim's side

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one message in. Never raises: what this program gets wrong is counted and kept in `faults`."""
        self.counters.received += 1
        try:
            self._receive(data, flow, now)
        except Exception:
            self._defect()
        if self._calls.stirred and not self._sweeping:
            self._sweep_later(SWEEP, now)

    def receive_handed(self, data: bytes, flow: Flow, now: float) -> None:
        """Take in what another worker handed over. What is not known here either goes no further: it is answered from here."""
        self._handed = True
        self.receive(data, flow, now)
        self._handed = False

    def send_failed(self, flow: Flow, data: bytes, now: float) -> None:
        """A stream destination could not be reached: a request counts as answered 503 (§16.9), a response is lost."""
        self.counters.connect_failures += 1
        try:
            message = SipMessage.parse(data)
            branch = Via(top_value(message)[0]).branch
            if message.is_request and branch is not None:
                client = self._layer.clients.get(branch + CANCEL_KEY if message.method == b"CANCEL" else branch)
                if (
                    client is not None
                    and client.method == message.method
                    and client.state in (State.CALLING, State.TRYING)
                    and client.flow is flow
                ):
                    self._relay.timed_out(client, now, 500)
        except ParseError:
            self.counters.discarded += 1
        except Exception:
            self._defect()

    def resume(self, ticket: int, answer: object, now: float) -> None:
        """The answer of a look-up (None: there is none)."""
        try:
            self._screening.resume(ticket, answer, now)
        except Exception:
            self._defect()

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None for never."""
        return self._layer.timers.next_due()

    def handle_timer(self, now: float) -> None:
        """Fire what is due, a bounded number at a time, some of every kind before the rest of one: what is left is due again at once."""
        left = _TIMERS_A_TURN
        queues = self._layer.timers.queues[:]
        for most in (_TIMERS_A_KIND, _TIMERS_A_TURN):
            for queue in queues:
                share = min(left, most)
                while share and queue.is_due(now):
                    share -= 1
                    left -= 1
                    try:
                        self._fire(queue.kind, queue.take(), now)
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
        return self._screening.take_lookups()

    def take_handovers(self) -> list[tuple[int, Flow, bytes]]:
        """Messages that belong to another worker's transactions, for its `receive_handed`: worker id, flow, bytes."""
        handovers, self._responses.handovers = self._responses.handovers, []
        return handovers

    def share_legs(self, legs: Legs) -> None:
        """Remember the calls that go toward trunks there, before the first of them comes."""
        self._screening.correlation.legs = legs

    def share_owners(self, owners: Owners) -> None:
        """Note INVITEs there for other workers to find, and find theirs, before the first of them comes."""
        self._layer.owners = owners

    def keep_events(self, wanted: bool = True) -> None:
        """Have what happens to calls kept for `take_events`, which is then to be asked after each batch."""
        self._calls.keep_events(wanted)
        self._calls.admission.know(self.routing.trunk_codes)

    def take_events(self) -> list[Event]:
        """What happened to calls since, in order; to be written down before `take_sends` is sent. Nothing without `keep_events`."""
        return self._calls.take_events()

    def count_calls(self, table: CallTable, now: float) -> None:
        """Follow calls in this table; those that a worker before this one left in it go on. Limits hold from then on."""
        self._calls.count(table, self.routing.trunk_codes, now)
        if self._calls.known and not self._sweeping:
            self._sweep_later(SWEEP, now)

    def take_hangups(self) -> list[tuple[int, Hangup]]:
        """What other workers are to hear of the end of their calls: worker id, notice."""
        return self._calls.take_notices()

    def hear_of_hangup(self, said: Hangup, now: float) -> None:
        """What another worker tells of the end of a call of this one's."""
        self._calls.hear(said, now)
        if not self._sweeping:
            self._sweep_later(SWEEP, now)

    def apply(
        self, config: Config, ruleset: RuleSet, now: float, credential: Credential | None = None, routing: Routing | None = None
    ) -> None:
        """Put a new configuration and policy in force; calls in progress go on. `routing` may have been made from that configuration
        beforehand: of thousands of trunks it takes a while. RoutingError leaves the old one.
        """
        if routing is None:
            routing = Routing(config, self.routing.listeners, self.secret)
        known = {target.uri: target for _, target in self.routing.all_targets()}
        for _, target in routing.all_targets():
            if target.uri in known:
                target.up, target.unanswered = known[target.uri].up, known[target.uri].unanswered
        self.routing = self._screening.routing = routing
        self._screening.ruleset = ruleset
        self._sign_with(credential)
        self._screening.limit = config.node.max_transactions
        self._calls.admission.know(routing.trunk_codes)
        self._calls.longest = config.node.longest_call
        self._layer.timers.drop_unused()
        self._health.start(routing, now)

    @property
    def ruleset(self) -> RuleSet:
        """The policy in force."""
        return self._screening.ruleset

    @property
    def wall_offset(self) -> float:
        """What turns the core's time into Unix time."""
        return self._screening.wall_offset

    @wall_offset.setter
    def wall_offset(self, seconds: float) -> None:
        self._screening.wall_offset = self._calls.wall_offset = seconds

    def watch_verdicts(self, watch: Callable[[Verdict, Call], None] | None) -> None:
        """Have `watch` told of every verdict on an initial INVITE, with its call, before it is carried out; None ends that."""
        self._screening.on_verdict = watch

    def watch_signing(self, tell: Callable[[str], None]) -> None:
        """Have `tell` told, once a minute at the most, why calls go out unsigned that should not."""
        self._tell_unsigned = tell

    def drain(self) -> None:
        """Take no new calls (503) but emergency calls; those in progress go on. For a node that is about to stop."""
        self._screening.draining = True

    def refuse_calls(self, wanted: bool) -> None:
        """Take no new calls (503) but emergency calls, while they could not be recorded; not even to say where they go. False ends that."""
        self._screening.unrecorded = wanted

    def gauges(self) -> dict[str, Any]:
        """What is open at this moment, for the metrics."""
        return {
            "transactions_server": len(self._layer.servers),
            "transactions_client": len(self._layer.clients),
            "parked": len(self._screening.parked),
            "calls": self._calls.admission.counts(),
            "next_hops": {(hop.id, target.uri): target.up for hop, target in self.routing.all_targets()},
        }

    def pending(self) -> int:
        """INVITE transactions without a final response: what a worker that is to stop waits for."""
        return self._layer.unanswered

    def _sign_with(self, credential: Credential | None) -> None:
        self._screening.signer = None if credential is None else Signer(credential, self.secret, self._unsigned)

    def _unsigned(self, why: str) -> None:
        if self._tell_unsigned is not None:
            self._tell_unsigned(why)

    def _defect(self) -> None:
        self._calls.admission.settle()
        self.counters.internal_errors += 1
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append(traceback.format_exc())

    # what came in

    def _receive(self, data: bytes, flow: Flow, now: float) -> None:
        peer: Peer | None = flow.peer
        if peer is None or peer.routing is not self.routing:
            peer = flow.peer = self.routing.resolve(flow.address, flow.port)
        if not peer.known and data[:4] != b"SIP/":
            self._answers.unknown_source(data, flow, peer, now)
            return
        if data[:4] == b"ACK " and self._answers.acknowledges(data, peer.key, now):
            self.counters.stateless_acks += 1
            return
        try:
            if data[:4] == b"SIP/" and self._responses.relay(data, flow, now):
                return
            message = SipMessage.parse(data)
            if not message.is_request:
                self._responses.receive(message, data, flow, peer, self.routing, now)
                return
            request = Request(message, flow, peer.key)
        except ParseError as fault:
            self._answers.malformed(fault, flow, peer)
            return
        try:
            self._request(request, peer, now)
        except ParseError as fault:  # found later, in what only some requests have looked at
            fault.message = message
            self._broken(request, peer, fault.status, now)
            self._answers.malformed(fault, flow, peer)
        except Exception:
            self._defect()
            self._broken(request, peer, 500, now)
            server = self._layer.servers.get(request.key)
            if server is not None and server.client is None and not server.parked:
                self._relay.answer(server, 500, now)  # nothing else would ever end it

    def _broken(self, request: Request, peer: Peer, status: int, now: float) -> None:
        """Something went wrong with a request on its way: a call that was admitted is none, and an initial INVITE is told of still."""
        self._calls.admission.settle()
        if self._calls.events is None or request.method != b"INVITE" or request.to_tag:
            return
        server = self._layer.servers.get(request.key)
        if server is None or (server.setup is None and not server.parked):
            self._calls.events.append(unjudged(request, peer.trunk, now + self.wall_offset, status))

    # requests

    def _request(self, request: Request, peer: Peer, now: float) -> None:
        method = request.method
        server = self._layer.servers.get(request.key)
        if method == b"ACK":
            self._ack(request, server, peer, now)
            return
        if method == b"CANCEL":
            self._cancel(request, server, peer, now)
            return
        if server is not None:
            self._layer.again(server)
            return
        if self._answers.refused_before(request, now):
            return
        if method == b"INVITE" and self._owned_elsewhere(request):  # sent again from another port
            return
        trunk = peer.trunk
        if trunk is not None and trunk.reject_profile == REDIRECT and not request.to_tag:
            self._asked(request, trunk, peer, now)
            return
        message = request.message
        if (
            method == b"OPTIONS"
            and not request.to_tag
            and request.uri.user is None
            and self.routing.is_own(request.uri.host, request.uri.port)
        ):
            self._layer.sends.append(
                (self._answers.reply_flow(request.flow, request.reply_port), answer_directly(request, self.secret, 200, _CAPABLE))
            )
        elif request.hops == 0:
            self._refuse(request, _TOO_MANY_HOPS, trunk, now)
        elif request.secure:
            self._refuse(request, _NO_TLS, trunk, now)
        elif message.marks & _PROXY_REQUIRE:
            tags = b", ".join(message.all(b"proxy-require"))
            self._refuse(request, Refusal(420, PHRASES[420], b"Unsupported: " + tags + b"\r\n"), trunk, now)
        elif request.to_tag:
            self._in_dialog.forward(request, peer, self.routing, now)
        elif trunk is None:
            if method == b"INVITE":
                self.counters.decided("", "reject", "TRK_UNKNOWN", 0.0)
            self._refuse(request, FORBIDDEN, None, now, "TRK_UNKNOWN")
        elif method == b"INVITE":
            self._screening.invite(request, trunk, peer, now)
        elif trunk.suspended:
            self._answers.refuse(request, FORBIDDEN, now)
        elif method.decode("latin-1") in trunk.methods:
            self._screening.out_of_dialog(request, trunk, peer, now)
        else:
            allowed = ", ".join(dict.fromkeys((*_METHODS, *trunk.methods)))
            self._answers.refuse(request, Refusal(405, PHRASES[405], f"Allow: {allowed}\r\n".encode()), now)

    def _asked(self, request: Request, trunk: Trunk, peer: Peer, now: float) -> None:
        """A request to us as a redirect server, which sends nothing on: it looks at neither Max-Forwards nor at what else a request wants
        understood (RFC 3261 §8.3).
        """
        if request.secure:
            self._refuse(request, _NO_TLS, trunk, now)
        elif request.method == b"INVITE":
            self._screening.invite(request, trunk, peer, now)
        else:
            self._answers.refuse(request, other_answer(request, trunk), now)

    def _refuse(self, request: Request, answer: Refusal, trunk: Trunk | None, now: float, code: str = "") -> None:
        """Refuse a request that no rule was asked about."""
        if self._calls.events is not None and request.method == b"INVITE" and not request.to_tag:
            self._calls.events.append(unjudged(request, trunk, now + self.wall_offset, answer.status, code))
        self._answers.refuse(request, answer, now)

    # ACK and CANCEL

    def _owned_elsewhere(self, request: Request) -> bool:
        """Whether another worker has the INVITE that a request is, or belongs to; it was handed to that one then.

        Nothing is handed over twice, and what no worker has is handed to none: a flood of it costs this worker a look, and the others
        nothing.
        """
        owners = self._layer.owners
        if owners is None or self._handed or not owners.used or (request.method == b"INVITE" and by_call_id(request)):
            return False
        worker = owners.owner(request.key)
        if worker < 0:
            return False
        self._responses.handovers.append((worker, request.flow, request.message.raw))
        self.counters.handed_over += 1
        return True

    def _ack(self, request: Request, server: ServerTransaction | None, peer: Peer, now: float) -> None:
        if server is not None and server.state in (State.COMPLETED, State.CONFIRMED):
            self._layer.acknowledged(server, now)
            return
        if self._answers.refused(request, now):  # remembered, or of a re-INVITE, whose To tag is not ours
            self.counters.stateless_acks += 1
            return
        if self._owned_elsewhere(request):
            return
        if len(request.to_tag) == TAG_SIZE and request.to_tag == self._answers.to_tag(request):  # another worker's, or forgotten
            self.counters.stateless_acks += 1
            return
        self._in_dialog.acknowledge(request, peer, self.routing)

    def _cancel(self, request: Request, server: ServerTransaction | None, peer: Peer, now: float) -> None:
        key = request.key + CANCEL_KEY
        again = self._layer.servers.get(key)
        if again is not None:
            self._layer.again(again)
            return
        if server is None or not server.invite:
            fate = self._answers.fate(request, now)
            if fate is None and self._owned_elsewhere(request):
                return
            if fate is None or fate.status:
                asked = fate is not None and peer.trunk is not None and peer.trunk.reject_profile == REDIRECT
                self._answers.send(request, CANCELLED if asked else NO_SUCH_CALL)
            return
        own = ServerTransaction(key, request, self._answers.reply_flow(request.flow, request.reply_port))
        self._layer.open(own)
        lines = request.message.lines
        reasons = [lines[at] for at in request.message.positions(b"reason")]
        self._relay.answer(own, 200, now)
        if server.parked:
            self._screening.cancel(server, now)
        else:
            self._relay.cancel(server, reasons, now)

    # timers

    def _sweep_later(self, delay: float, now: float) -> None:
        self._sweeping = True
        self._layer.timers.start(now, delay, Timer.SWEEP, None)

    def _fire(self, kind: int, owner: Any, now: float) -> None:
        if kind <= Timer.LINGER:
            if self._layer.timer(kind, owner, now):
                self._relay.timed_out(owner, now)
        elif kind == Timer.RINGING:
            self._relay.rang_out(owner, now)
        elif kind == Timer.NO_RESPONSE:
            self._relay.no_response(owner, now)
        elif kind == Timer.CANCEL_WAIT:
            self._relay.cancel_unanswered(owner, now)
        elif kind == Timer.SWEEP:
            self._sweeping = False
            again = self._calls.sweep(now)
            if again:
                self._sweep_later(again, now)
            else:
                self._calls.stirred = False
        elif kind == Timer.PING:
            assert isinstance(owner, Ping)
            self._health.due(owner, self.routing, now)
        elif kind == Timer.OVERDUE and owner in self._screening.parked:
            self._screening.resume(owner, None, now)
