"""Requests inside a dialog: our own Route taken off, the dialog token checked, the next destination found (RFC 3261 §16.4, §16.5, §16.12).

No dialog state is kept: what is needed stands in the token that Record-Route carried.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from proxy.flow import Flow
from proxy.routing import Routing
from proxy.sip.grammar import name_addr, param
from proxy.sip.message import REPEATED, SipMessage, mark
from proxy.sip.uri import Uri, parse_uri
from proxy.token import PARAM, DialogToken, Secret
from proxy.validate import Request
from rules.call import Trunk

_ROUTE: Final = mark(b"route")
_OURS_AT_MOST: Final = 8
"""Record-Route names us once, or twice where the call changed listeners, and again for each time that it came back to us (a spiral)."""
_PLACES: Final = 8192
_REMEMBERED: Final = 256
"""Destinations that are remembered: how many, and how long their URIs may be."""


class Onward:
    """Where a request inside a dialog goes: `uri` names the destination as written, `routes` is what is left of the route set, joined,
    for the loop hash; `more` are the tokens of further passages of the call through us.
    """

    __slots__ = ("more", "routes", "token", "uri")

    def __init__(self, token: DialogToken, uri: bytes, routes: bytes, more: tuple[DialogToken, ...] = ()) -> None:
        self.token = token
        self.more = more
        self.uri = uri
        self.routes = routes


def route_onward(request: Request, routing: Routing, secret: Secret) -> Onward | None:
    """Check a request with a To tag against its dialog token and take our Routes off it; None where no valid token is on it.

    Our Routes that follow one another are all taken off at once, each token checked: a call that spiralled through us has several, and the
    first is that of the passage by which the request came. Handles strict routers on both sides: one before us that put our Record-Route
    URI into the Request-URI, and one behind us that wants its own there. ParseError for Route or Request-URI values that are not valid.
    """
    message = request.message
    if message.marks & _ROUTE and not message.marks & REPEATED:
        at = message.place(b"route")
        raw = routing.own_route(message.line_at(at))  # the ordinary case: one Route, just as Record-Route had it
        if raw is not None and not routing.is_own(request.uri.host, request.uri.port):
            token = secret.check_dialog(raw, request.call_id, request.from_tag, request.to_tag)
            message.replace_line(at, None)
            return None if token is None else Onward(token, message.uri, b"")
    return _route_onward(request, routing, secret)


def _route_onward(request: Request, routing: Routing, secret: Secret) -> Onward | None:
    message = request.message
    values = message.all(b"route") if b"route" in message.first_line else []
    uris = [name_addr(value, "Route")[1] for value in values]
    target = message.uri
    token: DialogToken | None = None
    checked = request.uri.param(PARAM) if routing.is_own(request.uri.host, request.uri.port) else None
    if checked is not None:
        token = secret.check_dialog(checked, request.call_id, request.from_tag, request.to_tag)
        if token is None:
            return None
        if uris:  # §16.4: a strict router sent our URI as Request-URI and the true one as the last Route
            target = uris.pop()
            values.pop()
            parse_uri(target)
            message.set_uri(target)
    more: tuple[DialogToken, ...] = ()
    taken = 0
    while taken < len(uris) and taken < _OURS_AT_MOST:
        own = parse_uri(uris[taken], "Route")
        if not routing.is_own(own.host, own.port):
            break
        found = own.param(PARAM)
        if found is not None and found != checked:  # one without a token is an outbound proxy setting: it proves nothing and does no harm
            passage = secret.check_dialog(found, request.call_id, request.from_tag, request.to_tag)
            if passage is None:
                return None
            if token is None:
                token = passage
            elif passage.key != token.key:
                more = (*more, passage)
            checked = found
        taken += 1
    if token is None:
        return None
    rest = uris[taken:]
    if rest and parse_uri(rest[0], "Route").param(b"lr") is None:
        # §16.6 step 6: a strict router wants itself as Request-URI, and the true one last in Route
        message.remove(b"route")
        message.insert_top(b"Route: " + b", ".join([b"<" + uri + b">" for uri in (*rest[1:], target)]))
        message.set_uri(rest[0])
    elif target is not message.uri:
        message.remove(b"route")
        if rest:
            message.insert_top(b"Route: " + b", ".join(values[taken:]))
    elif taken:
        message.remove_values(b"route", taken)
    return Onward(token, rest[0] if rest else target, b",".join(rest), more)


def destination(uri: bytes, near: Flow, routing: Routing, token: DialogToken) -> Flow | None:
    """The flow to what `uri` names: an IP address as it stands; for a host name the configured address of that side of the call.

    None where there is no way there: a name without a configured address, a transport without a listener, a multicast address, or
    ourselves: our own addresses would loop, and what else runs on our hosts is nobody's business (but for peers configured there).
    ParseError for a URI that is none.
    """
    key = (uri, near.listener.index)
    flow = routing.places.get(key)
    if flow is not None:
        return flow
    flow = _place(parse_uri(uri), near, routing, token)
    if flow is not None and len(uri) < _REMEMBERED and flow.address in uri.decode("latin-1"):
        if len(routing.places) >= _PLACES:
            routing.places.clear()
        routing.places[key] = flow
    return flow


def _place(uri: Uri, near: Flow, routing: Routing, token: DialogToken) -> Flow | None:
    if uri.scheme != b"sip":  # a tel URI names no place, and a sips URI one that this version cannot speak to
        return _configured(routing, token)
    transport = (uri.param(b"transport") or b"udp").decode("latin-1").lower()
    host = (uri.param(b"maddr") or uri.host).decode("ascii", "replace").strip("[]")
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return _configured(routing, token)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped  # or ::ffff:127.0.0.1 would lead into our own host by another name
    address = str(parsed)  # one way to write it, or an address of ours written another way would pass for a stranger's
    port = uri.port or 5060
    if parsed.is_unspecified or parsed.is_multicast or routing.is_own(address.encode(), port) or not routing.may_reach(parsed, port):
        return None
    listener = routing.listener_for(transport, address, near.listener)
    if listener is None:
        return None
    return Flow(listener, address, port)


def _configured(routing: Routing, token: DialogToken) -> Flow | None:
    """The configured address of the side that a request runs to."""
    if token.from_caller:
        hop = routing.hop_codes.get(token.egress)
        return hop.order()[0].flow if hop is not None else None
    trunk = routing.trunk_codes.get(token.ingress)
    return routing.way_back(trunk) if trunk is not None else None


def recorded(response: SipMessage, routing: Routing, secret: Secret) -> DialogToken | None:
    """The token of the initial INVITE that a response answers, out of our Record-Route in it; None where there is none that is valid."""
    _, _, tail = name_addr(response.first(b"from") or b"", "From")
    tag = param(tail, b"tag", "From") or b""
    for value in response.all(b"record-route"):
        uri = parse_uri(name_addr(value, "Record-Route")[1], "Record-Route")
        found = uri.param(PARAM) if routing.is_own(uri.host, uri.port) else None
        if found is not None:
            token = secret.check_dialog(found, response.first(b"call-id") or b"", tag, b"")
            return token if token is not None and token.from_caller else None
    return None


def customer_side(routing: Routing, token: DialogToken) -> Trunk | None:
    """The trunk whose customer a request inside a dialog runs to; None toward our own network or a peer."""
    if not token.from_caller:
        return routing.trunk_codes.get(token.ingress)
    hop = routing.hop_codes.get(token.egress)
    return routing.customer_of(hop) if hop is not None else None


def is_target_refresh(method: bytes) -> bool:
    """Whether a request inside a dialog may present a new identity to the other side (RFC 3261 §12.2, RFC 3311, RFC 4916)."""
    return method in (b"INVITE", b"UPDATE")
