"""Torture messages through the core, from a trunk in observe mode, over UDP and TCP: what each gets, and that nothing malformed goes on.

Our own messages are in tests/cases/sip/torture; those of RFC 4475, RFC 5118 and PROTOS are read from ../shared/corpora where it is present.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.sip.stream import Framer
from tests.proxy.party import PEERS
from tests.proxy.sip.cases import CASES, message, table
from tests.proxy.wire import Wire, make_proxy

TORTURE = table(CASES / "torture.tsv")
CORPORA = Path(__file__).resolve().parents[2].parent / "shared" / "corpora"
PLACES = {"udp": ("udp", "127.0.0.12", 5060), "tcp": ("tcp", "127.0.0.12", 40000)}
NO_SYNTAX = {"forward", "403", "404", "405", "416", "481", "483"}
"""What a well-formed message may get."""


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    return Wire(make_proxy(tmp_path))


@dataclass
class Fate:
    """What became of a message: "forward", a status, or "drop", and the bytes that tell."""

    what: str
    data: bytes


def send(wire: Wire, data: bytes, transport: str) -> Fate:
    """Send `data` from the trunk in observe mode as the transports would deliver it; the fate of the first message in it."""
    flow = wire.flow(*PLACES[transport])
    assert not wire.out
    if transport == "udp":
        wire.give(data, flow)
    else:
        framer = Framer()
        head = b""
        try:
            messages = framer.feed(data)
        except ParseError as fault:
            messages, head = fault.args[1], fault.head
        for whole in (*messages[:1], head):
            if whole:
                wire.give(whole, flow)
    out, wire.out = wire.out, []
    back = [data for who, data in out if who == "watched" or ":127.0.0.12:" in who]
    onward = [(who, data) for who, data in out if data not in back]
    for sent in back + [data for _, data in onward]:
        SipMessage.parse(sent)
    if onward:
        assert [who for who, _ in onward] == ["switch"]
        assert [answer.split(b" ", 2)[1] for answer in back] in ([], [b"100"])
        return Fate("forward", onward[0][1])
    if not back:
        return Fate("drop", b"")
    assert len(back) == 1, back
    assert len(back[0]) <= len(data) + 160  # no amplifier
    return Fate(back[0].split(b" ", 2)[1].decode(), back[0])


def ordinary_call(wire: Wire) -> None:
    """A call from the same trunk that is answered and hung up."""

    def came(*expected: tuple[str, bytes]) -> None:
        assert [(who, data[: len(start)]) for (who, data), (_, start) in zip(wire.out, expected, strict=True)] == list(expected)
        for who, _ in expected:
            wire.learnt(who)

    wire.ask("watched", "INVITE", "new")
    came(("watched", b"SIP/2.0 100"), ("switch", b"INVITE "))
    wire.reply("switch", 200, "INVITE")
    came(("watched", b"SIP/2.0 200"))
    wire.ask("watched", "ACK")
    came(("switch", b"ACK "))
    wire.ask("watched", "BYE")
    came(("switch", b"BYE "))
    wire.reply("switch", 200, "BYE")
    came(("watched", b"SIP/2.0 200"))


@pytest.mark.parametrize("transport", PLACES)
@pytest.mark.parametrize("case", TORTURE, ids=lambda case: case["name"])
def test_own_messages(case: dict[str, str], transport: str, wire: Wire) -> None:
    fate = send(wire, message((CASES / "torture" / f"{case['name']}.sip").read_bytes()), transport)
    assert fate.what == case[transport], fate.data
    if case["contains"] and fate.what == case["udp"]:
        assert re.search(case["contains"].encode(), fate.data), fate.data
    ordinary_call(wire)


def test_every_message_has_a_row() -> None:
    assert sorted(case["name"] for case in TORTURE) == sorted(path.stem for path in (CASES / "torture").glob("*.sip"))


# third-party messages


def rfc4475() -> list[dict[str, str]]:
    path = CORPORA / "rfc4475" / "manifest.tsv"
    return table(path) if path.is_file() else []


def allowed(row: dict[str, str]) -> set[str]:
    """The fates that the manifest leaves open; we never read liberally what it calls invalid."""
    kind, text = row["class"], row["rfc_proxy_expectation"]
    statuses = set(re.findall(r"\b[45]\d\d\b", text.replace("UAS 415", "").replace("UAS 406", "").replace("UAS 501", "")))
    if "response" in kind:
        return {"drop"}
    if kind in ("valid", "semantic-ok"):
        return NO_SYNTAX
    if "OPTIONS may be answered" in text:
        statuses.add("200")
    return statuses or NO_SYNTAX


@pytest.mark.corpora
@pytest.mark.parametrize("transport", PLACES)
@pytest.mark.parametrize("row", rfc4475(), ids=lambda row: row["file"])
def test_rfc4475(row: dict[str, str], transport: str, wire: Wire) -> None:
    errors = wire.proxy.counters.parse_errors
    fate = send(wire, (CORPORA / "rfc4475" / f"{row['file']}.dat").read_bytes(), transport)
    assert fate.what in allowed(row), fate.data
    if transport == "udp" and row["class"] in ("valid", "valid-response", "semantic-ok"):
        assert wire.proxy.counters.parse_errors == errors
    ordinary_call(wire)


@pytest.mark.corpora
@pytest.mark.parametrize("transport", PLACES)
def test_rfc5118(transport: str, wire: Wire, corpora: Path) -> None:
    files = sorted((corpora / "rfc5118").iterdir())
    assert files
    for file in files:
        fate = send(wire, file.read_bytes(), transport)
        assert fate.what in ({"400"} if file.name in ("ipv6-bad", "ipv6-bug-abnf-3-colons") else NO_SYNTAX), (file.name, fate)
        ordinary_call(wire)


@pytest.mark.corpora
@pytest.mark.parametrize("transport", PLACES)
def test_protos(transport: str, wire: Wire, corpora: Path) -> None:
    """Survival: each gets at most one answer or is forwarded once, nothing fails inside, and a call still works."""
    files = sorted((corpora / "protos").iterdir())
    assert files
    for file in files:
        fate = send(wire, file.read_bytes(), transport)
        assert not fate.what.startswith("5") or fate.what in ("505", "513"), (file.name, fate)
        ordinary_call(wire)
    assert wire.proxy.counters.internal_errors == 0


# where answers go, and how often

OK = message((CASES / "torture" / "ok.sip").read_bytes())
BAD = OK.replace(b"Max-Forwards: 70", b"Max-Forwards: many")
VIA = b"127.0.0.12:5060;branch=z9hG4bKok1"


@pytest.mark.parametrize(
    ("via", "port"),
    [
        (b"127.0.0.12:5060;branch=z9hG4bKa", 5060),
        (b"127.0.0.12;branch=z9hG4bKa", 5060),
        (b"127.0.0.12:5090;branch=z9hG4bKa", 5090),
        (b"pbx.example:5090;branch=z9hG4bKa", 5090),
        (b"10.0.0.1:5090;branch=z9hG4bKa;rport", 40000),
        (b"10.0.0.1:5090;rport=1;branch=z9hG4bKa", 40000),
        (b"[2001:db8::1]:5090;branch=z9hG4bKa", 5090),
        (b"[2001:db8::1];branch=z9hG4bKa", 5060),
        (b"127.0.0.12:5090;branch=z9hG4bKrport", 5090),
        (b"127.0.0.12:5090, SIP/2.0/UDP 127.0.0.13:5091;rport", 5090),
        (b"127.0.0.12:0;branch=z9hG4bKa", 5060),
    ],
)
@pytest.mark.parametrize("fault", ["none", "parsed", "unreadable", "version"])
def test_reply_port(via: bytes, port: int, fault: str, wire: Wire) -> None:
    """Answers go to the sender's address, whatever Via says, and to its Via's port, or with rport where they came from."""
    data = {
        "none": OK.replace(b"Max-Forwards: 70", b"Max-Forwards: 0"),
        "parsed": BAD,
        "unreadable": OK.replace(b"\r\n\r\n", b"\r\nno colon here\r\n\r\n"),
        "version": OK.replace(b"SIP/2.0\r\n", b"SIP/3.0\r\n", 1),
    }[fault].replace(VIA, via)
    wire.proxy.receive(data, wire.flow("udp", "127.0.0.12", 40000), 0.0)
    ((flow, answer),) = wire.proxy.take_sends()
    assert (flow.address, flow.port) == ("127.0.0.12", port)
    assert answer.startswith({"none": b"SIP/2.0 483", "version": b"SIP/2.0 505"}.get(fault, b"SIP/2.0 400"))
    assert b"From: <sip:+8675583123456@pbx.example>;tag=l2\r\n" in answer and b"Call-ID: ok.1\r\n" in answer
    if fault != "unreadable" and b"rport" in via.partition(b",")[0] and b"Krport" not in via:
        assert b";received=127.0.0.12;rport=40000" in answer


def test_malformed_is_answered_each_time_and_alike(wire: Wire) -> None:
    flow = wire.flow_of("watched")
    answers = []
    for _ in range(3):
        wire.give(BAD, flow)
        answers += wire.out
        wire.out.clear()
    assert len(answers) == 3 and len(set(answers)) == 1
    assert wire.proxy.gauges()["transactions_server"] == 0


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        (OK, True),
        (BAD, True),
        (b"\r\n\r\n" + OK, True),
        (OK.replace(b"INVITE", b"OPTIONS"), True),
        (OK.replace(b"INVITE", b"CANCEL"), True),
        (OK.replace(b"INVITE", b"ACK"), False),
        (b"\r\n\r\n" + OK.replace(b"INVITE", b"ACK"), False),
        (BAD.replace(b"INVITE", b"ACK"), False),
        (OK.replace(b"INVITE sip:+862161234567@lab.example SIP/2.0", b"SIP/2.0 200 OK"), False),
        (OK.replace(b"INVITE sip:+862161234567@lab.example SIP/2.0", b"\r\nSIP/2.0 200 OK"), False),
        (OK.replace(b"INVITE sip:+862161234567@lab.example SIP/2.0", b"sip/2.0 200 OK"), False),
        (OK.replace(b"Via: ", b"Vie: "), False),
        (b"hello", False),
        (b"", False),
    ],
)
def test_unknown_source(data: bytes, answered: bool, wire: Wire) -> None:
    """One 403 in 60 s, for any method but ACK and malformed requests too; never for a response."""
    flow = wire.flow_of("stranger")
    wire.give(data, flow)
    assert [line[:11] for _, line in wire.lines()] == ([b"SIP/2.0 403"] if answered else [])
    wire.out.clear()
    for _ in range(3):
        wire.wait(19.0)
        wire.give(data, flow)
    assert not wire.out
    wire.wait(61.0)
    wire.give(data, flow)
    assert len(wire.out) == int(answered)


def test_long_keys_are_not_kept(wire: Wire) -> None:
    """What a sender makes long is not remembered at its length."""
    flow = wire.flow_of("watched")
    for serial in range(20):
        wire.give(OK.replace(b"z9hG4bKok1", b"z9hG4bK%d" % serial + b"x" * 20000).replace(b": 70", b": 0"), flow)
    assert [line[:11] for _, line in wire.lines()] == [b"SIP/2.0 483"] * 20
    assert max(len(key) for part in wire.proxy._answers._refused._fresh.parts for key in part) < 1000


def test_the_tested_trunk_is_in_observe_mode() -> None:
    assert PLACES["udp"] == PEERS["watched"]
