"""One judged call of a trace, as product.md has it: a verdict with when, who, what the trace recorded, and what a candidate says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from proxy.intake import text
from proxy.replay.policy import SHOWN, Judged
from proxy.report import encodable, verdict_json
from proxy.validate import Request
from rules.verdict import Verdict


class Row:
    """A call. `at` is Unix time, None where the trace has none (it was then judged as of now); `source` is `address:port`, None likewise.
    `recorded` is the final status that the trace shows for this INVITE; `sender` and `to` are the URIs as they came, `key` its Call-ID. Of
    each at most SHOWN characters are kept.
    """

    __slots__ = ("at", "call_id", "candidate", "judged", "key", "place", "recorded", "sender", "source", "to")

    def __init__(
        self,
        at: float | None,
        request: Request,
        source: str | None,
        place: str,
        judged: Judged,
        candidate: Judged | None,
    ) -> None:
        self.at = at
        self.key = key_of(request.call_id)
        self.call_id = text(self.key)
        self.source = source
        self.place = place
        self.sender = text(request.sender[:SHOWN])
        self.to = text(request.message.uri[:SHOWN])
        self.judged = judged
        self.candidate = candidate
        self.recorded: int | None = None

    @property
    def verdict(self) -> Verdict:
        """What the policy in question says."""
        return self.judged.verdict

    @property
    def changed(self) -> bool:
        """Whether a candidate decides otherwise: another action, code or status."""
        return self.candidate is not None and outcome(self.verdict) != outcome(self.candidate.verdict)

    def json(self) -> dict[str, Any]:
        """The row's fields. `unanswered` only where a look-up would have been made: the verdict is then that of no answer."""
        document: dict[str, Any] = {
            "time": None if self.at is None else moment(self.at),
            "call_id": self.call_id,
            "source": self.source,
            **verdict_json(self.verdict),
            "recorded_status": self.recorded,
        }
        if self.judged.unanswered:
            document["unanswered"] = self.judged.unanswered
        if self.candidate is not None:
            document["candidate"] = verdict_json(self.candidate.verdict)
            if self.candidate.unanswered:
                document["candidate"]["unanswered"] = self.candidate.unanswered
        return document

    def encoded(self) -> bytes:
        """The same as JSON text."""
        document = self.json()
        try:
            return msgspec.json.encode(document)
        except UnicodeEncodeError:  # what was not UTF-8 on the wire
            return msgspec.json.encode(encodable(document))


def outcome(verdict: Verdict) -> tuple[str, str, int | None]:
    """What counts as the decision when two are compared."""
    return verdict.action, verdict.code, verdict.status


def key_of(call_id: bytes) -> bytes:
    """What a Call-ID is told apart by."""
    return call_id[:SHOWN]


def moment(at: float) -> str:
    """Unix time as ISO 8601 with milliseconds, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def place_of(address: str, port: int) -> str | None:
    """`address:port` with IPv6 in brackets; None where a trace has no addresses."""
    if not address:
        return None
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
