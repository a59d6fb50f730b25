"""What the chain asks: the checks of the rules as objects of one class, which compiled code calls as cheaply as a function of C.

A check refers to its directory and is referred to by nobody but its RuleSet: no circle, so that with the RuleSet the lists of before a
reload go at once.
"""

from __future__ import annotations

from collections.abc import Callable

from rules.call import Call
from rules.verdict import Lookup, Outcome


class Judge:
    """One rule bound to its settings and a directory; `judge` is a rule's Check."""

    __slots__ = ()

    def judge(self, call: Call) -> Outcome | Lookup | None:
        """What the rule says of the call, None for no opinion."""
        raise NotImplementedError

    def __call__(self, call: Call) -> Outcome | Lookup | None:
        """The same: a Judge is a Check."""
        return self.judge(call)


class Foreign(Judge):
    """A check that is anything else that can be called: a third party's."""

    __slots__ = ("_check",)

    def __init__(self, check: Callable[[Call], Outcome | Lookup | None]) -> None:
        self._check = check

    def judge(self, call: Call) -> Outcome | Lookup | None:
        """What it answers."""
        return self._check(call)


class Weightless(Judge):
    """A check of a rule in observe mode: the marks that it notes itself weigh nothing."""

    __slots__ = ("_check",)

    def __init__(self, check: Judge) -> None:
        self._check = check

    def judge(self, call: Call) -> Outcome | Lookup | None:
        """What it says."""
        before = len(call.marks)
        try:
            return self._check.judge(call)
        finally:
            for code in call.marks[before:]:
                call.mark_weightless(code)


def as_judge(check: Callable[[Call], Outcome | Lookup | None]) -> Judge:
    """Any check as the chain asks it."""
    return check if isinstance(check, Judge) else Foreign(check)
