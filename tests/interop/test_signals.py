"""Reload, a worker's death and the end, each in the middle of calls."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.interop.node import CALLER, SEGMENTS, STRANGER, SWITCH, Node, running, wait_until
from tests.interop.sipp import peers
from tests.proxy.node import Peer

TRUNK = "127.0.0.2"
OTHER_TRUNK = "127.0.0.3"
"""Its switch listens on TCP, where nobody is: what is not refused gets 500."""

WITH_STRANGER = SEGMENTS + f"acme,acme-tcp,+86{STRANGER[1:]},\n"
BROKEN = SEGMENTS + "acme,acme,nonsense,\n"


def acknowledged(peer: Peer, invite: bytes, response: bytes) -> bytes:
    """The ACK for a failure response (RFC 3261 §17.1.1.3)."""
    to = next(line for line in response.split(b"\r\n") if line.startswith(b"To:"))
    lines = [to if line.startswith(b"To:") else line for line in invite.split(b"\r\n")]
    return b"\r\n".join(lines).replace(b"INVITE", b"ACK")


def status_of_a_call(node: Node, peer: Peer, caller: str) -> bytes:
    """The final status of an INVITE."""
    invite = peer.request("INVITE", caller=caller)
    peer.send(invite, node.port)
    final = peer.final()
    peer.send(acknowledged(peer, invite, final), node.port)
    return final[8:11]


@pytest.mark.interop("sipp")
def test_reload_in_the_middle_of_traffic(tmp_path: Path) -> None:
    """50 calls a second and four reloads, one of them of a broken list: no call is lost, and verdicts are those of the newest good one."""
    calls = 350
    with running(tmp_path, workers=2) as node, peers(tmp_path) as start, closing(Peer(OTHER_TRUNK)) as stranger:
        callee = start.start("callee_answers", address=SWITCH, port=node.switch, calls=calls).ready()
        load = start.start(
            "caller_hangs_up", address=TRUNK, transport="un", calls=calls, rate=50, hold=300, remote=("127.0.0.1", node.port)
        )
        time.sleep(0.5)
        assert status_of_a_call(node, stranger, STRANGER) == b"403"
        for count, (lists, expected) in enumerate(
            ((WITH_STRANGER, b"500"), (BROKEN, b"500"), (SEGMENTS, b"403"), (WITH_STRANGER, b"500")), 1
        ):
            (node.folder / "segments.csv").write_text(lists)
            node.hang_up()
            _wait_for_reload(node, count)
            assert status_of_a_call(node, stranger, STRANGER) == expected, count
        assert load.process.poll() is None, "the reloads came too late"
        load.result().clean(calls)
        callee.result().clean(calls)
        assert node.sent_again == 0
        assert node.metric("sipwarden_reload_failures_total") == 1
        node.healthy()


def _wait_for_reload(node: Node, count: int) -> None:
    wait_until(lambda: node.metric("sipwarden_reloads_total") + node.metric("sipwarden_reload_failures_total") == count)


@pytest.mark.interop("sipp")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_is_killed_in_the_middle_of_calls(tmp_path: Path, workers: int) -> None:
    """Calls that stand can be ended, since their route set carries all that is needed; new ones work as soon as the worker is back, which
    costs a caller no more than two retransmissions.
    """
    calls = 20
    with running(tmp_path, workers) as node, peers(tmp_path) as start:
        callee = start.start("callee_answers", address=SWITCH, port=node.switch, calls=2 * calls).ready()
        where = {"address": TRUNK, "transport": "un", "calls": calls, "remote": ("127.0.0.1", node.port)}
        before = start.start("caller_hangs_up", rate=100, hold=2500, **where)
        wait_until(lambda: node.metric('sipwarden_invites_total{action="pass",code="AUTH_OK",trunk="acme"}') == calls)
        time.sleep(0.5)
        for worker in node.workers():
            os.kill(worker, signal.SIGKILL)
        started = time.monotonic()
        after = start.start("caller_hangs_up", rate=100, hold=100, **where).result()
        took = time.monotonic() - started
        stood = before.result()
        assert (stood.successful, stood.failed) == (calls, 0), stood
        assert (after.successful, after.failed) == (calls, 0), after
        assert after.retransmissions <= 3 * calls, after
        assert took < 6, after
        ended = callee.result()
        assert (ended.successful, ended.failed) == (2 * calls, 0), ended
        assert node.metric("sipwarden_worker_restarts_total") == workers
        assert node.event("internal_errors") == 0


def test_the_end_waits_for_what_rings(tmp_path: Path) -> None:
    """SIGTERM while a callee rings: its caller still hears the answer, then the node ends by itself.

    The answer reaches a worker that has no call of its own (datagrams are not steered by Call-ID here): it stays to hand it over.
    """
    with ExitStack() as stack:
        node = stack.enter_context(running(tmp_path, workers=2, node="steering = false"))
        switch = stack.enter_context(closing(Peer(SWITCH, node.switch)))
        for _ in range(60):
            caller = stack.enter_context(closing(Peer(TRUNK)))
            caller.send(caller.request("INVITE", caller=CALLER), node.port)
            invite = switch.receive()
            before = node.event("handed_over")
            switch.send(switch.answer(invite, "180 Ringing"), node.port)
            assert caller.receive().startswith(b"SIP/2.0 100 ")
            assert caller.receive().startswith(b"SIP/2.0 180 ")
            if node.event("handed_over") > before:
                break
            switch.send(switch.answer(invite), node.port)
            assert caller.receive().startswith(b"SIP/2.0 200 ")
        else:
            pytest.fail("no answer came to the other worker")
        node.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        assert node.process.poll() is None
        switch.send(switch.answer(invite), node.port)
        assert caller.receive(2).startswith(b"SIP/2.0 200 ")
        assert node.process.wait(3) == 0
        assert "Traceback" not in node.log


def test_the_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A callee that rings on keeps a node from ending for five seconds, not longer."""
    with running(tmp_path) as node, closing(Peer(TRUNK)) as caller, closing(Peer(SWITCH, node.switch)) as switch:
        caller.send(caller.request("INVITE", caller=CALLER), node.port)
        switch.send(switch.answer(switch.receive(), "180 Ringing"), node.port)
        caller.receive()
        started = time.monotonic()
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(9) == 0
        assert time.monotonic() - started > 4
