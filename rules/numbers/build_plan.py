"""Make areas.csv and oracle.csv from libphonenumber's metadata, and check countries.csv against it.

    python -m rules.numbers.build_plan [--date YYYY-MM-DD]

Needs the `phonenumbers` package (Apache License 2.0); nothing imports this module at run time. oracle.csv holds libphonenumber's answers
to one question: which national numbers that our table does not know does it accept? Those are marked, not rejected. The question is asked
of every prefix of five digits with every length from 3 to 13, several fillings each.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import re
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber
from phonenumbers.geodata import GEOCODE_DATA

from rules.numbers.classify import classify
from rules.numbers.plan import FOLDER, Plan, rows

NOTICE = "derived from libphonenumber {version}, Copyright The Libphonenumber Authors, Apache License 2.0"
FILLINGS = ("2", "5", "8", "0", "1", "9")
DEPTH = 5

# Cities that GEOCODE_DATA has no entry for.
CITIES = {
    "335": ("河北省秦皇岛市", "Qinhuangdao, Hebei"),
    "349": ("山西省朔州市", "Shuozhou, Shanxi"),
    "580": ("浙江省舟山市", "Zhoushan, Zhejiang"),
    "701": ("江西省鹰潭市", "Yingtan, Jiangxi"),
}

PROVINCE = re.compile("^(?:..省|黑龙江省|内蒙古|广西(?:壮族自治区)?|西藏|宁夏|新疆(?:维吾尔自治区)?|云南|四川|贵州|甘肃)(?=.)")
SUFFIX = re.compile("省|(?:壮族|维吾尔)自治区")
# Class of ranges that only libphonenumber accepts, by the longest prefix that stands here.
KINDS = {"1": "MOB", "1349": "SAT", "174": "SAT", "95": "SVC95", "160": "SVC1", "168": "SVC1"}


def areas() -> list[list[str]]:
    """Area codes with the lengths of their subscriber numbers, their cities and provinces (numbers.md, "Area codes")."""
    metadata = PhoneMetadata.metadata_for_region("CN")
    if metadata is None or metadata.fixed_line is None or not metadata.fixed_line.national_number_pattern:
        raise SystemExit("libphonenumber has no pattern for fixed lines of CN")
    accepts = re.compile(metadata.fixed_line.national_number_pattern).fullmatch
    found = []
    for code in ["10", *map(str, range(20, 30)), *map(str, range(300, 1000))]:
        lengths = [n for n in (7, 8) if any(accepts(f"{code}{d}{'2' * (n - 1)}") for d in "2345678")]
        if lengths:
            zh, en = city(code)
            found.append([code, " ".join(map(str, lengths)), short_name(zh), en, *province(zh, en)])
    return sorted(found)


def city(code: str) -> tuple[str, str]:
    """City of an area code with its province, in Chinese and English: the entry with the longest prefix of 86 and the code."""
    for end in range(len(code), 0, -1):
        names = GEOCODE_DATA.get("86" + code[:end])
        if names is not None:
            return names["zh"], names["en"]
    return CITIES.get(code, ("", ""))


def province(zh: str, en: str) -> tuple[str, str]:
    """The province of a city as people say it, in Chinese and English (广东 Guangdong); a municipality is its own."""
    found = PROVINCE.match(zh)
    if found is None:
        return short_name(zh), en
    return SUFFIX.sub("", found[0]), en.rpartition(", ")[2]


def short_name(zh: str) -> str:
    """The city as people say it: without its province and the word for city (深圳 for 广东省深圳市)."""
    return "、".join(part.removesuffix("市") for part in PROVINCE.sub("", zh).split("、"))


def accepted(nsn: str) -> bool:
    """Whether libphonenumber takes the digits for a valid number of China, or for a short code."""
    number = PhoneNumber(country_code=86, national_number=int(nsn))
    return phonenumbers.is_valid_number(number) or phonenumbers.is_valid_short_number_for_region(number, "CN")


def unassigned(plan: Plan) -> list[list[str]]:
    """Prefixes, lengths and classes of what is not in our plan and in libphonenumber's, the shortest prefixes that say it."""
    found: dict[int, set[str]] = {}
    for length in range(3, 14):
        depth = min(DEPTH, length)
        for value in range(10 ** (depth - 1), 10**depth):
            stem = str(value)
            for filling in FILLINGS if length > depth else ("",):
                nsn = stem + filling * (length - depth)
                reading = classify(plan, nsn, bare=False, trunk0=False, home=None)
                if reading.code in ("CLI_UNASSIGNED", "CLI_AC_UNASSIGNED") and accepted(nsn):
                    found.setdefault(length, set()).add(stem)
    result = []
    for length, stems in sorted(found.items()):
        while True:
            full = [stem for stem, group in groupby(sorted(stems), lambda one: one[:-1]) if len(stem) > 2 and len(list(group)) == 10]
            if not full:
                break
            stems = {one for one in stems if one[:-1] not in full}.union(full)
        result += [["unassigned", stem, str(length), kind(stem)] for stem in sorted(stems)]
    return result


def kind(stem: str) -> str:
    """Class of a prefix that only libphonenumber has."""
    return KINDS[max((known for known in KINDS if stem.startswith(known)), key=len)]


def repeated(plan: Plan) -> list[list[str]]:
    """Foreign numbers of one repeated digit that libphonenumber takes for valid."""
    found = []
    for digit in "123456789":
        for length in range(7, 16):
            digits = digit * length
            country = plan.find_country(digits)
            if country is not None and phonenumbers.is_valid_number(
                PhoneNumber(country_code=int(country.code), national_number=int(digits[len(country.code) :]))
            ):
                found.append(["repeated", digits, str(length), "INTL"])
    return found


def write(path: Path, first: str, head: Iterable[str], lines: Iterable[Iterable[str]]) -> None:
    """Write a data file with its date and its notice in the first line."""
    text = io.StringIO()
    text.write(f"# {first}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    path.write_text(text.getvalue(), encoding="utf-8")


def main() -> int:
    """Build the tables; 1 where countries.csv disagrees with libphonenumber."""
    parser = argparse.ArgumentParser(description="Build areas.csv and oracle.csv from libphonenumber's metadata.")
    parser.add_argument("--date", default=datetime.datetime.now(datetime.UTC).date().isoformat(), help="plan_date of the tables")
    date = parser.parse_args().date
    first = f'plan_date = "{date}"; {NOTICE.format(version=phonenumbers.__version__)}; made by build_plan.py'
    listed = {code for code, *_ in rows(FOLDER / "countries.csv")}
    known = {str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE}
    write(FOLDER / "areas.csv", first, ("code", "lengths", "zh", "en", "province_zh", "province_en"), areas())
    plan = Plan(oracle=False)
    write(FOLDER / "oracle.csv", first, ("what", "digits", "length", "kind"), [*unassigned(plan), *repeated(plan)])
    if listed != known:
        sys.stderr.write(f"countries.csv: to add {sorted(known - listed)}, to drop {sorted(listed - known)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
