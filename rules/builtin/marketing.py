"""Rule 12: marketing calls (工信部联信管〔2018〕138号 一(3): consent, proper hours, and an end to it after a refusal)."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from rules.call import Call
from rules.directory import Directory, Hours
from rules.rule import Check, OnError
from rules.verdict import Outcome

REFUSED = Outcome("reject", "MKT_REFUSED")
NO_CONSENT = Outcome("reject", "MKT_NO_CONSENT")
HOURS = Outcome("reject", "MKT_HOURS")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When marketing calls may be made, in the node's time zone: each category in its own hours, any other in `hours`.

    No official threshold exists for calls in general; the default is ours.
    """

    hours: Hours = Hours("09:00-20:00")
    category_hours: dict[str, Hours] = {}


class Marketing:
    """Reject a marketing call to a number that has refused such calls (谢绝来电), that has not consented to them, or outside hours.

    A call is for marketing where a number presented is in a segment of that purpose: of its trunk, or, on a core trunk, of any. The segment
    says who sells (its customer) and what (its category; without one any refusal stops the call, and only consent to marketing of any
    category allows it). A refusal counts more than consent. The id of the evidence that decided is kept, as label `refusal` or `consent`.
    """

    name: ClassVar = "marketing"
    Config: ClassVar = Settings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international", "core"})
    quiet: ClassVar = "no number presented is for marketing"

    def bind(self, config: Settings, directory: Directory) -> Check:
        """Make the check. Raises ValueError for hours of a category that the configuration does not know."""
        hours_of = {name.lower(): hours for name, hours in config.category_hours.items()}
        unknown = [name for name in hours_of if directory.categories and name not in directory.categories]
        if unknown:
            raise ValueError(f"category_hours: no category {', '.join(unknown)}; one of {', '.join(directory.categories)}")
        selling = directory.marketing
        find = directory.segment
        terms_of = directory.terms
        customer_of = directory.customer
        holder = directory.holder
        within = directory.within

        def marketing(call: Call) -> Outcome | None:
            trunk = call.trunk
            core = trunk.kind == "core"
            if trunk.id not in selling and not (core and selling):
                return None
            called = call.called
            if called.kind == "EMG":
                return None  # whoever calls an ambulance sells nothing
            at = call.at
            why = call.why
            for number in call.presented:
                if core:
                    held = holder(number, at, trunk.home_area)
                    if held is None or held.purpose != "marketing":
                        continue
                    category, customer = held.category, held.customer
                else:
                    terms = terms_of(number, trunk.id, at, call.tenant)
                    if terms is None or terms.purpose != "marketing":
                        continue
                    category, customer = terms.category, customer_of(number, trunk.id, at, call.tenant)
                if why is not None and (segment := held if core else find(number, trunk.id, at, call.tenant)) is not None:
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
                hours = hours_of.get(category, config.hours)
                if why is not None:
                    why.append(f"{called.canonical} consents to {consent}")
                    why.append(f"{directory.spoken(at)}, hours {hours or 'always'}")
                if not within(hours, at):
                    return HOURS
            return None

        return marketing
