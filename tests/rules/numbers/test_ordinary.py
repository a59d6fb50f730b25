"""What a prefix is remembered as holds for every number with it: the short way never differs from reading the whole number."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from rules.numbers import Number
from rules.numbers.number import Number as Whole

module = sys.modules["rules.numbers.normalise"]  # the function of that name hides it
prefixes = st.sampled_from(
    ("", "1", "138", "134", "1349", "1740", "161", "170", "755", "10", "21", "951", "954", "95", "400", "10110", "75595", "86", "0755")
)
digits = st.text("0123456789", min_size=4, max_size=12)


@given(prefixes, digits)
def test_the_short_way_agrees(prefix: str, rest: str) -> None:
    uri = f"sip:+86{prefix}{rest}@host;user=phone"
    short: Number | None = module._ordinary(uri)
    whole: Number = module._read(uri, "755")
    if short is not None:
        assert [getattr(short, slot) for slot in Whole.__slots__] == [getattr(whole, slot) for slot in Whole.__slots__]


def test_whole_number_facts_are_not_remembered() -> None:
    module.clear_cache()
    assert module._ordinary("sip:+867550000000@h") is None
    assert module._ordinary("sip:+8675595588@h") is None
    assert module._ordinary("sip:+864008123123@h") is None
    assert not module._prefixes
