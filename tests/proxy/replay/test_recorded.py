"""Our own journal, judged again: each Attempt from its trunk then, at its time, by the lines that records keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.decision import Judge
from proxy.events import Answer, Attempt, End, Event, Ringing
from proxy.replay.arrivals import Arrivals, parse_map
from proxy.replay.candidate import load_candidate
from proxy.replay.judging import Replay
from proxy.replay.ladder import Ladders
from proxy.replay.policy import Policy
from proxy.replay.recorded import Recorded
from proxy.replay.row import Row
from proxy.replay.summary import Summary
from proxy.replay.trouble import MESSAGE, Trouble
from tests.proxy.replay.traffic import DAY, message

FOLDER = Path(__file__).parents[2] / "cases" / "judged"
KEPT = ("from", "to", "call-id", "via", "p-asserted-identity", "diversion", "privacy")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(FOLDER / "sipwarden.toml")


def attempt(seconds: float, trunk: str, address: str, status: int = 0, answers: str = "", /, **said: str) -> Attempt:
    """An Attempt as a node records it of a message of our traces."""
    data = message("INVITE", address, **said)
    lines = [line for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:] if line.partition(b":")[0].decode().lower() in KEPT]
    words = dict.fromkeys(Attempt.__struct_fields__, "")
    values: dict[str, Any] = {
        **words,
        "at": int((DAY + seconds) * 1000),
        "call_id": said["id"].encode(),
        "from_tag": b"caller" + said["id"].encode(),
        "trunk": trunk,
        "cseq": 1,
        "address": address,
        "port": 5060,
        "transport": "udp",
        "called_raw": f"sip:{said.get('to', '13800138000')}@127.0.0.1",
        "caller_raw": f"sip:{said.get('from', '+8675583123456')}@{address}",
        "status": status,
        "marks": (),
        "elapsed_us": 10,
        "answers": answers,
        "lines": tuple(lines),
    }
    return Attempt(**values)


def key(seconds: float, call: str, trunk: str) -> tuple[int, bytes, bytes, str, int]:
    return int((DAY + seconds) * 1000), call.encode(), b"caller" + call.encode(), trunk, 1


def replayed(judge: Judge, events: list[Event], mapped: tuple[str, ...] = (), ladders: Ladders | None = None) -> tuple[list[Row], Summary]:
    other = load_candidate(FOLDER / "candidate.toml", judge)
    maps = tuple(map(parse_map, mapped))
    summary = Summary(Trouble())
    policies = (Policy(judge, Arrivals(judge.routing, None, maps)), Policy(other, Arrivals(other.routing, None, maps)))
    replay = Replay(*policies, summary, DAY, ladders)
    return list(replay.run(Recorded(event, f"gw1-0000000001.seg:{place}") for place, event in enumerate(events, 1))), summary


def test_what_yesterdays_calls_would_get(judge: Judge) -> None:
    rows, summary = replayed(
        judge,
        [
            attempt(0, "acme-sz", "127.0.0.2", 403, id="a", **{"from": "+8675583999999"}),
            attempt(1, "acme-sz", "127.0.0.2", id="b"),
            Ringing(*key(2, "b", "acme-sz"), 180),
            attempt(3, "acme-sz", "127.0.0.2", id="c", pai="+8675583123457"),
            Answer(*key(4, "c", "acme-sz"), 200, "switch", "127.0.0.6:5060"),
            End(*key(5, "b", "acme-sz"), 487, "caller", "cancelled"),
            attempt(6, "", "203.0.113.9", 403, id="d"),
        ],
    )
    assert [(row.call_id, row.verdict.code, row.recorded, row.candidate and row.candidate.verdict.code) for row in rows] == [
        ("a", "AUTH_FAIL", 403, "OK"),
        ("b", "AUTH_OK", 487, "AUTH_OK"),
        ("c", "AUTH_OK", 200, "AUTH_OK"),
        ("d", "TRK_UNKNOWN", 403, "TRK_UNKNOWN"),
    ]
    assert (summary.invites, summary.calls, summary.changed, summary.trouble.messages) == (4, 4, 1, 4)
    assert rows[1].json()["time"] == "2026-01-05T02:00:01.000Z"
    assert rows[2].verdict.caller == "+8675583123457"


def test_from_its_trunk_then_whatever_its_address_is_now(judge: Judge) -> None:
    """The trunk counts that the record names, unless the operator says where calls arrive; one that there is no more is unknown."""
    events: list[Event] = [attempt(0, "acme-sz", "198.51.100.1", id="a"), attempt(1, "gone", "127.0.0.2", id="b")]
    rows, _ = replayed(judge, events)
    assert [row.verdict.trunk for row in rows] == ["acme-sz", ""]
    rows, summary = replayed(judge, events, ("198.51.100.0/24=peer-gz",))
    assert [row.verdict.trunk for row in rows] == ["peer-gz", "acme-sz"]
    rows, summary = replayed(judge, events[:1], ("10.0.0.0/8=peer-gz",))
    assert (rows, summary.elsewhere) == ([], 1)


def test_forwarded_calls_are_proven_by_recorded_ones(judge: Judge) -> None:
    forwarded = {"id": "f", "from": "+862087654321", "diversion": "+8675583123456"}
    events: list[Event] = [
        attempt(0, "core", "127.0.0.6", id="in", to="+8675583123456", **{"from": "+862087654321"}),
        attempt(5, "acme-sz", "127.0.0.2", **forwarded),
    ]
    assert [row.verdict.code for row in replayed(judge, events)[0]] == ["OK", "FWD_OK"]
    assert [row.verdict.code for row in replayed(judge, events[1:])[0]] == ["FWD_NO_CORR"]


def test_recorded_answers_of_look_ups_count(judge: Judge) -> None:
    abroad = {"from": "+8613900139000", "id": "a"}
    for answers, code, unanswered in (("roaming=abroad", "INTL_86_ROAMING", ()), ("roaming=-", "INTL_86_UNVERIFIED", ("roaming",))):
        (row,), _ = replayed(judge, [attempt(0, "intl-hk", "127.0.0.5", 0, answers, **abroad)])
        assert (row.verdict.code, row.judged.unanswered) == (code, unanswered)


def test_what_was_malformed_then_is_named(judge: Judge) -> None:
    broken = attempt(0, "acme-sz", "127.0.0.2", 400, id="a")
    bare = attempt(0, "acme-sz", "127.0.0.2", id="b")
    rows, summary = replayed(
        judge,
        [
            Attempt(**{**{name: getattr(broken, name) for name in Attempt.__struct_fields__}, "lines": (b"no header line",)}),
            Attempt(**{**{name: getattr(bare, name) for name in Attempt.__struct_fields__}, "lines": ()}),
        ],
    )
    assert [row.verdict.code for row in rows] == ["AUTH_OK"]  # nothing but what each record has
    (fault,) = summary.trouble.examples[MESSAGE]
    assert fault == ("gw1-0000000001.seg:1", "Bad header line (recorded with status 400)")


def test_a_page_shows_the_lines_that_records_keep(judge: Judge) -> None:
    ladders = Ladders()
    (row,), _ = replayed(judge, [attempt(0, "acme-sz", "127.0.0.2", id="a")], ladders=ladders)
    ladders.keep(row)
    (rung,) = ladders.of(row).rungs
    assert (rung.label, rung.source, rung.destination) == ("INVITE", "127.0.0.2", "127.0.0.1")
    assert rung.text is not None and b"From: <sip:+8675583123456@127.0.0.2>" in rung.text
