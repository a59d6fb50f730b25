"""Where a certificate lies: the URL of `x5u` and `info`, read so narrowly that nobody who reads it again can take it for another."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LONGEST_URL: Final = 1024
HTTPS: Final = 443

_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""Labels of letters, digits and hyphens; the last begins with a letter, so that no spelling of an IP address passes."""
_URL: Final = re.compile(
    r"(?i:https)://([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?(/[A-Za-z0-9._~:/@!$&'()*+,;=%-]*)?(\?[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?"
)


class Location(NamedTuple):
    """`authority` is the host, with `:port` where that is not 443: what an allow list names. `url` is the one spelling of the whole."""

    url: str
    host: str
    port: int
    authority: str


def parse_authority(text: str) -> tuple[str, int, str]:
    """`host` or `host:port` as host, port and authority. Raises ValueError, worded "what is wrong | what would be right"."""
    form = "a host name, with :port where that is not 443: cert.example, sti.example:8443"
    host, colon, digits = text.partition(":")
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name | {form}" if host else f"there is no host name | {form}")
    if colon and (not digits.isascii() or not digits.isdigit() or len(digits) > 5 or not 0 < int(digits) < 65536):
        raise ValueError(f"{digits!r} is not a port | {form}")
    port = int(digits) if colon else HTTPS
    return host, port, host if port == HTTPS else f"{host}:{port}"


def parse_location(url: str) -> Location:
    """Raises ValueError for what is no https URL of a host name, without user, fragment or any character that URLs do not have."""
    if len(url) > LONGEST_URL:
        raise ValueError(f"longer than {LONGEST_URL} characters")
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("not an https URL with a host name, a path and perhaps a query")
    try:
        host, port, authority = parse_authority(found[1] if found[2] is None else f"{found[1]}:{found[2]}")
    except ValueError as error:
        raise ValueError(str(error).partition(" | ")[0]) from None
    return Location(f"https://{authority}{found[3] or '/'}{found[4] or ''}", host, port, authority)
