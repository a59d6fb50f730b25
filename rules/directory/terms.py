"""What many segments have in common, ready to judge by."""

from __future__ import annotations

from rules.directory.segment import Direction, Purpose, TermsRow


class Terms:
    """A TermsRow that was decoded, and which one it is. A class of its own, since compiled code reads its attributes at once."""

    __slots__ = (
        "areas",
        "category",
        "direction",
        "hours",
        "least",
        "most",
        "prefix",
        "purpose",
        "valid_from",
        "valid_to",
        "which",
    )

    def __init__(self, which: int, row: TermsRow) -> None:
        self.which = which
        self.purpose: Purpose = row.purpose
        self.valid_from: float | None = row.valid_from
        self.valid_to: float | None = row.valid_to
        self.hours: str = row.hours
        self.direction: Direction = row.direction
        self.category: str = row.category
        self.least: int = row.least
        self.most: int = row.most
        self.prefix: bool = row.prefix
        self.areas: tuple[str, ...] = row.areas
