"""Files under the names that an operator gives: what is read of them, and what is said of the rest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rules.text_file import DEEPEST, TextFault, check_text, not_utf8, parse_toml, read_file


def fault(text: str) -> tuple[int, str]:
    with pytest.raises(TextFault) as raised:
        parse_toml(text)
    return raised.value.line, raised.value.problem


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for size in (0, 1, 4095, 4096, 4097, 100_000):
        path.write_bytes(b"x" * size)
        assert len(read_file(path, 100_000)) == size
    with pytest.raises(TextFault, match="100000 octets, more than 99999"):
        read_file(path, 99_999)


@pytest.mark.parametrize("change", ["longer", "shorter", "as long"])
def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10_000)
    real = os.pread

    def read(handle: int, count: int, at: int) -> bytes:
        data = real(handle, count, at)
        path.write_bytes(b"y" * {"longer": 10_001, "shorter": 9_999, "as long": 10_000}[change])
        os.utime(path, ns=(1, 1))
        return data

    monkeypatch.setattr(os, "pread", read)
    with pytest.raises(TextFault, match="changed while it was read"):
        read_file(path, 100_000)


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, new = tmp_path / "x", tmp_path / "y"
    path.write_bytes(b"x" * 10_000)
    new.write_bytes(b"y" * 20_000)
    real = os.read

    def read(handle: int, count: int) -> bytes:
        if new.exists():
            new.rename(path)
        return real(handle, count)

    monkeypatch.setattr(os, "read", read)
    assert read_file(path, 100_000) == b"x" * 10_000


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a\nb\nc", None),
        (b"a\r\nb\r\n", None),
        (b"", None),
        (b"xxxx\n" * 1000, None),
        (b"xxxxxxxx", None),
        (b"a\nxxxxxxxxx", 2),
        (b"a\nxxxxxxxxx\nb", 2),
        (b"a\nxxxxxxxx\nb", None),
        (b"a\n\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n", 3),
        (b"a\rb", 1),
        (b"a\n\0", 2),
        (b"\xfe\xff\0a", 1),
        (b"\xef\xbb\xbfa", 1),
    ],
)
def test_lines(data: bytes, line: int | None) -> None:
    if line is None:
        check_text(data, 8)
    else:
        with pytest.raises(TextFault) as raised:
            check_text(data, 8)
        assert raised.value.line == line


@pytest.mark.parametrize(("octets", "problem"), [("骚扰".encode("gbk"), "not UTF-8, perhaps GBK"), (b"\xff\xff", "not UTF-8")])
def test_another_encoding(octets: bytes, problem: str) -> None:
    with pytest.raises(UnicodeDecodeError) as raised:
        (b"a\n" + octets + b"\nb").decode()
    found = not_utf8(raised.value)
    assert (found.line, found.problem) == (2, problem)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a = [" + "[" * DEEPEST + "]" * DEEPEST + "]", 1, "nested more than 16 deep"),
        ("a = 1\nb" + ".b" * (DEEPEST + 1) + " = 1", 2, "nested more than 16 deep"),
        ("a = 1\n[b" + ".b" * (DEEPEST + 1) + "]", 2, "nested more than 16 deep"),
        ("a = '''\n'''\nb = " + "{a=" * 20, 3, "nested more than 16 deep"),
        ("a = " + "9" * 5000, 1, "a number of too many digits"),
        ("a = 1\nb = [1,\n2,\n", 2, "not valid TOML: Invalid value"),
        ("a = 1\nb = 'x\nc = 1\n", 2, 'not valid TOML: Expected "\'"'),
        ('a = 1\nb = """x\nc = 1\n', 2, "not valid TOML: Unterminated string"),
        ("a = 1\na = 2\n", 2, "not valid TOML: Cannot overwrite a value"),
        ("a", 1, "not valid TOML: Expected '=' after a key in a key/value pair"),
        (f"[{'x' * 5000}]\n" * 2, 2, "not valid TOML: Cannot declare ('" + "x" * 43 + "..."),
    ],
)
def test_what_is_no_toml_of_ours(text: str, line: int, problem: str) -> None:
    assert fault(text) == (line, problem)


@pytest.mark.parametrize(
    "text",
    [
        "a = [" + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1) + "]",
        "b" + ".b" * DEEPEST + " = 1",
        "a = '" + "[" * 100 + "'",
        'a = "\\"' + "[" * 100 + '"',
        "a = '''\n" + "[" * 100 + "'''",
        'a = """"' + "[" * 100 + '\\""""',
        "# " + "[" * 100,
        "a = [" + "1.5, " * 100 + "]",
        "a = [\n" + "1.5\n, " * 100 + "]",
    ],
)
def test_what_only_looks_deep(text: str) -> None:
    parse_toml(text)
