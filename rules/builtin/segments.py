"""Rule 10: a customer calls with its own numbers only (工信部联信管〔2018〕138号 二(1))."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call
from rules.directory import Directory
from rules.judge import Judge
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

AUTHORISED: Final = Outcome("ok", "AUTH_OK")
UNAUTHORISED: Final = Outcome("reject", "AUTH_FAIL")


class Segments:
    """Every number an enterprise trunk presents (PAI and From) is inside a segment of that trunk, in its dates; a call with none fails too.

    Where rule 9 has found who forwarded the call, that number is authenticated in place of those presented.

    On a trunk that several customers share the segments are those of the customer whose call it is; a call that is nobody's fails, and so
    does one that presents numbers of two of them.

    A number with two readings (flag AMBIG_95_GEO) passes if either is authorised.
    """

    name: ClassVar = "segments"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "reject"
    kinds: ClassVar = frozenset({"enterprise"})
    quiet: ClassVar = ""  # it always has an opinion on its kind of trunk

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        return SegmentsCheck(directory)


class SegmentsCheck(Judge):
    """Segments, bound."""

    __slots__ = ("_directory",)

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        if call.kind != "enterprise":
            return None
        presented = call.presented
        tenant = call.tenant
        if tenant is not None:
            if call.why is not None:
                call.why.append(call.told)
            if not tenant:
                return UNAUTHORISED
        if call.instead is not None:
            if call.why is not None:
                call.why.append(f"{call.instead.canonical}, which forwarded the call, is authenticated in place of its caller")
            return None if call.proven else AUTHORISED
        if not presented:
            if call.why is not None:
                call.why.append("no number to authenticate")
            return UNAUTHORISED
        trunk_id = call.trunk_id
        directory = self._directory
        at = call.at
        for number in presented:
            if not directory.holds(number, trunk_id, at, tenant):
                if call.why is not None:
                    nearly = directory.nearly(number, trunk_id, at, tenant)
                    said = f"{call.named(number)} in no segment of {call.whose}"
                    call.why.append(f"{said}: {nearly}" if nearly else said)
                return UNAUTHORISED
            if call.why is not None:
                segment = directory.segment(number, trunk_id, at, tenant)
                if segment is not None:
                    end = f"-{segment.last}" if segment.last and segment.last != segment.first else ""
                    where = f"{segment.first}{end} of {call.whose} ({segment.file}:{segment.line})"
                    call.why.append(f"{call.named(number)} in segment {where}")
        return AUTHORISED
