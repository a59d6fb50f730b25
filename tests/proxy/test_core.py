"""The core's own side: what it never does whatever it is given, other workers' messages, reloads, what it reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.core import Proxy
from proxy.flow import Flow
from proxy.relay import Relay
from proxy.routing import RoutingError
from proxy.sip.message import SipMessage
from rules.call import Call
from rules.verdict import Verdict
from tests.native import interpreted
from tests.proxy.wire import CONFIG, SEGMENTS, Wire, edit_config, load, make_proxy


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    return Wire(make_proxy(tmp_path))


def answered(wire: Wire, caller: str = "pbx", callee: str = "switch") -> None:
    """A call that was answered and acknowledged."""
    wire.ask(caller, "INVITE")
    wire.learnt(caller)
    wire.learnt(callee)
    wire.reply(callee, 200)
    wire.learnt(caller)
    wire.ask(caller, "ACK")
    wire.learnt(callee)


@pytest.mark.parametrize("peer", ["pbx", "switch", "stranger", "pbx-tcp"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\0" * 40,
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKsw0.1.2\r\n\r\n",
        b'SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;x="a, SIP/2.0/UDP b\r\n\r\n',
        b"\r\nSIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKsw0.1.2\r\nCSeq: 1 INVITE\r\n\r\n",
        b"\r\nACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n\r\n",
        b"ACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKx\r\n\r\n",
    ],
)
def test_no_answer_to_what_deserves_none(wire: Wire, peer: str, data: bytes) -> None:
    """Responses, ACKs and rubbish are never answered: two of us would answer each other for ever."""
    wire.give(data, wire.flow_of(peer))
    assert not wire.lines()


def test_responses_of_other_workers_are_handed_over(tmp_path: Path) -> None:
    wires = [Wire(make_proxy(tmp_path, worker=number)) for number in (0, 1)]
    wires[1].ask("pbx", "INVITE")
    wires[1].learnt("pbx")
    wires[1].learnt("switch")
    data = wires[1].parties["switch"].response(180, "INVITE", {}, [])
    flow = wires[0].flow_of("switch")
    wires[0].give(data, flow)
    assert not wires[0].out
    assert wires[0].proxy.take_handovers() == [(1, flow, data)]
    assert wires[0].proxy.take_handovers() == []
    wires[1].give(data, wires[1].flow_of("switch"))
    assert wires[1].learnt("pbx").status == 180
    # a dialog belongs to no worker
    wires[1].reply("switch", 200)
    wires[1].learnt("pbx")
    wires[0].give(wires[1].parties["pbx"].request("ACK", {}, []), wires[0].flow_of("pbx"))
    assert wires[0].got("switch").method == b"ACK"


def test_a_request_that_comes_back_inside_a_dialog_with_its_route_is_a_loop(wire: Wire) -> None:
    answered(wire)
    wire.ask("pbx", "BYE")
    bye = wire.got("switch")
    route = next(line for line in wire.parties["pbx"].sent["BYE"].split(b"\r\n") if line.startswith(b"Route: "))
    wire.give(wire.parties["inside"].relay(bye.raw, {}, [route.decode()]), wire.flow_of("inside"))
    assert wire.got("switch").method == b"BYE"  # another ingress than at first: a spiral, once
    again = wire.parties["inside"].relay(bye.raw, {}, [route.decode()])
    once = SipMessage.parse(again)
    once.insert_top(b"Via: " + SipMessage.parse(wire.last["switch"][1]).all(b"via")[0])
    wire.give(once.to_bytes(), wire.flow_of("inside"))
    assert wire.got("inside").status == 482


def test_the_branch_of_an_ack_is_its_own(wire: Wire) -> None:
    """The same for each retransmission (RFC 3261 §16.11), another for another call of a sender whose branches are all the same."""
    branches = []
    for _ in range(2):
        wire.parties["pbx"].remote_tag = ""
        answered(wire)
        for again in ("", "again"):
            wire.ask("pbx", "ACK", again or "branch=z9hG4bK-always")
            branches.append(wire.got("switch").all(b"via")[0])
    assert branches[0] == branches[1] != branches[2] == branches[3]


@pytest.mark.parametrize(
    ("cseq", "passed"),
    [
        (b"CSeq: 1 INVITE", True),
        (b"cseq:1 INVITE", True),
        (b"CSEQ :  1\t INVITE ", True),
        (b"CSeq: 1\r\n INVITE", True),
        (b"CSeq: 4294967295 INVITE", True),
        (b"CSeq: 4294967296 INVITE", False),
        (b"CSeq: 00000000001 INVITE", False),
        (b"CSeq: 1 invite", False),
        (b"CSeq: 1 BYE", False),
        (b"CSeq: 1 INVITE x", False),
        (b"CSeq: -1 INVITE", False),
        (b"CSeq: INVITE", False),
        (b"CSeq: ", False),
        (b"CSeq: 1", False),
        (b"X-CSeq: 1 INVITE", False),
    ],
)
def test_a_response_is_known_by_branch_and_cseq(wire: Wire, cseq: bytes, passed: bool) -> None:
    wire.ask("pbx", "INVITE")
    wire.learnt("pbx")
    wire.learnt("switch")
    ringing = wire.parties["switch"].response(180, None, {}, [])
    was = next(line for line in ringing.split(b"\r\n") if line.startswith(b"CSeq: "))
    wire.give(ringing.replace(was, cseq), wire.flow_of("switch"))
    assert bool(wire.out) == passed


@pytest.mark.parametrize(
    ("was", "written", "passed"),
    [
        (b"Via: SIP/2.0/UDP 127.0.0.1:5060;", b"Via:SIP/2.0/UDP 127.0.0.1:5060;", True),
        (b"Via: SIP/2.0/UDP 127.0.0.1:5060;", b"v: SIP / 2.0 / UDP 127.0.0.1:5060 ; ", True),
        (b"Via: SIP/2.0/UDP 127.0.0.1:5060;", b"Via: SIP/2.0/UDP 127.0.0.1:5060;received=127.0.0.1;", True),
        (b"Via: SIP/2.0/UDP 127.0.0.1:5060;", b"Via: SIP/2.0/UDP 127.0.0.1:5062;", False),
        (b"Via: SIP/2.0/UDP 127.0.0.1:5060;", b"Via: SIP/2.0/UDP 127.0.0.2:5060;", False),
        (b";branch=", b";branch=x", False),
        (b"Call-ID: ", b"X-Call-ID: ", False),
        (b"To: ", b"X-To: ", False),
    ],
)
def test_a_response_is_read_whether_its_via_is_as_it_was_sent_or_not(wire: Wire, was: bytes, written: bytes, passed: bool) -> None:
    wire.ask("pbx", "INVITE")
    wire.learnt("pbx")
    wire.learnt("switch")
    ringing = wire.parties["switch"].response(180, None, {}, [])
    assert was in ringing
    wire.give(ringing.replace(was, written, 1), wire.flow_of("switch"))
    assert bool(wire.out) == passed


@interpreted
def test_a_defect_is_counted_and_kept_and_ends_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("broken")

    proxy = wire.proxy
    with monkeypatch.context() as patch:
        patch.setattr(Relay, "forward_to_hop", breaks)
        for number in range(8):
            proxy.receive(wire.parties["pbx"].request("INVITE", {"new": "yes"}, []), wire.flow_of("pbx"), float(number))
    assert proxy.counters.internal_errors == 8
    assert len(proxy.faults) == 5 and "RuntimeError: broken" in proxy.faults[0]
    proxy.counters.internal_errors = 0
    assert [data[:11] for _, data in proxy.take_sends()] == [b"SIP/2.0 100", b"SIP/2.0 500"] * 8
    wire.wait(400)
    wire.out.clear()
    assert not any(wire.tables().values())
    answered(wire, "peer", "first")


def test_what_could_not_be_sent_is_looked_at_with_care(wire: Wire) -> None:
    wire.ask("inside", "INVITE", "to=+862161234567")
    wire.learnt("inside")
    wire.learnt("outward")
    flow, data = wire.last["outward"]
    other = Flow(flow.listener, flow.address, flow.port)
    for where, what in [
        (flow, b"rubbish"),
        (flow, b"SIP/2.0 200 OK\r\n\r\n"),
        (other, data),
        (flow, data.replace(b"INVITE sip", b"ACK sip")),
    ]:
        wire.proxy.send_failed(where, what, wire.now)
        wire.collect()
    assert not wire.out
    wire.reply("outward", 180)
    wire.learnt("inside")
    wire.proxy.send_failed(flow, data, wire.now)  # a provisional response was heard: the connection broke later
    wire.collect()
    assert not wire.out
    assert wire.proxy.counters.connect_failures == 5


def test_a_configuration_that_cannot_be_routed_leaves_the_old_one(wire: Wire, tmp_path: Path) -> None:
    config = edit_config(CONFIG, 'next_hop switch6 targets = ["sip:127.0.0.5:5081"]')
    loaded, ruleset = load(tmp_path, config, SEGMENTS, None, None)
    only6 = [listener for listener in wire.proxy.routing.listeners if listener.ipv6]
    proxy = Proxy(loaded, ruleset, loaded.listeners(), b"x" * 16)
    routing = proxy.routing
    routing.listeners[:] = only6
    with pytest.raises(RoutingError, match="no listener can reach"):
        proxy.apply(loaded, ruleset, 0.0)
    assert proxy.routing is routing


def test_every_verdict_can_be_watched(wire: Wire) -> None:
    seen: list[tuple[str, str | None]] = []

    def watch(verdict: Verdict, call: Call) -> None:
        seen.append((verdict.code, call.caller.canonical))

    wire.proxy.watch_verdicts(watch)
    wire.ask("pbx", "INVITE")
    wire.ask("pbx", "INVITE", "again")
    wire.ask("pbx", "INVITE", "new from=+8675599999999")
    wire.ask("pbx", "INVITE", "again")
    assert seen == [("AUTH_OK", "+8675583123456"), ("AUTH_FAIL", "+8675599999999")]
    wire.proxy.watch_verdicts(None)
    wire.ask("pbx", "INVITE", "new")
    assert len(seen) == 2
    assert wire.proxy.counters.invites == {("acme", "pass", "AUTH_OK"): 2, ("acme", "reject", "AUTH_FAIL"): 1}


def test_gauges(wire: Wire) -> None:
    wire.ask("pbx", "INVITE")
    gauges = wire.proxy.gauges()
    assert (gauges["transactions_server"], gauges["transactions_client"], gauges["parked"]) == (1, 1, 0)
    assert gauges["next_hops"]["pair", "sip:127.0.0.7:5080"] is True
    assert wire.proxy.pending() == 1
    wire.wait(40)
    assert wire.proxy.pending() == 0


def test_only_so_many_timers_a_turn(wire: Wire) -> None:
    for _ in range(300):
        wire.ask("pbx", "INVITE", "new")
    wire.out.clear()
    wire.proxy.handle_timer(0.5)
    wire.collect()
    assert len(wire.out) == 256
    due = wire.proxy.next_timer()
    assert due is not None and due <= 0.5
    wire.proxy.handle_timer(0.5)
    wire.collect()
    assert len(wire.out) == 300


def test_a_flood_of_one_kind_of_timers_holds_up_no_other(wire: Wire) -> None:
    for _ in range(300):
        wire.ask("pbx", "INVITE", "new")
    wire.out.clear()
    wire.proxy._sweep_later(0.5, 0.0)  # behind all of those that are to be sent again
    wire.proxy.handle_timer(0.5)
    wire.collect()
    assert len(wire.out) == 255  # the sweep sends nothing


def test_time_of_a_call_is_wall_time(wire: Wire, tmp_path: Path) -> None:
    at: list[float] = []
    proxy = make_proxy(tmp_path, check=lambda call: at.append(call.at))
    proxy.wall_offset = 1_700_000_000.0
    proxy.receive(wire.parties["pbx"].request("INVITE", {}, []), wire.flow_of("pbx"), 12.5)
    assert at == [1_700_000_012.5]
    assert proxy.wall_offset == 1_700_000_000.0


def test_decisions_are_timed_only_with_a_clock(tmp_path: Path) -> None:
    ticks = iter(range(100))
    wire = Wire(make_proxy(tmp_path, clock=lambda: next(ticks) * 1e-5))
    wire.ask("pbx", "INVITE")
    assert wire.proxy.counters.decision_sum == pytest.approx(1e-5)


def test_the_body_and_what_we_do_not_touch_go_through_byte_by_byte(wire: Wire) -> None:
    body = b"v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\n\r\n\0\xff"
    head = wire.parties["pbx"].request("INVITE", {}, ["X-Odd :  kept\t as is ", "Subject: a\r\n  folded", "v: SIP/2.0/UDP 192.0.2.1"])
    data = head.replace(b"Content-Length: 0\r\n\r\n", b"l: %d\r\n\r\n" % len(body)) + body + b"trailing"
    wire.give(data, wire.flow_of("pbx"))
    wire.got("pbx")
    out = wire.got("switch").raw
    lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    at = 3  # start line, our Via, our Record-Route
    sent = out.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert sent[0] == lines[0]
    assert sent[1].startswith(b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKsw0.0000")
    assert sent[2].startswith(b"Record-Route: <sip:127.0.0.1:5060;lr;sw=")
    assert sent[at:] == [b"Max-Forwards: 69" if line.startswith(b"Max-F") else line for line in lines[1:]]
    assert out.partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize(
    ("via", "goes"), [("127.0.0.2:5060", True), ("127.0.0.3:5060", False), ("127.0.0.99:5060", False), ("a.example", False)]
)
def test_an_answer_without_a_transaction_goes_to_the_trunk_of_its_token_only(tmp_path: Path, via: str, goes: bool) -> None:
    wire = Wire(make_proxy(tmp_path))
    wire.ask("pbx", "INVITE")
    wire.learnt("pbx")
    wire.learnt("switch")
    data = (
        wire.parties["switch"].response(200, None, {}, []).replace(b"Via: SIP/2.0/UDP 127.0.0.2:5060", f"Via: SIP/2.0/UDP {via}".encode())
    )
    after = Wire(make_proxy(tmp_path, salt=b"next"))
    after.give(data, after.flow_of("switch"))
    assert [who for who, _ in after.out] == (["pbx"] if goes else [])
    after.out.clear()
    after.give(data.replace(b";tag=t-pbx-1", b";tag=x"), after.flow_of("switch"))
    assert not after.out


def test_calls_that_cannot_be_recorded_are_refused_where_they_must_be_but_emergency_calls(wire: Wire) -> None:
    answered(wire)
    wire.proxy.refuse_calls(True)
    wire.ask("peer", "INVITE")
    refused = wire.got("peer")
    assert (refused.status, refused.first(b"retry-after")) == (503, b"5")
    wire.ask("pbx", "BYE")
    assert wire.learnt("switch").method == b"BYE"
    wire.ask("stopped", "INVITE", "to=119")
    assert [line for _, line in wire.lines()] == [b"SIP/2.0 100 Trying", b"INVITE sip:119@127.0.0.1 SIP/2.0"]
    wire.proxy.refuse_calls(False)
    wire.out.clear()
    wire.ask("peer", "INVITE", "new")
    assert wire.got("peer").status == 100


def test_a_draining_node_takes_no_new_calls_but_emergency_calls(wire: Wire) -> None:
    answered(wire)
    wire.proxy.drain()
    wire.ask("peer", "INVITE")
    refused = wire.got("peer")
    assert (refused.status, refused.first(b"retry-after")) == (503, b"5")
    wire.ask("pbx", "BYE")
    assert wire.learnt("switch").method == b"BYE"
    wire.ask("stopped", "INVITE", "to=119")
    assert [line for _, line in wire.lines()] == [b"SIP/2.0 100 Trying", b"INVITE sip:119@127.0.0.1 SIP/2.0"]
