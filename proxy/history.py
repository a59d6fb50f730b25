"""Who sent a call on, as its header fields tell it: Diversion (RFC 5806) and History-Info (RFC 7044), taken apart for policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.sip.error import ParseError
from proxy.sip.grammar import name_addr, param, split_list, split_params
from rules.call import Diverted

ENTRIES_READ: Final = 64
"""Entries of one History-Info that are looked at, the last ones."""

_FORWARDING: Final = frozenset({302, 404, 408, 480, 486, 487, 503})
"""Responses that a Reason in an entry may name when its target had the call sent on (RFC 7544 §4.1, RFC 4458 §4)."""

_COUNT_MOST: Final = 1000

_ANONYMOUS: Final = b"<sip:anonymous@anonymous.invalid>"


class Entry:
    """One hi-entry: its URI without embedded header fields, its index, the index that it was made from (`mp`, `rc`), the `cause` of its URI
    and the SIP response that its Reason names.
    """

    __slots__ = ("cause", "index", "mapped", "origin", "reason", "uri")

    def __init__(self, value: bytes) -> None:
        """ParseError for what is no name-addr with parameters."""
        _, uri, tail = name_addr(value, "History-Info")
        params = dict(split_params(tail, "History-Info"))
        at = uri.rfind(b"@") + 1
        place = uri.find(b"?", at)
        self.uri, headers = (uri, b"") if place < 0 else (uri[:place], uri[place + 1 :])
        self.cause = _cause_of(self.uri[at:])
        self.reason = _reason_of(headers)
        self.index = _index(params.get(b"index"))
        self.mapped = _index(params.get(b"mp"))
        self.origin = self.mapped or _index(params.get(b"rc"))


def read_history(values: Sequence[bytes]) -> tuple[Diverted, ...]:
    """The steps that History-Info tells of, the most recent first: each names who sent the call on.

    Entries count in the order of their indices. A target was reached by a diversion where its URI has a `cause` (RFC 4458) or its entry
    says that another user was put in (`mp`); the one before it sent the call on: the entry named by `mp` or `rc`, else the one that its
    index stands under, else the one just before. Without a cause the Reason embedded in that entry counts, as it does in the last one,
    whose next target is the Request-URI. What cannot be understood is left out.
    """
    entries: list[Entry] = []
    for value in values[-ENTRIES_READ:]:
        try:
            entries.append(Entry(value))
        except ParseError:
            continue
    ordered = all(entry.index for entry in entries)
    if ordered:
        entries.sort(key=lambda entry: entry.index)
    known = {entry.index: entry for entry in entries} if ordered else {}
    steps: list[tuple[Entry, int | None]] = []
    for place, entry in enumerate(entries):
        if not place:
            continue
        before = entries[place - 1]
        parent = known.get(entry.origin) or known.get(entry.index[:-1]) or before
        if entry.cause is not None or entry.mapped:
            steps.append((parent, entry.cause if entry.cause is not None else parent.reason or before.reason))
        elif parent.reason is not None:
            steps.append((parent, parent.reason))
        elif before.reason is not None:
            steps.append((before, before.reason))
    if entries and entries[-1].reason is not None:
        steps.append((entries[-1], entries[-1].reason))
    told: list[Diverted] = []
    last: Entry | None = None
    for entry, cause in steps:
        if entry is not last:  # targets tried one after the other for the same number
            told.append(Diverted(entry.uri.decode("utf-8", "surrogateescape"), cause))
        last = entry
    return tuple(reversed(told))


def read_diversion(values: Sequence[bytes]) -> tuple[tuple[str, ...], int]:
    """The URIs of Diversion, the most recent first as they stand there, and the number of diversions that their `counter`s add up to."""
    uris: list[str] = []
    hops = 0
    for value in values:
        _, uri, tail = name_addr(value, "Diversion")
        uris.append(uri.decode("utf-8", "surrogateescape"))
        count = b""
        if b"counter" in tail.lower():
            try:
                count = param(tail, b"counter", "Diversion") or b""
            except ParseError:
                count = b""
        hops += max(1, int(count)) if count.isdigit() and len(count) < 4 else 1 if not count.isdigit() else _COUNT_MOST
    return tuple(uris), hops


def anonymised(values: Sequence[bytes], *, every: bool) -> list[bytes] | None:
    """History-Info as it may leave the trust domain (RFC 7044 §10.1.2): entries that ask for it (`Privacy=history`), or all, without whom
    they name; their indices stay. None where nothing is to be changed.
    """
    changed = False
    left: list[bytes] = []
    for value in values:
        _, uri, tail = name_addr(value, "History-Info")
        if every or _asks_privacy(uri):
            left.append(_ANONYMOUS + tail)
            changed = True
        else:
            left.append(value)
    return left if changed else None


def diversion_shown(values: Sequence[bytes]) -> list[bytes] | None:
    """Diversion as it may leave the trust domain: without the values whose `privacy` is other than off (RFC 5806 §4). None as above."""
    left: list[bytes] = []
    for value in values:
        tail = name_addr(value, "Diversion")[2]
        if b"privacy" not in tail.lower() or all(
            name != b"privacy" or text in (None, b"off") for name, text in split_params(tail, "Diversion")
        ):
            left.append(value)
    return left if len(left) != len(values) else None


def _asks_privacy(uri: bytes) -> bool:
    """Whether an entry embeds a Privacy that names its history (RFC 7044 §5.1)."""
    for header in uri[uri.rfind(b"@") + 1 :].partition(b"?")[2].split(b"&"):
        name, _, value = header.partition(b"=")
        if unquote_to_bytes(name).strip().lower() == b"privacy":
            return b"none" not in unquote_to_bytes(value).lower()
    return False


def _index(value: bytes | None) -> tuple[int, ...]:
    """`1.2.1` as numbers; () for what is no index."""
    if not value or len(value) > 100:
        return ()
    parts = value.split(b".")
    return tuple([int(part) for part in parts]) if all(part.isdigit() for part in parts) else ()


def _cause_of(rest: bytes) -> int | None:
    """The `cause` parameter of a URI (what stands behind its user part)."""
    for part in rest.split(b";")[1:]:
        name, _, value = part.partition(b"=")
        if name.strip().lower() == b"cause":
            return int(value) if value.isdigit() and len(value) == 3 else None
    return None


def _reason_of(headers: bytes) -> int | None:
    """The SIP response in an embedded Reason (RFC 3326) by which a call is sent on, None for other reasons."""
    for header in headers.split(b"&"):
        name, _, value = header.partition(b"=")
        if unquote_to_bytes(name).strip().lower() != b"reason":
            continue
        try:
            for reason in split_list(unquote_to_bytes(value)):
                protocol, semicolon, tail = reason.partition(b";")
                cause = param(semicolon + tail, b"cause", "Reason") or b""
                if protocol.strip().upper() == b"SIP" and cause.isdigit() and len(cause) == 3 and int(cause) in _FORWARDING:
                    return int(cause)
        except ParseError:
            continue
    return None
