"""The transaction layer of one worker: server and client transactions in two tables, their timers, and what they send.

Carries out what the tables of `proxy.sip.transaction` ask for. What a response or a time-out means for a call is the business of
`proxy.relay`, which gets them back from `response` and `timer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from proxy.counters import Counters
from proxy.flow import Flow
from proxy.sip.timers import T1, T2, T4, TRANSACTION, Timers
from proxy.sip.transaction import CLIENT_INVITE, CLIENT_OTHER, SERVER_INVITE, SERVER_OTHER, Action, Event, State, Transaction
from proxy.spread import Spread

if TYPE_CHECKING:
    from proxy.calls import Setup, Within
    from proxy.correlation import Leg
    from proxy.owners import Owners
    from proxy.routing import Hop, Target
    from proxy.validate import Request


class Timer:
    """What a timer entry is for; the owner is a transaction but for the last three."""

    RETRANSMIT: Final = 0  # A, E, G
    TIMEOUT: Final = 1  # B, F, H
    LINGER: Final = 2  # D, I, J, K, L, M
    NO_RESPONSE: Final = 3  # next target
    RINGING: Final = 4  # C
    CANCEL_WAIT: Final = 5  # 64*T1 after CANCEL
    OVERDUE: Final = 6  # a parked call's look-up never came back; the owner is its ticket
    SWEEP: Final = 7  # calls that are over, and that nobody ended
    PING: Final = 8  # OPTIONS


class ServerTransaction(Transaction):
    """A request that we answer or have answered (its response context, RFC 3261 §16.7, for what is forwarded).

    `request` and `last` are dropped when they can no longer be needed. `targets` are those still to be tried; `client` the one being tried;
    `clients` those tried before it; `rang` says that a 101-199 went upstream; `leg` is told of the final response; `own_from` is the
    sender's From line where the request went on with another; `told` what the sender is told in Reason of a call that goes on;
    `setup` is the call that an initial INVITE begins, `within` the one that a request inside a dialog belongs to; `place` is where other
    workers find the INVITE noted as this one's, 0 where it is not.
    """

    __slots__ = (
        "cancelled",
        "client",
        "clients",
        "flow",
        "hop",
        "interval",
        "invite",
        "last",
        "leg",
        "own_from",
        "parked",
        "place",
        "rang",
        "reasons",
        "render",
        "request",
        "setup",
        "targets",
        "timed_out",
        "told",
        "within",
    )

    def __init__(self, key: bytes, request: Request, flow: Flow) -> None:
        invite = request.method == b"INVITE"
        self.table = SERVER_INVITE if invite else SERVER_OTHER
        self.state = State.PROCEEDING if invite else State.TRYING
        self.key = key
        self.invite = invite
        self.request: Request | None = request
        self.flow = flow
        self.last = b""
        self.interval = T1
        self.own_from: bytes | None = None
        self.client: ClientTransaction | None = None
        self.clients: list[ClientTransaction] | None = None
        self.hop: Hop | None = None
        self.targets: list[Target] | None = None
        self.render: Any = None
        self.rang = False
        self.cancelled = False
        self.timed_out = False
        self.reasons: list[bytes] | None = None
        self.parked = 0
        self.place = 0
        self.leg: Leg | None = None
        self.setup: Setup | None = None
        self.within: Within | None = None
        self.told: bytes | None = None


class ClientTransaction(Transaction):
    """A request that we sent: `key` is our branch (CANCEL has its own key), `data` its bytes while it may be sent again
    (the ACK's, once a failure was acknowledged). `abandoned`: the call went on to another target; only a late answer still matters.
    """

    __slots__ = (
        "abandoned",
        "cancel_sent",
        "cancel_wanted",
        "data",
        "flow",
        "interval",
        "method",
        "ringing_until",
        "server",
        "started",
        "target",
    )

    def __init__(self, key: bytes, method: bytes, data: bytes, flow: Flow, server: ServerTransaction | None, now: float) -> None:
        invite = method == b"INVITE"
        self.table = CLIENT_INVITE if invite else CLIENT_OTHER
        self.state = State.CALLING if invite else State.TRYING
        self.key = key
        self.method = method
        self.data = data
        self.flow = flow
        self.server = server
        self.started = now
        self.interval = T1
        self.ringing_until = 0.0
        self.target: Target | None = None
        self.abandoned = False
        self.cancel_wanted = False
        self.cancel_sent = False


_AFTER_FIRST: Final = TRANSACTION - T1


class TransactionLayer:
    """Tables, timers and sends of one worker. `unanswered`: INVITEs in `servers` without a final response. `owners`: where INVITEs are
    noted for other workers to find, None for the only one.
    """

    __slots__ = (
        "_lingering",
        "_lingering_t4",
        "_timeouts",
        "_unheard",
        "clients",
        "counters",
        "owners",
        "sends",
        "servers",
        "timers",
        "unanswered",
    )

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.owners: Owners | None = None
        self.servers: Spread[ServerTransaction] = Spread()
        self.clients: Spread[ClientTransaction] = Spread()
        self.unanswered = 0
        self.timers = timers = Timers()
        self._unheard = timers.queue(T1, Timer.RETRANSMIT)
        self._timeouts = timers.queue(TRANSACTION, Timer.TIMEOUT)
        self._lingering = timers.queue(TRANSACTION, Timer.LINGER)
        self._lingering_t4 = timers.queue(T4, Timer.LINGER)
        self.sends: list[tuple[Flow, bytes]] = []

    # server side

    def open(self, server: ServerTransaction) -> None:
        """Begin with a server transaction."""
        self.servers.put(server.key, server)
        if server.invite:
            self.unanswered += 1

    def respond(self, server: ServerTransaction, event: int, data: bytes, now: float) -> bool:
        """Send a response in a server transaction; False where its state no longer takes one."""
        actions = server.fire(event)
        if not actions:
            return False
        flow = server.flow
        self.sends.append((flow, data))
        if event == Event.PROVISIONAL:
            server.last = data
            return True
        if server.request is not None:  # the first final response
            server.request = server.render = None
            if server.invite:
                self.unanswered -= 1
        leg = server.leg
        if leg is not None:
            leg.over(now)
            server.leg = None
        state = server.state
        if state == State.ACCEPTED:
            server.last = b""  # 2xx to INVITE are sent again by the callee, end to end
            if actions & Action.LINGER:
                self._lingering.start(now, server)
        elif state == State.COMPLETED and actions & Action.LINGER:
            server.last = data
            reliable = flow.listener.transport != "udp"
            if not server.invite:
                if reliable:
                    self.end_server(server)
                else:
                    self._lingering.start(now, server)
            elif reliable:
                self._timeouts.start(now, server)
            else:
                self._unheard.start(now, server)
        return True

    def again(self, server: ServerTransaction) -> None:
        """A retransmitted request: answer it as before, or absorb it."""
        self.counters.retransmissions_in += 1
        if server.fire(Event.REQUEST) and server.last:
            self.sends.append((server.flow, server.last))
            self.counters.retransmissions_out += 1

    def acknowledged(self, server: ServerTransaction, now: float) -> None:
        """ACK for our or a forwarded failure response (hop by hop)."""
        if server.fire(Event.ACK):
            server.last = b""
            if server.flow.listener.transport == "udp":
                self._lingering_t4.start(now, server)
            else:
                self.end_server(server)

    def end_server(self, server: ServerTransaction) -> None:
        """Forget a server transaction."""
        server.state = State.TERMINATED
        self.servers.remove(server.key, server)
        if server.invite and server.request is not None:
            self.unanswered -= 1
        if server.place and self.owners is not None:
            self.owners.forget(server.place)
            server.place = 0
        server.request = server.targets = server.render = None
        server.client = server.clients = None
        server.last = b""

    # client side

    def send_request(self, client: ClientTransaction, now: float) -> None:
        """Start a client transaction: into the table, onto the wire, timers running."""
        self.clients.put(client.key, client)
        self.sends.append((client.flow, client.data))
        if client.flow.listener.transport == "udp":
            self._unheard.start(now, client)  # timers B and F start with its first tick, if nothing was heard by then
        else:
            self._timeouts.start(now, client)

    def response(self, client: ClientTransaction, event: int, now: float) -> int:
        """A response for a client transaction; what is to be done (PASS_ON, ACKNOWLEDGE) is returned, lingering is arranged."""
        actions = client.fire(event)
        if event != Event.PROVISIONAL and actions & Action.LINGER:
            if client.method == b"INVITE":
                if event == Event.SUCCESS or client.flow.listener.transport == "udp":
                    self._lingering.start(now, client)
                else:
                    self.end_client(client)
            elif client.flow.listener.transport == "udp":
                client.data = b""
                self._lingering_t4.start(now, client)
            else:
                self.end_client(client)
        return actions

    def end_client(self, client: ClientTransaction) -> None:
        """Forget a client transaction."""
        client.state = State.TERMINATED
        self.clients.remove(client.key, client)
        client.data = b""
        client.server = None

    def timer(self, kind: int, owner: Transaction, now: float) -> bool:
        """A timer of the tables; True where a client transaction timed out and its user must hear of it."""
        if isinstance(owner, ServerTransaction):
            self._server_timer(kind, owner, now)
            return False
        assert isinstance(owner, ClientTransaction)
        if kind == Timer.RETRANSMIT:
            if owner.fire(Event.TIMER_RETRANSMIT):
                if owner.interval == T1:  # timer B or F: 64*T1 from the start, of which T1 is over
                    self.timers.start(now, _AFTER_FIRST, Timer.TIMEOUT, owner)
                if not owner.abandoned:
                    self.sends.append((owner.flow, owner.data))
                    self.counters.retransmissions_out += 1
                    slow = owner.state == State.PROCEEDING  # only non-INVITE goes on then
                    owner.interval = owner.interval * 2 if owner.method == b"INVITE" else T2 if slow else min(owner.interval * 2, T2)
                    self.timers.start(now, owner.interval, Timer.RETRANSMIT, owner)
        elif kind == Timer.TIMEOUT:
            return bool(owner.fire(Event.TIMER_TIMEOUT))
        elif kind == Timer.LINGER and not owner.fire(Event.TIMER_LINGER) and owner.state == State.TERMINATED:
            self.end_client(owner)
        return False

    def _server_timer(self, kind: int, server: ServerTransaction, now: float) -> None:
        if kind == Timer.RETRANSMIT:
            if server.fire(Event.TIMER_RETRANSMIT):
                self.sends.append((server.flow, server.last))
                self.counters.retransmissions_out += 1
                if server.interval == T1:
                    self.timers.start(now, _AFTER_FIRST, Timer.TIMEOUT, server)
                server.interval = min(server.interval * 2, T2)
                self.timers.start(now, server.interval, Timer.RETRANSMIT, server)
            return
        server.fire(Event.TIMER_TIMEOUT if kind == Timer.TIMEOUT else Event.TIMER_LINGER)
        if server.state == State.TERMINATED:
            self.end_server(server)
