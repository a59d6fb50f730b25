"""Rule 15: cases/policy/label.toml, and what its settings change."""

from __future__ import annotations

from typing import Any

import pytest

from rules import Call, Outcome, PolicyFaults, RuleSet
from rules.builtin.label import WEIGHTS
from rules.codes import reason_codes
from rules.ruleset import BoundRule
from tests.rules.cases import cases, check_case, directory, evaluated, make_call, policy


def suspect(threshold: float, weight: float = 1.0) -> dict[str, Any]:
    return {"score": weight, "threshold": threshold, "marks": {"ID_FROM_MISMATCH": weight}}


@cases("label")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)


def mismatched() -> Call:
    """One mark: From and PAI differ, both inside the segments."""
    return make_call("acme-sz", "83120001", pai=("tel:+8675583120002",))


@pytest.mark.parametrize(
    ("settings", "marks", "labels"),
    [
        ("", ["ID_FROM_MISMATCH"], {}),
        ("threshold = 1", ["ID_FROM_MISMATCH"], {}),
        ("threshold = 0.5", ["ID_FROM_MISMATCH", "LABEL_SUSPECT"], {"suspect": suspect(0.5)}),
        (
            "weights = { ID_FROM_MISMATCH = 3.5 }",
            ["ID_FROM_MISMATCH", "LABEL_SUSPECT"],
            {"suspect": suspect(3.0, 3.5)},
        ),
        ("weights = { ID_FROM_MISMATCH = 0 }\nthreshold = 0", ["ID_FROM_MISMATCH"], {}),
        ("weights = { CLI_ANON = 9 }\nthreshold = 1", ["ID_FROM_MISMATCH"], {}),
        (
            'threshold = 0\nprefix = "疑似骚扰"\ncall_reason = "可能是骚扰"',
            ["ID_FROM_MISMATCH", "LABEL_SUSPECT"],
            {"suspect": suspect(0.0), "prefix": "疑似骚扰", "call_reason": "可能是骚扰"},
        ),
        ('prefix = "疑似骚扰"', ["ID_FROM_MISMATCH"], {}),
        ('threshold = 0\nprefix = "疑似骚扰"\nmode = "observe"', ["ID_FROM_MISMATCH", "LABEL_SUSPECT"], {}),
        ('threshold = 0\nmode = "off"', ["ID_FROM_MISMATCH"], {}),
    ],
)
def test_settings(settings: str, marks: list[str], labels: dict[str, Any]) -> None:
    ruleset = policy(f"[rules.label]\n{settings}\n")
    for verdict in (evaluated(ruleset, mismatched()), ruleset.explain(mismatched())):
        assert (verdict.action, verdict.code, verdict.marks, verdict.labels or {}) == ("pass", "AUTH_OK", marks, labels)
    assert not any(ruleset.failures.values())


@pytest.mark.parametrize(
    ("threshold", "detail"),
    [
        (0.5, "ID_FROM_MISMATCH 1 = 1, above 0.5"),
        (3, "ID_FROM_MISMATCH 1 = 1, not above 3"),
    ],
)
def test_explain_names_the_weights(threshold: float, detail: str) -> None:
    steps = policy(f"[rules.label]\nthreshold = {threshold}\n").explain(mismatched()).steps
    assert steps is not None
    assert (steps[-1].rule, steps[-1].detail) == ("label", detail)


def test_explain_names_marks_that_weigh_nothing() -> None:
    steps = policy("[rules.label]\nweights = { ID_FROM_MISMATCH = 0 }\n").explain(mismatched()).steps
    assert steps is not None
    assert steps[-1].detail == "ID_FROM_MISMATCH 0 = 0, not above 3"


@pytest.mark.parametrize(
    ("sender", "settings", "labels"),
    [
        ("+12125550100", "", {"country": "1"}),
        ("+12125550100", "country = true", {"country": "1", "call_reason": "境外来电 +1 北美（美国、加拿大等）"}),
        ("+8613802881946", "country = true", {"roamer": True}),
        ("sip:anonymous@anonymous.invalid", "country = true", {"international": True}),
    ],
)
def test_country(sender: str, settings: str, labels: dict[str, Any]) -> None:
    assert evaluated(policy(f"[rules.label]\n{settings}\n"), make_call("gw", sender)).labels == labels


def test_country_of_a_suspect() -> None:
    ruleset = policy('[rules.label]\ncountry = true\ncall_reason = "可能是骚扰"\nthreshold = 0\n')
    verdict = evaluated(ruleset, make_call("gw", "+12125550100", pai=("tel:+12125550101",)))
    assert verdict.labels is not None
    assert verdict.labels["suspect"] == suspect(0.0)
    assert verdict.labels["call_reason"] == "可能是骚扰; 境外来电 +1 北美（美国、加拿大等）"


def test_marks_of_third_parties_weigh_what_the_settings_say() -> None:
    def odd(call: Call) -> Outcome:
        return Outcome("mark", "ODD")

    ruleset = policy("[rules.label]\nweights = { ODD = 4 }\n")
    ruleset = RuleSet((*ruleset.order[:-1], BoundRule("odd", odd), ruleset.order[-1]), directory(), "")
    verdict = evaluated(ruleset, make_call("acme-sz", "83120001"))
    assert verdict.marks == ["ODD", "LABEL_SUSPECT"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ID_FROM_MISMATCH", None),
        ("AUTH_FAIL", None),  # a mark of an emergency call
        ("ID_FORM_MISMATCH", "; did you mean 'ID_FROM_MISMATCH'?"),
        ("id_from_mismatch", "; did you mean 'ID_FROM_MISMATCH'?"),
        ("CLI_NOBODYS", ""),
        ("BOGUS", ""),
    ],
)
def test_a_weight_for_a_mark_that_no_rule_gives_is_a_warning(code: str, said: str | None) -> None:
    warnings = policy(f"[rules.label]\nthreshold = 2\n[rules.label.weights]\nCLI_ANON = 2\n{code} = 1\n").warnings
    expected = [] if said is None else [f"policy.toml:5: rules.label.weights.{code}: has no effect: no rule gives this mark{said}"]
    assert [str(warning) for warning in warnings] == expected


def test_weights_may_speak_for_a_caller() -> None:
    verdict = evaluated(policy("[rules.label]\nthreshold = 0\nweights = { ID_FROM_MISMATCH = -1 }\n"), mismatched())
    assert verdict.marks == ["ID_FROM_MISMATCH"]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ("threshold = 1001", "rules.label.threshold"),
        ("weights = { CLI_ANON = -1001 }", "rules.label.weights.CLI_ANON"),
        ("weights = { CLI_ANON = true }", "rules.label.weights.CLI_ANON"),
        ("threshold = nan", "rules.label.threshold"),
        ("threshold = inf", "rules.label.threshold"),
        ('threshold = "3"', "rules.label.threshold"),
        ("weights = { CLI_ANON = inf }", "rules.label.weights"),
        ("weights = [1]", "rules.label.weights"),
        (f'prefix = "{"x" * 65}"', "rules.label.prefix"),
        (r'prefix = "a\r\nX: y"', "rules.label.prefix"),
        (r'call_reason = "a\u0000"', "rules.label.call_reason"),
        ("country = 1", "rules.label.country"),
        ("weight = {}", "rules.label.weight"),
    ],
)
def test_faults(settings: str, key: str) -> None:
    with pytest.raises(PolicyFaults) as raised:
        policy(f"[rules.label]\n{settings}\n")
    assert [fault.key.startswith(key) for fault in raised.value.faults] == [True]


def test_the_packaged_weights_are_of_codes_that_there_are() -> None:
    assert set(WEIGHTS) <= set(reason_codes())


def test_marks_of_a_rule_in_observe_mode_weigh_nothing() -> None:
    text = "[rules.label]\nthreshold = 0\n"
    assert "LABEL_SUSPECT" in evaluated(policy(text), mismatched()).marks
    observed = policy(text + '[rules.identity]\nmode = "observe"\n')
    assert evaluated(observed, mismatched()).marks == ["ID_FROM_MISMATCH"]
    steps = observed.explain(mismatched()).steps
    assert steps is not None
    said = "ID_FROM_MISMATCH 0 = 0, not above 0; ID_FROM_MISMATCH weigh nothing: their rules only observe"
    assert said in [step.detail for step in steps]
