"""The ring between worker and keeper: what is put in comes out once, in order, whatever ends in between."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.events import Attempt, Event
from proxy.journal.frame import event_of, frame_at
from proxy.journal.ring import PAGE, RingFault, RingReader, RingView, RingWriter, Taken, format_ring
from tests.proxy.journal.events import attempt

BEGIN = 1_764_000_000_000_000_000


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "0.ring", os.O_RDWR | os.O_CREAT)
    format_ring(fd, 8192, BEGIN)
    yield fd
    os.close(fd)


def events_of(taken: Taken) -> list[Event]:
    view = memoryview(taken.data)
    found: list[Event] = []
    at = 0
    while at < len(view):
        one = frame_at(view, at, len(view))
        event = event_of(one.payload)
        assert event is not None
        found.append(event)
        at = one.end
    assert len(found) == taken.events
    return found


def drain(reader: RingReader) -> list[Event]:
    found: list[Event] = []
    while reader.used:
        taken = reader.taken()
        found += events_of(taken)
        reader.done(taken.position)
    return found


def test_what_is_put_in_comes_out_once_and_in_order_over_many_rounds(fd: int) -> None:
    writer, reader = RingWriter(fd, 3), RingReader(fd, 3)
    given: list[Event] = []
    found: list[Event] = []
    for number in range(400):
        batch: list[Event] = [attempt(number * 10 + one, caller_raw="x" * (number % 97)) for one in range(number % 4)]
        assert writer.put(batch) == 0
        given += batch
        if number % 3 == 0:
            found += drain(reader)
    found += drain(reader)
    assert found == given
    assert (writer.told, writer.lost, reader.used, reader.damaged) == (len(given), 0, 0, 0)


def test_what_finds_no_room_is_counted_and_the_next_that_does_is_taken(fd: int) -> None:
    writer, reader = RingWriter(fd, 0), RingReader(fd, 0)
    put = 0
    while writer.put([attempt(put)]) == 0:
        put += 1
    assert writer.full
    assert writer.put([attempt(1000), attempt(1001)]) == 2
    assert (writer.told, writer.lost) == (put, 3)
    assert len(drain(reader)) == put
    assert not writer.full
    assert writer.put([attempt(2000)]) == 0
    assert drain(reader) == [attempt(2000)]
    assert reader.lost_unsealed == 3
    reader.loss_sealed(2)
    assert RingReader(fd, 0).lost_unsealed == 1


def test_what_is_not_done_is_taken_again_by_the_next_keeper(fd: int) -> None:
    writer = RingWriter(fd, 0)
    writer.put([attempt(1), attempt(2)])
    first = RingReader(fd, 0).taken()
    again = RingReader(fd, 0)
    assert again.taken() == first
    again.skip_to(first.position)  # it was written before the first keeper was killed
    writer.put([attempt(3)])
    assert drain(again) == [attempt(3)]
    again.skip_to(first.position)
    again.skip_to(first.position + 1_000_000)
    assert again.used == 0


def test_a_writer_that_is_killed_leaves_what_it_had_put_in(fd: int) -> None:
    program = f"""
import os, signal
from proxy.journal.ring import RingWriter
from tests.proxy.journal.events import attempt
writer = RingWriter({fd}, 5)
writer.put([attempt(1)])
writer.put([attempt(2)])
writer._data[(writer._words[8]) % writer.capacity:][:9] = b"half done"
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], pass_fds=[fd], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -9
    after = RingWriter(fd, 5)
    after.put([attempt(3)])
    assert drain(RingReader(fd, 5)) == [attempt(1), attempt(2), attempt(3)]


def test_two_writers_are_one_too_many(fd: int) -> None:
    program = f"""
import sys
from proxy.journal.ring import RingWriter
writer = RingWriter({fd}, 0)
print("has it", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", program], pass_fds=[fd], cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"has it\n"
        with pytest.raises(RingFault, match="another process"):
            RingWriter(fd, 0)
        assert not RingReader(fd, 0).writer_gone
        other.communicate()
    assert RingReader(fd, 0).writer_gone


def test_damaged_memory_costs_what_is_damaged_and_no_more(fd: int) -> None:
    writer, reader = RingWriter(fd, 0), RingReader(fd, 0)
    writer.put([attempt(1)])
    whole = reader.used
    writer.put([attempt(2)])
    os.pwrite(fd, b"\xff\xff", PAGE + (BEGIN + whole + 40) % reader.capacity)
    assert drain(reader) == [attempt(1)]
    assert (reader.used, reader.damaged) == (0, whole)
    writer.put([attempt(3)])
    assert drain(reader) == [attempt(3)]


def test_text_that_was_no_text_is_written_escaped(fd: int) -> None:
    writer = RingWriter(fd, 0)
    bad = attempt(1, caller_raw="\udcff13800138000", marks=("A", "\udc80"))
    assert writer.put([bad, attempt(2)]) == 0
    first, second = drain(RingReader(fd, 0))
    assert isinstance(first, Attempt)
    assert (first.caller_raw, first.marks, first.lines) == ("\\udcff13800138000", ("A", "\\udc80"), bad.lines)
    assert second == attempt(2)


def test_an_event_that_is_too_long_for_any_segment_is_counted_as_lost(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "large", os.O_RDWR | os.O_CREAT)
    format_ring(fd, 1 << 20, BEGIN)
    writer = RingWriter(fd, 0)
    assert writer.put([attempt(1), attempt(2, lines=(bytes(300_000),)), attempt(3)]) == 1
    assert drain(RingReader(fd, 0)) == [attempt(1), attempt(3)]
    assert (writer.told, writer.lost) == (2, 1)
    os.close(fd)


def test_times_of_what_is_taken(fd: int) -> None:
    RingWriter(fd, 0).put([attempt(30), attempt(10), attempt(20)])
    taken = RingReader(fd, 0).taken()
    assert (taken.events, taken.first, taken.last) == (3, attempt(10).at, attempt(30).at)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(attempt(10)))[:2] == ["attempt", attempt(10).at]


@pytest.mark.parametrize("content", [b"", b"x" * 10_000, bytes(PAGE + 10)], ids=["empty", "noise", "zeros"])
def test_what_is_no_ring(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDWR)
    for kind in (RingView, lambda one: RingReader(one, 0)):
        with pytest.raises(RingFault):
            kind(fd)
    os.close(fd)
