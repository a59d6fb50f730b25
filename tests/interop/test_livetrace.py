"""A node that tells a capture server of its calls: sngrep hears it, tshark reads that; and it is switched on and off while calls run."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.interop.node import await_bound
from tests.proxy.node import Node, Peer, free_port, running, wait_until

TRACE = '\n[trace]\ncollector = "127.0.0.1:{port}"\ncapture_id = 2001\npassword = "myHep"\n'


@contextmanager
def collector() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


def call(node: Node, switch: Peer, caller: str = "075583123401") -> list[bytes]:
    """A call from its INVITE to its 200 or refusal, as the caller and the switch see it: every message, in the order it passed the node."""
    with closing(Peer("127.0.0.2")) as peer:
        invite = peer.request("INVITE", caller=caller)
        peer.send(invite, node.port)
        seen = [invite, peer.receive()]
        if b"SIP/2.0 100" in seen[1]:
            seen.append(switch.receive())
            answer = switch.answer(seen[2])
            switch.send(answer, node.port)
            seen += [answer, peer.receive()]
        return seen


def heard(server: socket.socket, count: int) -> list[bytes]:
    return [server.recv(65536) for _ in range(count)]


@contextmanager
def sngrep(port: int, capture: Path) -> Iterator[None]:
    """A capture server of another make: it writes the packets that it is told of as they were on the wire."""
    command = ["sngrep", "-F", "-N", "-q", "-L", f"udp:127.0.0.1:{port}", "-O", str(capture)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        try:
            await_bound("udp", "127.0.0.1", port)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # it writes the rest
            try:
                process.wait(10)
            finally:
                process.kill()


def read_by_tshark(capture: Path) -> list[dict[str, str]]:
    fields = ["ip.src", "udp.srcport", "ip.dst", "udp.dstport", "frame.time_epoch", "sip.Call-ID", "sip.Method", "sip.Status-Code"]
    command = [
        "tshark",
        "-r",
        str(capture),
        "-d",
        "udp.port==1-65535,sip",
        "-T",
        "json",
        *(word for name in fields for word in ("-e", name)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [{name: values[0] for name, values in one["_source"]["layers"].items()} for one in json.loads(done.stdout)]


@pytest.mark.interop("sngrep", "tshark")
def test_what_sngrep_hears_tshark_reads(tmp_path: Path) -> None:
    port, capture, began = free_port(), tmp_path / "heard.pcap", time.time()
    node = Node(tmp_path)
    node.config.write_text(node.text + TRACE.format(port=port))
    with sngrep(port, capture):
        node.start()
        try:
            with closing(Peer("127.0.0.5", node.switch)) as switch:
                messages = [*call(node, switch), *call(node, switch, caller="075599999999")]
            wait_until(lambda: node.metric('sipwarden_events_total{event="trace_sent"}') == len(messages))
            time.sleep(0.5)  # what the kernel has, sngrep still has to read
        finally:
            node.stop()
    read = read_by_tshark(capture)
    assert sorted(one.get("sip.Method") or one["sip.Status-Code"] for one in read) == sorted(
        ["INVITE", "100", "INVITE", "200", "200", "INVITE", "403"]
    )
    ours, caller, callee = ("127.0.0.1", str(node.port)), "127.0.0.2", ("127.0.0.5", str(node.switch))
    for one in read:
        ends = (one["ip.src"], one["udp.srcport"]), (one["ip.dst"], one["udp.dstport"])
        assert ours in ends
        assert callee in ends or caller in (ends[0][0], ends[1][0])
        assert began - 1 < float(one["frame.time_epoch"]) < time.time() + 1
    assert len({one["sip.Call-ID"] for one in read}) == 2


def test_it_is_switched_on_and_off_by_a_reload(tmp_path: Path) -> None:
    with collector() as server, running(tmp_path) as node, closing(Peer("127.0.0.5", node.switch)) as switch:
        call(node, switch)
        node.config.write_text(node.text + TRACE.format(port=server.getsockname()[1]))
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1)
        assert len(heard(server, len(call(node, switch)))) == 5
        node.config.write_text(node.text)
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 2)
        call(node, switch)
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.recv(65536)
        assert node.log.count("reloaded") == 2
