"""The chain: what outcomes, modes, failures and look-ups do to a verdict. Rules here are plain functions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rules import Call, Lookup, Outcome, RuleSet, Verdict
from rules.rule import Check, OnError
from rules.ruleset import LOOKUPS_AT_MOST, BoundRule, RuleAction, RuleMode
from tests.rules.cases import AT, cases, check_case, directory, evaluated, make_call, trunks, view

OK = Outcome("ok", "GOOD")
OK_TOO = Outcome("ok", "BETTER")
MARK = Outcome("mark", "ODD", labels=(("odd", True),))
REJECT = Outcome("reject", "BAD", labels=(("bad", True),))
REJECT_TOO = Outcome("reject", "WORSE")
PASS = Outcome("pass", "EMG_OVERRIDE")
UNHEARD_OF = Outcome("drop", "LOST")  # type: ignore[arg-type]


def says(answer: Any) -> Check:
    def check(call: Call) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return check


def rule(name: str, answer: Any, mode: RuleMode = "enforce", on_error: OnError = "mark", *, fixed: bool = False) -> BoundRule:
    return BoundRule(name, answer if callable(answer) else says(answer), mode=mode, on_error=on_error, fixed=fixed)


def chain(*rules: BoundRule) -> RuleSet:
    return RuleSet(rules, directory(), "0123456789ab")


def both(ruleset: RuleSet, trunk: str = "acme-sz") -> Verdict:
    """The verdict of `evaluate`, after seeing that `explain` comes to the same."""
    verdict = evaluated(ruleset, make_call(trunk, "83123456"))
    assert view(ruleset.explain(make_call(trunk, "83123456"))) == view(verdict)
    return verdict


def steps(ruleset: RuleSet, trunk: str = "acme-sz") -> list[tuple[str, str]]:
    told = ruleset.explain(make_call(trunk, "83123456")).steps
    assert told is not None
    return [(step.rule, step.outcome) for step in told]


@cases("observe")
def test_case(case: dict[str, Any]) -> None:
    check_case(case)


def test_an_empty_chain_passes() -> None:
    verdict = both(chain())
    assert (verdict.action, verdict.code, verdict.rule, verdict.status) == ("pass", "OK", "", None)
    assert (verdict.trunk, verdict.customer, verdict.policy_version) == ("acme-sz", "acme", "0123456789ab")
    assert verdict.directory_version == directory().version


def test_the_last_ok_gives_the_code() -> None:
    verdict = both(chain(rule("a", OK), rule("b", OK_TOO), rule("c", MARK), rule("d", None)))
    assert (verdict.action, verdict.code, verdict.rule, verdict.marks, verdict.labels) == ("pass", "BETTER", "b", ["ODD"], {"odd": True})


def test_a_rejection_ends_the_chain() -> None:
    ruleset = chain(rule("a", OK), rule("b", REJECT), rule("c", REJECT_TOO))
    verdict = both(ruleset)
    assert (verdict.action, verdict.code, verdict.rule, verdict.labels) == ("reject", "BAD", "b", {"bad": True})
    assert (verdict.status, verdict.phrase, verdict.reason) == (403, "Forbidden", "Q.850;cause=21")
    assert steps(ruleset) == [("a", "ok"), ("b", "reject")]


def test_a_rule_in_observe_mode() -> None:
    ruleset = chain(rule("a", REJECT, "observe"), rule("b", OK), rule("c", REJECT_TOO, "observe"))
    verdict = both(ruleset)
    assert (verdict.action, verdict.code, verdict.mode) == ("pass", "GOOD", "observe")
    assert verdict.would is not None
    assert (verdict.would.action, verdict.would.code, verdict.would.rule, verdict.would.status) == ("reject", "BAD", "a", 403)
    assert (verdict.marks, verdict.labels) == ([], None)
    assert [(would.rule, would.code) for would in verdict.observed or ()] == [("a", "BAD"), ("c", "WORSE")]
    assert steps(ruleset) == [("a", "observed reject"), ("b", "ok"), ("c", "observed reject")]


def test_explain_names_the_code_of_each_step() -> None:
    ruleset = chain(
        rule("a", REJECT, "observe"),
        rule("b", ValueError()),
        rule("c", None),
        rule("d", MARK),
        rule("e", ValueError(), on_error="no opinion"),
    )
    told = ruleset.explain(make_call("acme-sz", "83123456")).steps
    assert told is not None
    assert [step.code for step in told] == ["BAD", "RULE_FAILED", "", "ODD", ""]


@pytest.mark.parametrize("code", ["", "odd", "A B", "A\n", "É", "A" * 65, "1A", None, 7])
def test_what_is_no_reason_code(code: Any) -> None:
    """Codes are labels and keys: what a rule makes of the caller's text is none, and its failure."""
    with pytest.raises((ValueError, TypeError)):
        Outcome("reject", code)
    verdict = both(chain(rule("a", lambda call: Outcome("reject", code)), rule("b", OK)))
    assert (verdict.code, verdict.marks) == ("GOOD", ["RULE_FAILED"])


@pytest.mark.parametrize(("kind", "key"), [(7, "k"), ("test", b"k"), ("test", None)])
def test_what_is_no_look_up(kind: Any, key: Any) -> None:
    assert evaluated(chain(rule("a", lambda call: Lookup(kind, key, 1.0)), rule("b", OK)), make_call("acme-sz", "83123456")).marks == [
        "RULE_FAILED"
    ]


def test_a_rejection_behind_an_observed_one() -> None:
    verdict = both(chain(rule("a", REJECT, "observe"), rule("b", REJECT_TOO)))
    assert (verdict.action, verdict.code, verdict.mode) == ("reject", "WORSE", "observe")
    assert verdict.would is not None
    assert verdict.would.code == "BAD"


def test_observe_leaves_marks_and_ok_alone() -> None:
    verdict = both(chain(rule("a", MARK, "observe"), rule("b", OK, "observe")))
    assert (verdict.code, verdict.marks, verdict.mode, verdict.would) == ("GOOD", ["ODD"], "enforce", None)


def test_a_trunk_in_observe_does_not_soften_fixed_rules() -> None:
    verdict = both(chain(rule("trunk", REJECT, fixed=True)), "acme-observe")
    assert (verdict.action, verdict.mode, verdict.would) == ("reject", "observe", None)


def test_a_rule_that_is_off_is_told_and_not_asked() -> None:
    ruleset = chain(rule("a", RuntimeError("asked"), "off"), rule("b", OK))
    assert both(ruleset).code == "GOOD"
    assert steps(ruleset) == [("a", "off"), ("b", "ok")]
    assert ruleset.failures == {"a": 0, "b": 0}


def test_emergency_turns_rejections_into_marks() -> None:
    ruleset = chain(rule("emergency", PASS), rule("a", REJECT, fixed=True), rule("b", OK), rule("c", REJECT_TOO))
    verdict = both(ruleset)
    assert (verdict.action, verdict.code, verdict.rule) == ("pass", "EMG_OVERRIDE", "emergency")
    assert (verdict.marks, verdict.labels, verdict.would) == (["BAD", "WORSE"], {"authenticated": False}, None)
    assert steps(ruleset) == [("emergency", "pass"), ("a", "mark"), ("b", "ok"), ("c", "mark")]


@pytest.mark.parametrize(
    ("on_error", "action", "code", "marks"),
    [("reject", "reject", "RULE_FAILED", []), ("mark", "pass", "GOOD", ["RULE_FAILED"]), ("no opinion", "pass", "GOOD", [])],
)
@pytest.mark.parametrize("failure", [ValueError("no"), RecursionError(), "nonsense", 7, UNHEARD_OF, PASS])
def test_a_rule_that_fails(failure: Any, on_error: OnError, action: str, code: str, marks: list[str]) -> None:
    ruleset = chain(rule("a", None), rule("b", failure, on_error=on_error), rule("c", OK))
    verdict = both(ruleset)
    assert (verdict.action, verdict.code, verdict.marks) == (action, code, marks)
    assert ruleset.failures == {"a": 0, "b": 1, "c": 0}  # explain counts none
    assert steps(ruleset)[1] == ("b", "failed")


def test_every_rule_may_fail_at_once() -> None:
    ruleset = chain(*[rule(name, ValueError(name)) for name in "abcd"], rule("e", REJECT))
    for _ in range(3):
        assert both(ruleset).code == "BAD"
    assert ruleset.failures == {"a": 3, "b": 3, "c": 3, "d": 3, "e": 0}


def test_a_failure_that_rejects_is_a_note_in_observe() -> None:
    verdict = both(chain(rule("a", ValueError(), "observe", "reject"), rule("b", OK)))
    assert (verdict.action, verdict.code) == ("pass", "GOOD")
    assert verdict.would is not None
    assert (verdict.would.code, verdict.would.rule) == ("RULE_FAILED", "a")


def test_explain_names_the_error() -> None:
    told = chain(rule("a", ValueError("broken table"))).explain(make_call("acme-sz", "83123456")).steps
    assert told is not None
    assert told[0].detail == "ValueError: broken table; on_error is 'mark'"


class Asks:
    """A rule that waits for an answer, and rejects on "bad"."""

    def __init__(self, key: str = "k") -> None:
        self.key = key
        self.asked = 0

    def __call__(self, call: Call) -> Outcome | Lookup | None:
        self.asked += 1
        if call.answers is None or ("test", self.key) not in call.answers:
            return Lookup("test", self.key, 0.5)
        answer = call.answers["test", self.key]
        return REJECT if answer == "bad" else OK if answer == "good" else None


@pytest.mark.parametrize(("answer", "action", "code"), [("bad", "reject", "BAD"), ("good", "pass", "GOOD"), (None, "pass", "OK")])
def test_a_lookup_parks_the_call_and_resume_goes_on(answer: object, action: str, code: str) -> None:
    before = Asks("never")
    before.asked = 0

    def count(call: Call) -> None:
        before.asked += 1

    ruleset = chain(rule("a", count), rule("b", MARK), rule("c", Asks()), rule("d", None))
    call = make_call("acme-sz", "83123456")
    lookup = ruleset.evaluate(call)
    assert isinstance(lookup, Lookup)
    assert (lookup.kind, lookup.key, lookup.deadline) == ("test", "k", 0.5)
    verdict = ruleset.resume(call, lookup, answer)
    assert isinstance(verdict, Verdict)
    assert (verdict.action, verdict.code, verdict.marks, before.asked) == (action, code, ["ODD"], 1)
    assert view(ruleset.explain(make_call("acme-sz", "83123456"), lambda asked: answer)) == view(verdict)


@pytest.mark.parametrize(("answer", "action", "code"), [("bad", "reject", "BAD"), ("good", "pass", "GOOD")])
def test_what_is_known_already_parks_no_call(answer: str, action: str, code: str) -> None:
    ruleset = chain(rule("a", MARK), rule("b", Asks()), rule("c", None), rule("d", Asks("second")), rule("e", MARK))
    ruleset.recall = lambda lookup: answer if lookup.key == "k" else None
    call = make_call("acme-sz", "83123456")
    found = ruleset.evaluate(call)
    if action == "pass":
        assert isinstance(found, Lookup)
        assert found.key == "second"
        found = ruleset.resume(call, found, None)
    assert isinstance(found, Verdict)
    assert (found.action, found.code, found.marks) == (action, code, ["ODD"])
    assert not any(ruleset.failures.values())


@pytest.mark.parametrize("deadline", ["soon", "1", None, b"1", []])
def test_a_deadline_is_a_number(deadline: Any) -> None:
    ruleset = chain(rule("a", lambda call: Lookup("test", "k", deadline), on_error="reject"))
    assert evaluated(ruleset, make_call("acme-sz", "83123456")).code == "RULE_FAILED"


def test_a_memory_that_fails_is_a_failure_of_the_rule() -> None:
    def broken(lookup: Lookup) -> object:
        raise RuntimeError("no memory")

    ruleset = chain(rule("a", Asks()), rule("b", OK))
    ruleset.recall = broken
    verdict = evaluated(ruleset, make_call("acme-sz", "83123456"))
    assert (verdict.code, verdict.marks, ruleset.failures) == ("GOOD", ["RULE_FAILED"], {"a": 1, "b": 0})


def test_known_answers_are_bounded_too() -> None:
    asks = Asks()

    def endless(call: Call) -> Lookup:
        asks.asked += 1
        return Lookup("test", str(len(call.answers or ())), 1.0)

    ruleset = chain(rule("a", endless, on_error="reject"))
    ruleset.recall = lambda lookup: "known"
    assert evaluated(ruleset, make_call("acme-sz", "83123456")).code == "RULE_FAILED"
    assert asks.asked == LOOKUPS_AT_MOST + 1


def test_what_was_decided_before_a_lookup_is_kept() -> None:
    ruleset = chain(rule("a", REJECT, "observe"), rule("b", Asks()), rule("c", Asks("second")))
    call = make_call("acme-sz", "83123456")
    first = ruleset.evaluate(call)
    assert isinstance(first, Lookup)
    second = ruleset.resume(call, first, "good")
    assert isinstance(second, Lookup)
    assert second.key == "second"
    verdict = ruleset.resume(call, second, "bad")
    assert isinstance(verdict, Verdict)
    assert (verdict.action, verdict.would.code if verdict.would else None) == ("reject", "BAD")


def test_an_emergency_call_waits_for_no_lookup() -> None:
    verdict = both(chain(rule("emergency", PASS), rule("a", Asks()), rule("b", REJECT)))
    assert (verdict.code, verdict.marks, verdict.labels) == ("EMG_OVERRIDE", ["BAD"], {"authenticated": False})


def test_a_rule_that_asks_for_ever_is_a_failure() -> None:
    def asks(call: Call) -> Lookup:
        return Lookup("test", str(len(call.answers or ())), 1.0)

    ruleset = chain(rule("a", asks, on_error="reject"))
    call = make_call("acme-sz", "83123456")
    found = ruleset.evaluate(call)
    for _ in range(LOOKUPS_AT_MOST):
        assert isinstance(found, Lookup)
        found = ruleset.resume(call, found, None)
    assert isinstance(found, Verdict)
    assert (found.code, ruleset.failures) == ("RULE_FAILED", {"a": 1})


def test_a_policy_changed_meanwhile_judges_from_the_start() -> None:
    old = chain(rule("a", MARK), rule("b", Asks()))
    new = chain(rule("b", Asks()), rule("c", OK_TOO))
    call = make_call("acme-sz", "83123456")
    lookup = old.evaluate(call)
    assert isinstance(lookup, Lookup)
    verdict = new.resume(call, lookup, None)
    assert isinstance(verdict, Verdict)
    assert (verdict.code, verdict.marks) == ("BETTER", [])


def test_asking_again_for_what_was_answered_is_a_failure() -> None:
    ruleset = chain(rule("a", Lookup("test", "k", 1.0), on_error="reject"))
    call = make_call("acme-sz", "83123456")
    lookup = ruleset.evaluate(call)
    assert isinstance(lookup, Lookup)
    verdict = ruleset.resume(call, lookup, "answer")
    assert isinstance(verdict, Verdict)
    assert (verdict.code, ruleset.failures) == ("RULE_FAILED", {"a": 1})
    assert ruleset.explain(make_call("acme-sz", "83123456")).code == "RULE_FAILED"


def test_a_call_can_be_explained_after_it_was_judged() -> None:
    ruleset = chain(rule("a", MARK), rule("b", OK))
    call = make_call("acme-sz", "83123456")
    verdict = evaluated(ruleset, call)
    explained = ruleset.explain(call)
    assert view(explained) == view(verdict)
    assert verdict.steps is None
    assert call.why is None


@pytest.mark.parametrize(
    ("action", "status", "phrase", "labels"),
    [
        ("reject", 403, "Forbidden", {"bad": True}),
        ("redirect", 302, "Moved Temporarily", {"bad": True, "redirect_to": "sip:a@b"}),
        ("drop", None, "", {"bad": True}),
    ],
)
class TestActions:
    """What a rejection of a rule does, by its `action`."""

    def rules(self, action: RuleAction, answer: Any, mode: RuleMode = "enforce", on_error: OnError = "reject") -> RuleSet:
        bound = BoundRule("a", says(answer), mode=mode, on_error=on_error, action=action, redirect_to="sip:a@b")
        return chain(rule("first", OK), bound, rule("never", REJECT_TOO))

    def test_enforced(self, action: RuleAction, status: int | None, phrase: str, labels: dict[str, Any]) -> None:
        ruleset = self.rules(action, REJECT)
        verdict = both(ruleset)
        assert (verdict.action, verdict.code, verdict.rule) == (action, "BAD", "a")
        assert (verdict.status, verdict.phrase, verdict.labels) == (status, phrase, labels)
        assert steps(ruleset) == [("first", "ok"), ("a", action)]

    def test_observed(self, action: RuleAction, status: int | None, phrase: str, labels: dict[str, Any]) -> None:
        verdict = both(chain(BoundRule("a", says(REJECT), mode="observe", action=action, redirect_to="sip:a@b"), rule("b", OK)))
        assert (verdict.action, verdict.code, verdict.labels) == ("pass", "GOOD", None)
        assert verdict.would is not None
        assert (verdict.would.action, verdict.would.code, verdict.would.rule, verdict.would.status) == (action, "BAD", "a", status)

    def test_nearly_it_has_nothing_against_the_call(
        self, action: RuleAction, status: int | None, phrase: str, labels: dict[str, Any]
    ) -> None:
        assert both(chain(BoundRule("a", says(MARK), action=action, redirect_to="sip:a@b"))).action == "pass"

    def test_a_rule_that_fails_rejects(self, action: RuleAction, status: int | None, phrase: str, labels: dict[str, Any]) -> None:
        verdict = both(self.rules(action, KeyError("a defect")))
        assert (verdict.action, verdict.code, verdict.status, verdict.labels) == ("reject", "RULE_FAILED", 403, None)


class TestRedirectServer:
    """A trunk that asks us as a redirect server: what would have its request edited rejects the call."""

    def verdict(self, answer: Any, *, rule_mode: RuleMode = "enforce", emergency: bool = False, **changes: Any) -> Verdict:
        trunk = msgspec.structs.replace(trunks()["acme-sz"], reject_profile="redirect", **changes)
        before = [rule("emergency", PASS)] if emergency else []
        ruleset = chain(*before, rule("a", answer, rule_mode), rule("b", OK))
        found = evaluated(ruleset, Call(trunk, "83123456", "1", at=AT))
        assert view(ruleset.explain(Call(trunk, "83123456", "1", at=AT))) == view(found)
        return found

    @pytest.mark.parametrize("effect", ["mark", "ok"])
    @pytest.mark.parametrize("label", ["withhold", "strip_privacy"])
    def test_edits(self, effect: Any, label: str) -> None:
        said = Outcome(effect, "HIDE", labels=((label, True), ("country", "HK")))
        verdict = self.verdict(said)
        assert (verdict.action, verdict.code, verdict.rule, verdict.status, verdict.phrase) == ("reject", "HIDE", "a", 603, "Decline")
        assert (verdict.marks, verdict.labels) == ([], None)
        watched = self.verdict(said, mode="observe")  # of the trunk
        assert (watched.action, watched.would and watched.would.code, watched.marks) == ("pass", "HIDE", [])
        watched = self.verdict(said, rule_mode="observe")
        assert (watched.action, watched.labels) == ("pass", None)
        assert self.verdict(said, emergency=True).action == "pass"

    def test_nearly(self) -> None:
        """What only informs is left out, and what is not asked for is not missed."""
        assert self.verdict(Outcome("mark", "A", labels=(("country", "HK"), ("prefix", "!")))).marks == ["A"]
        assert self.verdict(Outcome("mark", "A", labels=(("withhold", False),))).action == "pass"

    def test_a_rejection_and_a_rule_that_fails(self) -> None:
        assert self.verdict(REJECT).status == 603
        trunk = msgspec.structs.replace(trunks()["acme-sz"], reject_profile="redirect")
        ruleset = chain(rule("a", KeyError("a defect"), on_error="reject"))
        verdict = evaluated(ruleset, Call(trunk, "83123456", "1", at=AT))
        assert (verdict.code, verdict.status, verdict.phrase, verdict.reason) == ("RULE_FAILED", 503, "Service Unavailable", "")
