"""A load of calls between two SIPps through a node, and what is counted on all three sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.interop.node import SWITCH, Node
from tests.interop.sipp import Result, peers


@dataclass(frozen=True)
class Outcome:
    """One run: both SIPps, and what the node counted meanwhile."""

    calls: int
    caller: Result
    callee: Result
    sent_again: int
    retransmissions_in: int
    handed_over: int
    handover_dropped: int
    socket_drops: int
    cpu_seconds: float
    shares: tuple[float, ...]
    """Of the workers' CPU that of each."""

    def clean(self) -> None:
        """Fail where a call was lost or anything was sent twice."""
        self.caller.clean(self.calls)
        self.callee.clean(self.calls)
        assert self.sent_again == self.retransmissions_in == self.handover_dropped == self.socket_drops == 0, figures(self)


def run(
    node: Node, folder: Path, *, rate: int, seconds: int, transport: str = "u1", callee: str = "callee_answers_at_once", hold: int = 0
) -> Outcome:
    """Have `rate` calls a second made for some seconds, each answered at once and hung up after `hold` ms."""
    calls = rate * seconds
    before = _counted(node)
    each_before = _cpu(node)
    cpu_before = node.metric("sipwarden_workers_cpu_seconds_total")
    with peers(folder) as start:
        # both sides read in large batches: this is about the node's pace, not theirs
        more = ("-max_recv_loops", "1000", "-buff_size", "4194304")
        uas = start.start(callee, address=SWITCH, port=node.switch, calls=calls, limit=seconds + 40, more=more).ready()
        uac = start.start(
            "caller_hangs_up",
            address="127.0.0.2",
            transport=transport,
            calls=calls,
            rate=rate,
            hold=hold,
            remote=("127.0.0.1", node.port),
            limit=seconds + 40,
            more=more,
        )
        caller, callee_result = uac.result(), uas.result()
    counted = [int(after - earlier) for after, earlier in zip(_counted(node), before, strict=True)]
    cpu = node.metric("sipwarden_workers_cpu_seconds_total") - cpu_before
    again, seen, handed, dropped, lost = counted
    each = [after - earlier for after, earlier in zip(_cpu(node), each_before, strict=True)]
    shares = tuple(one / sum(each) for one in each)
    return Outcome(calls, caller, callee_result, again, seen, handed, dropped, lost, cpu, shares)


def _cpu(node: Node) -> list[float]:
    """Seconds on a CPU of each worker so far."""
    files = [Path(f"/proc/{worker}/schedstat") for worker in node.workers()]
    return [int(file.read_text(encoding="ascii").split()[0]) / 1e9 for file in files]


def _counted(node: Node) -> list[float]:
    return [
        node.sent_again,
        node.metric('sipwarden_retransmissions_total{direction="in"}'),
        node.event("handed_over"),
        node.event("handover_dropped"),
        node.event("udp_receive_dropped"),
    ]


def figures(outcome: Outcome) -> str:
    """One line of what was counted."""
    caller, callee = outcome.caller, outcome.callee
    shares = " and ".join(f"{share:.0%}" for share in outcome.shares)
    return (
        f"{outcome.calls} calls in {caller.seconds:.1f} s: {caller.successful} complete at the caller, {callee.successful} at the callee, "
        f"{caller.failed + callee.failed} failed; sent again: by the caller {caller.retransmissions}, the callee {callee.retransmissions}, "
        f"sipwarden {outcome.sent_again} (it saw {outcome.retransmissions_in} again); handed over {outcome.handed_over} "
        f"(dropped {outcome.handover_dropped}), datagrams dropped by the kernel {outcome.socket_drops}; "
        f"{outcome.cpu_seconds / outcome.calls * 1000:.3f} ms of CPU a call, {shares} of it by the workers"
    )
