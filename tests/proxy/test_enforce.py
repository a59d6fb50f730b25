"""Verdicts said in SIP: refusals, and what is edited on what goes on."""

from __future__ import annotations

import re
from typing import Any

import pytest

import rules.profile
from proxy.enforce import apply_labels, refusal
from proxy.sip.message import SipMessage
from rules import known_profiles, reason_codes
from rules.call import Trunk
from rules.loader import BUILTIN
from rules.verdict import Verdict

ENTERPRISE = Trunk(id="a", kind="enterprise")
PEER = Trunk(id="b", kind="interconnect")
HISTORY = "History-Info: <sip:1@a>;index=1, <sip:2@a;cause=302?Privacy=history>;index=1.1"
PAI = "P-Asserted-Identity: <tel:+8613802881946>"


def verdict(labels: dict[str, Any] | None = None, status: int | None = None, phrase: str = "", reason: str = "") -> Verdict:
    return Verdict("pass", "OK", "", status, phrase, reason, None, None, "a", "", [], labels, "enforce", None, "1", "1")


CORE = Trunk(id="c", kind="core")
NOBODY = 'From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=1'
FROM = 'From: "Bob" <sip:+8613802881946@b>;tag=1'


def edited(headers: list[str], labels: dict[str, Any] | None, privacy: tuple[str, ...], egress: Trunk | None) -> list[str]:
    message = SipMessage.parse("\r\n".join(["INVITE sip:a@b SIP/2.0", *headers, "l: 0", "", ""]).encode())
    apply_labels(message, verdict(labels), privacy, CORE, egress)
    return message.to_bytes().decode().split("\r\n")[1:-3]


CODES = (*reason_codes(), "BEH_ONE_RING", "STIR_SIGNATURE", "STIR_MISSING", "THIRD_PARTY")
INTERNAL = re.compile("|".join([*CODES, *BUILTIN, "list", "score", "mark", "suspect", "warden", "rule"]))
REDRESS = "https://redress.example/jcard"


@pytest.mark.parametrize("profile", known_profiles())
@pytest.mark.parametrize("redress", ["", REDRESS])
def test_no_refusal_tells_the_offender_anything_of_ours(profile: str, redress: str) -> None:
    for code in CODES:
        chosen = rules.profile.refusal(profile, code, redress)
        told = verdict(None, chosen.status, chosen.phrase, chosen.reason)
        told.code, told.call_info = code, chosen.call_info
        said = refusal(told, PEER)
        wire = said.start + b"\r\n" + said.extra.replace(b";purpose=", b"")  # Call-Info's own parameter, which a rule happens to share
        assert not INTERNAL.search(wire.decode()), wire
        lines = said.extra.decode().split("\r\n")
        assert lines.pop() == ""
        assert {line.partition(": ")[0] for line in lines} <= {"Reason", "Call-Info"}
        assert re.fullmatch(r"SIP/2\.0 (403|428|433|43[678]|503|603|607|608) [A-Z][A-Za-z ]+", said.start.decode())


def test_refusals_are_made_once() -> None:
    one = refusal(verdict(None, 403, "Forbidden", "Q.850;cause=21"), PEER)
    assert one is refusal(verdict(None, 403, "Forbidden", "Q.850;cause=21"), PEER)
    assert (one.status, one.start, one.extra) == (403, b"SIP/2.0 403 Forbidden", b"Reason: Q.850;cause=21\r\n")
    assert refusal(verdict(None, 607, "Unwanted"), PEER).extra == b""
    with_redress = verdict(None, 608, "Rejected")
    with_redress.call_info = f"<{REDRESS}>;purpose=jwscard"
    assert refusal(with_redress, PEER).extra == f"Call-Info: <{REDRESS}>;purpose=jwscard\r\n".encode()


@pytest.mark.parametrize(
    ("headers", "labels", "privacy", "egress", "left"),
    [
        ([PAI], None, (), ENTERPRISE, [PAI]),
        ([PAI, "Privacy: id"], None, ("id",), ENTERPRISE, ["Privacy: id"]),
        ([PAI, "Privacy: header"], None, ("header",), ENTERPRISE, ["Privacy: header"]),
        ([PAI, "Privacy: session"], None, ("session",), ENTERPRISE, [PAI, "Privacy: session"]),
        ([PAI, PAI, "Remote-Party-ID: <sip:a@b>", "Privacy: user;id"], None, ("user", "id"), ENTERPRISE, ["Privacy: user;id"]),
        ([PAI, "Privacy: id"], None, ("id",), None, [PAI, "Privacy: id"]),
        ([PAI, "Privacy: id"], None, ("id",), PEER, [PAI, "Privacy: id"]),
        (["P-Preferred-Identity: <sip:a@b>", "p-preferred-identity: <tel:1>", PAI], None, (), None, [PAI]),
        (["Privacy: id", PAI], {"strip_privacy": True}, ("id",), ENTERPRISE, [PAI]),
        (["Privacy: none", FROM, "Privacy: session", PAI], {"withhold": True}, ("none",), None, ["Privacy: id", NOBODY, PAI]),
        ([PAI, FROM], {"withhold": True}, (), ENTERPRISE, ["Privacy: id", NOBODY]),
        ([HISTORY], None, (), ENTERPRISE, ["History-Info: <sip:1@a>;index=1, <sip:anonymous@anonymous.invalid>;index=1.1"]),
        ([HISTORY], None, (), None, [HISTORY]),
        (
            ["Privacy: history", "History-Info: <sip:1@a>;index=1", "History-Info: <sip:2@a>;index=1.1"],
            None,
            ("history",),
            ENTERPRISE,
            [
                "History-Info: <sip:anonymous@anonymous.invalid>;index=1, <sip:anonymous@anonymous.invalid>;index=1.1",
                "Privacy: history",
            ],
        ),
        (["History-Info: <sip:1@a?Privacy=none>;index=1"], None, ("id",), ENTERPRISE, ["History-Info: <sip:1@a?Privacy=none>;index=1"]),
        (
            ["Diversion: <tel:1>;privacy=full, <tel:2>;privacy=off, <tel:3>"],
            None,
            (),
            ENTERPRISE,
            ["Diversion: <tel:2>;privacy=off, <tel:3>"],
        ),
        (["Diversion: <tel:1>;privacy=uri"], None, (), ENTERPRISE, []),
        (["Diversion: <tel:1>;privacy=uri"], None, (), PEER, ["Diversion: <tel:1>;privacy=uri"]),
        ([PAI], {"country": "1"}, (), None, [PAI]),
    ],
)
def test_edits(headers: list[str], labels: dict[str, Any] | None, privacy: tuple[str, ...], egress: Trunk | None, left: list[str]) -> None:
    assert edited(headers, labels, privacy, egress) == left


TEL = "P-Asserted-Identity: <tel:+8613802881946>"
PHONE = "From: <sip:+8613802881946@b;user=phone>;tag=1"
CLAIM = "From: <sip:+8613802881946;verstat=TN-Validation-Passed@b>;tag=1"
HONEST = "From: <sip:+8613802881946@b>;tag=1"
PAI_SIP = "P-Asserted-Identity: <sip:+8613802881946@b>"
INTERNATIONAL = Trunk(id="d", kind="international")


def sent_on(headers: list[str], ingress: Trunk, told: Verdict, *, verstat: bool = True, times: int = 1) -> list[str]:
    data = "\r\n".join(["INVITE sip:a@b SIP/2.0", *headers, "l: 0", "", ""]).encode()
    for _ in range(times):
        message = SipMessage.parse(data)
        apply_labels(message, told, (), ingress, None, verstat=verstat)
        data = message.to_bytes()
    return data.decode().split("\r\n")[1:-3]


def found(authenticated: bool | None, code: str = "OK", **labels: Any) -> Verdict:
    told = verdict(labels or None)
    told.code, told.caller, told.authenticated = code, "+8613802881946", authenticated
    return told


def shown(line: str) -> str:
    return line.replace("<", '"疑似 +8613802881946" <')


def passed(line: str, result: str = "TN-Validation-Passed") -> str:
    return line.replace("+8613802881946", f"+8613802881946;verstat={result}")


@pytest.mark.parametrize("times", [1, 2])  # twice: what comes back through us is not labelled twice
@pytest.mark.parametrize(
    ("headers", "ingress", "told", "left"),
    [
        # what was found of the number: on PAI, on From without one; only on telephone numbers
        ([PHONE, TEL], ENTERPRISE, found(True), [PHONE, passed(TEL)]),
        ([PHONE], ENTERPRISE, found(True), [passed(PHONE)]),
        ([PHONE], ENTERPRISE, found(False), [passed(PHONE, "TN-Validation-Failed")]),
        ([PHONE], PEER, found(None), [passed(PHONE, "No-TN-Validation")]),
        (["From: <TEL:+8613802881946>;tag=1"], PEER, found(None), ["From: <TEL:+8613802881946;verstat=No-TN-Validation>;tag=1"]),
        ([HONEST, passed(TEL, "x").replace("tel", "Tel")], ENTERPRISE, found(True), [HONEST, passed(TEL).replace("tel", "Tel")]),
        ([HONEST, TEL.replace("tel", "Tel")], ENTERPRISE, found(True), [HONEST, passed(TEL).replace("tel", "Tel")]),
        ([HONEST], ENTERPRISE, found(True), [HONEST]),
        ([PHONE, "P-Asserted-Identity: <sip:desk@b>"], ENTERPRISE, found(True), [PHONE, "P-Asserted-Identity: <sip:desk@b>"]),
        # what others say they found: taken out from everyone but our own network
        ([CLAIM], ENTERPRISE, found(True), [HONEST]),
        ([CLAIM], PEER, found(None), [HONEST]),
        ([CLAIM], INTERNATIONAL, found(None), [HONEST]),
        ([CLAIM], CORE, found(None), [CLAIM]),
        ([passed(PHONE)], PEER, found(None), [passed(PHONE, "No-TN-Validation")]),
        ([passed(PHONE)], CORE, found(None), [passed(PHONE)]),
        ([HONEST, "Remote-Party-ID: <sip:1;verstat=x@b>"], PEER, found(None), [HONEST, "Remote-Party-ID: <sip:1@b>"]),
        ([HONEST, "Attestation-Info: A", "Origination-Id: 1"], ENTERPRISE, found(True), [HONEST]),
        ([HONEST, "Attestation-Info: A"], CORE, found(None), [HONEST, "Attestation-Info: A"]),
        ([HONEST, 'Call-Info: <data:>;purpose=jcard;call-reason="Bank"'], PEER, found(None), [HONEST]),
        (
            [HONEST, "Call-Info: <http://a/b.png>;purpose=icon , <http://a/c>;purpose=jcard", "call-info: <http://a/,;purpose=jcard>"],
            PEER,
            found(None),
            [HONEST, "Call-Info: <http://a/b.png>;purpose=icon", "call-info: <http://a/,;purpose=jcard>"],
        ),
        # a suspect
        ([FROM], PEER, found(None, prefix="疑似骚扰"), [FROM.replace("Bob", "疑似骚扰 Bob")]),
        ([FROM], PEER, found(None, prefix='a"b\\'), [FROM.replace("Bob", 'a\\"b\\\\ Bob')]),
        ([HONEST, PAI_SIP], PEER, found(None, prefix="疑似"), [shown(HONEST), shown(PAI_SIP)]),
        ([HONEST, PAI_SIP + ", <sip:1@b>"], PEER, found(None, prefix="疑似"), [shown(HONEST), PAI_SIP + ", <sip:1@b>"]),
        ([HONEST], PEER, found(None, call_reason="疑似"), ['Call-Info: <data:>;purpose=jcard;call-reason="疑似"', HONEST]),
        # nobody keeps an emergency centre from seeing who calls
        ([HONEST], PEER, found(None, "EMG_OVERRIDE", prefix="疑似", call_reason="疑似"), [HONEST]),
        # withheld: no header field tells the number but the one that our own network keeps to itself
        (
            [FROM, TEL, "Remote-Party-ID: <tel:1>", "Identity: a.b.c"],
            INTERNATIONAL,
            found(None, withhold=True),
            ["Privacy: id", NOBODY, passed(TEL, "No-TN-Validation")],
        ),
        ([FROM], INTERNATIONAL, found(None, withhold=True, prefix="疑似"), ["Privacy: id", NOBODY.replace("Anon", "疑似 Anon")]),
    ],
)
def test_what_goes_on(headers: list[str], ingress: Trunk, told: Verdict, left: list[str], times: int) -> None:
    assert sent_on(headers, ingress, told, times=times) == left


def test_a_next_hop_that_wants_no_verstat() -> None:
    assert sent_on([PHONE], ENTERPRISE, found(True), verstat=False) == [PHONE]


def test_without_anything_to_say_the_bytes_are_those_that_came() -> None:
    data = b"INVITE sip:a@b SIP/2.0\r\nf:  Bob   <sip:+8613802881946@b> ;tag=1\r\ncall-info: <http://a/b>;purpose=icon,<http://a/c>\r\n\r\nbody"
    message = SipMessage.parse(data)
    apply_labels(message, found(True), (), ENTERPRISE, None, verstat=True)
    assert message.to_bytes() is message.raw
