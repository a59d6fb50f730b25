"""Signing as an operator meets it: keys in files, a node that is reloaded, and a verifier that we did not write."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.generation import CONFIG, Faults, load, open_generation, save_generation
from tests.proxy.node import CONFIG as TEXT
from tests.proxy.node import Node, Peer, wait_until
from tests.proxy.passports import certificate, decoded, key, pem, signed_by, write_files
from tests.proxy.test_credential import der
from tests.proxy.test_worker import generation

SIGNING = """
[signing]
key = "key.pem"
certificate = "cert.pem"
x5u = "https://cert.example.net/tests.pem"
"""


def signed(text: str) -> str:
    return text.replace('id = "switch"\n', 'id = "switch"\nsign = true\n') + SIGNING


# one generation and its key


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder as the supervisor leaves it, of a configuration in tmp_path."""
    write_files(tmp_path)
    folder = tmp_path / "saved"
    folder.mkdir()
    save_generation(generation(tmp_path, signed(TEXT.format(port=5060, admin=9090, switch=5080, workers=1))), folder)
    return folder


def test_each_worker_reads_the_key_itself_and_nothing_of_it_is_left_anywhere_else(saved: Path, tmp_path: Path) -> None:
    opened = open_generation(saved)
    assert opened.credential is not None
    assert len(opened.credential.sign(b"x")) == 64
    private = key().private_numbers().private_value
    secrets = [pem(), private.to_bytes(32, "big"), b"%d" % private, b"%x" % private, b"".join(pem().split(b"\n")[1:-2])[:60]]
    for path in saved.iterdir():
        assert not any(secret in path.read_bytes() for secret in secrets), path
    assert {path.name for path in saved.iterdir()} == {CONFIG, "directory.bin", "files.msgpack", "signing.sha256"}


def test_explain_needs_no_key(tmp_path: Path) -> None:
    generation(tmp_path, TEXT.format(port=5060, admin=9090, switch=5080, workers=1))
    (tmp_path / "sipwarden.toml").write_text(signed((tmp_path / "sipwarden.toml").read_text()))
    with pytest.raises(Faults, match=r"signing\.key: No such file"):
        load(tmp_path / "sipwarden.toml")
    assert load(tmp_path / "sipwarden.toml", keys=False)[0].credential is None


@pytest.mark.parametrize("what", ["another", "broken", "gone"])
def test_a_key_that_was_changed_since_it_was_checked_signs_nothing(what: str, saved: Path, tmp_path: Path) -> None:
    """A worker that is started again goes on without it; a reload is refused."""
    if what == "another":
        write_files(tmp_path, ec.generate_private_key(ec.SECP256R1()))
        says = "the key is not the one that was checked"
    elif what == "broken":
        (tmp_path / "key.pem").write_text("-----BEGIN")
        says = "no private key in PEM form"
    else:
        (tmp_path / "key.pem").unlink()
        says = "No such file or directory"
    with pytest.raises(Faults, match=says):
        open_generation(saved)
    again = open_generation(saved, again=True)
    assert again.credential is None
    assert says in again.unsigned


def test_faults_of_the_key_are_found_with_those_of_lists_and_policy(tmp_path: Path) -> None:
    generation(tmp_path, TEXT.format(port=5060, admin=9090, switch=5080, workers=1))
    text = signed((tmp_path / "sipwarden.toml").read_text()).replace("[admin]", '[policy]\nfile = "policy.toml"\n[admin]')
    (tmp_path / "sipwarden.toml").write_text(text)
    (tmp_path / "policy.toml").write_text('order = ["emergency", "trunk", "segmments"]\n')
    (tmp_path / "segments.csv").write_text("customer,trunk,first,last\nacme,acme,1234567,\n")
    with pytest.raises(Faults) as raised:
        load(tmp_path / "sipwarden.toml")
    shown = "\n".join(map(str, raised.value.faults))
    assert re.search(r"sipwarden\.toml:\d+: signing\.key: No such file or directory \(\"key\.pem\"; a file", shown)
    assert "policy.toml:1: " in shown
    assert "segments.csv:2: first" in shown


# a node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("signing")
    made = Node(folder, workers=2)
    write_files(folder)
    made.config.write_text(signed(made.text))
    made.start()
    yield made
    made.stop()


def call(node: Node) -> str:
    """One call through the node; the INVITE that the switch got."""
    with closing(Peer("127.0.0.5", node.switch)) as switch, closing(Peer("127.0.0.2")) as caller:
        caller.send(caller.request("INVITE"), node.port)
        invite = switch.receive()
        switch.send(switch.answer(invite), node.port)
        assert caller.final().startswith(b"SIP/2.0 200 ")
    return invite.decode()


def identity_of(invite: str) -> str | None:
    found = re.search(r"(?m)^Identity: (.*)\r$", invite)
    return found[1] if found else None


def test_openssl_verifies_what_a_next_hop_gets(node: Node) -> None:
    invite = call(node)
    value = identity_of(invite)
    assert value is not None
    token, _, tail = value.partition(";")
    assert tail == 'info=<https://cert.example.net/tests.pem>;alg=ES256;ppt="shaken"'
    head, claims, signature = token.split(".")
    folder = node.folder
    (folder / "data").write_text(f"{head}.{claims}")
    (folder / "signature").write_bytes(der(decoded(signature)))
    public = subprocess.run(["openssl", "x509", "-in", "cert.pem", "-noout", "-pubkey"], cwd=folder, capture_output=True, check=True)
    (folder / "public.pem").write_bytes(public.stdout)
    verify = ["openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "data"]
    assert subprocess.run(verify, cwd=folder, capture_output=True, check=True).stdout == b"Verified OK\n"
    (folder / "data").write_text(f"{head}.{claims}".replace("e", "f", 1))
    assert subprocess.run(verify, cwd=folder, capture_output=True, check=False).returncode == 1
    said = json.loads(decoded(claims))
    assert (said["attest"], said["orig"], said["dest"]) == ("A", {"tn": "8675583123401"}, {"tn": ["8675522223333"]})
    assert abs(said["iat"] - time.time()) < 60
    assert re.search(r"(?m)^Date: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r$", invite)


def test_all_workers_name_a_customer_alike_and_it_is_counted(node: Node) -> None:
    before = node.metric('sipwarden_signatures_total{outcome="A"}')
    ids = {json.loads(decoded((identity_of(call(node)) or "").split(".")[1]))["origid"] for _ in range(8)}
    assert len(ids) == 1
    assert node.metric('sipwarden_signatures_total{outcome="A"}') == before + 8


def test_a_bad_new_key_leaves_the_old_one_in_force(node: Node) -> None:
    failures = node.metric("sipwarden_reload_failures_total")
    good = (node.folder / "key.pem").read_bytes()
    (node.folder / "key.pem").write_bytes(pem(ec.generate_private_key(ec.SECP384R1())))
    node.hang_up()
    wait_until(lambda: node.metric("sipwarden_reload_failures_total") == failures + 1)
    assert re.search(r'sipwarden\.toml:\d+: signing\.key: not a key on the curve P-256[^\n]*"key\.pem"', node.log)
    assert signed_by(identity_of(call(node)) or "", key())
    (node.folder / "key.pem").write_bytes(good)


def test_a_worker_that_is_started_again_does_not_sign_with_an_unchecked_key(node: Node) -> None:
    write_files(node.folder, ec.generate_private_key(ec.SECP256R1()))
    restarts = node.metric("sipwarden_worker_restarts_total")
    for worker in node.workers():
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: node.metric("sipwarden_worker_restarts_total") == restarts + 2 and node.metric("sipwarden_workers_up") == 2)
    assert identity_of(call(node)) is None
    wait_until(lambda: node.metric('sipwarden_signatures_total{outcome="no_key"}') == 1)
    assert "calls are not signed: " in node.log
    assert "the key is not the one that was checked" in node.log


def test_a_good_new_key_signs_from_the_reload_on(node: Node) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    write_files(node.folder, other)
    reloads = node.metric("sipwarden_reloads_total")
    node.hang_up()
    wait_until(lambda: node.metric("sipwarden_reloads_total") == reloads + 1)
    for _ in range(4):
        assert signed_by(identity_of(call(node)) or "", other)
    assert "PRIVATE" not in node.log


def test_calls_go_on_unsigned_when_the_certificate_has_expired(node: Node) -> None:
    write_files(node.folder)
    (node.folder / "cert.pem").write_bytes(certificate(begins=-3, ends=-1))
    reloads = node.metric("sipwarden_reloads_total")
    node.hang_up()
    wait_until(lambda: node.metric("sipwarden_reloads_total") == reloads + 1)
    for _ in range(3):
        assert identity_of(call(node)) is None
    assert node.metric('sipwarden_signatures_total{outcome="expired"}') == 3
    assert 1 <= node.log.count("calls are not signed: this is outside the dates of the certificate") <= 2  # once for each worker
