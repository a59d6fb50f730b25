"""Rule 9: cases/policy/forwarding.toml."""

from __future__ import annotations

from typing import Any

import pytest

from rules import Call, Lookup, Outcome, PolicyFaults, RuleSet, Verdict
from rules.legs import Legs
from rules.ruleset import BoundRule
from tests.rules.cases import AT, cases, check_case, evaluated, legs_of, make_call, policy

CALLER = "+8613712345678"
DESK = "+8675583120001"


@cases("forwarding")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)


def leg(ago: float, *, ringing: bool = False) -> Legs:
    return legs_of([{"toward": "acme-sz", "called": DESK, "callers": [CALLER], "ago": ago, "ringing": ringing}], AT)


@pytest.mark.parametrize(
    ("legs", "detail"),
    [
        (leg(7), f"call of {CALLER} to {DESK}: set up 7 s ago"),
        (leg(7, ringing=True), f"call of {CALLER} to {DESK}: being set up"),
        (leg(500), f"call of {CALLER} to {DESK}: none in 120 s"),
        (None, f"call of {CALLER} to {DESK}: only a running node remembers calls"),
    ],
)
def test_explain_names_the_value_that_decided(legs: Legs | None, detail: str) -> None:
    steps = policy().explain(make_call("acme-sz", CALLER, diversion=(DESK,), legs=legs)).steps
    assert steps is not None
    told = {step.rule: step.detail for step in steps}
    setting = "" if "set up" in detail else "; forwarding of acme-sz is 'correlated'"
    assert told["forwarding"] == f"forwarded by {DESK} of acme-sz (segments.csv:2); {detail}{setting}"


def test_recent_is_a_setting() -> None:
    text = 'order = ["emergency", "trunk", "forwarding", "segments"]\n[rules.forwarding]\nrecent = 5\n'
    for ago, code in ((5, "FWD_OK"), (6, "FWD_NO_CORR")):
        assert evaluated(policy(text), make_call("acme-sz", CALLER, diversion=(DESK,), legs=leg(ago))).code == code


@pytest.mark.parametrize("value", ["0", "601", "'2m'"])
def test_recent_within_what_is_remembered(value: str) -> None:
    with pytest.raises(PolicyFaults, match=r"rules\.forwarding\.recent"):
        policy(f"[rules.forwarding]\nrecent = {value}\n")


def test_without_the_rule_a_forwarded_call_is_like_any_other() -> None:
    text = '[rules.forwarding]\nmode = "off"\n'
    verdict = evaluated(policy(text), make_call("acme-sz", CALLER, diversion=(DESK,), legs=leg(3)))
    assert (verdict.action, verdict.code) == ("reject", "AUTH_FAIL")


def test_in_observe_the_forwarding_number_is_authenticated_all_the_same() -> None:
    text = '[rules.forwarding]\nmode = "observe"\n'
    verdict = evaluated(policy(text), make_call("acme-sz", CALLER, diversion=(DESK,)))
    assert (verdict.action, verdict.code, verdict.would and verdict.would.code) == ("pass", "AUTH_OK", "FWD_NO_CORR")
    verdict = evaluated(policy(text), make_call("acme-sz", CALLER, diversion=("+861065001234",)))
    assert (verdict.action, verdict.code) == ("reject", "AUTH_FAIL")


def test_it_refuses_impossible_callers_itself_where_rule_7_is_moved_behind_it() -> None:
    text = 'order = ["emergency", "trunk", "forwarding", "segments", "regular"]\n'
    verdict = evaluated(policy(text), make_call("acme-sz", "4008123123", diversion=(DESK,)))
    assert (verdict.code, verdict.rule) == ("FWD_BAD_ORIG", "forwarding")


def test_what_the_rule_has_said_does_not_outlive_its_policy() -> None:
    call = make_call("acme-sz", CALLER, diversion=(DESK,), legs=leg(3))
    lookup = Lookup("asked", "once", 1.0)

    def asks(call: Call) -> Outcome | Lookup | None:
        return None if call.answers else lookup

    old = policy()
    waiting = RuleSet((*old.order, BoundRule("asks", asks)), old.directory, "1")
    assert waiting.evaluate(call) is lookup
    verdict = policy('[rules.forwarding]\nmode = "off"\n').resume(call, lookup, "yes")
    assert isinstance(verdict, Verdict)
    assert (verdict.action, verdict.code) == ("reject", "AUTH_FAIL")


def test_who_forwarded_is_authenticated_and_not_who_called() -> None:
    """What goes on must not say that the number it shows was found to be its customer's (verstat)."""
    forwarded = evaluated(policy(), make_call("acme-sz", CALLER, diversion=(DESK,), legs=leg(3)))
    assert (forwarded.action, forwarded.authenticated) == ("pass", None)
    emergency = evaluated(policy(), make_call("acme-sz", CALLER, "sip:110@gw1", diversion=(DESK,), legs=leg(3)))
    assert (emergency.code, emergency.labels, emergency.authenticated) == ("EMG_OVERRIDE", None, None)
    own = evaluated(policy(), make_call("acme-sz", "83123456"))
    assert (own.code, own.authenticated) == ("AUTH_OK", True)
