"""Intercept and release lists: match, scope, validity, withdrawals, the police, pairs; then against an oracle."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.call import Trunk
from rules.directory import Directory, DirectoryConfig, load_directory
from rules.numbers import Number, normalise

HEAD = "list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope,created_at\n"
ACME = Trunk(id="acme-sz", kind="enterprise", customer="acme")
ACME_2 = Trunk(id="acme-gz", kind="enterprise", customer="acme")
BANK = Trunk(id="bank", kind="enterprise", customer="bank")
TRUNKS = {trunk.id: trunk for trunk in (ACME, ACME_2, BANK)}
NOW = datetime.fromisoformat("2026-03-01T12:00:00+08:00").timestamp()
DAY = 86400.0


def load(intercept: str = "", release: str = "") -> Directory:
    with TemporaryDirectory() as folder:
        (Path(folder) / "intercept.csv").write_text(HEAD + intercept, "utf-8")
        (Path(folder) / "release.csv").write_text(HEAD + release, "utf-8")
        return load_directory(DirectoryConfig(intercept=("intercept.csv",), release=("release.csv",)), Path(folder), TRUNKS)


def number(text: str) -> Number:
    return normalise(text, "755")


def listed(directory: Directory, text: str, type_: str = "caller", trunk: Trunk = ACME, at: float = NOW) -> int | None:
    entry = directory.listed(type_, number(text), None, trunk, at)
    return None if entry is None else entry.seq


@pytest.mark.parametrize(
    ("row", "yes", "no"),
    [
        ("+8613802881946,exact", ["13802881946", "+86013802881946"], ["13802881947", "1380288194"]),
        ("+86138,prefix", ["13802881946"], ["13902881946"]),
        ("+86138*,prefix", ["13802881946"], ["13702881946"]),
        ("+8613802880000-+8613802889999,range", ["13802880000", "13802881946", "13802889999"], ["13802890000", "13802879999"]),
        ("+44,prefix", ["00442071838750", "+442071838750"], ["+12125550100", "+4932118"]),
        ("106980001234,exact", ["106980001234"], ["106980001235", "+86106980001234"]),
        ("+867551234567,exact", ["+867551234567"], ["+867551234568"]),
        ("99999999999999999999,exact", ["99999999999999999999"], ["9999999999999999999"]),
    ],
)
def test_match(row: str, yes: list[str], no: list[str]) -> None:
    directory = load(f"x,1,A,{row},caller\n")
    for text in yes:
        assert listed(directory, text) == 1, text
        assert listed(directory, text, "called") is None
    for text in no:
        assert listed(directory, text) is None, text


@pytest.mark.parametrize(
    ("scope", "acme", "acme_2", "bank"),
    [
        ("", True, True, True),
        ("global", True, True, True),
        ("customer:acme", True, True, False),
        ("trunk:acme-sz", True, False, False),
        ("trunk:acme", False, False, False),
    ],
)
def test_scope(scope: str, acme: bool, acme_2: bool, bank: bool) -> None:
    directory = load(f"x,1,A,+8613802881946,exact,caller,,,,,,{scope}\n")
    for trunk, expected in ((ACME, acme), (ACME_2, acme_2), (BANK, bank)):
        assert (listed(directory, "13802881946", trunk=trunk) == 1) is expected
    assert directory.warnings == (
        ["intercept.csv:2: scope trunk:acme is not in the configuration: the entry never counts here"] if scope == "trunk:acme" else []
    )


def test_validity() -> None:
    directory = load("x,1,A,+8613802881946,exact,caller,,,,2026-03-01,2026-03-01\n")
    midnight = NOW - DAY / 2
    assert [listed(directory, "13802881946", at=at) for at in (midnight - 1, midnight, midnight + DAY - 1, midnight + DAY)] == [
        None,
        1,
        1,
        None,
    ]


def test_an_entry_that_does_not_count_hides_none_that_does() -> None:
    directory = load(
        "x,1,A,+8613802881946,exact,caller,,,,,2025-12-31\n"
        "x,2,A,+8613802881946,exact,caller,,,,,,customer:bank\n"
        "x,3,A,+86138,prefix,caller,,,,,,customer:bank\n"
        "x,4,A,+8613,prefix,caller\n"
    )
    assert listed(directory, "13802881946") == 4
    assert listed(directory, "13802881946", trunk=BANK) == 2


def test_pairs() -> None:
    directory = load(
        "x,1,A,+8613802881946>+8675583120000,exact,pair\n"
        "x,2,A,+86139>+8675583120000,prefix,pair\n"
        "x,3,A,+8613700000000-+8613700000099 > +8675583120000-+8675583120009,range,pair\n"
        "x,4,A,106980001234>+8675583120000,exact,pair\n"
        "x,5,A,+8615012345678>+8675,prefix,pair\n"
    )

    def pair(caller: str, called: str) -> int | None:
        entry = directory.listed("pair", number(caller), number(called), ACME, NOW)
        return None if entry is None else entry.seq

    assert pair("13802881946", "83120000") == 1
    assert pair("13802881946", "83120001") is None
    assert pair("83120000", "13802881946") is None
    assert pair("13912345678", "83120000") == 2
    assert pair("13912345678", "83120001") is None
    assert pair("13700000050", "83120009") == 3
    assert pair("13700000050", "83120010") is None
    assert pair("13700000100", "83120009") is None
    assert pair("106980001234", "83120000") == 4
    assert pair("15012345678", "83120000") == 5
    assert pair("15012345678", "02083120000") is None
    assert listed(directory, "13802881946") is None
    assert directory.listed("pair", number("13802881946"), None, ACME, NOW) is None


def test_withdrawals_apply_in_the_order_of_seq_within_their_list() -> None:
    directory = load(
        "x,30,D,+8613800000000,exact,caller\n"  # stands before what it withdraws
        "x,10,A,+8613800000000,exact,caller\n"
        "x,11,A,+8613900000000,exact,caller\n"
        "x,12,D,+8613900000000,exact,caller\n"
        "x,13,A,+8613900000000,exact,caller\n"  # added again
        "y,40,D,+8613900000000,exact,caller\n"  # another list's
        "x,14,A,+86137,prefix,caller\n"
        "x,15,D,+86137*,prefix,caller\n"
        "x,16,A,+8613600000000,exact,caller,,,,,,customer:acme\n"
        "x,17,D,+8613600000000,exact,caller\n"  # another scope
        "x,18,A,+8613500000000,exact,caller\n"
        "x,19,D,+8613500000000,exact,called\n"  # another type
    )
    seqs = [listed(directory, f"13{digit}00000000") for digit in "897654"]
    assert seqs == [None, 13, None, 16, 18, None]
    assert directory.counts["intercept"] == 3
    assert [text.split(": D withdraws nothing: ")[0] for text in directory.warnings] == [
        "intercept.csv:7",
        "intercept.csv:11",
        "intercept.csv:13",
    ]


def test_a_row_that_is_imported_twice_counts_once() -> None:
    row = "x,1,A,+8613800000000,exact,caller\n"
    assert load(row + row).counts["intercept"] == 1
    assert load("x,2,A,+8613900000000,exact,caller\n" + row + row).counts["intercept"] == 2


def test_a_release_lifts_its_own_type_until_it_expires() -> None:
    directory = load(
        "x,1,A,+86138,prefix,caller\nx,2,A,+86138,prefix,called\n",
        "r,1,A,+8613802881946,exact,caller,appeal upheld,desk,E-7,2026-01-01,2026-03-01\n",
    )
    asked = number("13802881946")
    release = directory.released("caller", asked, None, ACME, NOW)
    assert release is not None and (release.evidence_ref, release.reason) == ("E-7", "appeal upheld")
    assert directory.released("called", asked, None, ACME, NOW) is None
    assert directory.released("caller", number("13802881947"), None, ACME, NOW) is None
    assert directory.released("caller", asked, None, ACME, NOW + DAY) is None
    assert directory.released("pair", asked, None, ACME, NOW) is None


def test_the_police_comes_first_and_is_never_lifted() -> None:
    # The police's entry counts on another customer's trunks, so the release is loaded; where they meet after all, it lifts nothing.
    directory = load(
        "x,1,A,+8613802881946,exact,caller,,desk\nx,2,A,+86138,prefix,caller,,police,,,,customer:bank\n",
        "r,1,A,+8613802881946,exact,caller,,,E-7,,2026-12-31,customer:acme\nr,2,A,+8613802881946,exact,caller,,,E-8,,2026-12-31,trunk:acme-sz\n",
    )
    asked = number("13802881946")
    assert listed(directory, "13802881946") == 1
    assert listed(directory, "13802881946", trunk=BANK) == 2
    assert directory.released("caller", asked, None, ACME, NOW) is not None
    moved = Trunk(id="acme-sz", kind="enterprise", customer="bank")  # as after a change of the configuration
    assert directory.released("caller", asked, None, moved, NOW) is None


def test_a_caller_without_a_number_is_on_no_list() -> None:
    directory = load("x,1,A,+86138,prefix,caller\nx,2,A,0,exact,caller\n")
    for text in ("", "zhangsan", "sip:anonymous@anonymous.invalid", "\udcff"):
        assert listed(directory, text) is None


def test_registers() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "own.csv").write_text("number\n+86755*\n+8613802881946\n+8695588\n+861380288194600*\n")
        (folder / "ported.csv").write_text("number\n+8613802881946\n")
        (folder / "overseas.csv").write_text("number,trunk\n+8675583120000,acme-sz\n+8620*,\n+8675583120000,bank\n")
        (folder / "roaming.csv").write_text("number,state\n+86138*,home\n+8613802881946,abroad\n+861390*,unknown\n")
        files = {kind: (f"{kind}.csv",) for kind in ("own", "ported", "overseas", "roaming")}
        load_directory(DirectoryConfig(**files), folder, TRUNKS).save(folder / "image")
        directory = Directory.open(folder / "image")
    assert [directory.own(number(text)) for text in ("83120000", "13802881946", "95588", "13802881947", "02083120000", "zhangsan")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert [directory.ported(number(text)) for text in ("13802881946", "13802881947", "")] == [True, False, False]
    assert [directory.overseas(number("83120000"), trunk) for trunk in ("acme-sz", "acme-gz", "bank")] == [True, False, True]
    assert [directory.overseas(number(text), "acme-gz") for text in ("02083120000", "83120001")] == [True, False]
    assert directory.has_roaming
    states = [directory.roaming(number(text)) for text in ("13802881946", "13802881947", "13902881946", "13702881946", "zhangsan")]
    assert states == ["abroad", "home", "unknown", "unknown", "unknown"]
    assert directory.counts == {"own": 4, "ported": 1, "overseas": 3, "roaming": 3}


def test_a_directory_of_no_lists() -> None:
    directory = Directory.empty()
    asked = number("13802881946")
    assert directory.segment(asked, "a", NOW) is directory.holder(asked, NOW) is directory.inbound(asked, NOW) is None
    assert directory.listed("caller", asked, None, ACME, NOW) is directory.released("pair", asked, asked, ACME, NOW) is None
    assert not directory.own(asked) and not directory.ported(asked) and not directory.overseas(asked, "a")
    assert directory.roaming(asked) is None and not directory.has_roaming
    assert len(directory.version) == 12


# Foreign numbers: all of them regular, of several lengths, and few enough that entries meet them.
foreign = st.text("12", min_size=1, max_size=2).map(lambda tail: "+4420718387" + tail)
stems = st.integers(3, 12).flatmap(lambda length: foreign.map(lambda text: text[:length]))


@st.composite
def entries(draw: st.DrawFn) -> tuple[str, str, str, str, str]:
    match = draw(st.sampled_from(("exact", "prefix", "range")))
    type_ = draw(st.sampled_from(("caller", "called", "pair")))

    def side() -> str:
        if match == "range":
            ends = draw(st.tuples(foreign, foreign).filter(lambda pair: len(pair[0]) == len(pair[1])))
            return "-".join(sorted(ends))
        return draw(foreign if match == "exact" else stems)

    text = f"{side()}>{side()}" if type_ == "pair" else side()
    return text, match, type_, draw(st.sampled_from(("", "police"))), draw(st.sampled_from(("", "customer:acme", "trunk:bank")))


@settings(max_examples=150, deadline=None)
@given(st.lists(entries(), max_size=12), st.lists(st.tuples(foreign, foreign), min_size=1, max_size=10))
def test_lists_find_what_reading_every_row_finds(rows: list[tuple[str, str, str, str, str]], asked: list[tuple[str, str]]) -> None:
    directory = load(
        "".join(f"x,{n},A,{text},{match},{type_},,{source},,,,{scope}\n" for n, (text, match, type_, source, scope) in enumerate(rows))
    )
    for caller, called in asked:
        for type_ in ("caller", "called", "pair"):
            for trunk in (ACME, BANK):
                found = directory.listed(type_, number(caller), number(called) if type_ == "pair" else None, trunk, NOW)
                names = [row for row in rows if row[2] == type_ and row[4] in ("", f"customer:{trunk.customer}", f"trunk:{trunk.id}")]
                names = [row for row in names if all(map(holds, [row[1]] * 2, row[0].split(">"), (caller, called)))]
                assert (found is None) == (not names)
                if found is not None:
                    assert rows[found.seq] in names
                    assert (found.source == "police") == any(row[3] == "police" for row in names)


def holds(match: str, pattern: str, text: str) -> bool:
    if match == "exact":
        return text == pattern
    if match == "prefix":
        return text.startswith(pattern)
    first, last = pattern.split("-")
    return len(first) == len(text) and first <= text <= last
