"""Saying no in SIP: cases/policy/profiles.csv."""

from __future__ import annotations

import pytest

from rules import known_profiles
from rules.profile import redress_fault, refusal
from tests.rules.cases import CASES, evaluated, make_call, policy, trunks

ROWS = [line.split("|") for line in (CASES / "profiles.csv").read_text(encoding="utf-8").splitlines()[2:]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:3]))
def test_profiles(row: list[str]) -> None:
    profile, code, redress, status, phrase, reason, call_info = ("" if value == "-" else value for value in row)
    said = refusal(profile, code, redress)
    assert (said.status, said.phrase, said.reason, said.call_info) == (int(status), phrase, reason, call_info)


def test_every_profile_has_its_rows() -> None:
    assert known_profiles() == ("default", "rfc8688", "rfc8197", "us-603plus", "stir", "anonymous", "redirect")
    assert {row[0] for row in ROWS} == set(known_profiles())


def test_an_unknown_profile() -> None:
    with pytest.raises(KeyError):
        refusal("polite", "AUTH_FAIL")


@pytest.mark.parametrize(
    ("profile", "redress", "fault"),
    [
        ("default", "", False),
        ("stir", "nonsense", False),
        ("rfc8688", "", True),
        ("rfc8688", "https://redress.example/jcard", False),
        ("rfc8688", "HTTPS://redress.example/jcard", False),
        ("rfc8688", "http://redress.example/jcard", True),
        ("rfc8688", "mailto:redress@example.com", True),
        ("us-603plus", "", True),
        ("us-603plus", "tel:+8675583120000", False),
        ("us-603plus", "redress.example", True),
        ("us-603plus", "https://redress.example/a;b", True),
        ("us-603plus", "https://redress.example/a b", True),
        ("us-603plus", "https://redress.example/\r\nX: y", True),
        ("us-603plus", "https:", True),
    ],
)
def test_redress(profile: str, redress: str, fault: bool) -> None:
    assert (redress_fault(profile, redress) is not None) is fault


def test_the_verdict_says_it() -> None:
    assert trunks()["acme-608"].redress
    verdict = evaluated(policy(), make_call("acme-608", "83199999"))
    assert (verdict.status, verdict.phrase, verdict.reason) == (608, "Rejected", "")
    assert verdict.call_info == "<https://redress.example/jcard>;purpose=jwscard"
