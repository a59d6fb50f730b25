"""The memory of delivered calls: what is found, what is forgotten, and whose legs a flood pushes out."""

from __future__ import annotations

import pytest

from rules.call import ABROAD, Trunk, side_of
from rules.legs import KEPT, Legs
from rules.numbers import normalise

A, B, C = "+8613912345678", "+8675583120001", "+8675583120002"


def age(legs: Legs, called: str | None, caller: str | None, at: float, side: str | None = "acme") -> float | None:
    return legs.age(side, None if called is None else normalise(called, None), None if caller is None else normalise(caller, None), at)


def test_by_both_numbers_and_by_each() -> None:
    legs = Legs()
    told = (("acme",), B, (A,), 100.0)
    legs.begin(*told)
    for called, caller in ((B, A), (B, None), (None, A)):
        assert age(legs, called, caller, 300.0) == 0.0
        assert age(legs, called, caller, 300.0, None) == 0.0
        assert age(legs, called, caller, 300.0, "globex") is None
    assert age(legs, C, A, 300.0) is None
    assert age(legs, B, C, 300.0) is None
    assert age(legs, "zhangsan", A, 300.0) is None


def test_it_counts_from_the_end_of_its_setup() -> None:
    legs = Legs()
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


def test_repeated_calls_take_no_room() -> None:
    legs = Legs(limit=10)
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
