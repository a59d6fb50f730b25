"""Which requests are fit to be proxied (RFC 3261 §16.3), and what is kept of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.flow import Flow, Listener
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.sip.via import Via
from proxy.validate import Request, lenient_reply
from tests.proxy.sip.cases import INVITE, document
from tests.proxy.sip.test_message import MUTATION, mutate

DATAGRAM = Flow(Listener(0, "udp", "127.0.0.1", 5060), "127.0.0.2", 5060)
STREAM = Flow(Listener(1, "tcp", "127.0.0.1", 5060), "127.0.0.2", 40000, connection=1)
ADDRESS = b"127.0.0.2"


def request(raw: bytes, flow: Flow = DATAGRAM, address: bytes = ADDRESS) -> Request:
    return Request(SipMessage.parse(raw), flow, address)


@pytest.mark.parametrize("case", document("requests.toml"), ids=lambda case: case["what"])
def test_checks(case: dict[str, Any]) -> None:
    raw = INVITE
    if "replace" in case:
        old, new = (text.encode() for text in case["replace"])
        assert old in raw
        raw = raw.replace(old, new)
    flow = STREAM if case.get("stream") else DATAGRAM
    if case["status"] == 0:
        request(raw, flow)
        return
    with pytest.raises(ParseError) as caught:
        request(raw, flow)
    assert caught.value.status == case["status"]
    assert caught.value.message is not None
    with pytest.raises(ParseError) as caught:
        request(raw.replace(b"INVITE", b"ACK"), flow)
    assert caught.value.status == 0  # never answered


def test_what_is_kept() -> None:
    raw = INVITE.replace(b"@lab.example>", b"@lab.example> ; tag = 2").replace(b"CSeq: 1", b"CSeq: 007")
    found = request(raw)
    assert (found.method, found.call_id, found.cseq, found.hops) == (b"INVITE", b"a@pbx.example", b"7", 70)
    assert (found.sender, found.from_tag) == (b"sip:+8675583123456@pbx.example", b"1")
    assert (found.to_uri, found.to_tag) == (b"sip:+862161234567@lab.example", b"2")
    assert (found.uri.user, found.uri.host) == (b"+862161234567", b"lab.example")
    assert found.via_line is None
    assert found.reply_port == 5060


@pytest.mark.parametrize(
    ("sender", "uri", "tag"),
    [
        ('"+8613800138000" <sip:+8675583123456@x>;tag=1', "sip:+8675583123456@x", "1"),
        ('"<sip:110@x>" <sip:2@x>;tag=1', "sip:2@x", "1"),
        ('"\\"<sip:110@x>" <sip:2@x>;tag=1', "sip:2@x", "1"),
        ('"\\\\" <sip:2@x>;tag=1', "sip:2@x", "1"),
        ('"a" <sip:2@x>', "sip:2@x", ""),
        ("<sip:2;tag=9@x>", "sip:2;tag=9@x", ""),
        ("sip:2@x;tag=a-b", "sip:2@x", "a-b"),
        ("tel:+86755;tag=1", "tel:+86755", "1"),
        ("Anonymous <sip:anonymous@anonymous.invalid>;x;tag=1", "sip:anonymous@anonymous.invalid", "1"),
        ("<sip:2@x>;x=\";tag=9\";tag=1", "sip:2@x", "1"),
        ("<SIP:2@x>;tag=1", "SIP:2@x", "1"),
    ],
)  # fmt: skip
def test_sender(sender: str, uri: str, tag: str) -> None:
    raw = INVITE.replace(b'"Desk" <sip:+8675583123456@pbx.example>;tag=1', sender.encode())
    found = request(raw)
    assert (found.sender.decode(), found.from_tag.decode()) == (uri, tag)


def via(value: str) -> bytes:
    return INVITE.replace(b"SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa", value.encode())


@pytest.mark.parametrize(
    ("value", "line", "port"),
    [
        ("SIP/2.0/UDP 127.0.0.2;branch=z9hG4bKa", None, 5060),
        ("SIP/2.0/UDP 127.0.0.2:5090;branch=z9hG4bKa", None, 5090),
        ("SIP/2.0/UDP a:5090;branch=z9hG4bKa", "Via: SIP/2.0/UDP a:5090;branch=z9hG4bKa;received=127.0.0.2", 5090),
        ("SIP/2.0/UDP a;rport", "Via: SIP/2.0/UDP a;received=127.0.0.2;rport=7777", 7777),
        ("SIP/2.0/UDP a;rport , SIP/2.0/UDP b", "Via: SIP/2.0/UDP a;received=127.0.0.2;rport=7777, SIP/2.0/UDP b", 7777),
        ("SIP/2.0/UDP 127.0.0.2, SIP/2.0/UDP b;rport", None, 5060),
    ],
)
def test_reply(value: str, line: str | None, port: int) -> None:
    """RFC 3261 §18.2, RFC 3581: sound and malformed requests are answered by the same Via."""
    flow = Flow(DATAGRAM.listener, "127.0.0.2", 7777)
    found = request(via(value), flow)
    expected = None if line is None else line.encode()
    assert (found.reply_port, found.via_line) == (port, expected)
    assert lenient_reply(found.message, flow) == (port, expected)


@pytest.mark.parametrize(
    ("value", "port"),
    [
        ("nonsense", 5060),
        ("SIP/2.0/UDP a:5090;;branch=x", 5090),
        ("SIP/2.0/UDP a:99999;branch=x", 5060),
        ("SIP/2.0/UDP a:5090;;rport", 7777),
        ("SIP/2.0/UDP a:5090;branch=rport;;", 5090),
        ("SIP/2.0/UDP a:5090;;, SIP/2.0/UDP b:1;rport", 5090),
        ('SIP/2.0/UDP a:5090;x="open', 5090),
    ],
)
def test_reply_to_a_bad_via(value: str, port: int) -> None:
    assert lenient_reply(SipMessage.parse(via(value)), Flow(DATAGRAM.listener, "127.0.0.2", 7777)) == (port, None)


def test_key_of_companions() -> None:
    """ACK for a failure and CANCEL find the INVITE, with the cookie and without (RFC 3261 §17.2.3)."""
    for raw in (INVITE, INVITE.replace(b"branch=z9hG4bKa", b"branch=1"), INVITE.replace(b";branch=z9hG4bKa", b"")):
        invite = request(raw)
        assert request(raw.replace(b"INVITE", b"CANCEL")).key == invite.key
        ack = raw.replace(b"INVITE", b"ACK").replace(b"To: <sip:+862161234567@lab.example>", b"To: <sip:+862161234567@lab.example>;tag=z")
        assert request(ack).key == invite.key
        assert request(raw.replace(b"INVITE", b"BYE")).key != invite.key
        assert request(raw, address=b"127.0.0.3").key != invite.key


@given(st.lists(MUTATION, min_size=1, max_size=4), st.booleans())
def test_mutated_requests(mutations: list[tuple[int, int, bytes]], on_stream: bool) -> None:
    flow = STREAM if on_stream else DATAGRAM
    try:
        message = SipMessage.parse(mutate(INVITE, mutations))
    except ParseError:
        return
    if not message.is_request:
        return
    lenient_reply(message, flow)
    try:
        found = Request(message, flow, ADDRESS)
    except ParseError as fault:
        assert fault.message is message  # noqa: PT017
        assert fault.status in ((0,) if message.method == b"ACK" else (400, 416))  # noqa: PT017
        return
    assert 0 < found.reply_port < 65536
    assert found.via_line is None or Via(found.via_line[5:].partition(b", SIP")[0]).received == ADDRESS
