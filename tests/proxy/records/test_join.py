"""Events to records: transcripts, whatever their order, and whatever is hostile in them."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.events import Attempt, Event
from proxy.records.columns import NAMES, row
from proxy.records.join import CROWD, LINGER, Call, Joiner
from tests.proxy.records.material import attempt, call, later, parsed

CASES = tomllib.loads((Path(__file__).resolve().parents[2] / "cases/history/joins.toml").read_text(encoding="utf-8"))["case"]
LATE = 80_000_000


def joined(joiner: Joiner, events: list[Event], until: int) -> list[Call]:
    calls: list[Call] = []
    for event in events:
        calls += joiner.feed(event)
    calls += joiner.ripe(until)
    return calls


def shown(calls: list[Call]) -> list[dict[str, Any]]:
    return sorted((dict(zip(NAMES, row(one, "gw1"), strict=True)) for one in calls), key=lambda record: record["received_at"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("order", ["as told", "backwards", "restored"])
def test_transcripts(case: dict[str, Any], order: str) -> None:
    events = [parsed(line) for line in case["events"]]
    if "lines" in case:
        events = [msgspec.structs.replace(event, lines=tuple(line.encode() for line in case["lines"])) for event in events]
    joiner = Joiner()
    if order == "backwards":
        events.reverse()
    if order == "restored":  # the first half was pending when a run ended
        half = len(events) // 2
        assert joined(joiner, events[:half], 0) == []
        restored = Joiner()
        restored.restore(joiner.pending())
        joiner, events = restored, events[half:]
    records = shown(joined(joiner, events, case.get("until", LATE)))
    wanted = case["records"]
    assert [{name: record[name] for name in expected} for record, expected in zip(records, wanted, strict=True)] == [
        {name: None if value == "none" else value for name, value in expected.items()} for expected in wanted
    ]
    assert joiner.size == case.get("pending", 0)
    assert joiner.repeated == case.get("repeated", 0)
    assert joiner.unfinished == case.get("unfinished", 0)


def test_each_call_is_given_out_once_whatever_the_order() -> None:
    draw = random.Random(3)
    events = [event for number in range(300) for event in call(number, 1000 + number * 100)]
    events += draw.sample(events, 100)  # told twice
    draw.shuffle(events)
    joiner = Joiner()
    calls = joined(joiner, events, 10_000_000)
    assert sorted(one.attempt.call_id for one in calls if one.attempt) == sorted(b"call-%d" % number for number in range(300))
    assert all(one.over for one in calls)
    assert (joiner.size, joiner.repeated) == (0, 100)


def test_nothing_is_given_out_before_it_has_been_quiet() -> None:
    joiner = Joiner()
    assert joined(joiner, call(1, 1000), 2000 + LINGER - 1) == []
    assert len(list(joiner.ripe(2000 + LINGER))) == 1


def test_what_is_pending_is_bounded_and_the_oldest_goes_first() -> None:
    joiner = Joiner(most=100)
    calls = joined(joiner, [attempt(at, call_id=b"%d" % at) for at in range(250)], 0)
    assert [one.attempt.at for one in calls if one.attempt] == list(range(150))
    assert (joiner.size, joiner.cut) == (100, 150)


@pytest.mark.parametrize("status", [0, 403])
def test_a_caller_that_redials_for_ever_with_the_same_key(status: int) -> None:
    joiner = Joiner()
    calls: list[Call] = []
    for cseq in range(1, 5001):
        calls += joiner.feed(attempt(cseq, cseq=cseq, status=status))
        assert joiner.size <= CROWD
    calls += joiner.ripe(LATE * 100)
    assert sorted(one.attempt.cseq for one in calls if one.attempt) == list(range(1, 5001))


def test_ends_that_belong_to_nothing_are_bounded_too() -> None:
    joiner = Joiner()
    calls: list[Call] = []
    for at in range(1000):
        calls += joiner.feed(later("end", at, cseq=0))
    assert joiner.size <= CROWD


EVENTS = st.one_of(
    st.builds(attempt, st.integers(0, 10**6), cseq=st.integers(0, 3), status=st.sampled_from([0, 403]), called_raw=st.sampled_from("ab")),
    st.builds(later, st.sampled_from(["ringing", "answer", "end"]), st.integers(0, 10**6), cseq=st.integers(0, 3)),
)


@given(st.lists(EVENTS, max_size=200))
def test_no_attempt_is_lost(events: list[Event]) -> None:
    joiner = Joiner()
    calls = joined(joiner, events, 10**12)
    assert joiner.size == 0
    told = {(event.cseq, event.called_raw) for event in events if isinstance(event, Attempt)}
    kept = {(one.attempt.cseq, one.attempt.called_raw) for one in calls if one.attempt is not None}
    assert kept == told


HOSTILE = st.binary(max_size=60)


@given(st.lists(HOSTILE, max_size=8), HOSTILE, HOSTILE)
def test_any_octets_make_a_record(lines: list[bytes], call_id: bytes, tag: bytes) -> None:
    record = row(Call(attempt(1, lines=tuple(lines), call_id=call_id, from_tag=tag, status=403)), "gw1")
    assert len(record) == len(NAMES)
    for value in record:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                text.encode("utf-8")
