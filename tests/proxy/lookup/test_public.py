"""Addresses that a fetch may connect to: cases/lookup/addresses.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from proxy.lookup.public import is_public

CASES = Path(__file__).parents[2] / "cases" / "lookup" / "addresses.csv"
ROWS = list(csv.DictReader(CASES.read_text().splitlines()[1:]))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["address"] or "empty")
def test_address(row: dict[str, str]) -> None:
    assert is_public(row["address"]) is (row["public"] == "yes"), row["what"]
