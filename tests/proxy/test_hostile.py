"""Random sequences of valid, mutated and misplaced messages and of time: the core never fails, forgets in the end, sends nothing astray."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core import Proxy
from proxy.events import Event
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from tests.proxy.party import PEERS, Party
from tests.proxy.passports import credential
from tests.proxy.transcript import asks
from tests.proxy.wire import CONFIG, SECRET, Wire, edit_config, load

METHODS = ("INVITE", "ACK", "BYE", "UPDATE", "PRACK", "INFO", "OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "CANCEL", "X")
STATUSES = (100, 180, 183, 199, 200, 202, 302, 401, 408, 481, 486, 487, 491, 500, 503, 603)
OPTIONS = """
new|new from=+8613802887777|new to=110|out|again|hops=0|hops=1|noroute|totag=x|fromtag=x|strict|via=a.example:70|rport|branch=z9hG4bKsame
branch=2543|uri=sip:127.0.0.1|uri=tel:110|contact=sip:a@b.example|cseq=1|sender=sip:+8675599999999@x|fold|tag=other|onevia|norr|cseqm=BYE|rr=sip:127.0.0.8;lr||||
""".replace("\n", "|").split("|")
LINES = [
    line.encode()
    for line in """
Route: <sip:127.0.0.1:5060;lr>
Route: <sip:192.0.2.66;lr>
Route: <sip:127.0.0.1:5060;lr;sw=1>
Route: ,
Via: SIP/2.0/UDP 127.0.0.1:5060
Via: SIP/2.0/TCP [::1]:5060;branch=z9hG4bKsw0.1.2, SIP/2.0/UDP "x
Max-Forwards: 0
Max-Forwards: x
Proxy-Require: a
P-Asserted-Identity: <tel:+8675599999999>
Privacy: id;critical
To: <sip:a@b>;tag=q
From: "
Contact: *
Date: Thu, 01 Jan 1970 00:00:07 GMT
Date: Fri, 32 Foo 0000 99:00:00 GMT
Identity: e30.e30.e30;info=<https://a.example/c.pem>
Identity: eyJwcHQiOiJzaGFrZW4ifQ.eyJvcmlnIjp7InRuIjoiODYxMzgwMjg4MTk0NiJ9fQ.e30;ppt=shaken
y: ..;"
Content-Length: 9999
CSeq: 4294967296 INVITE
Record-Route: <sip:127.0.0.1:5060;lr;sw=>
 folded""".splitlines()
]
ADDRESSES = {address for _, address, _ in PEERS.values()} - {"127.0.0.77", "127.0.0.99"}

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Event).decode
small = st.integers(0, 1 << 16)
step = st.one_of(
    st.tuples(st.just("request"), small, small, small),
    st.tuples(st.just("response"), small, small, small),
    st.tuples(st.just("response"), small, small, small),
    st.tuples(st.just("mutate"), small, small, small),
    st.tuples(st.just("splice"), small, small, small),
    st.tuples(st.just("wait"), small, small, small),
    st.tuples(st.just("other"), small, small, small),
)


@functools.cache
def loaded() -> Any:
    config = edit_config(CONFIG, 'trunk watched methods = ["OPTIONS", "MESSAGE", "SUBSCRIBE", "REFER"]')
    config = edit_config(config, "node max_transactions = 40")
    for hop in ("switch", "pair", "outward"):
        config = edit_config(config, f"next_hop {hop} sign = true")
    config = edit_config(edit_config(config, 'trunk inside attest = "B"'), 'signing x5u = "https://cert.example.net/tests.pem"')
    return load(Path(tempfile.mkdtemp()), config, "customer,trunk,first,last\nacme,acme,+8675583120000,+8675583129999\n", None, asks)


class Storm:
    """A wire on which anybody says anything."""

    def __init__(self) -> None:
        config, ruleset = loaded()
        self.wire = Wire(Proxy(config, ruleset, config.listeners(), SECRET, credential=credential()))
        self.names = [*["pbx", "switch", "peer", "first", "second", "inside", "outward", "pbx"] * 3, *PEERS]
        self.heard: list[bytes] = []
        self.last: tuple[str, bytes] = ("", b"")
        self.reached: set[str] = set()
        """Where requests inside dialogs went before: their retransmissions go there too."""

    def give(self, who: str, data: bytes) -> None:
        wire = self.wire
        self.heard.append(data)
        self.last = (who, data)
        wire.proxy.receive(data, wire.flow_of(who), wire.now)
        self.drain(data)

    def drain(self, cause: bytes = b"") -> None:
        wire = self.wire
        wire.collect()
        allowed = ADDRESSES | {PEERS[self.last[0]][1]} if self.last[0] else ADDRESSES
        for who, data in wire.out:
            message = SipMessage.parse(data)  # what we send is SIP
            address = wire.last[who][0].address
            assert address in allowed or (b"sw=" in cause and address.encode() in cause) or who in self.reached, (who, data, cause)
            self.reached.add(who)
            self.heard.append(data)
            self.note(who, message)
        wire.out.clear()
        wire.calls()  # none is below 0

    def note(self, who: str, message: SipMessage) -> None:
        """A peer understands what came, or it does not."""
        try:
            self.wire.learn(who, message)
        except (ParseError, IndexError, ValueError):
            pass

    def play(self, kind: str, a: int, b: int, c: int) -> None:
        wire = self.wire
        who = self.names[a % len(self.names)]
        party: Party = wire.parties[self.names[(a >> 8) % len(self.names)] if a & 0xC0 == 0 else who]
        words = OPTIONS[c % len(OPTIONS)].split()
        options = {word.partition("=")[0]: word.partition("=")[2] or "yes" for word in words}
        try:
            if kind == "request":
                data = party.request(METHODS[b % len(METHODS)] if b & 0x100 else METHODS[b % 3], options, [])
            elif kind == "response":
                data = party.response(STATUSES[b % len(STATUSES)], None if b & 0x100 else METHODS[(b >> 9) % len(METHODS)], options, [])
            else:
                data = b""
        except (KeyError, StopIteration, IndexError, ValueError, ParseError):
            return  # nothing to go on with
        if data:
            self.give(who, data)
        elif kind == "wait":
            wire.now += (0.0, 0.1, 0.5, 0.6, 4.0, 33.0, 200.0)[b % 7]
            while (due := wire.proxy.next_timer()) is not None and due <= wire.now:
                wire.proxy.handle_timer(wire.now)
                self.drain()
        elif kind == "other":
            self.other(a, b, c)
        elif self.heard:
            said = self.heard[-1 - b % len(self.heard)] if b & 1 else self.heard[-1 - b % min(len(self.heard), 8)]
            self.give(who, spoil(said, c, a) if kind == "mutate" else splice(said, self.heard[c % len(self.heard)], a))

    def other(self, a: int, b: int, c: int) -> None:
        wire, proxy = self.wire, self.wire.proxy
        if a % 4 == 0 and wire.last:
            flow, data = wire.last[sorted(wire.last)[b % len(wire.last)]]
            proxy.send_failed(flow, data, wire.now)
        elif a % 4 == 1:
            for _, ticket in proxy.take_lookups():
                proxy.resume(ticket, (None, "good", "bad")[b % 3], wire.now)
        elif a % 4 == 2:
            config, ruleset = loaded()
            proxy.apply(config, ruleset, wire.now, credential())
        else:
            proxy.resume(b % 5, c, wire.now)
        self.drain()


def spoil(data: bytes, how: int, where: int) -> bytes:
    """One thing about a message changed."""
    lines = data.split(b"\r\n")
    at = where % len(lines)
    match how % 7:
        case 0:
            lines.insert(1 + at % max(len(lines) - 2, 1), LINES[(how >> 3) % len(LINES)])
        case 1:
            del lines[at]
        case 2:
            lines.insert(at, lines[at])
        case 3:
            line = bytearray(lines[at])
            if line:
                line[(how >> 3) % len(line)] = (0, 32, 34, 44, 48, 58, 59, 60, 62, 64, 91, 92, 97, 200)[(how >> 9) % 14]
            lines[at] = bytes(line)
        case 4:
            other = (at + how) % len(lines)
            lines[at], lines[other] = lines[other], lines[at]
        case 5:
            return data[: where % (len(data) + 1)]
        case _:
            lines[at] = lines[at].replace(b": ", b" :\r\n ", 1)
    return b"\r\n".join(lines)


def splice(data: bytes, other: bytes, where: int) -> bytes:
    """A message with some of another's header lines."""
    lines, others = data.split(b"\r\n"), other.split(b"\r\n")
    names = {line.partition(b":")[0]: line for line in others[1:] if line}
    mixed = [lines[0]]
    for at, line in enumerate(lines[1:]):
        name = line.partition(b":")[0]
        mixed.append(names[name] if name in names and where >> (at % 16) & 1 else line)
    return b"\r\n".join(mixed)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(step, min_size=5, max_size=60))
def test_storm(steps: list[tuple[str, int, int, int]]) -> None:
    storm = Storm()
    for one in steps:
        storm.play(*one)
    wire = storm.wire
    wire.proxy.take_lookups()
    storm.last = ("", b"")
    end = wire.now + 1000  # longer than a call may last
    while (due := wire.proxy.next_timer()) is not None and due <= end:
        wire.now = max(wire.now, due)
        wire.proxy.handle_timer(wire.now)
        storm.drain()
    wire.now = end
    left = wire.tables()
    assert not any(left.values()), left
    assert wire.proxy.counters.internal_errors == 0
    assert wire.calls() == {}
    assert all(decode(encode(event)) == event for event in wire.events)
