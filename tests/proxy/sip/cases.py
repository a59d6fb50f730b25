"""Reads the SIP cases in tests/cases/sip: tables, and messages written in plain text."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path
from typing import Any

CASES = Path(__file__).resolve().parents[2] / "cases" / "sip"

_ESCAPE = re.compile(rb"\{x((?: [0-9a-f]{2})+)\}|\{(\d+)\*([^}]*)\}")


def message(text: str | bytes) -> bytes:
    """The bytes of a message: CRLF behind each line, `{x 0d}`, `{300*ab}` and `{length}` put in (tests/cases/sip/torture/README.md)."""
    raw = text.encode() if isinstance(text, str) else text
    raw = raw.replace(b"\n", b"\r\n")
    raw = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else found[3] * int(found[2]), raw)
    return raw.replace(b"{length}", b"%d" % len(raw.partition(b"\r\n\r\n")[2]))


def document(name: str) -> dict[str, Any]:
    """A TOML case file."""
    return tomllib.loads((CASES / name).read_text(encoding="utf-8"))


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated table; what a row leaves out is empty."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval=""))
