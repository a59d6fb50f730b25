"""Rule 2: the call comes over a trunk that we know, that is in service, from the peer it belongs to."""

from __future__ import annotations

from typing import ClassVar, Final

from rules.call import Call
from rules.directory import Directory
from rules.judge import Judge
from rules.rule import Check, NoSettings, OnError
from rules.verdict import Outcome

UNKNOWN: Final = Outcome("reject", "TRK_UNKNOWN")
SUSPENDED: Final = Outcome("reject", "TRK_SUSPENDED")
WRONG_IDENTITY: Final = Outcome("reject", "TRK_SRC")


class TrunkRule:
    """Reject a source that matches no trunk, a suspended trunk, and a peer without the TLS identity its trunk names.

    A trunk with `tls_identity` takes calls from nobody else, whatever their address: a UDP packet that claims one has no identity. A call
    without a Source (`/v1/decide` and `explain` by trunk) is not asked for one.
    """

    name: ClassVar = "trunk"
    Config: ClassVar = NoSettings
    on_error: ClassVar[OnError] = "reject"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international", "core"})
    quiet: ClassVar = "a known trunk in service"

    def bind(self, config: NoSettings, directory: Directory) -> Check:
        """Make the check."""
        return TrunkCheck()


class TrunkCheck(Judge):
    """TrunkRule, bound."""

    __slots__ = ()

    def judge(self, call: Call) -> Outcome | None:
        """As the rule says."""
        trunk = call.trunk
        if not call.trunk_id:
            if call.why is not None:
                call.why.append(f"{call.source!r} matches no trunk")
            return UNKNOWN
        if trunk.suspended:
            if call.why is not None:
                call.why.append(f"trunk {trunk.id} is suspended")
            return SUSPENDED
        if trunk.tls_identity is not None and call.source is not None:
            presented = call.source.tls_identity
            if presented is None or presented.lower() != trunk.tls_identity.lower():
                if call.why is not None:
                    call.why.append(f"{call.source!r} presents {presented!r}, trunk {trunk.id} is {trunk.tls_identity!r}")
                return WRONG_IDENTITY
        return None
