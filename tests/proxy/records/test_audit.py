"""The trail of questions: each line follows from the one before it, whatever happened to the file."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from proxy.journal.trail import NAME, lines
from proxy.records.audit import Asked, Trail, asker

ASKED = Asked(
    n=0,
    at=1,
    previous="",
    user="eve",
    uid=1000,
    login="eve",
    login_uid=1000,
    case="B-1",
    basis='a "basis"\n\x1b[31m',
    called="110",
    calling=None,
    first=0,
    last=1,
    rows={"called": 2},
    masked=True,
)


def ask(folder: Path, times: int = 1) -> list[Asked]:
    told = []
    for _ in range(times):
        with Trail(folder) as trail:
            told.append(trail.append(ASKED))
    return told


def breaks(path: Path) -> list[int]:
    """Lines that do not follow from the one before them."""
    with path.open("rb") as file:
        return [number for number, _head, follows in lines(file) if not follows]


def test_lines_are_numbered_and_chained(tmp_path: Path) -> None:
    told = ask(tmp_path, 5)
    raw = (tmp_path / NAME).read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Asked) for line in raw] == told
    assert [line.n for line in told] == [1, 2, 3, 4, 5]
    assert breaks(tmp_path / NAME) == []
    assert b"\x1b" not in b"".join(raw)


@pytest.mark.parametrize("change", ["changed", "removed", "exchanged"])
def test_a_trail_that_was_worked_on(tmp_path: Path, change: str) -> None:
    ask(tmp_path, 4)
    path = tmp_path / NAME
    raw = path.read_bytes().splitlines(keepends=True)
    if change == "changed":
        raw[1] = raw[1].replace(b'"eve"', b'"bob"')
    elif change == "removed":
        del raw[1]
    else:
        raw[1], raw[2] = raw[2], raw[1]
    path.write_bytes(b"".join(raw))
    assert breaks(path)[0] in (2, 3)


@pytest.mark.parametrize("left", [1, 40])
def test_a_line_that_a_crash_cut_short(tmp_path: Path, left: int) -> None:
    ask(tmp_path, 2)
    path = tmp_path / NAME
    data = path.read_bytes()
    end = data.index(b"\n") + 1
    path.write_bytes(data[: end + left])
    (line,) = ask(tmp_path)
    assert line.n == 3
    assert breaks(path) == []


def test_long_lines(tmp_path: Path) -> None:
    long = msgspec.structs.replace(ASKED, basis="ÿ" * 100_000)
    for number in (1, 2, 3):
        with Trail(tmp_path) as trail:
            assert trail.append(long).n == number
    assert breaks(tmp_path / NAME) == []


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), Trail(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_who_asks() -> None:
    who = asker()
    assert who.uid == os.getuid()
    assert who.user
