"""Rule 9: forwarded calls. Diversion (RFC 5806) and History-Info (RFC 7044) are written by the sender and prove nothing alone."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.builtin.settings import ForwardingSettings
from rules.call import Call, side_of
from rules.directory import Directory
from rules.judge import Judge
from rules.numbers import Number
from rules.rule import Check, OnError
from rules.verdict import Outcome

FORWARDED: Final = Outcome("ok", "FWD_OK")
UNCORRELATED: Final = Outcome("reject", "FWD_NO_CORR")
UNCORRELATED_NOTED: Final = Outcome("mark", "FWD_NO_CORR")
UNAUTHORISED: Final = Outcome("reject", "FWD_AUTH_FAIL")
NOT_ALLOWED: Final = Outcome("reject", "FWD_NOT_ALLOWED")
BAD_ORIGINAL: Final = Outcome("reject", "FWD_BAD_ORIG")
CONFLICT: Final = Outcome("mark", "FWD_CONFLICT")
LOOP: Final = Outcome("reject", "FWD_LOOP")

HOPS_AT_MOST: Final = 5

BAD: Final = frozenset(
    {
        "CLI_NON_DIGIT",
        "CLI_BAD_PLUS",
        "CLI_LEN",
        "CLI_AC_UNASSIGNED",
        "CLI_UNASSIGNED",
        "CLI_INTL_BAD",
        "CLI_ALL_ZERO",
        "CLI_REPEAT",
        "CLI_400",
        "CLI_800",
        "CLI_SMS_CODE",
        "CLI_IP_PREFIX",
        "CLI_IOT",
    }
)
"""Irregularities that no original caller may have. Rule 7 refuses them first, with the same code, unless a policy has moved it."""


class Forwarding:
    """Authenticate the number that forwarded a call last, and have the call it forwarded proven.

    On an enterprise trunk the forwarding number must be in a segment of the trunk, and each number presented must be one of the trunk's own
    or that of a caller whose call to the forwarding number was delivered to this customer and is being set up or `recent`. Where a switch
    has handed it on among its own numbers first, a call to any of them counts. A call without a number is proven by any such call. What is
    proven (FWD_OK) or let through without (FWD_NO_CORR as a mark) is authenticated by its forwarding number in rule 10. Elsewhere only
    loops and impossible callers are refused.
    """

    name: ClassVar = "forwarding"
    Config: ClassVar = ForwardingSettings
    on_error: ClassVar[OnError] = "reject"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international"})
    quiet: ClassVar = "nobody forwarded the call"

    def bind(self, config: ForwardingSettings, directory: Directory) -> Check:
        """Make the check."""
        return ForwardingCheck(config.recent, directory)


class ForwardingCheck(Judge):
    """Forwarding, bound."""

    __slots__ = ("_directory", "_recent")

    def __init__(self, recent: float, directory: Directory) -> None:
        self._recent = recent
        self._directory = directory

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        if not call.diversion and not call.history_info:
            return None
        trunk = call.trunk
        kind = call.kind
        directory = self._directory
        last = call.diverting
        if last is None or kind == "core":
            return None
        if kind == "enterprise" and trunk.forwarding == "deny":
            if call.why is not None:
                call.why.append(f"forwarded by {named(last)}, and forwarding of {trunk.id} is 'deny'")
            return NOT_ALLOWED
        loop = looped(call)
        if loop:
            if call.why is not None:
                call.why.append(loop)
            return LOOP
        conflict = disagree(call)
        if conflict:
            call.mark(CONFLICT.code)
        for number in call.presented:
            bad = number.code in BAD
            if bad or ("PROTECTED" in number.flags and not directory.holds(number, call.trunk_id, call.at, call.tenant)):
                if call.why is not None:
                    call.why.append(f"original caller {named(number)} is {number.code if bad else 'a protected number'}")
                return BAD_ORIGINAL
        if kind != "enterprise":
            if call.why is not None:
                call.why.append(f"forwarded by {named(last)}: calls from {kind} trunks need no proof of that")
            return CONFLICT if conflict else None
        if not call.forwards_for(directory):
            if call.why is not None:
                nearly = directory.nearly(last, trunk.id, call.at, call.tenant)
                call.why.append(f"forwarding number {call.named(last)} in no segment of {call.whose}{': ' if nearly else ''}{nearly}")
            return UNAUTHORISED
        call.instead = last
        if call.why is not None:
            segment = call.forwarder(directory)
            if segment is not None:
                call.why.append(f"forwarded by {last.canonical} of {call.whose} ({segment.file}:{segment.line})")
        if self._proven(call):
            call.proven = True
            return FORWARDED
        if call.why is not None:
            call.why.append(f"forwarding of {trunk.id} is {trunk.forwarding!r}")
        return UNCORRELATED if trunk.forwarding == "correlated" else UNCORRELATED_NOTED

    def _proven(self, call: Call) -> bool:
        """Whether each number presented that is not the trunk's own has called one of the trunk's that the call was handed on from."""
        directory = self._directory
        recent = self._recent
        side = side_of(call.trunk)
        asked: list[Number] = []
        for number in call.forwarders:
            if not directory.holds(number, call.trunk_id, call.at, call.tenant):
                break
            asked.append(number)
        proven_all = True
        callers: list[Number | None] = [
            number for number in call.presented if not directory.holds(number, call.trunk_id, call.at, call.tenant)
        ]
        for caller in callers or [None]:
            age: float | None = None
            if call.legs is not None and side:
                for number in asked:
                    one = call.legs.age(side, number, caller, call.at)
                    if one is not None and (age is None or one < age):
                        age = one
            if call.why is not None:
                whom = " or ".join([named(number) for number in asked])
                found = "only a running node remembers calls" if call.legs is None else when(age, recent)
                call.why.append(f"call of {'anyone' if caller is None else named(caller)} to {whom}: {found}")
            proven_all = proven_all and age is not None and age <= recent
        return proven_all


def looped(call: Call) -> str:
    """Why the call goes in a circle or has been on its way too long; "" where it has not."""
    hops = call.hops
    for counted in (len(call.diversion), len(call.forwards)):
        if counted > hops:
            hops = counted
    if hops > HOPS_AT_MOST:
        return f"forwarded {hops} times, {HOPS_AT_MOST} is the most"
    called = call.called.canonical
    seen = {called}  # None among them: a number that has no canonical form is not looked for
    for number in call.forwarders:
        canonical = number.canonical
        if canonical is not None and canonical in seen:
            return f"{canonical} forwarded the call and {'is called' if canonical == called else 'got it'} again"
        seen.add(canonical)
    return ""


def disagree(call: Call) -> bool:
    """Whether Diversion and History-Info name different forwarding numbers, as far as both go."""
    steps = call.forwards
    diversion = call.diversion
    if not diversion or not steps:
        return False
    for step, uri in zip(steps, diversion, strict=False):
        if step.uri != uri:
            break
    else:
        return False  # word for word
    differing = [(one, other) for one, other in zip(call.forwarders, call.diverted, strict=False) if one != other]
    if differing and call.why is not None:
        one, other = differing[0]
        call.why.append(f"History-Info says {named(one)}, Diversion {named(other)}")
    return bool(differing)


def when(age: float | None, recent: float) -> str:
    """How `explain` tells of a leg."""
    if age is None or age > recent:
        return f"none in {recent:g} s"
    return f"set up {age:.0f} s ago" if age else "being set up"


def named(number: Number) -> str:
    """How `explain` names a number."""
    return number.canonical or repr(number.raw)
