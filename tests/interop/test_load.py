"""Many calls at once: none lost, nothing sent twice, on one worker and across two."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.load import figures, run
from tests.interop.node import running

pytestmark = pytest.mark.interop("sipp")


@pytest.mark.parametrize("transport", ["u1", "un"], ids=["from one port", "from many ports"])
def test_calls_without_hold_time_through_two_workers(tmp_path: Path, transport: str) -> None:
    """From one peer or many: all messages of a call reach one worker by their Call-ID, and both workers take their share."""
    with running(tmp_path, workers=2) as node:
        outcome = run(node, tmp_path, rate=100, seconds=5, transport=transport)
        print(figures(outcome))
        outcome.clean()
        assert outcome.handed_over == 0
        assert all(share > 0.3 for share in outcome.shares), outcome.shares
        node.healthy()


def test_calls_through_two_workers_that_are_not_steered(tmp_path: Path) -> None:
    """The switch's responses all reach one worker, the callers' requests both: what lands wrong is handed over and in order."""
    with running(tmp_path, workers=2, node="steering = false") as node:
        outcome = run(node, tmp_path, rate=100, seconds=3, transport="un")
        outcome.clean()
        assert outcome.handed_over > 0
        node.healthy()


def test_300_calls_a_second(tmp_path: Path) -> None:
    """Ten seconds of what `python -m tests.interop.soak` does for a minute."""
    with running(tmp_path, workers=2) as node:
        outcome = run(node, tmp_path, rate=300, seconds=10)
        print(figures(outcome))
        outcome.clean()
        node.healthy()
