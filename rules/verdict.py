"""What policy answers: an Outcome of one rule, the Verdict of the chain, or a Lookup that the chain waits for."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

from rules.notes import Step as Step
from rules.notes import Would as Would

Effect = Literal["reject", "pass", "ok", "mark", "note"]

CODE_FORM: Final = re.compile("[A-Z][A-Z0-9_]{0,63}")
"""What a reason code looks like. Codes are labels of metrics and keys of records: their writer chooses them, never who calls."""


class Outcome:
    """What one rule says of one call. Rules make theirs once and return the same object; `detail` is for `explain` and the records.

    reject ends the chain; pass ends it (emergency only); ok satisfies this rule and gives the call its code; mark notes the code and goes
    on; note only sets its labels. `labels` are set on the call when the outcome takes effect. Raises ValueError or TypeError for what is no
    reason code.
    """

    __slots__ = ("code", "detail", "effect", "labels")

    def __init__(self, effect: Effect, code: str, detail: str = "", labels: tuple[tuple[str, object], ...] = ()) -> None:
        if CODE_FORM.fullmatch(code) is None:
            raise ValueError(f"a reason code is capital letters, digits and _, at most 64, not {code!r:.80}")
        self.effect: Effect = effect
        self.code = code
        self.detail = detail
        self.labels = labels

    def __repr__(self) -> str:
        return f"Outcome({self.effect} {self.code})"


class Lookup:
    """A question whose answer a rule waits for: `kind` names the look-up service, `key` is asked of it, within `deadline` seconds.

    `Directory.services` says which kinds the node has a service for, and their deadlines; a kind without one has no answer, at once.
    The chain stops at the rule that returned it; `RuleSet.resume` puts the answer into `call.answers[(kind, key)]` (None: no answer) and
    asks the same rule again.
    """

    __slots__ = ("deadline", "key", "kind")

    def __init__(self, kind: str, key: str, deadline: float) -> None:
        self.kind = kind
        self.key = key
        self.deadline = deadline


class Verdict:
    """The decision on one call; `proxy.cli` and the records render it with the fields of product.md."""

    __slots__ = (
        "action",
        "authenticated",
        "call_info",
        "called",
        "caller",
        "code",
        "customer",
        "directory_version",
        "elapsed_us",
        "labels",
        "marks",
        "mode",
        "observed",
        "overridden",
        "phrase",
        "policy_version",
        "reason",
        "rule",
        "status",
        "steps",
        "trunk",
        "would",
    )

    def __init__(
        self,
        action: Literal["pass", "reject", "redirect", "drop"],
        code: str,
        rule: str,
        status: int | None,
        phrase: str,
        reason: str,
        caller: str | None,
        called: str | None,
        trunk: str,
        customer: str,
        marks: list[str],
        labels: dict[str, Any] | None,
        mode: str,
        would: Would | None,
        policy_version: str,
        directory_version: str,
    ) -> None:
        self.action = action
        self.code = code
        self.rule = rule
        self.status = status
        self.phrase = phrase
        self.reason = reason  # value of a Reason header field (RFC 3326) that goes with the refusal, or ""
        self.caller = caller
        self.called = called
        self.trunk = trunk
        self.customer = customer
        self.marks = marks
        self.labels = labels
        self.mode = mode
        self.would = would
        self.policy_version = policy_version
        self.directory_version = directory_version
        self.observed: list[Would] | None = None  # every rejection that was not enforced, in the chain's order: `would` is the first
        self.elapsed_us = 0.0
        self.call_info = ""  # value of a Call-Info header field that goes with the refusal, or ""
        self.authenticated: bool | None = None  # the caller's number: inside its customer's segments, not inside, or asked of nobody
        self.overridden = False  # an emergency call that a rule would have rejected
        self.steps: list[Step] | None = None
