"""Timers in queues."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.sip.timers import T1, T2, T4, TIMER_C, TRANSACTION, Timers

A, B, C = 0, 1, 2


def expired(timers: Timers, now: float, limit: int) -> list[tuple[int, Any]]:
    """Take at most `limit` entries that are due."""
    fired: list[tuple[int, Any]] = []
    while len(fired) < limit and (queue := timers.due(now)) is not None:
        fired.append((queue.kind, queue.take()))
    return fired


def test_durations() -> None:
    assert (T1, T2, T4, TRANSACTION) == (0.5, 4.0, 5.0, 32.0)
    assert TIMER_C >= 180.0


def test_nothing_pending() -> None:
    timers = Timers()
    assert timers.next_due() is None
    assert expired(timers, 1e9, 10) == []
    assert len(timers) == 0


def test_order_and_due_time() -> None:
    timers = Timers()
    timers.start(0.0, 0.5, A, 1)
    timers.start(0.1, 32.0, B, 1)
    timers.start(0.2, 0.5, A, 2)
    assert (timers.next_due(), len(timers)) == (0.5, 3)
    assert expired(timers, 0.499, 10) == []
    assert expired(timers, 0.5, 10) == [(A, 1)]
    assert timers.next_due() == 0.7
    assert expired(timers, 100.0, 10) == [(A, 2), (B, 1)]
    assert timers.next_due() is None


def test_what_is_over_the_limit_stays_due() -> None:
    timers = Timers()
    for owner in range(5):
        timers.start(0.0, 1.0 + owner % 2, A, owner)
    fired = []
    while (due := timers.next_due()) is not None and due <= 3.0:
        some = expired(timers, 3.0, 2)
        assert 0 < len(some) <= 2
        fired += some
    assert sorted(owner for _, owner in fired) == [0, 1, 2, 3, 4]


def test_a_timer_may_start_the_next() -> None:
    timers = Timers()
    timers.start(0.0, 0.5, A, 1)
    for kind, owner in expired(timers, 0.5, 10):
        timers.start(0.5, 0.5, kind, owner)
    assert timers.next_due() == 1.0


def test_unused_durations_are_dropped() -> None:
    timers = Timers()
    timers.start(0.0, 0.5, A, 1)
    timers.start(0.0, 7.5, C, 2)
    expired(timers, 1.0, 10)
    timers.drop_unused()
    assert [queue.delay for queue in timers.queues] == [7.5]
    assert len(timers) == 1


def test_a_queue_of_many() -> None:
    """Stretches end and begin; what was fired is let go."""
    timers = Timers()
    queue = timers.queue(1.0, A)
    began = taken = 0
    for count in (1, 254, 1, 1, 600, 0, 3):
        for _ in range(count):
            queue.start(float(began), began)
            began += 1
        half = (began - taken) // 2 if count else began - taken
        for _ in range(half):
            assert queue.next_due() == taken + 1.0
            assert not queue.is_due(taken + 0.9)
            assert queue.is_due(taken + 1.0)
            assert queue.take() == taken
            taken += 1
        assert len(timers) == began - taken
    assert queue._first.owners.count(None) == queue._at


@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from([0.5, 1.0, 4.0])), max_size=30))
def test_all_fire_when_due_and_once(starts: list[tuple[float, float]]) -> None:
    timers = Timers()
    now = 0.0
    due = {}
    for owner, (step, delay) in enumerate(starts):
        now += step
        timers.start(now, delay, A, owner)
        due[owner] = now + delay
    fired: dict[int, float] = {}
    while (at := timers.next_due()) is not None:
        for _, owner in expired(timers, at, 1):
            assert owner not in fired
            fired[owner] = at
    assert fired == due
