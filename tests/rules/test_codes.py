"""Reason codes in words: every code that a rule can give has a sentence in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rules import NoSettings, Outcome, reason_code, reason_codes
from rules.builtin.regular import TABLE

RULES = Path(__file__).resolve().parent.parent.parent / "rules"


def given() -> set[str]:
    """The codes that stand in the source of the rules and the chain."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*(RULES / "builtin").glob("*.py"), RULES / "ruleset.py"])
    return {*re.findall(r'Outcome\("\w+", "([A-Z0-9_]+)"', text), *TABLE, "OK"}


def test_every_code_has_words_and_no_other() -> None:
    assert given() == set(reason_codes())


def test_every_code_of_the_numbers_is_in_the_table_of_irregular_callers() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (RULES / "numbers").glob("*.py"))
    text += (RULES / "numbers" / "plan.toml").read_text(encoding="utf-8")
    assert set(re.findall(r'"(CLI_[A-Z0-9_]+)"', text)) <= set(TABLE)


@pytest.mark.parametrize("code", list(reason_codes()))
def test_both_languages(code: str) -> None:
    words = reason_code(code)
    assert words is not None
    assert words.en.endswith(".")
    assert re.search(r"[\u4e00-\u9fff]", words.zh)
    assert bool(words.remedy) == bool(words.remedy_zh)


def test_codes_of_others_have_none() -> None:
    assert reason_code("THIRD_PARTY") is None


def test_outcomes_and_settings_are_public() -> None:
    assert repr(Outcome("mark", "ODD")) == "Outcome(mark ODD)"
    assert NoSettings() == NoSettings()
