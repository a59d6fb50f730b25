"""Segments to files: nothing lost, nothing doubled, whenever it is killed; and read by somebody else's reader."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow.parquet as pq
import pytest

from proxy.events import Attempt, Event
from proxy.journal.frame import frame
from proxy.journal.key import public_key
from proxy.journal.segment import sealed_segments
from proxy.journal.verify import verify
from proxy.journal.volume import Volume
from proxy.records import merge, parquet
from proxy.records.columns import DAY, NAMES
from proxy.records.compact import compact, pending_events
from proxy.records.compactor import replacement, run
from proxy.records.join import LINGER, LONGEST
from proxy.records.merge import choose, end_of, merge_days
from proxy.records.search import search
from proxy.records.store import FOLDER, Busy, File, Store, StoreFault, read_manifest
from rules.numbers.sought import sought
from tests.proxy.records.material import attempt, call, later, segment

MIDNIGHT = 20_000 * DAY
HOUR = 3_600_000
LATE = MIDNIGHT + 3 * DAY


def kept(journal: Path) -> Counter[str]:
    """Every Call-ID that is in the history, in a file or pending, as the manifest says."""
    folder = journal / FOLDER
    manifest = read_manifest(folder)
    found: Counter[str] = Counter()
    for name in manifest.paths():
        if name.endswith(".parquet"):
            found.update(pq.read_table(folder / name, columns=["call_id"], partitioning=None)["call_id"].to_pylist())
    pending = pending_events(folder, manifest.pending)
    found.update(event.call_id.decode() for event in pending if isinstance(event, Attempt))
    return found


def glob(journal: Path, what: str = "call_id") -> list[Any]:
    """What DuckDB finds without knowing of a manifest."""
    return query(f"select {what} from read_parquet('{journal / FOLDER}/*/*.parquet', hive_partitioning=true)")[1]


def query(sql: str) -> tuple[list[str], list[Any]]:
    """Names and rows, as DuckDB reads them."""
    found = duckdb.sql(sql)
    assert found is not None
    return found.columns, found.fetchall()


def names(numbers: range) -> Counter[str]:
    return Counter(f"call-{number}" for number in numbers)


def take(journal: Path, now: int = LATE, **limits: int) -> Any:
    with Store.opened(journal / FOLDER) as store:
        return compact(journal, store, sealed_segments(journal), now, **limits)


def test_calls_over_midnight_and_over_segments(tmp_path: Path) -> None:
    before, after = MIDNIGHT - HOUR, MIDNIGHT + HOUR
    long = call(7, before)
    segment(tmp_path, 1, [*call(1, before), *long[:2], *call(2, before + 200_000)])
    assert take(tmp_path).records == 1  # the other two might still be told more of
    segment(
        tmp_path, 2, [*call(3, after), later("end", after + 60_000, call_id=b"call-7", from_tag=b"tag-7", cseq=0), attempt(after + HOUR)]
    )
    report = take(tmp_path)
    assert (report.segments, report.records, report.lost) == (1, 3, 0)
    assert kept(tmp_path) == names(range(1, 4)) + Counter(["call-7", "a"])
    days = {row[0]: (str(row[1]), row[2]) for row in glob(tmp_path, "call_id, day, ended_at - answered_at")}
    assert days["call-7"][0] == "2024-10-03"  # the day on which it was received
    assert days["call-7"][1].total_seconds() == 2 * 3600 + 60 - 0.5
    assert days["call-3"][0] == "2024-10-04"
    assert take(tmp_path).segments == 0


def test_files_are_sorted_by_called_number_then_time(tmp_path: Path) -> None:
    draw = random.Random(1)
    events = [
        event
        for number in range(400)
        for event in call(number, MIDNIGHT + number, called=f"+8613{draw.randrange(10**9):09d}" if number % 10 else "")
    ]
    segment(tmp_path, 1, [*events, attempt(MIDNIGHT + HOUR)])
    take(tmp_path)
    (file,) = (name for name in read_manifest(tmp_path / FOLDER).paths() if name.endswith("parquet"))
    rows = query(f"select called, received_at from '{tmp_path / FOLDER / file}'")[1]
    assert rows == sorted(rows, key=lambda row: (row[0] is None, row[0] or "", row[1]))
    assert len(rows) == 400


def test_bounded_parts_make_the_same_records(tmp_path: Path) -> None:
    events = [event for number in range(100) for event in call(number, MIDNIGHT + number * 10)]
    for serial in range(4):
        segment(tmp_path, serial + 1, events[serial * 75 : serial * 75 + 75])
    segment(tmp_path, 5, [attempt(MIDNIGHT + HOUR)])
    report = take(tmp_path, part=7, commit=20)
    assert report.records == 100
    assert kept(tmp_path) - Counter("a") == names(range(100))
    assert len(glob(tmp_path)) == 100


def test_a_damaged_segment_gives_what_is_whole_and_stays(tmp_path: Path) -> None:
    bad = segment(tmp_path, 1, call(1, MIDNIGHT), tail=b"\x00\x01torn")
    segment(tmp_path, 2, [attempt(MIDNIGHT + HOUR)])
    report = take(tmp_path)
    assert kept(tmp_path) == Counter(["call-1", "a"])
    assert [line.partition(":")[0] for line in report.kept] == [bad.name]
    manifest = read_manifest(tmp_path / FOLDER)
    made = replacement(manifest, [path.name for path in sealed_segments(tmp_path)])
    assert made is not None
    assert made.segments == ("gw1-0000000002.seg",)


def test_hostile_values_break_no_file(tmp_path: Path) -> None:
    hostile = b'=cmd|" /C calc"!A1\r\n\x00\x1b]0;x\x07\x9b31m\xff\xfe,";--'
    events: list[Event] = [
        attempt(
            MIDNIGHT,
            call_id=hostile,
            from_tag=hostile,
            caller="",
            called="",
            called_raw="sip:\x00\x1b[2J@h",
            cseq=4294967295,
            status=403,
            lines=(b"From: " + b"x" * 10_000, b"Via: " + hostile * 300, hostile),
        ),
        attempt(MIDNIGHT + HOUR),
    ]
    segment(tmp_path, 1, events)
    take(tmp_path)
    ((call_id, raw, cseq, sender),) = glob(tmp_path, 'call_id, called_raw, cseq, "from"')
    assert call_id.encode() == hostile.replace(b"\xff\xfe", rb"\xff\xfe").replace(b"\x9b", rb"\x9b")
    assert (raw, cseq, sender) == ("sip:\x00\x1b[2J@h", 4294967295, ["x" * 10_000])


def test_a_clock_that_was_wrong_for_a_moment_ends_no_call(tmp_path: Path) -> None:
    segment(tmp_path, 1, [attempt(MIDNIGHT), attempt(MIDNIGHT + 4000 * DAY, call_id=b"b", status=403)])
    assert take(tmp_path, now=MIDNIGHT + HOUR).unfinished == 0
    assert kept(tmp_path) == Counter(["a", "b"])


def test_one_at_a_time(tmp_path: Path) -> None:
    with Store.opened(tmp_path), pytest.raises(Busy, match="another process"), Store.opened(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", '{"version": 2}', "[]", "\x00"])
def test_a_manifest_that_is_none_stops_everything(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(StoreFault, match=r"manifest\.json"), Store.opened(tmp_path):
        pass


# merging


def filled(journal: Path, parts: int, each: int = 30) -> None:
    """A day in many small files."""
    for part in range(parts):
        events = [event for number in range(part * each, part * each + each) for event in call(number, MIDNIGHT + part * HOUR)]
        segment(journal, part + 1, [*events, attempt(MIDNIGHT + part * HOUR + 2 * LINGER, call_id=b"last-%d" % part, status=403)])
        take(journal)


def test_small_files_are_merged_and_a_day_that_is_over_to_one(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    before = sorted(glob(tmp_path, "called, received_at, call_id, via"))
    with Store.opened(tmp_path / FOLDER) as store:
        assert merge_days(store, MIDNIGHT + 12 * HOUR) == 8
        assert [len(files) for files in store.manifest.days.values()] == [3]
        assert merge_days(store, MIDNIGHT + 12 * HOUR) == 0
        assert merge_days(store, MIDNIGHT + DAY + LONGEST + LINGER) == 3
        ((file,),) = store.manifest.days.values()
    assert sorted(glob(tmp_path, "called, received_at, call_id, via")) == before
    assert file.rows == len(before)
    rows = glob(tmp_path, "called, received_at")
    assert rows == sorted(rows)


def test_a_merge_with_batches_and_groups_of_a_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows in the same order, wherever the boundaries fall: equal numbers, equal times, no number at all."""
    draw = random.Random(9)
    number = 0
    for part in range(5):
        events: list[Event] = []
        for _ in range(60):
            number += 1
            called = draw.choice(["+8613800138000", "+8613800138001", "", f"+86138{draw.randrange(10**8):08d}"])
            events += call(number, MIDNIGHT + draw.randrange(5), called=called)
        segment(tmp_path, part + 1, [*events, attempt(MIDNIGHT + HOUR, call_id=b"last", status=403)])
        take(tmp_path)
    before = sorted(glob(tmp_path, "call_id"))
    monkeypatch.setattr(merge, "BATCH", 7)
    monkeypatch.setattr(merge, "BATCH_BYTES", 1)
    monkeypatch.setattr(parquet, "GROUP", 64)
    with Store.opened(tmp_path / FOLDER) as store:
        merge_days(store, LATE)
    assert sorted(glob(tmp_path, "call_id")) == before
    rows = glob(tmp_path, "called, received_at")
    assert rows == sorted(rows, key=lambda row: (row[0] is None, row[0] or "", row[1]))


def file_of(rows: int, name: str = "000001-00.parquet") -> File:
    return File(name, rows, 1, 0, 0, "")


@pytest.mark.parametrize(
    ("rows", "over", "chosen"),
    [
        ([], True, 0),
        ([5], True, 0),
        ([5, 5], True, 2),
        ([5, 5], False, 0),
        ([5] * 8, False, 8),
        ([1_000_000, *[5] * 7], False, 0),
        ([1_000_000, *[5] * 8], False, 8),
        ([1_000_000, 5], True, 0),  # not written anew for five that came late
        ([1_000_000, 60_000], True, 2),
        ([5] * 40, True, 32),
    ],
)
def test_what_is_merged(rows: list[int], over: bool, chosen: int) -> None:
    assert len(choose(tuple(map(file_of, rows)), over=over)) == chosen


def test_the_end_of_a_day_is_in_utc() -> None:
    assert end_of("1970-01-01") == DAY
    assert end_of("2024-10-04") == MIDNIGHT + DAY


# killed


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run something in a process that is killed before its step-th change of a file; whether it was. It comes to its end otherwise."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(change: Callable[..., Any]) -> Callable[..., Any]:
            def changed(*args: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                return change(*args, **options)

            return changed

        for name in ("replace", "fsync", "unlink", "rmdir", "mkdir", "rename"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_killed_at_every_step_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A compaction into two days with calls pending before and after, and a merge, killed before each change that it makes to the disk."""
    base = tmp_path / "base"
    filled(base, 3, each=2)
    events = [event for number in range(100, 105) for event in call(number, MIDNIGHT + DAY - HOUR + number * HOUR // 50)]
    segment(base, 4, [*events, attempt(MIDNIGHT + DAY + 3 * HOUR, call_id=b"open")])
    wanted = names(range(6)) + names(range(100, 105)) + Counter(f"last-{part}" for part in range(3)) + Counter(["open"])
    killed = True
    step = 0
    while killed:
        step += 1
        assert step < 200
        journal = tmp_path / str(step)
        shutil.copytree(base, journal)
        killed = killed_at(step, partial(both, journal))
        assert seen(journal) == wanted, step  # by a reader that comes before anybody has put things in order
        both(journal)
        assert kept(journal) == wanted, step
        assert seen(journal) == wanted, step
        manifest = read_manifest(journal / FOLDER)
        lying = {str(path.relative_to(journal / FOLDER)) for path in (journal / FOLDER).rglob("*") if path.is_file()}
        assert lying == {*manifest.paths(), "manifest.json", ".lock"}, step
        assert len(glob(journal)) == sum(file.rows for files in manifest.days.values() for file in files)
    assert step > 20


def both(journal: Path) -> None:
    """A compaction and a merge."""
    take(journal, MIDNIGHT + DAY + 4 * HOUR)
    with Store.opened(journal / FOLDER) as store:
        assert merge_days(store, MIDNIGHT + DAY + 4 * HOUR, together=3) in (0, 3)


def seen(journal: Path) -> Counter[str]:
    """What a traceback finds."""
    return Counter(record.call_id for record in search(journal, sought("+8675583123456"), 0, LATE * 2, []))


# the journal's chain


def taken(volume: Volume, journal: Path, now: int) -> None:
    """What the keeper does with what a compactor made."""
    _, made = run(journal, now, merging=True)
    proven(volume, journal)  # nothing that the chain counts as there is gone before it says so
    if made is not None:
        assert all(name in volume.live for name in made.segments)
        assert all((journal / file.name).stat().st_size == file.octets for file in made.files)
        volume.compacted(made.segments, made.files, now)
        proven(volume, journal)


def proven(volume: Volume, journal: Path) -> None:
    assert verify(journal, [public_key(journal.parent / "key.pub")]).breaks == []


def sealed(volume: Volume, events: list[Event], now: int) -> None:
    """Seal a segment with these events."""
    for event in events:
        volume.segment.write(frame(0, 0, msgspec.msgpack.encode(event)))
    volume.segment.events, volume.segment.first, volume.segment.last = len(events), events[0].at, events[-1].at
    volume.rotate(now)
    volume.seal(now, {})


def test_the_chain_knows_the_history_and_the_segments_go(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    volume = Volume(journal, "gw1", tmp_path / "key", MIDNIGHT)
    try:
        for part in range(9):
            at = MIDNIGHT + part * HOUR
            sealed(volume, [*call(part, at), attempt(at + 2 * LINGER, call_id=b"open-%d" % part)], at + HOUR)
            if part in (4, 7):  # killed before it could answer: the next one does
                run(journal, at + HOUR, merging=True)
                continue
            taken(volume, journal, at + HOUR)
            manifest = read_manifest(journal / FOLDER)
            assert set(volume.live) == {f"{FOLDER}/{name}" for name in manifest.paths()}
            assert sealed_segments(journal) == []
        (files,) = manifest.days.values()
        assert len(files) == 2  # eight of nine were merged
        assert all(file.last >= file.first > 0 for file in volume.live.values())
        lying = {str(path.relative_to(journal)) for path in (journal / FOLDER).glob("*/*")}
        assert lying == {name for name in volume.live if "day=" in name}
        taken(volume, journal, MIDNIGHT + 10 * HOUR)
        count = volume.chain.count
        taken(volume, journal, MIDNIGHT + 10 * HOUR)
        assert volume.chain.count == count  # nothing new to say
    finally:
        volume.close()


def test_days_that_were_purged_are_forgotten(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    volume = Volume(journal, "gw1", tmp_path / "key", MIDNIGHT)
    try:
        for day in range(3):
            at = MIDNIGHT + day * DAY
            sealed(volume, [*call(day, at), attempt(at + 2 * LINGER, call_id=b"x", status=403)], at + HOUR)
            taken(volume, journal, at + HOUR)
        old = tuple(name for name, file in volume.live.items() if file.last < MIDNIGHT + DAY)
        assert len(old) == 2
        volume.purge(old, MIDNIGHT + DAY, (), LATE)
        report, _ = run(journal, LATE, merging=True)
        assert [f"{FOLDER}/{name}" for name in report.missing] == list(old)
        manifest = read_manifest(journal / FOLDER)
        assert list(manifest.days) == ["2024-10-05", "2024-10-06"][: len(manifest.days)]
        assert not (journal / FOLDER / "day=2024-10-04").exists()
        taken(volume, journal, LATE)
        assert set(volume.live) == {f"{FOLDER}/{name}" for name in read_manifest(journal / FOLDER).paths()}
    finally:
        volume.close()


def test_duckdb_reads_every_column(tmp_path: Path) -> None:
    lines = (b"P-Asserted-Identity: <tel:+8613800138000>", b"Via: SIP/2.0/UDP a", b"Via: SIP/2.0/UDP b")
    segment(tmp_path, 1, [*call(1, MIDNIGHT + 123, lines=lines, marks=("X", "Y")), attempt(MIDNIGHT + HOUR)])
    take(tmp_path)
    columns, (row,) = query(f"select * from read_parquet('{tmp_path / FOLDER}/*/*.parquet', hive_partitioning=true)")
    assert tuple(columns) == (*NAMES, "day")
    record = dict(zip(columns, row, strict=True))
    assert record["received_at"].timestamp() * 1000 == MIDNIGHT + 123
    assert record["pai"] == ["<tel:+8613800138000>"]
    assert record["via"] == ["SIP/2.0/UDP a", "SIP/2.0/UDP b"]
    assert record["marks"] == ["X", "Y"]
    assert (record["node"], record["upstream"], record["port"], record["status"]) == ("gw1", "peer", 5060, 200)
    _, found = query(
        f"select call_id from read_parquet('{tmp_path / FOLDER}/*/*.parquet', hive_partitioning=true)"
        " where day = '2024-10-04' and called = '+8675583123456' and list_contains(marks, 'Y')"
    )
    assert found == [("call-1",)]
