"""The library face: load what sipwarden.toml says, describe a call by its header values, get the verdict.

    judge = Judge.load("sipwarden.toml")
    decision = judge.decide({"source": "192.0.2.20:5060", "from": "<sip:83123456@pbx>", "to": "sip:13800138000@gw"})
    decision.verdict.action, decision.json()

A call is described as product.md's `/v1/decide` does it, so that every face which is told of calls, rather than seeing them, reads
them alike. Below this stands `rules.RuleSet.evaluate(call)`, for whoever builds a `rules.Call`.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from proxy.config import ConfigWarning
from proxy.config.addresses import SIP_PORT, parse_address, split_port
from proxy.correlation import Correlation
from proxy.counters import Counters
from proxy.generation import Fault, Faults, Generation, load
from proxy.history import read_diversion, read_history
from proxy.intake import privacy_of
from proxy.report import encodable, verdict_json
from proxy.routing import Routing, RoutingError
from proxy.sip.error import ParseError
from proxy.sip.grammar import name_addr, split_list
from proxy.token import Secret
from rules import RuleSet
from rules.call import NO_TRUNK, Call, Source, Trunk, side_of
from rules.legs import Legs
from rules.ruleset import Resolver
from rules.verdict import Lookup, Verdict

VALUES_AT_MOST: Final = 64
"""Values of one header field."""

VALUE_LONGEST: Final = 8192
"""Characters of one value."""

DEADLINE_LONGEST: Final = 60_000
"""Milliseconds that a request may allow for look-ups."""

_LATEST: Final = 253_402_300_799.0
"""The end of the year 9999, in Unix time."""

_Text = Annotated[str, msgspec.Meta(max_length=VALUE_LONGEST)]
_Values = Annotated[tuple[_Text, ...], msgspec.Meta(max_length=VALUES_AT_MOST)]
_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")
_FIELD: Final = re.compile(r"field `([^`]*)`")
_NO_SECRET: Final = bytes(32)
"""Nothing is sent, so nothing is signed."""
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class WrongRequest(ValueError):
    """A request that describes no call: `key` names what is wrong with it, as it stands in JSON (`pai[1]`; "" for all of it)."""

    def __init__(self, key: str, message: str, value: object = "", remedy: str = "") -> None:
        self.key = key
        self.message = message
        self.value = "" if value == "" else repr(value)[:80]
        self.remedy = remedy
        said = "; ".join(part for part in (self.value, remedy) if part)
        super().__init__(f"{key + ': ' if key else ''}{message}{f' ({said})' if said else ''}")


class DecisionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"sender": "from"}):
    """A call to be judged: the request of `/v1/decide`.

    Either `trunk`, the id of one, or `source`, `IP[:PORT]`, whose trunk is looked up. `from` (`sender` in Python), `to` (the Request-URI),
    `pai` and `diversion` hold numbers, URIs or whole header values, `history_info`, `privacy`, `identity` and `date` header values (Date
    counts where there is Identity; a PASSporT in compact form cannot be verified without). Of Diversion the latest comes first, as in a
    message. `at` is ISO 8601 (without a zone on the node's clock) or Unix time, by default now.
    `customer`: whose call it is, where customers share the trunk: what its customer_header says.
    `deadline_ms`: how long look-ups may take together; each has its own deadline besides.
    """

    sender: _Text
    to: _Text
    trunk: _Text | None = None
    source: _Text | None = None
    pai: _Values = ()
    diversion: _Values = ()
    history_info: _Values = ()
    privacy: _Text = ""
    identity: _Values = ()
    date: _Text = ""
    call_id: _Text = ""
    customer: _Text | None = None
    at: _Text | float | None = None
    deadline_ms: Annotated[float, msgspec.Meta(gt=0, le=DEADLINE_LONGEST)] | None = None


class Decision(msgspec.Struct, frozen=True):
    """The verdict on a call, the call as it was read, and the look-ups that had no answer, for which a rule's default stands."""

    verdict: Verdict
    call: Call
    unanswered: tuple[Lookup, ...] = ()

    def json(self) -> dict[str, Any]:
        """The verdict as product.md has it, ready for any JSON encoder."""
        document: dict[str, Any] = encodable(verdict_json(self.verdict))
        return document


class Judge:
    """Judges calls by one generation of configuration, policy and lists; a reload is a new Judge. May be used by several threads.

    A forwarded call has its proof only where the Judge is told of the call that it forwards (`delivered`); `legs` remembers those, None
    until then, and may be taken over from the Judge before.
    """

    def __init__(self, generation: Generation, *, warnings: tuple[ConfigWarning, ...] = (), legs: Legs | None = None) -> None:
        """RoutingError for a configuration that cannot be routed by."""
        self.generation = generation
        self.warnings = warnings
        self.legs = legs
        self.routing = Routing(generation.config, generation.config.listeners(), Secret(_NO_SECRET))
        self._lock = threading.Lock()  # counters and the emergency allowance change while a call is judged

    @classmethod
    def load(cls, path: Path | str) -> Judge:
        """Read a sipwarden.toml and all that it names. Raises proxy.generation.Faults with every fault that was found."""
        generation, warnings = load(path, keys=False)  # nothing is signed here
        try:
            return cls(generation, warnings=warnings)
        except RoutingError as error:
            raise Faults((Fault(str(path), None, "", str(error), "", ""),), warnings) from None

    @property
    def ruleset(self) -> RuleSet:
        """The policy."""
        return self.generation.ruleset

    def decide(self, request: DecisionRequest | Mapping[str, Any] | bytes | str, resolver: Resolver | None = None) -> Decision:
        """Judge a call. `resolver` answers the look-ups that rules wait for, None for no answer; without one there is none.

        Raises WrongRequest, and what `resolver` raises.
        """
        if not isinstance(request, DecisionRequest):
            request = read_request(request)
        call = self.call(request)
        until = None if request.deadline_ms is None else time.monotonic() + request.deadline_ms / 1000
        unanswered: list[Lookup] = []
        started = time.perf_counter()
        with self._lock:
            found = self.ruleset.evaluate(call)
        seconds = time.perf_counter() - started
        while isinstance(found, Lookup):
            answer = _answer(found, resolver, until)
            if answer is None:
                unanswered.append(found)
            started = time.perf_counter()
            with self._lock:
                found = self.ruleset.resume(call, found, answer)
            seconds += time.perf_counter() - started
        found.elapsed_us = seconds * 1e6
        return Decision(found, call, tuple(unanswered))

    def delivered(self, call: Call, trunk: str) -> None:
        """A call that was judged (`Decision.call`) went toward this trunk: its customer or peer may forward it for a while, which rule 9
        counts from the call's time. Raises KeyError for an id that no trunk has.
        """
        toward = self.routing.trunks[trunk]
        if toward.customers and (segment := self.generation.directory.inbound(call.called, call.at, call.trunk.home_area)) is not None:
            toward = msgspec.structs.replace(toward, customer=segment.customer)
        side = side_of(toward)
        with self._lock:
            correlation = Correlation(Counters())
            correlation.legs = self.legs = self.legs or Legs()
            leg = correlation.begin(call, (side,), 0.0) if side is not None else None
            if leg is not None:
                leg.over(call.at)

    def call(self, request: DecisionRequest) -> Call:
        """The Call that a request describes. Raises WrongRequest."""
        trunk, source = self._ingress(request)
        diversion, hops = _diversion(request.diversion)
        return Call(
            trunk,
            _address("from", request.sender),
            _address("to", request.to),
            at=_moment(request.at, self.generation.directory.zone),
            source=source,
            pai=_addresses("pai", request.pai),
            diversion=diversion,
            hops=hops,
            history_info=read_history(_named("history_info", request.history_info)),
            privacy=privacy_of(_bytes("privacy", request.privacy)),
            identity=tuple([_text(f"identity[{place}]", value) for place, value in enumerate(request.identity)]),
            date=_text("date", request.date) if request.identity else "",
            call_id=_text("call_id", request.call_id),
            legs=self.legs,
            customer=request.customer,
        )

    def _ingress(self, request: DecisionRequest) -> tuple[Trunk, Source | None]:
        if (request.trunk is None) == (request.source is None):
            what = "neither trunk nor source is given" if request.trunk is None else "both trunk and source are given"
            raise WrongRequest("", what, "", "one of them: where does the call arrive?")
        if request.source is None:
            trunks = self.routing.trunks
            trunk = trunks.get(request.trunk or "")
            if trunk is None:
                raise WrongRequest("trunk", "no trunk has this id", request.trunk, f"one of {', '.join(trunks)}")
            return trunk, None
        try:
            host, port = split_port(request.source.strip())
            source = Source(parse_address(host), SIP_PORT if port is None else port)
        except ValueError as error:
            what, _, remedy = str(error).partition(" | ")
            raise WrongRequest("source", what, request.source, remedy) from None
        return self.routing.resolve(source.address, source.port).trunk or NO_TRUNK, source


def read_request(document: Mapping[str, Any] | bytes | str) -> DecisionRequest:
    """A request from JSON text or what it decodes to. Raises WrongRequest."""
    try:
        if isinstance(document, bytes | str):
            return msgspec.json.decode(document, type=DecisionRequest)
        return msgspec.convert(dict(document), DecisionRequest)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        what = _PLACE.sub("", text)
        field = _FIELD.search(what)
        if field is not None and "unknown field" in what:
            names = [one.encode_name for one in msgspec.structs.fields(DecisionRequest)]
            raise WrongRequest(field[1], "unknown key", "", f"one of {', '.join(names)}") from None
        if field is not None:
            raise WrongRequest(field[1], "is missing", "", "a number, a URI or a header value") from None
        raise WrongRequest(place[1] if place else "", what[:1].lower() + what[1:]) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise WrongRequest("", f"not JSON: {error}") from None


def _answer(lookup: Lookup, resolver: Resolver | None, until: float | None) -> object:
    if resolver is None:
        return None
    if until is not None:
        left = until - time.monotonic()
        if left <= 0:
            return None
        lookup = Lookup(lookup.kind, lookup.key, min(lookup.deadline, left))
    return resolver(lookup)


def _bytes(key: str, text: str) -> bytes:
    if _CONTROLS.search(text):
        raise WrongRequest(key, "has a line end or another control character", text, "one line")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise WrongRequest(key, "is no text that can be encoded", text, "UTF-8") from None


def _text(key: str, text: str) -> str:
    return _bytes(key, text).decode("utf-8", "surrogateescape")


def _address(key: str, text: str) -> str:
    """The URI of a header value, or what is a URI or a number itself."""
    value = _bytes(key, text).strip()
    if b"<" not in value and b'"' not in value:
        return value.decode("utf-8", "surrogateescape")
    try:
        return name_addr(value, key)[1].decode("utf-8", "surrogateescape")
    except ParseError as error:
        raise WrongRequest(key, _fault(error), text, 'such as "Name" <sip:+8675583123456@host>') from None


def _addresses(key: str, texts: Iterable[str]) -> tuple[str, ...]:
    return tuple([_address(f"{key}[{place}]", value) for place, text in enumerate(texts) for value in _split(f"{key}[{place}]", text)])


def _split(key: str, text: str) -> list[str]:
    """The values of a whole header field; only one where it is a bare number or URI."""
    if "<" not in text:
        return [text]
    try:
        values = split_list(_bytes(key, text))
    except ParseError as error:
        raise WrongRequest(key, _fault(error), text) from None
    return [value.decode("utf-8", "surrogateescape") for value in values]


def _diversion(texts: Iterable[str]) -> tuple[tuple[str, ...], int]:
    values = []
    for place, text in enumerate(texts):
        key = f"diversion[{place}]"
        for value in _split(key, text):
            address = _address(key, value)
            values.append(_bytes(key, value) if "<" in value else b"<" + address.encode("utf-8", "surrogateescape") + b">")
            try:
                name_addr(values[-1], key)
            except ParseError as error:
                raise WrongRequest(key, _fault(error), text) from None
    return read_diversion(values)


def _named(key: str, texts: Iterable[str]) -> list[bytes]:
    """Values of a header field that has name-addr with parameters."""
    values = []
    for place, text in enumerate(texts):
        try:
            for value in split_list(_bytes(f"{key}[{place}]", text)):
                name_addr(value, "History-Info")
                values.append(value)
        except ParseError as error:
            raise WrongRequest(f"{key}[{place}]", _fault(error), text, "as it stands in a message: <sip:N@h;cause=302>;index=1.1") from None
    return values


def _fault(error: ParseError) -> str:
    """What the grammar found, without the name of the header field: the key says that."""
    return (error.phrase[:1].lower() + error.phrase[1:]).partition(" in ")[0]


def _moment(at: str | float | None, zone: tzinfo) -> float:
    if at is None:
        return time.time()
    if isinstance(at, str):
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            raise WrongRequest("at", "is no ISO 8601 time", at, "for example 2026-01-31T09:00:00+08:00") from None
        try:
            at = (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()
        except OverflowError:
            at = math.nan
    if not 0 <= at <= _LATEST:
        raise WrongRequest("at", "is no time of calls", at, "ISO 8601, or seconds since 1970")
    return at
