"""Near matches: yes, no, nearly."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.records.likeness import likeness
from rules.numbers.sought import called_as, sought

ROWS = list(csv.DictReader((Path(__file__).resolve().parents[2] / "cases/history/likeness.csv").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["why"])
def test_cases(row: dict[str, str]) -> None:
    wanted = sought(row["sought"], ["755", "20"])
    presented = row["presented"]
    canonical, written = ([presented], []) if presented.startswith("+") else ([], [presented])
    assert likeness(wanted, canonical, written) == (row["match"], int(row["far"]))


def test_a_local_number_is_read_in_every_area_of_the_node() -> None:
    assert sought("83123456", ["755", "20"]).canonical == ("+8675583123456", "+862083123456")
    assert sought("83123456").canonical == ()


def test_several_readings_count_all() -> None:
    assert set(sought("9512075123").canonical) == {"+869512075123", "+8695120"}
    assert {"+8675583196110", "+8696110"} <= set(sought("83196110", ["755"]).canonical)


@pytest.mark.parametrize(
    ("wanted", "raw", "same"),
    [
        ("110", "sip:+110@h", True),
        ("1390013", "sip:1390013@h", True),
        ("1390013", "sip:13900131@h", False),
        ("13800138000", "sip:alice@h", False),
        ("13800138000", "sip:013800138000@h;user=phone", True),
        ("83123456", "sip:075583123456@h", False),
        ("Alice", "sip:alice@h", True),
        ("alice", "sip:@h", False),
        ("", "sip:@h", False),
    ],
)
def test_called_numbers_that_are_none(wanted: str, raw: str, same: bool) -> None:
    assert called_as(sought(wanted), raw) is same


@given(st.text("0123456789+-", max_size=40), st.lists(st.text(max_size=60), max_size=12))
def test_nothing_raises(wanted: str, written: list[str]) -> None:
    match, far = likeness(sought(wanted, ["755"]), [None], written)
    assert (match, far) == ("called", 0) or 0 <= far <= 3
