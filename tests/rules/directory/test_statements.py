"""Consent and refusals: against an oracle that reads every row."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from rules.call import Trunk
from rules.directory import Directory, DirectoryConfig, Statement, load_directory
from rules.directory.statements import COLUMNS
from rules.numbers import normalise

TRUNKS = {name: Trunk(id=name, kind="enterprise", customer=name) for name in ("acme", "bank")}
HEAD = ",".join(COLUMNS) + "\n"
NOW = datetime.fromisoformat("2026-03-02T12:00:00+08:00").timestamp()


def load(consent: str, refusals: str) -> Directory:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "consent.csv").write_text(HEAD + consent, "utf-8")
        (folder / "refusals.csv").write_text(HEAD + refusals, "utf-8")
        load_directory(DirectoryConfig(consent=("consent.csv",), refusals=("refusals.csv",)), folder, TRUNKS).save(folder / "image")
        return Directory.open(folder / "image")


def test_what_a_row_says_is_kept() -> None:
    directory = load("+8613802881946,E1,Finance,acme,2026-01-01,2026-12-31,said so on the phone\n", "+86138*,E2\n")
    asked = normalise("13802881946", None)
    said = directory.consent(asked, "finance", "acme", NOW)
    assert said == Statement("E1", "finance", "acme", 1767196800.0, 1798732800.0)
    assert str(said) == "finance marketing of acme, evidence E1"
    refused = directory.refusal(asked, "finance", "acme", NOW)
    assert refused is not None and (refused.evidence_ref, refused.category) == ("E2", "")
    assert directory.refusal(normalise("13902881946", None), "finance", "acme", NOW) is None
    assert directory.counts == {"consent": 1, "refusals": 1}
    assert directory.has_consent


def test_the_number_itself_comes_before_a_prefix_and_a_longer_one_before_a_shorter() -> None:
    directory = load("+86138*,E1\n+861380*,E2\n+8613802881946,E3\n", "")
    found = [
        directory.consent(normalise(text, None), "", "acme", NOW) for text in ("13802881946", "13802881947", "13902881946", "13812881946")
    ]
    assert [said and said.evidence_ref for said in found] == ["E3", "E2", None, "E1"]


def test_files_without_rows_and_no_files() -> None:
    empty = load("", "")
    asked = normalise("13802881946", None)
    for directory in (empty, Directory.empty()):
        assert directory.consent(asked, "", "acme", NOW) is directory.refusal(asked, "", "acme", NOW) is None
    assert empty.has_consent and not Directory.empty().has_consent


def test_equal_rows_are_kept_once() -> None:
    directory = load("", "".join(f"+8613800{at:06d},,finance\n+8613900{at:06d},R{at % 2}\n" for at in range(1000)))
    assert directory.counts["refusals"] == 2000
    assert len(directory._sections["refusals.ends"]) == 4


numbers = st.text("12", min_size=1, max_size=2).map(lambda tail: "+4420718387" + tail)
stems = numbers.flatmap(lambda text: st.integers(3, len(text)).map(lambda length: text[:length] + "*"))
categories = st.sampled_from(("", "finance", "property"))
customers = st.sampled_from(("", "acme", "bank"))
rows = st.tuples(
    numbers | stems, categories, customers, st.sampled_from(("", "2026-03-02", "2026-03-03")), st.sampled_from(("", "2026-03-04"))
)
Row = tuple[str, str, str, str, str]


def holds(row: Row, number: str, customer: str) -> bool:
    text, _, of, begin, _ = row
    return (number.startswith(text[:-1]) if text.endswith("*") else number == text) and of in ("", customer) and begin <= "2026-03-02"


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, max_size=12), st.lists(st.tuples(numbers, categories, st.sampled_from(("acme", "bank"))), min_size=1, max_size=10))
def test_look_ups_find_what_reading_every_row_finds(listed: list[Row], asked: list[tuple[str, str, str]]) -> None:
    text = "".join(f"{number},E{at},{category},{of},{begin},{end}\n" for at, (number, category, of, begin, end) in enumerate(listed))
    directory = load(text, text)
    for number, category, customer in asked:
        held = [(at, row) for at, row in enumerate(listed) if holds(row, number, customer)]
        held.sort(key=lambda pair: -len(pair[1][0]) if pair[1][0].endswith("*") else -100)
        permits = [f"E{at}" for at, row in held if row[1] in ("", category)]
        refuses = [f"E{at}" for at, row in held if row[1] in ("", category) or not category]
        consent = directory.consent(normalise(number, None), category, customer, NOW)
        refusal = directory.refusal(normalise(number, None), category, customer, NOW)
        assert (None if consent is None else consent.evidence_ref) == next(iter(permits), None)
        assert (None if refusal is None else refusal.evidence_ref) == next(iter(refuses), None)
