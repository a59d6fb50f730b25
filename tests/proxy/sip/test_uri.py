"""SIP, SIPS and tel URIs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip.error import ParseError
from proxy.sip.uri import is_absolute, parse_uri
from tests.proxy.sip.cases import CASES, table


@pytest.mark.parametrize("row", table(CASES / "uris.tsv"), ids=lambda row: row["uri"])
def test_uri(row: dict[str, str]) -> None:
    raw = row["uri"].encode()
    for _ in range(2):  # short ones are kept
        if row["fate"]:
            with pytest.raises(ParseError) as caught:
                parse_uri(raw, "Test")
            assert caught.value.status == int(row["fate"])
            continue
        uri = parse_uri(raw, "Test")
        assert uri.scheme == row["scheme"].encode()
        assert uri.user == (None if row["user"] == "-" else row["user"].encode())
        assert uri.host == row["host"].encode()
        assert uri.port == (int(row["port"]) if row["port"] else None)
        assert uri.params == row["params"].encode()


def test_params() -> None:
    uri = parse_uri(b"sip:a;lr=user@b;LR;Transport=TCP;x=1")
    assert uri.param(b"lr") == b""
    assert uri.param(b"transport") == b"TCP"
    assert uri.param(b"x") == b"1"
    assert uri.param(b"y") is None
    assert parse_uri(b"sip:a;lr@b").param(b"lr") is None


@pytest.mark.parametrize(
    ("uri", "absolute"), [("sip:a", True), ("isbn:1", True), ("sip:", False), (":a", False), ("a", False), ("a b:c", False)]
)
def test_is_absolute(uri: str, absolute: bool) -> None:
    assert is_absolute(uri.encode()) is absolute


@given(st.one_of(st.binary(max_size=60), st.text('sipteln:@;=?%[].+-12a /,<>"', max_size=40).map(lambda text: b"sip:" + text.encode())))
def test_any_octets(raw: bytes) -> None:
    try:
        uri = parse_uri(raw)
    except ParseError as fault:
        status = fault.status
    else:
        status = 0
        assert uri.scheme in (b"sip", b"sips", b"tel")
        assert raw.translate(None, b'\r\n \t<>"') == raw
    assert status in (0, 400, 416)
