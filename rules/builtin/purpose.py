"""Rule 11: a number is used for what it was assigned for (工信部联信管〔2018〕138号 一(1): purpose is known for each line)."""

from __future__ import annotations

from typing import ClassVar

from rules.call import Call
from rules.directory import Directory
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
        find = directory.segment
        within = directory.within

        def purpose(call: Call) -> Outcome | None:
            trunk = call.trunk
            trunk_id = trunk.id
            if trunk_id not in limited or trunk.kind == "core":
                return None
            at = call.at
            why = call.why
            used = [(number, segment) for number in call.presented if (segment := find(number, trunk_id, at, call.tenant)) is not None]
            if len({segment.purpose == "marketing" for _, segment in used}) > 1:
                if why is not None:
                    why.extend([f"{number.canonical} is for {segment.purpose} ({segment.file}:{segment.line})" for number, segment in used])
                return PURPOSE
            for number, segment in used:
                if segment.hours and not within(segment.hours, at):
                    if why is not None:
                        hours = f"{segment.hours} ({segment.file}:{segment.line})"
                        why.append(f"{number.canonical} at {directory.spoken(at)}, its hours are {hours}")
                    return HOURS
                if segment.direction == "in":
                    if why is not None:
                        why.append(f"{number.canonical} is for incoming calls only ({segment.file}:{segment.line})")
                    return DIRECTION
                if why is not None:
                    hours = f"{segment.hours} at {directory.spoken(at)}" if segment.hours else "always"
                    why.append(
                        f"{number.canonical} for {segment.purpose}, {segment.direction}, hours {hours} ({segment.file}:{segment.line})"
                    )
            return None

        return purpose
