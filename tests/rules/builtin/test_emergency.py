"""Rule 1: cases/policy/emergency.toml, and the rate above which only authenticated callers pass this way."""

from __future__ import annotations

from typing import Any

import pytest

from rules import RuleSet
from rules.builtin.emergency import leads_nowhere_else
from tests.rules.cases import AT, cases, check_case, evaluated, make_call, policy

UNAUTHORISED = "+8613712345678"


@cases("emergency")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)


@pytest.fixture
def ruleset() -> RuleSet:
    """One whose allowances nobody has touched."""
    return policy()


def passes(ruleset: RuleSet, at: float, trunk: str = "acme-sz", sender: str = UNAUTHORISED) -> bool:
    return evaluated(ruleset, make_call(trunk, sender, "sip:110@gw1.example", at=at)).code == "EMG_OVERRIDE"


def test_ten_a_second_by_default(ruleset: RuleSet) -> None:
    assert [passes(ruleset, AT) for _ in range(12)] == [True] * 10 + [False] * 2


def test_the_allowance_refills_with_time(ruleset: RuleSet) -> None:
    for _ in range(10):
        passes(ruleset, AT)
    assert not passes(ruleset, AT + 0.05)
    assert passes(ruleset, AT + 0.15)
    assert not passes(ruleset, AT + 0.15)
    assert [passes(ruleset, AT + 100) for _ in range(12)] == [True] * 10 + [False] * 2


def test_each_trunk_has_its_own(ruleset: RuleSet) -> None:
    for _ in range(10):
        passes(ruleset, AT)
    assert not passes(ruleset, AT)
    assert passes(ruleset, AT, trunk="globex")


def test_authenticated_callers_pass_above_it(ruleset: RuleSet) -> None:
    for _ in range(10):
        passes(ruleset, AT)
    assert passes(ruleset, AT, sender="83123456")


def test_interconnects_authenticate_nobody_and_their_surplus_is_judged(ruleset: RuleSet) -> None:
    for _ in range(10):
        passes(ruleset, AT, trunk="peer")
    verdict = evaluated(ruleset, make_call("peer", "4008123123", "sip:110@gw1.example", at=AT))
    assert (verdict.action, verdict.code) == ("reject", "CLI_400")


def test_a_clock_that_jitters_refills_no_moment_twice(ruleset: RuleSet) -> None:
    for _ in range(10):
        passes(ruleset, AT)
    assert sum(passes(ruleset, AT + 0.35 * (n % 2)) for n in range(100)) == 3


def test_a_clock_set_back_neither_blocks_nor_floods(ruleset: RuleSet) -> None:
    for _ in range(10):
        passes(ruleset, AT)
    assert not passes(ruleset, AT - 86_400)
    assert [passes(ruleset, AT - 86_399) for _ in range(12)] == [True] * 10 + [False] * 2


def test_explain_takes_nothing_from_the_allowance(ruleset: RuleSet) -> None:
    for _ in range(50):
        assert ruleset.explain(make_call("acme-sz", UNAUTHORISED, "sip:110@gw1.example")).code == "EMG_OVERRIDE"
    assert passes(ruleset, AT)


@pytest.mark.parametrize(
    ("uri", "exact"),
    [
        ("110", True),
        ("sip:110@gw1;user=phone", True),
        ("tel:110;phone-context=ims.example", True),
        ("tel:110;PHONE-CONTEXT=+86755", True),
        ("sip:110;phone-context=+86@gw1", True),
        ("tel:110;phone-context=+8", False),
        ("sip:110;npdi@gw1", True),
        ("sip:110;npdi;rn=+8613802881946@gw1", False),
        ("sip:110;cic=+861234@gw1", False),
        ("sip:110%3Brn=+8613802881946@gw1", False),
        ("sip:110%3brn@gw1", False),
    ],
)
def test_parameters_that_could_lead_elsewhere(uri: str, exact: bool) -> None:
    assert leads_nowhere_else(uri) is exact
