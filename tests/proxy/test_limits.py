"""Limits over several workers: what each grants on its own view never adds up to more than there is."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits import Subject
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


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("workers", [1, 2, 4])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_no_second_has_more_starts_than_the_bucket_and_its_filling(workers: int, rate: float, seed: int) -> None:
    random = Random(seed)
    several = subjects(workers)
    now, granted = 0.0, []
    for _ in range(300):
        now += random.choice((0.0, 0.01, 0.1, 1 / rate, 3.0))
        if random.choice(several).start(rate, now):
            granted.append(now)
    for place, begin in enumerate(granted):
        for end in range(place, len(granted)):
            assert end - place + 1 <= max(1.0, rate) + (granted[end] - begin) * rate + 1e-6


def test_one_worker_gets_all_of_its_rate() -> None:
    (one,) = subjects(1)
    granted = sum(one.start(5.0, step * 0.01) for step in range(1001))
    assert granted in (54, 55)  # a bucket, and ten seconds of its filling


def test_a_worker_that_hardly_looks_is_not_starved() -> None:
    busy, quiet = subjects(2)
    for step in range(1000):
        busy.start(5.0, step * 0.1)
    assert not quiet.start(5.0, 100.0)
    assert quiet.start(5.0, 100.3)


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
