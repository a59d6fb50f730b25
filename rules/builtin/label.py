"""Rule 15: what each mark says a little of, together makes a suspect (工信部联信管〔2018〕138号 二(3): suspected calls are labelled)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from rules.call import Call
from rules.directory import Directory
from rules.numbers import country_name
from rules.rule import Check, OnError
from rules.verdict import Outcome

WEIGHTS = {
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

Weight = Annotated[float, msgspec.Meta(ge=-1000, le=1000)]
Shown = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What a called party's display may show: RFC 9796 §6 advises no more than 64 characters."""


class LabelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[rules.label]`. A call is suspect where its marks weigh more than `threshold`; `weights` are added to the defaults."""

    threshold: Weight = 3.0
    weights: dict[str, Weight] = {}
    prefix: Shown = ""
    """What the display name of a suspect call begins with."""
    call_reason: Shown = ""
    """What Call-Info says of a suspect call (RFC 9796)."""
    country: bool = False
    """Whether Call-Info names the country of an international caller."""


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
        weights = {**WEIGHTS, **config.weights}
        threshold = config.threshold
        shown = tuple([(name, text) for name, text in (("prefix", config.prefix), ("call_reason", config.call_reason)) if text])

        def label(call: Call) -> Outcome | None:
            marks = call.marks
            if not marks:
                return None
            noted = call.weightless
            weighed = {code: weights[code] for code in marks if weights.get(code) and code not in noted}
            score = round(sum(weighed.values()), 6)
            suspect = score > threshold
            if call.why is not None:
                parts = " + ".join(f"{code} {0.0 if code in noted else weights.get(code, 0.0):g}" for code in marks)
                call.why.append(f"{parts} = {score:g}, {'above' if suspect else 'not above'} {threshold:g}")
                if noted:
                    call.why.append(f"{', '.join(noted)} weigh nothing: their rules only observe")
            if not suspect:
                return None
            made_of = {"score": score, "threshold": threshold, "marks": weighed}
            return Outcome("mark", "LABEL_SUSPECT", labels=(("suspect", made_of), *shown))

        if not config.country:
            return label

        def label_with_country(call: Call) -> Outcome | None:
            outcome = label(call)
            code = call.labels.get("country") if call.labels else None
            if code is None:
                return outcome
            said = f"境外来电 +{code} {country_name(code) or ''}".rstrip()
            if outcome is None:
                call.label("call_reason", said)
                return None
            reason = f"{config.call_reason}; {said}" if config.call_reason else said
            return Outcome(outcome.effect, outcome.code, labels=(*outcome.labels, ("call_reason", reason)))

        return label_with_country
