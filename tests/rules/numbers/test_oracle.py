"""libphonenumber beside us. It judges well-formed numbers only: irregular ones it repairs, and some assigned ranges it does not know."""

from __future__ import annotations

import re

import phonenumbers
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberType

from rules.numbers import PLAN, normalise
from rules.numbers.build_plan import FILLINGS, accepted, areas, repeated
from rules.numbers.plan import FOLDER, Plan, rows

# Assigned by the ministry, unknown to libphonenumber.
UNKNOWN_TO_IT = re.compile(r"14[689]|1619|174[19]|1740[6-9]")


@given(st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_mobile(nsn: str) -> None:
    number = normalise(f"+86{nsn}", None)
    theirs = phonenumbers.number_type(PhoneNumber(country_code=86, national_number=int(nsn))) == PhoneNumberType.MOBILE
    ours = number.kind in ("MOB", "MVNO", "SAT", "DATA")
    assert ours == theirs or (ours and UNKNOWN_TO_IT.match(nsn) is not None)
    if theirs:
        assert number.canonical == f"+86{nsn}"


@given(st.sampled_from(sorted(PLAN.areas)), st.from_regex(r"[2-8][0-9]{6,7}", fullmatch=True))
def test_fixed(area: str, subscriber: str) -> None:
    nsn = area + subscriber
    number = normalise(f"0{nsn}", None)
    theirs = phonenumbers.number_type(PhoneNumber(country_code=86, national_number=int(nsn))) == PhoneNumberType.FIXED_LINE
    assert (number.kind == "GEO") == theirs
    assert number.code == (None if theirs else "CLI_LEN")


@given(st.from_regex(r"[1-9][0-9]{2,12}", fullmatch=True))
def test_not_in_the_plan_only_where_it_says_so_too(nsn: str) -> None:
    if normalise(f"+86{nsn}", None).code in ("CLI_UNASSIGNED", "CLI_AC_UNASSIGNED"):
        assert not accepted(nsn)


@given(st.sampled_from([row for row in rows(FOLDER / "oracle.csv") if row[0] == "unassigned"]), st.sampled_from(FILLINGS))
def test_what_only_it_accepts_is_marked(row: list[str], filling: str) -> None:
    _, stem, length, kind = row
    nsn = stem + filling * (int(length) - len(stem))
    number = normalise(f"+86{nsn}", None)
    assert accepted(nsn)
    assert (number.canonical, number.kind, number.flags, number.code) == (f"+86{nsn}", kind, ("UNASSIGNED",), None)


def test_committed_tables_are_what_the_metadata_gives() -> None:
    assert list(rows(FOLDER / "areas.csv")) == areas()
    assert [row for row in rows(FOLDER / "oracle.csv") if row[0] == "repeated"] == repeated(Plan(oracle=False))
    assert set(PLAN.countries) == {str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE}
    for code, country in PLAN.countries.items():
        assert country.region == phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)][0]


@given(st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS)))
def test_example_numbers_of_every_country_are_international(region: str) -> None:
    example = phonenumbers.example_number(region)
    if example is not None and example.country_code != 86:
        text = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        number = normalise(text, None)
        assert (number.canonical, number.country) == (text, str(example.country_code))
        assert number.kind in ("INTL", "HMT")
