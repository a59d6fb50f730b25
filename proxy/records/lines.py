"""The header lines that an Attempt carries, by field: what a record shows of them. Nothing here raises, whatever the lines contain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.sip.error import ParseError
from proxy.sip.grammar import param, split_list
from proxy.sip.message import canonical_name, unfold

FIELDS: Final = {
    b"from": "from",
    b"to": "to",
    b"p-asserted-identity": "pai",
    b"p-preferred-identity": "ppi",
    b"diversion": "diversion",
    b"history-info": "history_info",
    b"privacy": "privacy",
    b"identity": "identity",
    b"via": "via",
}
"""Header fields that have a column of their own: every value in order, one by one."""

OTHER: Final = "other"
"""The column of all other lines, whole."""

LISTS: Final = frozenset((b"p-asserted-identity", b"p-preferred-identity", b"diversion", b"history-info", b"via"))
"""Those whose values a comma parts (RFC 3261 §7.3.1)."""

CHARGING: Final = b"p-charging-vector"

Fields = dict[str, list[str]]


def text(value: bytes) -> str:
    """Octets as text: UTF-8, any other octet as `\\xNN`."""
    return value.decode("utf-8", "backslashreplace")


def fields(lines: Sequence[bytes], call_id: bytes) -> tuple[Fields, str]:
    """Values by column, and the icid-value of P-Charging-Vector (RFC 7315 §5.6; "" without one). A line that says no more than `call_id`
    is left out: that has a column.
    """
    found: Fields = {}
    icid = ""
    for line in lines:
        try:
            name = canonical_name(line)
        except ParseError:
            name = b""
        column = FIELDS.get(name, OTHER)
        if column is OTHER:
            if name == b"call-id" and line.partition(b":")[2].strip() == call_id:
                continue
            found.setdefault(OTHER, []).append(text(line))
            if name == CHARGING and not icid:
                icid = _icid(unfold(line.partition(b":")[2].strip()))
            continue
        value = unfold(line.partition(b":")[2].strip())
        found.setdefault(column, []).extend(map(text, _values(name, value)))
    return found, icid


def _values(name: bytes, value: bytes) -> list[bytes]:
    if name not in LISTS:
        return [value]
    try:
        return split_list(value)
    except ParseError:  # an open quote: shown as it stands
        return [value]


def _icid(value: bytes) -> str:
    try:
        found = param(b";" + value, b"icid-value", "P-Charging-Vector")
    except ParseError:
        return ""
    if not found:
        return ""
    return text(found[1:-1] if found[:1] == b'"' and len(found) > 1 else found)
