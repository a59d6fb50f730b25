"""Timers in deques."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.sip.timers import T1, T2, T4, TIMER_C, TRANSACTION, Timers


def test_durations() -> None:
    assert (T1, T2, T4, TRANSACTION) == (0.5, 4.0, 5.0, 32.0)
    assert TIMER_C >= 180.0


def test_nothing_pending() -> None:
    timers = Timers()
    assert timers.next_due() is None
    assert timers.expired(1e9, 10) == []
    assert len(timers) == 0


def test_order_and_due_time() -> None:
    timers = Timers()
    timers.start(0.0, 0.5, "A", 1)
    timers.start(0.1, 32.0, "B", 1)
    timers.start(0.2, 0.5, "A", 2)
    assert (timers.next_due(), len(timers)) == (0.5, 3)
    assert timers.expired(0.499, 10) == []
    assert timers.expired(0.5, 10) == [("A", 1)]
    assert timers.next_due() == 0.7
    assert timers.expired(100.0, 10) == [("A", 2), ("B", 1)]
    assert timers.next_due() is None


def test_what_is_over_the_limit_stays_due() -> None:
    timers = Timers()
    for owner in range(5):
        timers.start(0.0, 1.0 + owner % 2, "A", owner)
    fired = []
    while (due := timers.next_due()) is not None and due <= 3.0:
        some = timers.expired(3.0, 2)
        assert 0 < len(some) <= 2
        fired += some
    assert sorted(owner for _, owner in fired) == [0, 1, 2, 3, 4]


def test_a_timer_may_start_the_next() -> None:
    timers = Timers()
    timers.start(0.0, 0.5, "A", 1)
    for kind, owner in timers.expired(0.5, 10):
        timers.start(0.5, 0.5, kind, owner)
    assert timers.next_due() == 1.0


def test_unused_durations_are_dropped() -> None:
    timers = Timers()
    timers.start(0.0, 0.5, "A", 1)
    timers.start(0.0, 7.5, "C", 2)
    timers.expired(1.0, 10)
    timers.drop_unused()
    assert list(timers._queues) == [7.5]
    assert len(timers) == 1


@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from([0.5, 1.0, 4.0])), max_size=30))
def test_all_fire_when_due_and_once(starts: list[tuple[float, float]]) -> None:
    timers = Timers()
    now = 0.0
    due = {}
    for owner, (step, delay) in enumerate(starts):
        now += step
        timers.start(now, delay, "A", owner)
        due[owner] = now + delay
    fired: dict[int, float] = {}
    while (at := timers.next_due()) is not None:
        for _, owner in timers.expired(at, 1):
            assert owner not in fired
            fired[owner] = at
    assert fired == due
