"""Rule 8: cases/policy/own_number.toml."""

from __future__ import annotations

from typing import Any

from tests.rules.cases import cases, check_case


@cases("own_number")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)
