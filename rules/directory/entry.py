"""What one entry of an intercept or release list is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from rules.trunk import Trunk

Match = Literal["exact", "prefix", "range"]


EntryType = Literal["caller", "called", "pair"]


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of a list: the sharing row without op and created_at.

    `number` of a prefix has no star. It counts while valid_from <= t < valid_to, Unix seconds, None where open.
    """

    list_id: str
    seq: int
    number: str
    match: Match
    type: EntryType
    reason: str
    source: str
    evidence_ref: str
    valid_from: float | None
    valid_to: float | None
    scope: str

    def names(self, text: str, other: str | None) -> bool:
        """Whether it holds for a number (canonical, or raw digits), for a pair that caller and that called number."""
        if self.type != "pair":
            return _holds(self.match, self.number, text)
        caller, _, called = self.number.partition(">")
        return other is not None and _holds(self.match, caller, text) and _holds(self.match, called, other)

    def counts(self, trunk: Trunk, at: float) -> bool:
        """Whether it counts for calls from that trunk at that time."""
        if (self.valid_from is not None and at < self.valid_from) or (self.valid_to is not None and at >= self.valid_to):
            return False
        scope = self.scope
        return scope == "global" or scope == f"trunk:{trunk.id}" or scope == f"customer:{trunk.customer}"


def _holds(match: Match, pattern: str, text: str) -> bool:
    if match == "exact":
        return text == pattern
    if match == "prefix":
        return text.startswith(pattern)
    first, _, last = pattern.partition("-")
    return len(text) == len(first) and first <= text <= last
