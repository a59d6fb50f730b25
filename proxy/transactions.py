"""The transaction layer of one worker: server and client transactions in two tables, their timers, and what they send.

Carries out what the tables of `proxy.sip.transaction` ask for. What a response or a time-out means for a call is the business of
`proxy.relay`, which gets them back from `response` and `timer`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from proxy.counters import Counters
from proxy.flow import Flow
from proxy.sip.timers import T1, T2, T4, TRANSACTION, Timers
from proxy.sip.transaction import CLIENT_INVITE, CLIENT_OTHER, SERVER_INVITE, SERVER_OTHER, Action, Event, State, Transaction
from proxy.spread import Spread

if TYPE_CHECKING:
    from proxy.calls import Setup, Within
    from proxy.correlation import Leg
    from proxy.routing import Hop, Target
    from proxy.validate import Request


class Timer(Enum):
    """What a timer entry of a transaction is for; the owner is the transaction."""

    RETRANSMIT = "A, E, G"
    TIMEOUT = "B, F, H"
    LINGER = "D, I, J, K, L, M"
    NO_RESPONSE = "next target"
    RINGING = "C"
    CANCEL_WAIT = "64*T1 after CANCEL"


# an Enum's member as a global of the module: half the price, for each message several times
_CALLING: Final = State.CALLING
_TRYING: Final = State.TRYING
_PROCEEDING: Final = State.PROCEEDING
_ACCEPTED: Final = State.ACCEPTED
_COMPLETED: Final = State.COMPLETED
_PROVISIONAL: Final = Event.PROVISIONAL
_SUCCESS: Final = Event.SUCCESS
_TICK: Final = Event.TIMER_RETRANSMIT
_LINGERED: Final = Event.TIMER_LINGER
_TERMINATED: Final = State.TERMINATED
_TO_LINGER: Final = Action.LINGER
LINGER: Final = Timer.LINGER
RETRANSMIT: Final = Timer.RETRANSMIT
_TIMEOUT: Final = Timer.TIMEOUT


class ServerTransaction(Transaction):
    """A request that we answer or have answered (its response context, RFC 3261 §16.7, for what is forwarded).

    `request` and `last` are dropped when they can no longer be needed. `targets` are those still to be tried; `client` the one being tried;
    `clients` those tried before it; `rang` says that a 101-199 went upstream; `leg` is told of the final response; `own_from` is the
    sender's From line where the request went on with another; `told` what the sender is told in Reason of a call that goes on;
    `setup` is the call that an initial INVITE begins, `within` the one that a request inside a dialog belongs to.
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
        self.state = _PROCEEDING if invite else _TRYING
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
        self.state = _CALLING if invite else _TRYING
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
    """Tables, timers and sends of one worker. `unanswered`: INVITEs in `servers` without a final response."""

    __slots__ = ("clients", "counters", "sends", "servers", "timers", "unanswered")

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.servers: Spread[ServerTransaction] = Spread()
        self.clients: Spread[ClientTransaction] = Spread()
        self.unanswered = 0
        self.timers = Timers()
        self.sends: list[tuple[Flow, bytes]] = []

    # server side

    def open(self, server: ServerTransaction) -> None:
        """Begin with a server transaction."""
        self.servers.put(server.key, server)
        if server.invite:
            self.unanswered += 1

    def respond(self, server: ServerTransaction, event: Event, data: bytes, now: float) -> bool:
        """Send a response in a server transaction; False where its state no longer takes one."""
        actions = server.fire(event)
        if not actions:
            return False
        flow = server.flow
        self.sends.append((flow, data))
        if event is _PROVISIONAL:
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
        if state is _ACCEPTED:
            server.last = b""  # 2xx to INVITE are sent again by the callee, end to end
            if _TO_LINGER in actions:
                self.timers.start(now, TRANSACTION, LINGER, server)
        elif state is _COMPLETED and _TO_LINGER in actions:
            server.last = data
            reliable = flow.listener.transport != "udp"
            if not server.invite:
                if reliable:
                    self.end_server(server)
                else:
                    self.timers.start(now, TRANSACTION, LINGER, server)
            elif reliable:
                self.timers.start(now, TRANSACTION, _TIMEOUT, server)
            else:
                self.timers.start(now, T1, RETRANSMIT, server)
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
                self.timers.start(now, T4, Timer.LINGER, server)
            else:
                self.end_server(server)

    def end_server(self, server: ServerTransaction) -> None:
        """Forget a server transaction."""
        server.state = State.TERMINATED
        self.servers.remove(server.key, server)
        if server.invite and server.request is not None:
            self.unanswered -= 1
        server.request = server.targets = server.render = None
        server.client = server.clients = None
        server.last = b""

    # client side

    def send_request(self, client: ClientTransaction, now: float) -> None:
        """Start a client transaction: into the table, onto the wire, timers running."""
        self.clients.put(client.key, client)
        self.sends.append((client.flow, client.data))
        if client.flow.listener.transport == "udp":
            self.timers.start(now, T1, RETRANSMIT, client)  # timers B and F start with its first tick, if nothing was heard by then
        else:
            self.timers.start(now, TRANSACTION, _TIMEOUT, client)

    def response(self, client: ClientTransaction, event: Event, now: float) -> tuple[Action, ...]:
        """A response for a client transaction; what is to be done (PASS_ON, ACKNOWLEDGE) is returned, lingering is arranged."""
        actions = client.fire(event)
        if event is not _PROVISIONAL and _TO_LINGER in actions:
            if client.method == b"INVITE":
                if event is _SUCCESS or client.flow.listener.transport == "udp":
                    self.timers.start(now, TRANSACTION, LINGER, client)
                else:
                    self.end_client(client)
            elif client.flow.listener.transport == "udp":
                client.data = b""
                self.timers.start(now, T4, LINGER, client)
            else:
                self.end_client(client)
        return actions

    def end_client(self, client: ClientTransaction) -> None:
        """Forget a client transaction."""
        client.state = State.TERMINATED
        self.clients.remove(client.key, client)
        client.data = b""
        client.server = None

    def timer(self, kind: Timer, owner: Transaction, now: float) -> bool:
        """A timer of the tables; True where a client transaction timed out and its user must hear of it."""
        if isinstance(owner, ServerTransaction):
            self._server_timer(kind, owner, now)
            return False
        assert isinstance(owner, ClientTransaction)
        if kind is RETRANSMIT:
            if owner.fire(_TICK):
                if owner.interval == T1:  # timer B or F: 64*T1 from the start, of which T1 is over
                    self.timers.start(now, _AFTER_FIRST, _TIMEOUT, owner)
                if not owner.abandoned:
                    self.sends.append((owner.flow, owner.data))
                    self.counters.retransmissions_out += 1
                    slow = owner.state is State.PROCEEDING  # only non-INVITE goes on then
                    owner.interval = owner.interval * 2 if owner.method == b"INVITE" else T2 if slow else min(owner.interval * 2, T2)
                    self.timers.start(now, owner.interval, RETRANSMIT, owner)
        elif kind is _TIMEOUT:
            return bool(owner.fire(Event.TIMER_TIMEOUT))
        elif kind is LINGER and owner.fire(_LINGERED) == () and owner.state is _TERMINATED:
            self.end_client(owner)
        return False

    def _server_timer(self, kind: Timer, server: ServerTransaction, now: float) -> None:
        if kind is RETRANSMIT:
            if server.fire(_TICK):
                self.sends.append((server.flow, server.last))
                self.counters.retransmissions_out += 1
                if server.interval == T1:
                    self.timers.start(now, _AFTER_FIRST, _TIMEOUT, server)
                server.interval = min(server.interval * 2, T2)
                self.timers.start(now, server.interval, RETRANSMIT, server)
            return
        server.fire(Event.TIMER_TIMEOUT if kind is _TIMEOUT else _LINGERED)
        if server.state is _TERMINATED:
            self.end_server(server)
