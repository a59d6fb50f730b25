"""Rule 8: another operator presents a number that belongs to us."""

from __future__ import annotations

from typing import ClassVar

from rules.call import Call
from rules.directory import Directory
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

REJECT = Outcome("reject", "IC_OWN_NUMBER")
MARK = Outcome("mark", "IC_OWN_NUMBER")


class OwnNumber:
    """Reject (or mark, by the trunk's `own_number`) an interconnect call from a number in the `own` list or any segment, unless it was
    ported away.

    Our own numbers call from our own trunks; one that arrives from a peer is spoofed. A diversion header is written by the sender and
    changes nothing.
    """

    name: ClassVar = "own_number"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"interconnect"})
    quiet: ClassVar = "the number is not one of ours"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        own = directory.own
        holder = directory.holder
        ported = directory.ported

        def own_number(call: Call) -> Outcome | None:
            if call.trunk.kind != "interconnect":
                return None
            for number in call.presented:
                if number.canonical is None:
                    continue
                segment = holder(number, call.at)
                if (segment is None and not own(number)) or ported(number):
                    continue
                if call.why is not None:
                    where = "in `own`" if segment is None else f"in a segment of {segment.trunk} ({segment.file}:{segment.line})"
                    call.why.append(f"{number.canonical} is ours, {where}, and not ported")
                return REJECT if call.trunk.own_number == "reject" else MARK
            return None

        return own_number
