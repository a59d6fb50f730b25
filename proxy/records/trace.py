"""Traceback (通话溯源): the calls that a question may mean, the best first, and what is shown of each to whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from proxy.records.likeness import RANKS, Match, likeness
from proxy.records.search import Record
from rules.call import Source
from rules.numbers import normalise
from rules.numbers.mask import masked
from rules.numbers.sought import Sought, uri_of

MOST: Final = 10_000
"""Calls that one answer shows at the most, the best."""

_SEEN: Final = 6
"""Last digits of a number by which it is found, and hidden, inside a Call-ID."""


class Found(msgspec.Struct, frozen=True):
    """One call of an answer, as it is shown: numbers whole, or masked. Times in ms, UTC; "" where nothing is known."""

    record: Record
    match: Match
    caller: str
    called: str
    sent_as: str
    call_id: str
    icid: str

    @property
    def source(self) -> str:
        """Transport, address and port."""
        record = self.record
        return str(Source(record.address, record.port or 0, record.transport or "udp")) if record.address else ""


def ranked(records: Iterable[Record], caller: Sought | None, at: int, *, whole: bool) -> tuple[list[Found], int]:
    """The calls of an answer, the best first: by match, how near it is, and how far (ms) from the time that was named; and how many there
    were. `whole` shows numbers whole.
    """
    judged: list[tuple[int, int, int, int, str, Match, Record]] = []
    for record in records:
        match, far = _match(record, caller)
        judged.append((RANKS[match], far, abs(record.received_at - at), record.received_at, record.call_id, match, record))
    judged.sort(key=lambda entry: entry[:5])
    return [_shown(entry[6], entry[5], whole=whole) for entry in judged[:MOST]], len(judged)


def _match(record: Record, caller: Sought | None) -> tuple[Match, int]:
    if caller is None:
        return "called", 0
    written = [value for value in (record.sent_as, record.caller_raw) if value]
    return likeness(caller, (record.caller,), (*written, *(record.pai or ()), *(record.from_ or ()), *(record.ppi or ())))


def _shown(record: Record, match: Match, *, whole: bool) -> Found:
    caller, called = _number(record.caller, record.caller_raw), _number(record.called, record.called_raw)
    sent_as = _number(None, record.sent_as)
    call_id, icid = record.call_id, record.icid or ""
    if whole:
        return Found(record, match, caller, called, sent_as, call_id, icid)
    persons = [number for number in (caller, called, sent_as) if number]
    return Found(record, match, hidden(caller), hidden(called), hidden(sent_as), _without(call_id, persons), _without(icid, persons))


def _number(canonical: str | None, raw: str | None) -> str:
    """A canonical number, or where there is none the user part as it was written."""
    if canonical:
        return canonical
    if not raw:
        return ""
    number = normalise(uri_of(raw), None)
    return number.canonical or number.digits or number.raw


def hidden(number: str) -> str:
    """A number as everybody may see it."""
    return masked(normalise(number, None)) if number else ""


def _without(text: str, numbers: Sequence[str]) -> str:
    """A Call-ID or icid without the numbers of its call, which some equipment writes into it."""
    for number in numbers:
        shown = hidden(number)
        digits = number.lstrip("+")
        if shown in (number, digits.removeprefix("86")):
            continue
        for spelling in (digits, digits.removeprefix("86"), digits[-8:], digits[-_SEEN:]):
            if len(spelling) >= _SEEN:
                text = text.replace(spelling, "****")
    return text


def row_json(found: Found) -> dict[str, Any]:
    """A row as product.md has it."""
    record = found.record
    return {
        "time": utc(record.received_at),
        "trunk": record.trunk,
        "customer": record.customer,
        "upstream": record.upstream,
        "source": found.source or None,
        "call_id": found.call_id,
        "icid": found.icid or None,
        "caller": found.caller or None,
        "called": found.called or None,
        "action": record.action,
        "code": record.code,
        "match": found.match,
    }


def utc(at: int) -> str:
    """A time (ms) in ISO 8601, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
