"""Reason codes in words: every code that a rule can give has a sentence in both languages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from rules import NoSettings, Outcome, reason_code, reason_codes
from rules.builtin.regular import TABLE

RULES = Path(__file__).resolve().parent.parent.parent / "rules"


def given() -> dict[str, set[str]]:
    """The effects with which each code is given, read from the source of the rules and the chain."""
    effects: dict[str, set[str]] = {"OK": {"ok"}}
    unread = []
    for path in [*(RULES / "builtin").glob("*.py"), RULES / "ruleset.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
            said = node.args if name == "Outcome" else [ast.Constant("mark"), *node.args] if name == "mark" else []
            match said[:2]:
                case [ast.Constant(str(effect)), ast.Constant(str(code))]:
                    effects.setdefault(code, set()).add(effect)
                case [_, code]:
                    unread.append(f"{path.name}: {ast.unparse(code)}")
    for code, row in TABLE.items():
        effects.setdefault(code, set()).update({*row} - {"-"})
    # by name, as an outcome that is read above or a row of the table
    assert set(unread) == {
        "identity.py: outcome.code",
        "international.py: decided.code",
        "international.py: outcome.code",
        "forwarding.py: CONFLICT.code",
        "regular.py: code",
        "regular.py: marked.code",
        "label.py: outcome.code",
        "passport.py: code",
        "passport.py: codes[0]",
        "ruleset.py: outcome.code",
    }
    for kind in ("TRK", "SEG"):  # proxy.limits
        for code in (f"{kind}_CPS", f"{kind}_CALLS"):
            effects[code] = {"reject"}
    return effects


def test_every_code_has_words_and_no_other() -> None:
    assert set(given()) == set(reason_codes())


NO_LAW = {"RULE_FAILED", "TRK_SUSPENDED", "FWD_LOOP", "TRK_CPS", "TRK_CALLS", "SEG_CPS", "SEG_CALLS"}
"""Refusals for which policy.md names no law: our own failure, what the operator decided, what would never end, limits."""


@pytest.mark.parametrize("code", sorted(code for code, effects in given().items() if "reject" in effects))
def test_who_is_refused_is_told_why_by_which_law_and_what_to_do(code: str) -> None:
    words = reason_codes()[code]
    assert words.remedy
    assert bool(words.basis) is (code not in NO_LAW)


@pytest.mark.parametrize(
    ("prefix", "law"),
    [
        ("LIST_CALL", "138号 二(2)"),
        ("INTL_86_", "138号 二(2)"),
        ("CLI_4", "138号 二(2)"),
        ("AUTH_", "138号 二(1)"),
        ("FWD_AUTH", "138号 二(1)"),
        ("MKT_", "138号 一(3)"),
        ("TRK_HOURS", "138号 一(1)"),
        ("LABEL_", "138号 二(3)"),
        ("EMG_", "art. 36"),
    ],
)
def test_the_law_of_policy_md(prefix: str, law: str) -> None:
    assert all(law in words.basis for code, words in reason_codes().items() if code.startswith(prefix) and code != "INTL_86_ROAMING")


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
