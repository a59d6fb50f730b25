"""Rule 3: numbers on an intercept list, and releases after an upheld appeal (Anti-Telecom-Fraud Law art. 32)."""

from __future__ import annotations

from typing import ClassVar

from rules.call import Call
from rules.directory import Directory, Entry
from rules.numbers import Number
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

CALLER = Outcome("reject", "LIST_CALLER")
CALLED = Outcome("reject", "LIST_CALLED")
PAIR = Outcome("reject", "LIST_PAIR")
RELEASED = Outcome("mark", "LIST_RELEASED")


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
        asked = directory.lists
        by_called, by_pair = "called" in asked, "pair" in asked
        listed = directory.listed
        released = directory.released

        def stands(call: Call, type_: str, number: Number, other: Number | None, entry: Entry) -> bool:
            """Whether no release lifts the entry that was found."""
            release = None if entry.source == "police" else released(type_, number, other, call.trunk, call.at)
            if call.why is not None:
                what = named(number) + (f" > {named(other)}" if other is not None else "")
                said = [f"{entry.match} {entry.number}", entry.reason, f"source {entry.source}" if entry.source else "", ended(entry)]
                said += [entry.scope if entry.scope != "global" else ""]
                if release is not None:
                    said.append(f"released by {release.list_id}:{release.seq} ({release.evidence_ref}), {ended(release)}")
                call.why.append(f"{type_} {what} on {entry.list_id}:{entry.seq}, {', '.join(part for part in said if part)}")
            return release is None

        def intercept(call: Call) -> Outcome | None:
            if not asked:
                return None  # no list has an entry
            trunk = call.trunk
            at = call.at
            called = call.called
            lifted = None
            numbers = call.presented
            shown = call.from_number
            if shown is not call.caller and not shown.absent and shown not in numbers:
                numbers = (*numbers, shown)
            if (
                (call.diversion or call.history_info)
                and (diverting := call.diverting) is not None
                and not diverting.absent
                and diverting not in numbers
            ):
                numbers = (*numbers, diverting)
            for number in numbers:
                entry = listed("caller", number, None, trunk, at)
                if entry is not None:
                    if stands(call, "caller", number, None, entry):
                        return CALLER
                    lifted = RELEASED
            entry = listed("called", called, None, trunk, at) if by_called else None
            if entry is not None:
                if stands(call, "called", called, None, entry):
                    return CALLED
                lifted = RELEASED
            for number in numbers if by_pair else ():
                entry = listed("pair", number, called, trunk, at)
                if entry is not None:
                    if stands(call, "pair", number, called, entry):
                        return PAIR
                    lifted = RELEASED
            return lifted

        def ended(entry: Entry) -> str:
            return f"until {directory.spoken(entry.valid_to)}" if entry.valid_to is not None else ""

        return intercept


def named(number: Number) -> str:
    """How `explain` names a number."""
    return number.canonical or repr(number.raw)
