"""The rule by itself: a policy that orders it, calls, and the answers that a service would give. No node and no service is needed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rules import Call, Directory, Lookup, PolicyFaults, RuleSet, Trunk, Verdict, load_policy

PEER = Trunk(id="peer", kind="interconnect")
CALLER = "+8613712345678"


def policy(settings: str = "", services: Mapping[str, float] | None = None) -> RuleSet:
    directory = Directory.empty()
    directory.services = {"reputation": 1.0} if services is None else services
    text = f'order = ["emergency", "trunk", "reputation", "label"]\n[rules.reputation]\n{settings}\n'
    return load_policy(text, file="policy.toml", directory=directory, trunks={"peer": PEER})


def judged(ruleset: RuleSet, answer: object, caller: str = CALLER) -> Verdict:
    call = Call(PEER, caller, "+8675583668888", at=1_772_416_800.0)
    found = ruleset.evaluate(call)
    if isinstance(found, Lookup):
        assert (found.kind, found.key, found.deadline) == ("reputation", caller, 1.0)
        found = ruleset.resume(call, found, answer)
    assert isinstance(found, Verdict)
    return found


@pytest.mark.parametrize(
    ("settings", "answer", "action", "code", "marks"),
    [
        ("", "good", "pass", "OK", []),
        ("", "doubtful", "pass", "OK", ["REP_DOUBTFUL"]),
        ("", "bad", "reject", "REP_BAD", []),
        ('bad = "mark"', "bad", "pass", "OK", ["REP_BAD"]),
        ("", None, "pass", "OK", []),
        ("", "purple", "pass", "OK", ["RULE_FAILED"]),
        ('on_error = "reject"', "purple", "reject", "RULE_FAILED", []),
        ('on_error = "no opinion"', "purple", "pass", "OK", []),
        ('spare = ["+86137*"]', "never asked", "pass", "OK", []),
        ('spare = ["+8613712345679"]', "bad", "reject", "REP_BAD", []),
        ("[rules.label]\nthreshold = 1\nweights = { REP_DOUBTFUL = 2 }", "doubtful", "pass", "OK", ["REP_DOUBTFUL", "LABEL_SUSPECT"]),
    ],
)
def test_what_becomes_of_an_answer(settings: str, answer: object, action: str, code: str, marks: list[str]) -> None:
    verdict = judged(policy(settings), answer)
    assert (verdict.action, verdict.code, verdict.marks) == (action, code, marks)


def test_explain_says_what_decided() -> None:
    verdict = policy().explain(Call(PEER, CALLER, "+8675583668888", at=0.0), lambda lookup: "doubtful")
    assert verdict.steps is not None
    assert [step.detail for step in verdict.steps if step.rule == "reputation"] == [f"the service calls {CALLER} doubtful"]
    assert policy().codes["REP_DOUBTFUL"].en.startswith("The reputation service doubts")


@pytest.mark.parametrize(
    ("settings", "services", "said"),
    [
        ('spare = ["86137"]', None, "policy.toml:3: rules.reputation.spare[0]: not a number or prefix ('86137'; "),
        ('bad = "drop"', None, "policy.toml:3: rules.reputation.bad: Invalid enum value 'drop'"),
        ("baad = 1", None, "policy.toml:3: rules.reputation.baad: unknown key"),
        ("", {}, 'nobody answers: sipwarden.toml has no [[lookup]] with kind = "reputation"'),
    ],
)
def test_faults_of_its_settings(settings: str, services: Mapping[str, float] | None, said: str) -> None:
    with pytest.raises(PolicyFaults) as raised:
        policy(settings, services)
    assert said in str(raised.value)
