"""Frames and segments: what was written is read, and damage is found, never taken for an event."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.events import Answer, Attempt, End, Event, Ringing
from proxy.journal.frame import LONGEST, frame
from proxy.journal.segment import Entry, Header, Segment, begin, file_name, sealed_segments, serial_of
from tests.proxy.journal.events import attempt

HEADER = Header(node="gw1", serial=7, started=1_700_000_000_000)

EVENTS: list[Event] = [
    attempt(1),
    Ringing(at=2, call_id=b"1@a", from_tag=b"t", trunk="acme", cseq=1, status=180),
    Answer(at=3, call_id=b"1@a", from_tag=b"t", trunk="acme", cseq=1, status=200, egress="core", target="192.0.2.1:5060"),
    End(at=4, call_id=b"1@a", from_tag=b"t", trunk="acme", cseq=0, status=0, by="caller", why="bye"),
    attempt(2),
]


def segment_bytes(events: list[Event]) -> tuple[bytes, list[int]]:
    """A whole segment, and where each of its frames ends."""
    data = begin(HEADER)
    ends = []
    position = 0
    for number, event in enumerate(events):
        added = frame(number % 2, position, msgspec.msgpack.encode(event))
        data += added
        position += len(added)
        ends.append(len(data))
    return data, ends


def read(path: Path) -> tuple[Segment, list[Entry]]:
    with Segment(path) as segment:
        return segment, list(segment)


WHOLE, ENDS = segment_bytes(EVENTS)


def test_a_segment_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "gw1-0000000007.seg"
    path.write_bytes(WHOLE)
    segment, entries = read(path)
    assert segment.header == HEADER
    assert [entry.event for entry in entries] == EVENTS
    assert [entry.worker for entry in entries] == [0, 1, 0, 1, 0]
    assert (segment.end, segment.damage, segment.unknown) == (len(WHOLE), "", 0)
    with Segment(path) as again:
        ends = [end - len(begin(HEADER)) for end in ENDS]
        assert list(again.times()) == [(n % 2, end, event.at) for n, (end, event) in enumerate(zip(ends, EVENTS, strict=True))]


def test_a_segment_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    events: list[Event] = [attempt(number, lines=(b"X" * (number * 137 % 30_000),)) for number in range(300)]
    data, _ends = segment_bytes(events)
    assert len(data) > 3 << 20
    (tmp_path / "a").write_bytes(data)
    _segment, entries = read(tmp_path / "a")
    assert [entry.event for entry in entries] == events


@settings(deadline=None)
@given(cut=st.integers(0, len(WHOLE) - 1))
def test_every_truncation_is_found(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "a"
    path.write_bytes(WHOLE[:cut])
    segment, entries = read(path)
    whole = [end for end in ENDS if end <= cut]
    assert [entry.event for entry in entries] == EVENTS[: len(whole)]
    if cut in (len(begin(HEADER)), *ENDS):
        assert (segment.damage, segment.end) == ("", cut)
    else:
        assert segment.damage
        assert segment.end == (whole[-1] if whole else 0 if cut < len(begin(HEADER)) else len(begin(HEADER)))


@settings(deadline=None, max_examples=400)
@given(bit=st.integers(0, len(WHOLE) * 8 - 1))
def test_every_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    path = tmp_path_factory.mktemp("flip") / "a"
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    segment, entries = read(path)
    before = sum(end <= bit // 8 for end in ENDS)
    if bit // 8 < len(begin(HEADER)):
        before = 0
    assert segment.damage
    assert [entry.event for entry in entries] == EVENTS[:before]


@settings(deadline=None)
@given(noise=st.binary(max_size=400), at=st.sampled_from([0, len(begin(HEADER)), *ENDS]))
def test_noise_is_never_an_event(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    path = tmp_path_factory.mktemp("noise") / "a"
    path.write_bytes(WHOLE[:at] + noise)
    segment, entries = read(path)
    assert [entry.event for entry in entries] == EVENTS[: sum(end <= at for end in ENDS)]
    assert (segment.damage == "") == (not noise and at > 0)


def test_events_of_a_later_version_are_counted_and_left_out(tmp_path: Path) -> None:
    later = msgspec.msgpack.encode(("transfer", 1, b"1@a"))
    (tmp_path / "a").write_bytes(begin(HEADER) + frame(0, 0, later) + frame(0, 30, msgspec.msgpack.encode(EVENTS[0])))
    segment, entries = read(tmp_path / "a")
    assert [entry.event for entry in entries] == [EVENTS[0]]
    assert (segment.unknown, segment.damage) == (1, "")


def test_a_frame_is_bounded() -> None:
    with pytest.raises(ValueError, match="too many"):
        frame(0, 0, bytes(LONGEST + 1))


def test_names(tmp_path: Path) -> None:
    assert file_name("gw-1", 12, ".open") == "gw-1-0000000012.open"
    assert serial_of("gw-1-0000000012.seg") == 12
    assert serial_of("gw-1-12.seg") is serial_of("chain") is None
    for name in ("gw1-0000000010.seg", "gw1-0000000009.seg", "gw1-0000000011.open", "chain", "x.seg"):
        (tmp_path / name).touch()
    assert [path.name for path in sealed_segments(tmp_path)] == ["gw1-0000000009.seg", "gw1-0000000010.seg"]


def test_an_attempt_holds_bytes_that_are_no_text(tmp_path: Path) -> None:
    event = attempt(1, lines=(b"From: \xff\xfe",))
    (tmp_path / "a").write_bytes(segment_bytes([event])[0])
    _segment, entries = read(tmp_path / "a")
    assert isinstance(entries[0].event, Attempt)
    assert entries[0].event.lines == (b"From: \xff\xfe",)
