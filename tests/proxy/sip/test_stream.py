"""Framing: whatever the cuts, the same messages, the same keep-alives, the same end."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip.error import ParseError
from proxy.sip.message import MAX_HEAD, MAX_MESSAGE, SipMessage
from proxy.sip.stream import Framer
from tests.proxy.sip.cases import INVITE, document

A = INVITE
B = INVITE.replace(b"Content-Length: 4", b"Content-Length: 0").partition(b"body")[0]
CASES = document("streams.toml")


@dataclass
class Result:
    """What a stream came to."""

    messages: list[bytes] = field(default_factory=list)
    pings: int = 0
    pending: int = 0
    fault: tuple[int, str, bytes] | None = None


def frame(chunks: list[bytes]) -> Result:
    framer = Framer()
    result = Result()
    for chunk in chunks:
        try:
            result.messages += framer.feed(chunk)
        except ParseError as fault:
            assert result.fault is None
            result.messages += fault.args[1]
            result.fault = (fault.status, fault.phrase, fault.head)
    result.pings, result.pending = framer.pings, framer.pending
    return result


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[begin:end] for begin, end in pairwise(ends)]


def stream(case: dict[str, Any]) -> bytes:
    return b"".join({"A": A, "B": B}.get(piece, piece.encode()) for piece in case["pieces"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["what"])
def test_stream(case: dict[str, Any]) -> None:
    raw = stream(case)
    whole = frame([raw])
    names = "".join({A: "A", B: "B"}.get(message, "*") for message in whole.messages)
    assert names == case["out"]
    assert whole.pings == case.get("pings", 0)
    assert whole.pending == case.get("pending", 0)
    if "fault" in case:
        assert whole.fault is not None
        assert (whole.fault[0], whole.fault[2]) == (case["fault"], case["head"].encode())
    else:
        assert whole.fault is None
    assert frame([raw[at : at + 1] for at in range(len(raw))]) == whole
    for size in (2, 3, 7):
        assert frame([raw[at : at + size] for at in range(0, len(raw), size)]) == whole
    for message in whole.messages:
        assert SipMessage.parse(message).to_bytes() == message


@given(st.sampled_from(CASES), st.lists(st.integers(0, 4000), max_size=8))
def test_cuts_make_no_difference(case: dict[str, Any], places: list[int]) -> None:
    raw = stream(case)
    assert frame(cut(raw, places)) == frame([raw])


PIECE = st.sampled_from(
    [A, B, b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"l: 4\r\n", b"l: -1\r\n\r\n", b"INVITE sip:a SIP/2.0\r\n", b"\r\n ", b"\0", b"x: y"]
)


@given(st.lists(st.one_of(PIECE, st.binary(max_size=5)), max_size=8), st.lists(st.integers(0, 4000), max_size=8))
def test_any_stream(pieces: list[bytes], places: list[int]) -> None:
    raw = b"".join(pieces)
    assert frame(cut(raw, places)) == frame([raw])


@pytest.mark.parametrize("size", [MAX_HEAD - 1, MAX_HEAD, MAX_HEAD + 1])
@pytest.mark.parametrize("chunk", [1000, 70000])
def test_longest_header_section(size: int, chunk: int) -> None:
    """The same limit however it arrives, and as for a datagram."""
    start = b"INVITE sip:a SIP/2.0\r\nl: 0\r\nX: "
    raw = start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"
    result = frame([raw[at : at + chunk] for at in range(0, len(raw), chunk)])
    if size > MAX_HEAD:
        assert result.fault is not None and result.fault[0] == 513
        with pytest.raises(ParseError, match="513"):
            SipMessage.parse(raw)
    else:
        assert result.messages == [raw]
        SipMessage.parse(raw)


def test_endless_header_section_is_given_up() -> None:
    result = frame([A, *[b"x" * 1000] * 100])
    assert result.messages == [A]
    assert result.fault == (513, "Message Too Large", (b"x" * 1000 * 33)[:MAX_HEAD])
    assert result.pending == 0


def test_longest_message() -> None:
    head = b"INVITE sip:a SIP/2.0\r\nl: %d\r\n\r\n"
    size = MAX_MESSAGE - len(head % 10000)
    raw = head % size + b"b" * size
    assert frame([raw + B]).messages == [raw, B]
    assert frame([head % (size + 1)]).fault == (513, "Message Too Large", head % (size + 1))


def test_pings_are_counted_until_they_are_answered() -> None:
    framer = Framer()
    framer.feed(b"\r\n\r\n")
    assert framer.pings == 1
    framer.pings = 0
    framer.feed(b"\r\n\r\n" + B + b"\r\n\r\n")
    assert framer.pings == 2


def test_nothing_is_read_behind_a_fault() -> None:
    framer = Framer()
    with pytest.raises(ParseError):
        framer.feed(b"INVITE sip:a SIP/2.0\r\n\r\n" + A)
    assert framer.feed(A) == []
    assert framer.pending == 0


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.get("head") and case["what"] != "no Content-Length"], ids=lambda case: case["what"]
)
def test_the_head_of_a_fault_is_malformed_for_the_core_too(case: dict[str, Any]) -> None:
    """The transports give it to the core to be answered: it must not be taken for a request and forwarded without its body. (One without
    Content-Length is refused by proxy.validate, which knows that it came on a stream.)
    """
    with pytest.raises(ParseError) as caught:
        SipMessage.parse(case["head"].encode())
    assert caught.value.status == 400


def test_a_fault_leaves_no_cycle() -> None:
    """Its stream's bytes are freed with it, not when the garbage collector comes by."""
    seen: list[weakref.ref[ParseError]] = []
    gc.disable()
    try:
        try:
            Framer().feed(b"X" * (MAX_HEAD + 1))
        except ParseError as fault:
            seen.append(weakref.ref(fault))
        assert [one() for one in seen] == [None]
    finally:
        gc.enable()
