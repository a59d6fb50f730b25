"""Rule 7: irregular callers (不规范主叫), by the kind of ingress. The table of policy.md stands below as it is written there."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call, Trunk
from rules.directory import Directory
from rules.judge import Judge
from rules.numbers import Number
from rules.numbers.normalise import normalise
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

TABLE: Final[dict[str, tuple[str, str, str]]] = {
    # code: enterprise, interconnect, international
    "CLI_EMPTY": ("reject", "mark", "mark"),
    "CLI_ANON": ("reject", "mark", "mark"),
    "CLI_NON_DIGIT": ("reject", "reject", "reject"),
    "CLI_BAD_PLUS": ("reject", "reject", "reject"),
    "CLI_LEN": ("reject", "reject", "reject"),
    "CLI_AC_UNASSIGNED": ("reject", "reject", "reject"),
    "CLI_UNASSIGNED": ("reject", "reject", "reject"),
    "CLI_SUB_FIRST": ("mark", "mark", "-"),
    "CLI_TRUNK0": ("mark", "mark", "reject"),  # enterprise: by the trunk's `trunk0`
    "CLI_ALL_ZERO": ("reject", "reject", "reject"),
    "CLI_REPEAT": ("reject", "reject", "reject"),
    "CLI_400": ("reject", "reject", "reject"),
    "CLI_800": ("reject", "reject", "reject"),
    "CLI_SMS_CODE": ("reject", "reject", "reject"),
    "CLI_IP_PREFIX": ("reject", "reject", "reject"),
    "CLI_IOT": ("reject", "reject", "reject"),  # interconnect: unless `iot_voice` lists the called number
    "CLI_SAT": ("reject", "mark", "-"),  # on a trunk that does not declare satellite
    "CLI_LOCAL_NO_AREA": ("reject", "mark", "-"),
    "CLI_SVC_UNAUTH": ("reject", "mark", "reject"),
    "CLI_EQ_CALLED": ("reject", "mark", "reject"),  # enterprise: unless `voicemail` lists it
    "ENT_INTL_CLI": ("reject", "-", "-"),
    # Not rows of policy.md: a bad foreign number is a wrong length or an unassigned code too, and numbers.md marks data cards.
    "CLI_INTL_BAD": ("reject", "reject", "reject"),
    "CLI_DATA": ("mark", "mark", "mark"),
}

KINDS: Final = ("enterprise", "interconnect", "international")
OUTCOMES: Final[dict[str, dict[str, Outcome | None]]] = {
    kind: {
        code: Outcome("reject", code) if row[column] == "reject" else Outcome("mark", code) if row[column] == "mark" else None
        for code, row in TABLE.items()
    }
    for column, kind in enumerate(KINDS)
}
REJECT_TRUNK0: Final = Outcome("reject", "CLI_TRUNK0")
REFUSED_EVERYWHERE: Final = frozenset(code for code, row in TABLE.items() if row == ("reject", "reject", "reject"))
BAD_ORIGINAL: Final = Outcome("reject", "FWD_BAD_ORIG")
MARK_UNASSIGNED: Final = Outcome("mark", "CLI_UNASSIGNED")

PLAIN: Final = frozenset({"GEO", "MOB", "MVNO"})
SERVICE: Final = frozenset({"EMG", "GOV", "OPR", "SVC1", "SVC95", "SVC96"})
FOREIGN: Final = frozenset({"INTL", "HMT"})
FLAGS: Final = {"TRUNK0_AFTER_CC": "CLI_TRUNK0", "SUB_FIRST": "CLI_SUB_FIRST"}
"""Flags of a number that has a canonical form all the same, and the codes they stand for."""
NOTABLE: Final = frozenset({*FLAGS, "UNASSIGNED"})


class Regular:
    """Judge the form and the class of every number presented, or the caller's where no number is.

    The original caller of a forwarded call (rule 9) is judged by the column of other operators where the trunk's customer may forward it;
    one that they too would be refused has the code FWD_BAD_ORIG, and its irregularity as a mark.
    """

    name: ClassVar = "regular"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset(KINDS)
    quiet: ClassVar = "a regular number"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        return RegularCheck(directory)


class RegularCheck(Judge):
    """Regular, bound."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        if call.kind == "core":
            return None
        called = call.called.canonical
        marked = None
        presented = call.presented
        for number in presented or (call.caller,):
            if number.code is None and number.kind in PLAIN and number.canonical != called and NOTABLE.isdisjoint(number.flags):
                if call.why is not None:
                    call.why.append(f"{number.canonical} is a regular number, {number.kind}")
                continue
            outcome = self._judge(call, number)
            if outcome is not None:
                if outcome.effect == "reject":
                    return outcome
                if marked is not None:
                    call.mark(marked.code)
                marked = outcome
        return marked

    def _judge(self, call: Call, number: Number) -> Outcome | None:
        trunk = call.trunk
        kind = "interconnect" if call.kind == "enterprise" and call.forwards_for(self._directory) else call.kind
        table = OUTCOMES[kind]
        marked = MARK_UNASSIGNED if "UNASSIGNED" in number.flags else None
        if marked is not None and call.why is not None:
            call.why.append(f"{number.canonical} is in one of two tables of assigned ranges only")
        for code in self._findings(call, number):
            outcome = table[code]
            setting = ""
            if code == "CLI_TRUNK0" and kind == "enterprise":
                setting = f", its trunk0 is {trunk.trunk0!r}"
                if trunk.trunk0 == "reject":
                    outcome = REJECT_TRUNK0
            elif code == "CLI_IOT" and kind == "interconnect" and lists(trunk, trunk.iot_voice, call.called):
                outcome, setting = None, ", its iot_voice lists the called number"
            elif code == "CLI_EQ_CALLED" and kind == "enterprise" and lists(trunk, trunk.voicemail, number):
                outcome, setting = None, ", its voicemail lists the number"
            if call.why is not None:
                effect = "no opinion" if outcome is None else outcome.effect
                call.why.append(f"{code} for {call.named(number)} on {kind}{setting}: {effect}")
            if outcome is None:
                continue
            if outcome.effect == "reject":
                if call.forwarders and code in REFUSED_EVERYWHERE:
                    call.mark(code)
                    return BAD_ORIGINAL
                return outcome
            if marked is not None:
                call.mark(marked.code)
            marked = outcome
        return marked

    def _findings(self, call: Call, number: Number) -> list[str]:
        """Every code of the table that the number earns on this call, whatever this trunk makes of it."""
        trunk = call.trunk
        kind = number.kind
        codes = [number.code] if number.code is not None else []
        codes += [FLAGS[flag] for flag in number.flags if flag in FLAGS and FLAGS[flag] not in codes]
        if kind in FOREIGN and not codes:
            codes.append("ENT_INTL_CLI")
        elif kind == "SAT" and not trunk.satellite:
            codes.append("CLI_SAT")
        elif kind == "DATA":
            codes.append("CLI_DATA")
        elif kind in SERVICE and not codes and not self._authorised(number, call):
            codes.append("CLI_SVC_UNAUTH")
        same = not number.absent and number == call.called
        if same and (number.canonical is None or call.named(number) == call.named(call.called)):
            codes.append("CLI_EQ_CALLED")
        return codes

    def _authorised(self, number: Number, call: Call) -> bool:
        """Registered overseas hosting (rule 6) authorises a code on its trunk as a segment does."""
        directory = self._directory
        return directory.holds(number, call.trunk_id, call.at, call.tenant) or (
            call.kind == "international" and directory.overseas(number, call.trunk_id)
        )


def lists(trunk: Trunk, numbers: tuple[str, ...], number: Number) -> bool:
    """Whether a trunk's own list (voicemail, iot_voice) names a number, in any form that means it."""
    return number in [normalise(listed, trunk.home_area) for listed in numbers]
