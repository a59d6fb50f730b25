"""Rule 7: the table of policy.md as cases/policy/regular.csv, and what a trunk's settings change as regular.toml."""

from __future__ import annotations

from typing import Any

import pytest

from rules.builtin.regular import TABLE
from tests.rules.cases import cases, check_case, make_call, policy, table

ALONE = 'order = ["emergency", "trunk", "regular"]'


@pytest.mark.parametrize("row", table("regular"), ids=lambda row: row["number"])
@pytest.mark.parametrize(("kind", "trunk"), [("enterprise", "globex"), ("interconnect", "peer"), ("international", "gw")])
def test_row(row: dict[str, str], kind: str, trunk: str) -> None:
    verdict = policy(ALONE).explain(make_call(trunk, row["number"]))
    assert verdict.steps is not None
    step = verdict.steps[-1]
    assert step.rule == "regular"
    expected = row[kind]
    assert step.outcome == ("no opinion" if expected == "-" else expected), step.detail
    if expected == "reject":
        assert (verdict.action, verdict.code, verdict.marks) == ("reject", row["code"], [])
    else:
        assert (verdict.action, verdict.marks) == ("pass", [row["code"]] if expected == "mark" else [])


def test_the_table_is_covered() -> None:
    shown = {row["code"] for row in table("regular")}
    assert set(TABLE) - shown == {"CLI_LOCAL_NO_AREA"}  # needs a trunk without home area: regular.toml


@cases("regular")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)
