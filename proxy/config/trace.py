"""`[trace]`: SIP messages as they come and go, told to a capture server (HEP3); the check of the table."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.config.addresses import parse_host_port
from proxy.config.report import Report
from rules.call import Trunk

HEP_PORT: Final = 9060
_LONGEST_QUEUE: Final = 1_000_000
_LONGEST_PASSWORD: Final = 255


class TraceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Live trace. Limits hold for each worker."""

    collector: str
    """IP address and port of the capture server, which hears of messages over UDP; port 9060 where none is named."""
    sample: float = 1.0
    """Share of the calls that are traced, each whole: 0.01 is one in a hundred, by its Call-ID."""
    trunks: tuple[str, ...] = ()
    """Only calls that begin at these trunks; empty: all."""
    capture_id: int = 1
    """What the capture server knows this node by."""
    password: str = ""
    """What it lets this node in by, where it asks for that; it is sent as it is."""
    queue: int = 4096
    """Messages that wait to be told; beyond that the oldest is dropped and counted."""

    @property
    def address(self) -> tuple[str, int]:
        """Where the capture server is."""
        return parse_host_port(self.collector, HEP_PORT)


def check_trace(trace: TraceConfig | None, trunks: tuple[Trunk, ...], report: Report) -> None:
    """Note what is wrong with the table."""
    if trace is None:
        return
    try:
        _ = trace.address
    except ValueError as error:
        what, _, remedy = str(error).partition(" | ")
        report.fault(("trace", "collector"), what, trace.collector, remedy)
    if not 0 < trace.sample <= 1:
        report.fault(("trace", "sample"), "out of range", trace.sample, "1.0 for all calls, 0.01 for one in a hundred")
    if not 1 <= trace.queue <= _LONGEST_QUEUE:
        report.fault(("trace", "queue"), "out of range", trace.queue, f"1 to {_LONGEST_QUEUE}")
    if not 0 <= trace.capture_id < 1 << 32:
        report.fault(("trace", "capture_id"), "out of range", trace.capture_id, "0 to 4294967295")
    if len(trace.password.encode("utf-8", "replace")) > _LONGEST_PASSWORD:
        report.fault(("trace", "password"), "too long", "...", f"at most {_LONGEST_PASSWORD} octets")
    known = {trunk.id for trunk in trunks}
    for place, name in enumerate(trace.trunks):
        if name not in known and "trunk" not in report.incomplete:
            report.fault(("trace", "trunks", place), "no [[trunk]] has this id", name, f"one of {', '.join(sorted(known)[:20])}")
