"""Kamailio as our next hop and in front of us: two proxies that both stay in the dialog."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.node import STRANGER, SWITCH, Node, await_bound, environment, running
from tests.interop.sipp import peers

pytestmark = pytest.mark.interop("sipp", "kamailio")
CALLS = 5
KAMAILIO = "127.0.0.10"
CONFIG = Path(__file__).resolve().parents[1] / "cases" / "kamailio" / "next_hop.cfg"
CONVERSATIONS = {
    "caller hangs up": ("caller_hangs_up", "callee_answers"),
    "callee hangs up": ("caller_waits", "callee_hangs_up"),
    "busy": ("caller_busy", "callee_busy"),
    "cancelled": ("caller_cancels", "callee_cancelled_far"),
    "caller re-invites": ("caller_reinvites", "callee_reinvited"),
    "callee re-invites": ("caller_reinvited", "callee_reinvites"),
}


@contextmanager
def kamailio(folder: Path, node: Node) -> Iterator[None]:
    """Kamailio in the foreground of a session of its own, ended by its pid."""
    modules = next(Path("/usr").glob("lib*/**/kamailio/modules"))
    text = CONFIG.read_text()
    for name, value in (
        ("LISTEN", f"{KAMAILIO}:{node.kamailio}"),
        ("FIREWALL", f"127.0.0.1:{node.port}"),
        ("SWITCH", f"{SWITCH}:{node.switch}"),
        ("MODULES", f"{modules}/"),
    ):
        text = text.replace(name, value)
    (folder / "kamailio.cfg").write_text(text)
    with open(folder / "kamailio.log", "wb") as log:
        command = ["kamailio", "-f", "kamailio.cfg", "-DD", "-w", str(folder), "-Y", str(folder), "-m", "64", "-M", "8"]
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        await_bound("udp", KAMAILIO, node.kamailio)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    with running(folder) as made, kamailio(folder, made):
        yield made


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("place", ["behind us", "in front of us"])
def test_conversation(node: Node, tmp_path: Path, place: str, conversation: str) -> None:
    caller_does, callee_does = CONVERSATIONS[conversation]
    again = node.sent_again
    address, remote = ("127.0.0.6", ("127.0.0.1", node.port)) if place == "behind us" else ("127.0.0.20", (KAMAILIO, node.kamailio))
    with peers(tmp_path) as start:
        callee = start.start(callee_does, address=SWITCH, port=node.switch, calls=CALLS).ready()
        caller = start.start(caller_does, address=address, calls=CALLS, rate=20, remote=remote)
        caller.result().clean(CALLS)
        callee.result().clean(CALLS)
    assert node.sent_again == again
    node.healthy()


def test_refused_through_kamailio(node: Node, tmp_path: Path) -> None:
    """Our 403 comes through Kamailio, which acknowledges it itself."""
    acks = node.event("stateless_acks")
    with peers(tmp_path) as start:
        caller = start.start(
            "caller_refused", address="127.0.0.20", calls=CALLS, rate=20, caller=STRANGER, remote=(KAMAILIO, node.kamailio)
        )
        caller.result().clean(CALLS)
    assert node.event("stateless_acks") == acks + CALLS
    node.healthy()
