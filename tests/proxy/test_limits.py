"""Limits over several workers: what each grants on its own view never adds up to more than there is."""

from __future__ import annotations

import os
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits import Subject
from proxy.shared import make_memory, map_table
from proxy.tally import COLUMNS, ROW_SIZE, Tally


def rows(count: int) -> list[memoryview]:
    return [memoryview(bytearray(ROW_SIZE)).cast("Q") for _ in range(count)]


def subjects(count: int, key: int = 2) -> list[Subject]:
    table = rows(count)
    return [Subject("acme", key, Tally(table, own)) for own in range(count)]


def test_calls_at_a_time_are_of_all_workers() -> None:
    one, two = subjects(2)
    assert [one.add(2), two.add(2), one.add(2), two.add(2)] == [True, True, False, False]
    one.remove()
    assert [two.add(2), one.add(2)] == [True, False]
    assert (one.count, two.count) == (0, 2)


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("workers", [1, 2, 4])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_several_workers_grant_what_one_would(workers: int, rate: float, seed: int) -> None:
    random = Random(seed)
    several, (alone,) = subjects(workers), subjects(1)
    now, granted = 0.0, []
    for _ in range(300):
        now += random.choice((0.0, 0.01, 0.1, 1 / rate, 3.0))
        one = random.choice(several)
        started = one.start(rate, now)
        assert started == alone.start(rate, now)
        if started and random.random() < 0.2:
            one.take_back()
            alone.take_back()
        elif started:
            granted.append(now)
    for place, begin in enumerate(granted):
        for end in range(place, len(granted)):
            assert end - place + 1 <= max(1.0, rate) + (granted[end] - begin) * rate + 1e-6


def test_the_first_call_that_each_worker_sees_goes_on() -> None:
    """A call every two seconds, one a second allowed, dealt out over workers that have seen none before."""
    assert [one.start(1.0, 2.0 * number) for number, one in enumerate(subjects(8))] == [True] * 8


def test_a_call_under_the_limit_goes_on_whichever_worker_it_reaches() -> None:
    """32 workers, 4 calls a second of 5: each looks once in eight seconds, when 31 others have started one since."""
    several = subjects(32)
    assert all(several[step % 32].start(5.0, step * 0.25) for step in range(320))


def test_a_worker_started_again_grants_no_second_bucket() -> None:
    table = rows(2)
    old = Subject("acme", 2, Tally(table, 0))
    assert old.start(1.0, 10.0)
    new = Tally(table, 0)
    again = Subject("acme", 2, new)
    again.recount(0)
    new.drop_left()
    assert not again.start(1.0, 10.5) and again.start(1.0, 11.0)


@pytest.mark.parametrize(("before", "after"), [(0.1, 100.0), (100.0, 0.1), (1.0, 2.0), (1e-9, 5.0)])
def test_a_changed_rate_holds_at_once(before: float, after: float) -> None:
    one, two = subjects(2)
    assert one.start(before, 0.0)
    while one.start(before, 0.0):
        pass
    granted = sum(subject.start(after, 0.01) for subject in (one, two) for _ in range(200))
    assert granted == max(1, int(after))
    assert two.start(after, 0.02 + 1 / after)


@pytest.mark.parametrize("rate", [5e-324, 1e-12, 1e-6, 1e12, 1e300])
def test_no_rate_is_too_odd(rate: float) -> None:
    one, two = subjects(2)
    assert one.start(rate, 4e9) and two.start(rate, 4e9) == (rate > 2)


def test_a_flood_of_emergencies_holds_nobody_up_for_longer_than_an_empty_bucket() -> None:
    (one,) = subjects(1)
    for _ in range(1000):
        one.start(5.0, 0.0, force=True)
    assert not one.start(5.0, 0.19) and one.start(5.0, 0.21)


LIMIT = 40
RATE = 50.0


def _rush(fd: int, own: int, workers: int, done: Connection) -> None:
    """One process that starts calls as fast as it can; each call at the time at which it really asks."""
    subject = Subject("acme", 2, map_table(fd, own).tally)
    done.send(None)
    done.recv()
    until = monotonic() + 1.0
    granted, held = [], 0
    while monotonic() < until:
        subject.take_turn()
        now = monotonic()
        if subject.start(RATE, now):
            granted.append(now)
        held += subject.add(LIMIT)
        subject.end_turn()
    done.send((granted, held))


def test_processes_that_rush_get_exactly_what_there_is() -> None:
    """Three at a time on shared memory: the lock that `map_table` gives is what keeps them apart."""
    workers = 3
    fd = make_memory(workers)
    context = get_context("fork")
    ends, processes = [], []
    for own in range(workers):
        here, there = context.Pipe()
        process = context.Process(target=_rush, args=(fd, own, workers, there))
        process.start()
        ends.append(here)
        processes.append(process)
    for end in ends:
        end.recv()
    for end in ends:
        end.send(None)
    found = [end.recv() for end in ends]
    for process in processes:
        process.join(10)
    os.close(fd)
    granted = sorted(moment for moments, _ in found for moment in moments)
    assert sum(held for _, held in found) == LIMIT
    assert len(granted) == int(RATE) + int((granted[-1] - granted[0]) * RATE + 0.5)
    for place, begin in enumerate(granted[: -int(RATE)]):
        assert granted[place + int(RATE)] - begin >= 1 / RATE - 1e-6


def test_a_process_killed_in_its_turn_keeps_nobody_waiting() -> None:
    fd = make_memory(2)
    context = get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_die_in_turn, args=(fd, there))
    process.start()
    assert here.recv() == "mine"
    process.kill()
    process.join(10)
    one = Subject("acme", 2, map_table(fd, 0).tally)
    one.take_turn()
    assert one.start(1.0, monotonic()) and one.add(1)
    one.end_turn()
    os.close(fd)


def _die_in_turn(fd: int, done: Connection) -> None:
    Subject("acme", 2, map_table(fd, 1).tally).take_turn()
    done.send("mine")
    done.recv()


def test_one_worker_gets_all_of_its_rate() -> None:
    (one,) = subjects(1)
    granted = sum(one.start(5.0, step * 0.01) for step in range(1001))
    assert granted in (54, 55)  # a bucket, and ten seconds of its filling


def test_a_start_that_is_taken_back_leaves_room_for_another() -> None:
    (one,) = subjects(1)
    assert one.start(1.0, 0.0)
    assert not one.start(1.0, 0.5)
    one.take_back()
    assert one.start(1.0, 0.5)


def test_an_emergency_starts_all_the_same_and_counts() -> None:
    one, two = subjects(2)
    assert one.start(1.0, 0.0)
    assert not one.start(1.0, 0.0, force=True)
    assert not one.start(1.0, 0.9)
    assert not two.start(1.0, 0.9)


def test_keys_that_meet_in_one_place_are_told_apart() -> None:
    table = rows(2)
    mine, other = Tally(table, 0), Tally(table, 1)
    keys = [4, 4 + COLUMNS, 4 + 2 * COLUMNS]
    for count, key in enumerate(keys, 1):
        other.write(other.place(key), count)
    assert [mine.others(key) for key in keys] == [1, 2, 3]
    assert mine.others(6) == 0
    other.forget(keys[0])
    other.write(other.place(4 + 3 * COLUMNS), 9)  # takes the place of what nobody uses
    assert [mine.others(key) for key in (*keys, 4 + 3 * COLUMNS)] == [0, 2, 3, 9]


def test_a_row_without_room_counts_nothing_more() -> None:
    tally = Tally(rows(1), 0)
    places = [tally.place(2 + step * COLUMNS) for step in range(100)]
    assert all(place >= 0 for place in places[:64]) and set(places[64:]) == {-1}
    full = Subject("full", 2 + 80 * COLUMNS, tally)
    assert full.add(1) and not full.add(1)  # its own calls it still knows


def test_what_another_process_left_is_of_no_call_any_more() -> None:
    table = rows(2)
    gone, mine = Tally(table, 0), Tally(table, 1)
    for key, count in ((8, 5), (10, 7), (11, 9)):
        gone.write(gone.place(key), count)
    new = Tally(table, 0)
    Subject("known", 10, new).recount(3)
    new.drop_left()
    assert [mine.others(key) for key in (8, 10, 11)] == [0, 3, 9]
