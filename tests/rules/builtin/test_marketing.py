"""Rule 12: cases/policy/marketing.toml."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.rules.cases import cases, check_case, evaluated, make_call, policy


@cases("marketing")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)


@pytest.mark.parametrize(
    ("trunk", "sender", "to", "at", "detail"),
    [
        (
            "acme-mkt",
            "83146000",
            "13910000011",
            "2026-03-02T10:00:00+08:00",
            "+8675583146000 is for finance marketing of acme (segments.csv:32); +8613910000011 refuses any marketing, evidence R11",
        ),
        (
            "globex-mkt",
            "65002000",
            "13910000013",
            "2026-03-02T10:00:00+08:00",
            "for finance marketing of globex (segments.csv:37); +8613910000013 refuses any marketing of globex, evidence none",
        ),
        (
            "acme-mkt",
            "83146200",
            "13910000001",
            "2026-03-02T10:00:00+08:00",
            "no consent of +8613910000001 counts: it consents to finance marketing of acme, evidence C1",
        ),
        (
            "acme-mkt",
            "83146000",
            "13910000004",
            "2026-03-02T10:00:00+08:00",
            "no consent of +8613910000004 counts: it consents to finance marketing of acme, evidence C4, ended Mon 2026-03-02 00:00",
        ),
        (
            "acme-mkt",
            "83146000",
            "13910000099",
            "2026-03-02T10:00:00+08:00",
            "+8675583146000 is for finance marketing of acme (segments.csv:32); no consent of +8613910000099 counts",
        ),
        (
            "acme-mkt",
            "83146000",
            "13910000001",
            "2026-03-02T20:00:00+08:00",
            "+8613910000001 consents to finance marketing of acme, evidence C1; Mon 2026-03-02 20:00, hours 09:00-20:00",
        ),
    ],
)
def test_explain_names_the_value_that_decided(trunk: str, sender: str, to: str, at: str, detail: str) -> None:
    steps = policy().explain(make_call(trunk, sender, to=to, at=datetime.fromisoformat(at).timestamp())).steps
    assert steps is not None
    assert {step.rule: step.detail for step in steps}["marketing"].endswith(detail)


def test_each_category_has_its_hours() -> None:
    text = '[rules.marketing]\nhours = ""\ncategory_hours = { Finance = "Mon-Fri 10:00-11:00" }\n'
    found = [
        evaluated(policy(text), make_call("acme-mkt", sender, to, at=datetime.fromisoformat(f"2026-03-02T{at}+08:00").timestamp())).code
        for sender, to, at in [
            ("83146000", "13910000001", "10:59:59"),
            ("83146000", "13910000001", "11:00"),
            ("83146100", "13910000002", "03:00"),
        ]
    ]
    assert found == ["AUTH_OK", "MKT_HOURS", "AUTH_OK"]


def test_the_evidence_is_kept_where_a_refusal_is_only_observed() -> None:
    verdict = evaluated(policy('[rules.marketing]\nmode = "observe"\n'), make_call("acme-mkt", "83146000", "13910000011"))
    assert verdict.would is not None
    assert (verdict.action, verdict.would.code, verdict.labels) == ("pass", "MKT_REFUSED", {"refusal": "R11"})
