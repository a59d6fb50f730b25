"""Edits on the header lines that say who calls (From, P-Asserted-Identity, Remote-Party-ID): verstat, display name, anonymity.

Each takes a whole header line that was found well formed and gives it back, the same object where nothing is to be changed; what is not
edited stays as it came, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from proxy.sip.grammar import PERCENT, end_of_quotes
from proxy.sip.kernel import compiled

_QUOTED: Final = rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'  # one that never ends is swallowed whole: no second look at what is in it


def _letter(letter: str) -> str:
    return f"(?:{letter}|%{ord(letter):02x}|%{ord(letter.upper()):02x})"


# the name may be escaped, and so may the signs around it: whoever decodes a user part before taking it apart would read it
_VERSTAT: Final = re.compile(
    rb"(?is)(?P<quoted>" + _QUOTED + rb")"
    rb"|(?:\s{0,4};\s*|%3b)" + "".join(map(_letter, "verstat")).encode() + rb"(?![\w.!*+~'-])"
    rb"(?:(?:\s*=\s*|%3d)(?:" + _QUOTED + rb'|(?:(?!%3b|%40)[^\s;@>,?"])*))?'
)
_TELEPHONE: Final = re.compile(
    rb"(?is)(?P<quoted>" + _QUOTED + rb")"
    rb"|(?P<tel><\s*tel:[^>\s]+)"
    rb"|(?P<user><\s*sips?:[^@>\s]+)(?=@[^>]*;user=phone(?:[;?>]))"
)
_BARE_TEL: Final = re.compile(rb"(?is)([^:]*:\s*)(tel:[^;,<>\s]+)(.*)")


def has_no_verstat(line: bytes) -> bool:
    """Whether verstat stands nowhere in a line, plain or escaped: as most of the name does not, in any case, and no escape."""
    return PERCENT not in line and line.lower().find(b"erstat") < 0


def behind_user(line: bytes, parameter: bytes) -> bytes | None:
    """A line with a parameter put behind the user part of its one SIP URI, where that ends in user=phone; None for any other."""
    at, end = line.find(b"@"), line.find(b">")
    if line.endswith(b";user=phone", at, end) and 0 < line.find(b"<sip:") < at < end and line.count(b"@") == 1 and line.count(b"<") == 1:
        return line[:at] + parameter + line[at:]
    return None


_has_no_verstat: Final[Callable[[bytes], bool]] = has_no_verstat if compiled is None else compiled.has_no_verstat
_behind_user: Final[Callable[[bytes, bytes], bytes | None]] = behind_user if compiled is None else compiled.behind_user


def without_verstat(line: bytes) -> bytes:
    """Take `verstat` out wherever it stands as a parameter: of a tel URI, of a user part, of a SIP URI, of the header field."""
    if _has_no_verstat(line):
        return line
    edited = _VERSTAT.sub(lambda found: found["quoted"] or b"", line)
    return line if edited == line else edited


def with_verstat(line: bytes, value: bytes) -> bytes:
    """Put `verstat` on each telephone number: tel URIs, and SIP URIs with user=phone (3GPP TS 24.229 §7.2A.20). No other URI has one."""
    parameter = b";verstat=" + value
    changed = _behind_user(line, parameter)
    if changed is not None:
        return changed
    lower = line.lower()
    if b"tel:" not in lower and b"user=phone" not in lower:
        return line
    if b"<" not in line:
        bare = _BARE_TEL.fullmatch(line)  # its parameters would be the header field's: the URI needs brackets first
        return line if bare is None else bare[1] + b"<" + bare[2] + parameter + b">" + bare[3]
    return _TELEPHONE.sub(lambda found: found["quoted"] or (found["tel"] or found["user"]) + parameter, line)


def with_prefix(line: bytes, prefix: bytes, number: bytes) -> bytes:
    """Let the display name begin with `prefix`; where there is none, `number` follows it, so that a display shows that too.

    Lines with several values, which are no From, are left alone.
    """
    at = _value_at(line)
    opening = line.find(b"<", at)
    if line[at : at + 1] == b'"':
        end = end_of_quotes(line, at)
        if line.startswith(prefix, at + 1):
            return line
        space = b" " if end - 1 > at + 1 else b""
        return line[: at + 1] + prefix + space + line[at + 1 :]
    if opening > at:
        return line[:at] + b'"' + prefix + b" " + line[at:opening].strip() + b'" ' + line[opening:]
    name = b'"' + prefix + (b" " + number if number else b"") + b'" '
    if opening == at:
        return line[:at] + name + line[at:]
    uri, semicolon, tail = line[at:].partition(b";")
    return line[:at] + name + b"<" + uri.rstrip() + b">" + semicolon + tail


def anonymous(line: bytes) -> bytes:
    """A From line of nobody (RFC 3323 §4.1.1.3) with the parameters that it had, its tag among them."""
    at = _value_at(line)
    quoted = end_of_quotes(line, at) if line[at : at + 1] == b'"' else at
    opening = line.find(b"<", quoted)
    if opening >= 0:
        tail = line[line.find(b">", opening) + 1 :]
    else:
        uri = line[at:].partition(b";")[0]
        tail = line[at + len(uri) :]
    return b'From: "Anonymous" <sip:anonymous@anonymous.invalid>' + tail


def _value_at(line: bytes) -> int:
    at = line.find(b":") + 1
    while line[at : at + 1] in (b" ", b"\t", b"\r", b"\n"):
        at += 1
    return at
