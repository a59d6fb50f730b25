"""Reason codes in words, from codes.toml.

For explain, the demo, the console, and whoever must tell a caller why (Anti-Telecom-Fraud Law art. 32).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import msgspec


class ReasonCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One code. `basis` is the rule of law behind it, `remedy` what the affected party can do; "" where there is none."""

    en: str
    zh: str
    basis: str = ""
    remedy: str = ""
    remedy_zh: str = ""


@cache
def reason_codes() -> Mapping[str, ReasonCode]:
    """Every code that the built-in rules give, in the order of policy.md."""
    text = files("rules").joinpath("codes.toml").read_text(encoding="utf-8")
    return MappingProxyType(msgspec.convert(tomllib.loads(text), dict[str, ReasonCode]))


def reason_code(code: str) -> ReasonCode | None:
    """A code in words; None for the codes of third-party rules."""
    return reason_codes().get(code)
