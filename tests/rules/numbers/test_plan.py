"""The tables: what the ministry's expression says, how many area codes there are, every protected code in every disguise, names."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rules.numbers import PLAN, country_name, describe, is_area_code, normalise
from rules.numbers.locality import locality, province_of
from rules.numbers.plan import FOLDER

MOBILE = re.compile(
    r"^(13[0-35-9]\d{8}|134[0-8]\d{7}|1349[239]\d{6}|14[5-9]\d{8}|15[0-35-9]\d{8}|16[2567]\d{8}|1619\d{7}|17[0-35-8]\d{8}"
    r"|1740\d{7}|1741[0-2]\d{6}|1749\d{7}|18\d{9}|19[0-35-9]\d{8})$"
)
PROTECTED = ["110", "119", "120", "122", "12345", "12315", "12321", "95110", "96110", "10000", "10010", "10086", "10099"]


def test_mobile_ranges_are_those_of_the_ministry() -> None:
    for prefix in range(10_000, 20_000):
        nsn = f"{prefix}234567"[:11]
        number = normalise(f"+86{nsn}", None)
        planned = number.kind in ("MOB", "MVNO", "SAT", "DATA") and "UNASSIGNED" not in number.flags
        assert planned == bool(MOBILE.match(nsn)), nsn


def test_area_codes() -> None:
    lengths = Counter(area.lengths for area in PLAN.areas.values())
    assert lengths == {(7,): 267, (8,): 50, (7, 8): 4}
    assert [code for code, area in PLAN.areas.items() if len(area.lengths) == 2] == ["433", "435", "754", "851"]
    assert not [code for code in PLAN.areas if code.startswith(("86", "40", "80", "96", "11", "12", "13"))]
    assert all(is_area_code(code) for code in ("10", "755", "951")) and not any(is_area_code(code) for code in ("26", "0755", ""))


def test_provinces() -> None:
    names = {(area.province["zh"], area.province["en"]) for code, area in PLAN.areas.items() if code != "978"}  # of which nothing is known
    assert len(names) == len(dict(names)) == 31 and ("广东", "Guangdong") in names and ("", "") not in names
    known = {"10": "北京", "755": "广东", "20": "广东", "471": "内蒙古", "771": "广西", "991": "新疆", "978": ""}
    for code, province in known.items():
        assert province_of(code) == province
    assert province_of("0755") == province_of("") == ""


@pytest.mark.parametrize(
    ("canonical", "where"),
    [
        ("+8696777", "province"),
        ("+86967777", "province"),
        ("+8696110", "province"),
        ("+8612345", "area"),
        ("+86110", "area"),
        ("+8612315", ""),
        ("+8695588", ""),
        ("+8610086", ""),
        ("+8675596777", ""),
        ("+8613802881946", ""),
        ("+9696777", ""),
        ("+86", ""),
    ],
)
def test_codes_that_are_another_code_elsewhere(canonical: str, where: str) -> None:
    assert locality(canonical) == where


def test_codes_are_prefix_free() -> None:
    for table in (PLAN.areas, PLAN.countries):
        assert not [(one, other) for one in table for other in table if one != other and other.startswith(one)]


@pytest.mark.parametrize("area", sorted(PLAN.areas))
def test_area(area: str) -> None:
    for length in (6, 7, 8, 9):
        nsn = area + "2345678901"[:length]
        number = normalise(f"0{nsn}", None)
        if length in PLAN.areas[area].lengths:
            assert (number.canonical, number.kind, number.area, number.code) == (f"+86{nsn}", "GEO", area, None)
        else:
            assert (number.canonical, number.code) == (None, "CLI_LEN")


@pytest.mark.parametrize("code", PROTECTED)
def test_protected_codes_are_seen_in_every_disguise(code: str) -> None:
    for area in ("", *PLAN.areas):
        for prefix in ("+86", "0086", "+860", "00860", "0"):
            number = normalise(prefix + area + code, None)
            assert "PROTECTED" in number.flags, (prefix, area)
            assert number.canonical == f"+86{code}", (prefix, area)
    for prefix in ("", "+", "00"):
        assert "PROTECTED" in normalise(prefix + code, None).flags


@pytest.mark.parametrize("text", ["111", "11011", "12344", "+8675583123456", "95588", "+86951101", "83196110", "+110110110", "+861101"])
def test_what_is_not_a_protected_code(text: str) -> None:
    assert "PROTECTED" not in normalise(text, "755").flags


@pytest.mark.parametrize(
    ("text", "place", "holder"),
    [
        ("075583123456", "深圳", None),
        ("+864332234567", "延边朝鲜族自治州、珲春、延吉", None),
        ("+863352345678", "秦皇岛", None),
        ("13802881946", None, "中国移动"),
        ("17012345678", None, "中国电信"),
        ("19212345678", None, "中国广电"),
        ("16191234567", None, "卫星通信"),
        ("075510086", "深圳", "中国移动"),
        ("+85221589632", "中国香港", None),
        ("+12125550100", "北美（美国、加拿大等）", None),
        ("95588", None, None),
        ("zhangsan", None, None),
        ("+999123456", None, None),
        ("02612345678", None, None),
        ("106980001234", None, None),
    ],
)
def test_describe(text: str, place: str | None, holder: str | None) -> None:
    assert describe(normalise(text, None)) == (place, holder)


def test_names_in_english() -> None:
    assert describe(normalise("075510086", None), "en") == ("Shenzhen, Guangdong", "China Mobile")
    assert country_name("886", "en") == "Taiwan (China)"
    assert country_name("999") is None


def test_data_files_say_their_date_in_the_first_line() -> None:
    for name in ("plan.toml", "areas.csv", "countries.csv", "oracle.csv"):
        first = (FOLDER / name).read_text(encoding="utf-8").partition("\n")[0]
        assert re.search(r'plan_date = "\d{4}-\d\d-\d\d"', first), name


def test_libphonenumber_is_not_imported_at_run_time() -> None:
    root = Path(__file__).resolve().parents[3]
    script = "import sys, rules.numbers; sys.exit('phonenumbers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0
