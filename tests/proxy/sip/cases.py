"""Reads the SIP cases in tests/cases/sip: tables, and messages written in plain text."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path
from typing import Any

CASES = Path(__file__).resolve().parents[2] / "cases" / "sip"

_ESCAPE = re.compile(rb"\{x((?: [0-9a-f]{2})+)\}|\{(\d+)\*([^}]*)\}")

INVITE = (
    b"INVITE sip:+862161234567@lab.example SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKa\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Desk" <sip:+8675583123456@pbx.example>;tag=1\r\n'
    b"To: <sip:+862161234567@lab.example>\r\n"
    b"Call-ID: a@pbx.example\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Subject: x\r\n"
    b"Content-Type: text/plain\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)
"""An ordinary request to make others of."""

RESPONSE = INVITE.replace(b"INVITE sip:+862161234567@lab.example SIP/2.0", b"SIP/2.0 200 OK", 1)


def expand(raw: bytes) -> bytes:
    """`{x 0d}` and `{300*ab}` put in."""
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else found[3] * int(found[2]), raw)


def message(text: bytes) -> bytes:
    """The bytes of a message: CRLF behind each line, escapes and `{length}` put in (tests/cases/sip/torture/README.md)."""
    raw = expand(text.replace(b"\n", b"\r\n"))
    return raw.replace(b"{length}", b"%d" % len(raw.partition(b"\r\n\r\n")[2]))


def document(name: str) -> list[dict[str, Any]]:
    """The cases of a TOML file."""
    cases: list[dict[str, Any]] = tomllib.loads((CASES / name).read_text(encoding="utf-8"))["case"]
    return cases


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated table; what a row leaves out is empty, lines that begin with # are comments."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, restval=""))
