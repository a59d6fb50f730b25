"""What only a node with the secret can write: dialog tokens, To tags, loop hashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.token import ID_SIZE, TAG_SIZE, TOKEN_SIZE, Secret

SECRET = Secret(b"a secret for tests only")
CALL = (b"call-1", b"from-tag")


def token(sender: bytes = b"sip:+8675583123456@a", pai: tuple[bytes, ...] = (), callee: bytes = b"sip:+862161234567@b") -> bytes:
    return SECRET.dialog_token(*CALL, SECRET.id_code("trunk acme"), SECRET.id_code("next hop switch"), sender, pai, callee)


def test_a_secret_has_some_length() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Secret(b"short")


def test_a_token_says_who_and_which_way() -> None:
    made = token()
    assert len(made) == TOKEN_SIZE and made.isalnum()  # fit for a URI parameter
    for from_tag, to_tag, from_caller in [(CALL[1], b"", True), (CALL[1], b"other", True), (b"other", CALL[1], False)]:
        found = SECRET.check_dialog(made, CALL[0], from_tag, to_tag)
        assert found is not None and found.from_caller is from_caller
        assert (found.ingress, found.egress) == (SECRET.id_code("trunk acme"), SECRET.id_code("next hop switch"))


@pytest.mark.parametrize(
    ("call_id", "from_tag", "to_tag"),
    [
        (b"call-2", b"from-tag", b"x"),
        (b"call-1", b"x", b"y"),
        (b"call-1", b"", b""),
        (b"call-1\nfrom-tag", b"", b""),
        (b"", b"call-1", b"from-tag"),
    ],
)
def test_a_token_is_worth_nothing_elsewhere(call_id: bytes, from_tag: bytes, to_tag: bytes) -> None:
    assert SECRET.check_dialog(token(), call_id, from_tag, to_tag) is None


def test_another_secret_knows_it_not() -> None:
    assert Secret(b"another secret of a node").check_dialog(token(), *CALL, b"") is None


@given(st.integers(0, TOKEN_SIZE - 1), st.integers(0, 255))
def test_a_changed_token_is_no_token(at: int, byte: int) -> None:
    made = bytearray(token())
    if made[at] == byte:
        return
    made[at] = byte
    assert SECRET.check_dialog(bytes(made), *CALL, b"") is None


@given(st.binary(max_size=2 * TOKEN_SIZE))
def test_rubbish_is_no_token(rubbish: bytes) -> None:
    assert SECRET.check_dialog(rubbish, *CALL, b"") is None


PAI = (b"tel:+8675583123457",)


@pytest.mark.parametrize(
    ("from_caller", "sender", "pai", "same"),
    [
        (True, b"sip:+8675583123456@a", PAI, True),
        (True, b"sip:+8675583123456@a", (), True),  # a re-INVITE may leave PAI out
        (True, b"sip:+8675583123456@a", (*PAI, b"tel:1"), False),
        (True, b"sip:+8675583123456@a", (b"tel:1",), False),
        (True, b"sip:+8675583123457@a", PAI, False),
        (True, b"sip:+8675583123457@a", (), False),
        (False, b"sip:+862161234567@b", (), True),
        (False, b"sip:+862161234567@b", PAI, False),
        (False, b"sip:+8675583123456@a", (), False),
    ],
)
def test_identity(from_caller: bool, sender: bytes, pai: tuple[bytes, ...], same: bool) -> None:
    tags = (CALL[1], b"x") if from_caller else (b"x", CALL[1])
    found = SECRET.check_dialog(token(pai=PAI), CALL[0], *tags)
    assert found is not None
    assert SECRET.same_identity(found, sender, pai) is same


def test_to_tags_bind_the_transaction() -> None:
    fields = (b"z9hG4bK1", b"call", b"tag", b"1")
    tag = SECRET.to_tag(*fields)
    assert len(tag) == TAG_SIZE and tag == Secret(b"a secret for tests only").to_tag(*fields)
    for at in range(4):
        changed = (*fields[:at], b"2", *fields[at + 1 :])
        assert SECRET.to_tag(*changed) != tag


def test_ids_are_not_named() -> None:
    assert len(SECRET.id_code("trunk acme")) == ID_SIZE
    assert SECRET.id_code("trunk acme") != SECRET.id_code("next hop acme")
    assert b"acme" not in token()
