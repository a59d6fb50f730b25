"""SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966) as far as a proxy looks into them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.sip.error import ParseError
from proxy.sip.grammar import ALNUM, is_token, split_host, split_params
from proxy.sip.kernel import compiled, nothing

if TYPE_CHECKING:
    from proxy.sip._kernel import UriParts

URI_CHARACTERS: Final = ALNUM + b"-_.!~*'()%&=+$,;?/:@[]"
_SCHEME: Final = ALNUM + b"+-."
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SCHEMES: Final = {b"sip": b"sip", b"sips": b"sips", b"tel": b"tel", b"SIP": b"sip", b"SIPS": b"sips", b"TEL": b"tel"}


class Uri:
    """One Request-URI, Route or Contact URI taken apart.

    `scheme` is in lower case; `user` is everything before "@" (password and user parameters included, escapes as written), None where
    there is none; `host` is without brackets, in lower case; `params` is the raw tail from the first ";" behind the host. A tel URI has
    its number in `user` and no host.
    """

    __slots__ = ("host", "params", "port", "scheme", "user")

    def __init__(self, scheme: bytes, user: bytes | None, host: bytes, port: int | None, params: bytes) -> None:
        self.scheme = scheme
        self.user = user
        self.host = host
        self.port = port
        self.params = params

    def param(self, name: bytes) -> bytes | None:
        """Value of the URI parameter `name` (lower case), b"" where it has none, None where it is absent."""
        if name not in self.params.lower():
            return None
        for found, value in split_params(self.params, "URI"):
            if found == name:
                return value if value is not None else b""
        return None


_read: Callable[[bytes], UriParts | None] = nothing if compiled is None else compiled.read_uri
_KNOWN: Final[dict[bytes, Uri]] = {}
_KEPT: Final = 4096
_KEPT_SIZE: Final = 128


def parse_uri(uri: bytes, what: str = "Request-URI") -> Uri:
    """Take a URI apart. Short ones are kept (those of Contact and Record-Route come again in each request of a dialog): treat what comes
    back as a constant.

    ParseError 416 for a scheme that is not sip, sips or tel; 400 naming `what` for bad characters, escapes, hosts, ports or parameters and
    for embedded header fields ("?" behind the host), which no Request-URI may carry (RFC 3261 §19.1.1).
    """
    found = _KNOWN.get(uri)
    if found is None:
        parts = _read(uri)
        found = _parse(uri, what) if parts is None else Uri(*parts)
        if len(uri) <= _KEPT_SIZE:
            if len(_KNOWN) >= _KEPT:
                _KNOWN.clear()
            _KNOWN[uri] = found
    return found


def _parse(uri: bytes, what: str) -> Uri:
    scheme, colon, rest = uri.partition(b":")
    known = _SCHEMES.get(scheme) or _SCHEMES.get(scheme.lower())
    if known is None:
        if not colon or not scheme or scheme.translate(None, _SCHEME) or not scheme[:1].isalpha():
            raise ParseError(400, f"Bad {what}")
        raise ParseError(416, "Unsupported URI Scheme")
    if not rest or uri.translate(None, URI_CHARACTERS) or (b"%" in uri and _BAD_ESCAPE.search(uri)):
        raise ParseError(400, f"Bad {what}")
    if known == b"tel":
        number, semicolon, params = rest.partition(b";")
        if not number or b"@" in rest or b"?" in rest:
            raise ParseError(400, f"Bad {what}")
        return Uri(known, number, b"", None, semicolon + params)
    user: bytes | None
    user, at, hostport = rest.partition(b"@")
    if at:
        if not user or user[:1] == b":" or b"@" in hostport or b"[" in user or b"]" in user:
            raise ParseError(400, f"Bad {what}")
    else:
        user, hostport = None, rest
    if b"?" in hostport:
        raise ParseError(400, f"Header fields in {what}")
    hostport, semicolon, params = hostport.partition(b";")
    host, port = split_host(hostport, what)
    if semicolon:
        params = b";" + params
        if b";;" in params or params[-1:] == b";":
            raise ParseError(400, f"Empty parameter in {what}")
    return Uri(known, user, host.lower(), port, params)


def is_absolute(uri: bytes) -> bool:
    """Whether an address of any scheme at least looks like one: `scheme:something` without blanks or brackets."""
    scheme, colon, rest = uri.partition(b":")
    return bool(colon and rest and is_token(scheme))
