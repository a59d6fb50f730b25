"""How much a number that somebody saw is like one that a call presented. The displayed caller is what a fraud forges, and what a victim
remembers wrongly: near is worth showing, and says that it is no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from rules.numbers import normalise
from rules.numbers.sought import LAST, LONG, Sought, core, uri_of

Match = Literal["exact", "near", "called"]

RANKS: Final[dict[Match, int]] = {"exact": 0, "near": 1, "called": 2}

FEW: Final = 6
"""Fewer digits than this are alike only where they are equal: most short codes are one digit from another."""

TWO_OFF: Final = 8
"""Digits from which on two wrong ones are still alike."""

_READ: Final = 8
"""Values of one header field that are looked at."""


def likeness(wanted: Sought, canonical: Sequence[str | None], written: Sequence[str]) -> tuple[Match, int]:
    """How like the sought caller is to those that a call presented: the match, and how far it is from equal within it."""
    cores = set()
    for known in canonical:
        if known:
            if known in wanted.canonical:
                return "exact", 0
            cores.add(core(known))
    for value in written[:_READ]:
        number = normalise(uri_of(value[:LONG]), None)
        if number.canonical is not None and number.canonical in wanted.canonical:
            return "exact", 0
        if number.digits:
            cores.add(core(number.digits))
    cores.discard("")
    far = min((_distance(other, mine) for other in cores for mine in {wanted.core, *map(core, wanted.canonical)} if mine), default=_FAR)
    return ("near", far) if far < _FAR else ("called", 0)


_FAR: Final = 9


def _distance(one: str, other: str) -> int:
    """0: the same digits; 1: one digit off, or only what stands before them differs; 2: two off; 3: the last are the same; else _FAR."""
    if one == other:
        return 0
    short, long = sorted((one, other), key=len)
    if len(short) < FEW:
        return _FAR
    if len(short) >= LAST and long.endswith(short):
        return 1
    wrong = _edits(short, long)
    if wrong <= 1 or (wrong == 2 and len(short) >= TWO_OFF):
        return wrong
    return 3 if short[-LAST:] == long[-LAST:] and len(short) >= LAST else _FAR


def _edits(one: str, other: str) -> int:
    """Digits left out, put in, replaced, or two neighbours exchanged: how many of these make one of the other; 3 for more than two."""
    if abs(len(one) - len(other)) > 2 or len(one) > 32 or len(other) > 32:
        return 3
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, digit in enumerate(one, 1):
        new = [at]
        for place, second in enumerate(other, 1):
            cost = min(row[place] + 1, new[-1] + 1, row[place - 1] + (digit != second))
            if before and place > 1 and digit == other[place - 2] and one[at - 2] == second:
                cost = min(cost, before[place - 2] + 1)
            new.append(cost)
        before, row = row, new
    return min(row[-1], 3)
