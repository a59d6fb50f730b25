"""SipMessage: what it reads, what it refuses, and that it passes on what it was given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.sip import message as module
from proxy.sip.error import ParseError
from proxy.sip.grammar import name_addr
from proxy.sip.message import SipMessage, unfold
from tests.proxy.sip.cases import INVITE, RESPONSE, document, expand


def with_lines(*lines: str) -> bytes:
    """The INVITE with further header lines above Max-Forwards."""
    text = "".join(line + "\r\n" for line in lines)
    return INVITE.replace(b"Subject: x\r\n", b"").replace(b"Max-Forwards", text.encode() + b"Max-Forwards", 1)


def test_request() -> None:
    message = SipMessage.parse(INVITE)
    assert message.is_request
    assert (message.method, message.uri, message.body) == (b"INVITE", b"sip:+862161234567@lab.example", b"body")
    assert message.first(b"call-id") == b"a@pbx.example"
    assert message.first(b"route") is None
    assert message.count(b"via") == 1 and message.count(b"route") == 0
    assert message.to_bytes() == INVITE


def test_response() -> None:
    message = SipMessage.parse(RESPONSE)
    assert not message.is_request
    assert (message.status, message.phrase) == (200, b"OK")
    assert message.to_bytes() == RESPONSE


@pytest.mark.parametrize(
    ("line", "status", "phrase"),
    [
        ("100 ", 100, ""),
        ("100", 100, ""),
        ("699 Not for me", 699, "Not for me"),
        ("200 = 2**3 * 5**2 \u043d\u043e", 200, "= 2**3 * 5**2 \u043d\u043e"),
    ],
)
def test_status_lines(line: str, status: int, phrase: str) -> None:
    message = SipMessage.parse(RESPONSE.replace(b"200 OK", line.encode()))
    assert (message.status, message.phrase) == (status, phrase.encode())


@pytest.mark.parametrize("case", document("values.toml"), ids=lambda case: case["what"])
def test_values(case: dict[str, Any]) -> None:
    lines = case["lines"].strip("\n").split("\n")
    raw = with_lines(*lines).replace(b"127.0.0.2:5060;branch=z9hG4bKa", b"a.example;branch=z9hG4bK1")
    message = SipMessage.parse(raw)
    name = case["name"].encode()
    values = message.all(name)
    assert [value.decode() for value in values] == case["all"]
    assert message.to_bytes() == raw
    if "uris" in case:
        assert [name_addr(value, "test")[1].decode() for value in values] == case["uris"]


@pytest.mark.parametrize("letter", "abcdefijklmnorstuvxy")
def test_compact_names(letter: str) -> None:
    full = module._COMPACT[letter.encode()]
    raw = INVITE.replace(b"Subject: x", letter.encode() + b": value")
    taken = {b"from", b"to", b"call-id", b"content-type", b"content-length"}
    if full in taken:
        with pytest.raises(ParseError):
            SipMessage.parse(raw)
        raw = b"\r\n".join(line for line in raw.split(b"\r\n") if line.partition(b":")[0].lower() != full)
        raw = raw.replace(b": value", b": 4")
    for spelling in (raw, raw.replace(b"\r\n" + letter.encode() + b":", b"\r\n" + letter.upper().encode() + b" :")):
        message = SipMessage.parse(spelling)
        assert message.first(full) in (b"value", b"4", b"SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa")
        assert b"value" in message.all(full) or full == b"content-length" or full in taken
        assert message.to_bytes() == spelling


@pytest.mark.parametrize("case", document("faults.toml"), ids=lambda case: case["what"])
def test_faults(case: dict[str, Any]) -> None:
    if "text" in case:
        raw = case["text"].replace("\n", "\r\n").encode()
    else:
        raw = INVITE
        for key, base in (("replace", INVITE), ("response", RESPONSE)):
            if key in case:
                old, new = (text.encode() for text in case[key])
                assert old in base
                raw = expand(base.replace(old, new))
        if "cut" in case:
            raw = raw.partition(case["cut"].encode())[0]
    with pytest.raises(ParseError) as caught:
        SipMessage.parse(raw)
    fault = caught.value
    assert fault.status == case["status"]
    assert fault.phrase
    with pytest.raises(ParseError) as caught:
        SipMessage.parse(raw.replace(b"INVITE", b"ACK") if raw[:6] == b"INVITE" else b"ACK " + raw)
    assert (caught.value.status, caught.value.message) == (0, None)
    if fault.status == 0 or not case.get("answerable", True):
        assert fault.message is None
    else:
        assert fault.message is not None
        assert fault.message.first(b"via") == b"SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa"
        assert fault.message.first(b"call-id") == b"a@pbx.example"
        assert fault.message.is_request


def test_salvage_reads_folded_and_compact_lines() -> None:
    raw = (
        INVITE.replace(b"Via: SIP/2.0/UDP", b"v: SIP/2.0/UDP\r\n ")
        .replace(b"Subject: x", b"no colon")
        .replace(b"CSeq: 1", b"CSeq: 1\r\n\t")
    )
    with pytest.raises(ParseError) as caught:
        SipMessage.parse(raw)
    found = caught.value.message
    assert found is not None
    assert found.method == b"INVITE"
    assert found.lines[1:] == [
        b"v: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa",
        b'From: "Desk" <sip:+8675583123456@pbx.example>;tag=1',
        b"To: <sip:+862161234567@lab.example>",
        b"Call-ID: a@pbx.example",
        b"CSeq: 1 INVITE",
    ]


def test_leading_line_breaks_are_skipped() -> None:
    assert SipMessage.parse(b"\r\n\r\n\r\n" + INVITE).to_bytes() == INVITE


def test_octets_behind_the_body_are_not_ours() -> None:
    """RFC 3261 §18.3: what follows the body in a datagram is never passed on, edited or not."""
    message = SipMessage.parse(INVITE + b"\r\n\r\n" + INVITE.replace(b"a@pbx", b"smuggled"))
    assert message.to_bytes() == INVITE
    message.replace(b"subject", b"Subject: y")
    assert message.to_bytes() == INVITE.replace(b"Subject: x", b"Subject: y")
    assert b"smuggled" not in message.raw


@pytest.mark.parametrize("length", ["0", "00", " 0 ", "\t0", "\r\n 0", "0\r\n\t"])
def test_content_length_forms(length: str) -> None:
    message = SipMessage.parse(INVITE.replace(b"Length: 4", b"Length:" + length.encode()))
    assert message.body == b""


def test_without_content_length_the_rest_is_the_body() -> None:
    raw = INVITE.replace(b"Content-Length: 4\r\n", b"")
    message = SipMessage.parse(raw)
    assert message.body == b"body"
    assert message.to_bytes() == raw


def test_edited_message_has_content_length() -> None:
    """A body without Content-Length, forwarded on a stream, would be read as the next message."""
    message = SipMessage.parse(INVITE.replace(b"Content-Length: 4\r\n", b""))
    message.insert_top(b"Via: SIP/2.0/TCP us.example")
    again = SipMessage.parse(message.to_bytes() + b"INVITE sip:smuggled")
    assert again.body == b"body"


# edits

EDITED = with_lines("Route: <sip:r1;lr>, <sip:r2;lr>", "Subject: between", "Route: <sip:r3;lr>,", "  <sip:r4;lr>", "x-a: 1", "X-A: 2")


def test_insert_top() -> None:
    message = SipMessage.parse(EDITED)
    message.insert_top(b"Via: second")
    message.insert_top(b"Via: first")
    start, rest = EDITED.split(b"\r\n", 1)
    assert message.to_bytes() == start + b"\r\nVia: first\r\nVia: second\r\n" + rest


def test_replace() -> None:
    message = SipMessage.parse(EDITED)
    message.replace(b"max-forwards", b"Max-Forwards: 69")
    assert message.to_bytes() == EDITED.replace(b"Forwards: 70", b"Forwards: 69")
    message.replace(b"max-forwards", b"Max-Forwards: 68")
    assert message.to_bytes() == EDITED.replace(b"Forwards: 70", b"Forwards: 68")


def test_replace_absent_goes_to_the_top() -> None:
    message = SipMessage.parse(EDITED)
    message.replace(b"privacy", b"Privacy: id")
    assert SipMessage.parse(message.to_bytes()).lines[1] == b"Privacy: id"


def test_replace_folded_line_takes_its_continuation_too() -> None:
    message = SipMessage.parse(EDITED)
    message.replace_line(message.positions(b"route")[1], b"Route: <sip:r9;lr>")
    assert SipMessage.parse(message.to_bytes()).all(b"route") == [b"<sip:r1;lr>", b"<sip:r2;lr>", b"<sip:r9;lr>"]


def test_remove() -> None:
    message = SipMessage.parse(EDITED)
    message.remove(b"route")
    message.remove(b"x-a")
    message.remove(b"not-there")
    again = SipMessage.parse(message.to_bytes())
    assert again.count(b"route") == again.count(b"x-a") == 0
    assert again.first(b"subject") == b"between"
    assert again.body == b"body"


@pytest.mark.parametrize("values", range(6))
def test_remove_values(values: int) -> None:
    message = SipMessage.parse(EDITED)
    message.remove_values(b"route", values)
    data = message.to_bytes()
    assert SipMessage.parse(data).all(b"route") == [b"<sip:r1;lr>", b"<sip:r2;lr>", b"<sip:r3;lr>", b"<sip:r4;lr>"][values:]
    assert (data == EDITED) == (values == 0)


def test_set_uri_and_undo() -> None:
    message = SipMessage.parse(EDITED)
    message.set_uri(b"sip:elsewhere")
    message.insert_top(b"X: y")
    message.remove(b"route")
    again = SipMessage.parse(message.to_bytes())
    assert (again.method, again.uri) == (b"INVITE", b"sip:elsewhere")
    message.undo_edits()
    assert message.to_bytes() == EDITED


def test_edits_do_not_change_what_is_read() -> None:
    message = SipMessage.parse(EDITED)
    message.remove(b"subject")
    message.replace(b"max-forwards", b"Max-Forwards: 1")
    assert message.first(b"subject") == b"between"
    assert message.first(b"max-forwards") == b"70"


def test_learnt_names_are_bounded() -> None:
    """Names and the blanks behind them are the sender's choice; neither number nor length of what is kept may be."""
    for serial in range(3000):
        SipMessage.parse(with_lines(f"X-{serial}: 1", f"Y-{serial}{' ' * 9000}: 1" if serial % 100 == 0 else "Z: 1"))
    assert len(module._KNOWN) <= module._LEARNED_LIMIT
    assert max(map(len, module._KNOWN)) <= 40


@pytest.mark.parametrize(
    ("folded", "plain"),
    [(b"a", b"a"), (b"a\r\n b", b"a b"), (b"a  \r\n\t  b\r\n c", b"a b c"), (b"a\r\n \r\n b", b"a  b"), (b'"x\r\n y"', b'"x y"')],
)
def test_unfold(folded: bytes, plain: bytes) -> None:
    assert unfold(folded) == plain


# any input

CHARACTERS = '\r\n\t :;,"\\<>@%[]=*?\0\xff'
PIECES = ["\r\n\r\n", "\r\n ", "SIP/2.0", "sip:", "l:", "Via: ", "Content-Length: ", "9" * 30, "tag", "branch=", "rport", "-1", "INVITE"]
MUTATION = st.tuples(
    st.integers(0, len(INVITE)),
    st.integers(0, 12),
    st.one_of(st.sampled_from([piece.encode("latin-1") for piece in (*CHARACTERS, *PIECES)]), st.binary(max_size=6)),
)


def mutate(raw: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    """Take some octets out and put others in."""
    for at, length, piece in mutations:
        raw = raw[:at] + piece + raw[at + length :]
    return raw


def parsed(raw: bytes) -> SipMessage | ParseError:
    """The message, or why there is none."""
    try:
        return SipMessage.parse(raw)
    except ParseError as fault:
        return fault


def check(raw: bytes) -> None:
    """Parsed or refused, then read, without any other exception."""
    message = parsed(raw)
    if isinstance(message, ParseError):
        if message.message is not None:
            assert message.status
            message.message.first(b"via")
        assert not message.status or raw[:4].upper() != b"SIP/"
        return
    data = message.to_bytes()
    assert data in raw
    assert SipMessage.parse(data).to_bytes() == data
    for name in message.first_line:
        message.first(name)
        with contextlib.suppress(ParseError):
            message.all(name)


@given(st.binary(max_size=300))
@example(b"SIP/2.0 200 OK\r\n\r\n")
@example(b"\r\n\r\n\r\n\r\n")
@example(b" \r\n\r\n")
def test_any_octets(raw: bytes) -> None:
    check(raw)


@given(st.sampled_from([INVITE, RESPONSE, EDITED]), st.lists(MUTATION, min_size=1, max_size=4))
def test_mutated_messages(raw: bytes, mutations: list[tuple[int, int, bytes]]) -> None:
    check(mutate(raw, mutations))


VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).map(str.encode)
EDIT = st.one_of(
    st.tuples(st.just("insert_top"), VALUE),
    st.tuples(st.just("replace"), VALUE),
    st.tuples(st.just("remove"), st.sampled_from([b"x-a", b"subject", b"privacy"])),
    st.tuples(st.just("set_uri"), VALUE),
)


@given(st.lists(EDIT, max_size=6), st.integers(0, 5), st.booleans())
def test_edited_messages_read_as_edited(edits: list[tuple[str, bytes]], routes: int, with_length: bool) -> None:
    raw = EDITED if with_length else EDITED.replace(b"Content-Length: 4\r\n", b"")
    message = SipMessage.parse(raw)
    inserted: list[bytes] = []
    subject: bytes | None = b"between"
    uri = message.uri
    extra = [b"1", b"2"]
    message.remove_values(b"route", routes)
    for kind, value in edits:
        if kind == "insert_top":
            message.insert_top(b"X-Top: " + value)
            inserted.insert(0, value)
        elif kind == "replace":
            message.replace(b"subject", b"Subject: " + value)
            subject = value
        elif kind == "remove":
            message.remove(value)
            subject = None if value == b"subject" else subject
            extra = [] if value == b"x-a" else extra
        else:
            message.set_uri(value)
            uri = value
    again = SipMessage.parse(message.to_bytes())
    assert again.all(b"x-top") == inserted
    assert again.first(b"subject") == subject
    assert again.uri == uri
    assert again.all(b"x-a") == extra
    assert again.all(b"route") == message.all(b"route")[routes:]
    assert again.body == b"body"
    message.undo_edits()
    assert message.to_bytes() == raw


@pytest.mark.parametrize("name", module._MARKED)
@pytest.mark.parametrize("spelling", [bytes.lower, bytes.title, bytes.swapcase])
def test_marks_tell_what_is_there(name: bytes, spelling: Callable[[bytes], bytes]) -> None:
    line = b"\r\n" + spelling(name) + b": 4\r\n"
    marks = SipMessage.parse(INVITE.replace(b"\r\nContent-Length: 4\r\n", line)).marks
    assert marks == module.mark(name)
