"""A sipwarden rule: what does a reputation service know of the calling number?

A rule is a class with a name, settings, and a `bind` that makes the check. The check is asked once for each call; it has no clock but
`call.at`, opens no connection and never waits: what it must ask somebody for, it returns as a Lookup, and it is asked again once the answer
is there. The `[[lookup]]` of its kind in sipwarden.toml says who answers, and keeps the deadline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

import msgspec

from rules import Call, Check, Directory, Lookup, OnError, Outcome, ReasonCode

KIND: Final = "reputation"
"""The kind of this rule's look-ups."""

BAD: Final = Outcome("reject", "REP_BAD")
BAD_NOTED: Final = Outcome("mark", "REP_BAD")
DOUBTFUL: Final = Outcome("mark", "REP_DOUBTFUL")
# An Outcome is made once, here: a check runs for every call, and returns the same objects.


class Prefix(str):
    """A number in canonical form, or the beginning of numbers with a `*` behind it."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Prefix:
        """Read a setting. Raises ValueError, "what is wrong | what would be right": `check` says both, with file, line and key."""
        if not isinstance(value, str) or re.fullmatch(r"\+[1-9][0-9]{1,17}\*?", value) is None:
            raise ValueError('not a number or prefix | "+8613802881946", or "+86138*" for all that begin so')
        return cls(value)

    def holds(self, number: str) -> bool:
        """Whether a canonical number is the one, or begins so."""
        return number.startswith(self[:-1]) if self.endswith("*") else number == self


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[rules.reputation]` in policy.toml, besides `mode` and `on_error`, which every rule has."""

    bad: Literal["reject", "mark"] = "reject"
    """What becomes of a call whose caller the service calls bad."""
    spare: tuple[Prefix, ...] = ()
    """Numbers that the service is not asked for."""


class Reputation:
    """Reject callers whom the service calls bad, mark those it calls doubtful. No answer in time is no opinion.

    An answer that this rule does not know is a fault: it raises, and `on_error` decides.
    """

    name: ClassVar = "reputation"
    Config: ClassVar = Settings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"interconnect", "international"})
    quiet: ClassVar = "the service has nothing against the caller"
    codes: ClassVar[Mapping[str, ReasonCode]] = {
        "REP_BAD": ReasonCode(
            en="The reputation service calls the calling number bad.",
            zh="信誉服务将该主叫号码判定为不良号码。",
            basis="反诈法 art. 13",
            remedy="The number's user may have the service's record looked at again; the operator knows its address.",
            remedy_zh="号码使用人可申请复核信誉记录，联系方式请向运营商索取。",
        ),
        "REP_DOUBTFUL": ReasonCode(
            en="The reputation service doubts the calling number.",
            zh="信誉服务对该主叫号码存疑。",
        ),
    }

    def bind(self, config: Settings, directory: Directory) -> Check:
        """Make the check. Raises ValueError where nobody would answer: without a service the rule would decide nothing."""
        deadline = directory.services.get(KIND)
        if deadline is None:
            raise ValueError(f'nobody answers: sipwarden.toml has no [[lookup]] with kind = "{KIND}"')
        kinds = self.kinds
        spare = config.spare
        outcomes: dict[object, Outcome | None] = {"bad": BAD if config.bad == "reject" else BAD_NOTED, "doubtful": DOUBTFUL, "good": None}

        def reputation(call: Call) -> Outcome | Lookup | None:
            number = call.caller.canonical
            if call.trunk.kind not in kinds or number is None:
                return None
            why = call.why  # a list while `explain` asks: the value that decided goes there
            for prefix in spare:
                if prefix.holds(number):
                    if why is not None:
                        why.append(f"{number} is spared by {prefix}")
                    return None
            if call.answers is None or (KIND, number) not in call.answers:
                return Lookup(KIND, number, deadline)
            answer = call.answers[KIND, number]
            if answer is None:
                if why is not None:
                    why.append(f"the service had no answer for {number} within {deadline:g} s")
                return None
            if answer not in outcomes:
                raise ValueError(f"the service says {answer!r:.40} of a number, and this rule knows {', '.join(map(str, outcomes))}")
            if why is not None:
                why.append(f"the service calls {number} {answer}")
            return outcomes[answer]

        return reputation
