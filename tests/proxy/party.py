"""Scripted SIP peers for the tests of the proxy core: what a caller, a callee or a neighbouring proxy would write next."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.sip.message import SipMessage

PEERS = {
    "pbx": ("udp", "127.0.0.2", 5060),
    "pbx6": ("udp", "::2", 5060),
    "pbx-tcp": ("tcp", "127.0.0.2", 5060),
    "watched": ("udp", "127.0.0.12", 5060),
    "stopped": ("udp", "127.0.0.13", 5060),
    "six": ("udp", "127.0.0.14", 5060),
    "nowhere": ("udp", "127.0.0.15", 5060),
    "peer": ("udp", "127.0.0.3", 5060),
    "abroad": ("udp", "127.0.0.4", 5060),
    "switch": ("udp", "127.0.0.5", 5080),
    "inside": ("udp", "127.0.0.5", 5060),
    "first": ("udp", "127.0.0.6", 5080),
    "second": ("udp", "127.0.0.7", 5080),
    "outward": ("tcp", "127.0.0.8", 5060),
    "outward2": ("tcp", "127.0.0.9", 5060),
    "switch6": ("udp", "::6", 5080),
    "phone": ("udp", "127.0.0.77", 5060),
    "stranger": ("udp", "127.0.0.99", 5060),
}
"""Who there is: transport, address, port. `phone` and `stranger` are no trunk and no next hop."""

CALLERS = {"peer": "+8613802881946", "abroad": "+12125550100", "inside": "+8613802881946", "six": "+8613802881946"}
CALLEES = {"inside": "+8675583123456"}


@dataclass
class Party:
    """One scripted peer: what it last got and sent, and the dialog it is in.

    `got` has requests by "request METHOD" and responses by the method they answer; `sent` the last request of each method and the last
    response as "response".
    """

    name: str
    got: dict[str, SipMessage] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)
    calls: int = 0
    serial: int = 0
    remote_tag: str = ""
    routes: list[str] = field(default_factory=list)
    contact: str = ""
    call_id: str = ""
    caller: bool = True
    local: str = ""
    remote: str = ""
    cseq: str = ""

    @property
    def host(self) -> str:
        """Its address as SIP writes it."""
        address = PEERS[self.name][1]
        return f"[{address}]" if ":" in address else address

    @property
    def own_contact(self) -> str:
        """The URI of its Contact."""
        transport, _, port = PEERS[self.name]
        return f"sip:{self.name}@{self.host}:{port}{';transport=tcp' if transport == 'tcp' else ''}"

    def via(self, options: dict[str, str]) -> str:
        """A Via value for a new request."""
        transport, _, port = PEERS[self.name]
        self.serial += 1
        branch = options.get("branch", f"z9hG4bK-{self.name}-{self.serial}")
        at = options.get("via", f"{self.host}:{options.get('via_port', port)}")
        rport = ";rport" if "rport" in options else ""
        return f"SIP/2.0/{transport.upper()} {at};branch={branch}{rport}"

    def request(self, method: str, options: dict[str, str], headers: list[str]) -> bytes:
        """The request that this peer would send now: INVITE opens a call, others continue it with the route set and tags learnt.

        Options: `again` the last of this method once more; `new` a new call, `out` outside any dialog; `from`, `to` numbers; `uri`; `id`;
        `branch`, `via`, `via_port`, `rport`; `hops` (Max-Forwards, `none` leaves it out); `totag`, `fromtag`, `sender` (From's URI),
        `cseq`; `noroute`; `contact`; `strict` sends as a strict router before the proxy would,
        `proxied` with a Route of an outbound proxy setting first.
        """
        if "again" in options:
            return self.sent[method]
        if method == "CANCEL" or (method == "ACK" and "INVITE" in self.got and self.got["INVITE"].status >= 300):
            lines = self._companion(method, options)
        else:
            lines = self._fresh(method, options)
        data = ("\r\n".join(lines + headers) + "\r\nContent-Length: 0\r\n\r\n").encode()
        self.sent[method] = data
        return data

    def _companion(self, method: str, options: dict[str, str]) -> list[str]:
        """CANCEL, or the ACK for a failure: made of the INVITE (RFC 3261 §9.1, §17.1.1.3)."""
        invite = SipMessage.parse(self.sent["INVITE"])
        to = self.got["INVITE"].first(b"to") if method == "ACK" else invite.first(b"to")
        sender = invite.first(b"from") or b""
        number = options.get("cseq", (invite.first(b"cseq") or b"").split()[0].decode())
        return [
            f"{method} {invite.uri.decode()} SIP/2.0",
            invite.lines[invite.first_line[b"via"]].decode(),
            "Max-Forwards: 70",
            *[invite.lines[at].decode() for at in invite.positions(b"route")],
            f"From: {sender.decode()}",
            f"To: {(to or b'').decode()}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {number} {method}",
        ]

    def _fresh(self, method: str, options: dict[str, str]) -> list[str]:
        in_dialog = bool(self.remote_tag) and "new" not in options and "out" not in options
        if method == "INVITE" and not in_dialog:
            self.calls += 1
            self.call_id = options.get("id", f"call-{self.name}-{self.calls}")
            caller = options.get("from", CALLERS.get(self.name, "+8675583123456"))
            self.local = f"<sip:{caller}@{self.host}>;tag=t-{self.name}-{self.calls}"
            self.remote = f"<sip:{self._callee(options)}@127.0.0.1>"
            self.caller, self.remote_tag, self.routes = True, "", []
        elif not self.call_id or "out" in options:
            self.call_id = f"other-{self.name}"
            self.local, self.remote = f"<sip:+8675583123456@{self.host}>;tag=o", "<sip:someone@127.0.0.1>"
        via = self.via(options)
        routes = list(self.routes) if in_dialog and "noroute" not in options else []
        uri = self.contact if in_dialog and self.contact else f"sip:{self._callee(options)}@127.0.0.1"
        uri = options.get("uri", uri)
        if "proxied" in options:
            routes.insert(0, "<sip:127.0.0.1;lr>")
        if "strict" in options:
            routes, uri = [*routes[1:], f"<{uri}>"], routes[0].strip("<>")
        if method != "ACK":
            self.cseq = options.get("cseq", str(self.serial))
        number = self.cseq
        if method == "ACK" and "INVITE" in self.sent:
            number = (SipMessage.parse(self.sent["INVITE"]).first(b"cseq") or b"1 ").split()[0].decode()
        to_tag = options.get("totag", self.remote_tag if in_dialog else "")
        local = self.local
        if "sender" in options:
            local = f"<{options['sender']}>;tag={local.partition(';tag=')[2]}"
        if "fromtag" in options:
            local = f"{local.partition(';tag=')[0]};tag={options['fromtag']}"
        lines = [f"{method} {uri} SIP/2.0", f"Via: {via}"]
        if options.get("hops") != "none":
            lines.append(f"Max-Forwards: {options.get('hops', '70')}")
        lines += [f"From: {local}", f"To: {self.remote}{';tag=' + to_tag if to_tag else ''}"]
        lines += [f"Call-ID: {self.call_id}", f"CSeq: {number} {method}", *[f"Route: {route}" for route in routes]]
        if method in ("INVITE", "UPDATE", "SUBSCRIBE"):
            lines.append(f"Contact: <{options.get('contact', self.own_contact)}>")
        return lines

    def _callee(self, options: dict[str, str]) -> str:
        return options.get("to", CALLEES.get(self.name, "+862161234567"))

    def relay(self, data: bytes, options: dict[str, str], headers: list[str]) -> bytes:
        """A request that came to this neighbour, sent on by it as a proxy: own Via on top, Max-Forwards less one.

        Options: `uri` a new Request-URI, `rr` its own Record-Route, `hops`, `pop` takes its own Route off.
        """
        message = SipMessage.parse(data)
        hops = options.get("hops", str(int(message.first(b"max-forwards") or b"70") - 1))
        message.replace(b"max-forwards", f"Max-Forwards: {hops}".encode())
        if "pop" in options:
            message.remove_values(b"route", 1)
        if "uri" in options:
            message.set_uri(options["uri"].encode())
        for header in headers:
            message.insert_top(header.encode())
        if "rr" in options:
            message.insert_top(f"Record-Route: <{self.own_contact};lr>".encode())
        message.insert_top(f"Via: {self.via(options)}".encode())
        return message.to_bytes()

    def response(self, status: int, method: str | None, options: dict[str, str], headers: list[str]) -> bytes:
        """A response to the last request of that method (INVITE first) that the peer got.

        Options: `tag` the To tag; `fold` all Vias on one line; `onevia` only the topmost; `branch` another branch in it; `cseqm` another
        method in CSeq; `contact`; `rr` a Record-Route above the others, `norr` none at all; `again` the last response once more.
        """
        if "again" in options:
            return self.sent["response"]
        request = self.got["request " + (method or ("INVITE" if "request INVITE" in self.got else next(iter(self.got)).split()[-1]))]
        tag = options.get("tag", f"u-{self.name}")
        to = (request.first(b"to") or b"").decode()
        if status > 100 and ";tag=" not in to:
            to += f";tag={tag}"
        vias = [value.decode() for value in request.all(b"via")]
        if "branch" in options:
            vias[0] = vias[0].partition(";branch=")[0] + ";branch=" + options["branch"]
        if "onevia" in options:
            vias = vias[:1]
        if "fold" in options:
            vias = [",".join(vias)]
        cseq = (request.first(b"cseq") or b"").decode()
        if "cseqm" in options:
            cseq = f"{cseq.split()[0]} {options['cseqm']}"
        lines = [f"SIP/2.0 {status} Text", *[f"Via: {via}" for via in vias]]
        if "rr" in options:
            lines.append(f"Record-Route: <{options['rr']}>")
        if "norr" not in options:
            lines += [request.lines[at].decode() for at in request.positions(b"record-route")]
        lines += [request.lines[request.first_line[b"from"]].decode(), f"To: {to}"]
        lines += [request.lines[request.first_line[b"call-id"]].decode(), f"CSeq: {cseq}"]
        if request.method in (b"INVITE", b"SUBSCRIBE") and 100 < status < 300:
            lines.append(f"Contact: <{options.get('contact', self.own_contact)}>")
            if b";tag=" not in (request.first(b"to") or b""):
                self._answered(request, to)
        data = ("\r\n".join(lines + headers) + "\r\nContent-Length: 0\r\n\r\n").encode()
        self.sent["response"] = data
        return data

    def _answered(self, request: SipMessage, to: str) -> None:
        self.call_id = (request.first(b"call-id") or b"").decode()
        self.local = to
        sender = (request.first(b"from") or b"").decode()
        self.remote, _, self.remote_tag = sender.partition(";tag=")
        self.routes = [value.decode() for value in request.all(b"record-route")]
        self.contact = _uri((request.first(b"contact") or b"").decode())
        self.caller = False

    def learn(self, message: SipMessage) -> None:
        """What a peer keeps of a message it got."""
        if message.is_request:
            self.got["request " + message.method.decode()] = message
            return
        method = (message.first(b"cseq") or b"").split()[-1].decode()
        self.got[method] = message
        if method == "INVITE" and 100 < message.status < 300 and self.caller:
            self.remote_tag = (message.first(b"to") or b"").decode().partition(";tag=")[2]
            routes = [value.decode() for value in reversed(message.all(b"record-route"))]
            self.routes = routes or self.routes  # a target refresh never changes the route set
            self.contact = _uri((message.first(b"contact") or b"").decode())


def _uri(value: str) -> str:
    return value.partition("<")[2].partition(">")[0]
