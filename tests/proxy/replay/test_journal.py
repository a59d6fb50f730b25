"""The journal as a trace: its segments in their order, whole, torn and damaged."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from proxy.journal.frame import frame
from proxy.journal.segment import Header, begin
from proxy.replay import journal
from proxy.replay.captured import Trouble
from proxy.replay.journal import read_journal
from tests.proxy.journal.events import attempt


def segment(serial: int, numbers: list[int]) -> bytes:
    data = begin(Header(node="gw1", serial=serial, started=1_700_000_000_000))
    position = 0
    for number in numbers:
        added = frame(0, position, msgspec.msgpack.encode(attempt(number)))
        data += added
        position += len(added)
    return data


def folder(path: Path, **files: bytes) -> str:
    for name, data in files.items():
        (path / f"gw1-{int(name[1:].split('_')[0]):010d}.{name.partition('_')[2]}").write_bytes(data)
    return str(path)


def told(path: str) -> tuple[list[tuple[bytes, str]], Trouble]:
    trouble = Trouble()
    return [(event.call_id, place.rpartition("/")[2]) for event, place in read_journal(path, trouble)], trouble


def test_segments_in_their_order(tmp_path: Path) -> None:
    path = folder(
        tmp_path, s10_open=segment(10, [5]), s9_seg=segment(9, [3, 4]), s2_seg=segment(2, [1, 2]), s9_open=segment(9, [3]), s1_damaged=b"x"
    )
    (tmp_path / "chain.jsonl").write_bytes(b"not a segment")
    found, trouble = told(path)
    assert [place for _, place in found] == [
        "gw1-0000000002.seg:1",
        "gw1-0000000002.seg:2",
        "gw1-0000000009.seg:1",
        "gw1-0000000009.seg:2",
        "gw1-0000000010.open:1",
    ]
    assert [call for call, _ in found] == [attempt(number).call_id for number in (1, 2, 3, 4, 5)]
    assert (trouble.packets, trouble.messages, trouble.counts) == (5, 5, {})


def test_what_is_torn_and_what_is_damaged(tmp_path: Path) -> None:
    found, trouble = told(folder(tmp_path, s1_open=segment(1, [1, 2])[:-3]))
    assert len(found) == 1
    assert trouble.counts == {"cut": 1}
    data = bytearray(segment(1, [1, 2]))
    data[-3] ^= 1
    (tmp_path / "gw1-0000000001.open").unlink()
    found, trouble = told(folder(tmp_path, s1_seg=bytes(data), s2_seg=b"no segment", s3_seg=segment(3, [3])))
    assert len(found) == 2
    assert trouble.counts == {"damaged": 2}
    assert trouble.examples["damaged"][0].place.endswith("gw1-0000000001.seg:2")


def test_events_of_a_later_version(tmp_path: Path) -> None:
    data = segment(1, [1])
    later = frame(0, len(data) - len(segment(1, [])), msgspec.msgpack.encode(["later", 1]))
    found, trouble = told(folder(tmp_path, s1_seg=data + later))
    assert len(found) == 1
    assert trouble.examples["damaged"][0].why == "1 events that this version does not know"


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_no_journal(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    found, trouble = told(str(tmp_path / name))
    assert (found, trouble.counts) == ([], {"file": 1})


def test_a_segment_that_is_sealed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path, s1_seg=segment(1, [1]))
    monkeypatch.setattr(journal, "_segments", lambda folder: [folder / "gw1-0000000001.open"])
    found, trouble = told(path)
    assert len(found) == 1
    assert trouble.counts == {}


def test_progress(tmp_path: Path) -> None:
    path = folder(tmp_path, s1_seg=segment(1, [1] * 5000), s2_seg=segment(2, [2]))
    size = sum(entry.stat().st_size for entry in tmp_path.iterdir())
    shown: list[tuple[int, int | None]] = []
    assert len(list(read_journal(path, Trouble(), lambda done, total: shown.append((done, total))))) == 5001
    assert len(shown) == 3
    assert shown == sorted(shown)
    assert shown[-1] == (size, size)
