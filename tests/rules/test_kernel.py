"""The compiled kernel of policy finds and reads what the Python does."""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import kernel
from rules.directory.entry import Entry
from rules.directory.index import ExactIndex, Sections, SpanIndex
from rules.directory.rows import RowReader, RowWriter

compiled = pytest.mark.skipif(kernel.compiled is None, reason=f"no compiled kernel: {kernel.without}")
normalise = sys.modules["rules.numbers.normalise"]  # the function of that name hides it
PLACES = ("rules.directory.index", "rules.directory.rows")


@contextmanager
def alone() -> Iterator[None]:
    """Indexes that are made now are read by the Python."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PLACES:
            patch.setattr(sys.modules[name], "compiled", None)
        yield


@compiled
@pytest.mark.parametrize("count", [1, 2, 3, 40, 700])
def test_finds_rows_by_key_as_the_python_does(count: int) -> None:
    draw = random.Random(count)
    keys = [draw.choice((draw.getrandbits(64), draw.randrange(count))) for _ in range(count)]
    sections: Sections = {}
    ExactIndex.build(sections, "x", keys, range(count))
    ours = ExactIndex(sections, "x")
    with alone():
        pythons = ExactIndex(sections, "x")
    for key in (*keys, *range(count), 0, (1 << 64) - 1, *[draw.getrandbits(64) for _ in range(50)]):
        found = ours.find(key)
        assert tuple(found) == tuple(pythons.find(key)) == tuple([row for row, other in enumerate(keys) if other == key])


@compiled
@pytest.mark.parametrize("count", [1, 2, 30, 200])
def test_finds_rows_by_interval_as_the_python_does(count: int) -> None:
    draw = random.Random(count)
    ends = [sorted(draw.sample(range(1, 5 * count + 5), 2)) for _ in range(count)]
    sections: Sections = {}
    SpanIndex.build(sections, "x", [(low, high) for low, high in ends], range(count))
    ours = SpanIndex(sections, "x")
    with alone():
        pythons = SpanIndex(sections, "x")
    for place in (*range(5 * count + 10), (1 << 64) - 1):
        found = tuple(ours.find(place))
        assert found == tuple(pythons.find(place)) == tuple([row for row, (low, high) in enumerate(ends) if low <= place < high])


@compiled
def test_reads_rows_as_the_python_does() -> None:
    writer = RowWriter()
    rows = [Entry("l", seq, "+86" * seq, "exact", "caller", "", "", "", None, 1.5 * seq, "global") for seq in range(20)]
    for row in rows:
        writer.add(row)
    sections: Sections = {}
    writer.sections(sections, "x")
    ours = RowReader(sections, "x", Entry)
    with alone():
        pythons = RowReader(sections, "x", Entry)
    assert [ours[row] for row in range(20)] == [pythons[row] for row in range(20)] == rows
    for beyond in (20, -1, 1 << 40):
        with pytest.raises(IndexError):
            ours[beyond]


def view(code: str, *values: int) -> memoryview[int]:
    return memoryview(array(code, values))


@compiled
@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("Exact", (view("I", 0), view("Q"), view("I"))),
        ("Exact", (view("Q", 0, 1), view("Q", 1), view("I", 1))),
        ("Exact", (None, view("Q", 1), view("I", 1))),
        ("Spans", (view("Q", 0), view("I", 0), view("I"))),
        ("Spans", (view("Q", 0), view("I", 0, 0, 0), view("I"))),
        ("Spans", ("x", view("I", 0, 0), view("I"))),
        ("Rows", (view("I", 1), view("Q", 0, 1))),
    ],
)
def test_takes_no_arrays_of_another_form(name: str, arrays: tuple[Any, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        getattr(kernel.compiled, name)(*arrays)


@compiled
def test_reads_nothing_beyond_its_arrays() -> None:
    assert kernel.compiled is not None
    with pytest.raises(IndexError):
        kernel.compiled.Exact(view("I", 0, 9), view("Q", 1), view("I", 1)).find(5)
    with pytest.raises(IndexError):
        kernel.compiled.Spans(view("Q", 0), view("I", 0, 9), view("I", 1)).find(5)
    with pytest.raises(IndexError):
        kernel.compiled.Spans(view("Q", 5), view("I", 0, 1), view("I", 1)).find(4)
    for ends in ((0, 9), (5, 1), (1, 1)):
        with pytest.raises(IndexError):
            kernel.compiled.Rows(view("B", 1, 2, 3), view("Q", *ends)).encoded(0)


numbers = st.one_of(
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(("sip:", "tel:", "sips:", "SIP:", "", "sip")),
        st.sampled_from(("+86", "0", "", "+", "+8", "86", "00", "+860", "+85")),
        st.one_of(st.text("0123456789", min_size=8, max_size=13), st.text("01a٣-%;", max_size=12)),
        st.sampled_from(("", "@", "@host", "@hôst", ";a=b", ";a@h", "@h@h", "\0", "@\ud800")),
    ),
    st.text(),
)


@compiled
@given(numbers)
def test_reads_an_ordinary_number_as_the_python_does(uri: str) -> None:
    assert kernel.compiled is not None
    found, expected = kernel.compiled.read_number(uri), normalise.read_number(uri)
    assert found == (expected if uri.isascii() else None)


@compiled
@pytest.mark.parametrize("wrong", [None, b"tel:+8613800000000", 1])
def test_reads_text_only(wrong: Any) -> None:
    assert kernel.compiled is not None
    with pytest.raises(TypeError):
        kernel.compiled.read_number(wrong)
