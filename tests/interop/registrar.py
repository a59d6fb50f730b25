"""A registrar that is the edge of a customer's network: pyVoIP's server on one side, a peer of the firewall on the other.

pyVoIP 1.6.8 insists on registering, and what it sends inside a dialog is not fit for a proxy: its ACK and BYE carry no Route and the Vias
of the message that they follow, its ACK a To tag of its own invention, its answers no Record-Route. Of the refusals it knows only 404 and
503. An edge like those in front of such phones makes good for all that: it keeps each dialog's route set and remote target.
"""

from __future__ import annotations

import hashlib
import re
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

REALM = "edge.test"
NONCE = "f84f1cec41e6cbe5aea9c8e88d359"
PATIENCE = 0.1
"""Seconds that a final answer is kept from the phone, which loses one that comes before it has noted its own call."""

Address = tuple[str, int]


@dataclass
class Text:
    """One message: first line, header lines, body."""

    first: str
    lines: list[str]
    body: str

    @classmethod
    def parse(cls, data: bytes) -> Text:
        head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        return cls(first, lines, body)

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        return self.first.split()[0]

    def all(self, name: str) -> list[str]:
        return [line.partition(":")[2].strip() for line in self.lines if line.partition(":")[0].lower() == name.lower()]

    def one(self, name: str) -> str:
        return (self.all(name) or [""])[0]

    def drop(self, *names: str) -> None:
        wanted = {name.lower() for name in names}
        self.lines = [line for line in self.lines if line.partition(":")[0].lower() not in wanted]

    def put(self, name: str, *values: str) -> None:
        self.drop(name)
        self.lines += [f"{name}: {value}" for value in values]

    def to_bytes(self) -> bytes:
        return "\r\n".join([self.first, *self.lines, "", self.body]).encode()


@dataclass
class Dialog:
    """What the phone does not keep: the other side's route set, target and tag, as the phone has to use them."""

    routes: list[str] = field(default_factory=list)
    target: str = ""
    remote: str = ""
    record_routes: list[str] = field(default_factory=list)
    invite: Text | None = None
    branch: str = ""


class Edge:
    """Registrar and edge on one UDP address. `refusals` are the statuses with which the firewall refused calls."""

    def __init__(self, address: str, port: int, firewall: Address, user: str, password: str) -> None:
        self.refusals: list[int] = []
        self.registered = threading.Event()
        self.wrong: list[str] = []
        self._user = user
        self._password = password
        self._firewall = firewall
        self._address = (address, port)
        self._phone: Address | None = None
        self._dialogs: dict[str, Dialog] = {}
        self._serial = 0
        self._later: list[tuple[float, bytes]] = []
        self._end = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Edge:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._end.is_set():
            while self._later and self._later[0][0] <= time.monotonic():
                self._to_phone(self._later.pop(0)[1])
            if not select.select([self._socket], [], [], 0.02)[0]:
                continue
            data, source = self._socket.recvfrom(65535)
            message = Text.parse(data)
            if source == self._firewall:
                self._from_firewall(message)
            elif message.status:
                self._answer_of_phone(message)
            elif message.method == "REGISTER":
                self._register(message, source)
            else:
                self._request_of_phone(message)

    # the registrar

    def _register(self, request: Text, source: Address) -> None:
        given = dict(re.findall(r'(\w+)="?([^",]+)"?', request.one("Authorization")))
        ha1 = _md5(f"{self._user}:{REALM}:{self._password}")
        ha2 = _md5(f"REGISTER:{given.get('uri', '')}")
        if given.get("response") == _md5(f"{ha1}:{NONCE}:{ha2}") and given.get("username") == self._user:
            self._phone = source
            self.registered.set()
            self._reply(request, source, "200 OK", f"Contact: {request.one('Contact')}", "Expires: 120")
        elif request.one("Expires") == "0":
            self._reply(request, source, "200 OK")
        else:
            self._reply(request, source, "401 Unauthorized", f'WWW-Authenticate: Digest realm="{REALM}",nonce="{NONCE}",algorithm=MD5')

    def _reply(self, request: Text, to: Address, status: str, *more: str) -> None:
        lines = [f"{name}: {value}" for name in ("Via", "From", "To", "Call-ID", "CSeq") for value in request.all(name)]
        answer = Text(f"SIP/2.0 {status}", [*lines, *more, "Content-Length: 0"], "")
        if status != "100 Trying":
            answer.lines = [f"{line};tag=edge" if line.startswith("To:") and ";tag=" not in line else line for line in answer.lines]
        self._socket.sendto(answer.to_bytes(), to)

    # from the phone

    def _request_of_phone(self, request: Text) -> None:
        call_id = request.one("Call-ID")
        assert self._phone is not None
        if request.method == "INVITE":
            dialog = self._dialogs[call_id] = Dialog(invite=request)
            self._reply(request, self._phone, "100 Trying")  # pyVoIP waits for it, and a refusal comes without one
            dialog.branch = self._send_on(request, [])
            return
        dialog = self._dialogs.get(call_id, Dialog())
        if not dialog.target:  # the ACK of a refusal, which was acknowledged here
            return
        request.first = f"{request.method} {dialog.target} SIP/2.0"
        request.put("To", dialog.remote)
        request.drop("Via")
        if request.method == "BYE":
            self._reply(request, self._phone, "200 OK")
        self._send_on(request, dialog.routes)

    def _send_on(self, request: Text, routes: list[str]) -> str:
        """Send toward the firewall as the only hop before it; the phone's own Via stays here. The branch."""
        self._serial += 1
        branch = f"z9hG4bKedge{id(self):x}{self._serial}"
        request = Text(request.first, list(request.lines), request.body)
        request.drop("Via", "Route")
        if request.one("Contact"):
            request.put("Contact", self._contact)
        host, port = self._address
        request.lines = [f"Via: SIP/2.0/UDP {host}:{port};branch={branch};rport", *(f"Route: {route}" for route in routes), *request.lines]
        self._socket.sendto(request.to_bytes(), self._firewall)
        return branch

    @property
    def _contact(self) -> str:
        host, port = self._address
        return f"<sip:{self._user}@{host}:{port}>"

    def _answer_of_phone(self, answer: Text) -> None:
        dialog = self._dialogs.get(answer.one("Call-ID"))
        if dialog is None:
            return
        if answer.one("CSeq").endswith("INVITE"):
            if answer.status < 300:
                answer.lines += [f"Record-Route: {route}" for route in dialog.record_routes]
            answer.put("Contact", self._contact)
        self._socket.sendto(answer.to_bytes(), self._firewall)

    # from the firewall

    def _from_firewall(self, message: Text) -> None:
        call_id = message.one("Call-ID")
        if message.status:
            dialog = self._dialogs.get(call_id)
            if dialog is not None and message.one("CSeq").endswith("INVITE"):
                self._answer_of_firewall(message, dialog)
        elif message.method == "INVITE" and self._phone is not None:
            self._reply(message, self._firewall, "100 Trying")
            routes = message.all("Record-Route")
            contact = _uri(message.one("Contact"))
            self._dialogs[call_id] = Dialog(routes=routes, target=contact, remote=message.one("From"), record_routes=routes)
            self._to_phone(message.to_bytes())
        elif message.method == "BYE" and self._phone is not None:
            if call_id not in self._dialogs:
                self.wrong.append(message.first)
            self._to_phone(message.to_bytes())
            self._reply(message, self._firewall, "200 OK")
        elif message.method not in ("ACK", "CANCEL"):
            self._reply(message, self._firewall, "200 OK")

    def _answer_of_firewall(self, answer: Text, dialog: Dialog) -> None:
        assert dialog.invite is not None
        invite = dialog.invite
        if answer.status < 200:
            return
        if answer.status < 300:
            dialog.routes = list(reversed(answer.all("Record-Route")))
            dialog.target = _uri(answer.one("Contact"))
            dialog.remote = answer.one("To")
        else:
            self.refusals.append(answer.status)
            self._acknowledge(answer, dialog)
            answer.first = "SIP/2.0 404 Not Found"  # of all refusals pyVoIP understands this one
        answer.drop("Via", "Record-Route")
        answer.lines = [f"Via: {via}" for via in invite.all("Via")] + answer.lines
        self._later.append((time.monotonic() + PATIENCE, answer.to_bytes()))

    def _acknowledge(self, answer: Text, dialog: Dialog) -> None:
        assert dialog.invite is not None
        host, port = self._address
        lines = [f"Via: SIP/2.0/UDP {host}:{port};branch={dialog.branch};rport"]
        lines += [f"{name}: {answer.one(name)}" for name in ("From", "To", "Call-ID")]
        lines += [f"CSeq: {answer.one('CSeq').split()[0]} ACK", "Max-Forwards: 70", "Content-Length: 0"]
        ack = Text(f"ACK {dialog.invite.first.split()[1]} SIP/2.0", lines, "")
        self._socket.sendto(ack.to_bytes(), self._firewall)

    def _to_phone(self, data: bytes) -> None:
        assert self._phone is not None
        self._socket.sendto(data, self._phone)


def _uri(name_addr: str) -> str:
    return name_addr.partition("<")[2].partition(">")[0] or name_addr


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
