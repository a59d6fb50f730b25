"""Identity through a running node: verified, told of, waited for, refused, explained, checked. Signed by openssl."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main
from proxy.config import CertificatesConfig
from proxy.config.duration import Duration
from proxy.generation import load
from proxy.lookup.certificates import CertificateService, desk_for
from proxy.sockets import open_sockets
from proxy.worker import Worker
from tests.proxy.lookup.service import LookupService, serving
from tests.proxy.lookup.test_certificates import Names, Pki, loopback
from tests.proxy.node import Node, Peer, wait_until
from tests.rules.passport.material import Authority

CALLER, CALLED = "+862088886666", "+8675522223333"
TRUNKS = """
[[trunk]]
id = "strict"
kind = "interconnect"
sources = ["127.0.0.3"]
next_hop = "switch"
identity = "require"
reject_profile = "stir"

[[trunk]]
id = "lenient"
kind = "interconnect"
sources = ["127.0.0.4"]
next_hop = "switch"
stir_reason = ["responses", "request"]

[certificates]
hosts = ["cert.invalid", "cert.test:{port}"]
deadline = "1s"
"""
POLICY = """
[rules.passport]
roots = ["root.pem"]
certificates = { "https://cert.example/leaf.pem" = "leaf.chain" }
"""


def write(folder: Path, authority: Authority, text: str, port: int = 443) -> None:
    (folder / "sipwarden.toml").write_text(text + TRUNKS.replace("{port}", str(port)) + '[policy]\nfile = "policy/policy.toml"\n')
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "policy" / "policy.toml").write_text(POLICY)
    for name in ("root.pem", "leaf.chain"):
        (folder / "policy" / name).write_bytes(authority.path(name).read_bytes())


def identity(authority: Authority, url: str = "https://cert.example/leaf.pem", **claims: Any) -> bytes:
    header = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": url}
    said = {"attest": "A", "dest": {"tn": [CALLED[1:]]}, "iat": int(time.time()), "orig": {"tn": CALLER[1:]}, "origid": "o"} | claims
    return f"Identity: {authority.sign('leaf', header, said)};info=<{url}>;alg=ES256;ppt=shaken".encode()


def invite(peer: Peer, *lines: bytes) -> bytes:
    request = peer.request("INVITE", CALLED, CALLER)
    return request.replace(b"Content-Length", b"".join(line + b"\r\n" for line in lines) + b"Content-Length")


@pytest.fixture
def node(tmp_path: Path, authority: Authority) -> Iterator[Node]:
    made = Node(tmp_path)
    write(tmp_path, authority, made.text)
    made.start()
    yield made
    assert "Traceback" not in made.log
    made.process.kill()
    made.process.wait()


def test_a_node(node: Node, authority: Authority) -> None:
    good = identity(authority)
    bad = identity(authority, orig={"tn": "862088886667"})
    with closing(Peer("127.0.0.3")) as strict, closing(Peer("127.0.0.4")) as lenient, closing(Peer("127.0.0.5", node.switch)) as switch:
        # one that holds goes on as it came, and the number as validated
        strict.send(invite(strict, b"P-Asserted-Identity: <tel:" + CALLER.encode() + b">", good), node.port)
        sent = switch.receive()
        assert good in sent and b"verstat=TN-Validation-Passed" in sent and b"Reason:" not in sent
        switch.send(switch.answer(sent, "486 Busy Here"), node.port)
        assert b"Reason" not in strict.final()
        # refused: nobody signed, somebody else's number, a certificate that cannot be had (after a wait)
        for lines, said in (
            ((), b"428 Use Identity Header"),
            ((bad,), b"438 Invalid Identity Header"),
            ((identity(authority, "https://cert.invalid/a.pem"),), b"436 Bad Identity Info"),
        ):
            with closing(Peer("127.0.0.3")) as caller:
                caller.send(invite(caller, *lines), node.port)
                first = caller.receive()
                if b"436" in said:
                    assert first.startswith(b"SIP/2.0 100 ")
                    first = caller.receive()
                assert first.startswith(b"SIP/2.0 " + said)
                assert b"Reason: STIR;cause=" + said[:3] + b';text="' + said[4:] + b'"\r\n' in first
        # goes on all the same: noted, told, the number as not validated
        lenient.send(invite(lenient, b"P-Asserted-Identity: <tel:" + CALLER.encode() + b">", bad), node.port)
        while not (sent := switch.receive()).startswith(b"INVITE ") or b"438" not in sent:
            assert sent
        reason = b'Reason: STIR;cause=438;text="Invalid Identity Header"\r\n'
        assert bad in sent and reason in sent and b"verstat=TN-Validation-Failed" in sent
        for status in ("180 Ringing", "200 OK"):
            switch.send(switch.answer(sent, status), node.port)
            while (got := lenient.receive()).startswith(b"SIP/2.0 100"):
                pass
            assert got.startswith(b"SIP/2.0 " + status.encode()) and reason in got
    wait_until(lambda: node.metric('sipwarden_invites_total{action="reject",code="STIR_CERT",trunk="strict"}') == 1)
    assert (
        node.metric('sipwarden_lookups_total{kind="certificate",outcome="failed"}')
        + node.metric('sipwarden_lookups_total{kind="certificate",outcome="timeout"}')
        == 1
    )
    assert node.metric('sipwarden_events_total{event="internal_errors"}') == 0
    # the workers' policy does not look at the files again
    os.remove(node.folder / "policy" / "root.pem")
    (worker,) = node.workers()
    os.kill(worker, 9)
    wait_until(lambda: node.workers() not in ([], [worker]))
    wait_until(lambda: node.get("/readyz")[0] == 200)
    node.hang_up()
    wait_until(lambda: "policy/policy.toml:3: rules.passport.roots[0]: No such file or directory" in node.log)


async def test_a_call_waits_for_its_certificate(tmp_path: Path, authority: Authority) -> None:
    """Parked, fetched over TLS, resumed: within the test's own process, for a node fetches nothing from loopback."""
    pki = Pki(tmp_path)
    with serving(pki.server) as server, closing(Peer("127.0.0.5")) as switch, closing(Peer("127.0.0.3")) as caller:
        server.does = "0.2 " + authority.chain("leaf")
        await through_a_worker(tmp_path, authority, pki, server, switch, caller)


async def through_a_worker(folder: Path, authority: Authority, pki: Pki, server: LookupService, switch: Peer, caller: Peer) -> None:
    made = Node(folder)
    text = made.text.replace(f"127.0.0.5:{made.switch}", f"127.0.0.5:{switch.port}")
    port = server.server_address[1]
    write(folder, authority, text, port)
    generation, _ = load(folder / "sipwarden.toml")
    sockets = open_sockets(generation.config.bindings(), 1)
    loop = asyncio.get_running_loop()
    worker = Worker(loop, generation, b"a secret for tests only, 32 long", sockets[0])
    config = CertificatesConfig(hosts=(f"cert.test:{port}",), deadline=Duration(1.0))
    service = CertificateService(config, pki.ca, resolve=Names(["127.0.0.1"]), allowed=loopback)
    worker.lookups.register("certificate", service, desk_for(config), 1.0)
    await worker.start()
    try:
        for peer in (switch, caller):
            peer.socket.setblocking(False)
        good = identity(authority, f"https://cert.test:{port}/leaf.pem")
        async with asyncio.timeout(5):
            caller.send(invite(caller, good), made.port)
            assert (await loop.sock_recv(caller.socket, 65535)).startswith(b"SIP/2.0 100 ")
            sent = await loop.sock_recv(switch.socket, 65535)
            assert sent.startswith(b"INVITE ") and good in sent
            assert server.asked == ["/leaf.pem"]
            server.does = "hang"  # known now: nobody waits
            caller.send(invite(caller, good), made.port)
            while (again := await loop.sock_recv(switch.socket, 65535)).startswith(
                b"INVITE "
            ) and f"-{Peer.serial}\r\n".encode() not in again:
                pass
        assert server.asked == ["/leaf.pem"]
        counts = worker.lookups.counts
        assert (counts["certificate", "answered"], counts["certificate", "cached"]) == (1, 1)
    finally:
        worker.close()
        await worker.lookups.closed()
        await asyncio.sleep(0.05)
        for sock in sockets[0]:
            sock.close()


def config_in(folder: Path, authority: Authority) -> Path:
    made = Node(folder)
    write(folder, authority, made.text)
    return folder / "sipwarden.toml"


def test_explain(tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_in(tmp_path, authority)
    with closing(Peer("127.0.0.3")) as caller:
        for line, status, said in (
            (identity(authority), "OK", f"shaken A for {CALLER[1:]} holds, signed as service provider 1234"),
            (
                identity(authority, "https://cert.invalid/a"),
                "STIR_CERT",
                "STIR_CERT for shaken: no certificate came from https://cert.invalid/a",
            ),
            (identity(authority, iat=1), "STIR_STALE", "STIR_STALE for shaken: iat is"),
        ):
            (tmp_path / "message.sip").write_bytes(invite(caller, line))
            words = ["explain", "-c", str(config), "--source", "127.0.0.3", "--sip", str(tmp_path / "message.sip"), "--json"]
            assert main(words) == 0
            found = capsys.readouterr()
            verdict = json.loads(found.out)
            assert verdict["code"] == status
            assert {step["rule"]: step["detail"] for step in verdict["steps"]}["passport"].startswith(said)
            assert ("look-up certificate of https://cert.invalid/a had no answer" in found.err) is (status == "STIR_CERT")
        assert main([*words, "--at", "1970-01-01T08:00:30+08:00"]) == 0
        assert "the certificate is not valid before" in capsys.readouterr().out


FAULTS = {
    ('roots = ["root.pem"]', 'roots = ["absent.pem"]'): "policy.toml:3: rules.passport.roots[0]: No such file or directory ('absent.pem'",
    ('roots = ["root.pem"]', 'roots = ["policy.toml"]'): "policy.toml:3: rules.passport.roots[0]: no PEM certificate",
    ('roots = ["root.pem"]', "roots = [7]"): "rules.passport.roots[0]: not a file name",
    ('"leaf.chain"', '"root.pem"'): "rules.passport.certificates.https://cert.example/leaf.pem: the certificate",
    ("https://cert.example/leaf.pem", "http://cert.example/leaf.pem"): (
        "ValueError: certificates: 'http://cert.example/leaf.pem' is not an https URL"
    ),
    ("[rules.passport]", "[rules.passport]\nskew = 0"): "rules.passport.skew: ",
    ("[rules.passport]", "[rules.passport]\nskew = 601"): "rules.passport.skew: ",
    ('"cert.invalid"', '"*.invalid"'): "sipwarden.toml:51: certificates.hosts[1]: '*.invalid' is not a host name",
    ('"cert.invalid"', '"10.0.0.1"'): "certificates.hosts[1]: '10.0.0.1' is not a host name",
    ('"cert.invalid"', '"cert.test"'): "certificates.hosts[2]: stands there already",
    ('deadline = "1s"', 'deadline = "3s"'): "certificates.deadline: out of range",
    ('deadline = "1s"', 'keep = "1s"'): "certificates.keep: out of range",
    ('deadline = "1s"', 'ca_file = "absent.pem"'): "certificates.ca_file: No such file or directory",
    ('deadline = "1s"', 'ca_file = "sipwarden.toml"'): "certificates.ca_file: no PEM certificate",
    ('deadline = "1s"', "dedline = 1"): "certificates.dedline: unknown key (did you mean deadline?)",
    ('identity = "require"', 'identity = "demand"'): "identity: not one of the values allowed",
    ('stir_reason = ["responses", "request"]', 'stir_reason = ["answers"]'): "stir_reason",
    ("[certificates]", '[[lookup]]\nkind = "certificate"\nurl = "http://127.0.0.1/{key}"\n[certificates]'): (
        "are fetched as [certificates] says"
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", FAULTS, ids=lambda change: change[1])
def test_faults(change: tuple[str, str], tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_in(tmp_path, authority)
    for path in (config, tmp_path / "policy" / "policy.toml"):
        path.write_text(path.read_text().replace(*change))
    assert main(["check", "-c", str(config)]) == 1
    assert FAULTS[change] in capsys.readouterr().out


def test_warnings(tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_in(tmp_path, authority)
    assert main(["check", "-c", str(config)]) == 0
    assert "passport" not in capsys.readouterr().out
    policy = tmp_path / "policy" / "policy.toml"
    policy.write_text("[rules.passport]\nskew = 30\n")
    config.write_text(config.read_text().replace('hosts = ["cert.invalid", "cert.test:443"]', ""))
    assert main(["check", "-c", str(config)]) == 0
    said = capsys.readouterr().out
    assert "no roots of passport are configured: no Identity on strict can be verified, and each is refused" in said
    assert "certificates.deadline: has no effect: hosts is empty" in said
