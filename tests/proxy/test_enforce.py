"""Verdicts said in SIP: refusals, and what is edited on what goes on."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.enforce import apply_labels, refusal
from proxy.sip.message import SipMessage
from rules.call import Trunk
from rules.verdict import Verdict

ENTERPRISE = Trunk(id="a", kind="enterprise")
PEER = Trunk(id="b", kind="interconnect")
HISTORY = "History-Info: <sip:1@a>;index=1, <sip:2@a;cause=302?Privacy=history>;index=1.1"
PAI = "P-Asserted-Identity: <tel:+8613802881946>"


def verdict(labels: dict[str, Any] | None = None, status: int | None = None, phrase: str = "", reason: str = "") -> Verdict:
    return Verdict("pass", "OK", "", status, phrase, reason, None, None, "a", "", [], labels, "enforce", None, "1", "1")


def edited(headers: list[str], labels: dict[str, Any] | None, privacy: tuple[str, ...], egress: Trunk | None) -> list[str]:
    message = SipMessage.parse("\r\n".join(["INVITE sip:a@b SIP/2.0", *headers, "l: 0", "", ""]).encode())
    apply_labels(message, verdict(labels), privacy, egress)
    return message.to_bytes().decode().split("\r\n")[1:-3]


def test_refusals_are_made_once() -> None:
    one = refusal(verdict(None, 403, "Forbidden", "Q.850;cause=21"))
    assert one is refusal(verdict(None, 403, "Forbidden", "Q.850;cause=21"))
    assert (one.status, one.start, one.extra) == (403, b"SIP/2.0 403 Forbidden", b"Reason: Q.850;cause=21\r\n")
    assert refusal(verdict(None, 607, "Unwanted")).extra == b""


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
        (["Privacy: none", "Privacy: session", PAI], {"withhold": True}, ("none",), None, ["Privacy: id", PAI]),
        ([PAI], {"withhold": True}, (), ENTERPRISE, ["Privacy: id"]),
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
