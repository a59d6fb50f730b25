"""Which trunk a captured request came in by: found by its source as the node does it, or as the operator says of a foreign capture."""

from __future__ import annotations

import ipaddress
from typing import Final

from proxy.config import parse_source
from proxy.config.addresses import SourcePattern
from proxy.flow import Flow, Listener
from proxy.routing import Routing
from proxy.sip.message import SipMessage
from rules.call import NO_TRUNK, Trunk

_PLACES: Final = 65_536
"""Addresses that are remembered; then all are forgotten and looked up again."""


class WrongArrival(ValueError):
    """`--trunk` or `--map` that names no trunk, or no address; says what is wrong and what would be right."""


def parse_map(text: str) -> tuple[SourcePattern, str]:
    """`IP=ID`, `IP/LENGTH=ID`, either with a port. Raises WrongArrival."""
    where, equals, identifier = text.partition("=")
    if not equals or not identifier:
        raise WrongArrival(f"{text!r} is no IP=ID; for example 192.0.2.20=acme-sz or 192.0.2.0/24=acme-sz")
    try:
        return parse_source(where), identifier
    except ValueError as error:
        what, _, remedy = str(error).partition(" | ")
        raise WrongArrival(f"{text!r}: {what}; {remedy}") from None


class Arrival:
    """What is known of one source: the flow that its requests come over, and their trunk: NO_TRUNK where none has it, None where its
    requests are none that this node would have received. `own`: it is this node's own address.
    """

    __slots__ = ("flow", "key", "own", "trunk")

    def __init__(self, flow: Flow, trunk: Trunk | None, *, own: bool) -> None:
        self.flow = flow
        self.key = flow.address.encode()
        self.trunk = trunk
        self.own = own


class Arrivals:
    """The sources of a trace, by one configuration.

    By default a source is looked up as the node does it; what the node itself sent is no arrival. With `trunk` every request counts as one
    that came in there. With `mapped` a source belongs to the trunk of the most specific pattern (a port before none, then the longest
    prefix), else to its own trunk, and what belongs to none is no arrival: a capture from elsewhere shows other nodes' calls as well.
    `absent_is_unknown`: a trunk that this configuration lacks is one that it has given up (a candidate), rather than a mistake.
    """

    def __init__(
        self,
        routing: Routing,
        trunk: str | None = None,
        mapped: tuple[tuple[SourcePattern, str], ...] = (),
        *,
        absent_is_unknown: bool = False,
    ) -> None:
        """Raises WrongArrival for a trunk that there is not."""
        self.routing = routing
        self._all = None if trunk is None else self._named(trunk, absent_is_unknown)
        order = sorted(mapped, key=lambda item: (item[0].port is None, -item[0].network.prefixlen))
        self._mapped = [(pattern, self._named(identifier, absent_is_unknown)) for pattern, identifier in order]
        self._known: dict[tuple[str, int, str], Arrival] = {}

    @property
    def all_alike(self) -> bool:
        """Whether every source counts as one trunk's, so that none tells anything."""
        return self._all is not None

    @property
    def told(self) -> bool:
        """Whether the operator says where calls arrive."""
        return self._all is not None or bool(self._mapped)

    def find(self, address: str, port: int, transport: str) -> Arrival:
        """What is known of a source; an address that is none (a trace without addresses) belongs to no trunk."""
        place = (address, port, transport)
        known = self._known.get(place)
        if known is None:
            if len(self._known) >= _PLACES:
                self._known.clear()
            known = self._known[place] = self._resolve(address, port, transport)
        return known

    def sent_by_us(self, arrival: Arrival, message: SipMessage) -> bool:
        """Whether this node sent a request itself: from one of its listeners, or from a port or an address that it does not name (a
        connection of its own, behind a NAT), which its Via tells where no trunk has that address.
        """
        if self._all is not None:
            return False
        if self.routing.is_own(arrival.key, arrival.flow.port):
            return True
        if not arrival.own and arrival.trunk is not NO_TRUNK:
            return False
        at = message.first_line.get(b"via")
        return at is not None and self.routing.own_branch(message.lines[at][5:]) is not None

    def _resolve(self, address: str, port: int, transport: str) -> Arrival:
        near = "udp" if transport == "udp" else "tcp"
        listener = self.routing.listener_for(near, address, None) or Listener(0, near, "::1" if ":" in address else "127.0.0.1", 5060)
        flow = Flow(listener, address, port, connection=0 if near == "udp" else 1)
        own = any(listener.host == address for listener in self.routing.listeners)
        return Arrival(flow, self._trunk(address, port), own=own)

    def _trunk(self, address: str, port: int) -> Trunk | None:
        if self._all is not None:
            return self._all
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return None if self._mapped else NO_TRUNK
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        for pattern, trunk in self._mapped:
            if parsed in pattern.network and pattern.port in (None, port):
                return trunk
        return self.routing.resolve(address, port).trunk or (None if self._mapped else NO_TRUNK)

    def _named(self, identifier: str, absent_is_unknown: bool) -> Trunk:
        trunk = self.routing.trunks.get(identifier)
        if trunk is not None:
            return trunk
        if absent_is_unknown:
            return NO_TRUNK
        raise WrongArrival(f"no trunk is called {identifier!r}; there are: {', '.join(self.routing.trunks) or 'none'}")
