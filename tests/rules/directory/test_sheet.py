"""CSV files as editors and spreadsheets save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules.call import Trunk
from rules.directory import DirectoryConfig, load_directory
from rules.directory.fault import CellFault, FaultLog
from rules.directory.fields import hours
from rules.directory.sheet import sheet_rows

COLUMNS = ("number", "trunk", "note")


@pytest.mark.parametrize(
    "data",
    [
        b"number,trunk,note\n1,a,x y\n2,,\n",
        b"number,trunk,note\r\n1,a,x y\r\n2,,\r\n",
        b"number,trunk,note\r\n1,a,x y\r\n2",
        b"note,number,trunk\nx y,1,a\n,2\n",
        b" Number , trunk,note \n 1 ,\ta,x y \n2,,\n",
        b'"number","trunk","note"\n"1","a","x y"\n"2"\n',
        b"number,trunk,note,,\n1,a,x y,,\n2,,,,\n",
        b"number,trunk,note\n1,\xc2\xa0a,x y\xe3\x80\x80\n2\n",
    ],
)
def test_the_same_rows_in_every_dress(data: bytes) -> None:
    log = FaultLog()
    assert list(sheet_rows(data, "f", COLUMNS, 1, log)) == [(2, ("1", "a", "x y")), (3, ("2", "", ""))]
    assert log.faults == []


def test_blank_lines_and_comments_are_skipped_and_lines_still_counted() -> None:
    data = b'\n# a "comment, open\n\nnumber,trunk\n,,\n  \n#1,a\n"# 2, a",,\n  # 3\n4,a\n'
    assert list(sheet_rows(data, "f", COLUMNS, 1, FaultLog())) == [(10, ("4", "a", ""))]


def test_columns_that_may_be_absent_are_empty() -> None:
    assert list(sheet_rows(b"number\n1\n", "f", COLUMNS, 1, FaultLog())) == [(2, ("1", "", ""))]
    assert list(sheet_rows(b"number\n1\n", "f", ("number",), 1, FaultLog())) == [(2, ("1",))]
    assert list(sheet_rows(b"x,number\n,1\n", "f", ("number",), 1, FaultLog(), more=True)) == [(2, ("1",))]


def test_reading_goes_on_after_a_faulty_row() -> None:
    log = FaultLog()
    rows = list(sheet_rows(b'number\n1\n"2"x\n3,4\n5\n', "f", ("number",), 1, log))
    assert rows == [(2, ("1",)), (5, ("5",))]
    assert [fault.line for fault in log.faults] == [3, 4]


@pytest.mark.parametrize("data", [b"\0" * 100, b"\xff\xfen\0u\0", b'"' * 300_000, b"number\n" + b"x" * 300_000, b"a\rb\rc\r", b",,,\n" * 5])
def test_hostile_files_end_in_faults(data: bytes) -> None:
    log = FaultLog()
    assert list(sheet_rows(data, "f", COLUMNS, 1, log)) in ([], [(2, ("x" * 300_000, "", ""))])
    assert log.faults


def test_several_files_of_one_kind_count_as_one(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("list_id,seq,op,number,match,type\nx,1,A,+8613800000000,exact,caller\n")
    (tmp_path / "two.csv").write_text("type,match,number,op,seq,list_id\ncaller,exact,+8613800000000,D,2,x\n")
    config = DirectoryConfig(intercept=("two.csv", "one.csv"))
    assert load_directory(config, tmp_path, {"a": Trunk(id="a", kind="enterprise")}).counts == {"intercept": 0}


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("", ()),
        ("Mon-Fri 09:00-18:00", ((frozenset(range(5)), 540, 1080),)),
        ("08:30-24:00", ((frozenset(range(7)), 510, 1440),)),
        ("sat, Sun 10:00 - 12:00", ((frozenset({5, 6}), 600, 720),)),
        ("Sat-Mon 10:00-12:00", ((frozenset({5, 6, 0}), 600, 720),)),
        ("Mon 22:00-24:00; Tue 00:00-06:00", ((frozenset({0}), 1320, 1440), (frozenset({1}), 0, 360))),
    ],
)
def test_hours(text: str, windows: object) -> None:
    assert hours(text) == windows


@pytest.mark.parametrize(
    "text", ["9-18", "Mon", "Mon-Tue-Wed 09:00-18:00", "09:00-09:00", "24:00-24:01", ";", "09:60-10:00", "Mon-Fri09:00-18:00"]
)
def test_hours_that_are_none(text: str) -> None:
    with pytest.raises(CellFault):
        hours(text)
