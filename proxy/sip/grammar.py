"""Pieces of RFC 3261 §25's grammar that several header fields share: tokens, parameters, comma lists, name-addr, hosts.

All work on bytes with `find`; the fast way through each is the ordinary message, the strict way behind it the hostile one.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from proxy.sip.error import ParseError

ALNUM: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
TOKEN: Final = ALNUM + b"-.!%*_+`'~"
CR: Final = 0x0D
BLANK: Final = 0x20
PERCENT: Final = 0x25
COMMA: Final = 0x2C
SEMICOLON: Final = 0x3B
"""Octets by their numbers: `in` first asks of bytes whether they are a number, by way of an exception, and takes ten times as long."""

_HOSTNAME: Final = ALNUM + b"-._"
_IPV6_LONGEST: Final = 45


def is_token(value: bytes) -> bool:
    """RFC 3261 `token`: one or more of its characters and nothing else."""
    return bool(value) and not value.translate(None, TOKEN)


def number(value: bytes, limit: int, what: str) -> int:
    """A run of digits of at most `limit`; ParseError 400 naming `what` otherwise (signs, blanks and underscores are not digits)."""
    if not value.isdigit() or len(value) > 20:
        raise ParseError(400, f"Bad {what}")
    found = int(value)
    if found > limit:
        raise ParseError(400, f"Bad {what}")
    return found


@lru_cache(maxsize=1024)
def _is_ipv6(text: bytes) -> bool:  # callers bound its length, and with it what the cache may hold
    try:
        ipaddress.IPv6Address(text.decode("ascii", "replace"))
    except ValueError:
        return False
    return PERCENT not in text


HOSTS: Final[dict[bytes, tuple[bytes, int | None]]] = {}
"""What split_host has taken apart, bounded in number and size."""
_HOSTS_KEPT: Final = 4096
_HOST_SIZE: Final = 64


def split_host(value: bytes, what: str) -> tuple[bytes, int | None]:
    """`host [":" port]` taken apart: host without brackets, port or None. ParseError 400 naming `what` when it is neither."""
    found = HOSTS.get(value)
    if found is None:
        found = _split_host(value, what)
        if len(value) <= _HOST_SIZE:  # peers are few, and name themselves in every message
            if len(HOSTS) >= _HOSTS_KEPT:
                HOSTS.clear()
            HOSTS[value] = found
    return found


def _split_host(value: bytes, what: str) -> tuple[bytes, int | None]:
    if value[:1] == b"[":
        end = value.find(b"]")
        if end < 0:
            raise ParseError(400, f"Bad host in {what}")
        host, rest = value[1:end], value[end + 1 :]
        if len(host) > _IPV6_LONGEST or not _is_ipv6(host):
            raise ParseError(400, f"Bad host in {what}")
        if not rest:
            return host, None
        if rest[:1] != b":":
            raise ParseError(400, f"Bad host in {what}")
        return host, number(rest[1:], 65535, f"port in {what}")
    host, colon, port = value.partition(b":")
    if not host or host.translate(None, _HOSTNAME):
        raise ParseError(400, f"Bad host in {what}")
    return host, (number(port, 65535, f"port in {what}") if colon else None)


def end_of_quotes(value: bytes, start: int) -> int:
    """Index just behind the quoted-string that opens at `start`; -1 when it never ends."""
    at = start + 1
    while True:
        at = value.find(b'"', at)
        if at < 0:
            return -1
        back = at - 1
        while value[back] == 0x5C and back > start:  # a run of backslashes: odd escapes the quote
            back -= 1
        if (at - 1 - back) % 2 == 0:
            return at + 1
        at += 1


def split_list(value: bytes) -> list[bytes]:
    """The values of a comma list, blanks around them removed; commas in quotes and in <> do not separate."""
    if COMMA not in value:
        return [value.strip()]
    if b'"' not in value and b"<" not in value:
        return [part.strip() for part in value.split(b",")]
    parts: list[bytes] = []
    begin = at = 0
    size = len(value)
    while at < size:
        char = value[at]
        if char == 0x22:
            at = end_of_quotes(value, at)
            if at < 0:
                raise ParseError(400, "Unterminated quoted string")
            continue
        if char == 0x3C:
            at = value.find(b">", at)
            if at < 0:
                raise ParseError(400, "Unterminated <")
        elif char == 0x2C:
            parts.append(value[begin:at].strip())
            begin = at + 1
        at += 1
    parts.append(value[begin:].strip())
    return parts


def split_params(value: bytes, what: str) -> list[tuple[bytes, bytes | None]]:
    """`;name[=value]` pairs of a parameter tail ("" or starting with ";"): names in lower case, None where there is no "=".

    ParseError 400 naming `what` for empty parameters, text that is no parameter, and unterminated quotes or what follows them.
    """
    value = value.strip()
    if not value:
        return []
    if value[0] != 0x3B:
        raise ParseError(400, f"Bad parameters in {what}")
    found: list[tuple[bytes, bytes | None]] = []
    for part in split_semicolons(value[1:], what):
        name, equals, text = part.partition(b"=")
        name = name.strip().lower()
        if not is_token(name) and name.translate(None, TOKEN + b"[]/:&+$"):
            raise ParseError(400, f"Bad parameters in {what}")
        if not name:
            raise ParseError(400, f"Empty parameter in {what}")
        text = text.strip()
        if equals and (
            not text
            or (text[0] == 0x22 and end_of_quotes(text, 0) != len(text))
            or (text[0] != 0x22 and (b" " in text or b"\t" in text or b'"' in text))
        ):
            raise ParseError(400, f"Bad parameters in {what}")
        found.append((name, text if equals else None))
    return found


def split_semicolons(value: bytes, what: str) -> list[bytes]:
    """The pieces between semicolons, as written; those in quotes do not separate. ParseError 400 naming `what` for open quotes."""
    if b'"' not in value:
        return value.split(b";")
    parts: list[bytes] = []
    begin = at = 0
    while at < len(value):
        if value[at] == 0x22:
            at = end_of_quotes(value, at)
            if at < 0:
                raise ParseError(400, f"Unterminated quoted string in {what}")
            continue
        if value[at] == 0x3B:
            parts.append(value[begin:at])
            begin = at + 1
        at += 1
    parts.append(value[begin:])
    return parts


def param(tail: bytes, name: bytes, what: str) -> bytes | None:
    """The value of parameter `name` in a parameter tail, b"" where it has none, None where it is not there.

    ParseError as split_params, and where `name` stands there twice (RFC 3261 §7.3.1): what others would read is anybody's guess.
    """
    values = [value for found, value in split_params(tail, what) if found == name]
    if len(values) > 1:
        raise ParseError(400, f"Parameter repeated in {what}")
    return None if not values else values[0] or b""


def name_addr(value: bytes, what: str) -> tuple[bytes, bytes, bytes]:
    """`name-addr` or `addr-spec` of From, To, Contact, Route, P-Asserted-Identity ...: display name as written, URI, parameter tail.

    ParseError 400 naming `what` for unterminated quotes or brackets, a display name that is neither tokens nor quoted, blanks or
    brackets in the URI, and an addr-spec whose "?" or "," should have been in <> (RFC 3261 §20.10).
    """
    opening = value.find(b"<")
    if value[:1] == b'"':
        quoted = end_of_quotes(value, 0)
        if quoted < 0:
            raise ParseError(400, f"Unterminated quoted string in {what}")
        opening = value.find(b"<", quoted)
        if opening < 0 or value[quoted:opening].strip():
            raise ParseError(400, f"Bad display name in {what}")
        display = value[:quoted]
    elif opening > 0:
        display = value[:opening].strip()
        if display.translate(None, TOKEN + b" \t") and not _display_words(display):
            raise ParseError(400, f"Bad display name in {what}")
    elif opening == 0:
        display = b""
    else:
        uri, semicolon, tail = value.partition(b";")
        uri = uri.rstrip()
        if not uri or b"?" in uri or b"," in uri or b" " in uri or b"\t" in uri or b">" in uri or b'"' in uri:
            raise ParseError(400, f"Bad address in {what}")
        return b"", uri, semicolon + tail
    closing = value.find(b">", opening)
    if closing < 0:
        raise ParseError(400, f"Bad address in {what}")
    uri = value[opening + 1 : closing]
    if not uri or b" " in uri or b"\t" in uri or b"<" in uri or b'"' in uri:
        raise ParseError(400, f"Bad address in {what}")
    return display, uri, value[closing + 1 :]


def _display_words(display: bytes) -> bool:
    # UTF-8 without quotes is not a token, but is common and harmless; separators such as "," and "@" are neither
    return not bytes(c for c in display if c < 0x80).translate(None, TOKEN + b" \t")


def tag_of(value: bytes, what: str) -> bytes | None:
    """The tag of a From or To value, None without one. ParseError as name_addr and split_params."""
    tail = name_addr(value, what)[2]
    if not tail:
        return None
    if tail[:5] == b";tag=":  # the ordinary case: nothing but a tag
        tag = tail[5:]
        if not tag.translate(None, TOKEN) and tag:
            return tag
    return param(tail, b"tag", what)
