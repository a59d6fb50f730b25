"""What a record has: one row a call, in the words of records.md. The same columns in every file, whatever version wrote it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from proxy.events import Attempt
from proxy.records.join import Call, at_once
from proxy.records.lines import OTHER, fields, text

TIME: Final = "time"
TEXT: Final = "text"
TEXTS: Final = "texts"
COUNT: Final = "count"


class Column(NamedTuple):
    """One column. `few`: its values repeat, and are kept as a dictionary; `ranked`: files say for each row group and page between which
    values it lies, so that a reader skips those it need not look at.
    """

    name: str
    kind: str
    few: bool = False
    ranked: bool = False


COLUMNS: Final = (
    # times: milliseconds, UTC
    Column("received_at", TIME, ranked=True),
    Column("ringing_at", TIME),
    Column("answered_at", TIME),
    Column("ended_at", TIME),
    Column("ended_by", TEXT, few=True),
    Column("why", TEXT, few=True),
    Column("status", COUNT, few=True),
    # where it came from
    Column("kind", TEXT, few=True),
    Column("trunk", TEXT, few=True),
    Column("customer", TEXT, few=True),
    Column("upstream", TEXT, few=True),
    Column("address", TEXT, few=True),
    Column("port", COUNT, few=True),
    Column("transport", TEXT, few=True),
    # who called whom: canonical where there is such a form; and as it was written
    Column("called", TEXT, ranked=True),
    Column("called_kind", TEXT, few=True),
    Column("caller", TEXT, ranked=True),
    Column("caller_kind", TEXT, few=True),
    Column("called_raw", TEXT),
    Column("caller_raw", TEXT),
    # what the request said
    Column("call_id", TEXT),
    Column("from_tag", TEXT),
    Column("cseq", COUNT, few=True),
    Column("icid", TEXT),
    Column("from", TEXTS),
    Column("to", TEXTS),
    Column("pai", TEXTS),
    Column("ppi", TEXTS),
    Column("diversion", TEXTS),
    Column("history_info", TEXTS),
    Column("privacy", TEXTS, few=True),
    Column("identity", TEXTS),
    Column("via", TEXTS),
    Column(OTHER, TEXTS),
    # what became of it
    Column("action", TEXT, few=True),
    Column("code", TEXT, few=True),
    Column("rule", TEXT, few=True),
    Column("mode", TEXT, few=True),
    Column("would_code", TEXT, few=True),
    Column("would_rule", TEXT, few=True),
    Column("marks", TEXTS, few=True),
    Column("answers", TEXT, few=True),
    Column("passport", TEXT, few=True),
    Column("policy_version", TEXT, few=True),
    Column("directory_version", TEXT, few=True),
    Column("elapsed_us", COUNT),
    Column("egress", TEXT, few=True),
    Column("target", TEXT, few=True),
    Column("sent_as", TEXT),
    Column("node", TEXT, few=True),
)

NAMES: Final = tuple(column.name for column in COLUMNS)

SORTED_BY: Final = (("called", "ascending"), ("received_at", "ascending"))
"""The order of the rows in a file; rows without a canonical called number come last."""

Row = tuple[Any, ...]
"""The values of COLUMNS in order: ms, text, lists of text, numbers; None for what is not known."""

BESIDES: Final = 1024
"""Octets of a row, its header lines apart."""

DAY: Final = 86_400_000
"""Milliseconds."""


def row(call: Call, node: str) -> Row:
    """The record of a call that `node` saw. Of a call whose attempt was lost there is only what its other events say."""
    attempt, ringing, answer, end = call.attempt, call.ringing, call.answer, call.end
    first = call.events()[0]
    tail = (
        ringing.at if ringing is not None else None,
        answer.at if answer is not None else None,
    )
    if end is not None:
        over: tuple[int | None, str | None, str | None] = (end.at, end.by, end.why)
    elif attempt is not None and at_once(attempt):
        over = (attempt.at, "proxy", _at_once(attempt))
    else:
        over = (None, None, None)
    answered = (answer.egress or None, answer.target or None) if answer is not None else (None, None)
    status = (attempt.status if attempt is not None else 0) or (end.status if end is not None else 0)
    status = status or (answer.status if answer is not None else 0)
    if attempt is None:
        known = {
            "received_at": first.at,
            "ringing_at": tail[0],
            "answered_at": tail[1],
            "ended_at": over[0],
            "ended_by": over[1],
            "why": over[2],
            "status": status or None,
            "trunk": first.trunk,
            "call_id": text(first.call_id),
            "from_tag": text(first.from_tag),
            "cseq": first.cseq or None,
            "egress": answered[0],
            "target": answered[1],
            "node": node,
        }
        return tuple([known.get(name) for name in NAMES])
    found, icid = fields(attempt.lines, attempt.call_id)
    get = found.get
    return (
        attempt.at,
        *tail,
        *over,
        status or None,
        attempt.kind,
        attempt.trunk,
        attempt.customer or None,
        attempt.upstream or None,
        attempt.address,
        attempt.port,
        attempt.transport,
        attempt.called or None,
        attempt.called_kind or None,
        attempt.caller or None,
        attempt.caller_kind or None,
        attempt.called_raw,
        attempt.caller_raw,
        text(attempt.call_id),
        text(attempt.from_tag),
        attempt.cseq,
        icid or None,
        get("from"),
        get("to"),
        get("pai"),
        get("ppi"),
        get("diversion"),
        get("history_info"),
        get("privacy"),
        get("identity"),
        get("via"),
        get(OTHER),
        attempt.action,
        attempt.code,
        attempt.rule or None,
        attempt.mode,
        attempt.would_code or None,
        attempt.would_rule or None,
        list(attempt.marks) or None,
        attempt.answers or None,
        attempt.passport or None,
        attempt.policy_version,
        attempt.directory_version,
        attempt.elapsed_us,
        answered[0] or attempt.egress or None,
        answered[1],
        attempt.sent_as or None,
        node,
    )


def weight(call: Call) -> int:
    """About how many octets of memory a call's row takes: its header lines, and less than BESIDES for all the rest."""
    return BESIDES + (sum(map(len, call.attempt.lines)) if call.attempt is not None else 0)


def _at_once(attempt: Attempt) -> str:
    """Why a call ended that this node answered at once: `why` in the words of End, and two that only this has."""
    if attempt.action == "drop":
        return "dropped"
    return "redirected" if 300 <= attempt.status < 400 else "refused"
