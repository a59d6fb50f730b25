"""A running node goes from observe to enforce and back by a reload: what would have been refused is counted apart, and no call is lost."""

from __future__ import annotations

import re
import select
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.proxy.node import Node, Peer, running, wait_until

SPOOFED = "075599999999"
POLICY = """order = ["emergency", "trunk", "regular", "segments"]
[rules.segments]
mode = "observe"
"""
OBSERVED = 'sipwarden_observed_rejections_total{code="AUTH_FAIL",rule="segments",trunk="acme"}'
PASSED = 'sipwarden_invites_total{action="pass",code="OK",trunk="acme"}'
REFUSED = 'sipwarden_invites_total{action="reject",code="AUTH_FAIL",trunk="acme"}'


def trunk_in_observe(node: Node, *, observe: bool) -> None:
    node.config.write_text(node.text.replace('id = "acme"', 'id = "acme"\nmode = "observe"') if observe else node.text)


def rule_in_observe(node: Node, *, observe: bool) -> None:
    node.config.write_text(node.text + '\n[policy]\nfile = "policy.toml"\n')
    (node.folder / "policy.toml").write_text(POLICY if observe else POLICY.replace("observe", "enforce"))


def invite(caller: Peer, node: Node, number: str = SPOOFED) -> bytes:
    request = caller.request("INVITE", caller=number)
    caller.send(request, node.port)
    return request


def in_dialog(caller: Peer, invite: bytes, answer: bytes, method: str, cseq: int) -> bytes:
    """A request within the dialog that `answer` (200) has set up."""
    routes = re.findall(rb"(?im)^record-route: *(.*)\r$", answer)
    to = re.search(rb"(?im)^to: *(.*)\r$", answer)
    contact = re.search(rb"(?im)^contact: *<([^>]*)>", answer)
    assert to and contact and routes
    head = [line for line in invite.split(b"\r\n") if line.startswith((b"From:", b"Call-ID:", b"Max-Forwards:", b"Content-Length:"))]
    via = f"Via: SIP/2.0/UDP {caller.address}:{caller.port};branch=z9hG4bK{method}{id(answer)};rport".encode()
    lines = [b"%s %s SIP/2.0" % (method.encode(), contact[1]), via, b"To: " + to[1], b"CSeq: %d %s" % (cseq, method.encode())]
    return b"\r\n".join([*lines, *[b"Route: " + route for route in reversed(routes)], *head, b"", b""])


def outcome(caller: Peer, switch: Peer, node: Node) -> bytes:
    """Make one spoofed call, answered where it gets through: the status of its final response, b"" where it is lost."""
    request = invite(caller, node)
    call_id = re.search(rb"(?m)^Call-ID: .*$", request)
    assert call_id
    while ready := select.select([caller.socket, switch.socket], [], [], 3)[0]:
        if switch.socket in ready:
            data = switch.receive()
            if data.startswith(b"INVITE "):
                switch.send(switch.answer(data), node.port)
        if caller.socket in ready:
            data = caller.receive()
            if call_id[0] in data and not data.startswith(b"SIP/2.0 1"):
                return data[8:11]
    return b""


@pytest.mark.parametrize("put", [trunk_in_observe, rule_in_observe])
def test_from_observe_to_enforce_and_back(tmp_path: Path, put: Callable[..., None]) -> None:
    with running(tmp_path, workers=2) as node:
        put(node, observe=True)
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1)
        workers = node.workers()
        with (
            closing(Peer("127.0.0.5", node.switch)) as switch,
            closing(Peer("127.0.0.2")) as caller,
            closing(Peer("127.0.0.2")) as talking,
            closing(Peer("127.0.0.2")) as ringing,
        ):
            talk = invite(talking, node)
            switch.send(switch.answer(switch.receive()), node.port)
            talk_answer = talking.final()
            assert talk_answer.startswith(b"SIP/2.0 200 ")
            talking.send(in_dialog(talking, talk, talk_answer, "ACK", 1), node.port)
            assert switch.receive().startswith(b"ACK ")
            invite(ringing, node)
            rings = switch.receive()
            switch.send(switch.answer(rings, "180 Ringing"), node.port)
            assert [outcome(caller, switch, node) for _ in range(3)] == [b"200"] * 3
            assert (node.metric(PASSED), node.metric(REFUSED), node.metric(OBSERVED)) == (5, 0, 5)
            assert node.metric('sipwarden_observed_calls_total{trunk="acme"}') == 5

            put(node, observe=False)
            node.hang_up()
            statuses = [outcome(caller, switch, node)]
            while statuses[-1] == b"200" and len(statuses) < 2000:
                statuses.append(outcome(caller, switch, node))  # one after the other, all through the reload
            wait_until(lambda: node.metric("sipwarden_reloads_total") == 2)
            statuses += [outcome(caller, switch, node) for _ in range(10)]
            passed = statuses.count(b"200")
            assert set(statuses) <= {b"200", b"403"}
            assert statuses[-10:] == [b"403"] * 10

            switch.send(switch.answer(rings), node.port)  # what was let through goes on
            assert ringing.final().startswith(b"SIP/2.0 200 ")
            talking.send(in_dialog(talking, talk, talk_answer, "BYE", 2), node.port)
            while not (bye := switch.receive()).startswith(b"BYE "):
                assert bye
            switch.send(switch.answer(bye), node.port)
            assert talking.final().startswith(b"SIP/2.0 200 ")
            assert node.workers() == workers
            assert node.metric("sipwarden_worker_restarts_total") == 0
            assert node.metric(PASSED) == node.metric(OBSERVED) == 5 + passed
            assert node.metric(REFUSED) == len(statuses) - passed

            put(node, observe=True)
            node.hang_up()
            wait_until(lambda: node.metric("sipwarden_reloads_total") == 3)
            assert outcome(caller, switch, node) == b"200"
            assert node.metric(OBSERVED) == 6 + passed
        assert set(node.log.splitlines()) == {"INFO proxy.supervisor: reloaded"}


def test_a_call_that_several_rules_would_have_refused(tmp_path: Path) -> None:
    """Each of them is counted, the call once; labels are trunks, rules and codes, whatever the caller writes."""
    with running(tmp_path) as node:
        trunk_in_observe(node, observe=True)
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1)
        with closing(Peer("127.0.0.5", node.switch)) as switch, closing(Peer("127.0.0.2")) as caller:
            for number in ("4008123123", "4008123124", "4008%22%0A123"):
                invite(caller, node, number)
                assert switch.receive().startswith(b"INVITE ")
        counted = [line for line in node.get("/metrics")[1].splitlines() if line.startswith("sipwarden_observed_")]
        assert sorted(counted) == [
            'sipwarden_observed_calls_total{trunk="acme"} 3.0',
            'sipwarden_observed_rejections_total{code="AUTH_FAIL",rule="segments",trunk="acme"} 3.0',
            'sipwarden_observed_rejections_total{code="CLI_400",rule="regular",trunk="acme"} 2.0',
            'sipwarden_observed_rejections_total{code="CLI_NON_DIGIT",rule="regular",trunk="acme"} 1.0',
        ]
        node.process.kill()  # not in good order: calls that nobody has answered would be waited for
        node.process.wait()
