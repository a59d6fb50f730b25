"""Call flows through the core, as transcripts: one file a case in tests/cases/flows, and in tests/cases/calls what is told of calls. After
each, nothing of it is left, and what was told of its calls holds together.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from proxy.events import Answer, Attempt, End, Event, Ringing
from tests.proxy.transcript import play, told

CASES = Path(__file__).parent.parent / "cases"
FLOWS = sorted([*(CASES / "flows").glob("*.flow"), *(CASES / "calls").glob("*.flow")])


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.stem)
def test_flow(flow: Path, tmp_path: Path) -> None:
    wire = play(flow.read_text(), tmp_path)
    wire.wait(1000)  # longer than a call may last
    wire.out.clear()
    left = wire.tables()
    if any(hop.options_interval for hop, _ in wire.proxy.routing.all_targets()):  # its pings never end
        left = {name: left[name] for name in ("servers", "parked", "refused")}
    assert not any(left.values()), left
    assert wire.calls() == {}
    assert_told_whole(wire.events)


def assert_told_whole(events: list[Event]) -> None:
    """Each call rings once, is answered once, and ends once; again only where it was answered after it had ended."""
    calls: dict[tuple[bytes, bytes, str], list[Event]] = {}
    for event in events:
        calls.setdefault((event.call_id, event.from_tag, event.trunk), []).append(event)
    for several in calls.values():
        said = [told(event) for event in several]
        kinds = Counter(type(event) for event in several)
        attempts = [event for event in several if isinstance(event, Attempt)]
        answers = [place for place, event in enumerate(several) if isinstance(event, Answer)]
        ends = [place for place, event in enumerate(several) if isinstance(event, End)]
        assert kinds[Ringing] <= len(attempts), said
        assert len(answers) <= max(1, len(attempts)), said
        late = sum(any(end < answer for end in ends) for answer in answers)
        assert len(ends) <= max(1, len([attempt for attempt in attempts if not attempt.status])) + late, said
