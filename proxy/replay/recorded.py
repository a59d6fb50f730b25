"""A call of our own journal, as an INVITE that can be judged again: the lines that records keep, and what no INVITE can do without."""

from __future__ import annotations

from typing import Final

from proxy.events import Answer, Attempt, End, Event
from proxy.replay.arrivals import Arrival
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage, canonical_name
from proxy.validate import Request
from rules.call import Trunk

_WORDS: Final = frozenset("-+")
"""How records tell of no answer, and of one that is no word."""


class Recorded:
    """An event of a journal, and where it stands (`segment:number`)."""

    __slots__ = ("at", "event", "place")

    def __init__(self, event: Event, place: str) -> None:
        self.event = event
        self.place = place
        self.at = event.at / 1000


def request_of(attempt: Attempt, arrival: Arrival, trunk: Trunk) -> Request:
    """The INVITE of an Attempt. ParseError where its lines are none of an INVITE (such a call was refused as malformed, then too).

    What records do not keep cannot be judged again: bodies, what a long header section had at its end, and in records of before it was
    kept Remote-Party-ID and Date. Whose call it was, where customers share a trunk, is taken as it was found then.
    """
    lines = list(attempt.lines)
    present = set()
    for line in lines:
        present.add(canonical_name(line))
    called, caller = _octets(attempt.called_raw), _octets(attempt.caller_raw)
    needed = {
        b"via": b"Via: SIP/2.0/UDP recorded.invalid;branch=z9hG4bKrecorded",
        b"from": b"From: <" + caller + b">;tag=" + attempt.from_tag,
        b"to": b"To: <" + called + b">",
        b"call-id": b"Call-ID: " + attempt.call_id,
    }
    lines += [line for name, line in needed.items() if name not in present]
    if trunk.customer_header is not None and attempt.customer:
        lines.append(f"{trunk.customer_header}: {attempt.customer}".encode())
    lines += [b"CSeq: %d INVITE" % attempt.cseq, b"Content-Length: 0", b"", b""]
    request = Request(SipMessage.parse(b"\r\n".join([b"INVITE " + called + b" SIP/2.0", *lines])), arrival.flow, arrival.key)
    if request.to_tag:
        raise ParseError(0, "An INVITE inside a call")
    return request


def answers_of(attempt: Attempt) -> dict[str, object]:
    """What look-ups answered then, by their kind, where records tell."""
    said: dict[str, object] = {}
    for pair in attempt.answers.split():
        kind, _, word = pair.partition("=")
        if word and word not in _WORDS:
            said[kind] = word
    return said


def key_of(event: Event) -> bytes:
    """What finds a call's Attempt by its later events."""
    return b"\n".join((b"journal", event.call_id, event.from_tag, event.trunk.encode(), b"%d" % event.cseq))


def final_status(event: Event) -> int:
    """The final response that an event tells of, 0 where it tells of none."""
    return event.status if isinstance(event, Attempt | Answer | End) else 0


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
