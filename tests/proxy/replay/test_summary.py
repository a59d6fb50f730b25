from __future__ import annotations

from pathlib import Path

import pytest

from proxy.decision import Judge
from proxy.replay import summary as module
from proxy.replay.arrivals import Arrivals
from proxy.replay.candidate import load_candidate
from proxy.replay.judging import Replay
from proxy.replay.policy import Policy
from proxy.replay.summary import EXAMPLES, Summary
from proxy.replay.trouble import Trouble
from tests.proxy.replay.traffic import DAY, trace

FOLDER = Path(__file__).parents[2] / "cases" / "judged"


def summed(text: str) -> Summary:
    judge = Judge.load(FOLDER / "sipwarden.toml")
    other = load_candidate(FOLDER / "candidate.toml", judge)
    summary = Summary(Trouble())
    policies = (Policy(judge, Arrivals(judge.routing)), Policy(other, Arrivals(other.routing)))
    for _ in Replay(*policies, summary, DAY).run(trace(text)):
        pass
    return summary


def test_changes_are_grouped_and_the_first_of_each_named() -> None:
    refused = "\n".join(f"{at} 127.0.0.2 > 127.0.0.1 INVITE id=a{at} from=+8675583999999" for at in range(8))
    summary = summed(f"{refused}\n20 127.0.0.4 > 127.0.0.1 INVITE id=b from=4008001234")
    most, other = summary.changes
    assert (most.before, most.after) == (("reject", "AUTH_FAIL", "segments", 403), ("pass", "OK", "", None))
    assert most.count == 8
    assert [row.call_id for row in most.examples] == [f"a{at}" for at in range(EXAMPLES)]
    assert (other.before[1], other.count) == ("CLI_400", 1)
    assert summary.changed == 9
    assert (summary.first, summary.last) == (DAY, DAY + 20)


def test_callers_are_counted_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALLERS_AT_MOST", 3)
    calls = "\n".join(f"{at} 127.0.0.2 > 127.0.0.1 INVITE id={at} from=+867558399{at % 5}000" for at in range(20))
    summary = summed(calls)
    assert len(summary.callers) == 3
    assert sum(summary.callers.values()) + summary.other_callers == 20
    assert summary.callers["acme-sz", "+8675583990000"] == 4
