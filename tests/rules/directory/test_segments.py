"""Segments: one number at a time, then against an oracle that reads every row."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.call import Trunk
from rules.directory import Directory, DirectoryConfig, Segment, load_directory
from rules.numbers import Number, normalise
from tests.native import fields

HEAD = "customer,trunk,first,last,purpose,valid_from,valid_to,hours,direction\n"
TRUNKS = {name: Trunk(id=name, kind="enterprise", customer="acme") for name in ("a", "b")}
TRUNKS["sz"] = Trunk(id="sz", kind="enterprise", customer="globex", home_area="755")
NOW = datetime.fromisoformat("2026-03-01T12:00:00+08:00").timestamp()


def when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def load(rows: str, head: str = HEAD) -> Directory:
    with TemporaryDirectory() as folder:
        (Path(folder) / "segments.csv").write_text(head + rows, "utf-8")
        return load_directory(DirectoryConfig(segments=("segments.csv",)), Path(folder), TRUNKS)


def number(text: str) -> Number:
    return normalise(text, "755")


@pytest.mark.parametrize(
    ("row", "yes", "no"),
    [
        (
            "+8675583120000,+8675583120999",
            ["+8675583120000", "83120999", "075583120500"],
            ["+8675583121000", "+8675583119999", "+862083120000"],
        ),
        ("+86138*,", ["+8613802881946", "13800000000"], ["+8613902881946", "+8613702881946"]),
        ("+8675583120000,", ["+8675583120000"], ["+8675583120001", "+8675583119999"]),
        ("+8695588,", ["95588"], ["95589", "+86955"]),
        ("+8695130,", ["95130"], []),
        ("+12125550100,+12125550199", ["+12125550150"], ["+12125550200"]),
    ],
)
def test_a_row_holds_its_numbers_and_no_others(row: str, yes: list[str], no: list[str]) -> None:
    directory = load(f"acme,a,{row},,,,,\n")
    for text in yes:
        assert directory.segment(number(text), "a", NOW), text
        assert directory.segment(number(text), "b", NOW) is None
        assert directory.holder(number(text), NOW)
    for text in no:
        assert directory.segment(number(text), "a", NOW) is None, text


def test_what_a_row_says_is_kept() -> None:
    directory = load("acme,a,+86138*,,marketing,2026-01-01,2026-12-31,Mon-Fri 09:00-18:00,out\n")
    segment = directory.segment(number("13800000000"), "a", NOW)
    assert segment is not None
    assert (segment.customer, segment.trunk, segment.first, segment.last) == ("acme", "a", "+86138*", "")
    assert (segment.purpose, segment.hours, segment.direction) == ("marketing", "Mon-Fri 09:00-18:00", "out")
    assert (segment.valid_from, segment.valid_to) == (when("2026-01-01T00:00:00+08:00"), when("2027-01-01T00:00:00+08:00"))
    assert (segment.file, segment.line, str(segment)) == ("segments.csv", 2, "+86138*")
    single = load("acme,a,+8695588,,,,,,\n").segment(number("95588"), "a", NOW)
    assert single is not None and (single.last, single.purpose, single.direction, single.valid_to) == ("+8695588", "general", "both", None)


def test_dates_count_from_midnight_in_china_to_the_end_of_the_last_day() -> None:
    directory = load("acme,a,+86138*,,,2026-03-01,2026-03-31,,\n")
    for at, expected in (
        ("2026-02-28T23:59:59+08:00", False),
        ("2026-03-01T00:00:00+08:00", True),
        ("2026-03-31T23:59:59+08:00", True),
        ("2026-04-01T00:00:00+08:00", False),
    ):
        assert (directory.segment(number("13800000000"), "a", when(at)) is not None) is expected, at


def test_timestamps_count_from_and_until_the_instant() -> None:
    directory = load("acme,a,+86138*,,,2026-03-01T08:30:00Z,2026-03-01T18:00:00+08:00,,\n")
    for at, expected in (("16:29:59", False), ("16:30:00", True), ("17:59:59", True), ("18:00:00", False)):
        assert (directory.segment(number("13800000000"), "a", when(f"2026-03-01T{at}+08:00")) is not None) is expected, at


def test_the_last_day_of_the_calendar_is_a_day() -> None:
    assert load("acme,a,+86138*,,,0001-01-01,9999-12-31,,\n").segment(number("13800000000"), "a", NOW)


@pytest.mark.parametrize(("direction", "into"), [("out", False), ("in", True), ("both", True), ("", True)])
def test_direction(direction: str, into: bool) -> None:
    directory = load(f"acme,a,+8675583120000,,,,,,{direction}\n")
    asked = number("+8675583120000")
    assert directory.segment(asked, "a", NOW) is not None  # whether it may call out is judged of the segment
    assert (directory.inbound(asked, NOW) is not None) is into
    assert directory.holder(asked, NOW) is not None


def test_trunks_that_are_limited_are_known() -> None:
    assert load("acme,a,+86138*\n").limited == frozenset()
    for row in ("acme,a,+86138*,,,,,09:00-18:00", "acme,a,+86138*,,,,,,in", "acme,a,+86138*,,marketing"):
        directory = load(f"{row}\nacme,b,+86139*,,service,2026-01-01,,,out\n")
        assert directory.limited == {"a"}
        assert directory.marketing == ({"a"} if "marketing" in row else frozenset())


def test_the_narrowest_wins_then_the_later_then_the_first_and_it_is_said() -> None:
    directory = load(
        "acme,a,+86755*,\n"
        "acme,a,+8675583120000,+8675583129999\n"
        "acme,a,+8675583121000,+8675583121999,,2025-01-01\n"
        "acme,b,+8675583121000,+8675583121999,,2026-01-01\n"
        "acme,a,+8675583121500\n"
        "acme,b,+8675583121500\n"
    )
    lines = {
        text: (found.line if (found := directory.holder(number(text), NOW)) else None)
        for text in ("22001000", "83120000", "83121000", "83121500")
    }
    assert lines == {"22001000": 2, "83120000": 3, "83121000": 5, "83121500": 6}
    early = directory.holder(number("83121000"), when("2025-06-01T00:00:00+08:00"))
    assert early is not None and early.line == 4
    assert any(
        "segment +8675583121500 of trunk a overlaps +8675583121500 of trunk b (segments.csv:7) and wins" in text
        for text in directory.warnings
    )
    assert all(text.startswith("segments.csv:") for text in directory.warnings)


def test_neighbours_other_lengths_and_other_times_are_no_overlap() -> None:
    directory = load(
        "acme,a,+8675583120000,+8675583120999,,,2025-12-31\n"
        "acme,a,+8675583120000,+8675583120999,,2026-01-01\n"
        "acme,a,+8675583121000,+8675583121999\n"
        "acme,a,+8695588,\n"
        "acme,a,+869558800*\n"
    )
    assert directory.warnings == []


def test_rows_for_every_trunk_overlap_those_for_one() -> None:
    directory = load("acme,*,+8675583120000,+8675583120999\nacme,b,+8675583120000,+8675583120999\n")
    winner = "segments.csv:3: segment +8675583120000-+8675583120999 of trunk b"
    other = "+8675583120000-+8675583120999 of every trunk of acme (segments.csv:2)"
    assert directory.warnings == [f"{winner} overlaps {other} and wins where both hold"]
    found = directory.inbound(number("83120000"), NOW)
    assert found is not None and directory.trunks_of(found) == ("b",)
    every = load("acme,*,+8675583120000,\n").inbound(number("83120000"), NOW)
    assert every is not None and directory.trunks_of(every) == ("a", "b")


@pytest.mark.parametrize(
    ("one", "two", "overlap"),
    [
        ("广东", "北京", False),
        ("广东", "755", True),
        ("755", "20", False),
        ("755; 10", "Beijing", True),
        ("", "20", True),  # at home in Guangdong, as Guangzhou is
        ("", "10", False),
    ],
)
def test_codes_of_different_areas_are_no_overlap(one: str, two: str, overlap: bool) -> None:
    head = "customer,trunk,first,last,area\n"
    directory = load(f"globex,sz,+8696777,,{one}\nacme,b,+8696777,,{two}\n", head)
    assert bool(directory.warnings) is overlap, directory.warnings


def test_the_row_that_names_its_area_wins() -> None:
    directory = load("globex,sz,+8696777,,\nglobex,sz,+8696777,,755\n", "customer,trunk,first,last,area\n")
    found = directory.segment(number("075596777"), "sz", NOW)
    assert found is not None and found.line == 3
    assert "segments.csv:3: segment +8696777 of trunk sz overlaps +8696777 of trunk sz (segments.csv:2) and wins" in directory.warnings[0]


def test_a_code_that_differs_by_area_on_a_trunk_without_one_is_said() -> None:
    (said,) = load("acme,a,+8696777,\n").warnings
    assert said.startswith("segments.csv:2: +8696777 is another number in another area, and trunk a has no home_area: it counts there only")
    assert load("globex,sz,+8696777,\nacme,a,+8695588,\n").warnings == []


@pytest.mark.parametrize("first", ["+86967*", "+8696*", "+869*", "+86*", "+8610*", "+8696000"])
def test_wide_rows_hold_codes_where_they_are_at_home(first: str) -> None:
    last = "+8696999" if first == "+8696000" else ""
    directory = load(f"globex,sz,{first},{last}\n")
    for text, expected in (("96777", True), ("075596777", True), ("02096777", True), ("01096777", False)):
        assert (directory.segment(number(text), "sz", NOW) is not None) is (expected and first != "+8610*"), text
    assert (directory.segment(number("+861065001234"), "sz", NOW) is not None) is (first in ("+86*", "+8610*"))


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("Asia/Shanghai", "2026-03-07T16:00:00Z", "2026-03-08T16:00:00Z"),
        ("Asia/Urumqi", "2026-03-07T18:00:00Z", "2026-03-08T18:00:00Z"),
        ("America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),  # a day of 23 hours
    ],
)
def test_dates_are_days_of_the_node(zone: str, first: str, last: str, tmp_path: Path) -> None:
    (tmp_path / "segments.csv").write_text(HEAD + "acme,a,+86138*,,,2026-03-08,2026-03-08,,\n", "utf-8")
    (tmp_path / "intercept.csv").write_text(
        "list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope\n"
        "l,1,A,+86138,prefix,caller,,,,2026-03-08,2026-03-08,\n",
        "utf-8",
    )
    (tmp_path / "consent.csv").write_text(
        "number,evidence_ref,category,customer,valid_from,valid_to\n+86138*,E1,,,2026-03-08,2026-03-08\n", "utf-8"
    )
    files = DirectoryConfig(segments=("segments.csv",), intercept=("intercept.csv",), consent=("consent.csv",))
    directory = load_directory(files, tmp_path, TRUNKS, time_zone=zone)
    asked = number("13800000000")
    for at, expected in ((when(first) - 1, False), (when(first), True), (when(last) - 1, True), (when(last), False)):
        assert (directory.segment(asked, "a", at) is not None) is expected
        assert (directory.listed("caller", asked, None, TRUNKS["a"], at) is not None) is expected
        assert (directory.consent(asked, "", "acme", at) is not None) is expected


def test_a_number_outside_the_plan_is_used_and_said() -> None:
    directory = load("acme,a,+867551234567\n")
    assert directory.warnings == ["segments.csv:2: +867551234567 is no regular number: no caller is ever recognised as it"]


def test_a_number_with_two_readings_is_authorised_by_either() -> None:
    ambiguous = number("9513012345")
    assert ambiguous.canonical == "+869513012345" and ambiguous.alternatives
    for row in ("+869513012345", ambiguous.alternatives[0], "+8695130*"):
        directory = load(f"acme,a,{row}\n")
        assert directory.segment(ambiguous, "a", NOW), row
        assert directory.inbound(ambiguous, NOW), row
    refused = load(f"acme,a,{ambiguous.alternatives[0]}\n")
    if ambiguous.alternatives[0] != ambiguous.canonical:
        assert refused.holder(ambiguous, NOW) is None


def test_a_number_of_more_than_16_digits() -> None:
    text = "+8695130" + "1" * 14
    long = number(text)
    if long.canonical is None:
        long = stand_in(text)
    directory = load(f"acme,a,{text}\nacme,b,+8695130*\n")
    assert long.key == 0
    found = directory.segment(long, "b", NOW)
    assert found is not None and found.first == "+8695130*"
    exact = directory.segment(long, "a", NOW)
    assert exact is not None and exact.first == text


def test_nothing_holds_an_irregular_number() -> None:
    directory = load("acme,a,+86*\n")
    for text in ("zhangsan", "", "15412345678", "106980001234"):
        assert directory.segment(number(text), "a", NOW) is None
        assert directory.holder(number(text), NOW) is None
        assert directory.inbound(number(text), NOW) is None


def stand_in(text: str) -> Number:
    """A Number with that canonical form, whatever the plan says of it."""
    made = normalise("+8613802881946", None)
    fresh = Number("")
    for name in {*fields(Number)} - {"nsn"}:  # worked out of others
        setattr(fresh, name, getattr(made, name))
    digits = text[1:]
    fresh.canonical = text
    fresh.alternatives = ()
    fresh.key = len(digits) << 56 | int(digits) if len(digits) <= 16 else 0
    return fresh


# Numbers of few different digits, so that random rows meet, nest and nearly meet.
digit_strings = st.text("12", min_size=4, max_size=6) | st.text("12", min_size=15, max_size=18).map(lambda text: "1" * 13 + text[13:])
days = st.none() | st.integers(1, 9)


@st.composite
def rows(draw: st.DrawFn) -> tuple[str, str, str, int | None, int | None, str]:
    first = draw(digit_strings)
    shape = draw(st.sampled_from(("single", "range", "prefix")))
    if shape == "prefix":
        first, last = "+" + first[: draw(st.integers(1, 15))] + "*", ""
    elif shape == "single" or len(first) > 16:
        first, last = "+" + first, ""
    else:
        ends = sorted((first, draw(st.text("12", min_size=len(first), max_size=len(first)))))
        first, last = "+" + ends[0], "+" + ends[1]
    begin, end = draw(days), draw(days)
    if begin is not None and end is not None and end < begin:
        begin, end = end, begin
    return draw(st.sampled_from("ab*")), first, last, begin, end, draw(st.sampled_from(("", "in", "out")))


@settings(max_examples=150, deadline=None)
@given(st.lists(rows(), max_size=12), st.lists(digit_strings, min_size=1, max_size=20))
def test_look_ups_find_what_reading_every_row_finds(
    listed: list[tuple[str, str, str, int | None, int | None, str]], asked: list[str]
) -> None:
    lines = [
        f"acme,{trunk},{first},{last},,{f'2026-01-0{begin}' if begin else ''},{f'2026-01-0{end}' if end else ''},,{direction}\n"
        for trunk, first, last, begin, end, direction in listed
    ]
    built = load("".join(lines))
    with TemporaryDirectory() as folder:
        built.save(Path(folder) / "image")
        directory = Directory.open(Path(folder) / "image")
        for text in asked:
            for day in range(1, 11):
                at = when(f"2026-01-{day:02d}T12:00:00+08:00")
                one = stand_in("+" + text)
                for trunk in ("a", "b"):
                    assert same(directory.segment(one, trunk, at), outward(listed, one, trunk, day))
                assert same(directory.holder(one, at), oracle(listed, one, None, "any", day))
                assert same(directory.inbound(one, at), oracle(listed, one, None, "out", day))


def outward(listed: list[tuple[str, str, str, int | None, int | None, str]], asked: Number, trunk: str, day: int) -> int | None:
    """The row that a call from the number uses: of two for the same numbers, the one that is not for incoming calls only."""
    row = oracle(listed, asked, trunk, "any", day)
    if row is not None and listed[row][5] == "in":
        other = oracle(listed, asked, trunk, "in", day)
        if (
            other is not None
            and len({(first, "" if first.endswith("*") else last or first) for _, first, last, *_ in (listed[row], listed[other])}) == 1
        ):
            return other
    return row


def same(found: Segment | None, row: int | None) -> bool:
    return (found.line - 2 if found is not None else None) == row


def oracle(
    listed: list[tuple[str, str, str, int | None, int | None, str]], asked: Number, trunk: str | None, unwanted: str, day: int
) -> int | None:
    """The row that wins, by the definition: narrowest, of a single trunk, later valid_from, first."""
    text = asked.canonical or ""
    best: tuple[tuple[float, bool, bool, float], int] | None = None
    for index, (of, first, last, begin, end, direction) in enumerate(listed):
        if trunk is not None and of not in (trunk, "*"):
            continue
        if direction == unwanted or (begin is not None and day < begin) or (end is not None and day > end):
            continue
        prefix = first.endswith("*")
        holds = text.startswith(first[:-1]) if prefix else len(text) == len(first) and first <= text <= (last or first)
        if not holds:
            continue
        # Width as a part of all numbers: a prefix of n digits is one in 10**n, and wider than a single number of as many digits.
        digits = len(first) - (2 if prefix else 1)
        width = 1 if prefix or not last else int(last) - int(first) + 1
        rank = (width * 10.0 ** (16 - min(digits, 16)), prefix, of == "*", -(begin or 0))
        if best is None or rank < best[0]:
            best = rank, index
    return best[1] if best else None
