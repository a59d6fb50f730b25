"""Events and journals for tests of the history."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from proxy.events import Answer, Attempt, End, Event, Ringing
from proxy.journal.frame import frame
from proxy.journal.segment import Header, begin, file_name

ATTEMPT = Attempt(
    at=0,
    call_id=b"a",
    from_tag=b"f",
    trunk="t",
    cseq=1,
    kind="interconnect",
    customer="",
    upstream="peer",
    address="192.0.2.1",
    port=5060,
    transport="udp",
    caller="+8613800138000",
    caller_kind="MOB",
    called="+8675583123456",
    called_kind="GEO",
    caller_raw="sip:13800138000@h",
    called_raw="sip:075583123456@h",
    action="pass",
    code="PASS",
    rule="",
    status=0,
    marks=(),
    mode="enforce",
    would_code="",
    would_rule="",
    policy_version="p",
    directory_version="d",
    elapsed_us=20,
    egress="switch",
    sent_as="",
    answers="",
    passport="",
    lines=(),
)
LATER: dict[str, Event] = {
    "ringing": Ringing(0, b"a", b"f", "t", 1, 180),
    "answer": Answer(0, b"a", b"f", "t", 1, 200, "switch", ""),
    "end": End(0, b"a", b"f", "t", 1, 0, "caller", "bye"),
}


def attempt(at: int, **changes: Any) -> Attempt:
    return msgspec.structs.replace(ATTEMPT, at=at, **changes)


def later(kind: str, at: int, **changes: Any) -> Event:
    return msgspec.structs.replace(LATER[kind], at=at, **changes)


def call(number: int, at: int, **changes: Any) -> list[Event]:
    """The events of an answered call of its own, that ended a second later."""
    key = {"call_id": b"call-%d" % number, "from_tag": b"tag-%d" % number}
    return [attempt(at, **key, **changes), later("answer", at + 500, **key), later("end", at + 1000, cseq=0, **key)]


def parsed(line: str) -> Event:
    """One event of a case file."""
    kind, at, *words = line.split(" ")
    changes: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        changes[name] = int(value) if value.isdigit() else value.encode() if name in ("call_id", "from_tag") else value
    return attempt(int(at), **changes) if kind == "attempt" else later(kind, int(at), **changes)


def segment(journal: Path, serial: int, events: Iterable[Event], *, ending: str = ".seg", started: int = 0, tail: bytes = b"") -> Path:
    """A segment as the keeper leaves it."""
    journal.mkdir(exist_ok=True)
    path = journal / file_name("gw1", serial, ending)
    data = begin(Header("gw1", serial, started))
    position = 0
    for event in events:
        whole = frame(0, position, msgspec.msgpack.encode(event))
        position += len(whole)
        data += whole
    path.write_bytes(data + tail)
    return path
