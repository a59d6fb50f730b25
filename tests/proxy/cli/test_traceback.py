"""`sipwarden traceback`: what it finds where, in which order, what it shows to whom, and nothing without a line in the trail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.__main__ import main
from proxy.cli import traceback
from proxy.journal.segment import sealed_segments
from proxy.journal.trail import NAME, lines
from proxy.records import search
from proxy.records.audit import Asked
from proxy.records.compact import compact
from proxy.records.store import FOLDER, Store
from tests.proxy.records.material import attempt, call, segment

ROOT = Path(__file__).resolve().parents[3]
AT = 1_769_821_200_000  # 2026-01-31T01:00:00Z
CONFIG = """
[node]
name = "gw1"
[[listen]]
address = "127.0.0.1:5060"
[[trunk]]
id = "t"
kind = "interconnect"
sources = ["192.0.2.1"]
home_area = "755"
next_hop = "switch"
[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.5:5060"]
[journal]
path = "journal"
"""
ICID = (b"P-Charging-Vector: icid-value=icid-0001",)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (tmp_path / "sipwarden.toml").write_text(CONFIG)
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(journal: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(called: str = "+8675583123456", *more: str, at: str = "2026-01-31T09:00:00+08:00", form: str = "--json") -> tuple[int, Any]:
        words = ["traceback", "-c", str(journal.parent / "sipwarden.toml"), "--called", called, "--at", at, *more]
        status = main([*words, "--case", "B-1", "--basis", "反电信网络诈骗法", *([form] if form else [])])
        out = capsys.readouterr().out
        return status, json.loads(out) if form and out else out

    return ask


@pytest.fixture
def everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traceback, "may_see_numbers", lambda: False)


def compacted(journal: Path) -> None:
    with Store.opened(journal / FOLDER) as store:
        compact(journal, store, sealed_segments(journal), AT + 10**9)


def ids(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["call_id"], row["match"]) for row in document["rows"]]


def test_found_wherever_it_lies(journal: Path, ask: Ask) -> None:
    """In a file, pending, in a sealed segment, in the open one behind which a write was cut short: each once."""
    segment(journal, 1, [*call(1, AT - 100_000), attempt(AT - 20_000, call_id=b"pending")], started=AT - 110_000)
    compacted(journal)
    segment(journal, 2, call(2, AT + 1000), started=AT)
    segment(journal, 3, [*call(3, AT + 2000), *call(4, AT + 121_000)], started=AT + 2000, ending=".open", tail=b"\x01\x02")
    status, document = ask()
    assert status == 0
    assert ids(document) == [("call-2", "called"), ("call-3", "called"), ("pending", "called"), ("call-1", "called")]  # the nearest first
    compacted(journal)
    assert ids(ask()[1]) == ids(document)


def test_a_row_has_what_the_contract_says(journal: Path, ask: Ask) -> None:
    segment(journal, 1, call(1, AT + 123, customer="acme", lines=ICID))
    status, document = ask("075583123456", "--calling", "13800138000")
    assert document["rows"] == [
        {
            "time": "2026-01-31T01:00:00.123Z",
            "trunk": "t",
            "customer": "acme",
            "upstream": "peer",
            "source": "udp:192.0.2.1:5060",
            "call_id": "call-1",
            "icid": "icid-0001",
            "caller": "+8613800138000",
            "called": "+8675583123456",
            "action": "pass",
            "code": "PASS",
            "match": "exact",
        }
    ]
    assert set(document) == {"query", "rows", "hop_request"}
    assert document["query"]["called_as"] == ["+8675583123456"]
    assert (status, document["query"]["from"], document["query"]["to"]) == (0, "2026-01-31T00:58:00.000Z", "2026-01-31T01:02:00.000Z")


def test_the_best_match_comes_first(journal: Path, ask: Ask) -> None:
    callers = {1: "+8618612345678", 2: "+8613800138001", 3: "+8613800138000", 4: "", 5: "+8613800138011", 6: "+8613800138000"}
    raw = {4: "sip:anonymous@anonymous.invalid"}
    events = [
        event
        for number, caller in callers.items()
        for event in call(number, AT + number * 1000, caller=caller, caller_raw=raw.get(number, f"sip:{caller}@h"))
    ]
    segment(journal, 1, events)
    wanted = [("call-3", "exact"), ("call-6", "exact"), ("call-2", "near"), ("call-5", "near"), ("call-1", "called"), ("call-4", "called")]
    assert ids(ask("83123456", "--calling", "013800138000")[1]) == wanted
    compacted(journal)
    assert ids(ask("83123456", "--calling", "013800138000")[1]) == wanted


@pytest.mark.parametrize("header", [b"P-Asserted-Identity: <tel:+8613800138000>", b'f: "x" <sip:13800138000@h>;tag=f'])
def test_every_identity_that_a_call_presented_counts(journal: Path, ask: Ask, header: bytes) -> None:
    segment(journal, 1, call(1, AT, caller="+8618612345678", caller_raw="sip:18612345678@h", lines=(header,)))
    assert ids(ask("83123456", "--calling", "13800138000")[1]) == [("call-1", "exact")]


@pytest.mark.parametrize(
    ("called", "at", "found"),
    [
        ("+8675583123456", "2026-01-31T09:00:00+08:00", 1),
        ("0755-8312 3456", "2026-01-31T09:00:00", 1),  # the node's own clock
        ("83123456", "2026-01-31T01:01:59Z", 1),
        ("+8675583123456", "2026-01-31T01:02:01Z", 0),
        ("+8675583123457", "2026-01-31T01:00:00Z", 0),
        ("+8675583123456", "2026-01-30T01:00:00Z", 0),
    ],
)
def test_found_and_not(journal: Path, ask: Ask, called: str, at: str, found: int) -> None:
    segment(journal, 1, call(1, AT))
    for _ in range(2):
        status, document = ask(called, at=at)
        assert (status, len(document["rows"])) == (0 if found else 1, found)
        compacted(journal)
    assert len((journal / NAME).read_text().splitlines()) == 2


def test_the_window(journal: Path, ask: Ask) -> None:
    segment(journal, 1, [event for number in range(5) for event in call(number, AT + number * 3_600_000)])
    assert len(ask("83123456", "--window", "2h")[1]["rows"]) == 3
    assert len(ask("83123456", "--window", "1d")[1]["rows"]) == 5
    assert len(ask("83123456", "--window", "0s")[1]["rows"]) == 1


def test_a_called_number_that_is_none(journal: Path, ask: Ask) -> None:
    segment(journal, 1, call(1, AT, called="", called_kind="", called_raw="sip:1390013@h"))
    for _ in range(2):
        assert ids(ask("1390013")[1]) == [("call-1", "called")]
        compacted(journal)


def test_hop_requests_go_to_the_operators_of_the_best_calls(journal: Path, ask: Ask) -> None:
    segment(
        journal,
        1,
        [
            *call(1, AT, upstream="运营商甲", lines=ICID),
            *call(2, AT + 1, upstream="", trunk="intl-hk", kind="international"),
            *call(3, AT + 2, kind="enterprise"),
            *call(4, AT + 3, upstream="another", caller="+8618612345678", caller_raw="sip:18612345678@h"),
        ],
    )
    request = ask("83123456", "--calling", "13800138000")[1]["hop_request"]
    assert [line for line in request.splitlines() if line.startswith("致 To")] == ["致 To: 运营商甲", "致 To: intl-hk"]
    for part in ("B-1", "反电信网络诈骗法", "call-1", "icid-0001", "2026-01-31 09:00:00.000+08:00", "2026-01-31T01:00:00.000Z", "gw1"):
        assert part in request
    assert "call-3" not in request
    assert ask("83123456", "--calling", "18612345678")[1]["hop_request"].count("致 To: another") == 1


def test_no_hop_request_where_the_call_is_a_customers(journal: Path, ask: Ask) -> None:
    segment(journal, 1, call(1, AT, kind="enterprise"))
    assert ask()[1]["hop_request"] is None


@pytest.mark.usefixtures("everybody")
@pytest.mark.parametrize("form", ["--json", ""])
def test_without_the_role_no_number_is_whole(journal: Path, ask: Ask, form: str) -> None:
    raw = "sip:13912341946@h"
    changes = {"caller": "+8613912341946", "caller_raw": raw, "sent_as": "sip:+8613912341946@h"}
    events = call(1, AT, lines=(b"P-Charging-Vector: icid-value=x+8675583123456",), **changes)
    renamed = [msgspec.structs.replace(event, call_id=b"13912341946-0001@h") for event in events]
    segment(journal, 1, renamed)
    status, shown = ask("075583123456", "--calling", "13912341946", form=form)
    text = json.dumps(shown, ensure_ascii=False) if form else shown
    assert status == 0
    assert "139****1946" in text
    assert "755-83****56" in text
    for hidden in ("13912341946", "83123456", "12341946"):
        assert hidden not in text
    assert "exact" in text
    line = msgspec.json.decode((journal / NAME).read_bytes(), type=Asked)
    assert (line.masked, line.called, line.rows) == (True, "075583123456", {"exact": 1})


def test_each_question_is_recorded_with_who_why_and_how_many(journal: Path, ask: Ask) -> None:
    segment(journal, 1, call(1, AT))
    ask()
    ask("13800138000")
    first, second = (msgspec.json.decode(line, type=Asked) for line in (journal / NAME).read_bytes().splitlines())
    assert (first.uid, first.case, first.basis) == (os.getuid(), "B-1", "反电信网络诈骗法")
    assert (first.rows, first.first, first.last) == ({"called": 1}, AT - 120_000, AT + 120_000)
    assert (second.rows, second.n) == ({}, 2)
    with (journal / NAME).open("rb") as file:
        assert all(follows for _number, _head, follows in lines(file))


def test_what_cannot_be_recorded_is_not_answered(journal: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    segment(journal, 1, call(1, AT))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, shown = ask()
    assert (status, shown) == (2, "")
    (journal / NAME).unlink()
    (journal / NAME).mkdir()
    assert ask()[0] == 2


HOSTILE = b"=cmd|' /C calc'!A1\r\n\x00\x1b]0;owned\x07\x1b[2J\xc2\x9b31m\xe2\x80\xae\xff\xfe" + b"x" * 300


@pytest.mark.parametrize("form", ["--json", ""])
def test_hostile_values_reach_no_terminal(journal: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    text = HOSTILE.decode("utf-8", "replace")
    lines = (b"From: " + b"\x1b[31m" * 999, b'P-Charging-Vector: icid-value="\x1b[2J\xc2\x9b"')
    key = {
        "call_id": HOSTILE,
        "upstream": text,
        "customer": text,
        "code": text,
        "lines": lines,
        "caller": "",
        "caller_raw": f"sip:{text}@h",
    }
    segment(journal, 1, [attempt(AT, **key)])
    config = str(journal.parent / "sipwarden.toml")
    words = ["traceback", "-c", config, "--called", "075583123456", "--calling", "110", "--at", "2026-01-31T01:00:00Z"]
    assert main([*words, "--case", "\x1b[1m", "--basis", "\x9b", *([form] if form else [])]) == 0
    out = capsys.readouterr().out
    assert all(letter == "\n" or letter.isprintable() for letter in out)
    if form:
        (row,) = json.loads(out)["rows"]
        assert row["call_id"] == HOSTILE.decode("utf-8", "backslashreplace")


def test_a_table_for_people(journal: Path, ask: Ask) -> None:
    segment(journal, 1, call(1, AT + 123, lines=ICID))
    status, shown = ask("83123456", "--calling", "13800138001", form="")
    assert status == 0
    for part in (
        "1 call to 83123456",
        "near: a caller like the one that was named",
        "Asia/Shanghai",
        "09:00:00.123+08:00",
        "01:00:00.123Z",
    ):
        assert part in shown
    for part in ("upstream peer", "udp:192.0.2.1:5060", "Call-ID call-1  icid icid-0001", "answered after 0.5 s"):
        assert part in shown


def told(journal: Path) -> list[Asked]:
    return [msgspec.json.decode(line, type=Asked) for line in (journal / NAME).read_bytes().splitlines()]


def test_more_than_anybody_can_read(journal: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.records.search.MOST", 2)
    segment(journal, 1, [event for number in range(3) for event in call(number, AT + number)])
    assert ask() == (2, "")
    (asked,) = told(journal)  # it was asked all the same
    assert (asked.case, asked.rows, asked.outcome) == (
        "B-1",
        {},
        "TooMany: more than 2 calls to that number: a shorter --window finds fewer",
    )
    assert ask("+8675583123457")[0] == 1


def test_a_question_that_ends_in_a_fault_is_recorded(journal: Path, ask: Ask) -> None:
    (journal / FOLDER).mkdir()
    (journal / FOLDER / "manifest.json").write_text("nonsense")
    assert ask() == (2, "")
    (asked,) = told(journal)
    assert (asked.called, asked.rows) == ("+8675583123456", {})
    assert asked.outcome.startswith("StoreFault: ") and "manifest.json" in asked.outcome


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_a_question_that_is_broken_off_is_recorded(
    journal: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def broken(*_args: object) -> None:
        raise error

    monkeypatch.setattr(traceback, "search", broken)
    if issubclass(error, OSError):
        assert ask() == (2, "")
    else:
        with pytest.raises(error):
            ask()
    assert [line.outcome for line in told(journal)] == [error.__name__]


@pytest.mark.parametrize("damage", ["tail", "middle", "nothing"])
def test_a_damaged_file_is_said_and_the_others_are_read(journal: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    segment(journal, 1, [*call(1, AT), attempt(AT + 10**6, call_id=b"later")])
    compacted(journal)
    segment(journal, 2, call(2, AT + 1))
    (path,) = (journal / FOLDER).glob("*/*.parquet")
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes({"tail": data[:-20], "middle": data[:20] + b"\xff" * half + data[20 + half :], "nothing": b""}[damage])
    config = str(journal.parent / "sipwarden.toml")
    words = ["traceback", "-c", config, "--called", "83123456", "--at", "2026-01-31T01:00:00Z", "--case", "1", "--basis", "x", "--json"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert [row["call_id"] for row in json.loads(shown.out)["rows"]] == ["call-2"]
    assert f"{path} is damaged" in shown.err


@pytest.mark.parametrize("times", [1, 99])
def test_a_segment_that_is_taken_before_it_is_listed(journal: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The history changes between the reading of its manifest and that of the folder, and the segment is gone: it is looked at anew."""
    segment(journal, 1, call(1, AT))
    listed = search._segments
    left = times

    def changing(folder: Path, taken: set[str]) -> list[search._Segment]:
        nonlocal left
        if left:
            left -= 1
            segment(journal, 100 - left, call(100 - left, AT + 10**7))
            compacted(journal)
            for path in sealed_segments(journal):
                path.unlink()
        return listed(folder, taken)

    monkeypatch.setattr(search, "_segments", changing)
    status, document = ask()
    if times == 1:
        assert ids(document) == [("call-1", "called")]
    else:
        assert (status, document, times - left) == (2, "", search.TRIES)


def test_nothing_found_says_where_it_looked(journal: Path, ask: Ask) -> None:
    status, shown = ask(form="")
    assert status == 1
    assert shown.startswith("No call to +8675583123456")
    assert "2026-01-31 08:58:00+08:00 to 2026-01-31 09:02:00+08:00 (Asia/Shanghai)" in shown


def test_a_file_that_is_missing_is_said(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment(journal, 1, [*call(1, AT), attempt(AT + 10**6, call_id=b"later")])
    compacted(journal)
    (path,) = (journal / FOLDER).glob("*/*.parquet")
    path.unlink()
    config = str(journal.parent / "sipwarden.toml")
    words = ["traceback", "-c", config, "--called", "83123456", "--at", "2026-01-31T01:00:00Z", "--case", "1", "--basis", "x", "--json"]
    assert main(words) == 1
    assert "is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--called", "alice"], "no digits"),
        (["--calling", "bob"], "no digits"),
        (["--at", "yesterday"], "ISO 8601"),
        (["--at", "0001-01-01"], "calendar"),
        (["--window", "120"], "duration"),
        (["--window", "32d"], "too long"),
        (["--case", " "], "recorded with the question"),
        (["--basis", "x" * 1001], "recorded with the question"),
        (["--called"], "expected one argument"),
    ],
)
def test_wrong_usage(journal: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    good = {"--called": "110", "--at": "2026-01-31", "--case": "1", "--basis": "x"}
    given = [part for name, value in good.items() if name != words[0] for part in (name, value)]
    try:
        status = main(["traceback", "-c", str(journal.parent / "sipwarden.toml"), *given, *words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert said in capsys.readouterr().err
    assert not (journal / NAME).exists() or not (journal / NAME).read_bytes()


@pytest.mark.parametrize("absent", ["--called", "--at", "--case", "--basis"])
def test_what_must_be_given(journal: Path, absent: str, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"--called": "110", "--at": "2026-01-31", "--case": "1", "--basis": "x"}
    words = [part for name, value in good.items() if name != absent for part in (name, value)]
    with pytest.raises(SystemExit) as ended:
        main(["traceback", "-c", str(journal.parent / "sipwarden.toml"), *words])
    assert ended.value.code == 2
    assert absent in capsys.readouterr().err


@pytest.mark.parametrize("change", ["no journal", "no folder", "faults"])
def test_a_node_without_records(journal: Path, ask: Ask, change: str) -> None:
    config = journal.parent / "sipwarden.toml"
    if change == "no journal":
        config.write_text(CONFIG.partition("[journal]")[0])
    elif change == "faults":
        config.write_text("x = 1")
    else:
        journal.rmdir()
    assert ask() == (2, "")


def test_pyarrow_is_read_only_by_those_who_need_it() -> None:
    code = "import sys, proxy.worker, proxy.supervisor, proxy.cli.traceback, proxy.records.compactor; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
