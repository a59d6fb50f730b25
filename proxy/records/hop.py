"""What to write to the operator that a call came from (逐级溯源): the next hop of a traceback, in Chinese and English."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from proxy.records.trace import Found, utc
from proxy.report import printable

PEERS: Final = frozenset(("interconnect", "international"))
"""Kinds of ingress behind which another operator stands."""

CALLS: Final = 20
"""Calls that one request names at the most."""


def hop_request(found: Sequence[Found], case: str, basis: str, node: str, zone: ZoneInfo) -> str | None:
    """A request for each operator that one of the best calls came from, one after the other; None where there is none.

    The best are those of the first row's match. What is masked in the rows is masked here: such a request is not complete.
    """
    best = [row for row in found if row.match == found[0].match and row.record.kind in PEERS]
    operators: dict[str, list[Found]] = {}
    for row in best:
        operators.setdefault(row.record.upstream or row.record.customer or row.record.trunk, []).append(row)
    if not operators:
        return None
    return "\n\n".join(_request(operator, rows, case, basis, node, zone) for operator, rows in operators.items())


def _request(operator: str, rows: Sequence[Found], case: str, basis: str, node: str, zone: ZoneInfo) -> str:
    lines = [
        "通话溯源协查函  Call trace request",
        f"致 To: {printable(operator)}",
        f"发自 From: {printable(node)}",
        f"案件编号 Case number: {printable(case)}",
        f"法律依据 Legal basis: {printable(basis)}",
        "",
        "下列呼叫由贵方网络送入我方。请查明每一呼叫进入贵网的入口中继、源地址、接入客户或上一级运营商及其主叫用户，并保全相关记录。",
        "The calls below entered our network from yours. For each, please tell us by which trunk and from which source address, customer",
        "or upstream operator it entered yours, and its calling subscriber, and preserve the records.",
    ]
    for number, row in enumerate(rows[:CALLS], 1):
        record = row.record
        local = datetime.fromtimestamp(record.received_at / 1000, zone)
        facts = [
            ("时间 Time", f"{local.isoformat(' ', 'milliseconds')} ({zone.key}) = {utc(record.received_at)} (UTC)"),
            ("被叫 Called", row.called),
            ("主叫 Caller", row.caller),
            ("显示号码 Caller as sent on", row.sent_as if row.sent_as != row.caller else ""),
            ("中继 Trunk", record.trunk),
            ("源地址 Source", row.source),
            ("Call-ID", row.call_id),
            ("icid-value", row.icid),
        ]
        lines += ["", f"{number}."] + [f"   {name}: {printable(value)}" for name, value in facts if value]
    if len(rows) > CALLS:
        lines += ["", f"另有 {len(rows) - CALLS} 个呼叫未列出。 {len(rows) - CALLS} more calls are not listed."]
    return "\n".join(lines)
