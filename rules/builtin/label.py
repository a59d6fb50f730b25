"""Rule 15: what each mark says a little of, together makes a suspect (工信部联信管〔2018〕138号 二(3): suspected calls are labelled)."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.builtin.settings import LabelSettings
from rules.call import Call
from rules.directory import Directory
from rules.judge import Judge
from rules.numbers import country_name
from rules.rule import Check, OnError
from rules.verdict import Outcome

WEIGHTS: Final = {
    "ID_PAI_CONFLICT": 1.0,
    "ID_FROM_MISMATCH": 1.0,
    "INTL_NO_CLI": 1.0,
    "INTL_86_UNVERIFIED": 2.0,
    "CLI_EMPTY": 1.0,
    "CLI_ANON": 1.0,
    "CLI_UNASSIGNED": 1.0,
    "CLI_SUB_FIRST": 1.0,
    "CLI_TRUNK0": 1.0,
    "CLI_SAT": 1.0,
    "CLI_LOCAL_NO_AREA": 1.0,
    "CLI_SVC_UNAUTH": 2.0,
    "CLI_EQ_CALLED": 2.0,
    "IC_OWN_NUMBER": 2.0,
    "STIR_CREDENTIAL": 1.0,
    "STIR_SIGNATURE": 2.0,
    "STIR_STALE": 1.0,
    "STIR_ORIG": 2.0,
    "STIR_DEST": 1.0,
    "STIR_DIV": 1.0,
    "STIR_FORMAT": 1.0,
    "FWD_NO_CORR": 2.0,
    "FWD_CONFLICT": 1.0,
}
"""What a mark weighs unless the settings say otherwise; one that is not named weighs nothing."""


class Label:
    """Mark a call whose marks weigh too much as suspect; it is forwarded, and labelled where the settings say how.

    The verdict's label `suspect` holds the score, the threshold and what each mark added. `prefix` and `call_reason` are what the called
    party is shown.
    """

    name: ClassVar = "label"
    Config: ClassVar = LabelSettings
    on_error: ClassVar[OnError] = "no opinion"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international", "core"})
    quiet: ClassVar = "no marks"

    def bind(self, config: LabelSettings, directory: Directory) -> Check:
        """Make the check."""
        return LabelCheck(config)


class LabelCheck(Judge):
    """Label, bound."""

    __slots__ = ("_call_reason", "_country", "_shown", "_threshold", "_weights")

    def __init__(self, config: LabelSettings) -> None:
        self._weights: dict[str, float] = {**WEIGHTS, **config.weights}
        self._threshold: float = config.threshold
        self._call_reason: str = config.call_reason
        self._country: bool = config.country
        self._shown: tuple[tuple[str, object], ...] = tuple(
            [(name, text) for name, text in (("prefix", config.prefix), ("call_reason", config.call_reason)) if text]
        )

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        outcome = self._weigh(call) if call.marks else None
        if not self._country:
            return outcome
        code = call.labels.get("country") if call.labels else None
        if code is None:
            return outcome
        said = f"境外来电 +{code} {country_name(code) or ''}".rstrip()
        if outcome is None:
            call.label("call_reason", said)
            return None
        reason = f"{self._call_reason}; {said}" if self._call_reason else said
        return Outcome(outcome.effect, outcome.code, labels=(*outcome.labels, ("call_reason", reason)))

    def _weigh(self, call: Call) -> Outcome | None:
        marks = call.marks
        weights, threshold = self._weights, self._threshold
        noted = call.weightless
        weighed = {code: weights[code] for code in marks if weights.get(code) and code not in noted}
        score = round(sum(weighed.values()), 6)
        suspect = score > threshold
        if call.why is not None:
            parts = " + ".join([f"{code} {0.0 if code in noted else weights.get(code, 0.0):g}" for code in marks])
            call.why.append(f"{parts} = {score:g}, {'above' if suspect else 'not above'} {threshold:g}")
            if noted:
                call.why.append(f"{', '.join(noted)} weigh nothing: their rules only observe")
        if not suspect:
            return None
        made_of = {"score": score, "threshold": threshold, "marks": weighed}
        return Outcome("mark", "LABEL_SUSPECT", labels=(("suspect", made_of), *self._shown))
