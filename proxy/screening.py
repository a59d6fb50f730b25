"""An initial INVITE's way from policy to the wire: judged, perhaps parked for a look-up, then refused or sent on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.answers import SILENCE, Answers
from proxy.attempts import attempt_of, sent_as, unjudged
from proxy.calls import Calls, Setup
from proxy.correlation import Correlation
from proxy.enforce import Refusal, apply_labels, distrust, keep_internal, plain_refusal, refusal, stir_reasons
from proxy.forward import Outgoing, loops, new_loop_hash
from proxy.intake import asserted, call_of
from proxy.limits import above, limited_segment
from proxy.owners import by_call_id
from proxy.redirect import UNDECIDED, final_answer
from proxy.relay import Relay
from proxy.routing import Hop, Peer, Routing
from proxy.signing import Signer
from proxy.sip.message import mark
from proxy.sip.response import PHRASES
from proxy.sip.transaction import State
from proxy.token import NO_TABLE, Secret, call_key
from proxy.transactions import ServerTransaction, Timer, TransactionLayer
from proxy.validate import Request
from rules import RuleSet
from rules.call import Call, Trunk, side_of
from rules.directory.segment import Segment
from rules.profile import REDIRECT
from rules.verdict import Lookup, Verdict

NOT_FOUND = Refusal(404, PHRASES[404])
FORBIDDEN = Refusal(403, PHRASES[403])
LOOP = Refusal(482, PHRASES[482])
_FULL = Refusal(503, PHRASES[503], b"Retry-After: 5\r\n")


_ROUTE: Final = mark(b"route")

_OVERDUE = 6.0
"""Seconds after which a look-up counts as unanswered whatever became of it: its own deadline is kept by the rim, which knows none
longer than 5 s. A fixed time, for timers come in fixed lengths.
"""


class Parked:
    """A call whose verdict waits for a look-up: 100 was sent, the INVITE's server transaction is open."""

    __slots__ = ("began", "call", "lookup", "pai", "peer", "seconds", "server")

    def __init__(self, call: Call, lookup: Lookup, peer: Peer, pai: tuple[bytes, ...], server: ServerTransaction, seconds: float) -> None:
        self.call = call
        self.lookup = lookup
        self.peer = peer
        self.pai = pai
        self.server = server
        self.seconds = seconds
        self.began: dict[str, float] = {}  # since when the call has waited for look-ups, by their kind


class Screening:
    """Judges calls and carries the verdict out. `ruleset` and `routing` are swapped by assignment; `limit` bounds the server
    transactions; `signer` signs what leaves by a next hop that wants it; `on_verdict` is told of every verdict on an initial INVITE before
    it is carried out.
    """

    __slots__ = (
        "_answers",
        "_calls",
        "_clock",
        "_counters",
        "_layer",
        "_lookups",
        "_relay",
        "_secret",
        "_serial",
        "_tickets",
        "_worker",
        "correlation",
        "draining",
        "limit",
        "on_verdict",
        "parked",
        "routing",
        "ruleset",
        "signer",
        "unrecorded",
        "wall_offset",
    )

    def __init__(
        self,
        layer: TransactionLayer,
        relay: Relay,
        answers: Answers,
        secret: Secret,
        ruleset: RuleSet,
        routing: Routing,
        limit: int,
        clock: Callable[[], float] | None,
        calls: Calls,
        worker: int,
        serial: int,
    ) -> None:
        self._calls = calls
        self._worker = worker
        self._serial = serial
        self._layer = layer
        self._counters = layer.counters
        self._relay = relay
        self._answers = answers
        self._secret = secret
        self._clock = clock
        self._lookups: list[tuple[Lookup, int]] = []
        self._tickets = 0
        self.correlation = Correlation(layer.counters)
        self.on_verdict: Callable[[Verdict, Call], None] | None = None
        self.parked: dict[int, Parked] = {}
        self.ruleset = ruleset
        self.routing = routing
        self.limit = limit
        self.signer: Signer | None = None
        self.draining = False
        self.unrecorded = False
        self.wall_offset = 0.0

    def open(self, request: Request, now: float, *, full: Refusal = _FULL) -> ServerTransaction | None:
        """A server transaction for what is forwarded or parked, 100 sent for INVITE; None (and `full`) where there are too many."""
        if len(self._layer.servers) >= self.limit:
            self._counters.transactions_refused += 1
            self._answers.refuse(request, full, now)
            return None
        return self._opened(request, now)

    def _opened(self, request: Request, now: float) -> ServerTransaction:
        server = ServerTransaction(request.key, request, self._answers.reply_flow(request.flow, request.reply_port))
        self._layer.open(server)
        if server.invite:
            if self._layer.owners is not None and not by_call_id(request):
                server.place = self._layer.owners.note(request.key)
            self._relay.answer(server, 100, now)
        return server

    def invite(self, request: Request, trunk: Trunk, peer: Peer, now: float) -> None:
        """Judge an initial INVITE."""
        started = self._clock() if self._clock is not None else 0.0
        pai = asserted(request, trunk)
        call = call_of(request, trunk, request.flow.source, pai, now + self.wall_offset, self.correlation.legs)
        found = self.ruleset.evaluate(call)
        seconds = self._clock() - started if self._clock is not None else 0.0
        if isinstance(found, Lookup):
            if trunk.reject_profile == REDIRECT:
                server = None
                if self.draining or self.unrecorded:  # who asks has others to ask; what can be answered at once still is
                    self._answers.refuse(request, UNDECIDED, now)
                else:
                    server = self.open(request, now, full=UNDECIDED)
            else:
                server = self.open(request, now)
            if server is not None:
                self._park(Parked(call, found, peer, pai, server, seconds), now)
            elif self._calls.events is not None:
                self._calls.events.append(unjudged(request, trunk, call.at, UNDECIDED.status))
            return
        self._carry_out(found, call, peer, pai, request, None, seconds, now)

    def identity_refused(self, request: Request, trunk: Trunk, now: float) -> Refusal | None:
        """Judge a new identity inside a dialog like a new call; None where it may be presented.

        A look-up is not waited for: without its answer the rule's default stands. Nor does an emergency number in the Request-URI, which
        inside a dialog names nobody who is called, let a caller through whom another rule would reject. An identity that would have to be
        withheld is refused too: the dialog began with another, which was shown.
        """
        call = call_of(request, trunk, request.flow.source, asserted(request, trunk), now + self.wall_offset, self.correlation.legs)
        found = self.ruleset.evaluate(call)
        while isinstance(found, Lookup):
            found = self.ruleset.resume(call, found, None)
        if found.action != "pass":
            return plain_refusal(found, trunk)
        withheld = found.labels is not None and "withhold" in found.labels
        return FORBIDDEN if found.overridden or withheld else None

    # look-ups

    def take_lookups(self) -> list[tuple[Lookup, int]]:
        """Look-ups to start, each with its ticket."""
        lookups, self._lookups = self._lookups, []
        return lookups

    def resume(self, ticket: int, answer: object, now: float) -> None:
        """The answer to a look-up, None when there is none."""
        parked = self.parked.pop(ticket, None)
        request = None if parked is None else parked.server.request
        if parked is None or request is None or parked.server.state != State.PROCEEDING:
            self._counters.lookups_late += 1
            return
        parked.server.parked = 0
        started = self._clock() if self._clock is not None else 0.0
        found = self.ruleset.resume(parked.call, parked.lookup, answer)
        parked.seconds += self._clock() - started if self._clock is not None else 0.0
        if isinstance(found, Lookup):
            parked.lookup = found
            self._park(parked, now)
            return
        try:
            self._carry_out(found, parked.call, parked.peer, parked.pai, request, parked.server, parked.seconds, now)
        except Exception:
            self._calls.admission.settle()
            if parked.server.client is None:
                if parked.server.setup is None and self._calls.events is not None:
                    self._calls.events.append(unjudged(request, parked.call.trunk, parked.call.at, 500))
                self._relay.answer(parked.server, 500, now)  # nothing else would ever end it
            raise

    def cancel(self, server: ServerTransaction, now: float) -> None:
        """The caller gave up while its call was parked."""
        parked = self.parked.pop(server.parked, None)
        if self._calls.events is not None and parked is not None and server.request is not None:
            self._calls.events.append(unjudged(server.request, parked.call.trunk, parked.call.at, 487))
        server.parked = 0
        server.cancelled = True
        self._counters.cancelled += 1
        self._relay.answer(server, 487, now)

    def _park(self, parked: Parked, now: float) -> None:
        self._counters.lookups_started += 1
        self._tickets = ticket = self._tickets + 1
        self.parked[ticket] = parked
        parked.server.parked = ticket
        lookup = parked.lookup
        waited = now - parked.began.setdefault(lookup.kind, now)
        if waited > 0:  # a second question to the same service: one deadline for both
            lookup = Lookup(lookup.kind, lookup.key, lookup.deadline - waited)
        self._lookups.append((lookup, ticket))
        self._layer.timers.start(now, _OVERDUE, Timer.OVERDUE, ticket)

    # verdicts

    def _carry_out(
        self,
        verdict: Verdict,
        call: Call,
        peer: Peer,
        pai: tuple[bytes, ...],
        request: Request,
        server: ServerTransaction | None,
        seconds: float,
        now: float,
    ) -> None:
        trunk = call.trunk
        calls = self._calls
        ingress = peer.code
        emergency = verdict.code == "EMG_OVERRIDE"
        segment: Segment | None = None
        if calls.active and verdict.action == "pass":
            if trunk.id in self.ruleset.directory.capped:
                segment = limited_segment(call, self.ruleset.directory)
            over = calls.admit(ingress, trunk, segment, now, force=emergency or trunk.mode == "observe")
            if over and not emergency:
                above(verdict, trunk, over)
                self._counters.limited(trunk.id, over)
        verdict.elapsed_us = seconds * 1e6
        self._counters.decided(verdict.trunk, verdict.action, verdict.code, seconds)
        if verdict.observed is not None:
            self._counters.noted(verdict.trunk, verdict.observed)
        if self.on_verdict is not None:
            self.on_verdict(verdict, call)
        if trunk.reject_profile == REDIRECT:
            answer = final_answer(verdict, trunk)
            if verdict.action == "pass" and self.unrecorded and not emergency:
                answer = UNDECIDED
            elif verdict.action == "pass" and verdict.would is None:
                self._note_leg(call, now, known=verdict.authenticated is True)
            if verdict.action == "pass" and calls.active:
                calls.admission.release(ingress, segment)  # whether and for how long it goes on is not seen
            self._turn_down(request, server, answer, verdict, call, now)
            return
        if verdict.action != "pass":
            # silence is for UDP: on a connection, and after a 100, the caller would wait for an answer that must come
            silent = verdict.action == "drop" and server is None and not request.flow.connection
            self._turn_down(request, server, SILENCE if silent else refusal(verdict, trunk), verdict, call, now)
            return
        hop = self.routing.hop_for(call.trunk, call.called, self.ruleset.directory, call.at, emergency=emergency)
        refused: Refusal | None = None
        loop_hash = b""
        if hop is None:
            refused = NOT_FOUND
        elif (self.draining or self.unrecorded) and not emergency:
            refused = _FULL  # the sender has other nodes to try; those who call for help may not
        else:
            loop_hash = new_loop_hash(self._secret, request, b"", ingress, hop.code)
            if loops(request, loop_hash, self.routing):
                self._counters.loops += 1
                refused = LOOP
            elif server is None and len(self._layer.servers) >= self.limit and not emergency:
                self._counters.transactions_refused += 1
                refused = _FULL
        if refused is not None or hop is None:
            if calls.active:
                calls.admission.release(ingress, segment)
            self._turn_down(request, server, refused or NOT_FOUND, verdict, call, now)
            return
        message = request.message
        if message.marks & _ROUTE:
            message.remove(b"route")  # the trunk decides where a call goes, never its sender
        egress = self.routing.customer_of(hop) if call.trunk.kind == "core" else None
        apply_labels(message, verdict, call.privacy, call.trunk, egress, verstat=hop.verstat)
        if self.routing.internal and call.trunk.kind != "core":
            keep_internal(message, self.routing.internal)
        if server is None:
            server = self._opened(request, now)
        if verdict.labels is not None and "stir_reasons" in verdict.labels and "responses" in call.trunk.stir_reason:
            server.told = stir_reasons(verdict.labels)
        sides = hop.sides
        if hop.shared:
            sides = self.routing.sides_for(hop, call.called, self.ruleset.directory, call.at, call.trunk.home_area)
        if sides:
            server.leg = self.correlation.begin(call, sides, self.wall_offset)
        if hop.sign:
            at = now + self.wall_offset
            signer = self.signer
            self._counters.signed("no_key" if signer is None else signer.sign(message, call, verdict, self.ruleset.directory, at))
        withheld = verdict.labels is not None and "withhold" in verdict.labels
        self._serial += 1
        token = self._secret.dialog_token(
            request.call_id,
            request.from_tag,
            ingress,
            hop.code,
            request.sender,
            pai,
            request.to_uri,
            worker=self._worker,
            table=calls.table if calls.room else NO_TABLE,
            serial=self._serial,
            withheld=withheld,
        )
        if calls.active:
            if calls.events is not None:
                calls.events.append(attempt_of(verdict, call, request, 0, egress=hop.id, shown=sent_as(verdict, call)))
            setup = Setup(call_key(token), request.call_id, request.from_tag, trunk.id, int(request.cseq), hop.id)
            calls.begin(setup, ingress, segment, now)
            server.setup = setup
        self._relay.forward_to_hop(server, Outgoing(request, loop_hash, token), hop, now)

    def out_of_dialog(self, request: Request, trunk: Trunk, peer: Peer, now: float) -> None:
        """A request that is no INVITE and belongs to no dialog follows the trunk's next hop; its method was found allowed."""
        hop: Hop | None = self.routing.hops.get(trunk.next_hop) if trunk.next_hop is not None else None
        if hop is None:
            self._answers.refuse(request, NOT_FOUND, now)
            return
        loop_hash = new_loop_hash(self._secret, request, b"", peer.code, hop.code)
        if loops(request, loop_hash, self.routing):
            self._counters.loops += 1
            self._answers.refuse(request, LOOP, now)
            return
        if request.message.marks & _ROUTE:
            request.message.remove(b"route")
        if trunk.kind != "core":
            distrust(request.message)
            keep_internal(request.message, self.routing.internal)
        server = self.open(request, now)
        if server is None:
            return
        token = b""
        if request.method in (b"SUBSCRIBE", b"REFER", b"NOTIFY"):  # what may set up a dialog
            token = self._secret.dialog_token(
                request.call_id,
                request.from_tag,
                peer.code,
                hop.code,
                request.sender,
                (),
                request.to_uri,
                worker=self._worker,
                invite=False,
            )
        self._relay.forward_to_hop(server, Outgoing(request, loop_hash, token), hop, now)

    def _turn_down(
        self, request: Request, server: ServerTransaction | None, answer: Refusal, verdict: Verdict, call: Call, now: float
    ) -> None:
        if self._calls.events is not None:
            self._calls.events.append(attempt_of(verdict, call, request, answer.status))
        if server is None:
            self._answers.refuse(request, answer, now)
        else:
            self._relay.answer(server, answer.status, now, answer.lines(request.message), answer.start[12:].decode())

    def _note_leg(self, call: Call, now: float, *, known: bool) -> None:
        """A call that was told to go on reaches the customer whose number it calls, though not through us: what that customer forwards
        of it proves itself by that. Its ringing and its end are not seen, so that it counts from now.

        Nothing here shows that it was made at all, so a customer that calls itself proves nothing with a number that is not `known` to be
        its own.
        """
        side = self.routing.side_called(call.called, self.ruleset.directory, call.at, call.trunk.home_area)
        if side is None or (side == side_of(call.trunk) and not known):
            return
        leg = self.correlation.begin(call, (side,), self.wall_offset)
        if leg is not None:
            leg.over(now)
