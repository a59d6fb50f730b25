"""A checked INVITE becomes a Call."""

from __future__ import annotations

import pytest

from proxy.flow import Flow, Listener
from proxy.intake import asserted, call_of, privacy_values
from proxy.sip.message import SipMessage
from proxy.validate import Request
from rules.call import Call, Diverted, Trunk

TRUNK = Trunk(id="acme", kind="enterprise", home_area="755")
FLOW = Flow(Listener(0, "udp", "127.0.0.1", 5060), "127.0.0.2", 5060)


def request(*headers: str, uri: str = "sip:02161234567@127.0.0.1", sender: str = "<sip:+8675583123456@a>;tag=1") -> Request:
    lines = [f"INVITE {uri} SIP/2.0", "Via: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK1", f"From: {sender}", f"To: <{uri}>", "Call-ID: c"]
    data = "\r\n".join([*lines, "CSeq: 1 INVITE", *headers, "", ""]).encode("utf-8", "surrogateescape")
    return Request(SipMessage.parse(data), FLOW, b"127.0.0.2")


def call(*headers: str, trunk: Trunk = TRUNK, sender: str = "<sip:+8675583123456@a>;tag=1") -> Call:
    made = request(*headers, sender=sender)
    return call_of(made, trunk, FLOW.source, asserted(made, trunk), 5.0)


def test_an_ordinary_call() -> None:
    made = call()
    assert (made.caller.canonical, made.called.canonical) == ("+8675583123456", "+862161234567")
    assert (made.call_id, made.at, made.source, made.trunk, made.pai_numbers, made.privacy) == ("c", 5.0, FLOW.source, TRUNK, (), ())


@pytest.mark.parametrize(
    ("headers", "pai"),
    [
        (["P-Asserted-Identity: <tel:+861>"], ("tel:+861",)),
        (['P-Asserted-Identity: "a, <b>" <sip:1@c;user=phone>, <tel:2>'], ("sip:1@c;user=phone", "tel:2")),
        (["P-Asserted-Identity: tel:1", "p-asserted-identity: <tel:2>;x=y"], ("tel:1", "tel:2")),
        (["Remote-Party-ID: <sip:1@a>;party=calling"], ()),
    ],
)
def test_every_asserted_identity_counts(headers: list[str], pai: tuple[str, ...]) -> None:
    assert asserted(request(*headers), TRUNK) == tuple(uri.encode() for uri in pai)
    assert len(call(*headers).pai_numbers) == len(pai)


@pytest.mark.parametrize(
    ("headers", "pai"),
    [
        (["Remote-Party-ID: <sip:1@a>;party=calling;privacy=off"], ("sip:1@a",)),
        (["Remote-Party-ID: <sip:1@a>"], ("sip:1@a",)),
        (["Remote-Party-ID: <sip:1@a>;Party=Called"], ()),
        (["P-Asserted-Identity: <tel:2>", "Remote-Party-ID: <sip:1@a>, <sip:3@a>;party=called"], ("tel:2", "sip:1@a")),
    ],
)
def test_remote_party_id_where_the_trunk_counts_it(headers: list[str], pai: tuple[str, ...]) -> None:
    trunk = Trunk(id="old", kind="enterprise", rpid_as_pai=True)
    assert asserted(request(*headers), trunk) == tuple(uri.encode() for uri in pai)


@pytest.mark.parametrize(
    ("headers", "values"),
    [
        ([], ()),
        (["Privacy: id"], ("id",)),
        (["Privacy: ID ; Critical", "Privacy: header,user"], ("id", "critical", "header", "user")),
        (["Privacy: ;;"], ()),
    ],
)
def test_privacy(headers: list[str], values: tuple[str, ...]) -> None:
    assert privacy_values(request(*headers).message) == values


def test_forwarding_headers_and_identity() -> None:
    history = "History-Info: <sip:3@a>;index=1, <sip:4@a;cause=302>;index=1.1"
    made = call("Diversion: <tel:1>;reason=busy;counter=2, <tel:2>", history, "Identity: abc;info=<http://x>", "y: d")
    assert made.diversion == ("tel:1", "tel:2")
    assert made.history_info == (Diverted("sip:3@a", 302),)
    assert made.hops == 3
    assert made.identity == ("abc;info=<http://x>", "d")


def test_what_is_no_utf8_survives_for_the_records() -> None:
    made = call(sender='"\udcff" <sip:+8675583123456@a>;tag=1')
    assert made.caller.canonical == "+8675583123456"
