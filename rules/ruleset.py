"""The chain of rules: one loop over bound checks, what their outcomes do to a verdict, and the same thing told step by step.

Laws of the chain, from policy.md:

- reject ends it, unless observe mode (the rule's or the trunk's) turns it into a note or an emergency override turns it into a mark;
- a note weighs nothing and does nothing to the call; `observed` holds all of them, and `would` is the first: had it been enforced, the
  chain would have ended there;
- ok gives the call its code, and the last one counts; mark is noted; both go on;
- a mark of a rule in observe mode is noted without its labels, and weighs nothing in rule label, so that nothing is done to the call;
- what a rejection does is the rule's `action`: reject, redirect elsewhere, or drop in silence; a rule that fails only ever rejects;
- a redirect server cannot withhold a caller or strip Privacy: on its trunks an outcome that would have that done rejects the call;
- pass belongs to the rule `emergency` alone: the rules after it are still read, and what they would reject becomes marks;
- a rule that raises, or breaks the protocol, is counted and becomes what its `on_error` says; the chain goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args

from rules.call import Call, Trunk
from rules.codes import ReasonCode, reason_codes
from rules.directory import Directory
from rules.judge import Judge, Weightless, as_judge
from rules.profile import DEFAULT, REDIRECT, Refusal, known_profiles, refusal
from rules.rule import Check, OnError
from rules.trunk import TrunkKind
from rules.verdict import Lookup, Outcome, Step, Verdict, Would

RuleMode = Literal["enforce", "observe", "off"]
RuleAction = Literal["reject", "redirect", "drop"]
Resolver = Callable[[Lookup], object]
"""Answers a Lookup; None: no answer."""

FAILED: Final[dict[str, Outcome | None]] = {
    "reject": Outcome("reject", "RULE_FAILED"),
    "mark": Outcome("mark", "RULE_FAILED"),
    "no opinion": None,
}
"""What becomes of a call on which a rule failed, by `on_error`."""


KINDS: Final[tuple[TrunkKind, ...]] = get_args(TrunkKind)

AUTHENTICATED: Final = frozenset({"AUTH_OK", "FWD_OK"})
"""Codes of rules that found the caller, or who forwarded the call, to be the trunk's customer."""

LOOKUPS_AT_MOST: Final = 8
"""Look-ups that one call may wait for, one after the other."""


MOVED: Final = Refusal(302, "Moved Temporarily", "")
"""A rejection that sends the caller elsewhere; where to is the label `redirect_to`."""

_ONLY_INLINE: Final = frozenset({"withhold", "strip_privacy"})
"""Labels that have the request itself edited, for the sake of who is called."""


class BrokenProtocol(Exception):
    """A rule answered what a rule may not answer."""


class BoundRule:
    """One position of the chain. `fixed`: neither its own mode nor the trunk's softens it (rules 1 and 2). `action`: what its rejection
    does; `redirect_to` is the URI for "redirect". `silent`: its check is known to say nothing of a call from a trunk of a kind that is not
    in `kinds`, and is not asked.
    """

    __slots__ = ("action", "check", "fixed", "kinds", "mode", "name", "on_error", "quiet", "redirect_to", "silent")

    def __init__(
        self,
        name: str,
        check: Check,
        *,
        mode: RuleMode = "enforce",
        on_error: OnError = "mark",
        fixed: bool = False,
        kinds: frozenset[str] | None = None,
        quiet: str = "",
        action: RuleAction = "reject",
        redirect_to: str = "",
        silent: bool = False,
    ) -> None:
        self.name = name
        self.action: RuleAction = action
        self.redirect_to = redirect_to
        judge = as_judge(check)
        self.check: Judge = judge if mode != "observe" else Weightless(judge)
        self.mode: RuleMode = mode
        self.on_error: OnError = on_error
        self.fixed = fixed
        self.kinds = kinds
        self.quiet = quiet
        self.silent = silent

    def judges(self, kind: str) -> bool:
        """Whether calls from trunks of this kind are shown to it."""
        return not self.silent or self.kinds is None or kind in self.kinds


class Chain:
    """The rules that are asked about calls from one kind of trunk, and their checks, in order."""

    __slots__ = ("checks", "rules")

    def __init__(self, rules: tuple[BoundRule, ...]) -> None:
        self.rules = rules
        self.checks: tuple[Judge, ...] = tuple([rule.check for rule in rules])


class RuleSet:
    """A loaded policy over a directory. Immutable but for counters (and a rule's own, such as the emergency allowance); swapped, never
    changed.

    `evaluate` never raises, whatever the call. `failures` counts, by rule, how often a rule failed; `warnings` are what the loader found
    odd but not wrong. `codes` explains every reason code that its rules are known to give, those of third parties included. `recall` may be
    set to what knows answers to Lookups already (None: it does not know): a call that needs no other answer does not wait.
    """

    __slots__ = ("_chains", "_whole", "codes", "directory", "failures", "order", "policy_version", "recall", "warnings")

    def __init__(
        self,
        rules: tuple[BoundRule, ...],
        directory: Directory,
        policy_version: str,
        warnings: tuple[Any, ...] = (),
        codes: Mapping[str, ReasonCode] | None = None,
    ) -> None:
        self.order = rules
        self.codes = reason_codes() if not codes else {**reason_codes(), **codes}
        self.directory = directory
        self.policy_version = policy_version
        self.warnings = warnings
        self.recall: Resolver | None = None
        self.failures: dict[str, int] = {rule.name: 0 for rule in rules}
        active = [rule for rule in rules if rule.mode != "off"]
        self._chains = {kind: Chain(tuple([rule for rule in active if rule.judges(kind)])) for kind in KINDS}
        self._whole = Chain(tuple(active))  # for a kind that no configuration loader has seen

    def evaluate(self, call: Call) -> Verdict | Lookup:
        """Decide on a call, or name the Lookup that the decision waits for (then go on with `resume`). A Call is judged once."""
        return self._run(call, self._undecided(call), self._chains.get(call.kind, self._whole), 0)

    def resume(self, call: Call, lookup: Lookup, answer: object) -> Verdict | Lookup:
        """Go on with a call that waited for `lookup`, at the rule that asked; `answer` None: there was none in time.

        A call that another RuleSet had begun (the policy was reloaded meanwhile) is judged from the start, with the answers it has.
        """
        _note(call, lookup, answer)
        state: tuple[RuleSet, Verdict, Chain, int] | None = call.state
        call.state = None
        if state is None or state[0] is not self:
            call.begin_again()
            return self.evaluate(call)
        _, verdict, chain, position = state
        return self._run(call, verdict, chain, position)

    def explain(self, call: Call, resolver: Resolver | None = None) -> Verdict:
        """Decide as `evaluate` does, and tell each rule's part in `steps`. `resolver` answers Lookups; without one they have no answer.

        Counts no failures, and takes nothing from the emergency allowance.
        """
        call.begin_again()
        call.answers = None
        verdict = self._undecided(call)
        steps: list[Step] = []
        for rule in self.order:
            if rule.mode == "off":
                steps.append(Step(rule.name, "off", ""))
                continue
            call.why = why = []
            said, code = "no opinion", ""
            try:
                outcome = self._answer(call, rule.check, resolver, waits=verdict.code != "EMG_OVERRIDE")
                final = outcome is not None and self._settle(call, verdict, rule, outcome)
                if outcome is not None:
                    said, code = "reject" if _must_reject(call, rule, outcome) else outcome.effect, outcome.code
                    if said == "reject":
                        emergency = verdict.code == "EMG_OVERRIDE"
                        said = verdict.action if final else "mark" if emergency else "observed reject"
                    if outcome.detail:
                        why.append(outcome.detail)
            except Exception as error:
                outcome = FAILED[rule.on_error]
                final = outcome is not None and self._settle(call, verdict, rule, outcome)
                said, code = "failed", "" if outcome is None else outcome.code
                why.append(f"{type(error).__name__}: {error}; on_error is {rule.on_error!r}")
            if not why:
                why.append(self._silence(rule, call) if outcome is None else outcome.code)
            steps.append(Step(rule.name, said, "; ".join(why), code))
            if final:
                break
        call.why = None
        self._close(call, verdict)
        verdict.steps = steps
        return verdict

    def _answer(self, call: Call, check: Judge, resolver: Resolver | None, *, waits: bool) -> Outcome | None:
        """Ask a check until it needs no more Lookups; where the call waits for none, a Lookup is no opinion."""
        while True:
            outcome = check.judge(call)
            if not isinstance(outcome, Lookup):
                return outcome
            if not waits:
                return None
            self._refuse_wrong(call, outcome)
            _note(call, outcome, None if resolver is None else resolver(outcome))
            if call.why:
                call.why.clear()  # the check looks at the whole call again, and says again what it finds

    @staticmethod
    def _silence(rule: BoundRule, call: Call) -> str:
        if rule.kinds is not None and call.trunk.kind not in rule.kinds:
            return f"does not judge calls from {call.trunk.kind} trunks"
        return rule.quiet

    def _undecided(self, call: Call) -> Verdict:
        """The verdict of an empty chain."""
        if call.trunk.customers:
            call.tell_customer(self.directory)
        trunk = call.trunk
        return Verdict(
            "pass",
            "OK",
            "",
            None,
            "",
            "",
            call.caller.canonical,
            call.called.canonical,
            trunk.id,
            trunk.customer,
            call.marks,
            None,
            trunk.mode,
            None,
            self.policy_version,
            self.directory.version,
        )

    def _run(self, call: Call, verdict: Verdict, chain: Chain, position: int) -> Verdict | Lookup:
        """The hot loop over a chain, from a position on. A check that raises is counted, and the loop entered again behind it."""
        checks = chain.checks
        end = len(checks)
        while position < end:
            try:
                while position < end:
                    outcome = checks[position].judge(call)
                    if outcome is not None:
                        if isinstance(outcome, Lookup):
                            if verdict.code != "EMG_OVERRIDE":  # else: an emergency call waits for nobody, and the rule has no opinion
                                self._refuse_wrong(call, outcome)
                                known = None if self.recall is None else self.recall(outcome)
                                if known is None:
                                    call.state = (self, verdict, chain, position)
                                    return outcome
                                _note(call, outcome, known)
                                continue  # it is asked again; at most LOOKUPS_AT_MOST times
                        elif self._settle(call, verdict, chain.rules[position], outcome):
                            end = 0
                    position += 1
            except Exception:  # whatever a rule breaks on, the call gets its verdict
                rule = chain.rules[position]
                position += 1
                self.failures[rule.name] += 1
                failure = FAILED[rule.on_error]
                if failure is not None and self._settle(call, verdict, rule, failure):
                    end = 0
        self._close(call, verdict)
        return verdict

    @staticmethod
    def _close(call: Call, verdict: Verdict) -> None:
        """The chain is over: an emergency caller whose number no rule found to be its customer's is labelled."""
        if verdict.code == "EMG_OVERRIDE" and not verdict.authenticated:
            call.label("authenticated", False)
        if call.instead is not None and verdict.authenticated:
            verdict.authenticated = None  # the number that forwarded the call was found to be its customer's, not the caller's
        verdict.labels = call.labels

    @staticmethod
    def _refuse_wrong(call: Call, lookup: Lookup) -> None:
        if not isinstance(lookup.deadline, int | float):
            raise BrokenProtocol(f"a look-up's deadline is a number of seconds, not {lookup.deadline!r}")
        if {type(lookup.kind), type(lookup.key)} != {str}:
            raise BrokenProtocol(f"a look-up's kind and key are text, not {lookup.kind!r} and {lookup.key!r}")
        if call.answers is not None and (lookup.kind, lookup.key) in call.answers:
            raise BrokenProtocol(f"asked twice for {lookup.kind} {lookup.key!r}")
        if call.answers is not None and len(call.answers) >= LOOKUPS_AT_MOST:
            raise BrokenProtocol(f"more than {LOOKUPS_AT_MOST} look-ups for one call")

    def _settle(self, call: Call, verdict: Verdict, rule: BoundRule, outcome: Outcome) -> bool:
        """Let an outcome take effect; True where it ends the chain. Raises, before anything is changed, where it is no proper Outcome."""
        effect = outcome.effect
        if outcome.labels and verdict.code != "EMG_OVERRIDE" and _must_reject(call, rule, outcome):
            outcome = Outcome("reject", outcome.code, outcome.detail)
            effect = "reject"
        if effect == "ok" or effect == "pass":
            if effect == "pass" and rule.name != "emergency":
                raise BrokenProtocol("only the rule emergency may answer pass")
            if outcome.labels:
                self._label(call, _without_edits(outcome) if rule.mode == "observe" else outcome)
            if outcome.code in AUTHENTICATED:
                verdict.authenticated = True
            if verdict.code != "EMG_OVERRIDE":
                verdict.code = outcome.code
                verdict.rule = rule.name
            return False
        if effect == "note":
            if rule.mode == "enforce":
                self._label(call, outcome)
            return False
        if effect == "mark":
            if rule.mode == "enforce":
                self._label(call, outcome)
                call.mark(outcome.code)
            else:
                call.mark_weightless(outcome.code)
            return False
        if effect != "reject":
            raise BrokenProtocol(f"an outcome cannot be {effect!r}")
        if outcome.code == "AUTH_FAIL":
            verdict.authenticated = False
        if verdict.code == "EMG_OVERRIDE":
            call.mark(outcome.code)
            verdict.overridden = True
            return False
        trunk = call.trunk
        action = rule.action if outcome.code != "RULE_FAILED" else "reject"
        said = _refusal(trunk, outcome.code) if action == "reject" else MOVED if action == "redirect" else None
        if not rule.fixed and (rule.mode == "observe" or trunk.mode == "observe"):
            if rule.mode == "enforce":
                self._label(call, _without_edits(outcome))  # only the trunk is observed: what goes on is said not to hold
            would = Would(action, outcome.code, rule.name, said.status if said is not None else None)
            if verdict.observed is None:
                verdict.would = would
                verdict.observed = [would]
                if rule.mode == "observe":
                    verdict.mode = "observe"
            else:
                verdict.observed.append(would)
            return False
        self._label(call, outcome)
        verdict.action = action
        verdict.code = outcome.code
        verdict.rule = rule.name
        if action == "redirect":
            call.label("redirect_to", rule.redirect_to)
        if said is not None:
            verdict.status = said.status
            verdict.phrase = said.phrase
            verdict.reason = said.reason
            verdict.call_info = said.call_info
        return True

    @staticmethod
    def _label(call: Call, outcome: Outcome) -> None:
        if outcome.labels:
            for name, value in outcome.labels:
                call.label(name, value)


def _note(call: Call, lookup: Lookup, answer: object) -> None:
    if call.answers is None:
        call.answers = {}
    call.answers[lookup.kind, lookup.key] = answer


def _without_edits(outcome: Outcome) -> Outcome:
    """What a rule in observe mode is satisfied by, without what it would have done to the call."""
    kept = tuple([label for label in outcome.labels if label[0] not in _ONLY_INLINE])
    return outcome if len(kept) == len(outcome.labels) else Outcome(outcome.effect, outcome.code, outcome.detail, kept)


def _must_reject(call: Call, rule: BoundRule, outcome: Outcome) -> bool:
    """Whether an outcome would have the request edited on a trunk whose requests never pass through us."""
    if not outcome.labels or call.trunk.reject_profile != REDIRECT:
        return False
    if outcome.effect != "ok" and (outcome.effect != "mark" or rule.mode != "enforce"):
        return False
    return any(name in _ONLY_INLINE and value for name, value in outcome.labels)


def _refusal(trunk: Trunk, code: str) -> Refusal:
    """A trunk that no configuration loader has seen may name any profile, and evaluate never raises."""
    profile = trunk.reject_profile
    if profile == "default":
        return DEFAULT
    return refusal(profile, code, trunk.redress) if profile in known_profiles() else DEFAULT
