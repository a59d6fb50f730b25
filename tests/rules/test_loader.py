"""policy.toml to a RuleSet: order, settings, and everything that can be wrong with them."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rules import PolicyFault, PolicyFaults, default_policy, load_policy
from rules.loader import BUILTIN
from tests.rules.cases import CASES, directory, evaluated, make_call, policy, trunks

FAULTS = sorted((CASES / "faults").glob("*.toml"))
ALL = [
    "emergency",
    "trunk",
    "intercept",
    "privacy",
    "identity",
    "international",
    "regular",
    "own_number",
    "forwarding",
    "segments",
    "purpose",
    "marketing",
    "passport",
    "label",
]


def test_the_packaged_policy() -> None:
    ruleset = policy()
    assert [rule.name for rule in ruleset.order] == ALL == list(BUILTIN)
    assert ruleset.warnings == ()
    assert ruleset.policy_version == hashlib.sha256(default_policy().encode()).hexdigest()[:12]
    assert {rule.name: rule.on_error for rule in ruleset.order} == {
        "emergency": "no opinion",
        "trunk": "reject",
        "intercept": "mark",
        "privacy": "mark",
        "identity": "mark",
        "international": "reject",
        "regular": "mark",
        "own_number": "mark",
        "forwarding": "reject",
        "segments": "reject",
        "purpose": "mark",
        "marketing": "mark",
        "passport": "mark",
        "label": "no opinion",
    }


def test_every_position_of_the_packaged_order_says_why() -> None:
    lines = [line for line in default_policy().splitlines() if line.startswith('    "')]
    assert len(lines) == len(BUILTIN)
    assert all("#" in line for line in lines)


def test_a_table_without_an_order_sets_the_packaged_rules() -> None:
    ruleset = policy('[rules.own_number]\nmode = "off"\n[rules.regular]\non_error = "reject"\n')
    assert [rule.name for rule in ruleset.order] == ALL
    assert evaluated(ruleset, make_call("peer", "+8675586000002")).action == "pass"
    assert {rule.on_error for rule in ruleset.order if rule.name == "regular"} == {"reject"}


def test_positions_can_be_moved() -> None:
    ruleset = policy(f"order = {['emergency', 'segments', *[name for name in ALL if name not in ('emergency', 'segments')]]}")
    assert evaluated(ruleset, make_call("acme-sz", "4008123123")).code == "AUTH_FAIL"


def test_a_built_in_rule_left_out_is_a_warning() -> None:
    ruleset = policy('# a comment\norder = ["emergency", "trunk", "segments"]\n[rules.regular]\nmode = "off"\n')
    assert [str(warning) for warning in ruleset.warnings if "built-in" in str(warning)] == [
        f"policy.toml:2: order: the built-in rule {name} is not in it and judges no call"
        for name in ALL
        if name not in ("emergency", "trunk", "segments")
    ]
    assert [str(warning) for warning in ruleset.warnings if "effect" in str(warning)] == [
        "policy.toml:3: rules.regular: has no effect: the rule is not in `order`"
    ]


def test_marks_behind_label_are_a_warning() -> None:
    order = ", ".join(f'"{name}"' for name in [*ALL[:-3], "label", *ALL[-3:-1]])
    assert [str(warning) for warning in policy(f"order = [{order}]").warnings] == [
        "policy.toml:1: order[11]: label is not last: the marks of marketing, passport weigh nothing"
    ]


def test_an_international_trunk_without_roaming_check_is_a_warning() -> None:
    (warning,) = policy(roaming=False).warnings
    assert "no roaming check" in str(warning)
    assert "gw-cc" in str(warning)
    assert policy(roaming=False, service=True).warnings == ()
    assert load_policy(None, file="", directory=directory(roaming=False), trunks={"peer": trunks()["peer"]}).warnings == ()


@pytest.mark.parametrize("path", FAULTS, ids=lambda path: path.stem)
def test_faults(path: Path) -> None:
    """A file named for what is wrong with it; its first lines say what must be found: `#: LINE KEY: a part of the message`."""
    text = path.read_text(encoding="utf-8")
    with pytest.raises(PolicyFaults) as raised:
        load_policy(text, file="policy.toml", directory=directory(), trunks=trunks())
    expected = [line.removeprefix("#: ") for line in text.splitlines() if line.startswith("#: ")]
    assert len(raised.value.faults) == len(expected), str(raised.value)
    for fault, said in zip(raised.value.faults, expected, strict=True):
        place, part = said.split(": ", 1)
        line, _, key = place.partition(" ")
        assert (str(fault.line), fault.key) == (line, key), str(fault)
        assert part in str(fault)
        assert str(fault).startswith(f"policy.toml:{line}: ")


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"order": 3}, "order"),
        ({"order": ["emergency", "trunk", 3]}, "order[2]"),
        ({"rules": [1]}, "rules"),
        ({"rules": {"intercept": 1}}, "rules.intercept"),
        ({"rules": {"intercept": {"mode": ["enforce"]}}}, "rules.intercept.mode"),
    ],
)
def test_the_wrong_type_is_a_fault(document: dict[str, Any], key: str) -> None:
    text = "\n".join(f"{name} = {toml(value)}" for name, value in document.items())
    assert tomllib.loads(text) == document
    with pytest.raises(PolicyFaults) as raised:
        policy(text)
    assert key in [fault.key for fault in raised.value.faults]


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_a_fault_reads_well() -> None:
    fault = PolicyFault("policy.toml", 3, "rules.intercept.mode", "no such value", "'enfroce'", "one of 'enforce', 'observe', 'off'")
    assert str(fault) == "policy.toml:3: rules.intercept.mode: no such value ('enfroce'; one of 'enforce', 'observe', 'off')"


def test_where_a_rule_sends_callers_without_sending_them_is_a_warning() -> None:
    ruleset = policy('[rules.segments]\nredirect_to = "sip:announcement@192.0.2.9"\n')
    assert [str(warning) for warning in ruleset.warnings] == [
        'policy.toml:2: rules.segments.redirect_to: has no effect without action = "redirect"'
    ]


@pytest.mark.parametrize(
    "uri",
    [
        "sip:192.0.2.9",
        "sip:+8675583120000@[2001:db8::1]:5062;transport=tcp;user=phone",
        "sips:announce.example",
        "tel:+8675583120000;phone-context=+86",
    ],
)
def test_where_a_rule_may_send_callers(uri: str) -> None:
    ruleset = policy(f'[rules.segments]\naction = "redirect"\nredirect_to = "{uri}"\n')
    verdict = evaluated(ruleset, make_call("acme-sz", "+8675599999999"))
    assert (verdict.action, verdict.code, verdict.status, verdict.labels) == ("redirect", "AUTH_FAIL", 302, {"redirect_to": uri})
