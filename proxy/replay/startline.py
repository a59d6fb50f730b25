"""How SIP is recognised: by the first line of a message (RFC 3261 §7.1, §7.2), on whatever port."""

from __future__ import annotations

import re
from typing import Final

MAX_LINE: Final = 8192
"""A longer first line is none."""

_METHOD: Final = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]{1,64}")
_VERSION: Final = re.compile(rb"SIP/\d{1,2}\.\d{1,2}", re.IGNORECASE)
_STATUS: Final = re.compile(rb"SIP/\d{1,2}\.\d{1,2}[ \t]{1,8}\d{3}(?!\d)", re.IGNORECASE)
_HEADER: Final = re.compile(rb"[!-9;-~]+[ \t]*:")
_VIA: Final = re.compile(rb"\nv(?:ia)?[ \t]*:", re.IGNORECASE)
_SPLIT: Final = re.compile(rb"[A-Z]{1,16}(?: (?:s(?:i(?:ps?(?::[^\r\n]*)?)?)?)?)?|S(?:IP?)?|SIP/[^\r\n]*")


def begins(data: bytes, at: int = 0) -> bool:
    """Whether a SIP message begins there. Liberal: what is nearly one is an INVITE that somebody sent, and deserves its refusal."""
    if data[at : at + 4].upper() == b"SIP/":
        return _STATUS.match(data, at) is not None
    space = data.find(b" ", at, at + 65)
    if space <= at or not _METHOD.fullmatch(data, at, space):
        return False
    end = data.find(b"\n", space, at + MAX_LINE)
    line = data[space : end if end >= 0 else at + MAX_LINE].rstrip()
    last = max(line.rfind(b" "), line.rfind(b"\t")) + 1
    return _VERSION.fullmatch(line, last) is not None and 0 <= line.find(b":") < last


def may_begin(data: bytes) -> bool:
    """Whether these bytes, which hold no line end yet, may grow into a message."""
    return len(data) < MAX_LINE and _SPLIT.fullmatch(data) is not None


def find_message(data: bytes) -> int:
    """Where a message begins in the middle of a stream that lost its frames; -1 when nowhere.

    It must have a Via close behind: bodies of type message/sipfrag begin like messages, too, and have none as a rule.
    """
    at = data.find(b"SIP/")
    while at >= 0:
        begin = data.rfind(b"\n", 0, at) + 1
        if begins(data, begin):
            lines = data[begin : begin + MAX_LINE].partition(b"\r\n\r\n")[0]
            following = lines.find(b"\n") + 1
            if following and _HEADER.match(lines, following) and _VIA.search(lines, following - 1):
                return begin
        at = data.find(b"SIP/", at + 4)
    return -1
