"""Rule 8: another operator presents a number that belongs to us."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.builtin.settings import OwnNumberSettings
from rules.call import Call, side_of
from rules.directory import Directory
from rules.judge import Judge
from rules.numbers import Number
from rules.rule import Check, OnError
from rules.verdict import Outcome

REJECT: Final = Outcome("reject", "IC_OWN_NUMBER")
MARK: Final = Outcome("mark", "IC_OWN_NUMBER")
CAME_BACK: Final = Outcome("ok", "IC_OWN_NUMBER")


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
        return OwnNumberCheck(config.recent, directory)


class OwnNumberCheck(Judge):
    """OwnNumber, bound."""

    __slots__ = ("_directory", "_recent")

    def __init__(self, recent: float, directory: Directory) -> None:
        self._recent = recent
        self._directory = directory

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        if call.kind != "interconnect":
            return None
        directory = self._directory
        outcome = None
        for number in call.presented:
            if number.canonical is None:
                continue
            segment = directory.holder(number, call.at, call.trunk.home_area)
            if segment is None and not directory.own(number):
                continue
            if directory.ported(number):
                if call.why is not None:
                    call.why.append(f"{number.canonical} is ours and was ported away")
                continue
            if call.why is not None:
                where = "in `own`" if segment is None else f"in a segment of {segment.where} ({segment.file}:{segment.line})"
                call.why.append(f"{number.canonical} is ours, {where}, and not ported")
            if self._came_back(call, number):
                outcome = CAME_BACK
                continue
            if call.why is not None:
                call.why.append(f"own_number of {call.trunk.id} is {call.trunk.own_number!r}")
            return REJECT if call.trunk.own_number == "reject" else MARK
        return outcome

    def _came_back(self, call: Call, number: Number) -> bool:
        """Whether the peer got a call of this number a moment ago; where it says who forwarded it, one of those must have got it."""
        side = side_of(call.trunk)
        if call.legs is None or side is None:
            return False
        ages = [call.legs.age(side, forwarder, number, call.at) for forwarder in call.forwarders or (None,)]
        age = min([age for age in ages if age is not None], default=None)
        if age is None or age > self._recent:
            return False
        if call.why is not None:
            call.why.append(
                f"{number.canonical} called {side} {f'{age:.0f} s ago' if age else 'in a call that rings'}: forwarded from there"
            )
        return True
