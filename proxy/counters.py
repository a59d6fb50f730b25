"""What a worker counts: plain integers that the hot path bumps and the metrics page reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rules.verdict import Would

DECISION_BUCKETS: Final[tuple[float, ...]] = (5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 0.1, 1.0)
"""Upper bounds of the decision time histogram in seconds; one more bucket stands for +Inf."""

SERIES_AT_MOST: Final = 10_000
"""Combinations of labels that one counter distinguishes: trunks, rules and codes are the operator's, and a rule of a third party that makes
up a code for each call fills no memory.
"""

OTHER: Final = "OTHER"
"""The code under which what is beyond that is counted."""

EVENTS: Final = {
    "received": "SIP messages received",
    "sent": "SIP messages sent",
    "parse_errors": "messages that were not valid SIP",
    "discarded": "malformed messages and responses dropped without an answer",
    "retransmissions_in": "retransmitted requests absorbed or answered again",
    "retransmissions_out": "requests and responses this worker sent again",
    "stray_responses": "responses that matched no transaction",
    "stray_acks": "ACK requests that matched no transaction and no dialog",
    "stateless_acks": "ACK requests for a stateless refusal, absorbed",
    "unknown_refused": "refusals sent to sources that match no trunk",
    "unknown_silent": "messages from sources that match no trunk, dropped in silence",
    "dialog_refused": "in-dialog requests refused: without a valid dialog token, or with a new identity that policy refuses",
    "loops": "requests refused with 482",
    "failovers": "calls moved on to the next target",
    "cancelled": "INVITE transactions cancelled by the caller",
    "timeouts": "INVITE transactions that ended by Timer B or C",
    "refusal_memory_overflow": "refused transactions forgotten before their 32 s",
    "transactions_refused": "requests answered 503 because the transaction table was full",
    "handed_over": "messages handed to the worker that owns their transaction",
    "connect_failures": "stream destinations that could not be reached",
    "internal_errors": "messages that made this program fail (each is a defect)",
    "lookups_started": "look-ups that a verdict waited for",
    "lookups_late": "look-up answers that came after their call had ended",
    "calls_lost": "calls that nobody ended in the longest time that one may last, and were taken off",
    "calls_untracked": "calls that were sent on uncounted, because the memory for counting was full",
    "hangups_untold": "ends of calls that another worker was not told of, because it did not keep up",
    "legs_forgotten": "what was remembered of calls toward trunks and had to make room before its time",
}


class Counters:
    """One worker's counters.

    `invites` counts verdicts by (trunk, action, code); `observed` rejections that observe mode did not enforce, by (trunk, rule, code), a
    call once for each rule that would have rejected it; `spared` such calls by trunk, each once; `signatures` what became of calls toward
    next hops that sign, by `proxy.signing.OUTCOMES`; `limits` calls above a limit by (trunk, code), refused or, on an observed trunk,
    noted; `decisions` are histogram buckets as in DECISION_BUCKETS plus +Inf; the integers are named in EVENTS.
    """

    __slots__ = ("decision_sum", "decisions", "invites", "limits", "observed", "signatures", "spared", *EVENTS)

    received: int
    sent: int
    parse_errors: int
    discarded: int
    retransmissions_in: int
    retransmissions_out: int
    stray_responses: int
    stray_acks: int
    stateless_acks: int
    unknown_refused: int
    unknown_silent: int
    dialog_refused: int
    loops: int
    failovers: int
    cancelled: int
    timeouts: int
    refusal_memory_overflow: int
    transactions_refused: int
    handed_over: int
    connect_failures: int
    internal_errors: int
    lookups_started: int
    lookups_late: int
    calls_lost: int
    calls_untracked: int
    hangups_untold: int
    legs_forgotten: int

    def __init__(self) -> None:
        self.invites: dict[tuple[str, str, str], int] = {}
        self.observed: dict[tuple[str, str, str], int] = {}
        self.spared: dict[str, int] = {}
        self.signatures: dict[str, int] = {}
        self.limits: dict[tuple[str, str], int] = {}
        self.decisions = [0] * (len(DECISION_BUCKETS) + 1)
        self.decision_sum = 0.0
        for name in EVENTS:
            setattr(self, name, 0)

    def decided(self, trunk: str, action: str, code: str, seconds: float) -> None:
        """Count one verdict and the seconds it took."""
        key = (trunk, action, code)
        seen = self.invites.get(key)
        if seen is None:
            _count(self.invites, key)
        else:
            self.invites[key] = seen + 1
        bucket = 0
        for bound in DECISION_BUCKETS:  # nearly always one of the first
            if seconds <= bound:
                break
            bucket += 1
        self.decisions[bucket] += 1
        self.decision_sum += seconds

    def noted(self, trunk: str, rejections: Iterable[Would]) -> None:
        """Count the rejections of one call that observe mode did not enforce."""
        self.spared[trunk] = self.spared.get(trunk, 0) + 1
        for would in rejections:
            _count(self.observed, (trunk, would.rule, would.code))

    def limited(self, trunk: str, code: str) -> None:
        """Count a call above a limit."""
        key = (trunk, code)
        self.limits[key] = self.limits.get(key, 0) + 1

    def signed(self, outcome: str) -> None:
        """Count a call that left by a next hop which signs."""
        self.signatures[outcome] = self.signatures.get(outcome, 0) + 1

    def snapshot(self) -> dict[str, Any]:
        """Everything counted so far, as data that can be encoded and summed across workers."""
        events = {name: getattr(self, name) for name in EVENTS}
        return {
            "events": events,
            "invites": tuple(self.invites.items()),  # made in one go: with thousands of trunks, calls would wait for a loop
            "observed": tuple(self.observed.items()),
            "spared": dict(self.spared),
            "decisions": list(self.decisions),
            "decision_sum": self.decision_sum,
        }


def _count(series: dict[tuple[str, str, str], int], key: tuple[str, str, str]) -> None:
    if key not in series and len(series) >= SERIES_AT_MOST:
        key = (*key[:2], OTHER)
    series[key] = series.get(key, 0) + 1
