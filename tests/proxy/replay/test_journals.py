"""A journal as it lies, judged again: what the live proxy recorded of calls gives the verdicts that it gave."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from proxy.__main__ import main
from proxy.core import Proxy
from proxy.decision import Judge
from proxy.events import Attempt, Event
from proxy.journal.frame import frame
from proxy.journal.segment import OPEN, SEALED, Header, begin, file_name
from proxy.replay.arrivals import Arrivals
from proxy.replay.judging import Replay
from proxy.replay.policy import Policy
from proxy.replay.recorded import Recorded
from proxy.replay.summary import Summary
from proxy.replay.trouble import Trouble
from tests.proxy.replay.test_recorded import attempt
from tests.proxy.replay.traffic import DAY, trace, write_pcap
from tests.proxy.sip.cases import CASES, INVITE, message
from tests.proxy.wire import CONFIG, SECRET, SEGMENTS, Wire

CONFIGURATION = str(Path(__file__).parents[2] / "cases" / "judged" / "sipwarden.toml")


def write_segment(folder: Path, serial: int, events: list[Event], ending: str = SEALED) -> Path:
    data = begin(Header(node="gw1", serial=serial, started=int(DAY * 1000)))
    position = 0
    for event in events:
        added = frame(0, position, msgspec.msgpack.encode(event))
        data += added
        position += len(added)
    path = folder / file_name("gw1", serial, ending)
    path.write_bytes(data)
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "chain").write_text("not a segment")
    write_segment(folder, 2, [attempt(60, "acme-sz", "127.0.0.2", id="c"), attempt(61, "acme-sz", "127.0.0.2", 403, id="d")], OPEN)
    first: list[Event] = [
        attempt(0, "acme-sz", "127.0.0.2", id="a"),
        attempt(1, "acme-sz", "127.0.0.2", 403, id="b", **{"from": "+8675583999999"}),
    ]
    write_segment(folder, 1, first)
    return folder


def replayed(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> tuple[list[tuple[str, str]], dict[str, int]]:
    assert main(["replay", "-c", CONFIGURATION, *words, "--json"]) == status
    found = json.loads(capsys.readouterr().out)
    return [(row["call_id"], row["code"]) for row in found["calls"]], found["summary"]


def test_a_folder_oldest_first(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, summary = replayed([str(journal)], capsys)
    assert rows == [("a", "AUTH_OK"), ("b", "AUTH_FAIL"), ("c", "AUTH_OK"), ("d", "AUTH_OK")]
    assert (summary["packets"], summary["messages"], summary["invites"], summary["unparsable"]) == (4, 4, 4, 0)


def test_a_segment_beside_a_capture(journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_pcap(tmp_path / "a.pcap", trace("0 127.0.0.2 > 127.0.0.1 INVITE id=x"))
    rows, _ = replayed([str(capture), str(journal / "gw1-0000000001.seg"), str(capture)], capsys)
    assert [call for call, _ in rows] == ["x", "a", "b"]  # the second time the capture tells nothing new


def test_damage_is_named_and_what_stands_before_it_read(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = journal / "gw1-0000000001.seg"
    torn.write_bytes(torn.read_bytes()[:-3])
    assert main(["replay", "-c", CONFIGURATION, str(journal), "--json"]) == 0
    said = capsys.readouterr()
    assert [row["call_id"] for row in json.loads(said.out)["calls"]] == ["a", "c", "d"]
    assert f"{torn}:2: octet" in said.err.replace("\n", "")


def test_a_folder_without_segments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed([str(tmp_path)], capsys, 2)[0] == []


@pytest.mark.parametrize("source", ["pbx", "watched", "stopped", "peer", "abroad", "nowhere", "inside"])
def test_what_the_live_proxy_recorded_gives_the_verdict_that_it_gave(source: str, tmp_path: Path) -> None:
    (tmp_path / "sipwarden.toml").write_text(CONFIG)
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    judge = Judge.load(tmp_path / "sipwarden.toml")
    config = judge.generation.config
    messages = [message(path.read_bytes()) for path in sorted((CASES / "torture").glob("*.sip"))]
    compared = 0
    for data in [*messages, INVITE, INVITE.replace(b"+8675583123456", b"+8675583999999")]:
        proxy = Proxy(config, judge.ruleset, config.listeners(), SECRET)
        proxy.wall_offset = DAY
        wire = Wire(proxy)
        wire.give(data, wire.flow_of(source))
        attempts = [event for event in wire.events if isinstance(event, Attempt) and event.code]
        summary = Summary(Trouble())
        rows = list(Replay(Policy(judge, Arrivals(judge.routing)), None, summary, DAY).run([Recorded(one, "s:1") for one in attempts]))
        assert [(row.verdict.code, row.verdict.caller, row.verdict.marks) for row in rows] == [
            (one.code, one.caller or None, list(one.marks)) for one in attempts
        ], data
        compared += len(rows)
    assert compared >= 15
