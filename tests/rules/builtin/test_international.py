"""Rule 6: cases/policy/international.csv, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rules.cases import evaluated, make_call, policy, table, view


@pytest.mark.parametrize("row", table("international"), ids=lambda row: f"{row['trunk']} {row['presented']}")
def test_row(row: dict[str, str]) -> None:
    ruleset = policy()
    found = view(evaluated(ruleset, make_call(row["trunk"], row["presented"])))
    labels: dict[str, Any] = {}
    for label in row["labels"].split():
        name, _, value = label.partition("=")
        labels[name] = True if value == "True" else value
    expected = {"action": row["action"], "code": row["code"], "rule": row["rule"], "marks": row["marks"].split(), "labels": labels}
    assert {name: found[name] for name in expected} == expected
    assert view(ruleset.explain(make_call(row["trunk"], row["presented"]))) == found


@pytest.mark.parametrize(
    ("trunk", "action", "marks", "labels"),
    [
        ("gw", "reject", [], {}),
        ("gw-mark", "pass", ["INTL_86_UNVERIFIED"], {}),
    ],
)
def test_no_roaming_check_configured(trunk: str, action: str, marks: list[str], labels: dict[str, Any]) -> None:
    verdict = evaluated(policy(roaming=False), make_call(trunk, "+8613802881946"))
    assert (verdict.action, verdict.marks, verdict.labels or {}) == (action, marks, labels)
    assert verdict.code == ("INTL_86_UNVERIFIED" if action == "reject" else "OK")


def test_of_several_numbers_any_can_reject() -> None:
    verdict = evaluated(policy(), make_call("gw", "+12125550100", pai=("tel:+12125550100", "tel:+8675583123456")))
    assert (verdict.code, verdict.marks) == ("INTL_86_FIXED", ["ID_PAI_CONFLICT"])


def test_of_several_numbers_the_first_gives_the_code() -> None:
    verdict = evaluated(policy(), make_call("gw", "+12125550100", pai=("tel:+12125550100", "tel:+8613802881948")))
    assert (verdict.code, verdict.marks) == ("INTL_OK", ["ID_PAI_CONFLICT", "INTL_86_UNVERIFIED"])
    assert verdict.labels == {"country": "1", "withhold": True}


def test_a_roamer_who_calls_himself() -> None:
    verdict = evaluated(policy(), make_call("gw", "+8613802881946", "sip:13802881946@gw1.example"))
    assert (verdict.code, verdict.rule) == ("CLI_EQ_CALLED", "regular")


def test_diversion_proves_no_domestic_leg() -> None:
    verdict = evaluated(policy(), make_call("gw", "+8675583123456", diversion=("tel:+8613802881946",)))
    assert verdict.code == "INTL_86_FIXED"
