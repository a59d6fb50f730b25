"""Rule 10: cases/policy/segments.toml, customers.toml, places.toml."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.rules.cases import cases, check_case, evaluated, make_call, policy


@cases("segments")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)


@cases("customers")
def test_customers_of_a_trunk_and_trunks_of_a_customer(case: dict[str, Any]) -> None:
    check_case(case)


@cases("places")
def test_codes_that_are_another_code_elsewhere(case: dict[str, Any]) -> None:
    check_case(case)


@pytest.mark.parametrize(
    ("sender", "detail"),
    [
        ("83123456", "+8675583123456 in segment +8675583120000-+8675583129999 of acme-sz (segments.csv:2)"),
        ("13802881946", "+8613802881946 in segment +8613802881946 of acme-sz (segments.csv:3)"),
        ("83199999", "+8675583199999 in no segment of acme-sz"),
        ("83130001", "+8675583130001 in no segment of acme-sz: it is in one of acme-ignore (segments.csv:9)"),
    ],
)
def test_explain_names_the_value_that_decided(sender: str, detail: str) -> None:
    steps = policy().explain(make_call("acme-sz", sender)).steps
    assert steps is not None
    assert {step.rule: step.detail for step in steps}["segments"] == detail


@pytest.mark.parametrize(
    ("at", "detail"),
    [
        ("2025-12-31T23:59:00+08:00", "its segment +8675583140000-+8675583140999 (segments.csv:6) counts from Thu 2026-01-01 00:00"),
        ("2026-07-01T00:00:00+08:00", "its segment +8675583140000-+8675583140999 (segments.csv:6) ended Wed 2026-07-01 00:00"),
    ],
)
def test_explain_names_the_segment_that_nearly_held(at: str, detail: str) -> None:
    steps = policy().explain(make_call("acme-sz", "83140001", at=datetime.fromisoformat(at).timestamp())).steps
    assert steps is not None
    assert steps[-1].detail == f"+8675583140001 in no segment of acme-sz: {detail}"


def test_a_call_without_any_number_is_authenticated_by_nobody() -> None:
    ruleset = policy('order = ["emergency", "trunk", "segments"]')
    verdict = evaluated(ruleset, make_call("acme-sz", "sip:pbx.example"))
    assert (verdict.action, verdict.code) == ("reject", "AUTH_FAIL")


@pytest.mark.parametrize(
    ("trunk", "customer", "sender", "detail"),
    [
        ("sbc", "umbrella", "83171001", "+8675583171001 in no segment of umbrella on sbc: it is in one of initech on sbc (segments.csv:"),
        ("sbc", "umbrella", "83177001", "+8675583177001 in no segment of umbrella on sbc: it is in one of every trunk of initech ("),
        ("hotline-bj", None, "96778", "+8696778 of area 10 in no segment of hotline-bj: its segment +8696778 ("),
        ("hotline-sz", None, "01096777", "+8696777 of area 10 in no segment of hotline-sz: its segment +8696777 ("),
    ],
)
def test_explain_names_the_segment_that_is_nearly_it(trunk: str, customer: str | None, sender: str, detail: str) -> None:
    ruleset = policy('order = ["emergency", "trunk", "segments"]')
    steps = ruleset.explain(make_call(trunk, sender, customer=customer)).steps
    assert steps is not None
    said = steps[-1].detail
    assert detail in said
    if "area" in detail:
        assert said.endswith(("is for the areas 广东", "is for the home area"))
