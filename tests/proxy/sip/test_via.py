"""The topmost Via, and what RFC 3581 has put into it."""

from __future__ import annotations

import time

import pytest

from proxy.sip.error import ParseError
from proxy.sip.via import Via, mark_received
from tests.proxy.sip.cases import CASES, table


def optional(text: str) -> bytes | None:
    return None if text == "-" else text.encode()


@pytest.mark.parametrize("row", table(CASES / "vias.tsv"), ids=lambda row: row["value"])
def test_via(row: dict[str, str]) -> None:
    via = Via(row["value"].encode())
    assert via.transport == row["transport"].encode()
    assert via.host == row["host"].encode()
    assert via.port == (int(row["port"]) if row["port"] else None)
    assert via.branch == optional(row["branch"])
    assert via.rport == optional(row["rport"])
    assert via.received == optional(row["received"])


@pytest.mark.parametrize("value", ["", *(CASES / "vias_bad.txt").read_text().splitlines()])
def test_bad_vias(value: str) -> None:
    with pytest.raises(ParseError) as caught:
        Via(value.encode())
    assert caught.value.status == 400


@pytest.mark.parametrize("row", table(CASES / "received.tsv"), ids=lambda row: row["value"])
def test_mark_received(row: dict[str, str]) -> None:
    marked = mark_received(Via(row["value"].encode()), row["address"].encode(), int(row["port"]))
    assert marked == optional(row["marked"])
    if marked is not None:
        again = Via(marked)
        assert again.received == row["address"].encode()
        assert again.branch == Via(row["value"].encode()).branch


@pytest.mark.parametrize("value", [b"SIP/2.0/XUDP host" + b" " * 60000 + b"x", b"SIP" + b" " * 60000, b"SIP / 2.0 / UDP a" + b" :" * 30000])
def test_reading_takes_no_longer_than_the_value(value: bytes) -> None:
    """A run of blanks is gone over once, not once for each of its blanks (that would take minutes, not milliseconds)."""
    started = time.monotonic()
    with pytest.raises(ParseError):
        Via(value)
    assert time.monotonic() - started < 5
