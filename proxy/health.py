"""Whether next hops are there: OPTIONS pings (RFC 3261 §11 as keep-alive), sent and judged inside the sans-IO core."""

from __future__ import annotations

from proxy.forward import Branches, build_options
from proxy.routing import Hop, Routing, Target
from proxy.token import BRANCH
from proxy.transactions import ClientTransaction, Timer, TransactionLayer

_SILENCE = 2
"""Pings without an answer that make a target down."""


class Ping:
    """Owner of a ping timer: one target of one next hop, under one configuration."""

    __slots__ = ("hop", "routing", "target")

    def __init__(self, routing: Routing, hop: Hop, target: Target) -> None:
        self.routing = routing
        self.hop = hop
        self.target = target


class Health:
    """Pings every target of the next hops that have an `options_interval`. Any answer but 503 means up; two
    pings in a row without an answer, or a 503, mean down.
    """

    __slots__ = ("_branches", "_layer")

    def __init__(self, layer: TransactionLayer, branches: Branches) -> None:
        self._layer = layer
        self._branches = branches

    def start(self, routing: Routing, now: float) -> None:
        """Begin to ping a new configuration's targets."""
        for hop, target in routing.all_targets():
            if hop.options_interval > 0:
                self._layer.timers.start(now, 0.0, Timer.PING, Ping(routing, hop, target))

    def due(self, ping: Ping, routing: Routing, now: float) -> None:
        """Send one ping and arrange for the next; pings of a configuration that is no longer in force end here."""
        if ping.routing is not routing:
            return
        target = ping.target
        target.unanswered += 1
        if target.unanswered > _SILENCE:
            target.up = False
        branch = self._branches.new(b"0")
        data = build_options(target.flow, branch, target.uri.encode(), branch[len(BRANCH) :].replace(b".", b""))
        client = ClientTransaction(branch, b"OPTIONS", data, target.flow, None, now)
        client.target = target
        self._layer.send_request(client, now)
        self._layer.timers.start(now, ping.hop.options_interval, Timer.PING, ping)

    def heard(self, client: ClientTransaction, status: int, now: float) -> None:
        """A ping's outcome: the response's status, 0 when there was none."""
        if client.target is not None and status:
            client.target.up = status != 503
            client.target.unanswered = 0
