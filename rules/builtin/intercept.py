"""Rule 3: numbers on an intercept list, and releases after an upheld appeal (Anti-Telecom-Fraud Law art. 32)."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call
from rules.directory import Directory, Entry
from rules.judge import Judge
from rules.numbers import Number
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

CALLER: Final = Outcome("reject", "LIST_CALLER")
CALLED: Final = Outcome("reject", "LIST_CALLED")
PAIR: Final = Outcome("reject", "LIST_PAIR")
RELEASED: Final = Outcome("mark", "LIST_RELEASED")


class Intercept:
    """Reject a caller, a called number or a pair of them that an intercept list names.

    Lists are asked for every number presented (From too, where PAI is the one that is authenticated: it is what the called party may see)
    and for the diverting number. A release lifts only entries of its own type, and none whose source is the police.
    """

    name: ClassVar = "intercept"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international", "core"})
    quiet: ClassVar = "neither caller, called nor the pair is listed"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        return InterceptCheck(directory)


class InterceptCheck(Judge):
    """Intercept, bound."""

    __slots__ = ("_asked", "_by_called", "_by_pair", "_directory")

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._asked = len(directory.lists) > 0
        self._by_called = "called" in directory.lists
        self._by_pair = "pair" in directory.lists

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        if not self._asked:
            return None  # no list has an entry
        directory = self._directory
        trunk = call.trunk
        at = call.at
        called = call.called
        lifted = None
        numbers = call.presented
        shown = call.from_number
        if shown is not call.caller and not shown.absent and shown not in numbers:
            numbers = (*numbers, shown)
        if call.diversion or call.history_info:
            diverting = call.diverting
            if diverting is not None and not diverting.absent and diverting not in numbers:
                numbers = (*numbers, diverting)
        for number in numbers:
            entry = directory.listed("caller", number, None, trunk, at)
            if entry is not None:
                if self._stands(call, "caller", number, None, entry):
                    return CALLER
                lifted = RELEASED
        entry = directory.listed("called", called, None, trunk, at) if self._by_called else None
        if entry is not None:
            if self._stands(call, "called", called, None, entry):
                return CALLED
            lifted = RELEASED
        if self._by_pair:
            for number in numbers:
                entry = directory.listed("pair", number, called, trunk, at)
                if entry is not None:
                    if self._stands(call, "pair", number, called, entry):
                        return PAIR
                    lifted = RELEASED
        return lifted

    def _stands(self, call: Call, type_: str, number: Number, other: Number | None, entry: Entry) -> bool:
        """Whether no release lifts the entry that was found."""
        directory = self._directory
        release = None if entry.source == "police" else directory.released(type_, number, other, call.trunk, call.at)
        if call.why is not None:
            what = named(number) + (f" > {named(other)}" if other is not None else "")
            said = [f"{entry.match} {entry.number}", entry.reason, f"source {entry.source}" if entry.source else "", self._ended(entry)]
            said += [entry.scope if entry.scope != "global" else ""]
            if release is not None:
                said.append(f"released by {release.list_id}:{release.seq} ({release.evidence_ref}), {self._ended(release)}")
            call.why.append(f"{type_} {what} on {entry.list_id}:{entry.seq}, {', '.join([part for part in said if part])}")
        return release is None

    def _ended(self, entry: Entry) -> str:
        until = entry.valid_to
        return f"until {self._directory.spoken(until)}" if until is not None else ""


def named(number: Number) -> str:
    """How `explain` names a number."""
    return number.canonical or repr(number.raw)
