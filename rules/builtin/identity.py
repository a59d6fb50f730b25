"""Rule 5: the headers that carry the calling number agree with each other."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call, shows_number
from rules.directory import Directory
from rules.judge import Judge
from rules.numbers import Number
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

CONFLICT: Final = Outcome("reject", "ID_PAI_CONFLICT")
CONFLICT_NOTED: Final = Outcome("mark", "ID_PAI_CONFLICT")
MISMATCH: Final = Outcome("mark", "ID_FROM_MISMATCH")


class Identity:
    """Reject PAI values with different numbers on an enterprise trunk (a mark elsewhere), and mark a From that differs from PAI.

    On an enterprise trunk rule 10 authenticates From too unless the trunk ignores it, so a difference inside the segments is no more than a
    mark. A PAI value or a From without any number is no different number.
    """

    name: ClassVar = "identity"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international"})
    quiet: ClassVar = "PAI and From carry no different numbers"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        return IdentityCheck(directory)


class IdentityCheck(Judge):
    """Identity, bound."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        asserted = call.pai_numbers
        if not asserted or call.kind == "core":
            return None
        own = call.from_number
        if len(asserted) == 1:
            only = asserted[0]
            if own is only or own == only:
                return None
        carried = [number for number in asserted if shows_number(number)]
        if not carried:
            return None
        outcome = None
        if shows_number(own) and own not in carried:
            if call.why is not None:
                call.why.append(f"From {named(own)}, PAI {', '.join([named(number) for number in carried])}")
            outcome = MISMATCH
        first = carried[0]
        for number in carried:
            if number != first:
                if call.why is not None:
                    call.why.append(f"PAI {named(first)} and {named(number)}")
                if call.kind == "enterprise" and not call.forwards_for(self._directory):
                    return CONFLICT
                if outcome is not None:
                    call.mark(outcome.code)
                return CONFLICT_NOTED
        return outcome


def named(number: Number) -> str:
    """How `explain` names a number."""
    return number.canonical or repr(number.raw)
