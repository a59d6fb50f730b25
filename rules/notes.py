"""What a verdict tells besides the decision: rejections that were not enforced, and each rule's part."""

from __future__ import annotations

import msgspec


class Would(msgspec.Struct, frozen=True):
    """A rejection that observe mode did not enforce."""

    action: str
    code: str
    rule: str
    status: int | None


class Step(msgspec.Struct, frozen=True):
    """One rule's part in a decision, for `explain`: outcome is "no opinion", "reject", "redirect", "drop", "pass", "ok", "mark", "note",
    "observed reject", "off" or "failed"; `code` the reason code that it gave, "" without one.
    """

    rule: str
    outcome: str
    detail: str
    code: str = ""
