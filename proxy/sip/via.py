"""The topmost Via (RFC 3261 §18.2, RFC 3581): who gets the response, and under which branch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.sip.error import ParseError
from proxy.sip.grammar import HOSTS, is_token, split_host, split_params, split_semicolons
from proxy.sip.kernel import compiled, nothing

if TYPE_CHECKING:
    from proxy.sip._kernel import ViaParts, Vias

MAGIC: Final = b"z9hG4bK"
_USUAL: Final = (b"TCP ", b"TLS ")

# LWS is allowed around both slashes and the colon (RFC 3261 §25.1 sent-protocol); only such rarities come here
_TORTUOUS: Final = re.compile(
    # possessive, so that no input can make it try a run of blanks more than once
    rb"([^\s/;,]++)\s*+/\s*+([^\s/;,]++)\s*+/\s*+([^\s/;,]++)\s++([^\s;,:\[\]]++|\[[^\]]*+\])\s*+(?::\s*+(\d++)\s*+)?(;.*)?",
    re.DOTALL,
)


reader: Vias | None = None if compiled is None else compiled.Vias(HOSTS, split_host)
_read: Callable[[bytes], ViaParts | None] = nothing if reader is None else reader.read


class Via:
    """One Via value: `host` without brackets, `port` None for the default, `sent_by` as written, `rport` None (absent), b"" or its
    value.
    """

    __slots__ = ("branch", "host", "port", "received", "rport", "sent_by", "transport", "value")

    def __init__(self, value: bytes, parts: ViaParts | None = None) -> None:
        """Take `value` apart, unless the kernel has; ParseError 400 when it is not a Via value."""
        self.value = value
        parts = parts or _read(value)
        if parts is not None:
            self.transport, self.sent_by, self.host, self.port, self.branch, self.rport, self.received = parts
        else:
            self._read(value)

    def _read(self, value: bytes) -> None:
        head, semicolon, tail = value.partition(b";")
        if (head[:12] == b"SIP/2.0/UDP " or (head[:8] == b"SIP/2.0/" and head[8:12] in _USUAL)) and b" " not in head[12:]:
            self.transport = head[8:11]
            self.sent_by = head[12:]
        else:
            found = _TORTUOUS.fullmatch(value)
            if found is None or found[1].upper() != b"SIP" or found[2] != b"2.0" or not is_token(found[3]):
                raise ParseError(400, "Bad Via")
            self.transport = found[3]
            self.sent_by = found[4] if found[5] is None else found[4] + b":" + found[5]
        self.host, self.port = split_host(self.sent_by, "Via")
        self.branch = self.rport = self.received = None
        if tail[:7] == b"branch=" and b";" not in tail and is_token(tail[7:]):  # the ordinary case: a branch and nothing else
            self.branch = tail[7:]
        elif semicolon:
            for name, text in split_params(b";" + tail, "Via"):
                if name == b"branch":
                    if self.branch is not None:  # RFC 3261 §7.3.1; which of the two would others take?
                        raise ParseError(400, "Parameter repeated in Via")
                    self.branch = text
                elif name == b"rport":
                    self.rport = text or b""
                elif name == b"received":
                    self.received = text


def mark_received(via: Via, address: bytes, port: int) -> bytes | None:
    """The Via value with `received` (and `rport` when asked for) set from the source, or None where nothing has to change.

    RFC 3261 §18.2.1: `received` when sent-by is a name or another address; RFC 3581 §4: both when the sender put `rport`. A `received`
    or `rport` value that the sender invented is replaced.
    """
    if via.rport is None and via.received is None and via.host == address:
        return None
    head, _, tail = via.value.partition(b";")
    kept = [part for part in split_semicolons(tail, "Via") if part.partition(b"=")[0].strip().lower() not in (b"received", b"rport", b"")]
    kept.append(b"received=" + address)
    if via.rport is not None:
        kept.append(b"rport=%d" % port)
    return head.rstrip() + b";" + b";".join(kept)
