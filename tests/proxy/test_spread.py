"""The dictionary in parts: what a dictionary does, and that its parts are small."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip import kernel
from proxy.spread import PARTS, Spread, part

STEPS = st.lists(st.tuples(st.sampled_from(["put", "pop", "remove", "remove other", "clear"]), st.binary(max_size=1), st.integers(0, 3)))


@given(STEPS)
def test_it_is_a_dictionary(steps: list[tuple[str, bytes, int]]) -> None:
    spread: Spread[int] = Spread()
    model: dict[bytes, int] = {}
    for what, key, value in steps:
        if what == "put":
            spread.put(key, value)
            model[key] = value
        elif what == "pop":
            assert spread.pop(key) == model.pop(key, None)
        elif what == "remove":
            spread.remove(key, value)
            if model.get(key) == value:
                del model[key]
        elif what == "remove other":
            spread.remove(key, 100)
        elif not value:
            spread.clear()
            model.clear()
        assert len(spread) == len(model)
        assert (key in spread) is (key in model)
        assert spread.get(key) == model.get(key)
    assert sorted(spread.values()) == sorted(model.values())


def test_parts_are_small() -> None:
    spread: Spread[int] = Spread()
    for number in range(100 * PARTS):
        spread.put(b"z9hG4bKsw0.0000%x.%012x INVITE" % (number, number * 7919), number)
    assert max(len(part) for part in spread.parts) < 200
    assert len(spread) == 100 * PARTS


@pytest.mark.skipif(kernel.compiled is None, reason=f"no compiled kernel: {kernel.without}")
@given(st.binary(max_size=100))
def test_the_kernel_chooses_the_same_part(key: bytes) -> None:
    assert kernel.compiled is not None
    assert 0 <= kernel.compiled.part(key) == part(key) < PARTS
