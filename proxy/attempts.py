"""What records keep of an initial INVITE and of what became of it (records.md): an Attempt, made from the request as it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from proxy.calls import NAME_AT_MOST
from proxy.events import Attempt
from proxy.flow import Flow
from proxy.intake import text
from proxy.sip.error import ParseError
from proxy.sip.grammar import name_addr, param
from proxy.sip.message import SipMessage
from proxy.validate import Request
from rules.call import Call, Trunk
from rules.verdict import Verdict

KEPT: Final = (
    b"from",
    b"to",
    b"call-id",
    b"via",
    b"p-asserted-identity",
    b"p-preferred-identity",
    b"remote-party-id",
    b"diversion",
    b"history-info",
    b"privacy",
    b"p-charging-vector",
    b"date",
    b"identity",
)
"""Header fields whose lines are kept, in this order: a long Identity is what is left out where there is too much. Date is kept where there
is Identity: nothing else is judged by it.
"""

LINES_AT_MOST: Final = 8192
"""Octets of all lines of one Attempt. A line that no longer fits is cut there, and those behind it are left out."""

_ANSWERS_AT_MOST: Final = 256
_ANSWER_AT_MOST: Final = 32
_ANONYMOUS: Final = "anonymous"


def attempt_of(verdict: Verdict, call: Call, request: Request, status: int, *, egress: str = "", shown: str = "") -> Attempt:
    """The Attempt of a call that was judged. `status`: the final response given at once, 0 for none."""
    trunk = call.trunk
    flow = request.flow
    caller, called = call.caller, call.called
    would = verdict.would
    labels = verdict.labels
    return Attempt(
        int(call.at * 1000),
        request.call_id[:NAME_AT_MOST],
        request.from_tag[:NAME_AT_MOST],
        trunk.id,
        int(request.cseq),
        trunk.kind,
        trunk.customer,
        trunk.owner,
        flow.address,
        flow.port,
        flow.listener.transport,
        verdict.caller or "",
        caller.kind or "",
        verdict.called or "",
        called.kind or "",
        call.sender[:NAME_AT_MOST],
        call.to[:NAME_AT_MOST],
        verdict.action,
        verdict.code,
        verdict.rule,
        status,
        tuple(verdict.marks),
        verdict.mode,
        "" if would is None else would.code,
        "" if would is None else would.rule,
        verdict.policy_version,
        verdict.directory_version,
        int(verdict.elapsed_us),
        egress,
        shown,
        "" if call.answers is None else answers_said(call.answers),
        "" if labels is None else passport_said(labels),
        lines_of(request.message),
    )


def sent_as(verdict: Verdict, call: Call) -> str:
    """The caller as the next hop is shown it: From's URI as it came, or that of nobody."""
    labels = verdict.labels
    return _ANONYMOUS if labels is not None and "withhold" in labels else call.sender[:NAME_AT_MOST]


def unjudged(request: Request, trunk: Trunk | None, at: float, status: int, code: str = "") -> Attempt:
    """The Attempt of a call that no rule has judged, or not to the end: it could not be sent on whatever they say, the node was full, the
    caller gave up. Its action is "" where there is no reason code.
    """
    flow = request.flow
    sender, to = text(request.sender), text(request.message.uri)
    return _bare(at, request.call_id, request.from_tag, int(request.cseq), trunk, flow, sender, to, status, code, lines_of(request.message))


def unknown(message: SipMessage, flow: Flow, at: float, status: int, code: str) -> Attempt:
    """The Attempt of an INVITE that nothing is known to be right of: it came from a source that matches no trunk."""
    tag, sender = b"", b""
    value = message.first(b"from") or b""
    try:
        _, sender, tail = name_addr(value, "From")
        tag = param(tail, b"tag", "From") or b""
    except ParseError:
        sender = value
    number = (message.first(b"cseq") or b"").split()[:1]
    cseq = int(number[0]) if number and number[0].isdigit() and len(number[0]) <= 10 else 0
    call_id = message.first(b"call-id") or b""
    lines = lines_of(message)
    return _bare(at, call_id, tag, cseq, None, flow, text(sender), text(message.uri), status, code, lines)


def _bare(
    at: float,
    call_id: bytes,
    from_tag: bytes,
    cseq: int,
    trunk: Trunk | None,
    flow: Flow,
    sender: str,
    to: str,
    status: int,
    code: str,
    lines: tuple[bytes, ...],
) -> Attempt:
    return Attempt(
        int(at * 1000),
        call_id[:NAME_AT_MOST],
        from_tag[:NAME_AT_MOST],
        "" if trunk is None else trunk.id,
        cseq,
        "" if trunk is None else trunk.kind,
        "" if trunk is None else trunk.customer,
        "" if trunk is None else trunk.owner,
        flow.address,
        flow.port,
        flow.listener.transport,
        "",
        "",
        "",
        "",
        sender[:NAME_AT_MOST],
        to[:NAME_AT_MOST],
        "reject" if code else "",
        code,
        "trunk" if code else "",
        status,
        (),
        "enforce" if trunk is None else trunk.mode,
        "",
        "",
        "",
        "",
        0,
        "",
        "",
        "",
        "",
        lines,
    )


def lines_of(message: SipMessage) -> tuple[bytes, ...]:
    """The header lines that records keep, as they came."""
    first, more, lines = message.first_line, message.more_lines, message.lines
    found: list[bytes] = []
    size = 0
    for name in KEPT:
        at = first.get(name)
        if at is None or (name == b"date" and b"identity" not in first):
            continue
        if more is None or name not in more:
            line = lines[at]
            size += len(line)
            found.append(line)
        else:
            for place in more[name]:
                size += len(lines[place])
                found.append(lines[place])
    return tuple(found) if size <= LINES_AT_MOST else _cut(found)


def _cut(found: list[bytes]) -> tuple[bytes, ...]:
    kept: list[bytes] = []
    room = LINES_AT_MOST
    for line in found:
        if room <= 0:
            break
        kept.append(line[:room])
        room -= len(line)
    return tuple(kept)


def answers_said(answers: Mapping[tuple[str, str], object]) -> str:
    """What look-ups answered, by kind: `roaming=abroad`, `-` for no answer, `+` for one that is no word."""
    said: list[str] = []
    for (kind, _), answer in answers.items():
        word = "-" if answer is None else answer if isinstance(answer, str) and len(answer) <= _ANSWER_AT_MOST and answer.isalnum() else "+"
        said.append(f"{kind}={word}")
    return " ".join(said)[:_ANSWERS_AT_MOST]


def passport_said(labels: Mapping[str, Any]) -> str:
    """What was found of the call's PASSporTs: "verified" with the attestation, "failed", or ""."""
    verified = labels.get("verified")
    if verified is None:
        return ""
    if not verified:
        return "failed"
    attestation = labels.get("attestation")
    return f"verified {attestation}" if attestation else "verified"
