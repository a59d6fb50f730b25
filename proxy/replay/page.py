"""The page of a replay: one file that needs nothing else, to be attached to a ticket. It holds page.html, page.css and page.js of this
package, and data: what comes from a trace is escaped in Python where the page shows it without a script, and else is text to the script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from datetime import datetime, tzinfo
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import PurePath
from string import Template
from typing import IO, Any, Final

from proxy.replay.ladder import Ladder, Ladders, Rung
from proxy.replay.policy import Policy
from proxy.replay.row import Row, place_of
from proxy.replay.summary import Decided, Summary
from proxy.replay.trouble import KINDS
from proxy.report import readable
from rules.codes import ReasonCode
from rules.verdict import Verdict

BLOCK: Final = 25
"""Calls whose messages are packed together: what is unpacked when one of them is opened."""
_SYMBOLS: Final = {"pass": "✓", "reject": "✕", "redirect": "↪", "drop": "∅"}
_CODES: Final = 40
_CALLERS: Final = 10
_CHANGES: Final = 200
_NONE: Final = ReasonCode(en="Refused by the proxy before policy is asked (RFC 3261 §16.3).", zh="代理在询问策略之前即予拒绝。")
_UNTOLD: Final = ReasonCode(en="A code of a rule that is not built in.", zh="非内置规则的代码。")


class Page:
    """What is shown: the calls that `ladders` has kept, and the figures of all. `made` is Unix time."""

    def __init__(
        self, traces: list[str], policy: Policy, candidate: Policy | None, summary: Summary, ladders: Ladders, made: float
    ) -> None:
        self._names = ["standard input" if trace == "-" else PurePath(trace).name for trace in traces]
        self._policy = policy
        self._candidate = candidate
        self._summary = summary
        self._ladders = ladders
        self._made = made
        self._zone = policy.generation.directory.zone
        self._rows = ladders.rows()
        self._places = {id(row): place for place, row in enumerate(self._rows)}

    def write(self, out: IO[bytes]) -> None:
        """Write the page, in UTF-8."""
        style, script = _part("page.css"), _part("page.js")
        title = ", ".join(self._names[:3]) + (f" and {len(self._names) - 3} more" if len(self._names) > 3 else "")
        head, _, foot = _part("page.html").partition("<!--data-->\n")
        values = {
            "style_hash": _hash(style),
            "script_hash": _hash(script),
            "style": style,
            "script": script,
            "title": _html(title),
            "about": self._about(),
            "figures": self._figures(),
            "changes": self._changes(),
            "codes": self._codes(),
            "refused": self._refused(),
            "trouble": self._trouble(),
            "notes": self._notes(),
        }
        out.write(Template(head).substitute(values).encode())
        out.write(_data("meta", self._meta()))
        out.write(b'<script type="application/json" id="calls">[')
        for place, row in enumerate(self._rows):
            out.write((b",\n" if place else b"\n") + _json(self._call(row)))
        out.write(b"]</script>\n")
        for place in range(0, len(self._rows), BLOCK):
            packed = _packed([self._messages(row) for row in self._rows[place : place + BLOCK]])
            out.write(b'<script type="text/plain" id="block%d">%b</script>\n' % (place // BLOCK, packed))
        out.write(Template(foot).substitute(values).encode())

    # what is shown without a script

    def _about(self) -> str:
        lines = []
        first, last = self._summary.first, self._summary.last
        if first is not None and last is not None:
            lines.append(("Calls", f"{_when(first, self._zone)} to {_when(last, self._zone)} ({self._zone})"))
        lines.append(("Policy", _version(self._policy)))
        if self._candidate is not None:
            lines.append(("Candidate", _version(self._candidate)))
        if len(self._names) > 3:
            lines.append(("Traces", ", ".join(self._names)))
        lines.append(("Made", f"{_when(self._made, self._zone)} by sipwarden {version('sipwarden')}"))
        return "\n".join(f"<dt>{name}</dt><dd>{_html(text)}</dd>" for name, text in lines)

    def _figures(self) -> str:
        summary = self._summary
        shown = [("calls", summary.calls, "")]
        shown += [(action, count, f"a-{action}") for action, count in summary.actions.most_common()]
        if self._candidate is not None:
            shown.append(("changed", summary.changed, "a-changed" if summary.changed else ""))
        small = [("INVITEs", summary.invites), ("SIP messages", summary.trouble.messages), ("packets", summary.trouble.packets)]
        small.append(("unparsable", summary.trouble.unparsable))
        figures = [
            f'<div class="figure {style}"><dt>{f"<i>{_SYMBOLS[name]}</i> " if name in _SYMBOLS else ""}{name}</dt><dd>{count:,}</dd></div>'
            for name, count, style in shown
        ]
        figures += [f'<div class="figure small"><dt>{name}</dt><dd>{count:,}</dd></div>' for name, count in small]
        return "\n".join(figures)

    def _changes(self) -> str:
        if self._candidate is None:
            return ""
        changes = self._summary.changes
        if not changes:
            calm = '<p class="calm">Nothing: it decides every call as the policy does.</p>'
            return f"<section><h2>What the candidate changes</h2>{calm}</section>"
        rows = []
        for change in changes[:_CHANGES]:
            examples = " ".join(self._example(row) for row in change.examples)
            rows.append(
                f'<tr><td class="n">{change.count:,}</td><td>{_decision(change.before)}</td><td class="to">→</td>'
                f"<td>{_decision(change.after)}</td><td>{examples}</td></tr>"
            )
        more = f'<p class="calm">{len(changes) - _CHANGES:,} rarer kinds of change are left out.</p>' if len(changes) > _CHANGES else ""
        return (
            "<section><h2>What the candidate changes</h2>"
            f"<p>{self._summary.changed:,} of {self._summary.calls:,} calls would be decided otherwise.</p>"
            '<div class="wide"><table class="plain changes"><thead><tr><th class="n">Calls</th><th>Policy</th><th></th><th>Candidate</th>'
            f"<th>Such as</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>{more}</section>"
        )

    def _example(self, row: Row) -> str:
        who = f"{row.judged.caller[:40]} → {row.judged.called[:40]}"
        place = self._places.get(id(row))
        if place is None:
            return f'<span class="example">{_html(who)}</span>'
        return f'<a class="example" href="#call-{place + 1}">{_html(who)}</a>'

    def _codes(self) -> str:
        rows = []
        most = self._summary.codes.most_common()
        for code, count in most[:_CODES]:
            words = self._words(code)
            name = f'<button type="button" data-code="{_html(code)}">{_html(code or "none")}</button>'
            rows.append(
                f'<tr><td class="n">{count:,}</td><td>{name}</td><td>{_html(words.en)} <span lang="zh">{_html(words.zh)}</span></td></tr>'
            )
        return f'<table class="plain codes"><tbody>{"".join(rows)}</tbody></table>'

    def _refused(self) -> str:
        most = self._summary.callers.most_common(_CALLERS)
        if not most:
            return ""
        rows = [
            f'<tr><td class="n">{count:,}</td><td><button type="button" data-find="{_html(caller)}">{_html(caller or "none")}</button></td>'
            f"<td>{_html(trunk or 'no trunk')}</td></tr>"
            for (trunk, caller), count in most
        ]
        return f'<section><h2>Callers refused most</h2><table class="plain codes few"><tbody>{"".join(rows)}</tbody></table></section>'

    def _trouble(self) -> str:
        counts = self._summary.trouble.counts
        if not counts:
            return ""
        rows = []
        for kind, count in counts.items():
            examples = "".join(f"<li>{_html(place)}: {_html(why)}</li>" for place, why in self._summary.trouble.examples[kind])
            rows.append(f'<tr><td class="n">{count:,}</td><td>{KINDS[kind]}</td><td><ul>{examples}</ul></td></tr>')
        return (
            "<section><h2>What could not be read</h2>"
            f'<div class="wide"><table class="plain"><tbody>{"".join(rows)}</tbody></table></div></section>'
        )

    def _notes(self) -> str:
        summary, ladders = self._summary, self._ladders
        notes = []
        if ladders.left_out:
            notes.append(
                f"{len(self._rows):,} of {summary.calls:,} calls are shown: those that change first, then those that are not simply "
                "passed, then the others, of each kind the first in the trace. The figures above are of all calls."
            )
        if ladders.untold:
            notes.append(f"{ladders.untold:,} messages stand in the ladders without their text, which would have made the page too large.")
        if summary.unanswered:
            notes.append(
                f"{summary.unanswered:,} calls wait for a look-up, which a replay does not make; they were judged as with no answer."
            )
        if summary.untimed:
            notes.append(f"{summary.untimed:,} calls have no time in their trace, and were judged as of when this page was made.")
        not_judged = {
            "retransmissions": summary.again,
            "inside calls": summary.inside,
            "sent by this node itself": summary.ours,
            "from elsewhere": summary.elsewhere,
        }
        rest = ", ".join(f"{count:,} {name}" for name, count in not_judged.items() if count)
        if rest:
            notes.append(f"INVITEs that are not judged: {rest}.")
        return "".join(f"<p>{_html(text)}</p>" for text in notes)

    # what the script shows

    def _meta(self) -> dict[str, Any]:
        used = {
            code for row in self._rows for judged in (row.judged, row.candidate) if judged is not None for code in _named(judged.verdict)
        }
        trunks = sorted({row.verdict.trunk for row in self._rows})
        return {
            "codes": {code: _told(self._words(code)) for code in sorted(used)},
            "trunks": trunks,
            "block": BLOCK,
            "candidate": self._candidate is not None,
        }

    def _call(self, row: Row) -> dict[str, Any]:
        verdict = row.verdict
        at = None if row.at is None else datetime.fromtimestamp(row.at, self._zone)
        call: dict[str, Any] = {
            "day": "" if at is None else f"{at:%Y-%m-%d}",
            "time": "" if at is None else f"{at:%H:%M:%S}.{at.microsecond // 1000:03}",
            "id": row.call_id,
            "source": row.source or "",
            "place": row.place,
            "from": row.sender,
            "to": row.to,
            "caller": verdict.caller or "",
            "called": verdict.called or "",
            "trunk": verdict.trunk,
            "customer": verdict.customer,
            "recorded": row.recorded,
            **_said(verdict, row.judged.unanswered),
        }
        if row.candidate is not None:
            call["changed"] = row.changed
            call["candidate"] = _said(row.candidate.verdict, row.candidate.unanswered)
        return call

    def _messages(self, row: Row) -> dict[str, Any]:
        ladder = self._ladders.of(row)
        hosts, place = _hosts(ladder)
        start = row.at or 0.0
        names = [{"name": name, "trunk": self._trunk_at(address, port)} for name, address, port in hosts]
        messages = [
            _message(rung, place(rung.source, rung.source_port), place(rung.destination, rung.destination_port), start)
            for rung in ladder.rungs
        ]
        return {"hosts": names, "messages": messages, "more": ladder.left_out}

    def _trunk_at(self, address: str, port: int) -> str:
        arrivals = self._policy.arrivals
        arrival = arrivals.find(address, port, "udp")
        if self._policy.routing.is_own(arrival.key, port):
            return "this node"
        return arrival.trunk.id if arrival.trunk is not None and not arrivals.all_alike else ""

    def _words(self, code: str) -> ReasonCode:
        if not code:
            return _NONE
        known = self._policy.ruleset.codes.get(code)
        if known is None and self._candidate is not None:
            known = self._candidate.ruleset.codes.get(code)
        return known or _UNTOLD


def _said(verdict: Verdict, unanswered: tuple[str, ...]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "action": verdict.action,
        "code": verdict.code,
        "rule": verdict.rule,
        "status": verdict.status,
        "phrase": verdict.phrase,
    }
    if verdict.reason:
        said["reason"] = verdict.reason
    if verdict.marks:
        said["marks"] = list(verdict.marks)
    if verdict.labels:
        said["labels"] = {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            for name, value in verdict.labels.items()
        }
    if verdict.mode == "observe":
        said["mode"] = verdict.mode
    if verdict.observed:
        said["observed"] = [{"code": would.code, "rule": would.rule, "status": would.status} for would in verdict.observed]
    if unanswered:
        said["unanswered"] = list(unanswered)
    return said


def _named(verdict: Verdict) -> Iterable[str]:
    yield verdict.code
    yield from verdict.marks
    for would in verdict.observed or ():
        yield would.code


def _told(words: ReasonCode) -> dict[str, str]:
    told = {"en": words.en, "zh": words.zh, "basis": words.basis, "remedy": words.remedy, "remedy_zh": words.remedy_zh}
    return {name: text for name, text in told.items() if text}


def _hosts(ladder: Ladder) -> tuple[list[tuple[str, str, int]], Any]:
    """The columns of a ladder, in the order of their first message, and what finds an address among them. An address is a column; where one
    speaks to itself (a test on loopback), each of its ports is.
    """
    by_port = any(rung.source == rung.destination for rung in ladder.rungs)
    columns: dict[tuple[str, int], int] = {}
    hosts: list[tuple[str, str, int]] = []

    def place(address: str, port: int) -> int:
        key = (address, port if by_port else 0)
        if key not in columns:
            columns[key] = len(hosts)
            hosts.append(((place_of(address, port) if by_port else address) or "?", address, port))
        return columns[key]

    for rung in ladder.rungs:
        place(rung.source, rung.source_port)
        place(rung.destination, rung.destination_port)
    return hosts, place


def _message(rung: Rung, source: int, destination: int, start: float) -> dict[str, Any]:
    message: dict[str, Any] = {"t": round(rung.at - start, 6), "from": source, "to": destination, "label": rung.label}
    message["ports"] = f"{rung.transport} {rung.source_port} > {rung.destination_port}"
    if rung.request:
        message["request"] = True
    if rung.again:
        message["again"] = rung.again
    if rung.text is not None:
        message["text"] = rung.text.decode("utf-8", "replace")
    return message


def _decision(decided: Decided) -> str:
    action, code, rule, status = decided
    told = f'<b class="a-{action}"><i>{_SYMBOLS[action]}</i> {action}</b> <span class="code">{_html(code or "none")}</span>'
    if status is not None:
        told += f" {status}"
    if rule:
        told += f' <span class="calm">by {_html(rule)}</span>'
    return told


def _version(policy: Policy) -> str:
    return f"{policy.ruleset.policy_version}, directory {policy.ruleset.directory.version}"


def _when(at: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).isoformat(" ", "seconds")


def _part(name: str) -> str:
    return files("proxy.replay").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """What the page's Content-Security-Policy knows its own style and script by: whatever else stands in the page is not run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _html(text: str) -> str:
    return escape(readable(text).replace("\0", "\ufffd"))


def _json(value: object) -> bytes:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return readable(text).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()


def _data(identifier: str, value: object) -> bytes:
    return b'<script type="application/json" id="%b">%b</script>\n' % (identifier.encode(), _json(value))


def _packed(value: object) -> bytes:
    """JSON, deflated, in base64: messages are long and much alike."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(packer.compress(_json(value)) + packer.flush())
