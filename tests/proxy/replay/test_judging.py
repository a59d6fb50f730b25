from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from proxy.decision import Judge
from proxy.replay import judging
from proxy.replay.arrivals import Arrivals, WrongArrival, parse_map
from proxy.replay.candidate import load_candidate
from proxy.replay.judging import Replay
from proxy.replay.message import Captured
from proxy.replay.policy import Policy
from proxy.replay.row import Row
from proxy.replay.summary import Summary
from proxy.replay.trouble import MESSAGE, Trouble
from tests.proxy.replay.traffic import DAY, message, trace

FOLDER = Path(__file__).parents[2] / "cases" / "judged"
TRACES = tomllib.loads((FOLDER / "traces.toml").read_text(encoding="utf-8"))["trace"]
NOW = DAY + 86_400 * 300


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(FOLDER / "sipwarden.toml")


def replayed(
    judge: Judge,
    messages: Any,
    trunk: str | None = None,
    mapped: list[str] | None = None,
    candidate: str | None = None,
) -> tuple[list[Row], Summary]:
    maps = tuple(parse_map(text) for text in mapped or ())
    other = None
    if candidate is not None:
        loaded = load_candidate(FOLDER / candidate, judge)
        other = Policy(loaded, Arrivals(loaded.routing, trunk, maps, absent_is_unknown=True))
    summary = Summary(Trouble())
    replay = Replay(Policy(judge, Arrivals(judge.routing, trunk, maps)), other, summary, NOW)
    return list(replay.run(counted(messages, summary))), summary


def counted(messages: Any, summary: Summary) -> Any:
    for one in messages:
        summary.trouble.messages += 1
        yield one


def told(row: Row) -> str:
    verdict = row.verdict
    words = [row.call_id, verdict.action, verdict.code or "none", str(verdict.status or "-"), str(row.recorded or "-")]
    if row.candidate is not None:
        words.append(row.candidate.verdict.code)
    return " ".join(words)


@pytest.mark.parametrize("case", TRACES, ids=[case["name"] for case in TRACES])
def test_each_trace(case: dict[str, Any], judge: Judge) -> None:
    rows, summary = replayed(judge, trace(case["messages"]), case.get("trunk"), case.get("map"), case.get("candidate"))
    assert [told(row) for row in rows] == case["rows"]
    figures = {name: getattr(summary, name) for name in ("invites", "again", "inside", "ours", "elsewhere", "unanswered", "changed")}
    figures |= {"messages": summary.trouble.messages, "unparsable": summary.trouble.unparsable}
    assert {name: value for name, value in figures.items() if value} == case["counts"]
    assert summary.calls == len(rows) == sum(summary.actions.values()) == sum(summary.codes.values())
    named = summary.trouble.examples.get(MESSAGE, [])
    assert len(named) == len(case.get("faults", ()))
    for fault, words in zip(named, case.get("faults", ()), strict=True):
        assert words in fault.why


def test_row(judge: Judge) -> None:
    (row,), _ = replayed(judge, trace("0.5 127.0.0.5 > 127.0.0.1 INVITE id=a from=+8613800138000"), candidate="candidate.toml")
    document = row.json()
    fields = "time call_id source action code rule status phrase caller called trunk customer marks labels mode would policy_version"
    assert list(document) == [*f"{fields} directory_version elapsed_us recorded_status unanswered candidate".split()]
    assert document["time"] == "2026-01-05T02:00:00.500Z"
    assert document["source"] == "127.0.0.5:5060"
    assert document["recorded_status"] is None
    assert document["unanswered"] == ("roaming",) == document["candidate"]["unanswered"]
    assert document["policy_version"] != document["candidate"]["policy_version"]


def test_without_time_or_address(judge: Judge) -> None:
    lone = Captured(0.0, "", 0, "", 0, "udp", message("INVITE", "127.0.0.2", id="a"), "lone.sip:1")
    (row,), summary = replayed(judge, [lone], trunk="acme-sz")
    document = row.json()
    assert (document["time"], document["source"], document["code"]) == (None, None, "AUTH_OK")
    assert summary.untimed == 1
    lone.data = message("INVITE", "127.0.0.2", id="b", **{"from": "+8675583125001"})
    assert [row.verdict.code for row in replayed(judge, [lone], trunk="acme-sz")[0]] == ["AUTH_FAIL"]  # as of now: that day is over
    (row,), _ = replayed(judge, [lone])
    assert row.verdict.code == "TRK_UNKNOWN"


@pytest.mark.parametrize("at", [1e300, -5.0, 253_402_300_800.0, float("inf")])
def test_a_time_that_is_none(at: float, judge: Judge) -> None:
    wild = Captured(at, "127.0.0.2", 5060, "127.0.0.1", 5060, "udp", message("INVITE", "127.0.0.2"), "wild.pcap:1")
    (row,), _ = replayed(judge, [wild])
    assert (row.json()["time"], row.verdict.code) == (None, "AUTH_OK")


def test_ipv6(judge: Judge) -> None:
    data = message("INVITE", "127.0.0.2", sent_by="[2001:db8::2]:5070")
    six = Captured(DAY, "2001:db8::2", 5070, "2001:db8::1", 5060, "udp", data, "six.pcap:1")
    (row,), _ = replayed(judge, [six], mapped=["[2001:db8::]/32=acme-sz".replace("[", "").replace("]", "")])
    assert (row.json()["source"], row.verdict.code) == ("[2001:db8::2]:5070", "AUTH_OK")


def test_cut_by_the_capture(judge: Judge) -> None:
    """What the capture's snapshot length has cut within the body is judged; within the header section it cannot be."""
    whole = message("INVITE", "127.0.0.2", id="a")
    cut = [
        Captured(DAY, "127.0.0.2", 5060, "127.0.0.1", 5060, "udp", whole[:-50], "cut.pcap:1", False),
        Captured(DAY, "127.0.0.2", 5060, "127.0.0.1", 5060, "udp", whole[:150], "cut.pcap:2", False),
    ]
    rows, summary = replayed(judge, cut)
    assert [row.verdict.code for row in rows] == ["AUTH_OK"]
    assert (summary.invites, summary.trouble.unparsable) == (2, 1)


def test_stream_without_content_length(judge: Judge) -> None:
    """RFC 3261 §18.3, as the live proxy has it."""
    data = message("INVITE", "127.0.0.2").replace(b"Content-Length", b"X-Length")
    rows, summary = replayed(judge, [Captured(DAY, "127.0.0.2", 5060, "127.0.0.1", 5060, "tcp", data, "t.pcap:1")])
    assert not rows
    assert "400" in summary.trouble.examples[MESSAGE][0].why


def test_own_connections(judge: Judge) -> None:
    """What the node sent over a connection of its own comes from no listener's port; its Via tells."""
    data = message("INVITE", "127.0.0.1", branch="z9hG4bKsw0.1", sent_by="127.0.0.1:5060")
    rows, summary = replayed(judge, [Captured(DAY, "127.0.0.1", 40_000, "127.0.0.6", 5060, "tcp", data, "t.pcap:1")])
    assert (len(rows), summary.ours) == (0, 1)


def test_memory_is_bounded(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "OPEN_AT_MOST", 10)
    monkeypatch.setattr(judging, "KEYS_AT_MOST", 20)
    summary = Summary(Trouble())
    replay = Replay(Policy(judge, Arrivals(judge.routing)), None, summary, NOW)
    unanswered = (one for number in range(100) for one in trace(f"{number / 100} 127.0.0.2 > 127.0.0.1 INVITE id={number}"))
    most = 0
    for _ in replay.run(unanswered):
        most = max(most, len(replay._open))
    assert most == 10
    assert len(replay._keys) == 20
    assert summary.calls == 100


def test_rows_come_as_soon_as_their_answer(judge: Judge) -> None:
    taken = 0

    def messages() -> Any:
        nonlocal taken
        lines = "0 127.0.0.2 > 127.0.0.1 INVITE id=a\n1 127.0.0.1 > 127.0.0.2 486 id=a\n2 127.0.0.2 > 127.0.0.1 INVITE id=b"
        for one in trace(lines):
            taken += 1
            yield one

    rows = Replay(Policy(judge, Arrivals(judge.routing)), None, Summary(Trouble()), NOW).run(messages())
    assert (next(rows).call_id, taken) == ("a", 2)


def test_wrong_arrivals(judge: Judge) -> None:
    with pytest.raises(WrongArrival, match="no trunk is called 'acme'; there are: acme-sz, beta-sz"):
        Arrivals(judge.routing, "acme")
    for text, why in {
        "acme-sz": "no IP=ID",
        "=acme": "not an IP address",
        "10.0.0.1/8=acme-sz": "host bits",
        "1.2.3.4=": "no IP=ID",
    }.items():
        with pytest.raises(WrongArrival, match=why):
            parse_map(text)
    with pytest.raises(WrongArrival, match="no trunk is called"):
        Arrivals(judge.routing, None, (parse_map("192.0.2.1=nobody"),))
    given_up = Arrivals(judge.routing, "nobody", absent_is_unknown=True).find("127.0.0.2", 5060, "udp").trunk
    assert given_up is not None and given_up.id == ""
