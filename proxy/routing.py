"""Who sends from an address, and where a call goes: the operator's trunks and next hops, as tables.

Pure data made from a Config; a reload makes a new one and swaps it in.
"""

from __future__ import annotations

import ipaddress
from typing import Final

import msgspec

from proxy.config import Config, parse_source, parse_target
from proxy.flow import Flow, Listener
from proxy.sip.grammar import BLANK, COMMA, SEMICOLON
from proxy.token import BRANCH, PARAM, TOKEN_SIZE, Secret
from rules.call import Trunk, side_of
from rules.directory import Directory
from rules.numbers import Number


class RoutingError(ValueError):
    """A configuration that cannot be routed by (two ids with one code, a target that no listener can reach)."""


class Target:
    """One address of a next hop: its URI as configured, the flow to it, and whether OPTIONS pings find it up."""

    __slots__ = ("flow", "unanswered", "up", "uri")

    def __init__(self, uri: str, flow: Flow) -> None:
        self.uri = uri
        self.flow = flow
        self.up = True
        self.unanswered = 0


class Hop:
    """A next hop: targets that share its calls in turn, then failover targets in order. Durations in seconds. `sides`: whose it is, as
    `rules.call.side_of` names trunks; none for our own network. `shared`: whether a trunk of several customers is among them.
    """

    __slots__ = ("_turn", "code", "failover", "id", "no_response", "options_interval", "shared", "sides", "sign", "targets", "verstat")

    def __init__(
        self,
        identifier: str,
        code: bytes,
        targets: list[Target],
        failover: list[Target],
        no_response: float,
        options_interval: float,
        *,
        verstat: bool = True,
        sign: bool = False,
    ) -> None:
        self.id = identifier
        self.code = code
        self.targets = targets
        self.failover = failover
        self.no_response = no_response
        self.options_interval = options_interval
        self.sides: tuple[str, ...] = ()
        self.shared = False
        self.verstat = verstat
        self.sign = sign
        self._turn = 0

    def order(self) -> list[Target]:
        """The targets to try for the next call, best first: those that are up before those that are not, which are tried last rather
        than never.
        """
        if len(self.targets) == 1:
            wanted = self.targets + self.failover if self.failover else self.targets
        else:
            self._turn = turn = (self._turn + 1) % len(self.targets)
            wanted = self.targets[turn:] + self.targets[:turn] + self.failover
        if len(wanted) == 1:
            return wanted
        return [target for target in wanted if target.up] + [target for target in wanted if not target.up]


class Peer:
    """What is known of one remote address: the trunk it sends calls on, whether it is one of our next hops' targets.

    `key` is the address as it stands in transaction keys; `refuse_key` what its refusals are counted by when it is unknown (an IPv6 /64).
    """

    __slots__ = ("code", "hop_codes", "key", "known", "refuse_key", "routing", "trunk")

    def __init__(self, routing: Routing, address: str, trunk: Trunk | None, hop_codes: tuple[bytes, ...]) -> None:
        self.routing = routing
        self.trunk = trunk
        self.code = routing.secret.id_code("trunk " + trunk.id) if trunk is not None else b""
        self.hop_codes = hop_codes
        self.known = trunk is not None or bool(hop_codes)
        self.key = address.encode()
        self.refuse_key = address
        if ":" in address and not self.known:
            self.refuse_key = str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))


class Routing:
    """The tables of one configuration."""

    def __init__(self, config: Config, listeners: list[Listener], secret: Secret) -> None:
        """RoutingError when two ids share a code or a target fits no listener."""
        self.secret = secret
        self.listeners = listeners
        self.trunks: Final = {trunk.id: trunk for trunk in config.trunk}
        self.trunk_codes: Final[dict[bytes, Trunk]] = {}
        self.hops: Final[dict[str, Hop]] = {}
        self.hop_codes: Final[dict[bytes, Hop]] = {}
        self._by_port: dict[tuple[int, int, int], dict[int, Trunk]] = {}
        self._hosts: dict[str, tuple[str, int]] = {}
        self._levels: list[tuple[int, int, int]] = []
        self._targets: dict[tuple[str, int], tuple[bytes, ...]] = {}
        for trunk in config.trunk:
            code = secret.id_code("trunk " + trunk.id)
            if code in self.trunk_codes:
                raise RoutingError(f"trunks {trunk.id!r} and {self.trunk_codes[code].id!r} share an id code; rename one")
            self.trunk_codes[code] = trunk
            for text in trunk.sources:
                network, port = parse_source(text)
                level = (network.version, port or 0, network.prefixlen)
                self._by_port.setdefault(level, {})[int(network.network_address)] = trunk
                if len(trunk.sources) == 1 and network.num_addresses == 1:
                    self._hosts[trunk.id] = (str(network.network_address), port or 5060)
        self._levels = sorted(self._by_port, key=lambda level: (level[1] == 0, -level[2]))
        for hop in config.next_hop:
            code = secret.id_code("next hop " + hop.id)
            if code in self.hop_codes:
                raise RoutingError(f"next hops {hop.id!r} and {self.hop_codes[code].id!r} share an id code; rename one")
            targets = [Target(uri, self._flow_to(uri)) for uri in hop.targets]
            failover = [Target(uri, self._flow_to(uri)) for uri in hop.failover]
            times = (float(hop.no_response), float(hop.options_interval))
            made = Hop(hop.id, code, targets, failover, *times, verstat=hop.verstat, sign=hop.sign)
            self.hops[hop.id] = self.hop_codes[code] = made
            for target in (*targets, *failover):
                place = (target.flow.address, target.flow.port)
                self._targets[place] = (*self._targets.get(place, ()), code)
        headers = {trunk.customer_header.lower().encode() for trunk in config.trunk if trunk.customer_header is not None}
        self.internal: Final = tuple(sorted(headers))
        """Header fields in which a trunk says whose call it is: for this node, and for nobody behind it."""
        self._target_hosts = {address for address, _ in self._targets}
        self._customers: dict[str, Trunk] = {}
        for trunk in config.trunk:
            if trunk.deliver is not None:
                self._customers.setdefault(trunk.deliver, trunk)
        for made in self.hops.values():
            made.sides = self._sides(made)
        self.own: Final = {(one.host.encode(), port) for one in listeners for port in (one.port, *config.own_ports(one))}
        self._own_hosts = {listener.host for listener in listeners}
        self._on_loopback = any(ipaddress.ip_address(host).is_loopback for host in self._own_hosts)
        self._admin = config.admin.bound if config.admin is not None else None
        self._admin_anywhere = self._admin is not None and ipaddress.ip_address(self._admin[0]).is_unspecified
        self.places: Final[dict[tuple[bytes, int], Flow]] = {}
        """Destinations that URIs inside dialogs named (see `proxy.dialogs.destination`)."""
        self._own_routes = [(b"Route: <" + listener.uri + b";lr;" + PARAM + b"=") for listener in listeners]
        self._own_vias = tuple(listener.via[5:] + b";branch=" + BRANCH for listener in listeners)

    def _sides(self, hop: Hop) -> tuple[str, ...]:
        """Who gets the calls of a next hop: the trunks that name it as their `deliver`, and those that its targets' addresses send on.

        Where several customers share one of these, it depends on who is called: see `sides_for`.
        """
        trunks = [trunk for trunk in self.trunks.values() if trunk.deliver == hop.id]
        flows = [target.flow for target in (*hop.targets, *hop.failover)]
        trunks += [trunk for flow in flows if (trunk := self.resolve(flow.address, flow.port).trunk) is not None]
        hop.shared = any(trunk.customers for trunk in trunks)
        return tuple(dict.fromkeys(side for trunk in trunks if not trunk.customers and (side := side_of(trunk)) is not None))

    def sides_for(self, hop: Hop, called: Number, directory: Directory, at: float, home: str | None) -> tuple[str, ...]:
        """Who gets a call to this number over a next hop: the customer whose segment was called, where customers share the hop."""
        if not hop.shared:
            return hop.sides
        side = self.side_called(called, directory, at, home, shared=True)
        return hop.sides if side is None or side in hop.sides else (*hop.sides, side)

    def side_called(self, called: Number, directory: Directory, at: float, home: str | None, *, shared: bool = False) -> str | None:
        """The customer whose segment a called number is in, as `Legs` knows it; None for a number of nobody's. `home` is the home area of
        the trunk that calls; `shared`: only over trunks that several customers share.
        """
        segment = directory.inbound(called, at, home)
        if segment is None:
            return None
        for name in directory.trunks_of(segment):
            trunk = self.trunks.get(name)
            if trunk is not None and (trunk.customers or not shared):
                return side_of(msgspec.structs.replace(trunk, customer=segment.customer) if trunk.customers else trunk)
        return None

    def _flow_to(self, uri: str) -> Flow:
        target = parse_target(uri)
        listener = self.listener_for(target.transport, target.host, None)
        if listener is None:
            raise RoutingError(f"no listener can reach {uri}")
        return Flow(listener, target.host, target.port)

    def listener_for(self, transport: str, address: str, near: Listener | None) -> Listener | None:
        """The listener to send from: of this transport and address family, `near` itself if it fits, its host if there is one."""
        ipv6 = ":" in address
        if near is not None and near.transport == transport and near.ipv6 == ipv6:
            return near
        fitting = [listener for listener in self.listeners if listener.transport == transport and listener.ipv6 == ipv6]
        if near is not None:
            for listener in fitting:
                if listener.host == near.host:
                    return listener
        return fitting[0] if fitting else None

    def resolve(self, address: str, port: int) -> Peer:
        """What is known of an address: its most specific trunk (a port before none, then the longest prefix) and the next hops it is a
        target of.
        """
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        value = int(parsed)
        trunk: Trunk | None = None
        for version, wanted, length in self._levels:
            if version == parsed.version and (not wanted or wanted == port):
                found = self._by_port[version, wanted, length].get(
                    value >> (parsed.max_prefixlen - length) << (parsed.max_prefixlen - length)
                )
                if found is not None:
                    trunk = found
                    break
        codes = self._targets.get((address, port), ())
        if not codes and address in self._target_hosts:  # a next hop may send requests from another port than the one it listens on
            codes = tuple(code for (host, _), several in self._targets.items() if host == address for code in several)
        return Peer(self, address, trunk, codes)

    def way_back(self, trunk: Trunk) -> Flow | None:
        """Where a trunk's own side can be reached as configured: its `deliver`, or the one address it may send from; None for others."""
        if trunk.deliver is not None:
            return self.hops[trunk.deliver].order()[0].flow
        place = self._hosts.get(trunk.id)
        if place is None:
            return None
        listener = self.listener_for("udp", place[0], None) or self.listener_for("tcp", place[0], None)
        return Flow(listener, *place) if listener is not None else None

    def may_reach(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        """Whether a request inside a dialog may be sent there: anywhere but to other programs of this host, the admin pages above all."""
        text = str(address)
        if self._admin is not None and port == self._admin[1] and (text == self._admin[0] or self._admin_anywhere):
            return False
        if text in self._own_hosts or (address.is_loopback and not self._on_loopback):
            return self.resolve(text, port).known
        return True

    def is_own(self, host: bytes, port: int | None) -> bool:
        """Whether a URI's or Via's host and port name one of our listeners."""
        return (host, port or 5060) in self.own

    def own_route(self, line: bytes) -> bytes | None:
        """The dialog token of a Route line that is one of our Record-Routes to the letter; None for any other, which needs to be parsed."""
        for prefix in self._own_routes:
            if line.startswith(prefix):
                own = len(line) == len(prefix) + TOKEN_SIZE + 1 and line[-1] == 0x3E
                return line[len(prefix) : -1] if own else None
        return None

    def own_branch(self, value: bytes) -> bytes | None:
        """The branch of a Via value that is one of ours to the letter; None for any other, which needs to be parsed."""
        if value.startswith(self._own_vias):
            branch = value[value.find(b"=") + 1 :]
            if SEMICOLON not in branch and COMMA not in branch and BLANK not in branch:
                return branch
        return None

    def hop_for(self, trunk: Trunk, called: Number, directory: Directory, at: float, *, emergency: bool) -> Hop | None:
        """Where an accepted call goes: the ingress trunk's next hop; from `core`, the `deliver` of the trunk whose segment holds the
        called number, of the first in sipwarden.toml that has one where the segment is of every trunk of its customer.

        None where there is nowhere (404). An emergency call goes to its own trunk's next hop only.
        """
        if trunk.kind == "core" and not emergency:
            segment = directory.inbound(called, at, trunk.home_area)
            for name in directory.trunks_of(segment) if segment is not None else ():
                owner = self.trunks.get(name)
                if owner is not None and owner.deliver is not None:
                    return self.hops.get(owner.deliver)
        return self.hops.get(trunk.next_hop) if trunk.next_hop is not None else None

    def customer_of(self, hop: Hop) -> Trunk | None:
        """The trunk whose customer gets the calls of this next hop (its `deliver`)."""
        return self._customers.get(hop.id)

    def all_targets(self) -> list[tuple[Hop, Target]]:
        """Every target with its next hop, failover ones included."""
        return [(hop, target) for hop in self.hops.values() for target in (*hop.targets, *hop.failover)]
