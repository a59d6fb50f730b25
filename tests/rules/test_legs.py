"""The memory of delivered calls: what is found, what is forgotten, and whose legs a flood pushes out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from rules.call import ABROAD, Trunk, side_of
from rules.legs import KEPT, Legs
from rules.numbers import normalise
from rules.shared_legs import WAYS, SharedLegs, Table, table_octets
from tests.rules.legs import SETS, digest, shared

A, B, C = "+8613912345678", "+8675583120001", "+8675583120002"


@pytest.fixture(params=["own", "shared"])
def legs(request: pytest.FixtureRequest) -> Legs:
    return Legs() if request.param == "own" else shared()[0]


def age(legs: Legs, called: str | None, caller: str | None, at: float, side: str | None = "acme") -> float | None:
    return legs.age(side, None if called is None else normalise(called, None), None if caller is None else normalise(caller, None), at)


def test_by_both_numbers_and_by_each(legs: Legs) -> None:
    told = (("acme",), B, (A,), 100.0)
    legs.begin(*told)
    for called, caller in ((B, A), (B, None), (None, A)):
        assert age(legs, called, caller, 300.0) == 0.0
        assert age(legs, called, caller, 300.0, None) == 0.0
        assert age(legs, called, caller, 300.0, "globex") is None
    assert age(legs, C, A, 300.0) is None
    assert age(legs, B, C, 300.0) is None
    assert age(legs, "zhangsan", A, 300.0) is None


def test_it_counts_from_the_end_of_its_setup(legs: Legs) -> None:
    legs.begin(("acme",), B, (A,), 100.0)
    legs.begin(("acme",), B, (A,), 110.0)
    legs.end(("acme",), B, (A,), 120.0)
    assert age(legs, B, A, 150.0) == 0.0
    legs.end(("acme",), B, (A,), 130.0)
    assert age(legs, B, A, 150.0) == 20.0
    assert age(legs, B, A, 120.0) == 0.0
    legs.end(("acme",), B, (A,), 140.0)
    assert age(legs, B, A, 150.0) == 10.0
    legs.end(("acme",), C, (A,), 140.0)
    legs.end(("globex",), B, (A,), 140.0)
    assert len(legs) == 3


def test_what_is_overdue_is_dropped_bit_by_bit() -> None:
    legs = Legs()
    for number in range(100):
        legs.begin((f"customer {number % 4}",), f"+861390000{number:04}", (A,), float(number % 2))
    assert len(legs) > 100
    for number in range(200):
        legs.begin(("acme",), B, (f"+861380000{number:04}",), KEPT + 2)
    assert len(legs) == 401
    assert age(legs, B, "+8613800000007", KEPT + 2) == 0.0
    assert age(legs, B, "+8613800000007", KEPT * 2 + 3) is None


def test_a_flood_pushes_out_its_own_side() -> None:
    legs = Legs(limit=300)
    for number in range(20):
        legs.begin(("quiet",), f"+861390000{number:04}", (A,), 1.0)
    for number in range(1000):
        legs.begin(("flooded",), f"+861380000{number:04}", (A,), 2.0)
    assert len(legs) <= 300
    assert legs.overflow > 1500
    for number in range(20):
        assert age(legs, f"+861390000{number:04}", A, 3.0, "quiet") == 0.0
    assert age(legs, "+8613800000999", A, 3.0, "flooded") == 0.0
    assert age(legs, "+8613800000000", A, 3.0, "flooded") is None


def test_a_side_of_many_keys_is_as_any_other() -> None:
    legs = Legs(limit=6000)
    for number in range(1500):
        legs.begin(("large",), f"+861380000{number:04}", (A,), float(number))
        legs.end(("large",), f"+861380000{number:04}", (A,), number + 0.5)
        assert len(legs) <= 2 * number + 3
        if number > KEPT:
            assert age(legs, f"+861380000{number - 600:04}", A, float(number), "large") == 599.5
            assert age(legs, f"+861380000{number - 601:04}", A, float(number), "large") is None
    assert len(legs) < 2 * KEPT + 600
    assert legs.overflow == 0
    assert max(len(part) for part in legs._sides["large"].parts) < 100
    for number in range(5000):
        legs.begin(("large",), f"+861370000{number:04}", (A,), 1500.0)
        assert len(legs) <= 6000
    assert legs.overflow > 4000
    assert age(legs, "+8613700004999", A, 1501.0, "large") == 0.0
    for number in range(3000):
        legs.begin(("other",), B, (f"+861360000{number:04}",), 1500.0 + KEPT + number)
    assert list(legs._sides) == ["other"]


def test_repeated_calls_take_no_room(legs: Legs) -> None:
    for _ in range(100):
        legs.begin(("acme",), B, (A,), 1.0)
        legs.end(("acme",), B, (A,), 2.0)
    assert (len(legs), legs.overflow) == (3, 0)


@pytest.mark.parametrize(
    ("trunk", "side"),
    [
        (Trunk(id="a", kind="enterprise", customer="acme"), "customer acme"),
        (Trunk(id="b", kind="enterprise"), "trunk b"),
        (Trunk(id="c", kind="interconnect"), "trunk c"),
        (Trunk(id="d", kind="international", customer="x"), ABROAD),
        (Trunk(id="e", kind="core"), None),
        (Trunk(id="", kind="interconnect"), None),
    ],
)
def test_sides(trunk: Trunk, side: str | None) -> None:
    assert side_of(trunk) == side


def test_what_one_worker_notes_all_others_see() -> None:
    one, two, three = shared(3)
    keys = one.begin(("acme", "globex"), B, (A, C), 100.0)
    for legs in (one, two, three):
        for called, caller in ((B, A), (B, C), (B, None), (None, A)):
            for side in ("acme", "globex", None):
                assert age(legs, called, caller, 150.0, side) == 0.0
            assert age(legs, called, caller, 150.0, "initech") is None
    two.end(("acme", "globex"), B, (A, C), 120.0)  # not its own
    assert age(three, B, A, 150.0) == 0.0
    one.end_by(("acme", "globex"), keys, 120.0)
    assert age(three, B, A, 150.0) == 30.0
    two.begin(("acme",), B, (A,), 140.0)
    assert age(three, B, A, 150.0) == 0.0
    two.end(("acme",), B, (A,), 141.0)
    assert age(one, B, A, 150.0) == 9.0
    assert age(one, B, A, 150.0, "globex") == 30.0
    assert age(one, B, A, 141.0 + KEPT + 1) is None


def test_a_worker_that_starts_again_finds_what_was_there_and_nothing_being_set_up() -> None:
    memory = memoryview(bytearray(table_octets(SETS)))
    before = SharedLegs(Table(memory), [], digest)
    before.begin(("acme",), B, (A,), 100.0)
    table = Table(memory)
    table.none_in_setup()
    after = SharedLegs(table, [], digest)
    assert len(after) == 3
    assert age(after, B, A, 130.0) == 30.0
    after.end(("acme",), B, (A,), 140.0)
    assert age(after, B, A, 150.0) == 10.0


def test_a_flood_pushes_out_its_own_side_of_shared_legs() -> None:
    (legs,) = shared()
    for number in range(20):
        legs.begin(("quiet",), f"+861390000{number:04}", (A,), 1.0)
    for number in range(4000):
        legs.begin(("flooded",), f"+861380000{number:04}", (A,), 2.0)
    assert len(legs) == SETS * WAYS
    assert legs.overflow > 1500
    assert sum(age(legs, f"+861390000{number:04}", A, 3.0, "quiet") == 0.0 for number in range(20)) == 20
    assert age(legs, "+8613800003999", A, 3.0, "flooded") == 0.0
    assert age(legs, "+8613800000000", A, 3.0, "flooded") is None
    kept = legs.overflow
    for number in range(300):
        legs.begin(("late",), f"+861370000{number:04}", (A,), 3.0 + KEPT)
    assert legs.overflow == kept  # what is overdue has made room
    assert age(legs, "+8613700000299", A, 4.0 + KEPT, "late") == 0.0


def test_shared_legs_are_read_while_they_are_written() -> None:
    """Whoever is found was there: a reader never takes one entry's name with another's time."""
    one, two = shared(2, 2)

    def write() -> None:
        for number in range(5_000):
            one.begin(("acme",), f"+861380000{number % 1000:04}", (A,), 1000.0 + number)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            assert age(two, "+8675588888888", A, 30_000.0) is None
            found = age(two, "+8613800000007", A, 21_000.0)
            assert found is None or found == 0.0
        writing.result()
