"""TNAuthList: DER made by openssl, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.passport.tn_auth_list import TnAuthList, read_tn_auth_list
from tests.rules.passport.material import run

ALL = bytes.fromhex(
    "3030a006160431323334a11530131 60d38363735353833313230303030 02022710 a20f160d38363735353833313330303030".replace(" ", "")
)


def test_every_kind_of_entry() -> None:
    read = read_tn_auth_list(ALL)
    assert read.spcs == {"1234"}
    assert str(read) == "spc 1234, 8675583120000-8675583129999, 8675583130000"
    assert all(number in read for number in ("8675583120000", "8675583129999", "8675583130000"))
    for number in ("8675583119999", "8675583130001", "08675583120000", "675583120000", "", "１２", "86755831200x0", "+8675583120000"):
        assert number not in read


@pytest.mark.parametrize(
    ("config", "good"),
    [
        ("a=EXPLICIT:0,IA5STRING:1234", True),
        ("a=EXPLICIT:2,IA5STRING:112*34#", True),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:100\nc=INTEGER:900", True),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:100\nc=INTEGER:901", False),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:100\nc=INTEGER:0", False),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:100\nc=INTEGER:-1", False),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:100\nc=INTEGER:0x7FFFFFFFFFFFFFFFFFFFFFFF", False),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:10*\nc=INTEGER:2", False),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:100", False),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=IA5STRING:100\nc=INTEGER:2\nd=INTEGER:2", False),
        ("a=EXPLICIT:1,SEQUENCE:r\n[r]\ns=UTF8String:100\nc=INTEGER:2", False),
        ("a=EXPLICIT:2,IA5STRING:1234567890123456", False),
        ("a=EXPLICIT:2,IA5STRING:+8675583120000", False),
        ("a=EXPLICIT:0,UTF8String:1234", False),
        ("a=IMPLICIT:0,IA5STRING:1234", False),
        ("a=EXPLICIT:3,IA5STRING:1234", False),
        ("", False),
    ],
)
def test_from_openssl(config: str, good: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("asn1")
    (path / "config").write_text(f"asn1=SEQUENCE:list\n[list]\n{config}\n")
    run("asn1parse", "-genconf", str(path / "config"), "-noout", "-out", str(path / "der"))
    der = (path / "der").read_bytes()
    if good:
        assert isinstance(read_tn_auth_list(der), TnAuthList)
    else:
        with pytest.raises(ValueError, match=r"."):
            read_tn_auth_list(der)


@pytest.mark.parametrize(
    "der", [ALL + b"\0", ALL[:-1], b"", b"\x30", b"\x30\x80\x00\x00", b"\x30\x81\x30" + ALL[2:], b"\x30\x84\xff\xff\xff\xff", b"\x30\xff"]
)
def test_what_is_no_der(der: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_tn_auth_list(der)


@given(
    st.binary(max_size=64)
    | st.lists(st.tuples(st.integers(0, len(ALL) - 1), st.integers(0, 255)), max_size=4).map(lambda edits: edited(edits))
)
def test_octets_of_any_kind(der: bytes) -> None:
    try:
        read = read_tn_auth_list(der)
    except ValueError:
        return
    assert "1" in read or "1" not in read
    assert str(read)


def edited(edits: list[tuple[int, int]]) -> bytes:
    octets = bytearray(ALL)
    for at, value in edits:
        octets[at] = value
    return bytes(octets)
