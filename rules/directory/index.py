"""Where numbers are found: an exact index and an index of intervals, each a few flat arrays that may lie in a mapped file.

Numbers are placed in two ways. A **key** is exact: `(digits << 56) | value` for + and at most 16 digits; anything else (longer numbers,
raw digits of irregular ones) gets a 64-bit hash of its text with the top bit set, and whoever finds it compares the text. A **point** is
the number written as a fraction, its digits padded to 16 with zeros: there a prefix, and a range of equally long numbers, is one interval
each. Numbers of different length share points (+861 and +8610), so what an interval index finds is a candidate whose length is checked
after.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import isqrt
from typing import Final, TypeAlias

from rules.directory.fault import CellFault
from rules.kernel import compiled

Sections: TypeAlias = "dict[str, memoryview[int]]"
"""Named arrays of one directory: `memoryview` of format Q, I or B, over arrays in memory or over the mapped file."""

DIGITS: Final = 16
SCALE: Final[tuple[int, ...]] = tuple([10 ** max(DIGITS - n, 0) for n in range(33)])
"""Points that a number of n digits takes up; longer ones share the point of their first 16 digits."""

VALUE: Final = (1 << 56) - 1
TEXT: Final = 1 << 63
WORD: Final = (1 << 64) - 1
MOST_COVERED: Final = 20_000_000
"""Bound on the sum, over all elementary intervals, of the rows that cover each: overlaps deeper than this are refused, not built."""

_MIX: Final = 0x9E3779B97F4A7C15
_NONE: Final[tuple[int, ...]] = ()


def text_key(text: str) -> int:
    """Key of a text that has no number key."""
    return TEXT | int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def canonical_key(text: str) -> int:
    """Key of `+digits`; the same as `Number.key` where that is not 0."""
    count = len(text) - 1
    if count <= DIGITS and text.isascii() and (digits := text[1:]).isdigit():
        return count << 56 | int(digits)
    return text_key(text)


def exact_key(text: str) -> int:
    """Key of an exact entry's text: canonical, or the raw digits of an irregular number."""
    return canonical_key(text) if text.startswith("+") else text_key(text)


def pair_key(caller: int, called: int) -> int:
    """Key of a pair of exact numbers."""
    return ((caller * _MIX) ^ called) & WORD


def point(text: str) -> int:
    """Point of a canonical number; one of more than 16 digits has the point of its first 16."""
    digits = text[1 : DIGITS + 1]
    return int(digits) * SCALE[len(digits)]


def prefix_interval(stem: str) -> tuple[int, int]:
    """Points [low, high) of all numbers that begin with `stem`."""
    low = point(stem)
    return low, low + SCALE[len(stem) - 1]


def range_interval(first: str, last: str) -> tuple[int, int]:
    """Points [low, high) of all numbers from `first` to `last`, which have equally many digits, at most 16."""
    return point(first), point(last) + SCALE[len(last) - 1]


class ExactIndex:
    """Rows by key: rows lie by `key % modulus`, so a look-up reads one bucket of about one row wherever it falls in a million."""

    __slots__ = ("_found", "_heads", "_keys", "_modulus", "_rows")

    def __init__(self, sections: Sections, name: str) -> None:
        self._heads = sections[f"{name}.heads"]
        self._keys = sections[f"{name}.keys"]
        self._rows = sections[f"{name}.rows"]
        self._modulus = len(self._heads) - 1
        self._found: Callable[[int], Sequence[int]] | None = (
            None if compiled is None else compiled.Exact(self._heads, self._keys, self._rows).find
        )

    @staticmethod
    def build(sections: Sections, name: str, keys: Sequence[int], rows: Sequence[int]) -> None:
        """Add the arrays of an index that finds `rows[i]` by `keys[i]`, equal keys in that order; nothing where there are none."""
        if not keys:
            return
        # Counted, then placed: for ten million keys a list of Python integers would take more memory than all the arrays.
        modulus = _prime(len(keys))
        heads = array("I", bytes(4 * (modulus + 1)))
        for key in keys:
            heads[key % modulus + 1] += 1
        heads = array("I", accumulate(heads))
        free = heads[:]
        placed_keys = array("Q", bytes(8 * len(keys)))
        placed_rows = array("I", bytes(4 * len(keys)))
        for key, row in zip(keys, rows, strict=True):
            bucket = key % modulus
            at = free[bucket]
            free[bucket] = at + 1
            placed_keys[at] = key
            placed_rows[at] = row
        sections[f"{name}.heads"] = memoryview(heads)
        sections[f"{name}.keys"] = memoryview(placed_keys)
        sections[f"{name}.rows"] = memoryview(placed_rows)

    @classmethod
    def find_in(cls, sections: Sections, name: str) -> ExactIndex | None:
        """The index of that name; None where nothing was built."""
        return cls(sections, name) if f"{name}.heads" in sections else None

    def find(self, key: int) -> Sequence[int]:
        """Rows whose key is `key`, in the order they were given."""
        if self._found is not None:
            return self._found(key)
        heads = self._heads
        bucket = key % self._modulus
        at = heads[bucket]
        end = heads[bucket + 1]
        keys = self._keys
        found = _NONE
        while at < end:
            if keys[at] == key:
                found = (*found, self._rows[at])
            at += 1
        return found


class SpanIndex:
    """Rows by interval: all ends cut the line of points into elementary intervals, each with the rows that cover it, best first."""

    __slots__ = ("_cover", "_found", "_heads", "_starts")

    def __init__(self, sections: Sections, name: str) -> None:
        self._starts = sections[f"{name}.starts"]
        self._heads = sections[f"{name}.heads"]
        self._cover = sections[f"{name}.cover"]
        self._found: Callable[[int], Sequence[int]] | None = (
            None if compiled is None else compiled.Spans(self._starts, self._heads, self._cover).find
        )

    @staticmethod
    def build(sections: Sections, name: str, intervals: Sequence[tuple[int, int]], rows: Sequence[int]) -> None:
        """Add the arrays of an index that finds `rows[i]` within `intervals[i]`, [low, high), given best first; nothing for none.

        Raises CellFault where rows overlap more deeply than MOST_COVERED allows.
        """
        if not intervals:
            return
        # One integer an event: point, end before begin, rank. Sorted, they sweep the line.
        events = [(low << 33) | (1 << 32) | rank for rank, (low, _) in enumerate(intervals)]
        events += [(high << 33) | rank for rank, (_, high) in enumerate(intervals)]
        events.sort()
        starts, heads, cover = array("Q", [0]), array("I", [0]), array("I")
        active: list[int] = []
        where = 0
        for event in events:
            place = event >> 33
            if place != where:
                cover.extend([rows[rank] for rank in active])
                if len(cover) > MOST_COVERED:
                    raise CellFault("rows overlap each other too deeply", "take out those that cover the same numbers again")
                heads.append(len(cover))
                starts.append(place)
                where = place
            rank = event & 0xFFFFFFFF
            if event & (1 << 32):
                insort(active, rank)
            else:
                active.remove(rank)
        heads.append(len(cover))  # behind the last end nothing is covered
        sections[f"{name}.starts"] = memoryview(starts)
        sections[f"{name}.heads"] = memoryview(heads)
        sections[f"{name}.cover"] = memoryview(cover)

    @classmethod
    def find_in(cls, sections: Sections, name: str) -> SpanIndex | None:
        """The index of that name; None where nothing was built."""
        return cls(sections, name) if f"{name}.starts" in sections else None

    def find(self, place: int) -> Sequence[int]:
        """Rows whose interval holds the point `place`, best first."""
        if self._found is not None:
            return self._found(place)
        heads = self._heads
        at = bisect_right(self._starts, place)
        begin = heads[at - 1]
        end = heads[at]
        return self._cover[begin:end].tolist() if begin != end else _NONE

    def overlaps(self) -> Iterator[Sequence[int]]:
        """The covers of two rows or more, one for every elementary interval, in the order of points."""
        heads = self._heads
        for at in range(len(heads) - 1):
            if heads[at + 1] - heads[at] > 1:
                yield self._cover[heads[at] : heads[at + 1]].tolist()


def _prime(at_least: int) -> int:
    """The smallest prime from `at_least` on: blocks of consecutive numbers then spread evenly over the buckets."""
    number = max(at_least, 3) | 1
    while any(number % divisor == 0 for divisor in range(3, isqrt(number) + 1, 2)):
        number += 2
    return number
