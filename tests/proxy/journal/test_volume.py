"""The journal's folder: every step can be the last, and the next start goes on; `verify` finds what was changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from proxy.events import Event
from proxy.journal.chain import NONE, Begun, Chain, Compacted, Cut, Line, Purged, Sealed, Stored, read_lines
from proxy.journal.chain import Asked as Noted
from proxy.journal.heads import note_head
from proxy.journal.key import KeyFault, public_key, signing_key
from proxy.journal.ring import RingReader, RingWriter, format_ring
from proxy.journal.segment import Segment, sealed_segments
from proxy.journal.stat import stat
from proxy.journal.trail import TrailFault
from proxy.journal.verify import Verified, verify
from proxy.journal.volume import Volume, VolumeFault
from proxy.records.audit import Asked, Trail
from tests.proxy.journal.events import attempt

NOW = 1_764_000_000_000


class Bench:
    """A folder with a ring beside it."""

    def __init__(self, base: Path) -> None:
        self.folder = base / "journal"
        self.key = base / "journal.key"
        self._fd = os.open(base / "0.ring", os.O_RDWR | os.O_CREAT)
        format_ring(self._fd, 1 << 20, 1000)
        self.writer = RingWriter(self._fd, 0)
        self.ring = RingReader(self._fd, 0)
        self.volume = self.open()

    def open(self) -> Volume:
        self.volume = Volume(self.folder, "gw1", self.key, NOW)
        self.ring.skip_to(self.volume.positions().get(0, 0))
        return self.volume

    def crash(self) -> Volume:
        """What a killed process leaves, and the next start."""
        self.volume.close()
        return self.open()

    def write(self, *events: Event, done: bool = True) -> None:
        self.writer.put(events)
        taken = self.ring.taken()
        self.volume.segment.take(0, taken)
        if done:
            self.ring.done(taken.position)

    def seal(self, *events: Event) -> Path:
        self.write(*events)
        self.volume.rotate(NOW)
        line = self.volume.seal(NOW, {})
        assert line is not None
        note_head(self.folder, self.volume.chain.count, self.volume.chain.head, NOW)
        return self.folder / line.segment.name

    def lines(self) -> list[Line]:
        return [line for _raw, line in read_lines(self.folder / "chain") if line is not None]

    def events(self) -> list[Event]:
        found: list[Event] = []
        for path in (*sealed_segments(self.folder), *sorted(self.folder.glob("*.open"))):
            with Segment(path) as segment:
                found += [entry.event for entry in segment]
        return found

    def verify(self, head: str | None = None) -> Verified:
        return verify(self.folder, [public_key(self.key.with_suffix(".pub"))], head)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_journal_from_its_beginning(bench: Bench) -> None:
    first = bench.seal(attempt(1), attempt(2))
    bench.write(attempt(3))
    begun, sealed = bench.lines()
    assert isinstance(begun, Begun) and isinstance(sealed, Sealed)
    assert (begun.n, begun.previous, begun.node, sealed.n) == (1, NONE, "gw1", 2)
    assert sealed.segment == Stored(
        first.name, sha256(first.read_bytes()).hexdigest(), first.stat().st_size, 2, attempt(1).at, attempt(2).at
    )
    found = bench.verify()
    assert (found.breaks, found.lines, found.files, found.events, found.open_segments, found.open_events) == ([], 2, 1, 2, 1, 1)
    assert found.head == bench.volume.chain.head
    assert (bench.key.stat().st_mode & 0o777, (bench.folder / "chain").stat().st_mode & 0o777) == (0o600, 0o640)
    told = stat(bench.folder)
    assert (told.segments, told.events, told.first, told.last, told.open_segments) == (1, 2, attempt(1).at, attempt(2).at, 1)


def test_what_was_written_but_not_taken_from_the_ring_is_not_written_twice(bench: Bench) -> None:
    bench.write(attempt(1), attempt(2), done=False)
    bench.crash()
    assert bench.ring.used == 0
    bench.write(attempt(3))
    assert bench.events() == [attempt(1), attempt(2), attempt(3)]


def test_a_torn_tail_is_cut_off_and_what_was_in_it_is_taken_from_the_ring_again(bench: Bench) -> None:
    bench.write(attempt(1))
    bench.write(attempt(2), done=False)
    path = bench.volume.segment.path
    os.truncate(path, path.stat().st_size - 5)
    bench.crash()
    assert bench.volume.cut == 1
    (cut,) = [line for line in bench.lines() if isinstance(line, Cut)]
    assert (cut.segment, cut.kept, cut.why) == (path.name, path.stat().st_size, f"octet {cut.kept}: ends within a frame")
    taken = bench.ring.taken()
    assert taken.events == 1
    bench.volume.segment.take(0, taken)
    bench.ring.done(taken.position)
    assert bench.events() == [attempt(1), attempt(2)]
    bench.volume.rotate(NOW)
    bench.volume.seal(NOW, {})
    assert bench.verify().breaks == []


def test_an_open_segment_without_a_whole_header_is_put_aside(bench: Bench) -> None:
    path = bench.volume.segment.path
    bench.write(attempt(1))
    path.write_bytes(b"\0" * 50)
    bench.crash()
    assert path.with_suffix(".damaged").read_bytes() == b"\0" * 50
    bench.write(attempt(2))
    assert bench.events() == [attempt(2)]
    bench.volume.segment.path.write_bytes(b"")
    bench.crash()
    assert bench.verify().breaks == []


def test_killed_between_the_line_of_a_seal_and_its_rename(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(attempt(1))
    bench.volume.rotate(NOW)

    def killed(_self: Path, _target: Path) -> Path:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(OSError, match="killed"):
            bench.volume.seal(NOW, {})
    assert bench.verify().breaks == []
    bench.crash()
    assert len([line for line in bench.lines() if isinstance(line, Sealed)]) == 1
    assert [path.name for path in sealed_segments(bench.folder)] == ["gw1-0000000001.seg"]
    assert bench.events() == [attempt(1)]
    assert bench.verify().breaks == []


def test_finished_segments_that_were_not_sealed_yet_are_sealed_after_the_next_start(bench: Bench) -> None:
    bench.write(attempt(1))
    bench.volume.rotate(NOW)
    bench.write(attempt(2), done=False)
    volume = bench.crash()
    assert [segment.header.serial for segment in volume.unsealed] == [1]
    assert bench.ring.used == 0
    sealed = volume.seal(NOW, {"0": 3})
    assert sealed is not None
    assert (sealed.segment.events, sealed.lost) == (1, {"0": 3})
    assert volume.seal(NOW, {}) is None
    assert bench.events() == [attempt(1), attempt(2)]


@pytest.mark.parametrize("kind", ["compacted", "purged"])
def test_killed_between_a_line_and_the_removal_that_it_tells_of(bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = bench.seal(attempt(1))
    other = bench.folder / "history" / "a.parquet"
    other.parent.mkdir()
    other.write_bytes(b"columns")
    made = Stored("history/a.parquet", sha256(b"columns").hexdigest(), 7, 1, NOW, NOW)

    def killed(_self: Path, missing_ok: bool = False) -> None:
        raise OSError("killed")

    do: dict[str, Callable[[], None]] = {
        "compacted": lambda: bench.volume.compacted((path.name,), (made,), NOW),
        "purged": lambda: bench.volume.purge((path.name,), NOW, ("held.seg",), NOW),
    }
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(OSError, match="killed"):
            do[kind]()
    assert path.exists()
    assert bench.verify().breaks == []
    bench.crash()
    assert not path.exists()
    assert set(bench.volume.live) == ({made.name} if kind == "compacted" else set())
    found = bench.verify()
    assert (found.breaks, found.files, found.purged) == ([], int(kind == "compacted"), int(kind == "purged"))
    assert isinstance(bench.lines()[-1], Compacted if kind == "compacted" else Purged)


@pytest.mark.parametrize("kind", ["compacted", "purged"])
def test_a_file_that_cannot_be_removed_keeps_nothing_from_being_written(bench: Bench, kind: str) -> None:
    names = tuple(bench.seal(attempt(number)).name for number in range(3))
    bench.volume.close()
    stubborn = bench.folder / names[1]
    stubborn.unlink()
    (stubborn / "somebody's").mkdir(parents=True)  # a folder is no file, and is not removed as one
    bench.open()
    if kind == "compacted":
        bench.volume.compacted(names, (), NOW)
    else:
        bench.volume.purge(names, NOW, (), NOW)
    for _ in range(2):
        assert [path.name for path in sealed_segments(bench.folder)] == [stubborn.name]
        assert list(bench.volume.stuck) == [stubborn.name]
        bench.crash()
    bench.write(attempt(7))
    shutil.rmtree(stubborn)
    bench.seal(attempt(8))
    assert bench.events() == [attempt(7), attempt(8)]
    bench.volume.purge(("gone before",), NOW, (), NOW)
    assert bench.volume.stuck == {}
    assert bench.verify().breaks == []


def test_a_disk_that_does_not_do_what_it_should_is_no_stubborn_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is opened anew then, and what is left is done there."""
    path = bench.seal(attempt(1))

    def broken(_self: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", broken)
        with pytest.raises(OSError, match="Input/output"):
            bench.volume.purge((path.name,), NOW, (), NOW)
        bench.crash()
        assert bench.volume.stuck == {path.name: "cannot be removed: Input/output error; remove it by hand (chattr -i, rm)"}
    bench.write(attempt(2))
    bench.crash()
    assert (bench.volume.stuck, bench.events()) == ({}, [attempt(2)])


def test_a_sealed_segment_that_cannot_be_given_its_name_is_not_sealed_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(attempt(1))
    path = bench.volume.segment.path
    bench.volume.rotate(NOW)

    def refused(_self: Path, _target: Path) -> Path:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        with pytest.raises(PermissionError):
            bench.volume.seal(NOW, {})
        bench.crash()
        assert bench.volume.stuck == {path.name: "is sealed and cannot be renamed: Operation not permitted"}
        bench.write(attempt(2))
    assert bench.volume.unsealed == []
    bench.crash()
    assert (bench.volume.stuck, bench.events()) == ({}, [attempt(1), attempt(2)])
    assert len([line for line in bench.lines() if isinstance(line, Sealed)]) == 1
    assert bench.verify().breaks == []


def test_an_open_segment_that_cannot_be_opened_is_left_and_another_begun(bench: Bench) -> None:
    bench.write(attempt(1))
    path = bench.volume.segment.path
    bench.volume.close()
    path.rename(bench.folder / "kept")
    path.mkdir()
    bench.open()
    assert list(bench.volume.stuck) == [path.name]
    assert bench.volume.segment.header.serial == 2
    bench.seal(attempt(2))
    bench.volume.purge(("gone before",), NOW, (), NOW)
    assert list(bench.volume.stuck) == [path.name]
    path.rmdir()
    (bench.folder / "kept").rename(path)
    bench.crash()
    assert bench.volume.stuck == {}
    assert bench.events() == [attempt(2), attempt(1)]


def test_a_sign_of_life_while_a_large_segment_is_taken_up(bench: Bench) -> None:
    bench.write(*[attempt(number) for number in range(600)])
    bench.volume.close()
    beats: list[int] = []
    bench.volume = Volume(bench.folder, "gw1", bench.key, NOW, lambda: beats.append(1))
    assert len(beats) >= 3  # of the chain, the events and the octets


def test_a_line_that_was_not_written_whole_is_cut_off(bench: Bench) -> None:
    bench.seal(attempt(1))
    chain = bench.folder / "chain"
    whole = chain.read_bytes()
    chain.write_bytes(whole + whole[:90])
    assert bench.verify().breaks == []
    bench.crash()
    assert bench.volume.chain.torn == 90
    assert chain.read_bytes() == whole
    bench.seal(attempt(2))
    assert bench.verify().breaks == []


def test_a_disk_that_is_full_takes_nothing_half(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(attempt(1))
    real = os.pwrite
    left = 100

    def full(fd: int, data: memoryview, at: int) -> int:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        done = real(fd, data[:left], at)
        left -= done
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            bench.write(attempt(2))
        left = 30
        with pytest.raises(OSError, match="No space"):
            bench.volume.rotate(NOW)
        left = 100
        with pytest.raises(OSError, match="No space"):
            bench.volume.purge(("x",), NOW, (), NOW)
    assert [path.suffix for path in bench.folder.glob("gw1*")] == [".open"]
    taken = bench.ring.taken()
    assert taken.events == 1
    bench.volume.segment.take(0, taken)
    bench.ring.done(taken.position)
    bench.seal(attempt(3))
    assert bench.events() == [attempt(1), attempt(2), attempt(3)]
    assert bench.verify().breaks == []


def test_a_short_write_is_gone_on_with(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:7], at))
        bench.seal(attempt(1), attempt(2))
    assert bench.events() == [attempt(1), attempt(2)]
    assert bench.verify().breaks == []


def test_two_keepers_are_one_too_many(bench: Bench) -> None:
    with pytest.raises(VolumeFault, match="another keeper"):
        Volume(bench.folder, "gw1", bench.key, NOW)


def test_a_chain_that_cannot_be_read_is_put_aside_and_records_go_on(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.seal(attempt(1))
    bench.volume.close()
    chain = bench.folder / "chain"
    damaged = chain.read_bytes().replace(b'"serial":1', b'"serial":x')
    chain.write_bytes(damaged)
    bench.open()
    assert f"chain:2: no line of a chain; it is put aside as chain.damaged-{NOW}" in caplog.text
    assert (bench.folder / f"chain.damaged-{NOW}").read_bytes() == damaged
    bench.seal(attempt(2))
    assert bench.events() == [attempt(1), attempt(2)]
    first, *_others = bench.verify().breaks
    assert (first.file, first.what) == (f"chain.damaged-{NOW}", "a chain that could not be read was put aside, and another begun")


def _signed_anew(bench: Bench) -> None:
    """What somebody does who has no key of the node's, but can write: another chain for the same files."""
    segments = [(line.segment, line.serial) for line in bench.lines() if isinstance(line, Sealed)]
    (bench.folder / "chain").unlink()
    key = signing_key(bench.key.with_name("forged.key"))
    chain = Chain(bench.folder, "gw1", key, "0" * 16, "", NOW)
    for stored, serial in segments:
        chain.append(Sealed(segment=stored, serial=serial, **chain.stamp(NOW)))
    (bench.folder / "heads").unlink()


def _without_key(bench: Bench) -> None:
    """A segment is changed, and its hash in the chain with it."""
    path = bench.folder / "gw1-0000000002.seg"
    old = sha256(path.read_bytes()).hexdigest()
    data = path.read_bytes().replace(b"13800138000", b"13900139000")
    path.write_bytes(data)
    chain = bench.folder / "chain"
    chain.write_bytes(chain.read_bytes().replace(old.encode(), sha256(data).hexdigest().encode()))


def _changed(bench: Bench) -> None:
    path = bench.folder / "gw1-0000000002.seg"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)


def _line_removed(bench: Bench) -> None:
    chain = bench.folder / "chain"
    lines = chain.read_bytes().splitlines(keepends=True)
    chain.write_bytes(b"".join(lines[:2] + lines[3:]))


def _tail_removed(bench: Bench) -> None:
    chain = bench.folder / "chain"
    chain.write_bytes(b"".join(chain.read_bytes().splitlines(keepends=True)[:-1]))
    (bench.folder / "gw1-0000000003.seg").unlink()


def _added(bench: Bench) -> None:
    shutil.copy(bench.folder / "gw1-0000000001.seg", bench.folder / "gw1-0000000099.seg")


@pytest.mark.parametrize(
    ("tamper", "line", "file", "what"),
    [
        (_changed, 3, "gw1-0000000002.seg", "its SHA-256 is another"),
        (lambda bench: (bench.folder / "gw1-0000000002.seg").unlink(), 3, "gw1-0000000002.seg", "was removed"),
        (lambda bench: os.truncate(bench.folder / "gw1-0000000001.seg", 300), 2, "gw1-0000000001.seg", "has 300 octets"),
        (_without_key, 3, "chain", "its signature does not hold"),
        (_signed_anew, 1, "chain", "which is none that was given"),
        (_line_removed, 3, "chain", "is numbered 4: lines were removed"),
        (_tail_removed, 4, "chain", "lines were removed from the end"),
        (_added, 5, "gw1-0000000099.seg", "is in no line of the chain"),
        (lambda bench: (bench.folder / "chain").write_bytes(b""), 0, "chain", "the chain was removed"),
    ],
    ids=["a byte", "a segment", "a shorter segment", "a hash", "a chain", "a line", "the tail", "one more", "no chain"],
)
def test_what_was_changed_is_found_and_named(bench: Bench, tamper: Callable[[Bench], object], line: int, file: str, what: str) -> None:
    for number in range(3):
        bench.seal(attempt(number))
    assert bench.verify().breaks == []
    tamper(bench)
    first = bench.verify().breaks[0]
    assert (first.line, first.file) == (line, file)
    assert what in first.what


def test_a_tail_that_was_removed_with_all_traces_shows_by_a_head_kept_elsewhere(bench: Bench) -> None:
    for number in range(3):
        bench.seal(attempt(number))
    head = bench.volume.chain.head
    assert bench.verify(head.upper()).breaks == []
    _tail_removed(bench)
    heads = bench.folder / "heads"
    heads.write_text("".join(heads.read_text().splitlines(keepends=True)[:-1]))
    assert bench.verify().breaks == []
    (found,) = bench.verify(head).breaks
    assert (found.line, found.file) == (4, "chain")
    assert found.what.startswith(f"no line has the head {head}")


def test_a_new_key_begins_anew_and_both_are_needed(bench: Bench) -> None:
    bench.seal(attempt(1))
    old = public_key(bench.key.with_suffix(".pub"))
    bench.key.rename(bench.key.with_name("old.key"))
    bench.key.with_suffix(".pub").unlink()
    bench.crash()
    bench.seal(attempt(2))
    new = public_key(bench.key.with_suffix(".pub"))
    assert [line.n for line in bench.lines() if isinstance(line, Begun)] == [1, 3]
    assert verify(bench.folder, [old, new]).breaks == []
    assert verify(bench.folder, [new]).breaks[0].line == 1
    assert verify(bench.folder, [old]).breaks[0].line == 3


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [(b"x", 0o600, "not a private key"), (None, 0o640, "others may read this key")],
    ids=["no key", "readable"],
)
def test_keys_that_cannot_be_used(tmp_path: Path, content: bytes | None, mode: int, says: str) -> None:
    path = tmp_path / "a.key"
    signing_key(path)
    if content is not None:
        path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(KeyFault, match=says):
        signing_key(path)
    with pytest.raises(KeyFault, match="not a public key"):
        public_key(path)


def ask(folder: Path, number: int) -> bytes:
    """One more line of the trail, as a traceback writes it."""
    with Trail(folder) as trail:
        told = trail.append(
            Asked(
                n=0,
                at=NOW,
                previous="",
                user="eve",
                uid=1,
                login=None,
                login_uid=None,
                case=f"B-{number}",
                basis="x",
                called="110",
                calling=None,
                first=0,
                last=1,
                rows={},
                masked=True,
            )
        )
    return msgspec.json.encode(told)


def test_the_trail_of_tracebacks_is_signed(bench: Bench) -> None:
    assert bench.volume.asked(NOW) is False
    for number in range(3):
        ask(bench.folder, number)
    found = bench.verify()
    assert (found.breaks, found.asked, found.unsigned) == ([], 3, 3)  # an old one, of a node that signed none
    assert found.notes == ["traceback.audit: its last 3 of 3 lines are not signed: it is signed once a keeper runs"]
    assert bench.volume.asked(NOW) is True
    assert bench.volume.asked(NOW) is False
    bench.crash()
    assert bench.volume.asked(NOW) is False
    last = ask(bench.folder, 3)
    found = bench.verify()
    assert (found.breaks, found.asked, found.unsigned) == ([], 4, 1)
    assert bench.volume.asked(NOW) is True
    found = bench.verify()
    assert (found.breaks, found.asked, found.unsigned, found.notes) == ([], 4, 0, [])
    line = bench.lines()[-1]
    assert isinstance(line, Noted)
    assert (line.line, line.head) == (4, sha256(last).hexdigest())


def test_a_line_of_the_trail_that_is_not_written_whole_is_not_signed(bench: Bench) -> None:
    ask(bench.folder, 0)
    path = bench.folder / "traceback.audit"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert bench.volume.asked(NOW) is True
    assert bench.volume.asked(NOW) is False
    ask(bench.folder, 1)
    assert bench.volume.asked(NOW) is True
    found = bench.verify()
    assert (found.breaks, found.asked, found.unsigned) == ([], 3, 0)


def _anew(lines: list[bytes]) -> list[bytes]:
    """The lines with everything that ties them together as it should be: what somebody does who knows how the trail is made."""
    previous = "0" * 64
    made = []
    for number, raw in enumerate(lines, 1):
        line = msgspec.structs.replace(msgspec.json.decode(raw, type=Asked), n=number, previous=previous)
        made.append(msgspec.json.encode(line))
        previous = sha256(made[-1]).hexdigest()
    return made


@pytest.mark.parametrize(
    ("change", "line", "what"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"eve", b"bob"), *lines[2:]], 2, "line 3 does not follow"),
        (lambda lines: lines[:1] + lines[2:], 2, "line 2 does not follow"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b"eve", b"bob")], 3, "line 4 was changed"),
        (lambda lines: lines[:3], 3, "ends with line 3, and had 4"),
        (lambda lines: lines[:2], 2, "ends with line 2, and had 3"),
        (lambda lines: [], 2, "ends with line 0, and had 3"),
        (lambda lines: None, 2, "was removed"),
        (lambda lines: _anew([lines[0].replace(b"eve", b"bob"), *lines[1:]]), 2, "one of the lines 1 to 3 was changed"),
        (lambda lines: _anew([*lines[:3], lines[3].replace(b"eve", b"bob")]), 3, "line 4 was changed"),
        (lambda lines: _anew(lines[1:]), 2, "one of the lines 1 to 3 was changed"),
        (lambda lines: [*lines[:2], b"{}", lines[3]], 2, "one of the lines 1 to 3 was changed"),
        (lambda lines: [b"", *lines], 2, "line 2 does not follow"),
        (lambda lines: [lines[0], b"\xff" * 9_000_000, *lines[1:]], 2, "line 3 does not follow"),
    ],
)
def test_a_trail_that_was_worked_on(bench: Bench, change: Callable[[list[bytes]], list[bytes] | None], line: int, what: str) -> None:
    for number in range(4):
        ask(bench.folder, number)
        if number > 1:
            bench.volume.asked(NOW)
    path = bench.folder / "traceback.audit"
    changed = change(path.read_bytes().splitlines())
    path.unlink()
    if changed is not None:
        path.write_bytes(b"".join(one + b"\n" for one in changed))
    (first,) = bench.verify().breaks
    assert (first.line, first.file) == (line, "traceback.audit")
    assert what in first.what
    bench.crash()
    for number in range(2):  # the keeper goes on, and what it says now hides nothing
        with suppress(TrailFault):
            bench.volume.asked(NOW)
        ask(bench.folder, number)
    assert bench.verify().breaks[0].file == "traceback.audit"


@pytest.mark.parametrize("kind", ["folder", "link", "fifo", "endless"])
def test_a_trail_that_is_none(bench: Bench, kind: str) -> None:
    path = bench.folder / "traceback.audit"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"x" * (9 << 20))
    with pytest.raises(TrailFault):
        bench.volume.asked(NOW)
    assert [one.file for one in bench.verify().breaks] == ([] if kind == "endless" else [path.name])
    assert not any(isinstance(line, Noted) for line in bench.lines())


def test_every_truncation_of_the_chain_is_survived(bench: Bench, tmp_path: Path) -> None:
    bench.seal(attempt(1))
    bench.volume.close()
    whole = (bench.folder / "chain").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in (0, 1, first - 1, first, first + 1, len(whole) - 1):
        (bench.folder / "chain").write_bytes(whole[:cut])
        volume = Volume(bench.folder, "gw1", bench.key, NOW)
        assert volume.chain.count == 1
        assert volume.segment.header.serial > 1  # a segment that the chain has forgotten is not written over
        volume.close()
