"""The language of tests/cases/flows/*.flow: transcripts of calls through the proxy core.

A line is a step:

    pbx > INVITE to=110 ; Header: value         what a peer sends; options as in `Party.request` and `Party.response`, header lines behind ;
    switch > 180                                a response to the last request that it got (`switch > 200 BYE` names the method)
    pbx > BYE as=abroad                         pbx sends what abroad would have sent
    inside > INVITE relay=switch rr             a neighbour that is a proxy sends on what came to it, here from another of its ports
    switch > 180 relay=inside                   and a response the way back
    < pbx 100                                   what must come out next, and to whom; `< switch INVITE` for a request
    < pbx 403 ; Reason: Q.850;cause=21          lines that must be in it (* stands for anything); `!Route` one that must not;
                                                `uri=...` its Request-URI; `Via#2` how many values a header field has;
                                                `signed {...}` a PASSporT of this node's with these claims, iat and origid apart;
                                                `same Identity first` the lines that peer first got in its last INVITE
    +0.5                                        time passes; what comes out meanwhile is expected below
    nothing                                     nothing more came out
    failed outward                              the last message to this stream peer could not be sent
    restart                                     a new worker with the same secret takes over, and finds what the old one counted
    drain                                       the worker is told to take no more calls
    restart anew                                and finds nothing
    segments customer,trunk,first,last,...      before all other steps: segments.csv, its lines parted by |
    reload trunk acme suspended = true          a new configuration is put in force (as many edits as there are, separated by ;)
    ask roaming 123 within=1.5                  a look-up was asked for, with that deadline in seconds
    answer abroad                               and is answered
    count failovers 1                           a counter's value (`count signatures A 1`: calls signed so)
    event end caller bye acme                   what was told of calls: `event attempt pass AUTH_OK acme` (action, code, trunk, and the
                                                status where we answered), `event ringing 180 acme`, `event answer 200 switch acme`,
                                                `event end callee refused 486 acme`; once a flow has one, all must be there, in order
    calls acme 1                                how many calls of a trunk are not over, on all workers; `calls` alone: of none
    worker 1                                    what follows reaches this worker; from the first such step on there are two
    config trunk acme methods = ["MESSAGE"]     before all other steps: the configuration that the flow runs with
    # a comment

Everything that comes out must be expected: a step that sends, or lets time pass, fails while earlier output is unread.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from proxy.call_records import HEADER, RECORD
from proxy.call_table import CallTable
from proxy.core import Proxy
from proxy.events import Answer, Attempt, End, Event, Ringing
from proxy.flow import Listener
from proxy.owners import Owners, octets
from proxy.signing import Credential
from proxy.sip.message import SipMessage
from proxy.tally import ROW_SIZE
from rules.call import Call
from rules.verdict import Lookup, Outcome
from tests.proxy.passports import claims_of, credential
from tests.proxy.wire import CONFIG, SECRET, SEGMENTS, Wire, edit_config, load, make_proxy
from tests.rules.legs import shared

_EXPECTS = re.compile(r"< (?P<who>[\w:.\[\]-]+) (?P<what>\w+)(?P<headers>(?: ; .*)?)")


def asks(call: Call) -> Outcome | Lookup | None:
    """A rule as a third party would write it: waits for a look-up on calls from ...7777, for two on ...7778."""
    if call.sender.partition("@")[0][-4:] not in ("7777", "7778"):
        return None
    answers = call.answers or {}
    if ("asked", "once") not in answers:
        return Lookup("asked", "once", 1.0)
    if call.sender.partition("@")[0].endswith("7778") and ("asked", "twice") not in answers:
        return Lookup("asked", "twice", 2.0)
    return Outcome("reject", "ASKED") if "bad" in answers.values() else Outcome("ok", "ASKED")


class Transcript:
    """One flow being played."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = CONFIG
        self.started: Wire | None = None
        self.tickets: list[int] = []
        self.salt = 0
        self.segments = SEGMENTS
        self.tables = [MadeTable(number) for number in range(2)]
        self.owners = memoryview(bytearray(octets(2)))
        self.expects_events = False

    @property
    def wire(self) -> Wire:
        """The wire, made when it is first needed."""
        if self.started is None:
            self.started = Wire(make_proxy(self.folder, self.config, self.segments, check=asks, credential=self.credential))
            self.started.proxy.count_calls(self.tables[0].table(), 0.0)
        return self.started

    @property
    def credential(self) -> Credential | None:
        """What the tests sign with, where the configuration has it."""
        return credential() if "[signing]" in self.config else None

    def play(self, text: str) -> Wire:
        """Play a transcript; AssertionError with the line that went wrong."""
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            try:
                self._step(line)
            except AssertionError as failure:
                raise AssertionError(f"line {number}: {line}: {failure}") from None
        self._all_read()
        wire = self.wire
        if self.expects_events:
            assert not wire.told, f"not expected: {[told(event) for event in wire.told]}"
        return wire

    def _all_read(self) -> None:
        assert not self.wire.out, f"unread: {self.wire.lines()}"

    def _step(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "config":
            assert self.started is None, "after other steps"
            self.config = edit_config(self.config, rest)
            return
        if word == "segments":
            assert self.started is None, "after other steps"
            self.segments = rest.replace("|", "\n") + "\n"
            return
        wire = self.wire
        if word == "event":
            self.expects_events = True
            assert wire.told, "no event"
            event = told(wire.told.pop(0))
            assert event == rest, f"event {event}"
            return
        if word == "calls":
            assert wire.calls() == ({} if not rest else {rest.split()[0]: int(rest.split()[1])}), wire.calls()
            return
        if word == "worker":
            self._to_worker(int(rest))
            return
        if line == "nothing":
            assert not wire.out, f"came out: {wire.lines()}"
        elif line.startswith("+"):
            self._all_read()
            wire.wait(float(line[1:]))
        elif word == "failed":
            flow, data = wire.last[rest]
            wire.proxy.send_failed(flow, data, wire.now)
            wire.collect()
        elif word == "drain":
            wire.proxy.drain()
        elif word == "restart":
            if rest == "anew":
                self.tables[wire.at] = MadeTable(wire.at)
            self._restart()
        elif word == "reload":
            for edit in rest.split(" ; ") if rest else []:
                self.config = edit_config(self.config, edit)
            wire.proxy.apply(*load(self.folder, self.config, self.segments, None, asks), wire.now, self.credential)
            wire.collect()
        elif word == "ask":
            lookups = wire.proxy.take_lookups()
            kind, key, *within = rest.split()
            assert [(lookup.kind, lookup.key) for lookup, _ in lookups] == [(kind, key)], lookups
            assert not within or f"within={lookups[0][0].deadline:g}" == within[0], lookups[0][0].deadline
            self.tickets.append(lookups[0][1])
        elif word == "answer":
            wire.proxy.resume(self.tickets[-1], None if rest == "none" else rest, wire.now)
            wire.collect()
        elif word == "count" and rest.startswith("signatures "):
            outcome, value = rest.split()[1:]
            assert wire.proxy.counters.signatures.get(outcome, 0) == int(value), wire.proxy.counters.signatures
        elif word == "count":
            name, value = rest.split()
            assert getattr(wire.proxy.counters, name) == int(value), getattr(wire.proxy.counters, name)
        elif found := _EXPECTS.fullmatch(line):
            _expect(wire, found["who"], found["what"], _headers(found["headers"]))
        elif " > " in line:
            self._all_read()
            self._send(line)
        else:
            raise AssertionError("not a step")

    def _restart(self) -> None:
        old = self.wire
        listeners = old.proxy.routing.listeners
        old.proxy = self._another(old.at, listeners, old.now)
        old.collect()

    def _another(self, number: int, listeners: list[Listener], now: float) -> Proxy:
        self.salt += 1
        proxy = make_proxy(
            self.folder,
            self.config,
            self.segments,
            check=asks,
            listeners=listeners,
            salt=b"%04d" % self.salt,
            now=now,
            credential=self.credential,
            worker=number,
        )
        proxy.keep_events()
        proxy.count_calls(self.tables[number].table(self.tables), now)
        if len(self.wire.proxies) > 1 or number:
            proxy.share_owners(Owners(self.owners, number, SECRET))
        return proxy

    def _to_worker(self, number: int) -> None:
        wire = self.wire
        if len(wire.proxies) == 1:
            wire.proxies[0].count_calls(self.tables[0].table(self.tables), wire.now)
            wire.proxies[0].share_owners(Owners(self.owners, 0, SECRET))
            wire.proxies.append(self._another(1, wire.proxy.routing.listeners, wire.now))
            for proxy, legs in zip(wire.proxies, shared(2), strict=True):
                proxy.share_legs(legs)
        wire.at = number

    def _send(self, line: str) -> None:
        wire = self.wire
        who, _, rest = line.partition(" > ")
        said, *headers = [part.strip() for part in rest.split(" ; ")]
        what, *words = said.split()
        options = {word.partition("=")[0]: word.partition("=")[2] or "yes" for word in words}
        speaker = wire.parties[options.get("as", who)]
        if "relay" in options:
            neighbour = wire.parties[options["relay"]]
            if what.isdigit():
                message = neighbour.got[next((word for word in words if word.isupper()), "INVITE")]
                assert message.status == int(what)
                message.remove_values(b"via", 1)
                data = message.to_bytes()
                message.undo_edits()
            else:
                data = speaker.relay(neighbour.got["request " + what].raw, options, headers)
        elif what.isdigit():
            data = speaker.response(int(what), next((word for word in words if word.isupper()), None), options, headers)
        else:
            data = speaker.request(what, options, headers)
        wire.give(data, wire.flow_of(who))


class MadeTable:
    """Memory of one worker's calls that outlives it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.row = memoryview(bytearray(ROW_SIZE)).cast("Q")
        self.records = memoryview(bytearray(HEADER + 512 * RECORD))

    def table(self, all_of: list[MadeTable] | None = None) -> CallTable:
        """The table as the worker sees it, alone or with others."""
        rows = [self.row] if all_of is None else [one.row for one in all_of]
        return CallTable(rows, self.records, self.number)


def told(event: Event) -> str:
    """An event as a transcript has it."""
    match event:
        case Attempt():
            said = [event.action or "-", event.code or "-", event.trunk or "-", *([str(event.status)] if event.status else [])]
            if event.would_code:
                said.append(f"would={event.would_code}")
            return " ".join(["attempt", *said])
        case Ringing():
            return f"ringing {event.status} {event.trunk}"
        case Answer():
            return f"answer {event.status} {event.egress} {event.trunk}"
        case End():
            return " ".join(["end", event.by, event.why, *([str(event.status)] if event.status else []), event.trunk])
    raise AssertionError(event)


def play(text: str, folder: Path) -> Wire:
    """Play a flow through a proxy whose files are in `folder`; the wire, to look at what is left."""
    return Transcript(folder).play(text)


def _headers(text: str) -> list[str]:
    return [part.strip() for part in text.split(" ; ") if part.strip()]


def _expect(wire: Wire, who: str, what: str, headers: list[str]) -> None:
    assert wire.out, "nothing came out"
    to, data = wire.out.pop(0)
    message = SipMessage.parse(data)
    got = message.method.decode() if message.is_request else str(message.status)
    shown = data.decode(errors="replace")
    assert (to, got) == (who, what), f"came out to {to}:\n{shown}"
    for header in headers:
        if header.startswith("!"):
            assert header[1:].lower().encode() not in message.first_line, f"{header[1:]} is in\n{shown}"
        elif header.startswith("uri="):
            assert message.uri == header[4:].encode(), f"\n{shown}"
        elif header.startswith("same "):
            name, other = header[5:].split()
            before = wire.parties[other].got["request INVITE"]
            lines = [[one.lines[at] for at in one.positions(name.lower().encode())] for one in (before, message)]
            assert lines[0] == lines[1] != [], f"not {lines[0]} in\n{shown}"
        elif header.startswith("signed "):
            signed = [claims_of(value.decode()) for value in message.all(b"identity")]
            assert json.loads(header[7:]) in [claims for claims in signed if claims is not None], f"{signed} in\n{shown}"
        elif found := re.fullmatch(r"([\w-]+)#(\d+)", header):
            assert len(message.all(found[1].lower().encode())) == int(found[2]), f"not {header}:\n{shown}"
        else:
            pattern = re.escape(header).replace(r"\*", "[^\r\n]*")
            assert re.search(rf"(?m)^{pattern}\r?$", shown), f"no {header!r} in\n{shown}"
    wire.learn(who, message)
