"""pyVoIP 1.6.8 as a customer's softphone behind a registrar: it calls and is called, is answered, hung up and refused."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.node import CALLED, CALLER, STRANGER, SWITCH, Node, free_port, running
from tests.interop.registrar import Edge
from tests.interop.sipp import peers

pytestmark = pytest.mark.interop("sipp")
EDGE = "127.0.0.2"
PHONE = "127.0.0.30"
PASSWORD = "secret"
ROOT = Path(__file__).resolve().parents[2]


class Phone:
    """The softphone's process: words in, words out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._words: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._words.put(line.strip())

    def say(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()

    def hear(self, *expected: str) -> None:
        """Wait for these words, in order."""
        for word in expected:
            assert self._words.get(timeout=15) == word


@contextmanager
def phone(node: Node, edge: Edge, user: str, what: str = "answer") -> Iterator[Phone]:
    command = [sys.executable, "-m", "tests.interop.softphone", EDGE, str(node.pbx), PHONE, str(free_port()), user, PASSWORD, what]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            made = Phone(process)
            made.hear("REGISTERED")
            assert edge.registered.is_set()
            yield made
            made.say("end")
            process.wait(10)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as made:
        yield made


def edge_of(node: Node, user: str = CALLER) -> Edge:
    return Edge(EDGE, node.pbx, ("127.0.0.1", node.port), user, PASSWORD)


@pytest.mark.parametrize("who", ["phone", "switch"])
def test_the_phone_calls(node: Node, tmp_path: Path, who: str) -> None:
    """Answered, and hung up by either side; ACK and BYE pass with the route set that the edge adds."""
    stray, refused = node.event("stray_acks"), node.event("dialog_refused")
    with edge_of(node) as edge, phone(node, edge, CALLER) as caller, peers(tmp_path) as start:
        does = "callee_answers" if who == "phone" else "callee_hangs_up"
        callee = start.start(does, address=SWITCH, port=node.switch, hold=500).ready()
        caller.say(f"call {CALLED}")
        caller.hear("DIALING", "ANSWERED")
        if who == "phone":
            caller.say("hangup")
        caller.hear("ENDED")
        callee.result().clean(1)
        assert (edge.refusals, edge.wrong) == ([], [])
    assert (node.event("stray_acks"), node.event("dialog_refused")) == (stray, refused)
    node.healthy()


@pytest.mark.parametrize("who", ["phone", "switch"])
def test_the_phone_is_called(node: Node, tmp_path: Path, who: str) -> None:
    """A call from the core to the customer's number goes to the customer's edge and rings there."""
    refused = node.event("dialog_refused")
    with edge_of(node) as edge, phone(node, edge, CALLER) as callee, peers(tmp_path) as start:
        caller = start.start(
            "caller_waits" if who == "phone" else "caller_hangs_up",
            address=SWITCH,
            remote=("127.0.0.1", node.port),
            caller=CALLED,
            called=f"+86{CALLER[1:]}",
            hold=1000,
        )
        callee.hear("RINGING", "ANSWERED")
        if who == "phone":
            callee.say("hangup")
        callee.hear("ENDED")
        caller.result().clean(1)
        assert edge.wrong == []
    assert node.event("dialog_refused") == refused
    node.healthy()


def test_the_phone_is_busy(node: Node, tmp_path: Path) -> None:
    with edge_of(node) as edge, phone(node, edge, CALLER, "deny") as callee, peers(tmp_path) as start:
        caller = start.start("caller_busy", address=SWITCH, remote=("127.0.0.1", node.port), caller=CALLED, called=f"+86{CALLER[1:]}")
        callee.hear("RINGING", "ENDED")
        caller.result().clean(1)
    node.healthy()


def test_the_phone_is_refused(node: Node) -> None:
    """A number that is not the customer's: 403, which the edge tells the phone in the only words that it understands."""
    with edge_of(node, STRANGER) as edge, phone(node, edge, STRANGER) as caller:
        caller.say(f"call {CALLED}")
        caller.hear("DIALING", "ENDED")
        assert edge.refusals == [403]
    node.healthy()
