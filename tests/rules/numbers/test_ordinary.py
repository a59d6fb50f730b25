"""What a prefix is remembered as holds for every number with it: the short way never differs from reading the whole number."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from rules.numbers import Number
from tests.native import fields

module = sys.modules["rules.numbers.normalise"]  # the function of that name hides it
FIELDS = [name for name in fields(Number) if name[0] != "_"]
prefixes = st.sampled_from(
    ("", "1", "138", "134", "1349", "1740", "161", "170", "755", "10", "21", "951", "954", "95", "400", "10110", "75595", "86", "0755")
)
digits = st.text("0123456789", min_size=4, max_size=12)


forms = st.sampled_from(
    ("sip:+86{}@host;user=phone", "sip:0{}@host", "sip:{}@host", "tel:+86{}", "tel:0{}", "tel:{}", "sip:+86{}", "sip:{}")
)


def agree(uri: str) -> bool:
    short: Number | None = module._ordinary(uri)
    whole: Number = module._read(uri, "755")
    assert short is None or [getattr(short, name) for name in FIELDS] == [getattr(whole, name) for name in FIELDS], uri
    return short is not None


@given(forms, prefixes, digits)
def test_the_short_way_agrees(form: str, prefix: str, rest: str) -> None:
    agree(form.format(prefix + rest))


def test_the_short_way_agrees_for_every_prefix() -> None:
    module.clear_cache()
    tails = ("0000000", "1111111", "9511000", "0110000", "9999999", "5361947")
    taken = sum(
        agree(form.format((str(start) + tails[(start + size) % len(tails)])[:size]))
        for size in (10, 11)
        for start in range(1000, 200_000, 61)
        for form in ("sip:+86{}@h", "sip:0{}@h", "tel:{}")
    )
    assert taken > 3_000


written = st.sampled_from(("{}", "+86{}", "tel:+86-{}", "sip:%2B86{}@host", "sip:(0){}@host", "tel:{};phone-context=+86", "sips:0{};a=b@h"))


@given(written, prefixes, digits, st.sampled_from(("755", None)))
def test_the_short_way_agrees_behind_separators_and_escapes(form: str, prefix: str, rest: str, home: str | None) -> None:
    uri = form.format(prefix + rest)
    short, whole = module._read(uri, home, short=True), module._read(uri, home)
    assert [getattr(short, name) for name in FIELDS] == [getattr(whole, name) for name in FIELDS], uri


def test_whole_number_facts_are_not_remembered() -> None:
    module.clear_cache()
    for uri in ("sip:+867550000000@h", "sip:+8675595588@h", "sip:+864008123123@h", "sip:95110@h", "sip:075583123456", "tel:+86110"):
        assert module._ordinary(uri) is None


def test_what_is_remembered_is_bounded() -> None:
    module.clear_cache()
    for size in range(1, 33):
        for start in range(1000, 100_000, 211):
            agree(f"tel:{f'{start}000000000000000000000000000'[:size]}")
    assert 100 < sum(one is not None for one in module._beginnings) <= 38_000
