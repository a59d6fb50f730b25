"""What one row of segments.csv is."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from rules.directory.index import DIGITS, prefix_interval, range_interval

Purpose = Literal["general", "marketing", "service"]


Direction = Literal["out", "in", "both"]

EVERY: Final = "*"
"""In column trunk: every enterprise trunk of the row's customer."""


class Segment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of segments.csv.

    A prefix has `first` "+86138*" and `last` "", a single number `first` == `last`. It counts while valid_from <= t < valid_to, Unix
    seconds, None where open. `hours` is the cell's text ("" always; `fields.hours` takes it apart). `category` is what a marketing segment
    sells, "" where it does not say. `areas` says where codes that differ by area are the customer's (see `places`), () where the segment
    has none. `file` and `line`: where it stands. `trunk` may be EVERY. `max_cps` and `max_calls` limit the calls from it, None: not.
    """

    customer: str
    trunk: str
    first: str
    last: str
    purpose: Purpose
    valid_from: float | None
    valid_to: float | None
    hours: str
    direction: Direction
    category: str
    file: str
    line: int
    least: int
    """A number in the segment has at least so many digits ..."""
    most: int
    """... and at most so many."""
    areas: tuple[str, ...] = ()
    max_cps: float | None = None
    max_calls: int | None = None

    def __str__(self) -> str:
        return self.first if self.last in ("", self.first) else f"{self.first}-{self.last}"

    @property
    def where(self) -> str:
        """Whose it is, in words."""
        return f"every trunk of {self.customer}" if self.trunk == EVERY else f"trunk {self.trunk}"

    @property
    def interval(self) -> tuple[int, int]:
        """Points [low, high) of its numbers, see `index`."""
        return range_interval(self.first, self.last) if self.last else prefix_interval(self.first[:-1])

    def overlaps(self, other: Segment) -> bool:
        """True when some number is in both at some time, their intervals of points overlapping."""
        return (
            self.least <= other.most
            and other.least <= self.most
            and (self.least <= DIGITS or not self.last or not other.last or self.first == other.first)
            and (self.valid_to is None or other.valid_from is None or other.valid_from < self.valid_to)
            and (other.valid_to is None or self.valid_from is None or self.valid_from < other.valid_to)
        )


class TermsRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What many segments have in common: all of a row but whose it is, where it stands and its numbers. A look-up judges by this, and need
    not decode the row (see `terms`).
    """

    purpose: Purpose
    valid_from: float | None
    valid_to: float | None
    hours: str
    direction: Direction
    category: str
    least: int
    most: int
    prefix: bool
    areas: tuple[str, ...] = ()


def terms_of(segment: Segment) -> TermsRow:
    """The terms of a segment."""
    return TermsRow(
        segment.purpose,
        segment.valid_from,
        segment.valid_to,
        segment.hours,
        segment.direction,
        segment.category,
        segment.least,
        segment.most,
        not segment.last,
        segment.areas,
    )
