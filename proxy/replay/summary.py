"""What a whole replay amounts to: counts, the decisions that a candidate changes, who is refused most. Bounded, whatever the trace."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from proxy.replay.row import Row
from proxy.replay.trouble import Trouble
from rules.verdict import Verdict

EXAMPLES: Final = 5
"""Calls that are named of each change."""
CALLERS_AT_MOST: Final = 50_000
"""Refused callers that are told apart; of those beyond only the number of calls is kept."""

Decided = tuple[str, str, str, int | None]
"""Action, code, rule and status."""


class Change:
    """Calls that two policies decide differently in the same way: `count` of them, the first of them by name."""

    __slots__ = ("after", "before", "count", "examples")

    def __init__(self, before: Decided, after: Decided) -> None:
        self.before = before
        self.after = after
        self.count = 0
        self.examples: list[Row] = []


class Summary:
    """Adds up rows as they come. `invites` are all INVITE requests, `ours` those that this node sent itself, `elsewhere` those that did
    not come from a mapped source or a trunk, `again` retransmissions, `inside` INVITEs inside a call; none of these is judged.
    """

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self.invites = 0
        self.again = 0
        self.inside = 0
        self.ours = 0
        self.elsewhere = 0
        self.calls = 0
        self.unanswered = 0
        self.untimed = 0
        self.changed = 0
        self.actions: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.trunks: Counter[str] = Counter()
        self.first: float | None = None
        self.last: float | None = None
        self.callers: Counter[tuple[str, str]] = Counter()
        self.other_callers = 0
        self._changes: dict[tuple[Decided, Decided], Change] = {}

    def add(self, row: Row) -> None:
        """Count a call."""
        verdict = row.verdict
        self.calls += 1
        self.actions[verdict.action] += 1
        self.codes[verdict.code] += 1
        self.trunks[verdict.trunk] += 1
        if row.judged.unanswered:
            self.unanswered += 1
        if row.at is None:
            self.untimed += 1
        else:
            if self.first is None or row.at < self.first:
                self.first = row.at
            if self.last is None or row.at > self.last:
                self.last = row.at
        if verdict.action != "pass":
            who = (verdict.trunk, row.judged.caller[:80])
            if who in self.callers or len(self.callers) < CALLERS_AT_MOST:
                self.callers[who] += 1
            else:
                self.other_callers += 1
        if row.candidate is not None and row.changed:
            self.changed += 1
            key = (decided(verdict), decided(row.candidate.verdict))
            change = self._changes.get(key)
            if change is None:
                change = self._changes[key] = Change(*key)
            change.count += 1
            if change.count <= EXAMPLES:
                change.examples.append(row)

    @property
    def changes(self) -> list[Change]:
        """What a candidate changes, by what was and what would be, most calls first."""
        return sorted(self._changes.values(), key=lambda change: -change.count)

    def json(self) -> dict[str, Any]:
        """The summary of product.md."""
        return {
            "packets": self.trouble.packets,
            "messages": self.trouble.messages,
            "invites": self.invites,
            "calls": self.calls,
            "actions": dict(self.actions.most_common()),
            "codes": dict(self.codes.most_common()),
            "changed": self.changed,
            "unparsable": self.trouble.unparsable,
        }


def decided(verdict: Verdict) -> Decided:
    """What was decided, and by which rule."""
    return verdict.action, verdict.code, verdict.rule, verdict.status
