"""Rule 4: a customer's line shows its number."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call
from rules.directory import Directory
from rules.judge import Judge
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

HIDING: Final = frozenset({"id", "header", "user"})
"""Values of Privacy (RFC 3323, RFC 3325) that take the caller's number away from the called party."""

HIDDEN: Final = Outcome("reject", "ENT_CLI_HIDDEN")
STRIPPED: Final = Outcome("mark", "ENT_CLI_HIDDEN", labels=(("strip_privacy", True),))


class Privacy:
    """Reject a call of an enterprise trunk that hides its caller, or take the wish to hide away where the trunk's `hidden` is "strip".

    Stripped, the verdict has the label `strip_privacy`, and the numbers presented are judged as ever: a caller anonymous in From with no
    PAI still has none. The caller of a forwarded call (rule 9) is not the customer and may hide.
    """

    name: ClassVar = "privacy"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"enterprise"})
    quiet: ClassVar = "the caller is not hidden"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        return PrivacyCheck(directory)


class PrivacyCheck(Judge):
    """Privacy, bound."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        if call.kind != "enterprise" or not (call.anonymous or (call.privacy and not HIDING.isdisjoint(call.privacy))):
            return None
        if call.forwards_for(self._directory):
            if call.why is not None:
                call.why.append(f"hidden by the caller whose call {call.trunk.id} forwards")
            return None
        if call.why is not None:
            values = ", ".join(sorted(HIDING.intersection(call.privacy)))
            what = f"Privacy: {values}" if values else f"From is {call.sender!r}"
            call.why.append(f"{what}; hidden of {call.trunk.id} is {call.trunk.hidden!r}")
        return HIDDEN if call.trunk.hidden == "reject" else STRIPPED
