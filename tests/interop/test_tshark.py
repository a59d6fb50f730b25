"""Beside tshark: the same INVITE requests are found in the same captures, and our HEP packets are what it takes for HEP."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from proxy.hep import Hep, decode, encode
from proxy.replay.captured import Trouble, read
from tests.conftest import SYSTEM_PATH
from tests.proxy.replay.scenarios import SCENARIOS
from tests.proxy.replay.traces import datagram, enhanced, ethernet, interface, methods, pcap, request, response, section

CALLS = 40
ENVIRONMENT = {**os.environ, "PATH": SYSTEM_PATH}


async def started(*command: str, folder: Path) -> asyncio.subprocess.Process:
    """A program that says nothing and is told nothing."""
    nothing = subprocess.DEVNULL
    environment = {**ENVIRONMENT, "TERM": "xterm"}
    return await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdin=nothing, stdout=nothing, stderr=nothing)


def tshark(path: Path, *options: str) -> str:
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), *options], capture_output=True, text=True, timeout=100, env=ENVIRONMENT, check=False
    )
    return done.stdout


def invites(path: Path, *options: str) -> int:
    """INVITE requests that tshark counts; there may be several in a packet."""
    fields = tshark(path, *options, "-Y", 'sip.Method == "INVITE"', "-T", "fields", "-e", "sip.Method")
    return fields.replace("\n", ",").split(",").count("INVITE")


def ours(path: Path) -> int:
    return methods(read([str(path)], Trouble())).count("INVITE")


def together(number: int, data: bytes) -> list[tuple[int, bytes]]:
    """Link type and frame of the packets of a pcap file, with addresses that no other scenario has: a connection is one of its own."""
    link = struct.unpack("<I", data[20:24])[0]
    frames = []
    at = 24
    while at < len(data):
        captured, length = struct.unpack("<II", data[at + 8 : at + 16])
        frame = data[at + 16 : at + 16 + captured]
        for host in (1, 2):
            frame = frame.replace(bytes((192, 0, 2, host)), bytes((10, number, 2, host)))
        frame = frame.replace(bytes.fromhex("20010db8"), bytes((0x20, 1, 0xDD, number)))
        packet = enhanced(frame, link, length=length)
        frames.append((link, packet))
        at += 16 + captured
    return frames


@pytest.mark.interop("tshark")
def test_scenarios(tmp_path: Path) -> None:
    """All pcap files in one, for tshark takes long to start; those that are about the file each for itself."""
    frames: list[bytes] = []
    origin: list[str] = []
    wrong = {}
    for number, (name, scenario) in enumerate(SCENARIOS.items()):
        expected = scenario.invites if scenario.tshark is None else scenario.tshark
        if scenario.data[:4] == b"\xd4\xc3\xb2\xa1" and "cut" not in scenario.trouble:
            for _, packet in together(number, scenario.data):
                frames.append(packet)
                origin.append(name)
            continue
        path = tmp_path / f"{number}.pcap"
        path.write_bytes(scenario.data)
        if (counted := invites(path)) != expected:
            wrong[name] = counted
    path = tmp_path / "together.pcapng"
    path.write_bytes(section() + b"".join(interface(link) for link in range(300)) + b"".join(frames))
    counts = dict.fromkeys(origin, 0)
    for line in tshark(path, "-Y", 'sip.Method == "INVITE"', "-T", "fields", "-e", "frame.number", "-e", "sip.Method").splitlines():
        frame, _, found = line.partition("\t")
        counts[origin[int(frame) - 1]] += found.split(",").count("INVITE")
    for name, counted in counts.items():
        scenario = SCENARIOS[name]
        if counted != (scenario.invites if scenario.tshark is None else scenario.tshark):
            wrong[name] = counted
    assert not wrong
    assert len(counts) > 80


@pytest.mark.corpora
@pytest.mark.interop("tshark")
def test_corpora(corpora: Path) -> None:
    counts = {path.name: (ours(path), invites(path)) for path in sorted((corpora / "pcap").iterdir())}
    assert len(counts) > 10
    assert {name: pair for name, pair in counts.items() if pair[0] != pair[1]} == {}


@pytest.mark.interop("tshark", "sngrep")
async def test_hep_that_sngrep_receives(tmp_path: Path) -> None:
    """Debian's tshark (4.0) has no dissector for HEP: sngrep takes our packets, and tshark what it made of them.

    Not IPv6: sngrep writes such packets without their addresses.
    """
    hosts = ("192.0.2.1", "192.0.2.2")
    source, destination = (ip_address(host).packed for host in hosts)
    hep = Hep(
        source, 5070, destination, 5080, 1_700_000_000, 250_000, request(), agent=2001, key=b"secret", correlation=b"call-1", node=b"gw1"
    )
    path = tmp_path / "received.pcap"
    sngrep = await started("sngrep", "-N", "-q", "-F", "-L", "udp:127.0.0.1:47080", "-O", str(path), folder=tmp_path)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(50):
                await asyncio.sleep(0.2)
                sender.sendto(encode(hep), ("127.0.0.1", 47080))
                if path.exists() and path.stat().st_size > 24:
                    break
    finally:
        sngrep.terminate()
        await sngrep.wait()
    fields = ("frame.time_epoch", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "sip.Method", "sip.Call-ID")
    told = tshark(path, "-T", "fields", *(word for field in fields for word in ("-e", field))).splitlines()[0].split("\t")
    assert told == ["1700000000.250000000", hosts[0], "5070", hosts[1], "5080", "INVITE", "call-1"]


@pytest.mark.interop("sngrep")
@pytest.mark.parametrize("hosts", [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
async def test_hep_that_sngrep_sends(hosts: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "calls.pcap"
    path.write_bytes(pcap([ethernet(datagram(request(), *hosts, 5070, 5080)), ethernet(datagram(response(), *hosts[::-1], 5080, 5070))], 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        to = f"udp:127.0.0.1:{receiver.getsockname()[1]}"
        sngrep = await started("sngrep", "-N", "-q", "-F", "-I", str(path), "-H", to, folder=tmp_path)
        try:
            loop = asyncio.get_running_loop()
            heps = [decode(await asyncio.wait_for(loop.sock_recv(receiver, 65535), 20)) for _ in range(2)]
        finally:
            if sngrep.returncode is None:
                sngrep.kill()
            await sngrep.wait()
    assert [hep.payload for hep in heps] == [request(), response()]
    assert [str(ip_address(hep.source)) for hep in heps] == [*hosts]
    assert [(hep.source_port, hep.destination_port) for hep in heps] == [(5070, 5080), (5080, 5070)]
    assert [(hep.seconds, hep.microseconds) for hep in heps] == [(1_700_000_000, 0), (1_700_000_000, 100_000)]


async def _calls(transport: str, host: str, path: Path, port: int) -> int:
    """CALLS calls between two SIPp on loopback, captured by tcpdump; SIPp's exit status."""
    capture = await asyncio.create_subprocess_exec(
        "tcpdump",
        "-i",
        "lo",
        "-U",
        "--immediate-mode",
        "-B",
        "16384",
        "-w",
        str(path),
        "port",
        str(port),
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert capture.stderr is not None
    first = await asyncio.wait_for(capture.stderr.readline(), 10)
    while first and b"listening on" not in first:
        first = await asyncio.wait_for(capture.stderr.readline(), 10)
    if not first:
        pytest.skip("tcpdump may not capture here")
    try:
        common = ("-i", host, "-t", transport, "-nostdin")
        server = await started("sipp", "-sn", "uas", "-p", str(port), *common, folder=path.parent)
        try:
            await asyncio.sleep(0.5)
            calls = ("-m", str(CALLS), "-r", str(CALLS), "-d", "50", "-timeout", "30")
            target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            client = await started("sipp", "-sn", "uac", "-p", str(port + 1), *common, *calls, target, folder=path.parent)
            status = await asyncio.wait_for(client.wait(), 40)
        finally:
            if server.returncode is None:
                server.kill()
            await server.wait()
        await asyncio.sleep(0.3)
    finally:
        capture.terminate()
        await capture.wait()
    return status


@pytest.mark.interop("tshark", "tcpdump", "sipp")
@pytest.mark.parametrize(
    ("transport", "host", "port"), [("u1", "127.0.0.1", 47060), ("u1", "::1", 47064), ("t1", "127.0.0.1", 47068), ("t1", "::1", 47072)]
)
async def test_calls_of_sipp(transport: str, host: str, port: int, tmp_path: Path) -> None:
    path = tmp_path / "calls.pcap"
    status = await _calls(transport, host, path, port)
    assert status == 0
    trouble = Trouble()
    messages = list(read([str(path)], trouble))
    invited = methods(messages).count("INVITE")
    assert invited == invites(path) >= CALLS
    assert trouble.counts == {}, trouble.examples
    assert {message.source for message in messages} == {host}
    assert {message.transport for message in messages} == {"udp" if transport == "u1" else "tcp"}
