"""The history of a journal, judged again: the rows that replay of its segments gave before they were compacted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proxy.__main__ import main
from proxy.events import Answer, Attempt, End, Event
from proxy.journal.segment import OPEN, sealed_segments
from proxy.records import parquet
from proxy.records.columns import NAMES
from proxy.records.compact import compact
from proxy.records.merge import merge_days
from proxy.records.store import FOLDER, Store, read_manifest
from proxy.replay import compacted, journals, sorting
from proxy.replay.journals import read_journal
from proxy.replay.recorded import Recorded
from proxy.replay.sorting import by_time
from proxy.replay.trouble import Trouble
from proxy.replay.window import ALWAYS, Window
from tests.proxy.replay.test_journals import CONFIGURATION, write_segment
from tests.proxy.replay.test_recorded import attempt, key
from tests.proxy.replay.traffic import DAY

NIGHT = 22 * 3600
"""Seconds from the first call until after midnight, UTC (it is 02:00)."""

Rows = list[dict[str, Any]]


def calls() -> list[Event]:
    """Calls of two days: answered, refused at once and later, forwarded, with header fields of every kind, going on at the end."""
    events: list[Event] = []
    for number in range(40):
        at = number * 7 + (NIGHT if number >= 20 else 0)
        to = f"1380013{(number * 7919) % 10_000:04d}"
        name = f"call-{number}"
        if number % 5 == 0:
            one = attempt(at, "acme-sz", "127.0.0.2", 403, id=name, to=to, **{"from": "+8675583999999"})
            events.append(msgspec.structs.replace(one, action="reject", code="AUTH_FAIL", called=f"+86{to}"))
            continue
        one = attempt(at, "acme-sz", "127.0.0.2", id=name, to=to, pai="+8675583123457")
        lines = one.lines
        if number % 5 == 1:
            lines = (*lines, b"Privacy: id", b"P-Asserted-Identity: <tel:+8675583123456>", b"subject: \xe4, \xff", b'x: "')
        if number % 5 == 2:
            lines = tuple(line.replace(b"From: ", b'f: "\xfcber, uns" ') for line in lines)
        events.append(msgspec.structs.replace(one, action="pass", code="AUTH_OK", called=f"+86{to}", lines=lines))
        if number % 5 == 3:
            events.append(End(*key(at + 3, name, "acme-sz"), 486, "callee", "refused"))
        elif number % 5 < 3:
            events.append(Answer(*key(at + 2, name, "acme-sz"), 200, "switch", ""))
            events.append(End(*key(at + 60, name, "acme-sz"), 0, "caller", "bye"))
    inbound = attempt(600, "core", "127.0.0.6", id="in", to="+8675583123456", **{"from": "+862087654321"})
    onward = attempt(605, "acme-sz", "127.0.0.2", id="out", diversion="+8675583123456", **{"from": "+862087654321"})
    late = attempt(1200, "acme-sz", "127.0.0.2", id="late", diversion="+8675583123456", **{"from": "+862087654321"})
    events += [inbound, Answer(*key(607, "in", "core"), 200, "switch", ""), onward, late]
    events += [End(*key(1300, call, trunk), 487, "caller", "cancelled") for call, trunk in (("out", "acme-sz"), ("late", "acme-sz"))]
    broken = attempt(700, "acme-sz", "127.0.0.2", 400, id="broken")
    events.append(msgspec.structs.replace(broken, action="", lines=(b"no header line",)))
    return sorted(events, key=lambda event: event.at)


def split(folder: Path, events: list[Event], each: int = 30) -> Path:
    folder.mkdir()
    for serial, at in enumerate(range(0, len(events), each), 1):
        write_segment(folder, serial, events[at : at + each])
    return folder


def take(journal: Path, upto: int = 1000) -> None:
    """Compact the oldest segments, and remove them, as the keeper does."""
    with Store.opened(journal / FOLDER) as store:
        segments = sealed_segments(journal)[:upto]
        compact(journal, store, segments, int((DAY + 10 * 86400) * 1000), part=16)
        for path in segments:
            path.unlink()


def replayed(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> tuple[Rows, dict[str, Any], str]:
    assert main(["replay", "-c", CONFIGURATION, *map(str, words), "--json"]) == status
    said = capsys.readouterr()
    found = json.loads(said.out)
    for row in found["calls"]:
        del row["elapsed_us"]
    return found["calls"], found["summary"], said.err.replace("\n", "")


def files(journal: Path) -> list[Path]:
    return [journal / FOLDER / name for name in read_manifest(journal / FOLDER).paths() if name.endswith(".parquet")]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return split(tmp_path / "journal", calls())


@pytest.mark.parametrize("taken", [1, 2, 1000])
def test_compacted_by_half_or_whole_it_gives_the_same_rows(taken: int, journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, summary, _ = replayed(capsys, journal)
    assert len(before) == 43
    codes = {row["call_id"]: (row["code"], row["recorded_status"]) for row in before}
    assert codes["out"][0] == "FWD_OK"
    assert codes["late"][0] == "FWD_NO_CORR"
    assert {status for _, status in codes.values()} == {200, 403, 486, 487, None}
    take(journal, taken)
    assert files(journal)
    after, found, _ = replayed(capsys, journal)
    assert after == before
    assert (found["invites"], found["unparsable"]) == (summary["invites"], summary["unparsable"]) == (44, 1)


def test_segments_that_are_in_the_history_and_still_there(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _, _ = replayed(capsys, journal)
    write_segment(journal, 9, [attempt(NIGHT + 9000, "acme-sz", "127.0.0.2", id="last")], OPEN)
    with Store.opened(journal / FOLDER) as store:
        compact(journal, store, sealed_segments(journal), int((DAY + 10 * 86400) * 1000))
    after, _, _ = replayed(capsys, journal)
    assert after[:-1] == before
    assert after[-1]["call_id"] == "last"


def test_the_history_one_day_or_one_file_of_it(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _, _ = replayed(capsys, journal)
    take(journal)
    whole, _, _ = replayed(capsys, journal / FOLDER)
    assert whole == before
    days = sorted((journal / FOLDER).glob("day=*"))
    by_day = [row["call_id"] for day in days for row in replayed(capsys, day)[0]]
    by_file = sorted(row["call_id"] for file in files(journal) for row in replayed(capsys, file)[0])
    assert len(days) == 2
    assert sorted(by_day) == by_file
    assert by_day == [call for call in (row["call_id"] for row in before) if call in by_file]
    (days[0] / "000000-00.parquet").write_bytes(files(journal)[0].read_bytes())  # of a merge that the chain has not noted yet
    assert [row["call_id"] for row in replayed(capsys, days[0])[0]] == by_day[: len(replayed(capsys, days[0])[0])]


def test_a_window_and_the_days_outside_it(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--from", "2026-01-05T10:00:35", "--to", "2026-01-05T02:01:24Z")  # the node is in China
    before, _, _ = replayed(capsys, journal, *words)
    assert [row["call_id"] for row in before] == [f"call-{number}" for number in range(5, 12)]
    assert before[-1]["recorded_status"] == 200
    take(journal)
    day = sorted((journal / FOLDER).glob("day=*"))[1]
    for file in day.iterdir():
        file.write_bytes(b"not looked at")
    after, summary, _ = replayed(capsys, journal, *words)
    assert (after, summary["unparsable"]) == (before, 0)
    assert replayed(capsys, journal, "--from", "2026-02-01")[0] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "2026-01-06", "--to", "2026-01-06"], "is not before"),
        ([CONFIGURATION, "--to", "2026-01-06"], "is none"),
    ],
)
def test_a_window_that_makes_no_sense(words: list[str], said: str, journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "-c", CONFIGURATION, str(journal), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_day_that_was_purged(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _, _ = replayed(capsys, journal)
    take(journal)
    gone = [file for file in files(journal) if file.parent.name == "day=2026-01-05"]
    for file in gone:
        file.unlink()
    after, _, said = replayed(capsys, journal, status=2)  # the manifest still names them
    assert after
    assert after == [row for row in before if row in after]
    assert len(after) < len(before)
    assert gone[0].name in said
    take(journal)
    assert replayed(capsys, journal)[0] == after


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "text": lambda data: b"PAR1 and nothing else",
    "torn": lambda data: data[: len(data) // 2],
    "footer": lambda data: data[: -8 - int.from_bytes(data[-8:-4], "little")] + bytes(200) + data[-8:],
    "length": lambda data: data[:-8] + b"\xff\xff\xff\x7f" + data[-4:],
    "pages": lambda data: data[:4] + bytes(600) + data[604:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_passed_over(damage: str, journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _, _ = replayed(capsys, journal)
    take(journal)
    file = files(journal)[0]
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    after, summary, said = replayed(capsys, journal, status=0 if damage == "pages" else 2)
    assert 0 < len(after) < len(before)
    assert [row for row in before if row in after] == after
    assert file.name in said
    assert summary["unparsable"] == 2


def written(path: Path, *rows: dict[str, Any]) -> Path:
    table = pa.Table.from_pylist([{name: row.get(name) for name in NAMES} for row in rows], schema=parquet.schema())
    with parquet.writer(path) as file:
        parquet.write(file, table)
    return path


def test_rows_that_no_node_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    high = (1 << 63) - 1
    hostile: Rows = [
        {"received_at": 0},
        {
            "received_at": high,
            "action": "drop",
            "called_raw": "\r\n\r\n",
            "cseq": -high,
            "port": -1,
            "address": "nowhere",
            "transport": "?",
        },
        {"received_at": -high, "action": "pass", "called_raw": "sip:1@h", "from": [None, "<", "\\xzz\\xff"], "other": ["", "x", None]},
        {
            "received_at": 5,
            "action": "pass",
            "answered_at": -5,
            "ended_at": high,
            "called_raw": "sip:1@h",
            "address": "::%",
            "answers": "= =a a=",
        },
        {"received_at": 6, "action": "pass", "called_raw": "sip:1@h", "status": high, "answered_at": 7, "trunk": "acme-sz", "cseq": 1},
    ]
    _, summary, _ = replayed(capsys, written(tmp_path / "a.parquet", *hostile))
    assert (summary["packets"], summary["invites"]) == (5, 4)
    without = tmp_path / "b.parquet"
    pq.write_table(pa.table({"received_at": [1], "called": ["x"]}), without)
    assert "it has no column" in replayed(capsys, without, status=2)[2]
    untimed = written(tmp_path / "c.parquet", {"action": "pass", "called_raw": "sip:1@h"})
    assert "has no time" in replayed(capsys, untimed)[2]


def test_a_manifest_that_cannot_be_read(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take(journal, 1)
    manifest = journal / FOLDER / "manifest.json"
    for text in ('{"days": 1}', '{"version": 2}', None):
        if text is None:
            manifest.unlink()
        else:
            manifest.write_text(text)
        rows, _, said = replayed(capsys, journal, status=2)
        assert rows  # the segments that are still there
        assert "manifest.json" in said


def test_the_keeper_compacts_merges_and_removes_meanwhile(journal: Path) -> None:
    take(journal, 1)
    expected = [event.place.rpartition(":")[0] for event in read_journal(str(journal), Trouble()) if isinstance(event.event, Attempt)]
    trouble = Trouble()
    reading = read_journal(str(journal), trouble)
    found = [next(reading)]
    take(journal)
    with Store.opened(journal / FOLDER) as store:
        assert merge_days(store, int((DAY + 10 * 86400) * 1000), together=2)
    found += reading
    assert [event.place.rpartition(":")[0] for event in found if isinstance(event.event, Attempt)] == expected
    assert trouble.counts == {}


@pytest.mark.parametrize("before", [True, False])
def test_it_changes_while_it_is_opened(journal: Path, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """Segments are taken and removed between the reading of the manifest and of the folder: it is opened anew."""
    expected = {event.event.call_id for event in read_journal(str(journal), Trouble())}
    take(journal, 1)
    listed = journals._segments
    times = 0

    def changing(folder: Path) -> list[Path]:
        nonlocal times
        times += 1
        found = listed(folder)
        if times == 1:
            take(journal)
        return listed(folder) if before else found

    monkeypatch.setattr(journals, "_segments", changing)
    trouble = Trouble()
    found: list[Recorded] = list(read_journal(str(journal), trouble))
    assert {event.event.call_id for event in found} == expected
    assert sum(isinstance(event.event, Attempt) for event in found) == 44
    assert trouble.counts == {}
    assert times == 2


@pytest.mark.parametrize(("run", "piece"), [(1 << 20, 1 << 20), (1, 1), (3000, 100), (3000, 5000)])
def test_sorting_in_runs(run: int, piece: int) -> None:
    times = [(number * 7919) % 1009 // 3 for number in range(2000)]
    tables = [
        pa.table({"received_at": pa.array(times[at : at + 50], pa.int64()), "row": pa.array(range(at, at + 50)), "other": [["x"]] * 50})
        for at in range(0, 2000, 50)
    ]
    found = [row for table in by_time(tables, run=run, piece=piece) for row in table.to_pylist()]
    assert [row["received_at"] for row in found] == sorted(times)
    assert sorted(row["row"] for row in found) == list(range(2000))
    assert all(times[row["row"]] == row["received_at"] for row in found)


def test_no_room_for_the_temporary_file(journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    take(journal)
    monkeypatch.setattr(sorting, "TemporaryFile", lambda **_words: FileIO("/dev/full", "w"))
    assert replayed(capsys, journal)[0]  # which a small day does not need
    monkeypatch.setattr(compacted, "by_time", lambda tables: by_time(tables, run=1))
    said = replayed(capsys, journal, status=2)[2]
    assert "No space left on device: the temporary file" in said


def test_pyarrow_is_loaded_only_for_a_history(journal: Path) -> None:
    said = "import sys; from proxy.__main__ import main; main(sys.argv[1:]); print('pyarrow' in sys.modules, file=sys.stderr)"
    words = [sys.executable, "-c", said, "replay", "-c", CONFIGURATION, str(journal), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"


def test_a_window_has_the_ends_of_its_calls() -> None:
    window = Window(1000, 2000)
    end = End(2500, b"", b"", "", 1, 486, "callee", "refused")
    assert window.has(end)
    assert not window.has(msgspec.structs.replace(end, at=999))
    assert ALWAYS.has(end)
