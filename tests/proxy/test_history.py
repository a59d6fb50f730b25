"""Diversion and History-Info: cases/sip/history.toml, and what is hostile."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.history import ENTRIES_READ, read_diversion, read_history

CASES = tomllib.loads((Path(__file__).parents[1] / "cases" / "sip" / "history.toml").read_text("utf-8"))["case"]


@pytest.mark.parametrize("case", CASES, ids=[case["what"] for case in CASES])
def test_history_info(case: dict[str, Any]) -> None:
    told = read_history([value.encode() for value in case["values"]])
    assert [[step.uri.partition("?")[0], step.cause or 0] for step in told] == [
        [uri.partition("?")[0], cause] for uri, cause in case["told"]
    ]
    assert not any("?" in step.uri for step in told)


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"<sip:1@a;cause=302>;index=1.1", b"<sip:2@a?Reason=%>;index=1;mp=1"]))))
def test_anything(values: list[bytes]) -> None:
    assert len(read_history(values)) <= len(values)


def test_only_so_many_entries_are_read() -> None:
    told = read_history([b"<sip:%d@a;cause=302>;index=%d" % (number, number) for number in range(1, 1000)])
    assert len(told) == ENTRIES_READ - 1
    assert told[0].uri == "sip:998@a;cause=302"


@pytest.mark.parametrize(
    ("values", "uris", "hops"),
    [
        ([b"<tel:1>"], ("tel:1",), 1),
        ([b'"desk, 1" <sip:1@a>;reason=no-answer;privacy=full;counter=3', b"<tel:2>;Counter=2"], ("sip:1@a", "tel:2"), 5),
        ([b"<tel:1>;counter=0"], ("tel:1",), 1),
        ([b"<tel:1>;counter=x"], ("tel:1",), 1),
        ([b"<tel:1>;counter=99999999999999"], ("tel:1",), 1000),
        ([b"<tel:1>;counter=9;counter=1"], ("tel:1",), 1),
    ],
)
def test_diversion(values: list[bytes], uris: tuple[str, ...], hops: int) -> None:
    assert read_diversion(values) == (uris, hops)
