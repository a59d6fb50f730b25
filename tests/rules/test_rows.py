"""Every row of the tables of rules has a call that earns its code, one that does not, and one that nearly does: cases/policy/rows.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

import pytest

from rules import Lookup, RuleSet, Verdict
from rules.builtin.regular import KINDS, TABLE
from rules.codes import reason_codes
from tests.rules.cases import CASES, call_of, load_cases, make_call, policy, table

DOCUMENT = tomllib.loads((CASES / "rows.toml").read_text("utf-8"))
ROWS: list[dict[str, Any]] = DOCUMENT["row"]
IRREGULAR: list[dict[str, Any]] = DOCUMENT["irregular"]
ANSWERS = ("yes", "no", "nearly")
ALONE = 'order = ["emergency", "trunk", "regular"]'
NO_ROW_OF_ITS_OWN = {"OK", "RULE_FAILED"}
"""Codes of the chain itself."""


@cache
def ruleset(text: str | None = None) -> RuleSet:
    return policy(text)


def judged(reference: str) -> Verdict:
    """The verdict of the case that a row names."""
    file, _, name = reference.partition(": ")
    if file == "international":
        trunk, number = name.split(" ", 1)
        assert [row for row in table(file) if (row["trunk"], row["presented"]) == (trunk, number)], reference
        found = ruleset().evaluate(make_call(trunk, number))
    elif file == "roaming":
        (row,) = (row for row in table(file) if row["note"] == name)
        said = dict(pair.split("=") for pair in row["service"].split())
        rules = policy(roaming=row["file"] == "yes", service=True)
        call = make_call(row["trunk"], row["presented"])
        found = rules.evaluate(call)
        while isinstance(found, Lookup):
            found = rules.resume(call, found, None if said[found.key] == "none" else said[found.key])
    else:
        (case,) = (case for case in load_cases(file) if case["name"] == name)
        found = ruleset().evaluate(call_of(case))
    assert isinstance(found, Verdict)
    return found


def effect(verdict: Verdict, code: str) -> str:
    """What a code does to the call of a verdict."""
    if verdict.code != code:
        return "mark" if code in verdict.marks else "-"
    if verdict.action == "reject":
        return "reject"
    return "pass" if code == "EMG_OVERRIDE" else "ok"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['rule']}: {row['says']}")
def test_row(row: dict[str, Any]) -> None:
    found = [effect(judged(row[answer]), row["code"]) for answer in ANSWERS]
    assert found[0] == row["effect"]
    assert row["effect"] not in found[1:]
    assert len({row[answer] for answer in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize("row", IRREGULAR, ids=lambda row: f"{row['code']} {' '.join(row['effects'])}")
@pytest.mark.parametrize("column", range(len(KINDS)), ids=KINDS)
def test_irregular(row: dict[str, Any], column: int) -> None:
    trunk = row.get("trunks", ("globex", "peer", "gw"))[column]
    fields = {"to": row["to"]} if "to" in row else {}
    found = []
    for answer in ANSWERS:
        verdict = ruleset(ALONE).evaluate(make_call(trunk, row[answer], **fields))
        assert isinstance(verdict, Verdict)
        found.append(effect(verdict, row["code"]))
    assert found == [row["effects"][column], "-", "-"]


def test_every_code_of_every_rule_has_its_row() -> None:
    rows = {row["code"] for row in ROWS} | {row["code"] for row in IRREGULAR}
    later = ("STIR_", "BEH_", "TRK_CPS", "TRK_CALLS", "SEG_")  # rules 13 and 14 have their own tables; limits are no rule's
    expected = {code for code in reason_codes() if not code.startswith(later)} - NO_ROW_OF_ITS_OWN
    assert expected - rows == {"CLI_DATA"}  # no row of a table: numbers.md has data cards marked
    assert {row["code"] for row in IRREGULAR} == set(TABLE) - {"CLI_INTL_BAD", "CLI_DATA"}


def test_every_rule_has_a_row() -> None:
    assert {int(row["rule"].split()[0]) for row in ROWS} | {7} == {*range(1, 13), 15}
