"""Rule 6: calls that arrive from abroad (工信部联信管〔2018〕138号 二(2): false "+86" calls are intercepted).

The rows of policy.md's table in their order; the first that matches counts.
"""

from __future__ import annotations

from typing import ClassVar, Final

from rules.builtin.settings import InternationalSettings
from rules.call import Call
from rules.directory import Directory
from rules.judge import Judge
from rules.numbers import Number
from rules.rule import Check, OnError
from rules.verdict import Lookup, Outcome

NO_CLI: Final = Outcome("mark", "INTL_NO_CLI", labels=(("international", True),))
FOREIGN: Final = Outcome("ok", "INTL_OK")
BAD_FOREIGN: Final = Outcome("reject", "CLI_INTL_BAD")
NO_PREFIX: Final = Outcome("reject", "INTL_NO_PREFIX")
TROMBONE: Final = Outcome("ok", "INTL_TROMBONE")
REGISTERED: Final = Outcome("ok", "INTL_REG_OVERSEAS")
FAKE_SERVICE: Final = Outcome("reject", "INTL_FAKE_SVC")
FIXED: Final = Outcome("reject", "INTL_86_FIXED")
SERVICE: Final = Outcome("reject", "INTL_86_SVC")
UNASSIGNED: Final = Outcome("reject", "CLI_UNASSIGNED")
ROAMING: Final = Outcome("ok", "INTL_86_ROAMING", labels=(("roamer", True),))
AT_HOME: Final = Outcome("reject", "INTL_86_NOT_ROAMING")
UNVERIFIED: Final = {
    "withhold": Outcome("mark", "INTL_86_UNVERIFIED", labels=(("withhold", True),)),
    "mark": Outcome("mark", "INTL_86_UNVERIFIED"),
    "reject": Outcome("reject", "INTL_86_UNVERIFIED"),
}
SATELLITE: Final = Outcome("ok", "INTL_86_SAT")
SATELLITE_UNDECLARED: Final = Outcome("reject", "INTL_86_SAT")

FOREIGN_KINDS: Final = frozenset({"INTL", "HMT"})
SERVICE_KINDS: Final = frozenset({"EMG", "GOV", "OPR", "SVC1", "SVC95", "SVC96", "C400", "C800", "SMS", "IOT"})
SERVICE_CODES: Final = frozenset({"CLI_400", "CLI_800", "CLI_SMS_CODE", "CLI_IOT"})
MOBILE_KINDS: Final = frozenset({"MOB", "MVNO", "DATA"})
NO_NUMBER: Final = frozenset({"CLI_EMPTY", "CLI_ANON", "CLI_NON_DIGIT", "CLI_BAD_PLUS"})
"""Not a number in any form: rule 7 has the word."""

STATES: Final = frozenset({"abroad", "home", "unknown"})
ASKED_AT_MOST: Final = 2
"""Numbers of one call that the roaming service is asked for: P-Asserted-Identity has two values at the most (RFC 3325 §9.1)."""


class International:
    """Judge the calling number of an international ingress; what it leaves undecided (irregular +86 numbers) goes on to rule 7.

    A +86 number may come back from abroad (INTL_TROMBONE) where we sent its call out: to whoever a diversion header says has forwarded it,
    or, when the called number is a visiting roamer's routing number, to anyone.
    """

    name: ClassVar = "international"
    Config: ClassVar = InternationalSettings
    on_error: ClassVar[OnError] = "reject"
    kinds: ClassVar = frozenset({"international"})
    quiet: ClassVar = "an irregular number that no row names: left to rule regular"

    def bind(self, config: InternationalSettings, directory: Directory) -> Check:
        """Make the check."""
        return InternationalCheck(config, directory)


class InternationalCheck(Judge):
    """International, bound."""

    __slots__ = ("_deadline", "_directory", "_exact", "_prefixes", "_recent")

    def __init__(self, config: InternationalSettings, directory: Directory) -> None:
        self._directory = directory
        self._deadline = directory.services.get("roaming")
        self._recent = config.recent
        self._exact = frozenset([number for number in config.routing_numbers if not number.endswith("*")])
        self._prefixes = tuple([number[:-1] for number in config.routing_numbers if number.endswith("*")]) or ("-",)

    def judge(self, call: Call) -> Outcome | Lookup | None:
        """As the rule says."""
        if call.kind != "international":
            return None
        presented = call.presented
        if not presented:
            return NO_CLI
        decided: Outcome | None = None
        wanted: Lookup | None = None
        for number in presented:
            outcome = self._judge(call, number)
            if outcome is None:
                continue
            if isinstance(outcome, Lookup):
                # Asked only when no other number refuses the call; then all are judged again.
                wanted = wanted or outcome
                continue
            if call.why is not None:
                presented_as = repr(number.raw) if outcome is NO_PREFIX else number.canonical or repr(number.raw)
                call.why.append(f"{outcome.code} for {presented_as}, {number.kind or number.code}")
            if outcome.effect == "reject":
                return outcome
            if wanted is not None:
                continue
            if decided is None:
                decided = outcome
            elif decided is not outcome:
                # Several PAI values: the first gives the call its code, the others are noted. What is to be done to the call for
                # any of them is done as an outcome's labels are, and only as they are (observe, and trunks that only ask).
                call.mark(outcome.code)
                if outcome.labels:
                    decided = Outcome(decided.effect, decided.code, decided.detail, (*decided.labels, *outcome.labels))
        return decided if wanted is None else wanted

    def _judge(self, call: Call, number: Number) -> Outcome | Lookup | None:
        trunk = call.trunk
        code = number.code
        kind = number.kind
        if code in NO_NUMBER or (
            code == "CLI_ALL_ZERO" and number.digits[:2] == "00"
        ):  # not a national form: 00 is dialled before a country
            return None
        if number.form in ("national", "cc"):
            # On a trunk with cli_format "cc" Call has put the + before it already; what still comes here begins with a 0.
            return NO_PREFIX
        if kind in FOREIGN_KINDS:
            if "PROTECTED" in number.flags:
                # +1096110 is as long as a foreign number may be, and Beijing's 96110 to whoever reads it.
                return FAKE_SERVICE
            call.label("country", number.country)
            return FOREIGN
        if code == "CLI_INTL_BAD":
            return BAD_FOREIGN
        if number.canonical is not None and self._came_back(call, number):
            return TROMBONE
        if number.canonical is not None and self._directory.overseas(number, call.trunk_id):
            return REGISTERED
        if "PROTECTED" in number.flags:
            return FAKE_SERVICE
        if kind == "GEO":
            return FIXED
        if kind in SERVICE_KINDS or code in SERVICE_CODES:
            return SERVICE
        if kind in MOBILE_KINDS:
            state = self._state_of(call, number)
            if isinstance(state, Lookup):
                return state
            if state == "abroad":
                return ROAMING
            if state == "home":
                return AT_HOME
            setting = "unverified" if state == "unknown" else "roaming_failure"
            if call.why is not None:
                call.why.append(f"{setting} is {getattr(trunk, setting)!r}")
            return UNVERIFIED[trunk.unverified if state == "unknown" else trunk.roaming_failure]
        if kind == "SAT":
            return SATELLITE if trunk.satellite else SATELLITE_UNDECLARED
        if code == "CLI_UNASSIGNED" and len(number.nsn) == 11 and number.nsn[0] == "1":
            return UNASSIGNED
        return None

    def _came_back(self, call: Call, number: Number) -> bool:
        """Whether a domestic leg of the call is remembered."""
        called = call.called.canonical or ""
        forwarders = call.forwarders
        if not forwarders and called not in self._exact and not called.startswith(self._prefixes):
            return False
        if call.legs is None:
            if call.why is not None:
                whom = "who forwarded the call" if forwarders else f"the visitor that {called} reaches"
                call.why.append(f"only a running node remembers whether {number.canonical} called {whom}")
            return False
        ages = [call.legs.age(None, forwarder, number, call.at) for forwarder in forwarders or (None,)]
        age = min([age for age in ages if age is not None], default=None)
        if age is None or age > self._recent:
            return False
        if call.why is not None:
            whom = "who forwarded it" if forwarders else f"a visitor, reached by {called}"
            call.why.append(f"{number.canonical} called {whom} {f'{age:.0f} s ago' if age else 'in a call that rings'}")
        return True

    def _state_of(self, call: Call, number: Number) -> object:
        """Where the number's user is by the file, else by the service; None where neither can say, a Lookup while it is not asked."""
        state: object = self._directory.roaming(number)
        deadline = self._deadline
        if state is None and deadline is not None and number.canonical is not None:
            return _said_by_service(call, number.canonical, deadline)
        if call.why is not None:
            call.why.append("no roaming check is configured" if state is None else f"the roaming file says {state}")
        return state


def _said_by_service(call: Call, number: str, deadline: float) -> object:
    answers = [] if call.answers is None else [(key, answer) for (kind, key), answer in call.answers.items() if kind == "roaming"]
    for key, answer in answers:
        if key == number:
            state = answer if isinstance(answer, str) and answer in STATES else None
            said = f"gave no answer (deadline {deadline:g} s)" if state is None else f"says {state}"
            break
    else:
        # A service that failed this call is not waited for again.
        if len(answers) < ASKED_AT_MOST and None not in [answer for _, answer in answers]:
            return Lookup("roaming", number, deadline)
        state, said = None, "is not asked again for this call"
    if call.why is not None:
        call.why.append(f"the roaming service {said}")
    return state
