"""Peers that ask the node as a redirect server: SIPp acknowledges its answers, Kamailio follows them and makes the call itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.node import CALLER, STRANGER, SWITCH, Node, await_bound, environment, free_port, wait_until
from tests.interop.sipp import peers

CALLS = 5
FOLLOWS, GOES_ON = "127.0.0.10", "127.0.0.11"
"""Where Kamailio asks from: as a trunk whose word for "go on" is 302, and as one whose word is 404."""

CASES = Path(__file__).resolve().parents[1] / "cases" / "kamailio"
CONFIG = """
[node]
name = "redirect"
workers = 2
[[listen]]
address = "127.0.0.1:{port}"
[[trunk]]
id = "acme"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.2"]
home_area = "755"
reject_profile = "redirect"
[[trunk]]
id = "follows"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.10"]
home_area = "755"
reject_profile = "redirect"
[[trunk]]
id = "goes-on"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.11"]
home_area = "755"
reject_profile = "redirect"
go_on = "404"
[directory]
segments = ["segments.csv"]
[admin]
listen = "127.0.0.1:{admin}"
"""
SEGMENTS = "customer,trunk,first,last\n" + "".join(
    f"acme,{trunk},+8675583123400,+8675583123499\n" for trunk in ("acme", "follows", "goes-on")
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("node"))
    made.config.write_text(CONFIG.format(port=made.port, admin=made.admin))
    (made.folder / "segments.csv").write_text(SEGMENTS)
    made.start()
    try:
        yield made
    finally:
        assert made.stop() == 0, made.log


@contextmanager
def kamailio(folder: Path, node: Node, address: str) -> Iterator[int]:
    """Kamailio in the foreground, ended by its pid; the port that it listens on."""
    port = free_port()
    modules = next(Path("/usr").glob("lib*/**/kamailio/modules"))
    text = (CASES / "asks.cfg").read_text()
    for name, value in (
        ("LISTEN", f"{address}:{port}"),
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
        await_bound("udp", address, port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.interop("sipp")
@pytest.mark.parametrize("transport", ["u1", "t1"])
@pytest.mark.parametrize("scenario", ["caller_redirected", "caller_declined"])
def test_an_answer_is_acknowledged(node: Node, tmp_path: Path, scenario: str, transport: str) -> None:
    """302 with the called URI, or 603: its ACK is absorbed, nothing is sent twice, and no transaction is held."""
    acks, again = node.event("stateless_acks"), node.sent_again
    caller = STRANGER if scenario == "caller_declined" else CALLER
    with peers(tmp_path) as start:
        asks = start.start(
            scenario,
            address="127.0.0.2",
            transport=transport,
            calls=CALLS,
            rate=20,
            caller=caller,
            remote=("127.0.0.1", node.port),
        )
        asks.result().clean(CALLS)
    assert node.event("stateless_acks") == acks + CALLS
    assert (node.sent_again, node.open_transactions) == (again, 0)
    node.healthy()


@pytest.mark.interop("sipp", "kamailio")
@pytest.mark.parametrize("address", [FOLLOWS, GOES_ON])
def test_kamailio_goes_on(node: Node, tmp_path: Path, address: str) -> None:
    """The whole call is between Kamailio and the switch: the node has seen one INVITE of it, and its ACK."""
    trunk = "follows" if address == FOLLOWS else "goes-on"
    received = node.metric('sipwarden_messages_total{direction="in"}')
    with kamailio(tmp_path, node, address) as port, peers(tmp_path) as start:
        callee = start.start("callee_answers", address=SWITCH, port=node.switch, calls=CALLS).ready()
        caller = start.start("caller_hangs_up", address="127.0.0.20", calls=CALLS, rate=20, remote=(address, port))
        caller.result().clean(CALLS)
        callee.result().clean(CALLS)
    wait_until(lambda: node.metric(f'sipwarden_invites_total{{action="pass",code="AUTH_OK",trunk="{trunk}"}}') == CALLS)
    wait_until(lambda: node.metric('sipwarden_messages_total{direction="in"}') >= received + 2 * CALLS)
    assert node.metric('sipwarden_messages_total{direction="in"}') == received + 2 * CALLS
    assert node.open_transactions == 0
    node.healthy()


@pytest.mark.interop("sipp", "kamailio")
@pytest.mark.parametrize("address", [FOLLOWS, GOES_ON])
def test_kamailio_stops(node: Node, tmp_path: Path, address: str) -> None:
    """603 goes back to the caller, and the switch hears nothing."""
    with kamailio(tmp_path, node, address) as port, peers(tmp_path) as start:
        caller = start.start("caller_declined", address="127.0.0.20", calls=CALLS, rate=20, caller=STRANGER, remote=(address, port))
        caller.result().clean(CALLS)
    node.healthy()
