"""The certificate extension TNAuthList (RFC 8226 §9): for which numbers a certificate speaks.

Read here by hand because nothing among our dependencies reads it: `cryptography` hands unknown extensions over as octets, and its own
module for ASN.1 is declared unstable and takes no SEQUENCE OF at the top.
"""

from __future__ import annotations

import re
from typing import Final

OID: Final = "1.3.6.1.5.5.7.1.26"

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_IA5: Final = 0x16
_SPC, _RANGE, _ONE = 0xA0, 0xA1, 0xA2
_NUMBER: Final = re.compile(r"[0-9#*]{1,15}")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_LONGEST_COUNT: Final = 8
"""Octets of an INTEGER: no block of numbers of 15 digits has more."""


class TnAuthList:
    """Service provider codes, and the numbers of ranges and single entries. Whoever has one of them may sign."""

    __slots__ = ("ones", "ranges", "spcs")

    def __init__(self, spcs: frozenset[str], ones: frozenset[str], ranges: tuple[tuple[int, int, int], ...]) -> None:
        self.spcs = spcs
        self.ones = ones
        self.ranges = ranges  # digits, first, last

    @property
    def names_numbers(self) -> bool:
        """Whether any number is named, and not providers only."""
        return bool(self.ones or self.ranges)

    def __contains__(self, number: str) -> bool:
        """Whether a number in the form of `tn` is among those named."""
        if number in self.ones:
            return True
        if not self.ranges or not _DIGITS.fullmatch(number):
            return False
        size, value = len(number), int(number)
        return any(digits == size and first <= value <= last for digits, first, last in self.ranges)

    def __str__(self) -> str:
        """For `explain`: what it names, the first few of it."""
        named = [f"spc {spc}" for spc in sorted(self.spcs)]
        named += [f"{first:0{digits}d}-{last:0{digits}d}" for digits, first, last in self.ranges]
        named += sorted(self.ones)
        return ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")


def read_tn_auth_list(der: bytes) -> TnAuthList:
    """Read the extension's value. Raises ValueError for anything but its DER, and for what names nobody."""
    start, stop = _expect(der, 0, len(der), _SEQUENCE)
    if stop != len(der):
        raise ValueError("octets follow the list")
    spcs: set[str] = set()
    ones: set[str] = set()
    ranges: list[tuple[int, int, int]] = []
    while start < stop:
        tag, at, start = _element(der, start, stop)
        if tag == _SPC:
            spcs.add(_text(der, at, start))
        elif tag == _ONE:
            ones.add(_number(_text(der, at, start), _NUMBER))
        elif tag == _RANGE:
            ranges.append(_range(der, at, start))
        else:
            raise ValueError(f"an entry has the tag {tag:#04x}")
    if not (spcs or ones or ranges):
        raise ValueError("it names nobody")
    return TnAuthList(frozenset(spcs), frozenset(ones), tuple(ranges))


def _range(der: bytes, at: int, end: int) -> tuple[int, int, int]:
    at, stop = _expect(der, at, end, _SEQUENCE)
    if stop != end:
        raise ValueError("octets follow a range")
    tag, start, at = _element(der, at, end)
    if tag != _IA5:
        raise ValueError("a range does not begin with a number")
    first = _number(der[start:at].decode("ascii"), _DIGITS)
    start, stop = _expect(der, at, end, _INTEGER)
    octets = der[start:stop]
    shortest = octets[:1] != b"\0" or len(octets) == 1 or octets[1] >= 0x80
    if stop != end or not octets or len(octets) > _LONGEST_COUNT or octets[0] >= 0x80 or not shortest:
        raise ValueError("a range has no proper count")
    last = int(first) + int.from_bytes(octets, "big") - 1
    if last < int(first) or last >= 10 ** len(first):
        raise ValueError("a range does not end among numbers of its length")
    return len(first), int(first), last


def _text(der: bytes, at: int, end: int) -> str:
    start, stop = _expect(der, at, end, _IA5)
    if stop != end or start == stop:
        raise ValueError("an entry is not one text")
    return der[start:stop].decode("ascii")


def _number(text: str, form: re.Pattern[str]) -> str:
    if not form.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return text


def _expect(der: bytes, at: int, end: int, wanted: int) -> tuple[int, int]:
    tag, start, stop = _element(der, at, end)
    if tag != wanted:
        raise ValueError(f"the tag {tag:#04x} stands where {wanted:#04x} belongs")
    return start, stop


def _element(der: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Tag, and where the content of the element at a place begins and ends. Lengths are definite and in their shortest form."""
    if end - at < 2:
        raise ValueError("it breaks off")
    tag, size = der[at], der[at + 1]
    at += 2
    if size >= 0x80:
        octets = size & 0x7F
        if not 1 <= octets <= 3 or end - at < octets:
            raise ValueError("a length cannot be read")
        size = int.from_bytes(der[at : at + octets], "big")
        if size < 0x80 or size >> 8 * (octets - 1) == 0:
            raise ValueError("a length is longer than it needs to be")
        at += octets
    if size > end - at:
        raise ValueError("it breaks off")
    return tag, at, at + size
