"""`worker_ports` of `[node]`: UDP ports of which each worker has its own, so that responses come straight to it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.config.model import Config
    from proxy.config.report import Report

_RANGE: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_FORM: Final = 'two ports with a hyphen between, for example "5100-5131"'


def parse_range(text: str) -> tuple[int, int]:
    """First and last port. ValueError says what is wrong and, after " | ", what would be right."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ValueError(f"is no range of ports | {_FORM}")
    first, last = int(found[1]), int(found[2])
    if not 0 < first < 65536 or not 0 < last < 65536:
        raise ValueError(f"ports are numbers from 1 to 65535 | {_FORM}")
    if last < first:
        raise ValueError(f"ends before it begins | {_FORM}")
    return first, last


def check_worker_ports(config: Config, report: Report) -> None:
    """Note a range that is none, that has too few ports for the workers, or that the node needs for something else. The listeners'
    addresses have been checked before.
    """
    node = config.node
    if node.worker_ports is None:
        return
    at = ("node", "worker_ports")
    try:
        first, last = parse_range(node.worker_ports)
    except ValueError as error:
        report.fault(at, str(error), node.worker_ports)
        return
    udp = [listen for listen in config.listen if "udp" in listen.transports]
    if not udp:
        if "listen" not in report.incomplete:
            report.fault(
                at, "no [[listen]] has UDP: such ports are for UDP only", node.worker_ports, 'leave it out, or transports = ["udp"]'
            )
        return
    workers = node.workers or len(os.sched_getaffinity(0))
    each = config.ports_each
    wanted = workers * each
    if last - first + 1 < wanted:
        many = f"{workers} workers" if node.workers else f"{workers} workers (one for each core of this host)"
        of = f" with {each} UDP listeners each" if each > 1 else ""
        what = f"{last - first + 1} ports are too few for {many}{of}"
        report.fault(at, what, node.worker_ports, f'"{first}-{first + wanted - 1}"' if first + wanted <= 65536 else f"{wanted} ports")
        return
    used = range(first, first + wanted)
    for listen in udp:
        for port in {listen.bound[1], listen.named[1]}:
            if port in used:
                what = f"port {port} of [[listen]] address {listen.address} is among them"
                report.fault(at, what, node.worker_ports, "a range that nothing else uses")
