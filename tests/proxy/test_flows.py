"""Call flows through the core, as transcripts: one file a case in tests/cases/flows. After each, nothing of it is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proxy.transcript import play

FLOWS = sorted((Path(__file__).parent.parent / "cases" / "flows").glob("*.flow"))


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.stem)
def test_flow(flow: Path, tmp_path: Path) -> None:
    wire = play(flow.read_text(), tmp_path)
    wire.wait(400)
    wire.out.clear()
    left = wire.tables()
    if any(hop.options_interval for hop, _ in wire.proxy.routing.all_targets()):  # its pings never end
        left = {name: left[name] for name in ("servers", "parked", "refused")}
    assert not any(left.values()), left
