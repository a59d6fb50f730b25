"""What a rule is: the protocol of built-in and third-party rules alike.

A third-party rule is a class behind an entry point of the group "sipwarden.rules", whose name is the rule's name; it is loaded only where a
policy.toml names it in `order`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

import msgspec

from rules.call import Call
from rules.directory import Directory
from rules.verdict import Lookup, Outcome

Check = Callable[[Call], Outcome | Lookup | None]
"""One rule bound to its settings and a directory: asked once for each call, None for no opinion. It has no clock but `call.at`.

A check may note a mark of its own with `call.mark` and go on looking; what it returns is its strongest finding. Where `call.why` is a
list, it appends the value that decided, for `explain`; it must decide alike with and without.
"""

OnError = Literal["reject", "mark", "no opinion"]
"""What becomes of a call when a rule fails on it."""


class NoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Config of a rule that has no settings of its own."""


class Rule(Protocol):
    """A rule before it is bound.

    `Config` is the msgspec Struct its table in policy.toml is read into (`mode` and `on_error` are not part of it; unknown keys are refused
    whether or not the Struct says so; a field's type may have a class method `parse`, which raises ValueError "what is wrong | what would
    be right"). `bind` is called once when a policy is loaded; what it raises is a fault of the policy.

    A rule may also have the attributes `on_error` (its default, else "mark"), `kinds` (the trunk kinds it judges), `quiet` (what "no
    opinion" means, for `explain`) and, where it is a third party's, `codes`: its reason codes in words, a mapping to ReasonCode, for
    `explain` and `sipwarden codes`. Built-in rules have theirs in codes.toml.
    """

    name: ClassVar[str]
    Config: ClassVar[type[msgspec.Struct]]

    def bind(self, config: msgspec.Struct, directory: Directory) -> Check:
        """Make the check that runs for each call."""
        ...
