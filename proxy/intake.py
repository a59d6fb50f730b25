"""The only bridge from SIP to policy: a checked INVITE becomes a `rules.Call`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.history import read_diversion, read_history
from proxy.sip.error import ParseError
from proxy.sip.grammar import COMMA, CR, name_addr
from proxy.sip.kernel import compiled
from proxy.sip.message import SipMessage, mark
from proxy.validate import Request
from rules.call import Call, Source, Trunk
from rules.legs import Legs

_DIVERSION: Final = mark(b"diversion")
_HISTORY: Final = mark(b"history-info")
_PRIVACY: Final = mark(b"privacy")
_IDENTITY: Final = mark(b"identity")
_ASSERTED: Final = mark(b"p-asserted-identity")
_REMOTE_PARTY: Final = mark(b"remote-party-id")
_SELDOM: Final = _DIVERSION | _HISTORY | _PRIVACY | _IDENTITY


def text(value: bytes) -> str:
    """Bytes of a header field as text; what is not UTF-8 survives as surrogates, for the records."""
    return value.decode("utf-8", "surrogateescape")


_text: Final[Callable[[bytes], str]] = text if compiled is None else compiled.text


def only_uri(line: bytes) -> bytes | None:
    """The URI of a header line that is `Name: <uri>` to the letter; None for any other."""
    value = line.partition(b":")[2]
    found = value[:2] == b" <" and len(value) > 3 and value.find(b">") == len(value) - 1 and value.find(b"<", 2) < 0
    return value[2:-1] if found and COMMA not in line and CR not in line else None


_only_uri: Final[Callable[[bytes], bytes | None]] = only_uri if compiled is None else compiled.only_uri


def addresses(message: SipMessage, name: bytes) -> tuple[bytes, ...]:
    """The URI of every value of an address header field, in order (comma lists and several lines). Values were checked before
    (proxy.validate).
    """
    at = message.first_line.get(name)
    if at is None:
        return ()
    if message.more_lines is None:
        uri = _only_uri(message.lines[at])
        if uri is not None:
            return (uri,)
    values = message.all(name)
    if len(values) == 1:
        value = values[0]
        if value[:1] == b"<" and (end := value.find(b">")) > 0:
            return (value[1:end],)
    return tuple([name_addr(value, "address")[1] for value in values])


def privacy_values(message: SipMessage) -> tuple[str, ...]:
    """Privacy's values in lower case (RFC 3323: separated by semicolons; several lines and commas are read too)."""
    if not message.marks & _PRIVACY:
        return ()
    return privacy_of(b";".join(message.all(b"privacy")))


def privacy_of(value: bytes) -> tuple[str, ...]:
    """The same of one header value."""
    joined = value.replace(b",", b";").decode("latin-1").lower()
    return tuple(part.strip() for part in joined.split(";") if part.strip())


def call_of(request: Request, trunk: Trunk, source: Source, pai: tuple[bytes, ...], at: float, legs: Legs | None = None) -> Call:
    """The Call that policy judges. `pai` are the P-Asserted-Identity URIs (see `asserted`), `at` Unix time of receipt."""
    message = request.message
    marks = message.marks
    sender = _text(request.sender)
    identities: tuple[str, ...] = ()
    if len(pai) == 1 and (pai[0] is request.sender or pai[0] == request.sender):
        identities = (sender,)  # as nearly always: the same text, and the same object
    elif pai:
        identities = tuple([text(uri) for uri in pai])
    customer = customer_named(message, trunk.customer_header) if trunk.customer_header is not None else None
    to, call_id = _text(message.uri), _text(request.call_id)
    if not marks & _SELDOM:
        return Call(trunk, sender, to, at=at, source=source, pai=identities, call_id=call_id, legs=legs, customer=customer)
    diversion, hops = read_diversion(message.all(b"diversion")) if marks & _DIVERSION else ((), 0)
    return Call(
        trunk,
        sender,
        to,
        at=at,
        source=source,
        pai=identities,
        diversion=diversion,
        hops=hops,
        history_info=read_history(message.all(b"history-info")) if marks & _HISTORY else (),
        privacy=privacy_values(message) if marks & _PRIVACY else (),
        identity=tuple(text(value) for value in message.all(b"identity")) if marks & _IDENTITY else (),
        date=text(message.first(b"date") or b"") if marks & _IDENTITY else "",
        call_id=call_id,
        legs=legs,
        customer=customer,
    )


def customer_named(message: SipMessage, header: str) -> str | None:
    """Which customer the trunk says the call is of, None where it does not say.

    Several lines name nobody, even the same customer twice: whoever adds its line to one that was there has not looked at what the
    customer itself sent. (No customer's id has a comma.)
    """
    values = message.all(header.lower().encode())
    return ", ".join(map(text, values)) if values else None


def asserted(request: Request, trunk: Trunk | None) -> tuple[bytes, ...]:
    """The identities that the sender asserts: P-Asserted-Identity, and Remote-Party-ID with party=calling where the trunk counts it as
    such.
    """
    message = request.message
    found: tuple[bytes, ...] = ()
    if message.marks & _ASSERTED:
        only = request.identity()
        found = (only,) if only is not None else addresses(message, b"p-asserted-identity")
    if trunk is not None and trunk.rpid_as_pai and message.marks & _REMOTE_PARTY:
        for value in message.all(b"remote-party-id"):
            try:
                _, uri, tail = name_addr(value, "Remote-Party-ID")
            except ParseError:
                continue
            if b"party=called" not in tail.lower():
                found = (*found, uri)
    return found
