"""Processes killed under load: no call that SIPp saw through is missing in the journal, or there twice. `make crash` does it for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.crash import run

pytestmark = pytest.mark.interop("sipp")


def test_five_kills_under_200_calls_a_second(tmp_path: Path) -> None:
    outcome = run(tmp_path, kills=5, rate=200, seed=5, pause=0.5)
    print(outcome)
    outcome.clean()
