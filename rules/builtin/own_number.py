"""Rule 8: another operator presents a number that belongs to us."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from rules.call import Call, side_of
from rules.directory import Directory
from rules.numbers import Number
from rules.rule import Check, OnError
from rules.verdict import Outcome

REJECT = Outcome("reject", "IC_OWN_NUMBER")
MARK = Outcome("mark", "IC_OWN_NUMBER")
CAME_BACK = Outcome("ok", "IC_OWN_NUMBER")


class OwnNumberSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`recent`: seconds for which a call to the peer counts after it was answered or refused (it counts while it rings)."""

    recent: Annotated[float, msgspec.Meta(ge=1, le=600)] = 120.0


class OwnNumber:
    """Reject (or mark, by the trunk's `own_number`) an interconnect call from a number in the `own` list or any segment, unless it was
    ported away.

    Our own numbers call from our own trunks; one that arrives from a peer is spoofed, unless a call of this number was delivered to the
    same peer and is being set up or `recent`: somebody there has forwarded it, and the Diversion may have been lost on the way. A diversion
    header alone is written by the sender and changes nothing.
    """

    name: ClassVar = "own_number"
    Config: ClassVar = OwnNumberSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"interconnect"})
    quiet: ClassVar = "the number is not one of ours"

    def bind(self, config: OwnNumberSettings, directory: Directory) -> Check:
        """Make the check."""
        own = directory.own
        holder = directory.holder
        ported = directory.ported
        recent = config.recent

        def came_back(call: Call, number: Number) -> bool:
            """Whether the peer got a call of this number a moment ago; where it says who forwarded it, one of those must have got it."""
            side = side_of(call.trunk)
            if call.legs is None or side is None:
                return False
            ages = [call.legs.age(side, forwarder, number, call.at) for forwarder in call.forwarders or (None,)]
            age = min([age for age in ages if age is not None], default=None)
            if age is None or age > recent:
                return False
            if call.why is not None:
                call.why.append(
                    f"{number.canonical} called {side} {f'{age:.0f} s ago' if age else 'in a call that rings'}: forwarded from there"
                )
            return True

        def own_number(call: Call) -> Outcome | None:
            if call.trunk.kind != "interconnect":
                return None
            outcome = None
            for number in call.presented:
                if number.canonical is None:
                    continue
                segment = holder(number, call.at, call.trunk.home_area)
                if segment is None and not own(number):
                    continue
                if ported(number):
                    if call.why is not None:
                        call.why.append(f"{number.canonical} is ours and was ported away")
                    continue
                if call.why is not None:
                    where = "in `own`" if segment is None else f"in a segment of {segment.where} ({segment.file}:{segment.line})"
                    call.why.append(f"{number.canonical} is ours, {where}, and not ported")
                if came_back(call, number):
                    outcome = CAME_BACK
                    continue
                if call.why is not None:
                    call.why.append(f"own_number of {call.trunk.id} is {call.trunk.own_number!r}")
                return REJECT if call.trunk.own_number == "reject" else MARK
            return outcome

        return own_number
