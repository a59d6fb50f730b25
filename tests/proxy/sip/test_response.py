"""Responses of our own: what they copy (RFC 3261 §8.2.6)."""

from __future__ import annotations

import pytest

from proxy.sip.message import SipMessage
from proxy.sip.response import PHRASES, build_response, has_tag
from tests.proxy.sip.cases import INVITE


def test_copies() -> None:
    raw = INVITE.replace(b"Subject: x\r\n", b"v: SIP/2.0/UDP b;branch=2,\r\n SIP/2.0/UDP c\r\nVia: SIP/2.0/UDP d\r\n")
    response = build_response(SipMessage.parse(raw), b"SIP/2.0 403 Forbidden", None, b"tt", b"Reason: Q.850;cause=21\r\n")
    assert response == (
        b"SIP/2.0 403 Forbidden\r\n"
        b"Via: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa\r\n"
        b"v: SIP/2.0/UDP b;branch=2,\r\n SIP/2.0/UDP c\r\n"
        b"Via: SIP/2.0/UDP d\r\n"
        b'From: "Desk" <sip:+8675583123456@pbx.example>;tag=1\r\n'
        b"To: <sip:+862161234567@lab.example>;tag=tt\r\n"
        b"Call-ID: a@pbx.example\r\n"
        b"CSeq: 1 INVITE\r\n"
        b"Reason: Q.850;cause=21\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    SipMessage.parse(response)


def test_via_line_takes_the_place_of_the_topmost() -> None:
    raw = INVITE.replace(b"Subject: x\r\n", b"Via: SIP/2.0/UDP b\r\n")
    response = SipMessage.parse(build_response(SipMessage.parse(raw), b"SIP/2.0 100 Trying", b"Via: SIP/2.0/UDP a;received=1.1.1.1", b""))
    assert response.all(b"via") == [b"SIP/2.0/UDP a;received=1.1.1.1", b"SIP/2.0/UDP b"]
    assert response.first(b"to") == b"<sip:+862161234567@lab.example>"


def test_what_a_malformed_request_lacks_is_left_out() -> None:
    raw = b"\r\n".join(line for line in INVITE.split(b"\r\n") if line[:4] not in (b"From", b"To: ", b"Call", b"CSeq"))
    assert build_response(SipMessage.parse(raw), b"SIP/2.0 400 Bad", None, b"tt") == (
        b"SIP/2.0 400 Bad\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa\r\nContent-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("line", "tagged"),
    [
        (b"To: <sip:a@b>", False),
        (b"To: <sip:a@b>;tag=1", True),
        (b"To: <sip:a@b> ; TAG = 1", True),
        (b"t: sip:a@b;tag=1", True),
        (b"To: <sip:a@b;tag=1>", False),
        (b'To: ";tag=1" <sip:a@b>', False),
        (b"To: <sip:a;tag=1@b>", False),
        (b"To: <sip:a@b>;mytag=1", False),
        (b"To: <sip:a@b>\r\n ;tag=1", True),
        (b'To: <sip:a@b>;x="y;tag=1"', False),
        (b'To: <sip:a@b>;x=">;tag=1";z', False),
        (b'To: <sip:a@b>;x=">";tag=1', True),
    ],
)
def test_has_tag(line: bytes, tagged: bool) -> None:
    assert has_tag(line) is tagged
    raw = INVITE.replace(b"To: <sip:+862161234567@lab.example>", line)
    response = build_response(SipMessage.parse(raw), b"SIP/2.0 404 Not Found", None, b"tt")
    assert (b";tag=tt\r\n" in response) is not tagged


def test_phrases() -> None:
    assert all(phrase and not set(phrase) & set("\r\n") for phrase in PHRASES.values())
