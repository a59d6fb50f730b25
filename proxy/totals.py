"""Counters of several processes, and of those that have ended, added up: they never go down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from proxy.control import Snapshot
from proxy.counters import DECISION_BUCKETS


class Totals:
    """The sum of any number of snapshots' counters."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.invites: Counter[tuple[str, str, str]] = Counter()
        self.observed: Counter[tuple[str, str, str]] = Counter()
        self.spared: Counter[str] = Counter()
        self.decisions = [0] * (len(DECISION_BUCKETS) + 1)
        self.decision_sum = 0.0
        self.rule_failures: Counter[str] = Counter()
        self.lookups: Counter[tuple[str, str]] = Counter()
        self.signatures: Counter[str] = Counter()
        self.limits: Counter[tuple[str, str]] = Counter()
        self.cpu_seconds = 0.0

    def add(self, snapshot: Snapshot) -> None:
        """Add what one worker has counted."""
        self.events.update(snapshot.events)
        for mine, its in ((self.invites, snapshot.invites), (self.observed, snapshot.observed)):
            for key, count in its:
                mine[key] = mine.get(key, 0) + count
        self.spared.update(snapshot.spared)
        self.decisions = [one + other for one, other in zip(self.decisions, snapshot.decisions, strict=True)]
        self.decision_sum += snapshot.decision_sum
        self.rule_failures.update(snapshot.rule_failures)
        for kind, outcome, count in snapshot.lookups:
            self.lookups[kind, outcome] += count
        self.signatures.update(snapshot.signatures)
        for trunk, code, count in snapshot.limits:
            self.limits[trunk, code] += count
        self.cpu_seconds += snapshot.cpu_seconds

    def plus(self, snapshots: Iterable[Snapshot]) -> Totals:
        """A new sum with these snapshots added."""
        total = Totals()
        total.events.update(self.events)
        total.invites.update(self.invites)
        total.observed.update(self.observed)
        total.spared.update(self.spared)
        total.decisions = list(self.decisions)
        total.decision_sum = self.decision_sum
        total.rule_failures.update(self.rule_failures)
        total.lookups.update(self.lookups)
        total.signatures.update(self.signatures)
        total.limits.update(self.limits)
        total.cpu_seconds = self.cpu_seconds
        for snapshot in snapshots:
            total.add(snapshot)
        return total
