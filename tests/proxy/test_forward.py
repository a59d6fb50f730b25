"""What is written into requests that go on: the kernel's twins write what the Python does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.forward import Branches, worker_of, write_numbered
from proxy.sip import kernel

compiled = pytest.mark.skipif(kernel.compiled is None, reason=f"no compiled kernel: {kernel.without}")


def test_a_branch_is_never_repeated() -> None:
    branches = Branches(7, b"0a1b")
    made = [branches.new(b"0123456789ab") for _ in range(300)]
    assert made[0] == b"z9hG4bKsw7.0a1b1.0123456789ab"
    assert made[255] == b"z9hG4bKsw7.0a1b100.0123456789ab"
    assert len({*made}) == 300
    assert {worker_of(branch) for branch in made} == {7}


@compiled
@given(st.binary(max_size=30), st.integers(0, (1 << 64) - 1), st.integers(0, 16), st.binary(max_size=30))
def test_numbers_are_written_alike(before: bytes, number: int, width: int, behind: bytes) -> None:
    assert kernel.compiled is not None
    assert kernel.compiled.numbered(before, number, width, behind) == write_numbered(before, number, width, behind)


@compiled
@given(st.binary(max_size=40), st.binary(min_size=1, max_size=3))
def test_what_is_held(text: bytes, wanted: bytes) -> None:
    assert kernel.compiled is not None
    assert kernel.compiled.holds(text, wanted) is (wanted in text)
    assert kernel.compiled.holds(text + wanted, wanted)
    assert kernel.compiled.holds(wanted + text, wanted)


@compiled
def test_the_kernel_refuses_what_it_cannot_write() -> None:
    assert kernel.compiled is not None
    with pytest.raises(ValueError, match="16 digits"):
        kernel.compiled.numbered(b"", 1, 17, b"")
    with pytest.raises(ValueError, match="nothing"):
        kernel.compiled.holds(b"", b"")
    with pytest.raises(OverflowError):
        kernel.compiled.numbered(b"", -1, 1, b"")
