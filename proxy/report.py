"""What is told of a decision: the JSON of product.md, for `explain`, the demo and every other face that answers in JSON."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

import msgspec

from rules.verdict import Verdict

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_UNSEEN: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON need not escape, and a terminal may obey: C1 controls, changes of direction, line ends of their own."""


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict's fields as product.md names them, ready to be encoded. `steps` only where there are any (`explain`)."""
    would = verdict.would
    document: dict[str, Any] = {
        "action": verdict.action,
        "code": verdict.code,
        "rule": verdict.rule,
        "status": verdict.status,
        "phrase": verdict.phrase,
        "caller": verdict.caller,
        "called": verdict.called,
        "trunk": verdict.trunk,
        "customer": verdict.customer,
        "marks": list(verdict.marks),
        "labels": dict(verdict.labels or {}),
        "mode": verdict.mode,
        "would": None if would is None else msgspec.structs.asdict(would),
        "policy_version": verdict.policy_version,
        "directory_version": verdict.directory_version,
        "elapsed_us": round(verdict.elapsed_us, 1),
    }
    if verdict.steps is not None:
        document["steps"] = [msgspec.structs.asdict(step) for step in verdict.steps]
    return document


def write_json(document: object) -> None:
    """Write one JSON document to standard output, in UTF-8 whatever the locale says."""
    sys.stdout.flush()
    text = msgspec.json.format(msgspec.json.encode(encodable(document)), indent=2).decode()
    sys.stdout.buffer.write(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n")
    sys.stdout.buffer.flush()


def readable(text: str) -> str:
    """Text that can be encoded: bytes that were not UTF-8, on the wire or the command line, become the mark for that."""
    return _SURROGATES.sub("\ufffd", text)


def printable(text: str) -> str:
    """Text of unknown origin without anything that a terminal would obey."""
    text = readable(text)
    return text if text.isprintable() else "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def encodable(value: Any) -> Any:
    """The same data with all its text `readable`."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(item) for item in value]
    return value
