"""Calls are counted right whatever happens: messages lost, sent again and out of order, workers killed, two of them at once."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core import Proxy
from proxy.events import Answer, Attempt, End, Event, Ringing
from proxy.owners import Owners, octets
from proxy.sip.message import SipMessage
from tests.proxy.party import Party
from tests.proxy.transcript import MadeTable, told
from tests.proxy.wire import CONFIG, SECRET, SEGMENTS, Wire, edit_config, load

FINALS = (200, 200, 200, 200, 486, 503, 408, 302, 407, 603)
LIMIT = 3


@functools.cache
def loaded() -> Any:
    config = edit_config(CONFIG, f"trunk acme max_calls = {LIMIT}")
    return load(Path(tempfile.mkdtemp()), config, SEGMENTS, None, None)


class Caller(Party):
    """One call's caller, and its callee, at addresses that all calls share."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name)
        self.calls = number
        self.serial = number * 1000


class Call:
    """One call: who reaches which worker, and what both sides have seen."""

    def __init__(self, number: int, random: Random) -> None:
        self.caller = Caller("pbx", number)
        self.callees: dict[str, Party] = {"switch": Party("switch")}
        self.workers = {"pbx": random.randrange(2), "switch": random.randrange(2)}
        self.key = b""
        self.began = False
        self.cancelled = False
        self.answered = False
        self.uncertain = False
        self.times: dict[str, float] = {}

    def within(self, what: str, seconds: float, now: float) -> bool:
        """Whether something began no longer ago than that."""
        return now - self.times.setdefault(what, now) < seconds


class Chaos:
    """Two workers, some calls, and a network that loses, repeats and holds back."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.tables = [MadeTable(0), MadeTable(1)]
        self.owners = memoryview(bytearray(octets(2)))
        self.listeners = loaded()[0].listeners()
        self.wire = Wire(self.worker(0, 0.0))
        self.wire.proxies.append(self.worker(1, 0.0))
        self.calls = [Call(number, random) for number in range(1, 7)]
        self.flying: list[tuple[str, bytes]] = []
        self.starts = 0

    def worker(self, number: int, now: float) -> Proxy:
        config, ruleset = loaded()
        salt = b"%08d" % self.random.randrange(10**8)
        proxy = Proxy(config, ruleset, self.listeners, SECRET, worker=number, salt=salt, now=now)
        proxy.keep_events()
        proxy.count_calls(self.tables[number].table(self.tables), now)
        proxy.share_owners(Owners(self.owners, number, SECRET))
        return proxy

    def send(self, call: Call, who: str, data: bytes) -> None:
        """A peer's message on its way to the node: lost, once or twice."""
        luck = self.random.random()
        for _ in range(0 if luck < 0.1 else 2 if luck < 0.25 else 1):
            self.flying.append((f"{self.calls.index(call)} {who}", data))

    def deliver(self) -> None:
        where, data = self.flying.pop(self.random.randrange(min(3, len(self.flying))))
        number, who = where.split()
        call = self.calls[int(number)]
        wire = self.wire
        wire.at = call.workers[who] if self.random.random() < 0.9 else self.random.randrange(2)
        if data.startswith(b"INVITE") and any(
            isinstance(event, Attempt) and event.status and event.call_id == call.caller.call_id.encode() for event in wire.events
        ):
            call.uncertain = True  # what one worker has refused the other does not know of
        wire.give(data, wire.flow_of(who))
        self.read()

    def read(self) -> None:
        """What the node sent: lost on the way, or understood by whom it is for."""
        wire = self.wire
        for who, data in wire.out:
            message = SipMessage.parse(data)
            call = self.call_of(message)
            if call is None or self.random.random() < 0.1:
                continue
            if who == "pbx":
                call.caller.learn(message)
                if not message.is_request and (message.first(b"cseq") or b"").endswith(b"INVITE"):
                    if message.status >= 300:
                        self.send(call, "pbx", call.caller.request("ACK", {}, []))
                    elif message.status >= 200:
                        call.answered = True
                        self.send(call, "pbx", call.caller.request("ACK", {}, []))
                elif message.is_request and message.method != b"ACK":
                    self.send(call, "pbx", call.caller.response(self.random.choice((200, 481)), message.method.decode(), {}, []))
            elif who == "switch":
                callee = call.callees["switch"]
                callee.learn(message)
                if message.is_request and message.method in (b"BYE", b"CANCEL", b"INFO"):
                    status = 481 if message.method == b"INFO" and self.random.random() < 0.3 else 200
                    self.send(call, "switch", callee.response(status, message.method.decode(), {}, []))
        wire.out.clear()
        counts = wire.calls()
        assert counts.get("acme", 0) <= LIMIT, counts

    def call_of(self, message: SipMessage) -> Call | None:
        found = [call for call in self.calls if call.caller.call_id.encode() == message.first(b"call-id")]
        return found[0] if found else None

    def act(self) -> None:
        """Somebody does something."""
        random, wire = self.random, self.wire
        what = random.randrange(20)
        call = random.choice(self.calls)
        caller, callee = call.caller, call.callees["switch"]
        if what < 8 and self.flying:
            self.deliver()
        elif what < 10 and not call.began:
            call.began = call.within("invited", 30, wire.now)
            self.send(call, "pbx", caller.request("INVITE", {"new": "yes"}, []))
        elif what == 10 and call.began and "INVITE" not in caller.got and call.within("invited", 30, wire.now):
            call.uncertain = call.uncertain or self.starts > 0
            self.send(call, "pbx", caller.request("INVITE", {"again": "yes"}, []))
        elif what < 14 and "request INVITE" in callee.got and call.within("called", 30, wire.now):
            self.send(call, "switch", callee.response(random.choice((100, 180, 183, *FINALS)), "INVITE", {"tag": random.choice("aab")}, []))
        elif what == 14 and call.began and not call.answered and "INVITE" in caller.got and caller.got["INVITE"].status < 200:
            self.send(call, "pbx", caller.request("CANCEL", {}, []))
        elif what == 15 and call.answered and call.within("caller hung up", 32, wire.now):
            self.send(call, "pbx", caller.request("BYE", {"again": "yes"} if "BYE" in caller.sent else {}, []))
        elif what == 16 and callee.routes and ("request ACK" in callee.got or call.within("called", 60, wire.now)):
            if not call.within("callee hung up", 32, wire.now):
                return
            self.send(call, "switch", callee.request("BYE", {"again": "yes"} if "BYE" in callee.sent else {}, []))
        elif what == 17 and call.answered:
            self.send(call, "pbx", caller.request("INFO", {}, []))
        elif what == 18:
            seconds = random.choice((0.1, 0.5, 4.0, 33.0))
            if seconds > 5:
                self.flying.clear()  # no message stays in a network for so long (RFC 3261's T4)
            wire.wait(seconds)
            self.read()
        elif what == 19 and random.random() < 0.3:
            self.starts += 1
            for one in self.calls:
                one.uncertain = one.uncertain or (one.began and "INVITE" not in one.caller.got)
            for where, data in self.flying:
                if data.startswith(b"INVITE"):
                    self.calls[int(where.split()[0])].uncertain = True
            at = random.randrange(2)
            wire.proxies[at] = self.worker(at, wire.now)
            wire.collect()
            self.read()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32))
def test_counts_hold_whatever_happens(seed: int) -> None:
    chaos = Chaos(Random(seed))
    for _ in range(220):
        chaos.act()
    wire = chaos.wire
    for _ in range(60):
        wire.wait(20)
        wire.out.clear()
    assert wire.calls() == {}
    for proxy in wire.proxies:
        assert not proxy._calls._open and not proxy._calls._over
    for call in chaos.calls:
        events = [event for event in wire.events if event.call_id == call.caller.call_id.encode() and call.began]
        assert_one_call(events, uncertain=call.uncertain)


def assert_one_call(events: list[Event], *, uncertain: bool) -> None:
    """One Attempt, at most one Ringing and Answer, one End; after a late answer another. `uncertain`: an INVITE was sent again to a worker
    that knew nothing of it.
    """
    said = [told(event) for event in events]
    attempts = [event for event in events if isinstance(event, Attempt)]
    ends = [place for place, event in enumerate(events) if isinstance(event, End)]
    answers = [place for place, event in enumerate(events) if isinstance(event, Answer)]
    ringing = [event for event in events if isinstance(event, Ringing)]
    if not uncertain:
        assert len(attempts) <= 1, said
        assert len(ringing) <= 1, said
    assert len(answers) <= 1, said
    late = sum(any(end < answer for end in ends) for answer in answers)
    sent_on = [attempt for attempt in attempts if not attempt.status]
    assert len(ends) <= len(sent_on) + late, said
    if sent_on:
        assert len(ends) >= 1, said
