"""Values of Identity header fields taken apart (RFC 8224 §4): a token, then info, alg, ppt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

LONGEST_FIELD: Final = 65_536
"""Characters of a field that are looked at: as many as a datagram has."""

PARAMETERS: Final = 16
"""Parameters of a value that are read: five times what RFC 8224 has."""

_TOKEN: Final = re.compile(r"[ \t]*([A-Za-z0-9_.=+/-]+)")
_PARAMETER: Final = re.compile(
    r"""[ \t]*;[ \t]*([A-Za-z0-9_.!%*+`'~-]+)(?:[ \t]*=[ \t]*(?:<([^<>"]*)>|"((?:[^"\\]|\\.)*)"|([^\s;,<>"]+)))?"""
)
_END: Final = re.compile(r"[ \t]*(?:,|\Z)")


class IdentityValue(msgspec.Struct, frozen=True):
    """One value. `info` is the URL between < and >; "" stands for what is not there. `fault` says why it cannot be read, "" if it can."""

    token: str
    info: str = ""
    alg: str = ""
    ppt: str = ""
    fault: str = ""

    @property
    def signature(self) -> str:
        """The last part of the token, which tells it from every other (RFC 9410 §5)."""
        return self.token.rpartition(".")[2]


def identity_values(fields: Iterable[str], most: int) -> tuple[list[IdentityValue], bool]:
    """The values of all fields in order, comma lists split, at most `most` of them; and whether there were more.

    A field that cannot be read on is one value with a fault, whatever else it holds. Never raises.
    """
    values: list[IdentityValue] = []
    for field in fields:
        at = 0
        text = field[:LONGEST_FIELD]
        while at < len(text):
            if len(values) == most:
                return values, True
            value, at = _value(text, at)
            values.append(value)
    return values, False


def _value(text: str, at: int) -> tuple[IdentityValue, int]:
    """The value that begins at a place, and where the next one does."""
    token = _TOKEN.match(text, at)
    if token is None:
        return IdentityValue("", fault="it does not begin with a PASSporT"), len(text)
    at = token.end()
    said: dict[str, str] = {}
    while parameter := _PARAMETER.match(text, at):
        at = parameter.end()
        name = parameter[1].lower()
        if len(said) == PARAMETERS:
            return IdentityValue(token[1], fault=f"it has more than {PARAMETERS} parameters"), len(text)
        if name in said:
            return IdentityValue(token[1], fault=f"the parameter {name[:32]} stands there twice"), len(text)
        said[name] = next((value for value in parameter.groups()[1:] if value is not None), "")
    end = _END.match(text, at)
    if end is None:
        return IdentityValue(token[1], fault="its parameters cannot be read"), len(text)
    return IdentityValue(token[1], said.get("info", "").strip(), said.get("alg", ""), said.get("ppt", "").lower()), end.end()
