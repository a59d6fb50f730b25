"""Rule 11: cases/policy/purpose.toml."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.rules.cases import cases, check_case, make_call, policy


@cases("purpose")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)


@pytest.mark.parametrize(
    ("trunk", "sender", "pai", "at", "detail"),
    [
        (
            "acme-limits",
            "83145000",
            (),
            "2026-10-01T10:00:00+08:00",
            "+8675583145000 at Thu 2026-10-01 10:00 (counts as Sun), its hours are Mon-Fri 09:00-18:00 (segments.csv:24)",
        ),
        (
            "acme-limits",
            "83145000",
            (),
            "2026-03-02T10:00:00+08:00",
            "+8675583145000 for general, both, hours Mon-Fri 09:00-18:00 at Mon 2026-03-02 10:00 (segments.csv:24)",
        ),
        ("acme-limits", "83145100", (), "2026-03-02T10:00:00+08:00", "+8675583145100 is for incoming calls only (segments.csv:25)"),
        (
            "acme-limits",
            "83145400",
            ("83145210",),
            "2026-03-02T10:00:00+08:00",
            "+8675583145210 is for general (segments.csv:26); +8675583145400 is for marketing (segments.csv:30)",
        ),
    ],
)
def test_explain_names_the_value_that_decided(trunk: str, sender: str, pai: tuple[str, ...], at: str, detail: str) -> None:
    steps = policy().explain(make_call(trunk, sender, pai=pai, at=datetime.fromisoformat(at).timestamp())).steps
    assert steps is not None
    assert {step.rule: step.detail for step in steps}["purpose"] == detail
