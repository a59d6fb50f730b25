"""Edits on From and P-Asserted-Identity: cases/sip/caller.toml, and that they are cheap for whoever wants them dear."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip.caller import anonymous, with_prefix, with_verstat, without_verstat
from tests.proxy.sip.cases import CASES

LINES: list[dict[str, Any]] = tomllib.loads((CASES / "caller.toml").read_text(encoding="utf-8"))["case"]


@pytest.mark.parametrize("case", LINES, ids=[case["name"] for case in LINES])
def test_edits(case: dict[str, Any]) -> None:
    line = case["line"].encode()
    stripped = without_verstat(line)
    assert stripped.decode() == case.get("stripped", case["line"])
    assert without_verstat(stripped) is stripped
    assert with_verstat(line, b"V").decode() == case.get("labelled", case["line"])
    if line[:1] in b"Ff":
        assert anonymous(line).decode() == case["anonymous"]
        assert anonymous(anonymous(line)) == anonymous(line)
    if "prefixed" in case or line[:1] in b"Ff":
        prefixed = with_prefix(line, "疑似骚扰".encode(), b"N")
        assert prefixed.decode() == case.get("prefixed", case["line"])
        assert with_prefix(prefixed, "疑似骚扰".encode(), b"N") is prefixed


@pytest.mark.parametrize(
    "part",
    [b'\\"', b'";', b" ", b"; ", b"%", b'"', b"<tel:", b"<sip:+1@", b";verstat", b";verstat=%3b", b";verstat =", b"<sip:a@b;user=phone"],
    ids=repr,
)
def test_no_line_is_dear(part: bytes) -> None:
    """What takes quadratic time on these would not end: a header section has 32 KiB at most."""
    for line in (b'From: "%' + part * (30_000 // len(part)), b"From: % tel:" + part * (30_000 // len(part)) + b"user=phone"):
        assert len(without_verstat(line)) <= len(line)
        assert len(with_verstat(line, b"V")) >= len(line)


@given(st.text(alphabet='ab;=%3bB" <>@\\verstat', max_size=60))
def test_stripping_ends(text: str) -> None:
    """Whatever is left has no verstat that one more look would find... unless taking one out had put another together."""
    line = b"From: " + text.encode()
    for _ in range(12):
        again = without_verstat(line)
        if again is line:
            break
        line = again
    assert without_verstat(line) is line
