"""Responses that the kernel reads as far as their way back takes: what it says is what the Python says of the whole message."""

from __future__ import annotations

import random

import pytest

from proxy.relay import without_top_via
from proxy.responses import cseq_method
from proxy.sip import kernel
from proxy.sip.message import SipMessage, scanner
from proxy.sip.reply import Reply
from tests.proxy.sip.test_kernel import FUZZ, OCTETS, alone, compiled, spoilt

START = b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch="
BRANCH = b"z9hG4bKsw0.00001f.0123456789ab"
RINGING = (
    b"SIP/2.0 180 Ringing\r\n" + START + BRANCH + b"\r\nVia: SIP/2.0/UDP 127.0.0.2:5070;branch=z9hG4bKa;rport=5070\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n"
)
ANSWER = (
    b"SIP/2.0 200\r\n" + START + BRANCH + b"\r\nv: SIP/2.0/UDP 127.0.0.2:5070;branch=z9hG4bKa, SIP/2.0/UDP a\r\n"
    b"Record-Route: <sip:127.0.0.1;lr>\r\nRecord-Route: <sip:127.0.0.3;lr>\r\nf: <sip:a@b>;tag=1\r\nt: <sip:c@d>;tag=2\r\n"
    b"i: x\r\nCSeq: 0102 BYE\r\nContact: <sip:c@127.0.0.3>\r\nl:  4 \r\n\r\nbody"
)
USUAL = (RINGING, ANSWER, ANSWER + b"behind", RINGING.replace(b"From: <sip:a@b>;tag=1\r\n", b""))


def agree(raw: bytes) -> bool:
    """Whether the kernel reads this; then it says what the Python says."""
    assert kernel.compiled is not None
    found = kernel.compiled.read_reply(scanner, raw, START)
    if found is None:
        return False
    status, branch, method, onward, from_at = found
    with alone():
        message = SipMessage.parse(raw)
        assert (message.is_request, message.status, cseq_method(message)) == (False, status, method), raw
        assert message.lines[1] == START + branch, raw
        assert 100 <= status < 300
        assert message.first_line[b"via"] == 1
        assert {b"to", b"call-id"} <= message.first_line.keys(), raw
        assert b"privacy" not in message.first_line, raw
        reply = Reply(raw, status, None, onward, from_at)
        assert reply.goes_on
        assert Reply(raw, status, message).goes_on, raw
        changed = reply.with_from(b"From: <sip:other@b>;tag=1")
        assert without_top_via(message) == onward, raw
        at = message.first_line.get(b"from")
        if at is None:
            assert changed == onward, raw
        else:
            message.undo_edits()
            message.replace_line(at, b"From: <sip:other@b>;tag=1")
            assert without_top_via(message) == changed, raw
    return True


@compiled
@pytest.mark.parametrize("raw", USUAL)
def test_reads_the_usual_itself(raw: bytes) -> None:
    assert agree(raw)


@compiled
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"180 Ringing", b"300 Multiple Choices"),
        (b"180 Ringing", b"099 Ringing"),
        (b"180 Ringing", b"1800 Ringing"),
        (b"SIP/2.0 180 Ringing", b"INVITE sip:a@b SIP/2.0"),
        (START, b"Via: SIP/2.0/UDP 127.0.0.1:5061;branch="),
        (BRANCH, BRANCH + b", SIP/2.0/UDP a"),
        (b"Via: SIP/2.0/UDP 127.0.0.2:5070;branch=z9hG4bKa;rport=5070\r\n", b""),
        (b"To: <sip:c@d>;tag=2\r\n", b""),
        (b"Call-ID: x\r\n", b""),
        (b"Call-ID: x\r\n", b"Call-ID: x\r\nCall-ID: x\r\n"),
        (b"CSeq: 1 INVITE\r\n", b""),
        (b"CSeq: 1 INVITE", b"CSeq: 1 invite"),
        (b"Content-Length: 0\r\n", b""),
        (b"Content-Length: 0\r\n", b"Content-Length: 1\r\n"),
        (b"X-Own: 1", b"Privacy: id"),
        (b"X-Own: 1", b"fROM: <sip:a@b>"),
        (b"X-Own: 1", b"X-Own : 1"),
        (b"X-Own: 1", b"X-Own"),
        (b"X-Own: 1", b"X-Own: 1\r\n 2"),
    ],
)
def test_leaves_the_rest(old: bytes, new: bytes) -> None:
    assert old in RINGING
    assert not agree(RINGING.replace(old, new))


@compiled
@pytest.mark.parametrize("raw", USUAL)
def test_agrees_on_every_octet_changed(raw: bytes) -> None:
    for at in range(len(raw)):
        agree(raw[:at])
        for octet in OCTETS if FUZZ > 1 else (OCTETS[at % len(OCTETS)], OCTETS[(at * 7 + 3) % len(OCTETS)]):
            agree(raw[:at] + bytes((octet,)) + raw[at + 1 :])


@compiled
def test_agrees_on_spoilt_messages() -> None:
    draw = random.Random(8)
    assert {agree(spoilt(draw.choice(USUAL), draw)) for _ in range(5000 * FUZZ)} == {True, False}


@compiled
@pytest.mark.parametrize("arguments", [(None, b"", b""), (scanner, None, b""), (scanner, b"", None), (scanner, "SIP/2.0", b"")])
def test_refuses_what_is_not_octets(arguments: tuple[object, ...]) -> None:
    assert kernel.compiled is not None
    with pytest.raises(TypeError):
        kernel.compiled.read_reply(*arguments)
