"""Rule 1: emergency calls are never obstructed (Telecom Regulation art. 36)."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call, Trunk
from rules.directory import Directory
from rules.judge import Judge
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

NUMBERS: Final = frozenset({"+86110", "+86119", "+86120", "+86122"})
"""Police, fire, ambulance, traffic accidents."""

HARMLESS: Final = frozenset({"", "cpc", "oli", "isub", "isub-encoding", "npdi", "verstat"})
"""Parameters of a number that say something of the call and lead it nowhere else (`rn`, `cic`, `ext` or `tgrp` might)."""

JITTER: Final = 1.0
"""Seconds by which `call.at` may run backwards before it counts as a clock that was set."""

OVERRIDE: Final = Outcome("pass", "EMG_OVERRIDE")


class Emergency:
    """Pass a call to 110, 119, 120 or 122 from an enterprise, interconnect or core trunk, whoever calls; the rest is read as marks.

    The Request-URI's number counts, read with the trunk's home area: the code alone, behind an area code (another city's police), behind
    +86. What may also be another code (955120) is one only where nothing but an area code can stand before it: a trunk 0, the context of a
    number in +86, or the trunk's own area after +86 (+8610120 from Beijing). A number parameter that could lead a switch elsewhere
    (`110;rn=+861380...`) makes it an ordinary call; those that only describe the call may stand there.

    Above the trunk's `emergency_cps` only authenticated callers pass this way: on an enterprise trunk those whose every number presented
    is in a segment of that trunk. Interconnect and core trunks authenticate nobody, so their surplus is judged like any other call. The
    allowance is one second's worth and refills steadily (a token bucket), for each trunk in each process; it is counted on `call.at`.
    """

    name: ClassVar = "emergency"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "no opinion"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "core"})
    quiet: ClassVar = "the called number is no emergency number"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check. The allowances live in it, so a reload starts them afresh."""
        return EmergencyCheck(directory)


class EmergencyCheck(Judge):
    """Emergency, bound."""

    __slots__ = ("_allowance", "_directory")

    def __init__(self, directory: Directory) -> None:
        self._allowance = Allowance()
        self._directory = directory

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        called = call.called
        if called.canonical not in NUMBERS:
            return None
        trunk = call.trunk
        if call.kind == "international" or not trunk.id:
            return None
        if ("AMBIG_95_GEO" in called.flags or "AMBIG_AREA" in called.flags) and not names_area(call):
            # 955120 may be 120 behind Ningxia's 955, and is somebody's 955 code just as well: not "exactly" an emergency number
            if call.why is not None:
                call.why.append(f"{call.to!r} reads as {called.canonical} or as another code")
            return None
        if not leads_nowhere_else(call.to):
            if call.why is not None:
                call.why.append(f"{called.canonical} with a number parameter that could lead elsewhere: {call.to!r}")
            return None
        allowance = self._allowance
        # `explain` only looks: it must not use up what real calls may need.
        if allowance.take(trunk, call.at) if call.why is None else allowance.left(trunk, call.at) >= 1.0:
            if call.why is not None:
                call.why.append(f"{called.canonical} from {trunk.kind} trunk {trunk.id}")
            return OVERRIDE
        if call.kind == "enterprise" and call.presented and self._authenticated(call):
            if call.why is not None:
                call.why.append(f"{called.canonical} above {trunk.emergency_cps:g} a second on {trunk.id}, caller authenticated")
            return OVERRIDE
        if call.why is not None:
            call.why.append(f"{called.canonical} above {trunk.emergency_cps:g} a second on {trunk.id}, caller not authenticated")
        return None

    def _authenticated(self, call: Call) -> bool:
        for number in call.presented:  # noqa: SIM110  no generator, which would be a circle once compiled
            if not self._directory.holds(number, call.trunk_id, call.at, call.tenant):
                return False
        return True


class Allowance:
    """Tokens of each trunk: at most one second's worth (and at least one call, where any is allowed)."""

    __slots__ = ("_trunks",)

    def __init__(self) -> None:
        self._trunks: dict[str, tuple[float, float]] = {}

    def left(self, trunk: Trunk, at: float) -> float:
        """Tokens the trunk has at that time."""
        rate = trunk.emergency_cps
        if rate <= 0.0:
            return 0.0
        most = max(1.0, rate)
        if trunk.id not in self._trunks:
            return most
        tokens, last = self._trunks[trunk.id]
        return min(most, tokens + (at - last) * rate) if at > last else tokens

    def take(self, trunk: Trunk, at: float) -> bool:
        """Use one token up; False where none is left."""
        tokens = self.left(trunk, at)
        last = self._trunks[trunk.id][1] if trunk.id in self._trunks else at
        if at < last <= at + JITTER:
            at = last  # calls of one batch out of order: counting from the earlier time would refill the same moment twice
        taken = tokens >= 1.0
        self._trunks[trunk.id] = (tokens - 1.0 if taken else tokens, at)
        return taken


def names_area(call: Call) -> bool:
    """Whether what stands before the code can be nothing but an area code."""
    called = call.called
    if "TRUNK0" in called.flags or "TRUNK0_AFTER_CC" in called.flags:
        return True
    home = (call.trunk.home_area or "").removeprefix("0")
    return called.form in ("plus", "idd") and (called.area == home or ";phone-context=" in call.to.lower())


def leads_nowhere_else(uri: str) -> bool:
    """Whether the user part of a Request-URI has no parameter but harmless ones and `phone-context` (RFC 3966) with a domain or +86."""
    user = uri.partition("@")[0]
    if ";" not in user and "%" not in user:
        return True
    if "%3b" in user.lower():
        return False
    for parameter in user.split(";")[1:]:
        name, _, value = parameter.partition("=")
        name = name.lower()
        if name in HARMLESS:
            continue
        if name != "phone-context" or (value.startswith("+") and not value.startswith("+86")):
            return False
    return True
