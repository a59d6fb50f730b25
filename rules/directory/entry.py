"""What one entry of an intercept or release list is."""

from __future__ import annotations

from typing import Literal

import msgspec

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
