"""The journal's numbers in Prometheus's words."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from proxy.journal.state import JournalState


def journal_metrics(state: JournalState) -> Iterator[Metric]:
    """All families of a node that keeps a journal."""
    counts = state.counts
    for name, text, gauge in (
        ("up", "1: events reach the disk", int(state.up)),
        ("refusing", '1: calls are refused for want of room in the buffer (on_full = "refuse")', int(state.refusing)),
        ("waiting_bytes", "Events in memory that the disk does not have yet", state.waiting),
        ("buffer_fill_ratio", "How full the fullest worker's buffer is; at 1 events are lost", state.fill),
        ("flush_age_seconds", "Time since the disk had everything", state.flush_age),
        ("segment_bytes", "Size of the open segment", counts["segment_octets"]),
        ("chain_lines", "Lines of the signed chain", counts["chain"]),
        ("stuck_files", "Files that cannot be removed, renamed or opened as they should be: the log names one", counts["stuck"]),
        ("clock_doubted", "1: the clock is far ahead of the newest record, and nothing is purged", counts["clock_doubted"]),
        ("trail_unsigned", "1: the trail of tracebacks cannot be signed", counts["unsigned"]),
    ):
        yield GaugeMetricFamily(f"sipwarden_journal_{name}", text, value=gauge)
    for name, text, counter in (
        ("events", "Events of calls that were given to the journal", state.told),
        ("lost", "Events that found no room in the buffer and are lost", state.lost),
        ("written", "Events in segments", counts["events"]),
        ("bytes", "Octets written to segments", counts["octets"]),
        ("sealed", "Segments sealed", counts["sealed"]),
        ("cut", "Torn tails cut off at a start", counts["cut"]),
        ("purged", "Files removed after their time", counts["purged"]),
        ("failures", "Times that the folder had to be opened anew, since the disk did not do what it should", counts["failures"]),
        ("flush_failures", "Flushes that the disk refused: what was written since the flush before may be lost", counts["flush_failures"]),
        ("compact_failures", "Compactions that failed", counts["compact_failures"]),
        ("syslog_failures", "Heads that the system log did not take", counts["syslog_failures"]),
        ("damaged_bytes", "Octets of events that were damaged in memory", counts["damaged"]),
        ("keeper_restarts", "Times that the keeper was started again", state.restarts),
    ):
        yield CounterMetricFamily(f"sipwarden_journal_{name}", text, value=counter)
