"""Calls between two SIPps through the node, one scenario each: UDP and TCP, IPv4 and IPv6."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.node import CALLER, SPARE, STRANGER, SWITCH, Node, running
from tests.interop.sipp import peers
from tests.proxy.node import Peer

pytestmark = pytest.mark.interop("sipp")
CALLS = 5


@dataclass(frozen=True)
class Way:
    """Where the caller and the callee are and what they speak."""

    caller: str
    caller_speaks: str
    callee: str
    callee_speaks: str


WAYS = {
    "udp": Way("127.0.0.2", "u1", SWITCH, "u1"),
    "udp, a port for each call": Way("127.0.0.2", "un", SWITCH, "u1"),
    "tcp": Way("127.0.0.3", "t1", SWITCH, "t1"),
    "udp to tcp": Way("127.0.0.3", "u1", SWITCH, "t1"),
    "tcp to udp": Way("127.0.0.2", "t1", SWITCH, "u1"),
    "udp6": Way("::1", "u1", "::1", "u1"),
    "tcp6": Way("::1", "t1", "::1", "t1"),
}
CONVERSATIONS = {
    "caller hangs up": ("caller_hangs_up", "callee_answers"),
    "callee hangs up": ("caller_waits", "callee_hangs_up"),
    "busy": ("caller_busy", "callee_busy"),
    "not answered": ("caller_unanswered", "callee_rings_out"),
    "cancelled": ("caller_cancels", "callee_cancelled"),
    "caller re-invites": ("caller_reinvites", "callee_reinvited"),
    "callee re-invites": ("caller_reinvited", "callee_reinvites"),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("way", WAYS)
def test_conversation(node: Node, tmp_path: Path, way: str, conversation: str) -> None:
    """Every call comes to its end on both sides, and nothing had to be sent twice."""
    where = WAYS[way]
    caller_does, callee_does = CONVERSATIONS[conversation]
    again = node.sent_again
    own = "::1" if ":" in where.caller else "127.0.0.1"
    with peers(tmp_path) as start:
        callee = start.start(callee_does, address=where.callee, port=node.switch, transport=where.callee_speaks, calls=CALLS).ready()
        caller = start.start(
            caller_does,
            address=where.caller,
            port=node.six_caller if (where.caller, where.caller_speaks) == ("::1", "u1") else 0,
            transport=where.caller_speaks,
            calls=CALLS,
            rate=20,
            remote=(own, node.port),
        )
        caller.result().clean(CALLS)
        callee.result().clean(CALLS)
    assert node.sent_again == again
    node.healthy()


@pytest.mark.parametrize("way", WAYS)
def test_refused(node: Node, tmp_path: Path, way: str) -> None:
    """A number that is not the customer's: 403 at once, its ACK absorbed; the callee hears nothing, and no transaction is held."""
    where = WAYS[way]
    acks = node.event("stateless_acks")
    refused = node.event("dialog_refused")
    with peers(tmp_path) as start:
        caller = start.start(
            "caller_refused",
            address=where.caller,
            port=node.six_caller if (where.caller, where.caller_speaks) == ("::1", "u1") else 0,
            transport=where.caller_speaks,
            calls=CALLS,
            rate=20,
            caller=STRANGER,
            remote=("::1" if ":" in where.caller else "127.0.0.1", node.port),
        )
        caller.result().clean(CALLS)
    assert node.event("stateless_acks") == acks + CALLS
    assert node.event("dialog_refused") == refused
    node.healthy()


def test_the_next_target_answers_where_the_first_is_silent(node: Node, tmp_path: Path) -> None:
    """Nothing heard within `no_response`: the call goes to the failover target, and is ended there."""
    with peers(tmp_path) as start, closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind((SWITCH, node.switch))
        callee = start.start("callee_answers", address=SPARE, port=node.switch, calls=CALLS).ready()
        caller = start.start("caller_hangs_up", address="127.0.0.4", calls=CALLS, rate=20, remote=("127.0.0.1", node.port))
        caller.result().clean(CALLS)
        callee.result().clean(CALLS)
    assert node.event("failovers") == CALLS
    node.healthy()


def test_a_switch_that_refuses_connections(node: Node, tmp_path: Path) -> None:
    """TCP to a closed port: the caller hears 500 at once, not after Timer B."""
    with peers(tmp_path) as start:
        caller = start.start("caller_unreachable", address="127.0.0.3", calls=CALLS, rate=20, remote=("127.0.0.1", node.port))
        result = caller.result()
        result.clean(CALLS)
        assert result.seconds < 5
    node.healthy()


def test_all_vias_in_one_line(node: Node, tmp_path: Path) -> None:
    """SIPp's `[last_Via:]` writes what came in several Via lines as one with commas; the response still finds its way back."""
    with peers(tmp_path) as start, closing(Peer("127.0.0.2")) as caller:
        callee = start.start("callee_answers", address=SWITCH, port=node.switch, more=("-trace_msg", "-message_file", "messages")).ready()
        caller.send(caller.request("INVITE", caller=CALLER), node.port)
        answer = caller.final()
        callee.end()
    sent = (tmp_path / "messages").read_text().partition("message sent")[2]
    assert sent.count("Via:") == sent.count(", SIP/2.0/UDP") > 0  # of the 180, and of the 200 where the log has got that far
    assert answer.startswith(b"SIP/2.0 200 ")
    assert answer.count(b"\r\nVia:") == 1
    node.healthy()
