"""What a caller writes: the INVITE and what belongs to it (RFC 3261 §9.1, §13, §17.1.1.3), and the requests inside a call (§12)."""

from __future__ import annotations

from secrets import token_hex

from proxy.demo.scenario import PlannedCall
from proxy.demo.wire import Place
from proxy.sip.grammar import name_addr
from proxy.sip.message import SipMessage
from proxy.sip.uri import parse_uri


class Opening:
    """An INVITE through the proxy, its CANCEL and the ACK for a failure: all with the same branch, URI, From and Call-ID."""

    def __init__(self, plan: PlannedCall, call_id: str, proxy: Place, address: str, port: int) -> None:
        self.call_id = call_id
        self.place = proxy._replace(transport=plan.transport)
        self.branch = new_branch()
        self.me = f"{address}:{port}"
        self.contact = f"<sip:{self.me}{';transport=tcp' if plan.transport == 'tcp' else ''}>"
        self._address = address
        self._plan = plan
        self._target = f"sip:{plan.to}@{proxy.address}:{proxy.port}"
        self._tag = token_hex(4)

    def invite(self) -> bytes:
        """The INVITE with its offer."""
        plan = self._plan
        more = [f"P-Asserted-Identity: <{self._uri(number)}>" for number in plan.pai]
        if plan.privacy is not None:
            more.append(f"Privacy: {plan.privacy}")
        more += [f"Contact: {self.contact}", "Content-Type: application/sdp"]
        return wrapped([*self._lines("INVITE", f"<{self._target}>"), *more], sdp(self._address))

    def cancel(self) -> bytes:
        """Its CANCEL."""
        return wrapped(self._lines("CANCEL", f"<{self._target}>"))

    def ack(self, failure: SipMessage) -> bytes:
        """The ACK for a final response of 300 or more."""
        return wrapped(self._lines("ACK", _text(failure.first(b"to"))))

    def _lines(self, method: str, to: str) -> list[str]:
        return [
            f"{method} {self._target} SIP/2.0",
            f"Via: SIP/2.0/{self.place.transport.upper()} {self.me};branch={self.branch};rport",
            "Max-Forwards: 70",
            f"From: <{self._uri(self._plan.sender)}>;tag={self._tag}",
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: 1 {method}",
        ]

    def _uri(self, number: str) -> str:
        return number if ":" in number else f"sip:{number}@{self._address}"


class Dialog:
    """One side's view of a call: who we are and they are, their Contact, and the route set in the order in which it is gone."""

    def __init__(self, message: SipMessage, local: str, remote: str, routes: list[str], me: str, contact: str) -> None:
        self.call_id = _text(message.first(b"call-id"))
        self.local = local
        self.remote = remote
        self.routes = routes
        self.target = _text(name_addr(message.all(b"contact")[0], "Contact")[1])
        self.me = me
        self.contact = contact
        first = _text(name_addr(routes[0].encode(), "Route")[1]) if routes else self.target
        self.place = place_of(first)
        self._cseq = 1

    @classmethod
    def of_caller(cls, answer: SipMessage, me: str, contact: str) -> Dialog:
        """From the 2xx to our INVITE: the route set is its Record-Route reversed (§12.1.2)."""
        routes = [_text(route) for route in reversed(answer.all(b"record-route"))]
        return cls(answer, _text(answer.first(b"from")), _text(answer.first(b"to")), routes, me, contact)

    @classmethod
    def of_callee(cls, invite: SipMessage, tag: str, me: str, contact: str) -> Dialog:
        """From the INVITE that we answered with `tag`: the route set is its Record-Route (§12.1.1)."""
        routes = [_text(route) for route in invite.all(b"record-route")]
        return cls(invite, f"{_text(invite.first(b'to'))};tag={tag}", _text(invite.first(b"from")), routes, me, contact)

    def request(self, method: str, branch: str, cseq: int | None = None) -> bytes:
        """A request inside the dialog; `cseq` is given for ACK, which has that of its INVITE."""
        if cseq is None:
            self._cseq = cseq = self._cseq + 1
        return wrapped(
            [
                f"{method} {self.target} SIP/2.0",
                f"Via: SIP/2.0/{self.place.transport.upper()} {self.me};branch={branch};rport",
                "Max-Forwards: 70",
                *[f"Route: {route}" for route in self.routes],
                f"From: {self.local}",
                f"To: {self.remote}",
                f"Call-ID: {self.call_id}",
                f"CSeq: {cseq} {method}",
                f"Contact: {self.contact}",
            ]
        )


def new_branch() -> str:
    """A branch that no other request has."""
    return f"z9hG4bK{token_hex(8)}"


def place_of(uri: str) -> Place:
    """Where a SIP URI with an IP address leads."""
    parsed = parse_uri(uri.encode())
    return Place((parsed.param(b"transport") or b"udp").decode().lower(), parsed.host.decode(), parsed.port or 5060)


def wrapped(lines: list[str], body: bytes = b"") -> bytes:
    """Start line and header lines with their body as one message."""
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("utf-8", "surrogateescape") + body


def sdp(address: str) -> bytes:
    """An offer or answer of one G.711 A-law stream."""
    lines = [
        "v=0",
        f"o=- 1 1 IN IP4 {address}",
        "s=-",
        f"c=IN IP4 {address}",
        "t=0 0",
        "m=audio 40000 RTP/AVP 8",
        "a=rtpmap:8 PCMA/8000",
        "",
    ]
    return "\r\n".join(lines).encode()


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "surrogateescape")
