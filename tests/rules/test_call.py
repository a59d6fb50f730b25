"""Which header carries the calling number (numbers.md): what Call makes of From and PAI."""

from __future__ import annotations

from typing import Any

import pytest

from rules import Call, Trunk

A = "tel:+8675583123456"
B = "tel:+8675583123457"
A_, B_ = "+8675583123456", "+8675583123457"
ANON = "sip:anonymous@anonymous.invalid"
HOST = "sip:pbx.example"
NAME = "sip:reception@pbx.example"


@pytest.mark.parametrize(
    ("kind", "sender", "pai", "presented"),
    [
        ("enterprise", A, (), [A_]),
        ("enterprise", A, (A,), [A_]),
        ("enterprise", A, (B,), [B_, A_]),
        ("enterprise", A, (B, A), [B_, A_]),
        ("enterprise", ANON, (B,), [B_]),
        ("enterprise", NAME, (B,), [B_]),
        ("enterprise", NAME, (), ["reception"]),
        ("enterprise", NAME, ("sip:boss@pbx.example",), ["boss"]),
        ("enterprise", HOST, (NAME,), ["reception"]),
        ("enterprise", NAME, (HOST,), ["reception"]),
        ("enterprise", A, (NAME,), [A_]),
        ("enterprise", A, (HOST,), [A_]),
        ("enterprise", "sip:8001@pbx.example", (B,), [B_, "8001"]),
        ("enterprise", "sip:83x@pbx.example", (B,), [B_, "83x"]),
        ("enterprise", "sip:9５588@pbx.example", (B,), [B_, "9５588"]),
        ("enterprise", ANON, (), []),
        ("enterprise", HOST, (ANON,), []),
        ("interconnect", A, (B,), [B_]),
        ("interconnect", A, (B, A), [B_, A_]),
        ("interconnect", A, (NAME,), [A_]),
        ("international", A, (B,), [B_]),
        ("core", A, (B,), [B_]),
    ],
)
def test_presented(kind: Any, sender: str, pai: tuple[str, ...], presented: list[str]) -> None:
    call = Call(Trunk(id="t", kind=kind, home_area="755"), sender, "sip:110@gw1", at=0.0, pai=pai)
    assert [number.canonical or number.raw for number in call.presented] == presented
    if presented:
        assert call.caller is call.presented[0]
    else:
        assert call.caller.absent


@pytest.mark.parametrize(("sender", "pai", "presented"), [(A, (B,), [B_]), (A, (), [A_]), ("8001", (B,), [B_])])
def test_from_ignored(sender: str, pai: tuple[str, ...], presented: list[str]) -> None:
    trunk = Trunk(id="t", kind="enterprise", home_area="755", from_number="ignore")
    call = Call(trunk, sender, "sip:110@gw1", at=0.0, pai=pai)
    assert [number.canonical for number in call.presented] == presented


@pytest.mark.parametrize(
    ("sender", "canonical"),
    [
        ("12125550100", "+12125550100"),
        ("8613802881946", "+8613802881946"),
        ("+12125550100", "+12125550100"),
        ("0012125550100", "+12125550100"),
        ("sip:12125550100@gw;user=phone", "+12125550100"),
        ("075583123456", "+8675583123456"),
        ("sip:zhangsan@gw", None),
    ],
)
def test_country_codes_without_prefix(sender: str, canonical: str | None) -> None:
    call = Call(Trunk(id="t", kind="international", cli_format="cc"), sender, "sip:110@gw1", at=0.0)
    assert call.caller.canonical == canonical


def test_the_called_number_is_never_read_as_a_bare_country_code() -> None:
    call = Call(Trunk(id="t", kind="international", cli_format="cc", home_area="755"), "12125550100", "sip:83123456@gw1", at=0.0)
    assert call.called.canonical == A_


def test_the_last_diverting_number_is_the_first_entry() -> None:
    trunk = Trunk(id="t", kind="enterprise", home_area="755")
    assert Call(trunk, A, "110", at=0.0).diverting is None
    diverting = Call(trunk, A, "110", at=0.0, diversion=("sip:83123457@pbx", "sip:83123458@pbx")).diverting
    assert diverting is not None
    assert diverting.canonical == B_


def test_marks_are_noted_once() -> None:
    call = Call(Trunk(id="t", kind="core"), A, "110", at=0.0)
    for code in ("ONE", "TWO", "ONE"):
        call.mark(code)
    assert call.marks == ["ONE", "TWO"]
