"""The node's numbers in Prometheus's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from proxy.admin.node import RunningNode
from proxy.build import CORE, KERNEL
from proxy.control import Snapshot
from proxy.counters import DECISION_BUCKETS, EVENTS
from proxy.totals import Totals
from proxy.transport.counters import TRANSPORT_EVENTS

OWN_NAMES: Final = frozenset(("received", "sent", "parse_errors", "retransmissions_in", "retransmissions_out"))
"""Events that have a metric of their own; all others are `sipwarden_events_total{event}`."""

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


async def exposition(node: RunningNode) -> bytes:
    """One scrape."""
    totals, latest = await node.snapshots()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(node, totals, latest))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return generate_latest(registry)


class NodeCollector(Collector):
    """Metric families of one moment."""

    def __init__(self, node: RunningNode, totals: Totals, latest: list[Snapshot]) -> None:
        self._node = node
        self._totals = totals
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        """All families; a family without samples yet is there all the same, so that a dashboard knows it."""
        totals, latest, node = self._totals, self._latest, self._node
        events = totals.events
        yield _counter(
            "sipwarden_invites",
            "Initial INVITEs judged, by ingress trunk, action and reason code",
            ("trunk", "action", "code"),
            totals.invites.items(),
        )
        yield _counter(
            "sipwarden_observed_rejections",
            "Rejections that observe mode did not enforce; a call counts once for each rule that would have rejected it",
            ("trunk", "rule", "code"),
            totals.observed.items(),
        )
        yield _counter(
            "sipwarden_observed_calls",
            "Initial INVITEs with any such rejection, each counted once: what enforcing would refuse",
            ("trunk",),
            [((trunk,), count) for trunk, count in totals.spared.items()],
        )
        yield _decisions(totals)
        twice = events["handed_over"] - events["handover_dropped"]  # received by two workers
        directions = ((("in",), events["received"] - twice), (("out",), events["sent"]))
        yield _counter("sipwarden_messages", "SIP messages", ("direction",), directions)
        yield CounterMetricFamily("sipwarden_parse_errors", "Messages that were not valid SIP", value=events["parse_errors"])
        again = ((("in",), events["retransmissions_in"]), (("out",), events["retransmissions_out"]))
        yield _counter("sipwarden_retransmissions", "Messages that came or were sent again", ("direction",), again)
        others = [((name,), events[name]) for name in (*EVENTS, *TRANSPORT_EVENTS) if name not in OWN_NAMES]
        yield _counter("sipwarden_events", "What else was counted", ("event",), [*others, (("udp_receive_dropped",), node.socket_drops())])
        yield _counter(
            "sipwarden_rule_failures",
            "Calls on which a rule failed; its on_error decided",
            ("rule",),
            [((rule,), count) for rule, count in totals.rule_failures.items()],
        )
        yield _counter(
            "sipwarden_lookups",
            "Look-ups: answered, cached, joined (an equal one was open), failed, timeout, refused (too many open), paused (breaker open)",
            ("kind", "outcome"),
            totals.lookups.items(),
        )
        yield _counter(
            "sipwarden_signatures",
            "Calls that left by a next hop with sign = true: signed as A, B, C or div, or why not",
            ("outcome",),
            [((outcome,), count) for outcome, count in totals.signatures.items()],
        )
        yield _counter(
            "sipwarden_limited_calls",
            "Calls above a limit (max_calls, max_cps): refused, or noted on a trunk that is observed",
            ("trunk", "code"),
            totals.limits.items(),
        )
        calls: Counter[str] = Counter()
        for one in latest:
            calls.update(one.calls)
        yield _gauge("sipwarden_calls", "Calls that are being set up or answered, and not over", ("trunk",), _single(calls))
        states = [state for one in latest for state in one.lookup_states]
        for name, text, values in (
            ("breaker_open", "Workers that leave the service in peace because it failed too often", [state.paused for state in states]),
            ("open", "Look-ups that are being asked", [state.open for state in states]),
            ("kept", "Answers in the caches of all workers", [state.kept for state in states]),
        ):
            sums: Counter[str] = Counter()
            for state, value in zip(states, values, strict=True):
                sums[state.kind] += value
            yield _gauge(f"sipwarden_lookup_{name}", text, ("kind",), (((kind,), count) for kind, count in sums.items()))
        sides = (
            (("server",), sum(one.transactions_server for one in latest)),
            (("client",), sum(one.transactions_client for one in latest)),
        )
        yield _gauge("sipwarden_transactions", "Open transactions", ("side",), sides)
        yield GaugeMetricFamily("sipwarden_parked_calls", "Calls that wait for a look-up", value=sum(one.parked for one in latest))
        yield GaugeMetricFamily("sipwarden_connections", "Open stream connections", value=sum(one.connections for one in latest))
        yield _gauge("sipwarden_next_hop_up", "1: calls are sent to this target", ("next_hop", "target"), _hops(latest))
        yield _gauge("sipwarden_build_info", "What is compiled: compiled or pure", ("kernel", "core"), [((KERNEL, CORE), 1)])
        searched = [((place,), octets) for place, octets in node.steering.items()]
        text = "Octets of a datagram that are searched for its Call-ID, by which a worker gets it; 0: by the peer's address and port"
        yield _gauge("sipwarden_steering", text, ("listener",), searched)
        policies = {(one.policy_version,): 1 for one in latest}
        yield _gauge("sipwarden_policy_info", "Policy in force", ("version",), policies.items())
        lists = {(one.directory_version,): 1 for one in latest}
        yield _gauge("sipwarden_directory_info", "Segments and lists in force", ("version",), lists.items())
        yield CounterMetricFamily("sipwarden_reloads", "Reloads that were put in force", value=node.reloads)
        yield CounterMetricFamily("sipwarden_reload_failures", "Reloads that changed nothing for a fault", value=node.reload_failures)
        yield GaugeMetricFamily("sipwarden_workers_up", "Workers that take calls", value=node.workers_up)
        yield CounterMetricFamily("sipwarden_worker_restarts", "Workers started again", value=node.restarts)
        yield CounterMetricFamily("sipwarden_workers_cpu_seconds", "CPU time of all workers", value=totals.cpu_seconds)
        yield GaugeMetricFamily(
            "sipwarden_workers_resident_bytes",
            "Memory of all workers; mapped lists count in each",
            value=sum(one.resident_bytes for one in latest),
        )


def _decisions(totals: Totals) -> Metric:
    bounds = [*(str(bound) for bound in DECISION_BUCKETS), "+Inf"]
    buckets = list(zip(bounds, accumulate(totals.decisions), strict=True))
    return HistogramMetricFamily("sipwarden_decision_seconds", "Time to judge an INVITE", buckets=buckets, sum_value=totals.decision_sum)


def _hops(latest: Iterable[Snapshot]) -> Iterator[tuple[tuple[str, str], int]]:
    """A target counts as up where every worker finds it up."""
    up: dict[tuple[str, str], bool] = {}
    for one in latest:
        for key, found in one.next_hops:
            up[key] = up.get(key, True) and found
    for key, state in up.items():
        yield key, int(state)


def _single(values: Counter[str]) -> Iterator[tuple[tuple[str], int]]:
    for name, count in values.items():
        yield (name,), count


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], int]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in samples:
        family.add_metric(values, count)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], int]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
