"""The compiled kernel reads what the Python reads: same messages, same fields, and it leaves the Python every fault."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import intake, validate
from proxy.flow import Flow, Listener
from proxy.sip import caller, kernel, message, response, uri, via
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.sip.response import build_response
from proxy.sip.transaction import ack_key, read_ack_key
from proxy.sip.uri import Uri, parse_uri
from proxy.sip.via import Via, mark_received
from proxy.token import Keyed
from proxy.validate import Request
from tests.native import fields
from tests.proxy.sip import cases
from tests.proxy.sip.cases import INVITE, RESPONSE, table

FUZZ = int(os.environ.get("SIPWARDEN_FUZZ", "1"))
"""How many times as long as usual to look for differences."""

UDP = Flow(Listener(0, "udp", "127.0.0.1", 5060), "127.0.0.2", 5070)
TCP = Flow(Listener(1, "tcp", "127.0.0.1", 5060), "127.0.0.2", 5070, connection=1)
ADDRESS = b"127.0.0.2"

USUAL = (
    INVITE,
    RESPONSE,
    INVITE.replace(b";branch=z9hG4bKa", b";rport;branch=z9hG4bKa;alias;received=127.0.0.9").replace(
        b"Subject: x\r\n",
        b"Contact: <sip:a@127.0.0.2:5060;transport=udp>\r\nP-Asserted-Identity: <tel:+8675583123456>\r\nRoute: <sip:127.0.0.1;lr>\r\n"
        b"X-Own: 1\r\nx-own: 2\r\nVIA: SIP/2.0/TCP [2001:db8::1]:5062;branch=z9hG4bKb\r\nv:SIP/2.0/TLS b.example\r\nExpires: 60\r\n",
    ),
    (
        b"BYE tel:+8613800000000;phone-context=a SIP/2.0\r\nv: SIP/2.0/UDP [2001:db8::1]:5062;branch=z9hG4bKb\r\nf: Me <tel:+86138>;tag=a.b"
        b"\r\nt: <sip:b@example>;tag=2\r\ni: x\r\nCSeq: 0002 BYE\r\nl: 0\r\n\r\n"
    ),
    (
        b"ACK sip:b@127.0.0.1:5060;lr SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 ACK\r\nMax-Forwards: 1\r\n\r\n"
    ),
)
"""What the kernel reads itself."""

TORTURE = tuple(cases.message(path.read_bytes()) for path in sorted((cases.CASES / "torture").glob("*.sip")))
OCTETS = b'\r\n\t \0:;,"\\<>@%[]=*?/.a+1AZz\x7f\xff\x0b'
PIECES = (
    *(bytes((octet,)) for octet in OCTETS),
    *b"\r\n\r\n|\r\n |SIP/2.0|sip:|sips:|tel:|l: 3\r\n|Via: |Content-Length: |;tag=|;branch=|;rport|;received=|99999|-1|INVITE|;;|<>".split(
        b"|"
    ),
)
compiled = pytest.mark.skipif(kernel.compiled is None, reason=f"no compiled kernel: {kernel.without}")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """The Python without the kernel."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((message, "_scan"), (via, "_read"), (uri, "_read"), (validate, "_read"), (validate, "_identity")):
            patch.setattr(module, name, kernel.nothing)
        patch.setattr(response, "_respond", None)
        yield


def told(thing: object) -> object:
    """All that an object of ours holds, to compare."""
    if isinstance(thing, SipMessage | Via | Uri | Request):
        names = [name for name in fields(type(thing)) if name not in ("message", "flow", "index") and name[0] != "_"]
        return type(thing).__name__, [(name, told(getattr(thing, name))) for name in names]
    return thing


def marked(value: bytes) -> bytes | None:
    return mark_received(Via(value), ADDRESS, 5070)


def fate(work: Callable[..., object], *arguments: object) -> object:
    """What comes of it, or which fault with what that could still be read."""
    try:
        return told(work(*arguments))
    except ParseError as fault:
        return fault.status, fault.phrase, told(fault.message)


def read(raw: bytes) -> list[object]:
    """All that the kernel has a part in, for one message."""
    uri._KNOWN.clear()
    found = [fate(SipMessage.parse, raw)]
    try:
        parsed = SipMessage.parse(raw)
    except ParseError:
        return found
    found.append(parsed.to_bytes())
    if parsed.is_request:
        found += [fate(Request, parsed, flow, ADDRESS) for flow in (UDP, TCP)]
        found += [build_response(parsed, b"SIP/2.0 403 Forbidden", *rest) for rest in ((None, b"t"), (b"Via: x", b"", b"Reason: x\r\n"))]
        with contextlib.suppress(ParseError):
            found.append(intake.asserted(Request(parsed, UDP, ADDRESS), None))
    for name in (b"via", b"from", b"contact"):
        with contextlib.suppress(ParseError):
            for value in parsed.all(name):
                found.append(fate(Via, value))
                found.append(fate(marked, value))
                found.append(fate(parse_uri, value[1:-1]))
    return found


def agree(raw: bytes) -> None:
    with_kernel = read(raw)
    with alone():
        assert read(raw) == with_kernel


def spoilt(raw: bytes, draw: random.Random) -> bytes:
    """A message with one to three pieces put in, taken out or put in the place of others."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        at, length = draw.randrange(len(raw) + 1), draw.choice((0, 0, 1, 1, 2, 5, 40))
        raw = raw[:at] + draw.choice(PIECES) + raw[at + length :]
    return raw


@compiled
@pytest.mark.parametrize("raw", USUAL)
def test_reads_the_usual_itself(raw: bytes) -> None:
    """Otherwise all would be right, and slow."""
    assert message._scan(raw) is not None
    parsed = SipMessage.parse(raw)
    if parsed.is_request:
        assert parsed.index is not None
        assert kernel.compiled is not None
        assert validate._read(parsed.index, parsed.method, ADDRESS) is not None
        assert build_response(parsed, b"SIP/2.0 403 Forbidden", None, b"t") == kernel.compiled.respond(
            parsed.index, b"SIP/2.0 403 Forbidden", None, b"t", b""
        )
        assert uri._read(parsed.uri) is not None
    for value in parsed.all(b"via"):
        assert via._read(value) is not None


@compiled
@pytest.mark.parametrize("raw", [*USUAL, *TORTURE])
def test_agrees_on_every_beginning_of_a_message(raw: bytes) -> None:
    agree(raw)
    for end in range(min(len(raw), 2000)):
        agree(raw[:end])


@compiled
@pytest.mark.parametrize("raw", USUAL)
def test_agrees_on_every_octet_changed(raw: bytes) -> None:
    for at in range(len(raw)):
        for octet in (
            OCTETS if FUZZ > 1 else (OCTETS[at % len(OCTETS)], OCTETS[(at * 7 + 3) % len(OCTETS)], OCTETS[(at * 11 + 5) % len(OCTETS)])
        ):
            agree(raw[:at] + bytes((octet,)) + raw[at + 1 :])


@compiled
def test_agrees_on_spoilt_messages() -> None:
    draw = random.Random(4)
    seeds = (*USUAL * 4, *TORTURE)
    for _ in range(10_000 * FUZZ):
        agree(spoilt(draw.choice(seeds), draw))


LINES = (
    b"P-Asserted-Identity: <sip:+8675583123456@a.example;user=phone>",
    b'From: "A" <sip:+8675583123456@a.example;user=phone>;tag=1',
    b"From: <sip:a;verstat=x@a.example>;tag=1",
    b"From: <sip:a;VerStat=x@a.example;user=phone>",
    b"Remote-Party-ID: <tel:+86%31>;party=calling",
)
TWINS = (
    ("only_uri", intake.only_uri, ()),
    ("has_no_verstat", caller.has_no_verstat, ()),
    ("behind_user", caller.behind_user, (b";verstat=No-TN-Validation",)),
)


@compiled
@pytest.mark.parametrize(("name", "python", "more"), TWINS, ids=[twin[0] for twin in TWINS])
def test_reads_lines_as_the_python_does(name: str, python: Callable[..., object], more: tuple[bytes, ...]) -> None:
    draw = random.Random(6)
    pieces = (*PIECES, b"<sip:", b";user=phone", b"verstat", b"%76", b": <", b"@", b">")
    twin = getattr(kernel.compiled, name)
    answers = set()
    for line in LINES:
        for size in range(len(line) + 1):
            assert twin(line[:size], *more) == python(line[:size], *more), line[:size]
        for _ in range(3000 * FUZZ):
            at, length = draw.randrange(len(line) + 1), draw.choice((0, 0, 1, 5, 40))
            changed = line[:at] + draw.choice(pieces) + line[at + length :]
            found = twin(changed, *more)
            assert found == python(changed, *more), changed
            answers.add(bool(found))
    assert answers == {True, False}


@compiled
@pytest.mark.parametrize(
    "via", [b"Via: SIP/2.0/UDP 127.0.0.2:5070;branch=z9hG4bKa", b"Via: SIP/2.0/UDP [::1];branch=z9hG4bKa;rport", b"v: x"]
)
def test_reads_the_key_of_an_ack_as_the_python_does(via: bytes) -> None:
    draw = random.Random(7)
    assert kernel.compiled is not None
    raw = b"ACK sip:a@b SIP/2.0\r\n" + via + b"\r\nFrom: <sip:a@b>;tag=1\r\n\r\n"
    for data in [raw[:size] for size in range(len(raw) + 1)] + [spoilt(raw, draw) for _ in range(3000 * FUZZ)]:
        assert kernel.compiled.ack_key(data, ADDRESS) == read_ack_key(data, ADDRESS), data


@pytest.mark.parametrize("rest", [b"", b";rport", b";alias;received=1.2.3.4"])
def test_the_key_of_an_ack_is_that_of_its_invite(rest: bytes) -> None:
    raw = INVITE.replace(b";branch=z9hG4bKa", b";branch=z9hG4bKa" + rest)
    key = Request(SipMessage.parse(raw), UDP, ADDRESS).key
    ack = raw.replace(b"INVITE", b"ACK")
    assert ack_key(ack, ADDRESS) == key == Request(SipMessage.parse(ack), UDP, ADDRESS).key
    assert ack_key(ack, b"127.0.0.3") != key


@compiled
@settings(max_examples=100 * FUZZ, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(USUAL), st.integers(0, 700))
def test_agrees_on_any_octets(octets: bytes, raw: bytes, at: int) -> None:
    agree(octets)
    agree(raw[:at] + octets + raw[at:])


@compiled
@pytest.mark.parametrize("name", ["vias.tsv", "uris.tsv", "addresses.tsv", "received.tsv"])
def test_agrees_on_the_cases_of_the_parser(name: str) -> None:
    for row in table(cases.CASES / name):
        for text in row.values():
            value = text.encode()
            line = value.replace(b"\r", b"").replace(b"\n", b"")
            agree(INVITE.replace(b"SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa", line))
            agree(INVITE.replace(b'"Desk" <sip:+8675583123456@pbx.example>;tag=1', line))
            agree(INVITE.replace(b"sip:+862161234567@lab.example SIP", line + b" SIP"))
            agree(INVITE.replace(b"Subject: x", b"Contact: " + line))


@compiled
@pytest.mark.parametrize(
    ("count", "size"),
    [
        (message.MAX_HEADERS - 11, 1),
        (message.MAX_HEADERS - 10, 1),
        (message.MAX_HEADERS - 9, 1),
        (message.MAX_HEADERS, 1),
        (1, 32_700),
        (9, 9000),
    ],
)
def test_agrees_on_limits(count: int, size: int) -> None:
    raw = INVITE.replace(b"Subject: x\r\n", b"".join(b"X-%d: %b\r\n" % (number, b"x" * size) for number in range(count)))
    agree(raw)
    for more in range(size > 1 and 600):
        agree(raw.replace(b": x", b": x" + b"x" * more, 1))
    for length in (message.MAX_MESSAGE - 1, message.MAX_MESSAGE, message.MAX_MESSAGE + 1):
        agree(INVITE.replace(b"Content-Length: 4\r\n", b"")[:-4].ljust(length, b"x"))


@compiled
@pytest.mark.parametrize("wrong", [None, "text", 1, bytearray(b"x"), [b"x"]])
def test_refuses_what_is_not_octets(wrong: Any) -> None:
    assert kernel.compiled is not None
    readers = (message._scan, via._read, uri._read)
    for reader in readers:
        with pytest.raises(TypeError):
            reader(wrong)
    index = SipMessage.parse(INVITE).index
    refused: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
        *[(validate._read, arguments) for arguments in ((wrong, b"INVITE", ADDRESS), (index, wrong, ADDRESS), (index, b"INVITE", wrong))],
        *[(validate._identity, arguments) for arguments in ((wrong, b"x"), (index, wrong))],
        (kernel.compiled.respond, (wrong, b"", b"", b"", b"")),
        (kernel.compiled.respond, (index, wrong, b"", b"", b"")),
        (kernel.compiled.respond, (index, b"", b"", wrong, b"")),
        (kernel.compiled.respond, (index, b"", b"", b"", wrong)),
    ]
    for read_it, arguments in refused:
        with pytest.raises(TypeError):
            read_it(*arguments)
    with pytest.raises(TypeError):
        kernel.compiled.Keyed(b"k", 8).hex_lines(b"", wrong, b"")
    with pytest.raises(TypeError):
        kernel.compiled.Index()


@compiled
@pytest.mark.parametrize("raw", [*USUAL, INVITE.replace(b"Content-Length: 4\r\n", b"")])
def test_writes_edits_as_the_python_does(raw: bytes) -> None:
    draw = random.Random(5)
    for _ in range(200 * FUZZ):
        edited = SipMessage.parse(raw)
        size = raw.partition(b"\r\n\r\n")[0].count(b"\r\n") + 1
        for _ in range(draw.choice((0, 1, 2, 3, 20))):
            edited.replace_line(draw.randrange(1, size), draw.choice((None, b"", b"X: y", b"Z: " + b"z" * 3000)))
        for _ in range(draw.randrange(3)):
            edited.insert_top(b"Via: %d" % draw.randrange(1000))
        if edited.is_request and draw.random() < 0.3:
            edited.set_uri(b"tel:1")
        found = edited.to_bytes()
        assert edited.index is not None
        assert edited.first_line and edited.lines and edited.body is not None  # made of the index, which now goes
        edited.index = None
        assert edited.to_bytes() == found
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(message, "_splice", None)
            assert edited.to_bytes() == found


@compiled
@pytest.mark.parametrize("edits", [{-1: b""}, {99: b""}, {1: "x"}, {"1": b"x"}, {1: 1}])
def test_edits_no_line_that_is_not_there(edits: dict[Any, Any]) -> None:
    index = SipMessage.parse(INVITE).index
    assert index is not None
    with pytest.raises((IndexError, TypeError)):
        index.splice(edits, None, None, None)
    for place in (-1, 99):
        with pytest.raises(IndexError):
            index.line_at(place)
    with pytest.raises(KeyError):
        index.place(b"x-own")


@compiled
@pytest.mark.parametrize("raw", USUAL)
def test_finds_places_and_lines_as_the_python_does(raw: bytes) -> None:
    parsed, python = SipMessage.parse(raw), SipMessage.parse(raw)
    assert python.first_line
    python.index = None if python.lines else python.index
    for name in (b"via", b"from", b"route", b"max-forwards", b"p-asserted-identity"):
        assert parsed.place(name) == python.place(name)
        assert parsed.line_at(parsed.place(name)) == python.line_at(python.place(name))


@compiled
@pytest.mark.parametrize(
    "arguments",
    [
        ([b"a"], {1: b"x"}, None, None, None, b""),
        ([b"a"], {-1: b"x"}, None, None, None, b""),
        ([b"a"], {0: "x"}, None, None, None, b""),
        ([b"a"], {"0": b"x"}, None, None, None, b""),
        ([b"a", 1], None, None, None, None, b""),
        ([b"a"], None, None, ["x"], None, b""),
        ([b"a"], None, "x", None, None, b""),
        ([b"a"], None, None, None, b"", None),
        (None, None, None, None, None, b""),
    ],
)
def test_writes_nothing_but_octets(arguments: tuple[Any, ...]) -> None:
    assert kernel.compiled is not None
    with pytest.raises((TypeError, IndexError)):
        kernel.compiled.splice(*arguments)


@compiled
@pytest.mark.parametrize("size", [1, 4, 6, 8, 9, 63, 64])
@pytest.mark.parametrize("key", [b"k", b"\xff" * 32, bytes(range(64))])
def test_its_hash_is_blake2b(key: bytes, size: int) -> None:
    assert kernel.compiled is not None
    ours, pythons = kernel.compiled.Keyed(key, size), Keyed(key, size)
    for length in (*range(300), 1000, 70_000):
        text = random.Random(length).randbytes(length)
        assert ours.hex(text) == pythons.hex(text) == hashlib.blake2b(text, key=key, digest_size=size).hexdigest().encode()
        lines = (text, b"", text[:3], text[5:])
        assert ours.hex_lines(*lines) == pythons.hex_lines(*lines) == pythons.hex(b"\n".join(lines))
        assert ours.hex_lines(*lines[:3]) == pythons.hex_lines(*lines[:3]) == pythons.hex(b"\n".join(lines[:3]))


@compiled
@pytest.mark.parametrize(("key", "size"), [(b"", 8), (b"k" * 65, 8), (b"k", 0), (b"k", 65), (b"k", -1)])
def test_its_hash_has_limits(key: bytes, size: int) -> None:
    assert kernel.compiled is not None
    with pytest.raises(ValueError, match="1 to 64"):
        kernel.compiled.Keyed(key, size)


@pytest.mark.parametrize(("value", "why"), [("1", "SIPWARDEN_PURE is set"), ("yes", "SIPWARDEN_PURE is set"), ("0", None), ("", None)])
def test_the_environment_chooses(value: str, why: str | None) -> None:
    code = "from proxy.build import KERNEL, WITHOUT; print(KERNEL, WITHOUT)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"SIPWARDEN_PURE": value}, capture_output=True, text=True, check=True
    )
    if why is not None:
        assert done.stdout == f"pure {why}\n"
    elif kernel.compiled is not None:
        assert done.stdout == "compiled \n"
