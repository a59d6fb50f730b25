"""The keeper at work: what is put into rings reaches sealed segments once, whatever is killed or full meanwhile."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.events import Attempt, Event
from proxy.journal import notary, volume
from proxy.journal.board import Board, format_board
from proxy.journal.chain import Asked as Noted
from proxy.journal.chain import Compacted, Purged, Sealed, read_lines
from proxy.journal.holds import HoldsFault, Numbers, read_holds
from proxy.journal.keeper import END, Keeper
from proxy.journal.key import public_key
from proxy.journal.ring import RingView, RingWriter, format_ring
from proxy.journal.segment import Segment, sealed_segments
from proxy.journal.settings import KeeperSettings, RingSetting
from proxy.journal.verify import verify
from tests.proxy.journal.events import attempt

DAY = 86_400_000


class Bench:
    """Two rings, a board, and settings for a keeper of them."""

    def __init__(self, base: Path, **changes: Any) -> None:
        self.folder = base / "journal"
        self.fds = []
        for name in ("board", "0.ring", "1.ring"):
            self.fds.append(os.open(base / name, os.O_RDWR | os.O_CREAT))
        format_board(self.fds[0])
        for fd in self.fds[1:]:
            format_ring(fd, 1 << 20, 1000)
        self.board = Board(self.fds[0])
        self.views = [RingView(fd) for fd in self.fds[1:]]
        settings = KeeperSettings(
            path=str(self.folder),
            node="gw1",
            key=str(base / "journal.key"),
            retention=36500 * 86400.0,
            flush=0.02,
            segment_size=1 << 20,
            segment_time=3600.0,
            board=self.fds[0],
            rings=(RingSetting(self.fds[1], 0), RingSetting(self.fds[2], 1)),
        )
        self.settings = msgspec.structs.replace(settings, **changes)

    def work(self, *steps: Callable[[], object]) -> int:
        """Run a keeper, with a step each time that it waits; then it ends."""
        left = list(steps)

        def heard(_seconds: float) -> str:
            if not left:
                return END
            left.pop(0)()
            return ""

        return Keeper(self.settings, heard).run()

    def events(self) -> list[Event]:
        found: list[Event] = []
        for path in (*sealed_segments(self.folder), *sorted(self.folder.glob("*.open"))):
            with Segment(path) as segment:
                found += [entry.event for entry in segment]
            assert segment.damage == ""
        return found

    def holds_good(self) -> bool:
        return verify(self.folder, [public_key(Path(self.settings.key).with_suffix(".pub"))]).breaks == []

    def lines(self, kind: type) -> list[Any]:
        return [line for _raw, line in read_lines(self.folder / "chain") if isinstance(line, kind)]


def pause() -> None:
    time.sleep(0.1)


def until(condition: Callable[[], bool]) -> Callable[[], None]:
    def wait() -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "did not come true in time"
            time.sleep(0.01)

    return wait


def test_from_rings_to_a_sealed_segment(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    one, two = RingWriter(bench.fds[1], 0), RingWriter(bench.fds[2], 1)
    one.put([attempt(1)])
    two.put([attempt(2), attempt(3)])
    assert bench.work(pause, lambda: one.put([attempt(4)]), pause) == 0
    assert sorted(event.at for event in bench.events()) == [attempt(number).at for number in range(1, 5)]
    (sealed,) = bench.lines(Sealed)
    assert (sealed.segment.events, sealed.lost) == (4, {})
    assert bench.holds_good()
    assert (bench.folder / "heads").read_text().split()[1:] == ["2", verify(bench.folder, []).head]
    assert {name: bench.board.get(name) for name in ("events", "sealed", "up", "cut", "failures")} == {
        "events": 4,
        "sealed": 1,
        "up": 1,
        "cut": 0,
        "failures": 0,
    }


def test_full_rings_are_emptied_before_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    given = 0
    for number, fd in enumerate(bench.fds[1:]):
        writer = RingWriter(fd, number)
        while writer.put([attempt(given)]) == 0:
            given += 1
    assert bench.work() == 0
    assert [view.used for view in bench.views] == [0, 0]
    assert len(bench.events()) == given


def test_segments_are_sealed_by_size_and_by_age(tmp_path: Path) -> None:
    bench = Bench(tmp_path, segment_size=3000)
    writer = RingWriter(bench.fds[1], 0)
    steps = [lambda number=number: writer.put([attempt(number)] * 8) for number in range(5)]
    bench.work(*[step for one in steps for step in (one, pause)])
    assert [line.segment.events for line in bench.lines(Sealed)] == [8] * 5
    (tmp_path / "old").mkdir()
    old = Bench(tmp_path / "old", segment_time=0.05)
    writer = RingWriter(old.fds[1], 0)
    old.work(lambda: writer.put([attempt(1)]), pause, pause, lambda: writer.put([attempt(2)]), pause, pause)
    assert [line.segment.events for line in old.lines(Sealed)] == [1, 1]
    assert bench.holds_good() and old.holds_good()


def test_losses_are_in_the_seal(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    writer = RingWriter(bench.fds[2], 1)
    while writer.put([attempt(1)] * 100) == 0:
        pass
    bench.work(pause)
    writer.put([attempt(2)])
    bench.work(pause)
    assert [line.lost for line in bench.lines(Sealed)] == [{"1": 100}, {}]


def test_a_full_disk_keeps_events_in_memory_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    writer = RingWriter(bench.fds[1], 0)
    real = os.pwrite
    full = False

    def write(fd: int, data: memoryview, at: int) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, at)

    def fill(state: bool) -> Callable[[], None]:
        def step() -> None:
            nonlocal full
            full = state

        return step

    monkeypatch.setattr(os, "pwrite", write)
    assert (
        bench.work(
            pause,
            fill(True),
            lambda: writer.put([attempt(1)]),
            pause,
            lambda: writer.put([attempt(2)]),
            until(lambda: bench.board.get("up") == 0),
            fill(False),
            until(lambda: True),
            pause,
            until(lambda: bench.board.get("up") == 1),
        )
        == 0
    )
    assert bench.events() == [attempt(1), attempt(2)]
    assert bench.board.get("cut") == bench.board.get("failures") == 0
    assert [record.getMessage() for record in caplog.records] == ["events wait in memory: [Errno 28] No space left on device"]
    assert bench.holds_good()


def test_a_disk_that_fails_otherwise_has_the_folder_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    writer = RingWriter(bench.fds[1], 0)
    real = os.fsync
    failing = True

    def flush(fd: int) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    def mend() -> None:
        nonlocal failing
        failing = False

    monkeypatch.setattr(os, "fsync", flush)
    assert bench.work(lambda: writer.put([attempt(1)]), pause, mend, pause, pause) == 0
    assert bench.events() == [attempt(1)]
    assert bench.board.get("failures") > 0
    assert bench.board.get("up") == 1
    assert bench.holds_good()


def test_a_folder_that_cannot_be_had_leaves_events_in_memory_at_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "journal").write_text("in the way")
    writer = RingWriter(bench.fds[1], 0)
    writer.put([attempt(1)])
    assert bench.work(pause) == 1
    assert bench.board.get("up") == 0
    (tmp_path / "journal").unlink()
    assert bench.work() == 0
    assert bench.events() == [attempt(1)]


def test_a_keeper_that_is_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, segment_size=20_000)
    writers = [RingWriter(fd, number) for number, fd in enumerate(bench.fds[1:])]
    chosen = random.Random(7)
    given = 0
    for round_ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy.journal.keeper"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=bench.fds,
            cwd=Path(__file__).parents[3],
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(bench.settings) + b"\n")
        process.stdin.flush()
        end = time.monotonic() + chosen.uniform(0.3, 0.8)
        while time.monotonic() < end:
            assert chosen.choice(writers).put([attempt(given), attempt(given + 1)]) == 0
            given += 2
            time.sleep(0.002)
        if round_ < 7:
            process.kill()
        process.stdin.close()  # the last keeper waits for this process, which still has the rings' locks, as for workers that do not end
        assert process.stderr is not None
        with process.stderr:
            said = process.stderr.read().decode()
        assert process.wait(30) == (-9 if round_ < 7 else 0), said
        assert "damaged" not in said
    found = sorted(event.at for event in bench.events())
    assert found == [attempt(number).at for number in range(given)]
    assert bench.holds_good()


def test_purge_keeps_what_is_young_or_held(tmp_path: Path) -> None:
    today = int(time.time() * 1000)
    holds = tmp_path / "holds.csv"
    bench = Bench(tmp_path, retention=10 * 86400.0, segment_size=500, holds=str(holds))
    writer = RingWriter(bench.fds[1], 0)
    ages = {"young": 9, "old": 11, "number": 12, "other": 12, "case": 20}
    callers = {"number": "+8613811112222"}
    made = [
        attempt(1, at=today - days * DAY, call_id=name.encode(), caller=callers.get(name, "+8613800000000")) for name, days in ages.items()
    ]
    steps: list[Callable[[], object]] = []
    for one in made:
        steps += [lambda one=one: writer.put([one, one]), pause]  # type: ignore[misc]
    day = time.strftime("%Y-%m-%d", time.gmtime((today - 20 * DAY) / 1000))
    holds.write_text(f"case,from,to,number\nA-1,{day},{day},*\nA-2,,,+8613811112222\n")
    bench.settings = msgspec.structs.replace(bench.settings, holds=str(tmp_path / "absent.csv"))
    bench.work(*steps)
    assert len(sealed_segments(bench.folder)) == 5  # holds that cannot be read: nothing is purged
    bench.settings = msgspec.structs.replace(bench.settings, holds=str(holds))
    bench.work(pause)
    kept = {event.call_id for event in bench.events()}
    assert kept == {b"young", b"number", b"case"}
    (purged,) = bench.lines(Purged)
    assert (len(purged.files), len(purged.held)) == (2, 2)
    assert bench.board.get("purged") == 2
    assert bench.holds_good()


HELD = "+8613811112222"


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"caller": HELD}, True),
        ({"called": HELD}, True),
        ({"caller_raw": "sip:013811112222@h"}, True),
        ({"called_raw": "<sip:+86-138-1111-2222@h;user=phone>"}, True),
        ({"sent_as": "sip:0086 13811112222@h"}, True),
        ({"caller_raw": "sip:913811112222@h"}, True),  # a gateway's prefix
        ({"lines": (b"P-Asserted-Identity: <sip:alice@h>, <tel:+86-138-1111-2222>",)}, True),
        ({"lines": (b"diversion : <sip:13811112222@h>",)}, True),
        ({"lines": (b"Via: SIP/2.0/UDP 13811112222.example",)}, False),
        ({"caller_raw": "sip:13811112223@h"}, False),
        ({"caller_raw": "sip:1111222@h"}, False),
        ({"caller_raw": "sip:11112222@h"}, True),  # what is left of it behind some gateways
        ({"caller_raw": "sip:alice@h", "lines": (b"\xff\x00", b"From", b"From: <sip:@")}, False),
    ],
)
@pytest.mark.parametrize("written", [HELD, "138 1111 2222"])
def test_a_hold_on_a_number_knows_it_in_every_form(changes: dict[str, Any], held: bool, written: str) -> None:
    bare: dict[str, Any] = {"caller": "", "called": "", "caller_raw": "", "called_raw": "", "lines": ()}
    assert Numbers(["+862083123456", written]).has(attempt(1, **{**bare, **changes})) is held


def test_a_held_name_and_a_held_short_code() -> None:
    held = Numbers(["Alice", "110"])
    assert held.has(attempt(1, caller_raw="<sip:alice@h>"))
    assert held.has(attempt(1, called_raw="sip:110@h"))
    assert not held.has(attempt(1, called_raw="sip:1110@h", caller_raw="sip:@h"))


def test_a_held_number_without_a_canonical_form_is_not_purged(tmp_path: Path) -> None:
    holds = tmp_path / "holds.csv"
    holds.write_text(f"case,from,to,number\nA-1,,,{HELD}\n")
    old = int(time.time() * 1000) - 20 * DAY
    bench = Bench(tmp_path, retention=10 * 86400.0, holds=str(holds), segment_size=500)
    writer = RingWriter(bench.fds[1], 0)
    for raw in ("sip:013811112222@h", "sip:13811112223@h"):
        writer.put([attempt(1, at=old, caller="", caller_raw=raw)] * 2)
        bench.work(pause)
    bench.work(pause)
    assert {event.caller_raw for event in bench.events() if isinstance(event, Attempt)} == {"sip:013811112222@h"}


def years(seconds: float) -> float:
    return seconds * 365 * 86400.0


def test_a_clock_that_jumps_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, retention=184 * 86400.0)
    writer = RingWriter(bench.fds[1], 0)
    now = time.time()
    ahead = 0.0
    monkeypatch.setattr(notary, "time", lambda: now + ahead)

    def tell(days: float) -> None:
        writer.put([attempt(1, at=int((now - days * 86400) * 1000))])

    tell(200)
    bench.work(pause)
    tell(10)
    bench.work(pause)  # what is older than its time is removed
    assert (len(bench.events()), bench.board.get("clock_doubted")) == (1, 0)
    ahead = years(1)
    tell(-365.1)  # a call by the clock that jumped: it is no witness
    bench.work(pause)
    bench.work(pause)
    assert (len(bench.events()), bench.board.get("clock_doubted"), bench.board.get("purged")) == (2, 1, 1)
    said = [record.message for record in caplog.records if "nothing is purged" in record.message]
    assert len(said) == 1
    for days in (20, 31):  # it goes on from there: the node was off for a year
        assert len(bench.events()) == 2
        ahead = years(1) + days * 86400.0
        bench.work(pause)
    assert (len(bench.events()), bench.board.get("clock_doubted")) == (1, 0)
    assert bench.holds_good()


def test_a_clock_that_is_set_right_is_believed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, retention=184 * 86400.0)
    now = time.time()
    RingWriter(bench.fds[1], 0).put([attempt(1, at=int(now * 1000))])
    found = []
    for ahead in (0.0, years(1), -years(30), years(2), 86400.0):
        monkeypatch.setattr(notary, "time", lambda ahead=ahead: now + ahead)
        bench.work(pause)
        found.append((len(bench.events()), bench.board.get("clock_doubted")))
    assert found == [(1, 0), (1, 1), (1, 0), (1, 1), (1, 1)]


def test_a_clock_that_was_far_ahead_and_is_set_right_is_guarded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, retention=184 * 86400.0)
    now = time.time()
    found = []
    for ahead in (years(5), 0.0, years(4), 86400.0):  # the first start was in the wrong year
        monkeypatch.setattr(notary, "time", lambda ahead=ahead: now + ahead)
        bench.work(pause)
        found.append(bench.board.get("clock_doubted"))
    assert found == [0, 0, 1, 0]


@pytest.mark.parametrize("obstacle", ["clock", ".clock.tmp", "loop"])
def test_a_note_of_the_clock_that_cannot_be_read_or_written_stops_only_purges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    monkeypatch.setattr(notary, "PURGE_EVERY", 0.0)
    bench = Bench(tmp_path, retention=10 * 86400.0)
    bench.folder.mkdir()
    in_the_way = bench.folder / ("clock" if obstacle == "loop" else obstacle)
    if obstacle == "loop":
        in_the_way.symlink_to("clock")
    else:
        in_the_way.mkdir()
    compacting = []
    monkeypatch.setattr(notary.Notary, "_compact", lambda _self: compacting.append(1))
    writer = RingWriter(bench.fds[1], 0)
    for days in (11, 0):
        writer.put([attempt(1, at=int((time.time() - days * 86400) * 1000))])
        bench.work(pause)
    bench.work(pause)
    assert (len(bench.events()), bench.lines(Purged), bench.board.get("stuck"), bench.board.get("up")) == (2, [], 1, 1)
    assert compacting
    said = [record.message for record in caplog.records if "nothing is purged" in record.message]
    assert said and str(bench.folder / "clock") in said[0]
    if obstacle == "loop":
        in_the_way.unlink()
    else:
        in_the_way.rmdir()
    bench.work(pause)
    assert (len(bench.events()), len(bench.lines(Purged)), bench.board.get("stuck")) == (1, 1, 0)
    assert bench.holds_good()


@pytest.mark.parametrize("noted", [None, b"", b"[]", b'{"believed":"x"}'])
def test_without_a_note_the_newest_record_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: bytes | None) -> None:
    bench = Bench(tmp_path, retention=184 * 86400.0)
    now = time.time()
    RingWriter(bench.fds[1], 0).put([attempt(1, at=int(now * 1000))])
    bench.work(pause)
    (bench.folder / "clock").unlink()
    if noted is not None:
        (bench.folder / "clock").write_bytes(noted)
    monkeypatch.setattr(notary, "time", lambda: now + years(1))
    bench.work(pause)
    assert (len(bench.events()), bench.board.get("clock_doubted")) == (1, 1)


def test_the_keeper_signs_the_trail_of_tracebacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notary, "SIGN_EVERY", 0.0)
    bench = Bench(tmp_path)
    bench.folder.mkdir()
    trail = bench.folder / "traceback.audit"

    def asked(line: int) -> Callable[[], None]:
        return until(lambda: [one.line for one in bench.lines(Noted)][-1:] == [line])

    steps: list[Callable[[], object]] = [
        lambda: trail.write_bytes(b"a\n"),
        asked(1),
        lambda: trail.write_bytes(b"a\nb\nc\n"),
        asked(3),
        lambda: trail.write_bytes(b"d\n"),  # somebody took questions out: that is a break, and those that follow are signed again
        asked(1),
        trail.unlink,
        trail.mkdir,
        until(lambda: bench.board.get("unsigned") == 1),
    ]
    assert bench.work(*steps) == 0
    assert bench.board.get("failures") == 0
    first, *_ = verify(bench.folder, [public_key(Path(bench.settings.key).with_suffix(".pub"))]).breaks
    assert first.file == "traceback.audit"


def test_a_keeper_shows_that_it_lives_while_it_takes_up_what_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path)
    writer = RingWriter(bench.fds[1], 0)
    writer.put([attempt(1)])

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.work(pause, killed)
    shown: list[int] = []
    adopt = volume.OpenSegment.adopt

    def slow(self: volume.OpenSegment, segment: Segment, beat: Callable[[], None]) -> None:
        bench.board.put("heartbeat", 0)
        adopt(self, segment, beat)
        shown.append(bench.board.get("heartbeat"))

    monkeypatch.setattr(volume.OpenSegment, "adopt", slow)
    assert bench.work(pause) == 0
    assert shown and all(shown)


COMPACTOR = """
import json, os, sys
from hashlib import sha256
from pathlib import Path

task = json.load(sys.stdin)
folder = Path(task["folder"])
content = json.dumps([one["name"] for one in task["segments"]]).encode()
(folder / "out.columns").write_bytes(content)
made = {"name": "out.columns", "sha256": sha256(content).hexdigest(), "octets": len(content) + (os.environ.get("WRONG") is not None),
        "events": 2, "first": 1, "last": 2}
print(json.dumps([{"segments": [one["name"] for one in task["segments"]], "files": [made]}]))
"""


@pytest.mark.parametrize("wrong", [False, True])
def test_the_compactor_takes_segments_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bool) -> None:
    (tmp_path / "columns_made_here.py").write_text(COMPACTOR)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if wrong:
        monkeypatch.setenv("WRONG", "1")
    bench = Bench(tmp_path, compactor="columns_made_here", segment_size=500)
    writer = RingWriter(bench.fds[1], 0)
    names = [f"gw1-{number:010d}.seg" for number in (1, 2)]
    writer.put([attempt(1), attempt(2)])
    bench.work()
    writer.put([attempt(3), attempt(4)])
    bench.work()

    def done() -> bool:
        return bool(bench.board.get("compact_failures") or bench.lines(Compacted))

    bench.work(pause, until(done))
    if wrong:
        assert (bench.board.get("compact_failures"), bench.lines(Compacted)) == (1, [])
        assert [path.name for path in sealed_segments(bench.folder)] == names
    else:
        (line,) = bench.lines(Compacted)
        assert list(line.segments) == names
        assert sealed_segments(bench.folder) == []
    assert bench.holds_good()
    assert notary.TASK not in {path.name for path in sealed_segments(bench.folder)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n", ":1: the first line must be case,from,to,number"),
        ("case,from,to,number\nA,2026-13-01,,*\n", ":2: from and to are days or times"),
        ("case,from,to,number\nA,2026-02-01,2026-01-01,*\n", ":2: from is after to"),
        ("case,from,to,number\n,,,*\n", ":2: wants a case"),
        ("case,from,to,number\nA,,\n", ":2: wants a case"),
        ('case,from,to,number\n"A,,,*\n', "unexpected end of data"),
        ("\udc80", "not UTF-8"),
    ],
)
def test_holds_that_cannot_be_read(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "holds.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(HoldsFault, match=says):
        read_holds(path)


def test_holds(tmp_path: Path) -> None:
    path = tmp_path / "holds.csv"
    path.write_text("case,from,to,number\n# a comment\nA,2026-01-01,2026-01-02,*\nB,2026-01-01T00:00:00+08:00,,+8613800138000\n\n")
    first, second = read_holds(path)
    assert (first.case, first.begin, first.end, first.number) == ("A", 1_767_225_600_000, 1_767_225_600_000 + 2 * DAY - 1, "*")
    assert second.begin == 1_767_225_600_000 - 8 * 3_600_000
    assert first.covers(first.end, first.end + 5) and not first.covers(first.end + 1, first.end + 5)
    assert second.covers(1 << 60, 1 << 60)
