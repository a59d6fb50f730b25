"""The pieces of the grammar: lists, parameters, addresses, hosts."""

from __future__ import annotations

import pytest

from proxy.sip import grammar
from proxy.sip.error import ParseError
from proxy.sip.grammar import end_of_quotes, is_token, name_addr, number, param, split_host, split_list, split_params, tag_of
from tests.proxy.sip.cases import CASES, table


@pytest.mark.parametrize("row", table(CASES / "addresses.tsv"), ids=lambda row: row["value"])
def test_name_addr(row: dict[str, str]) -> None:
    value = row["value"].encode()
    if row["uri"] == "-":
        with pytest.raises(ParseError, match=r"400 .* Test"):
            name_addr(value, "Test")
    else:
        assert tuple(part.decode() for part in name_addr(value, "Test")) == (row["display"], row["uri"], row["tail"])


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ", ["a", "b"]),
        ("a,,b", ["a", "", "b"]),
        (",", ["", ""]),
        ('"a,b",c', ['"a,b"', "c"]),
        ('"a\\",b",c', ['"a\\",b"', "c"]),
        ('"a\\\\",b', ['"a\\\\"', "b"]),
        ("<a,b>,c", ["<a,b>", "c"]),
        ('<a",b>,"c"', ['<a",b>', '"c"']),
        ('a;x="<",b', ['a;x="<"', "b"]),
        ('"a', None),
        ('a,"', None),
        ("<a,b", None),
        ('"a\\", b', None),
    ],
)
def test_split_list(value: str, parts: list[str] | None) -> None:
    if parts is None:
        if "," not in value:
            value += ",b"
        with pytest.raises(ParseError, match=r"400 Unterminated"):
            split_list(value.encode())
    else:
        assert [part.decode() for part in split_list(value.encode())] == parts


@pytest.mark.parametrize(
    ("tail", "params"),
    [
        ("", []),
        (";a", [("a", None)]),
        (" ; A = b ;c", [("a", "b"), ("c", None)]),
        (';a="x;y=z";b', [("a", '"x;y=z"'), ("b", None)]),
        (';a="x\\";b"', [("a", '"x\\";b"')]),
        (";a=[::1]", [("a", "[::1]")]),
        (";a=b=c", [("a", "b=c")]),
        ("a", None),
        (";", None),
        (";;a", None),
        (";a;", None),
        (";a=", None),
        (";=a", None),
        (";a=b c", None),
        (";a b", None),
        (';a="x', None),
        (';a="x"y', None),
        (';a=x"y"', None),
        (',a="x"', None),
        (';<a>=b', None),
    ],
)  # fmt: skip
def test_split_params(tail: str, params: list[tuple[str, str | None]] | None) -> None:
    if params is None:
        with pytest.raises(ParseError, match=r"400 .*Test"):
            split_params(tail.encode(), "Test")
    else:
        assert split_params(tail.encode(), "Test") == [(name.encode(), None if value is None else value.encode()) for name, value in params]


def test_param() -> None:
    assert param(b";a=1;b", b"a", "Test") == b"1"
    assert param(b";a=1;b", b"b", "Test") == b""
    assert param(b";a=1;b", b"c", "Test") is None
    with pytest.raises(ParseError, match=r"400 Parameter repeated in Test"):
        param(b";a=1;A=2", b"a", "Test")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("<sip:a@b>;tag=1", "1"),
        ("<sip:a@b>", None),
        ("sip:a@b;tag=x.y", "x.y"),
        ("<sip:a@b;tag=uri>", None),
        ('"x;tag=display" <sip:a@b>;p=1;TAG = z', "z"),
        ("<sip:a@b>;nottag=1", None),
    ],
)
def test_tag_of(value: str, tag: str | None) -> None:
    assert tag_of(value.encode(), "From") == (None if tag is None else tag.encode())


@pytest.mark.parametrize(
    ("value", "end"),
    [(b'"a"', 3), (b'"a" b', 3), (b'""', 2), (b'"\\""', 4), (b'"\\\\" "', 4), (b'"', -1), (b'"\\"', -1), (b'"a\\\\\\"', -1)],
)
def test_end_of_quotes(value: bytes, end: int) -> None:
    assert end_of_quotes(value, 0) == end


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"a", (b"a", None)),
        (b"a:1", (b"a", 1)),
        (b"[::1]", (b"::1", None)),
        (b"[::1]:65535", (b"::1", 65535)),
        (b"host_with-odd.name", (b"host_with-odd.name", None)),
    ],
)
def test_split_host(value: bytes, found: tuple[bytes, int | None]) -> None:
    assert split_host(value, "Test") == found


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b":1",
        b"a:",
        b"a:b",
        b"a:1:2",
        b"a:65536",
        b"a b",
        b"a\0",
        b"\xff",
        b"[",
        b"[]",
        b"[::1",
        b"[::1]1",
        b"[::1]:",
        b"[a]",
        b"[::1%lo]",
    ],
)
def test_bad_hosts(value: bytes) -> None:
    with pytest.raises(ParseError, match=r"400 .*Test"):
        split_host(value, "Test")


def test_ipv6_texts_are_not_kept_at_any_length() -> None:
    grammar._is_ipv6.cache_clear()
    with pytest.raises(ParseError):
        split_host(b"[" + b":" * 60000 + b"]", "Test")
    assert grammar._is_ipv6.cache_info().currsize == 0


@pytest.mark.parametrize(("value", "limit", "found"), [(b"0", 0, 0), (b"007", 70, 7), (b"70", 70, 70)])
def test_number(value: bytes, limit: int, found: int) -> None:
    assert number(value, limit, "Test") == found


@pytest.mark.parametrize(
    "value", [b"", b"71", b"-1", b"+1", b" 1", b"1 ", b"1_0", b"0x1", b"1e1", b"\xb2", "１".encode(), b"0" * 21, b"9" * 9000]
)
def test_bad_numbers(value: bytes) -> None:
    with pytest.raises(ParseError, match=r"400 Bad Test"):
        number(value, 70, "Test")


def test_tokens() -> None:
    assert is_token(b"a-.!%*_+`'~Z9")
    assert not any(is_token(value) for value in (b"", b"a b", b"a:b", b"a\0", b"\xc3\xa4", b'"a"', b"a/b"))
