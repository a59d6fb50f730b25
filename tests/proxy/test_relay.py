"""What the relay writes itself: ACK, CANCEL, its own responses, byte by byte (when it writes them is in the flows)."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.relay import to_tag_of, without_top_via
from proxy.sip.message import SipMessage
from tests.proxy.wire import Wire, make_proxy


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    return Wire(make_proxy(tmp_path))


def call(wire: Wire, headers: tuple[str, ...] = ()) -> SipMessage:
    """A call that has reached the switch; the INVITE there."""
    wire.ask("pbx", "INVITE", "", headers)
    wire.learnt("pbx")
    return wire.learnt("switch")


def test_ack_for_a_failure(wire: Wire) -> None:
    invite = call(wire, ("Subject: not in an ACK",))
    wire.reply("switch", 486)
    lines = wire.got("switch").raw.split(b"\r\n")
    assert lines == [
        b"ACK sip:+862161234567@127.0.0.1 SIP/2.0",
        invite.lines[1],
        b"Max-Forwards: 70",
        b"From: <sip:+8675583123456@127.0.0.2>;tag=t-pbx-1",
        b"To: <sip:+862161234567@127.0.0.1>;tag=u-switch",
        b"Call-ID: call-pbx-1",
        b"CSeq: 1 ACK",
        b"Content-Length: 0",
        b"",
        b"",
    ]
    assert invite.lines[1].startswith(b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKsw")


def test_cancel(wire: Wire) -> None:
    invite = call(wire)
    wire.reply("switch", 180)
    wire.learnt("pbx")
    wire.ask("pbx", "CANCEL", "", ("Reason: SIP;cause=200", "Subject: not passed on", "Reason: Q.850;cause=16"))
    assert wire.learnt("pbx").first(b"cseq") == b"1 CANCEL"
    lines = wire.got("switch").raw.split(b"\r\n")
    assert lines == [
        b"CANCEL sip:+862161234567@127.0.0.1 SIP/2.0",
        invite.lines[1],
        b"Max-Forwards: 70",
        b"From: <sip:+8675583123456@127.0.0.2>;tag=t-pbx-1",
        b"To: <sip:+862161234567@127.0.0.1>",
        b"Call-ID: call-pbx-1",
        b"CSeq: 1 CANCEL",
        b"Reason: SIP;cause=200",
        b"Reason: Q.850;cause=16",
        b"Content-Length: 0",
        b"",
        b"",
    ]


def test_ack_and_cancel_inside_a_dialog_have_the_route_of_their_invite(wire: Wire) -> None:
    call(wire)
    wire.reply("switch", 200, None, "rr=sip:127.0.0.5:5090;lr")
    wire.learnt("pbx")
    wire.ask("pbx", "ACK")
    elsewhere = "udp:127.0.0.5:5090"
    wire.got(elsewhere)
    wire.ask("pbx", "INVITE")
    wire.got("pbx")
    wire.learn("switch", wire.got(elsewhere))
    wire.reply("switch", 183)
    wire.got("pbx")
    wire.ask("pbx", "CANCEL")
    wire.got("pbx")
    cancel = wire.got(elsewhere)
    wire.reply("switch", 487, "INVITE")
    ack = wire.got(elsewhere)
    for message in (cancel, ack):
        assert message.all(b"route") == [b"<sip:127.0.0.5:5090;lr>"]
        assert message.uri == b"sip:switch@127.0.0.5:5080"


def test_own_responses_have_one_to_tag_and_no_100_has(wire: Wire) -> None:
    wire.ask("pbx", "INVITE")
    trying = wire.learnt("pbx")
    wire.learnt("switch")
    assert trying.first(b"to") == b"<sip:+862161234567@127.0.0.1>"
    wire.ask("pbx", "CANCEL")
    tag = (wire.got("pbx").first(b"to") or b"").partition(b";tag=")[2]
    wire.wait(33)
    finals = [SipMessage.parse(data) for who, data in wire.out if who == "pbx"]
    assert finals[0].status == 487
    assert {(final.first(b"to") or b"").partition(b";tag=")[2] for final in finals} == {tag}


def test_responses_go_on_byte_by_byte(wire: Wire) -> None:
    call(wire)
    data = wire.parties["switch"].response(183, None, {}, ["X-Odd :  kept ", "Subject: a\r\n  folded"])
    data = data.replace(b"Content-Length: 0\r\n\r\n", b"Content-Length: 3\r\n\r\n\0\r\n")
    wire.give(data, wire.flow_of("switch"))
    lines = data.split(b"\r\n")
    assert wire.got("pbx").raw == b"\r\n".join([lines[0], *lines[2:]])


@pytest.mark.parametrize(
    ("vias", "left"),
    [
        ([b"Via: a"], None),
        ([b"v: a, b"], b"v: b"),
        ([b"Via: a", b"Via: b"], b"Via: b"),
        ([b"Via: a\r\n ;x=1", b"Via: b"], b"Via: b"),
        ([b"Subject: x", b"Via: a", b"Via: b"], b"Subject: x\r\nVia: b"),
        ([b"Via: a;x=1,b,c", b"Via: d"], b"Via: b, c\r\nVia: d"),
        ([b"Via: a,\r\n b"], b"Via: b"),
        ([b"VIA : a", b"v: b, c"], b"v: b, c"),
    ],
)
def test_the_top_via_comes_off(vias: list[bytes], left: bytes | None) -> None:
    head, tail = b"SIP/2.0 200 OK\r\n", b"\r\nTo: <sip:a@b>\r\nl: 1\r\n\r\nx"
    found = without_top_via(SipMessage.parse(head + b"\r\n".join(vias) + tail))
    assert found == (None if left is None else head + left + tail)


@pytest.mark.parametrize("between", [0.0, 0.3, 0.9, 5.0])
def test_a_callee_cannot_make_timers_as_fast_as_it_likes(wire: Wire, between: float) -> None:
    call(wire)
    wire.reply("switch", 180)
    before = len(wire.proxy._layer.timers)
    for _ in range(50):
        wire.wait(between)
        wire.reply("switch", 180, None, "again")
    wire.out.clear()
    assert len(wire.proxy._layer.timers) - before <= 50 * between + 2


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        (b"To: <sip:a@b>;tag=x", b"x"),
        (b"To: <sip:a@b;user=phone>;tag=x-1.2", b"x-1.2"),
        (b"t: <sip:a@b>;tag=x", b"x"),
        (b'To: "a <sip:c@d>;tag=y" <sip:a@b>;tag=x', b"x"),
        (b"To: sip:a@b;tag=x", b"x"),
        (b"To: <sip:a@b>;other=1;tag=x", b"x"),
        (b"To: <sip:a@b>;tag=x;other=1", b"x"),
        (b"To: <sip:a@b;tag=y>;tag=x", b"x"),
        (b"To: <sip:a@b>", b""),
        (b"To: <sip:a@b>;tag=", b""),
        (b"To: <sip:a@b>;tag=a b", b""),
        (b"To: <sip:a@b", b""),
    ],
)
def test_the_to_tag_of_a_response_however_it_is_written(line: bytes, tag: bytes) -> None:
    assert to_tag_of(SipMessage.parse(b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n" + line + b"\r\n\r\n")) == tag
