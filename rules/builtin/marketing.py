"""Rule 12: marketing calls (工信部联信管〔2018〕138号 一(3): consent, proper hours, and an end to it after a refusal)."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.builtin.settings import MarketingSettings
from rules.call import Call
from rules.directory import Directory, Segment
from rules.judge import Judge
from rules.numbers import Number
from rules.rule import Check, OnError
from rules.verdict import Outcome

REFUSED: Final = Outcome("reject", "MKT_REFUSED")
NO_CONSENT: Final = Outcome("reject", "MKT_NO_CONSENT")
HOURS: Final = Outcome("reject", "MKT_HOURS")


class Marketing:
    """Reject a marketing call to a number that has refused such calls (谢绝来电), that has not consented to them, or outside hours.

    A call is for marketing where a number presented is in a segment of that purpose: of its trunk, or, on a core trunk, of any. The segment
    says who sells (its customer) and what (its category; without one any refusal stops the call, and only consent to marketing of any
    category allows it). A refusal counts more than consent. The id of the evidence that decided is kept, as label `refusal` or `consent`.
    """

    name: ClassVar = "marketing"
    Config: ClassVar = MarketingSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international", "core"})
    quiet: ClassVar = "no number presented is for marketing"

    def bind(self, config: MarketingSettings, directory: Directory) -> Check:
        """Make the check. Raises ValueError for hours of a category that the configuration does not know."""
        hours_of: dict[str, str] = {name.lower(): hours for name, hours in config.category_hours.items()}
        unknown = [name for name in hours_of if directory.categories and name not in directory.categories]
        if unknown:
            raise ValueError(f"category_hours: no category {', '.join(unknown)}; one of {', '.join(directory.categories)}")
        return MarketingCheck(config.hours, hours_of, directory)


class MarketingCheck(Judge):
    """Marketing, bound."""

    __slots__ = ("_directory", "_hours", "_hours_of", "_selling")

    def __init__(self, hours: str, hours_of: dict[str, str], directory: Directory) -> None:
        self._hours = hours
        self._hours_of = hours_of
        self._directory = directory
        self._selling = directory.marketing

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        selling = self._selling
        core = call.kind == "core"
        if not selling or (call.trunk_id not in selling and not core):
            return None
        called = call.called
        if called.kind == "EMG":
            return None  # whoever calls an ambulance sells nothing
        directory = self._directory
        for number in call.presented:
            if core:
                held = directory.holder(number, call.at, call.trunk.home_area)
                if held is None or held.purpose != "marketing":
                    continue
                outcome = self._ask(call, number, held.category, held.customer, held)
            else:
                terms = directory.terms(number, call.trunk_id, call.at, call.tenant)
                if terms is None or terms.purpose != "marketing":
                    continue
                customer = directory.customer(number, call.trunk_id, call.at, call.tenant)
                outcome = self._ask(call, number, terms.category, customer, None)
            if outcome is not None:
                return outcome
        return None

    def _ask(self, call: Call, number: Number, category: str, customer: str, segment: Segment | None) -> Outcome | None:
        """What the called number has said to calls of this category and customer; the segment is looked for where it is not given."""
        directory = self._directory
        called = call.called
        at = call.at
        why = call.why
        if why is not None:
            if segment is None:
                segment = directory.segment(number, call.trunk_id, at, call.tenant)
            if segment is not None:
                where = f"({segment.file}:{segment.line})"
                why.append(f"{number.canonical} is for {category or 'uncategorised'} marketing of {customer or 'no customer'} {where}")
        refusal = directory.refusal(called, category, customer, at)
        if refusal is not None:
            if refusal.evidence_ref:
                call.label("refusal", refusal.evidence_ref)
            if why is not None:
                why.append(f"{called.canonical} refuses {refusal}")
            return REFUSED
        consent = directory.consent(called, category, customer, at)
        if consent is None:
            if why is not None:
                nearly = directory.nearly_consent(called, at)
                why.append(f"no consent of {called.canonical or repr(called.raw)} counts{': ' if nearly else ''}{nearly}")
            return NO_CONSENT
        call.label("consent", consent.evidence_ref)
        hours = self._hours_of.get(category, self._hours)
        if why is not None:
            why.append(f"{called.canonical} consents to {consent}")
            why.append(f"{directory.spoken(at)}, hours {hours or 'always'}")
        return None if directory.within(hours, at) else HOURS
