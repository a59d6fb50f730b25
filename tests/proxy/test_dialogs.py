"""Route sets and destinations of requests inside dialogs, one at a time (flows show them in calls)."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.dialogs import customer_side, destination, route_onward
from proxy.routing import Routing
from proxy.sip.message import SipMessage
from proxy.token import PARAM, DialogToken, Secret
from proxy.validate import Request
from tests.proxy.wire import CONFIG, SECRET, Wire, make_proxy

NODE = Secret(SECRET)
IDS = (NODE.id_code("trunk acme"), NODE.id_code("next hop switch"))
GOOD = NODE.dialog_token(b"c", b"1", *IDS, b"sip:+8675583123456@a", (), b"sip:b@b").decode()
SPIRAL = NODE.dialog_token(b"c", b"1", NODE.id_code("trunk inside"), NODE.id_code("next hop acme-pbx"), b"sip:x@a", (), b"sip:b@b").decode()
OTHER = NODE.dialog_token(b"other call", b"1", *IDS, b"sip:+8675583123456@a", (), b"sip:b@b").decode()
US = "sip:127.0.0.1:5060;lr;" + PARAM.decode()
US_TCP = "sip:127.0.0.1:5060;transport=tcp;lr;" + PARAM.decode()


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    return Wire(make_proxy(tmp_path_factory.mktemp("dialogs")))


@pytest.fixture
def routing(wire: Wire) -> Routing:
    return wire.proxy.routing


def request(wire: Wire, uri: str, routes: list[str], from_tag: str = "1", to_tag: str = "2", method: str = "BYE") -> Request:
    lines = [f"{method} {uri} SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1", f"From: <sip:a@b>;tag={from_tag}"]
    lines += [f"To: <sip:b@b>;tag={to_tag}", "Call-ID: c", f"CSeq: 1 {method}", *[f"Route: {route}" for route in routes], "l: 0", "", ""]
    return Request(SipMessage.parse("\r\n".join(lines).encode()), wire.flow_of("pbx"), b"127.0.0.2")


FAR = "sip:b@127.0.0.5:5080"


@pytest.mark.parametrize(
    ("uri", "routes", "to", "left", "sent_uri"),
    [
        (FAR, [f"<{US}={GOOD}>"], FAR, [], FAR),
        (FAR, [f"<{US_TCP}={GOOD}>, <{US}={GOOD}>"], FAR, [], FAR),  # two listeners, one line
        (FAR, [f"<{US_TCP}={GOOD}>", f"<{US}={GOOD}>"], FAR, [], FAR),
        (FAR, [f"<{US}={GOOD}>", "<sip:x@127.0.0.9;lr>;a=b"], "sip:x@127.0.0.9;lr", ["<sip:x@127.0.0.9;lr>;a=b"], FAR),
        (FAR, [f'"us" <{US}={GOOD}>;x, <sip:127.0.0.9;lr>', "<sip:c;lr>"], "sip:127.0.0.9;lr", ["<sip:127.0.0.9;lr>", "<sip:c;lr>"], FAR),
        (FAR, [f"<{US}={GOOD}>", f"<{US}={SPIRAL}>"], FAR, [], FAR),  # a spiral with nobody in between
        (FAR, [f"<{US_TCP}={GOOD}>", f"<{US}={GOOD}>", f"<{US}={SPIRAL}>", f"<{US_TCP}={SPIRAL}>"], FAR, [], FAR),
        (FAR, ["<sip:127.0.0.1;lr>", f"<{US}={GOOD}>"], FAR, [], FAR),  # an outbound proxy setting
        (f"{US}={GOOD}", [f"<{FAR}>"], FAR, [], FAR),  # a strict router before us
        (f"{US}={GOOD}", ["<sip:127.0.0.9;lr>", f"<{FAR}>"], "sip:127.0.0.9;lr", ["<sip:127.0.0.9;lr>"], FAR),
        (f"{US_TCP}={GOOD}", [f"<{US}={GOOD}>", f"<{FAR}>"], FAR, [], FAR),
        (f"{US}={GOOD}", [], f"{US}={GOOD}", [], f"{US}={GOOD}"),  # to ourselves: has no destination
        (FAR, [f"<{US}={GOOD}>", "<sip:127.0.0.9>"], "sip:127.0.0.9", [f"<{FAR}>"], "sip:127.0.0.9"),  # a strict router behind us
        (FAR, [f"<{US}={GOOD}>", "<sip:127.0.0.9>", "<sip:c;lr>"], "sip:127.0.0.9", ["<sip:c;lr>", f"<{FAR}>"], "sip:127.0.0.9"),
        (
            f"{US}={GOOD}",
            ["<sip:127.0.0.9>", "<sip:c;lr>", f"<{FAR}>"],
            "sip:127.0.0.9",
            ["<sip:c;lr>", f"<{FAR}>"],
            "sip:127.0.0.9",
        ),  # both
    ],
)
def test_our_routes_are_taken_off(wire: Wire, uri: str, routes: list[str], to: str, left: list[str], sent_uri: str) -> None:
    made = request(wire, uri, routes)
    onward = route_onward(made, wire.proxy.routing, NODE)
    assert onward is not None
    assert onward.uri.decode() == to
    assert onward.token.from_caller and onward.token.ingress == IDS[0]
    sent = SipMessage.parse(made.message.to_bytes())
    assert [value.decode() for value in sent.all(b"route")] == left
    assert sent.uri.decode() == sent_uri


@pytest.mark.parametrize(
    ("uri", "routes"),
    [
        (FAR, []),
        (FAR, ["<sip:127.0.0.1;lr>"]),
        (FAR, [f"<{US}={OTHER}>"]),
        (FAR, [f"<{US}={GOOD[:-1]}>"]),
        (FAR, [f"<{US}={GOOD}>", f"<{US}={OTHER}>"]),
        (FAR, [f"<{US}={OTHER}>", f"<{US}={GOOD}>"]),
        (FAR, ["<sip:127.0.0.9;lr>", f"<{US}={GOOD}>"]),  # it came past somebody who should have got it first
        (FAR, [f"<sip:127.0.0.1:5061;lr;sw={GOOD}>"]),
        (FAR, [f"<sip:127.0.0.10:5060;lr;sw={GOOD}>"]),
        (f"{US}={OTHER}", [f"<{US}={GOOD}>", f"<{FAR}>"]),
        (f"sip:127.0.0.9;sw={GOOD}", []),
        ("sip:127.0.0.1:5060;lr", [f"<{FAR};sw={GOOD}>"]),
    ],
)
def test_no_token_no_way(wire: Wire, uri: str, routes: list[str]) -> None:
    assert route_onward(request(wire, uri, routes), wire.proxy.routing, NODE) is None


def test_either_side_may_write_and_nobody_else(wire: Wire) -> None:
    routing, routes = wire.proxy.routing, [f"<{US}={GOOD}>"]
    callee = route_onward(request(wire, FAR, routes, "2", "1"), routing, NODE)
    assert callee is not None and not callee.token.from_caller
    assert route_onward(request(wire, FAR, routes, "2", "3"), routing, NODE) is None


def token(from_caller: bool, raw: str = GOOD) -> DialogToken:
    return DialogToken(raw.encode(), from_caller)


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sip:b@127.0.0.9", ("udp", "127.0.0.9", 5060)),
        ("sip:b@127.0.0.9:5999;transport=TCP", ("tcp", "127.0.0.9", 5999)),
        ("sip:b@[::9]:7", ("udp", "::9", 7)),
        ("sip:b@[0:0::9]", ("udp", "::9", 5060)),
        ("sip:b@127.0.0.1:5061", None),  # another program on our own host
        ("sip:b@127.0.0.9;maddr=127.0.0.10", ("udp", "127.0.0.10", 5060)),
        ("sip:b@host.example", ("udp", "127.0.0.5", 5080)),  # where the configuration says that side is
        ("sip:b@127.0.0.9.example", ("udp", "127.0.0.5", 5080)),
        ("tel:+862161234567", ("udp", "127.0.0.5", 5080)),
        ("sip:b@127.0.0.1", None),
        ("sip:127.0.0.1:5060;transport=tcp", None),
        ("sip:b@[::1]", None),
        ("sip:b@[::ffff:127.0.0.1]:9090;transport=tcp", None),  # our own host, written as an IPv6 address
        ("sip:b@[0000:0::0:1]:5060", None),
        ("sip:b@0.0.0.0", None),
        ("sip:b@[::]", None),
        ("sip:b@239.1.2.3", None),
        ("sip:b@[ff02::1]", None),
        ("sip:b@127.0.0.9;transport=sctp", None),
        ("sips:b@127.0.0.9", ("udp", "127.0.0.5", 5080)),
    ],
)
def test_destinations(wire: Wire, routing: Routing, uri: str, place: tuple[str, str, int] | None) -> None:
    for _ in range(2):  # the second time remembered
        flow = destination(uri.encode(), wire.flow_of("pbx"), routing, token(True))
        assert (None if flow is None else (flow.listener.transport, flow.address, flow.port)) == place


@pytest.mark.parametrize("listen", ["127.0.0.9:9090", "0.0.0.0:9090", "[::]:9090"])
def test_the_admin_pages_are_no_destination(tmp_path: Path, listen: str) -> None:
    wire = Wire(make_proxy(tmp_path, CONFIG + f'\n[admin]\nlisten = "{listen}"\n'))
    for port, reached in ((9090, False), (9091, True)):
        flow = destination(b"sip:b@127.0.0.9:%d;transport=tcp" % port, wire.flow_of("pbx"), wire.proxy.routing, token(True))
        assert (flow is not None) is reached


def test_what_a_name_means_is_not_remembered_for_another_call(wire: Wire, routing: Routing) -> None:
    name = b"sip:b@host.example"
    for raw, from_caller, address in [(GOOD, True, "127.0.0.5"), (GOOD, False, "127.0.0.2"), (SPIRAL, True, "127.0.0.2")]:
        flow = destination(name, wire.flow_of("pbx"), routing, token(from_caller, raw))
        assert flow is not None and flow.address == address
    back = destination(name, wire.flow_of("pbx"), routing, token(False, SPIRAL))
    assert back is not None and back.address == "127.0.0.5"  # core has no `deliver`, but sends from one address


def test_destinations_are_remembered_within_a_bound(wire: Wire, routing: Routing) -> None:
    for number in range(20_000):
        destination(b"sip:%d@127.0.0.9" % number, wire.flow_of("pbx"), routing, token(True))
    assert len(routing.places) <= 8192


@pytest.mark.parametrize(
    ("raw", "from_caller", "side"), [(GOOD, True, None), (GOOD, False, "acme"), (SPIRAL, True, "acme"), (SPIRAL, False, "inside")]
)
def test_whose_customer_a_request_runs_to(routing: Routing, raw: str, from_caller: bool, side: str | None) -> None:
    found = customer_side(routing, token(from_caller, raw))
    assert (None if found is None else found.id) == side


def test_a_removed_trunk_has_no_side(tmp_path: Path) -> None:
    cut = CONFIG.replace('"acme"', '"renamed"')
    gone = Wire(make_proxy(tmp_path, cut, "customer,trunk,first,last\nrenamed,renamed,+8675583120000,+8675583129999\n"))
    assert customer_side(gone.proxy.routing, token(False)) is None
    assert destination(b"sip:b@host.example", gone.flow_of("pbx"), gone.proxy.routing, token(False)) is None
