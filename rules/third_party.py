"""Rules of other packages: entry points of the group "sipwarden.rules", imported only when a policy names them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

import msgspec

from rules.codes import ReasonCode, reason_codes
from rules.rule import Rule
from rules.verdict import CODE_FORM

GROUP = "sipwarden.rules"

_T = TypeVar("_T")


class Unusable(Exception):
    """A third-party rule that cannot be used; the text says what is wrong with it."""


def offered() -> dict[str, list[EntryPoint]]:
    """Every rule that an installed package offers, by name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def load_rule(name: str, points: list[EntryPoint]) -> Rule:
    """Import a rule and see that it keeps to the protocol. Raises Unusable."""
    targets = {point.value for point in points}
    if len(targets) > 1:
        raise Unusable(f"more than one package offers a rule of this name: {', '.join(sorted(targets))}")
    loaded = attempt(points[0].load, "cannot be imported")
    rule = attempt(loaded, "cannot be created") if isinstance(loaded, type) else loaded
    if getattr(rule, "name", None) != name:
        raise Unusable(f"{points[0].value} calls itself {getattr(rule, 'name', None)!r}")
    config = getattr(rule, "Config", None)
    if not (isinstance(config, type) and issubclass(config, msgspec.Struct)):
        raise Unusable(f"{points[0].value} has no Config that is a msgspec.Struct")
    if not callable(getattr(rule, "bind", None)):
        raise Unusable(f"{points[0].value} has no bind")
    return cast(Rule, rule)


def own_codes(rule: Rule) -> dict[str, ReasonCode]:
    """The reason codes that a rule explains, {} where it explains none. Raises Unusable."""
    offered_codes: object = attempt(lambda: getattr(rule, "codes", {}), "its codes cannot be read")
    if not isinstance(offered_codes, Mapping):
        raise Unusable(f"its codes are {offered_codes!r:.80}, not a mapping of reason codes to rules.ReasonCode")
    codes = dict(offered_codes)
    for code, words in codes.items():
        if not isinstance(code, str) or CODE_FORM.fullmatch(code) is None:
            raise Unusable(f"its codes have {code!r:.80}: a reason code is capital letters, digits and _, at most 64")
        if not isinstance(words, ReasonCode):
            raise Unusable(f"its codes explain {code} with {words!r:.80}, not with a rules.ReasonCode")
        if code in reason_codes():
            raise Unusable(f"its codes explain {code}, which is a code of the built-in rules")
    return codes


def attempt(call: Callable[[], _T], what: str) -> _T:
    """Call into foreign code. Raises Unusable with the last line of the traceback, whatever that code raises."""
    try:
        return call()
    except Exception as error:
        raise Unusable(f"{what}: {traceback.format_exception_only(error)[-1].strip()}") from error
