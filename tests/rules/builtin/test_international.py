"""Rule 6: cases/policy/international.csv and, with a roaming service, roaming.csv, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from rules import Call, Lookup, PolicyFaults, RuleSet, Trunk
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


@pytest.mark.parametrize("row", table("roaming"), ids=lambda row: f"{row['trunk']} {row['presented']}: {row['note']}")
def test_roaming_service(row: dict[str, str]) -> None:
    ruleset = policy(roaming=row["file"] == "yes", service=True)
    said = dict(pair.split("=") for pair in row["service"].split())
    presented = row["presented"].split()
    asked: list[str] = []

    def service(lookup: Lookup) -> object:
        assert (lookup.kind, lookup.deadline) == ("roaming", 1.5)
        asked.append(lookup.key)
        return None if said[lookup.key] == "none" else said[lookup.key]

    def judged(ruleset: RuleSet) -> dict[str, Any]:
        call = make_call(row["trunk"], presented[0], pai=tuple(f"tel:{number}" for number in presented))
        found = ruleset.evaluate(call)
        while isinstance(found, Lookup):
            found = ruleset.resume(call, found, service(found))
        return view(found)

    labels = {name: True if value == "True" else value for name, value in (pair.split("=") for pair in row["labels"].split())}
    expected = {"action": row["action"], "code": row["code"], "rule": row["rule"], "marks": row["marks"].split(), "labels": labels}
    found = judged(ruleset)
    assert {name: found[name] for name in expected} == expected
    assert asked == row["asked"].split()
    explained = ruleset.explain(make_call(row["trunk"], presented[0], pai=tuple(f"tel:{number}" for number in presented)), service)
    assert view(explained) == found
    assert not any(ruleset.failures.values())
    if "none" not in said.values():  # what is known already makes nobody wait, and decides the same
        ruleset = policy(roaming=row["file"] == "yes", service=True)
        ruleset.recall = service
        call = make_call(row["trunk"], presented[0], pai=tuple(f"tel:{number}" for number in presented))
        assert view(evaluated(ruleset, call)) == found


def test_explain_names_who_said_what() -> None:
    def detail(answer: object, trunk: str = "gw", *, roaming: bool = False, service: bool = True) -> str:
        steps = policy(roaming=roaming, service=service).explain(make_call(trunk, "+8613802881946"), lambda lookup: answer).steps
        assert steps is not None
        (step,) = (step for step in steps if step.rule == "international")
        return step.detail

    assert detail("home") == "the roaming service says home; INTL_86_NOT_ROAMING for +8613802881946, MOB"
    failed = "roaming_failure is 'reject'; INTL_86_UNVERIFIED for "
    assert detail("unknown").startswith("the roaming service says unknown; unverified is 'withhold'; INTL_86_UNVERIFIED for ")
    assert detail(None).startswith("the roaming service gave no answer (deadline 1.5 s); " + failed)
    assert detail(None, roaming=True).startswith("the roaming file says abroad; ")
    assert detail(None, service=False).startswith("no roaming check is configured; " + failed)


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


TWO_CALLERS = ("+442079460000", "+8613802881948")  # a foreign number, and a mobile of which nobody knows where it is


def two_callers(**settings: Any) -> Call:
    trunk = Trunk(id="abroad", kind="international", **settings)
    return Call(trunk, f"sip:{TWO_CALLERS[0]}@gw", "sip:075583668888@gw1.example", at=AT, pai=TWO_CALLERS)


def test_what_the_second_caller_wants_done_is_done() -> None:
    verdict = evaluated(policy(), two_callers())
    assert (verdict.action, verdict.code, verdict.marks) == ("pass", "INTL_OK", ["INTL_86_UNVERIFIED", "ID_PAI_CONFLICT"][::-1])
    assert verdict.labels is not None and verdict.labels["withhold"] is True


def test_a_redirect_server_cannot_withhold_the_second_caller_either() -> None:
    assert evaluated(policy(), two_callers(reject_profile="redirect")).action == "reject"


def test_in_observe_mode_the_second_caller_is_not_withheld() -> None:
    verdict = evaluated(policy('[rules.international]\nmode = "observe"\n'), two_callers())
    assert verdict.action == "pass" and "withhold" not in (verdict.labels or {})
