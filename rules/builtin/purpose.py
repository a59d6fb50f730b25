"""Rule 11: a number is used for what it was assigned for (工信部联信管〔2018〕138号 一(1): purpose is known for each line)."""

from __future__ import annotations

from typing import ClassVar

from rules.call import Call
from rules.directory import Directory, Terms
from rules.numbers import Number
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

PURPOSE = Outcome("reject", "TRK_PURPOSE")
HOURS = Outcome("reject", "TRK_HOURS")
DIRECTION = Outcome("reject", "TRK_DIR")


class Purpose:
    """Reject a call that uses a segment outside its purpose, its hours, or its direction.

    A call has one purpose: a marketing number and one that is not for marketing, presented together, hide the one behind the other. Hours
    are those of the node's time zone and holidays. A number in no segment is another rule's to judge.
    """

    name: ClassVar = "purpose"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international"})
    quiet: ClassVar = "no segment is used outside its purpose, hours or direction"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        limited = directory.limited
        terms_of = directory.terms
        within = directory.within

        def place(call: Call, number: Number) -> str:
            """Where the number's segment stands, for `explain`."""
            segment = directory.segment(number, call.trunk.id, call.at, call.tenant)
            return "" if segment is None else f"({segment.file}:{segment.line})"

        def purpose(call: Call) -> Outcome | None:
            trunk = call.trunk
            trunk_id = trunk.id
            if trunk_id not in limited or trunk.kind == "core":
                return None
            at = call.at
            why = call.why
            used: list[tuple[Number, Terms]] = []
            selling = 0
            for number in call.presented:
                terms = terms_of(number, trunk_id, at, call.tenant)
                if terms is not None:
                    used.append((number, terms))
                    if terms.purpose == "marketing":
                        selling += 1
            if 0 < selling < len(used):
                if why is not None:
                    why.extend([f"{number.canonical} is for {terms.purpose} {place(call, number)}" for number, terms in used])
                return PURPOSE
            for number, terms in used:
                if terms.hours and not within(terms.hours, at):
                    if why is not None:
                        why.append(f"{number.canonical} at {directory.spoken(at)}, its hours are {terms.hours} {place(call, number)}")
                    return HOURS
                if terms.direction == "in":
                    if why is not None:
                        why.append(f"{number.canonical} is for incoming calls only {place(call, number)}")
                    return DIRECTION
                if why is not None:
                    hours = f"{terms.hours} at {directory.spoken(at)}" if terms.hours else "always"
                    why.append(f"{number.canonical} for {terms.purpose}, {terms.direction}, hours {hours} {place(call, number)}")
            return None

        return purpose
