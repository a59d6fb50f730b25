"""Rule 5: cases/policy/identity.toml."""

from __future__ import annotations

from typing import Any

from tests.rules.cases import cases, check_case


@cases("identity")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)
