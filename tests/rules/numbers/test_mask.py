"""Masked numbers: what is left says whose kind of number it is, and not whose."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.numbers import normalise
from rules.numbers.mask import PUBLIC, masked, masked_text

CASES = Path(__file__).resolve().parents[2] / "cases" / "masks.csv"
ROWS = list(csv.DictReader(CASES.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["why"] or "empty")
def test_cases(row: dict[str, str]) -> None:
    assert masked_text(row["written"]) == row["shown"]


@given(st.text("0123456789+", max_size=20) | st.text(max_size=30))
def test_at_most_seven_digits_of_a_person_are_shown(text: str) -> None:
    number = normalise(text, "755")
    shown = masked(number)
    if number.kind not in PUBLIC and "PROTECTED" not in number.flags:
        assert sum(letter in "0123456789" for letter in shown) <= 7 + len(number.country or "")
        whole = (number.canonical or number.digits).lstrip("+")
        assert not whole or whole not in shown
