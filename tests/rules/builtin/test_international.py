"""Rule 6: cases/policy/international.csv, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from rules import PolicyFaults
from tests.rules.cases import AT, cases, check_case, evaluated, legs_of, make_call, policy, table, view


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


@cases("trombone")
def test_calls_that_come_back(case: dict[str, Any]) -> None:
    check_case(case)


@pytest.mark.parametrize(
    ("to", "caller", "code"),
    [
        ("+8613800000042", "+8675583123456", "INTL_TROMBONE"),
        ("+8613900000099", "+8675583123456", "INTL_TROMBONE"),
        ("+8613900000098", "+8675583123456", "INTL_86_FIXED"),
        ("+8613800010042", "+8675583123456", "INTL_86_FIXED"),
        ("+8613800000042", "+8675583123457", "INTL_86_FIXED"),
    ],
)
def test_a_visitor_is_called_through_his_own_country(to: str, caller: str, code: str) -> None:
    text = '[rules.international]\nrouting_numbers = ["+86138000000*", "+8613900000099"]\n'
    legs = legs_of([{"toward": "gw", "called": "+12125550100", "callers": ["+8675583123456"], "ago": 3}], AT)
    assert evaluated(policy(text), make_call("gw", caller, to, legs=legs)).code == code


def test_a_routing_number_is_canonical() -> None:
    with pytest.raises(PolicyFaults, match="routing_numbers"):
        policy('[rules.international]\nrouting_numbers = ["138000000*"]\n')
