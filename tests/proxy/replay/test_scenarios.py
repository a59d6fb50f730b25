"""Every small capture: its INVITE requests are found, and what is wrong with it is counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proxy.replay.scenarios import SCENARIOS
from tests.proxy.replay.traces import found, methods


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    path = tmp_path / "trace"
    messages, trouble = found(scenario.data, path)
    assert methods(messages).count("INVITE") == scenario.invites, trouble.examples
    assert tuple(sorted(trouble.counts)) == scenario.trouble
    assert trouble.messages == len(messages)
    for message in messages:
        assert message.place.startswith(f"{path}:")
        assert message.source in ("192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2")
