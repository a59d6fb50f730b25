"""Any text is an answer, never an exception, and never dear."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rules.numbers import PLAN, Number, normalise
from rules.numbers.normalise import GENERATION, LONGEST_RAW, cache_size, clear_cache
from tests.native import fields

AREAS = st.one_of(st.none(), st.sampled_from(["755", "10", "951", "754", "0755", "26", ""]))
SCHEMES = st.sampled_from(["", "sip:", "sips:", "tel:", "SIP:", "Tel:"])
PREFIXES = st.sampled_from(
    ["", "+", "00", "0", "+86", "0086", "86", "+860", "860", "+867 55", "0755", "010", "95", "951", "10", "106", "+1", "+852"]
)
DIGITS = st.text("0123456789", max_size=18)
SEPARATED = st.text("0123456789-. ()", max_size=24)
CODES = st.sampled_from([*sorted(PLAN.areas), *sorted(PLAN.codes)])
NUMBERISH = st.builds(str.__add__, PREFIXES, st.one_of(DIGITS, SEPARATED, CODES))
# Area codes, prefixes and codes one behind the other: where two readings meet.
STEMS = st.one_of(CODES, st.sampled_from([*sorted(PLAN.services), *sorted(PLAN.classes)]))
COUNTRY = st.sampled_from(["", "0", "+86", "+860", "86", "0086"])
MEETINGS = st.builds("{}{}{}{}".format, COUNTRY, STEMS, STEMS, st.text("0123456789", max_size=8))
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


def whole(number: Number) -> tuple[object, ...]:
    return tuple(getattr(number, name) for name in fields(Number) if name not in ("raw", "_nsn"))


@given(SCHEMES, st.one_of(ANY_TEXT, NUMBERISH), AREAS)
@example("sip:", "\ud800@\udfff", "755")
@example("", "%" * 128, None)
@example("tel:", "1;phone-context=" + "+" * 500, None)
@example("sip:", "a:b:c@d:e@f", None)
def test_never_raises(scheme: str, text: str, area: str | None) -> None:
    number = normalise(scheme + text, area)
    assert (number.canonical is None) <= (number.code is not None)
    assert number.absent == (number.code in ("CLI_EMPTY", "CLI_ANON"))
    assert (number.key == 0) == (number.canonical is None or len(number.canonical) > 17)


@given(st.one_of(NUMBERISH, MEETINGS), AREAS)
def test_canonical_stays_what_it_is(text: str, area: str | None) -> None:
    number = normalise(text, area)
    if number.canonical is not None:
        again = normalise(number.canonical, None)
        assert (again.canonical, again.kind) == (number.canonical, number.kind)
        assert again.form == "plus"


@given(st.one_of(NUMBERISH, MEETINGS), AREAS, st.lists(st.tuples(st.integers(0, 30), st.sampled_from("-. ()")), max_size=6))
def test_separators_say_nothing(text: str, area: str | None, separators: list[tuple[int, str]]) -> None:
    separated = text
    for place, sign in separators:
        separated = separated[:place] + sign + separated[place:]
    assert whole(normalise(separated, area)) == whole(normalise(text, area))


@given(st.one_of(NUMBERISH, MEETINGS), AREAS)
def test_percent_encoding_says_nothing(text: str, area: str | None) -> None:
    encoded = "".join(f"%{ord(sign):02X}" for sign in text)
    assert whole(normalise(f"sip:{encoded}@h", area)) == whole(normalise(f"sip:{text}@h", area))
    assert whole(normalise(text.replace("+", "%2B"), area)) == whole(normalise(text, area))


@given(st.one_of(NUMBERISH, MEETINGS), AREAS)
def test_scheme_host_and_parameters_say_nothing(text: str, area: str | None) -> None:
    bare = whole(normalise(text, area))
    assert whole(normalise(f"sip:{text};npdi;rn=+861380@10.0.0.1;user=phone", area)) == bare
    assert whole(normalise(f"tel:{text};isub=1", area)) == bare


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("9" * 100_000, "CLI_LEN"),
        ("-" * 100_000, "CLI_LEN"),
        ("x" * 100_000, "CLI_NON_DIGIT"),
        ("+" * 100_000, "CLI_NON_DIGIT"),
        ("%" * 100_000, "CLI_NON_DIGIT"),
        ("1" * 100, "CLI_LEN"),
        ("0" * 100, "CLI_ALL_ZERO"),
        ("+" + "1" * 100, "CLI_INTL_BAD"),
        ("950" + "1" * 40, "CLI_LEN"),
    ],
)
@pytest.mark.parametrize("uri", ["sip:{}@h", "tel:{}", "{}"])
def test_long_inputs_are_refused_and_not_kept(text: str, code: str, uri: str) -> None:
    clear_cache()
    number = normalise(uri.format(text), "755")
    assert (number.canonical, number.code) == (None, code)
    assert len(number.raw) <= LONGEST_RAW
    assert cache_size() == (len(uri.format(text)) <= 128)


def test_the_cache_is_bounded_and_hands_out_the_same_object() -> None:
    clear_cache()
    first = normalise("+8613800000000", None)
    assert normalise("+8613800000000", None) is first
    for value in range(2 * GENERATION + 10):
        normalise(f"+86138{value:08}", None)
    assert cache_size() <= 2 * GENERATION
    assert normalise("+8613800000000", None) is not first
    clear_cache()


def test_home_areas_are_kept_apart() -> None:
    assert normalise("83123456", "755").canonical != normalise("83123456", "10").canonical
