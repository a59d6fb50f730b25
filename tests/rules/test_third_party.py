"""Rules of other packages: a package with entry points is put on the path, as pip would install it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rules import PolicyFaults, RuleSet, reason_codes
from rules.loader import BUILTIN
from tests.rules.cases import evaluated, make_call, policy

SOURCE = '''
import msgspec
from rules import NoSettings, Outcome, ReasonCode

class Curfew:
    """Rejects calls at certain seconds of the minute."""
    name = "curfew"
    on_error = "reject"
    kinds = frozenset({"enterprise"})
    quiet = "no curfew now"

    class Config(msgspec.Struct, kw_only=True):
        seconds: list[int] = []
        limits: dict[str, int] = {}

    def bind(self, config, directory):
        if 60 in config.seconds:
            raise ValueError("a minute has no second 60")
        outcome = Outcome("reject", "CURFEW", "second of a curfew")
        return lambda call: outcome if call.trunk.kind == "enterprise" and int(call.at) % 60 in config.seconds else None

class Fails:
    name = "fails"
    Config = NoSettings
    def bind(self, config, directory):
        def check(call):
            raise KeyError("at run time")
        return check

class Passes:
    name = "passes"
    Config = NoSettings
    def bind(self, config, directory):
        return lambda call: Outcome("pass", "FREE")

class Renamed:
    name = "another"
    Config = NoSettings
    def bind(self, config, directory):
        return lambda call: None

class NoConfig:
    name = "no_config"
    def bind(self, config, directory):
        return lambda call: None

class NoBind:
    name = "no_bind"
    Config = NoSettings

class NoCheck:
    name = "no_check"
    Config = NoSettings
    def bind(self, config, directory):
        return "not a check"

def explains(rule, codes):
    return type(rule, (Renamed,), {"name": rule, "codes": codes})

Told = explains("told", {"ODD_TOLD": ReasonCode(en="Odd.", zh="异常。")})
ToldAgain = explains("told_again", {"ODD_TOLD": ReasonCode(en="Odd.", zh="异常。")})
ToldAList = explains("told_a_list", ["ODD"])
ToldAWord = explains("told_a_word", {"ODD": "Odd."})
ToldLower = explains("told_lower", {"odd": ReasonCode(en="Odd.", zh="异常。")})
ToldOurs = explains("told_ours", {"AUTH_FAIL": ReasonCode(en="Odd.", zh="异常。")})

class CannotBeMade:
    def __init__(self, needed):
        pass

class Segments(Renamed):
    name = "segments"

ready_made = Fails()
'''

BROKEN = """
import sys
sys.modules["acme_broken_was_imported"] = sys
raise RuntimeError("no licence")
"""

POINTS = """[sipwarden.rules]
curfew = acme_rules:Curfew
fails = acme_rules:ready_made
passes = acme_rules:Passes
renamed = acme_rules:Renamed
no_config = acme_rules:NoConfig
no_bind = acme_rules:NoBind
no_check = acme_rules:NoCheck
cannot_be_made = acme_rules:CannotBeMade
told = acme_rules:Told
told_again = acme_rules:ToldAgain
told_a_list = acme_rules:ToldAList
told_a_word = acme_rules:ToldAWord
told_lower = acme_rules:ToldLower
told_ours = acme_rules:ToldOurs
absent = acme_rules:Absent
broken = acme_broken:Rule
segments = acme_rules:Segments
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "acme_rules.py").write_text(SOURCE)
    (tmp_path / "acme_broken.py").write_text(BROKEN)
    info = tmp_path / "acme_rules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("acme_rules", "acme_broken", "acme_broken_was_imported"):
        sys.modules.pop(name, None)


@pytest.fixture
def with_rule() -> Callable[..., RuleSet]:
    def load(name: str, table: str = "") -> RuleSet:
        return policy(f'order = ["emergency", "trunk", "{name}", "segments"]\n{table}')

    return load


def message(load: Callable[[], RuleSet]) -> str:
    with pytest.raises(PolicyFaults) as raised:
        load()
    return str(raised.value)


def test_a_rule_with_its_settings(with_rule: Callable[..., RuleSet]) -> None:
    ruleset = with_rule("curfew", "[rules.curfew]\nseconds = [0, 1]\n")
    verdict = evaluated(ruleset, make_call("acme-sz", "83123456", at=600.0))
    assert (verdict.action, verdict.code, verdict.rule) == ("reject", "CURFEW", "curfew")
    assert evaluated(ruleset, make_call("acme-sz", "83123456", at=630.0)).code == "AUTH_OK"


def test_explain_knows_its_words(with_rule: Callable[..., RuleSet]) -> None:
    ruleset = with_rule("curfew", "[rules.curfew]\nseconds = [0]\n")

    def detail(trunk: str, at: float) -> str:
        steps = ruleset.explain(make_call(trunk, "83123456", at=at)).steps
        assert steps is not None
        return steps[2].detail

    assert detail("acme-sz", 600.0) == "second of a curfew"
    assert detail("acme-sz", 601.0) == "no curfew now"
    assert detail("peer", 600.0) == "does not judge calls from interconnect trunks"


def test_modes_hold_for_it(with_rule: Callable[..., RuleSet]) -> None:
    ruleset = with_rule("curfew", '[rules.curfew]\nmode = "observe"\nseconds = [0]\n')
    verdict = evaluated(ruleset, make_call("acme-sz", "83123456", at=600.0))
    assert (verdict.action, verdict.code) == ("pass", "AUTH_OK")
    assert verdict.would is not None
    assert verdict.would.rule == "curfew"


def test_its_exception_is_a_mark_and_counted(with_rule: Callable[..., RuleSet]) -> None:
    ruleset = with_rule("fails")
    verdict = evaluated(ruleset, make_call("acme-sz", "83123456"))
    assert (verdict.action, verdict.code, verdict.marks) == ("pass", "AUTH_OK", ["RULE_FAILED"])
    assert ruleset.failures["fails"] == 1


def test_it_cannot_let_a_call_pass_the_rules_behind_it(with_rule: Callable[..., RuleSet]) -> None:
    verdict = evaluated(with_rule("passes"), make_call("acme-sz", "83199999"))
    assert (verdict.action, verdict.code, verdict.marks) == ("reject", "AUTH_FAIL", ["RULE_FAILED"])


def test_it_is_imported_only_when_named(with_rule: Callable[..., RuleSet]) -> None:
    with_rule("curfew")
    assert "acme_broken_was_imported" not in sys.modules
    assert "no licence" in message(lambda: with_rule("broken"))
    assert "acme_broken_was_imported" in sys.modules


def test_it_cannot_take_a_built_in_rule_s_name(with_rule: Callable[..., RuleSet]) -> None:
    assert evaluated(policy(), make_call("acme-sz", "83199999")).code == "AUTH_FAIL"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("broken", "policy.toml:1: order[2]: cannot be imported: RuntimeError: no licence ('broken'; "),
        ("absent", "cannot be imported: AttributeError: module 'acme_rules' has no attribute 'Absent'"),
        ("cannot_be_made", "cannot be created: TypeError: "),
        ("renamed", "acme_rules:Renamed calls itself 'another'"),
        ("no_config", "has no Config that is a msgspec.Struct"),
        ("no_bind", "has no bind"),
        ("no_check", "its bind gives 'not a check', which cannot be called"),
        ("told_a_list", "its codes are ['ODD'], not a mapping of reason codes to rules.ReasonCode"),
        ("told_a_word", "its codes explain ODD with 'Odd.', not with a rules.ReasonCode"),
        ("told_lower", "its codes have 'odd': a reason code is capital letters, digits and _, at most 64"),
        ("told_ours", "its codes explain AUTH_FAIL, which is a code of the built-in rules"),
        ('told", "told_again', "order[3]: its codes explain ODD_TOLD, as those of another rule in `order` do"),
        ("nobodys", f"unknown rule ('nobodys'; known rules: {', '.join(BUILTIN)}, curfew, fails, "),
    ],
)
def test_what_can_be_wrong_with_it(with_rule: Callable[..., RuleSet], name: str, part: str) -> None:
    assert part in message(lambda: with_rule(name))


def test_its_codes_in_words(with_rule: Callable[..., RuleSet]) -> None:
    assert with_rule("told").codes["ODD_TOLD"].zh == "异常。"
    assert with_rule("told").codes.keys() - {"ODD_TOLD"} == with_rule("curfew").codes.keys() == reason_codes().keys()


@pytest.mark.parametrize(
    ("code", "warned"),
    [("ODD_TOLD", False), ("ACME_ANY", False), ("ODD_TOLDD", True), ("CLI_ANNON", True), ("MKT_BOGUS", True)],
)
def test_its_marks_may_be_weighed(with_rule: Callable[..., RuleSet], code: str, warned: bool) -> None:
    """A code that only looks like one that there is weighs nothing, and nobody may notice."""
    ruleset = policy(f'order = ["emergency", "trunk", "told", "label"]\n[rules.label.weights]\n{code} = 1\n')
    assert any("no rule gives this mark" in str(warning) for warning in ruleset.warnings) is warned


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("seconds = [60]", "policy.toml:2: rules.curfew: cannot be bound: ValueError: a minute has no second 60"),
        ("seconds = [\n1,\n'2']", "policy.toml:5: rules.curfew.seconds[1]: Expected `int`, got `str` ('2'; "),
        (
            "second = 60",
            "rules.curfew.second: unknown key (60; it has: mode, on_error, action, redirect_to, seconds, limits; did you mean 'seconds'",
        ),
        ("limits = { a = 1, b = 'x' }", "policy.toml:3: rules.curfew.limits"),
    ],
)
def test_what_can_be_wrong_with_its_settings(with_rule: Callable[..., RuleSet], table: str, part: str) -> None:
    assert part in message(lambda: with_rule("curfew", f"[rules.curfew]\n{table}\n"))
