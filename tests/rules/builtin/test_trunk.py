"""Rule 2: cases/policy/trunk.toml."""

from __future__ import annotations

from typing import Any

from tests.rules.cases import cases, check_case


@cases("trunk")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)
