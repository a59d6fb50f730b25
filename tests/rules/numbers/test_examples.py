"""Numbers row by row: the worked examples of the plan, each class with its neighbours, each way to write a number."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from rules.numbers import Number, normalise

CASES = Path(__file__).resolve().parents[2] / "cases"


def cases(name: str) -> list[Any]:
    with (CASES / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return [pytest.param(row, id=f"{row['raw'] or 'empty'} at {row['area']}") for row in rows]


@pytest.mark.parametrize("row", cases("numbers_examples.csv") + cases("numbers_plan.csv") + cases("numbers_forms.csv"))
def test_row(row: dict[str, str]) -> None:
    number = normalise(row["raw"], None if row["area"] == "-" else row["area"])
    shown = {
        "canonical": number.canonical or "-",
        "kind": number.kind or "-",
        "number_area": number.area or "-",
        "flags": " ".join(number.flags),
        "code": number.code or "-",
        "alternatives": " ".join(number.alternatives),
    }
    assert shown == {name: row[name] for name in shown}


@pytest.mark.parametrize(
    ("raw", "form", "country", "nsn", "digits"),
    [
        ("+86-138 0288 1946", "plus", "86", "13802881946", "+8613802881946"),
        ("0086013802881946", "idd", "86", "13802881946", "0086013802881946"),
        ("8613802881946", "cc", "86", "13802881946", "8613802881946"),
        ("013802881946", "national", "86", "13802881946", "013802881946"),
        ("83123456", "national", "86", "83123456", "83123456"),
        ("00442079460000", "idd", "44", "2079460000", "00442079460000"),
        ("+999123456", "plus", None, "", "+999123456"),
        ("tel:83123456;phone-context=+86755", "plus", "86", "75583123456", "+8675583123456"),
        ("zhangsan", "text", None, "", ""),
        ("8+6", "text", None, "", ""),
        ("", "none", None, "", ""),
        ("anonymous", "none", None, "", ""),
    ],
)
def test_form(raw: str, form: str, country: str | None, nsn: str, digits: str) -> None:
    number = normalise(raw, "755")
    assert (number.form, number.country, number.nsn, number.digits) == (form, country, nsn, digits)


@pytest.mark.parametrize(
    ("uri", "raw"),
    [
        ("sip:%2B86138@h", "%2B86138"),
        ("sip:83123456;npdi:secret@h", "83123456;npdi"),
        ("tel:+86-138;ext=1", "+86-138;ext=1"),
        ("sip:h", ""),
    ],
)
def test_raw_is_the_user_part_as_received_without_a_password(uri: str, raw: str) -> None:
    assert normalise(uri, None).raw == raw


def test_absent_only_where_no_number_is_presented() -> None:
    assert [normalise(uri, None).absent for uri in ("sip:h", "sip:anonymous@h", "sip:zhangsan@h", "sip:0@h")] == [True, True, False, False]


def test_key() -> None:
    assert normalise("+8613802881946", None).key == (13 << 56) | 8613802881946
    assert normalise("+861064812345678", None).key == (15 << 56) | 861064812345678
    assert normalise("9501812345678901", None).key == 0  # 18 digits with 86
    assert normalise("zhangsan", None).key == 0


def test_equal_when_they_mean_the_same() -> None:
    local = normalise("83123456", "755")
    assert local == normalise("tel:+86-755-8312-3456", None)
    assert hash(local) == hash(normalise("075583123456", "10"))
    assert local != normalise("83123456", "10")
    assert local != normalise("83123456", None)
    assert local != "+8675583123456"


def test_two_names_are_two_callers() -> None:
    assert normalise("sip:zhangsan@h", None) != normalise("sip:lisi@h", None)
    assert normalise("sip:zhangsan@h", None) == normalise("sip:zhangsan@g", None)


def test_numbers_are_kept_apart_by_their_flags_only_in_detail() -> None:
    written = [Number("", "1", code="CLI_LEN"), Number("x", "1", code="CLI_LEN"), Number("", "2", code="CLI_LEN")]
    assert written[0] == written[1] != written[2]
