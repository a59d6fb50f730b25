from __future__ import annotations

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.journal import journal_metrics
from proxy.admin.metrics import exposition
from proxy.build import CORE, KERNEL
from proxy.control import LookupState, Snapshot
from proxy.counters import DECISION_BUCKETS, EVENTS, OTHER, SERIES_AT_MOST, Counters
from proxy.journal.board import NAMES
from proxy.journal.state import JournalState
from proxy.totals import Totals
from proxy.transport.counters import TRANSPORT_EVENTS, TransportCounters
from rules import Would

STATE = JournalState(
    up=False,
    refusing=False,
    told=1000,
    lost=7,
    waiting=4096,
    fill=0.25,
    flush_age=12.5,
    restarts=2,
    counts=dict.fromkeys(NAMES, 0) | {"events": 990, "octets": 450_000, "sealed": 3, "flush_failures": 1},
)


def snapshot(counters: Counters, up: bool = True) -> Snapshot:
    counted = counters.snapshot()
    return Snapshot(
        events=counted["events"] | TransportCounters().snapshot(),
        invites=counted["invites"],
        observed=counted["observed"],
        spared=counted["spared"],
        decisions=tuple(counted["decisions"]),
        decision_sum=counted["decision_sum"],
        rule_failures={"segments": 1},
        lookups=(("roaming", "cached", 3), ("roaming", "timeout", 1)),
        lookup_states=(LookupState("roaming", not up, 2, 5),),
        signatures={"A": 2, "expired": 1},
        transactions_server=2,
        transactions_client=3,
        next_hops=((("switch", "sip:127.0.0.5"), up), (("switch", "sip:127.0.0.6"), True)),
        policy_version="p1",
        directory_version="d1",
    )


class Status:
    """A node with two workers and the memory of a third."""

    reloads = 4
    reload_failures = 1
    restarts = 1
    draining = False
    ready = True
    workers_up = 2

    def __init__(self) -> None:
        self.steering = {"udp 127.0.0.1:5060": 1486, "udp [::1]:5060": 0}
        self.past = Totals()
        gone, one, two = Counters(), Counters(), Counters()
        gone.received = 100
        one.received, two.received = 10, 20
        one.handed_over = 5
        one.sent = 7
        one.retransmissions_out = 2
        one.decided("acme", "pass", "AUTH_OK", 3e-6)
        two.decided("acme", "pass", "AUTH_OK", 6e-6)
        first, second = Would("reject", "CLI_400", "regular", 403), Would("reject", "AUTH_FAIL", "segments", 403)
        gone.noted("acme", [first])
        one.noted("acme", [first, second])
        two.decided("acme", "reject", "AUTH_FAIL", 20.0)
        gone.decided("acme", "reject", "AUTH_FAIL", 2e-4)
        self.past.add(snapshot(gone))
        self.latest = [snapshot(one), snapshot(two, up=False)]

    async def snapshots(self) -> tuple[Totals, list[Snapshot]]:
        return self.past.plus(self.latest), self.latest

    def journal(self) -> JournalState | None:
        return STATE

    def socket_drops(self) -> int:
        return 6


async def test_sums_over_workers_and_over_those_that_ended() -> None:
    text = (await exposition(Status())).decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[(name, *sorted(labels.items()))]

    assert value("sipwarden_invites_total", trunk="acme", action="pass", code="AUTH_OK") == 2
    assert value("sipwarden_invites_total", trunk="acme", action="reject", code="AUTH_FAIL") == 2
    assert value("sipwarden_observed_rejections_total", trunk="acme", rule="regular", code="CLI_400") == 2
    assert value("sipwarden_observed_rejections_total", trunk="acme", rule="segments", code="AUTH_FAIL") == 1
    assert value("sipwarden_observed_calls_total", trunk="acme") == 2
    assert value("sipwarden_messages_total", direction="in") == 125  # what was handed over came in once
    assert value("sipwarden_messages_total", direction="out") == 7
    assert value("sipwarden_signatures_total", outcome="A") == 6
    assert value("sipwarden_signatures_total", outcome="expired") == 3
    assert value("sipwarden_retransmissions_total", direction="out") == 2
    assert value("sipwarden_decision_seconds_bucket", le="5e-06") == 1
    assert value("sipwarden_decision_seconds_bucket", le="1e-05") == 2
    assert value("sipwarden_decision_seconds_bucket", le="+Inf") == 4
    assert value("sipwarden_decision_seconds_count") == 4
    assert value("sipwarden_transactions", side="server") == 4
    assert value("sipwarden_transactions", side="client") == 6
    assert value("sipwarden_next_hop_up", next_hop="switch", target="sip:127.0.0.5") == 0
    assert value("sipwarden_next_hop_up", next_hop="switch", target="sip:127.0.0.6") == 1
    assert value("sipwarden_rule_failures_total", rule="segments") == 3
    assert value("sipwarden_lookups_total", kind="roaming", outcome="cached") == 9
    assert value("sipwarden_lookups_total", kind="roaming", outcome="timeout") == 3
    assert value("sipwarden_lookup_breaker_open", kind="roaming") == 1
    assert value("sipwarden_lookup_open", kind="roaming") == 4
    assert value("sipwarden_lookup_kept", kind="roaming") == 10
    assert value("sipwarden_build_info", kernel=KERNEL, core=CORE) == 1
    assert value("sipwarden_policy_info", version="p1") == 1
    assert value("sipwarden_directory_info", version="d1") == 1
    assert value("sipwarden_reloads_total") == 4
    assert value("sipwarden_reload_failures_total") == 1
    assert value("sipwarden_steering", listener="udp 127.0.0.1:5060") == 1486
    assert value("sipwarden_steering", listener="udp [::1]:5060") == 0
    assert value("sipwarden_workers_up") == 2
    assert value("sipwarden_worker_restarts_total") == 1
    assert value("sipwarden_events_total", event="udp_receive_dropped") == 6


def test_a_rule_that_makes_up_codes_fills_no_memory() -> None:
    counters = Counters()
    for number in range(SERIES_AT_MOST + 50):
        counters.decided("acme", "reject", f"MADE_UP_{number}", 1e-6)
        counters.noted("acme", [Would("reject", f"MADE_UP_{number}", "odd", 403)])
    for series, key in ((counters.invites, ("acme", "reject", OTHER)), (counters.observed, ("acme", "odd", OTHER))):
        assert len(series) == SERIES_AT_MOST + 1
        assert series[key] == 50
    assert sum(counters.invites.values()) == sum(counters.decisions) == SERIES_AT_MOST + 50


async def test_every_event_is_shown() -> None:
    text = (await exposition(Status())).decode()
    own = {"received", "sent", "parse_errors", "retransmissions_in", "retransmissions_out"}
    for event in {*EVENTS, *TRANSPORT_EVENTS} - own:
        assert f'sipwarden_events_total{{event="{event}"}}' in text


async def test_a_node_that_has_just_started_shows_its_families() -> None:
    status = Status()
    status.past, status.latest = Totals(), []
    text = (await exposition(status)).decode()
    assert "sipwarden_invites_total" in text
    assert f'sipwarden_decision_seconds_bucket{{le="{DECISION_BUCKETS[0]}"}} 0.0' in text


def test_a_clock_that_is_not_believed_is_told() -> None:
    doubted = msgspec.structs.replace(STATE, up=True, refusing=False, counts=STATE.counts | {"clock_doubted": 1})
    assert doubted.trouble == "nothing is purged: the clock is far ahead of the newest record"
    assert msgspec.structs.replace(doubted, counts=STATE.counts).trouble == ""
    told = {metric.name: metric.samples[0].value for metric in journal_metrics(doubted)}
    assert (told["sipwarden_journal_clock_doubted"], told["sipwarden_journal_stuck_files"]) == (1, 0)
