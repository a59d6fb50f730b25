"""`[[lookup]]`: HTTP services that answer the Lookups of rules; the check of their tables."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from proxy.config.certificates import CERTIFICATE
from proxy.config.duration import Duration
from proxy.config.report import Report, name_of
from rules.toml_lines import Path as KeyPath

LONGEST_DEADLINE: Final = 5.0
"""Seconds that no look-up may take: the core gives a parked call up a second later, whatever became of its question."""

ROAMING: Final = "roaming"
STATES: Final = ("abroad", "home", "unknown")
KEEP: Final[Mapping[str, float]] = {"abroad": 300.0, "home": 60.0, "unknown": 3600.0}
"""How long answers of the roaming check are kept. Home only shortly: who has just landed calls home."""

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PLACES: Final = re.compile(r"\{(?:number|key)\}")


class LookupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[lookup]]`: one kind of look-up, answered by `GET url`. Durations in seconds; limits hold for each worker."""

    kind: str
    """What a rule's Lookup names: "roaming" for rule international, any other word for a rule of a third party."""
    url: str
    """`{number}` (or `{key}`) in its path or query stands for what is asked, percent-encoded."""
    deadline: Duration = Duration(1.0)
    field: str = "state"
    """Where in the JSON answer the value stands: names of objects and places in lists, with dots between them; "" is the whole of it."""
    answers: dict[str, tuple[str | int | bool, ...]] = {}
    """Which values mean which answer. Without it the value is the answer."""
    not_found: str | None = None
    """The answer that status 404 stands for; without it 404 is no answer."""
    keep: dict[str, Duration] = {}
    """How long each answer is kept; 0 for not at all. What is not named here: KEEP for the roaming check, not at all for others."""
    remembered: int = 50_000
    """Answers kept at once."""
    concurrent: int = 100
    """Questions open at once; what is beyond them has no answer."""
    failures: int = 5
    """Failures in a row after which nothing is asked for `pause`."""
    pause: Duration = Duration(10.0)

    @property
    def lives(self) -> dict[str, float]:
        """Seconds that each answer is kept."""
        return {**(KEEP if self.kind == ROAMING else {}), **self.keep}

    @property
    def words(self) -> tuple[str, ...]:
        """The answers that can be given; empty where any can."""
        return STATES if self.kind == ROAMING else tuple(self.answers)


class UrlTemplate(NamedTuple):
    """The URL of a look-up, whose host is the same whatever is asked."""

    text: str

    def fill(self, key: str) -> str:
        """The URL that asks for `key`."""
        return _PLACES.sub(lambda _: quote(key, safe="", errors="replace"), self.text)


def parse_url(text: str) -> UrlTemplate:
    """Raise ValueError, worded "what is wrong | what would be right", for what is no URL to ask."""
    form = "http:// or https://, a host, and {number} in the path or query, for example http://127.0.0.1:8080/roaming?number={number}"
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"a URL has no spaces, control characters or characters beyond ASCII | {form}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error} | {form}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"not an http or https URL | {form}")
    if _PLACES.search(parts.netloc):
        raise ValueError(f"the host cannot depend on what is asked | {form}")
    if "@" in parts.netloc:
        raise ValueError(f"a user and password in a URL come to light in logs and messages | {form}")
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv6 address | {form}") from None
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host | {form}" if host else f"there is no host | {form}")
    if port == 0:
        raise ValueError(f"port 0 cannot be sent to | {form}")
    if "#" in text:
        raise ValueError(f"what follows # is not sent to a server | {form}")
    if not _PLACES.search(text):
        raise ValueError(f"{{number}} is missing: every number would get the same answer | {form}")
    if "{" in _PLACES.sub("", text) or "}" in _PLACES.sub("", text):
        raise ValueError(f"only {{number}} and {{key}} are put in | {form}")
    return UrlTemplate(text)


def check_lookups(lookups: tuple[LookupConfig, ...], international: bool, report: Report) -> None:
    """Note what is wrong with each; `international`: whether there is a trunk whose calls want the roaming check."""
    kinds: dict[str, int] = {}
    for index, lookup in enumerate(lookups):
        at = report.place("lookup", index)
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", lookup.kind):
            report.fault((*at, "kind"), "not usable as a kind", lookup.kind or '""', '"roaming", or what a rule\'s documentation names')
        if lookup.kind == CERTIFICATE:
            report.fault((*at, "kind"), "certificates are fetched as [certificates] says", lookup.kind, "another kind, or no [[lookup]]")
        first = kinds.setdefault(lookup.kind, index)
        if first != index:
            there = name_of(report.place("lookup", first))
            report.fault((*at, "kind"), f"{there} answers this kind already", lookup.kind, "one service for each kind")
        try:
            parse_url(lookup.url)
        except ValueError as error:
            report.fault((*at, "url"), str(error), lookup.url)
        _check_answers(lookup, at, report)
        _check_limits(lookup, at, report)
        if lookup.kind == ROAMING and not international:
            report.warn(at, "no trunk is international: the roaming check is never asked")


def _check_answers(lookup: LookupConfig, at: KeyPath, report: Report) -> None:
    words = lookup.words
    known = ", ".join(words)
    meanings: dict[tuple[type, object], str] = {}
    for word, values in lookup.answers.items():
        if word not in words:
            report.fault((*at, "answers", word), "no such answer", word, f"one of {known}")
        for value in values:
            other = meanings.setdefault((type(value), value), word)
            if other != word:
                report.fault((*at, "answers", word), f"this value means {other} already", value, "each value in one answer")
    if lookup.not_found is not None and words and lookup.not_found not in words:
        report.fault((*at, "not_found"), "no such answer", lookup.not_found, f"one of {known}")
    for word in lookup.keep:
        if words and word not in words:
            report.fault((*at, "keep", word), "no such answer", word, f"one of {known}")


def _check_limits(lookup: LookupConfig, at: KeyPath, report: Report) -> None:
    if not 0.01 <= lookup.deadline <= LONGEST_DEADLINE:
        what = "out of range: a caller waits for it, and hears nothing meanwhile"
        report.fault((*at, "deadline"), what, f"{lookup.deadline:g} s", f'"10ms" to "{LONGEST_DEADLINE:g}s"')
    if not 0.1 <= lookup.pause <= 3600:
        report.fault((*at, "pause"), "out of range", f"{lookup.pause:g} s", '"100ms" to "1h"')
    for key, least, most in (("failures", 1, 1000), ("concurrent", 1, 1000), ("remembered", 0, 1_000_000)):
        value = getattr(lookup, key)
        if not least <= value <= most:
            report.fault((*at, key), "out of range", value, f"{least} to {most}")
