"""Rule 11: a number is used for what it was assigned for (工信部联信管〔2018〕138号 一(1): purpose is known for each line)."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call
from rules.directory import Directory, Terms
from rules.judge import Judge
from rules.numbers import Number
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

PURPOSE: Final = Outcome("reject", "TRK_PURPOSE")
HOURS: Final = Outcome("reject", "TRK_HOURS")
DIRECTION: Final = Outcome("reject", "TRK_DIR")


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
        return PurposeCheck(directory)


class PurposeCheck(Judge):
    """Purpose, bound."""

    __slots__ = ("_directory", "_limited")

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._limited = directory.limited

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        trunk_id = call.trunk_id
        if trunk_id not in self._limited or call.kind == "core":
            return None
        directory = self._directory
        at = call.at
        used: list[tuple[Number, Terms]] = []
        selling = 0
        for number in call.presented:
            terms = directory.terms(number, trunk_id, at, call.tenant)
            if terms is not None:
                used.append((number, terms))
                if terms.purpose == "marketing":
                    selling += 1
        why = call.why
        if 0 < selling < len(used):
            if why is not None:
                why.extend([f"{number.canonical} is for {terms.purpose} {self._place(call, number)}" for number, terms in used])
            return PURPOSE
        for number, terms in used:
            if terms.hours and not directory.within(terms.hours, at):
                if why is not None:
                    where = self._place(call, number)
                    why.append(f"{number.canonical} at {directory.spoken(at)}, its hours are {terms.hours} {where}")
                return HOURS
            if terms.direction == "in":
                if why is not None:
                    why.append(f"{number.canonical} is for incoming calls only {self._place(call, number)}")
                return DIRECTION
            if why is not None:
                hours = f"{terms.hours} at {directory.spoken(at)}" if terms.hours else "always"
                why.append(f"{number.canonical} for {terms.purpose}, {terms.direction}, hours {hours} {self._place(call, number)}")
        return None

    def _place(self, call: Call, number: Number) -> str:
        """Where the number's segment stands, for `explain`."""
        segment = self._directory.segment(number, call.trunk_id, call.at, call.tenant)
        return "" if segment is None else f"({segment.file}:{segment.line})"
