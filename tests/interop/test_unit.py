"""The systemd unit: systemd understands it, and its sandbox lets the node do all that it does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.proxy.node import ROOT, Node, Peer, wait_until

UNIT = ROOT / "deploy/systemd/sipwarden.service"


def _named(name: str, seen: set[str]) -> set[str]:
    """The system calls of a group, or the one of that name."""
    if not name.startswith("@"):
        return {name}
    if name in seen:
        return set()
    seen.add(name)
    told = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    members = [line.strip() for line in told.splitlines() if line.startswith("    ") and not line.strip().startswith("#")]
    return set().union(*(_named(member, seen) for member in members))


def allowed() -> set[str]:
    """What SystemCallFilter leaves: each line adds its calls, or takes them away where it begins with ~."""
    calls: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        named = set().union(*(_named(name, set()) for name in line.lstrip("~").split()))
        calls = calls - named if line.startswith("~") else calls | named | _named("@default", set())
    return calls


def counted(node: Node, what: str, count: int) -> bool:
    """Whether the node has counted so many."""
    return node.metric(f"sipwarden_{what}_total") == count


@pytest.mark.interop("systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/sipwarden/bin/sipwarden", "/bin/true"))
    verify = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (verify.returncode, verify.stdout + verify.stderr) == (0, "")
    security = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=15", unit],
        capture_output=True,
        text=True,
        env=os.environ | {"PAGER": "cat"},
    )
    assert security.returncode == 0, security.stdout


@pytest.mark.interop("systemd-analyze", "strace")
def test_the_filter_has_every_system_call_that_the_node_makes(tmp_path: Path) -> None:
    """Start, calls, reloads, a killed worker, a killed keeper and the end, with a journal, limits and steering. Only what is outside the
    filter is traced, so that there must be nothing.
    """
    calls = allowed()
    assert {"read", "setpriority"} <= calls and not {"chown", "mount", "sched_setaffinity"} & calls
    node = Node(tmp_path, workers=2)
    text = node.text.replace('id = "acme"\n', 'id = "acme"\nmax_calls = 5\nmax_cps = 5\n')
    node.config.write_text(text + f'\n[journal]\npath = "{tmp_path}/journal"\n')
    traced = tmp_path / "traced"
    command = [
        *("strace", "-f", "--seccomp-bpf", "-qq", "-o", str(traced), "-e", "signal=none"),
        *("-e", "trace=!" + ",".join("?" + call for call in sorted(calls))),
        *(sys.executable, "-m", "proxy", "run", "-c", str(node.config)),
    ]
    with open(tmp_path / "log", "wb") as log, open(tmp_path / "out", "wb") as out:
        node.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=log, env=os.environ | {"TMPDIR": str(tmp_path)})
    try:
        wait_until(lambda: "admin on" in node.out or node.process.poll() is not None, 60)
        supervisor = int(Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()[0])
        with closing(Peer("127.0.0.5", node.switch)) as switch, closing(Peer("127.0.0.2")) as caller:
            for _ in range(3):
                caller.send(caller.request("INVITE"), node.port)
                while not (invite := switch.receive()).startswith(b"INVITE"):
                    assert invite
                switch.send(switch.answer(invite, "486 Busy Here"), node.port)
                assert caller.final().startswith(b"SIP/2.0 486 ")
        for count in (1, 2):
            os.kill(supervisor, signal.SIGHUP)
            wait_until(partial(counted, node, "reloads", count), 30)
        for child, restarts in (("proxy.session", "worker_restarts"), ("proxy.journal.keeper", "journal_keeper_restarts")):
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            os.kill(next(int(one) for one in children if child.encode() in Path(f"/proc/{one}/cmdline").read_bytes()), signal.SIGKILL)
            wait_until(partial(counted, node, restarts, 1), 30)
        wait_until(lambda: node.get("/readyz")[0] == 200, 30)
        os.kill(supervisor, signal.SIGTERM)
        assert node.process.wait(30) == 0, node.log
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait(10)
    assert traced.read_text() == ""
