"""deploy/examples/sipwarden-rule-reputation, as an operator uses it: built, installed, checked, in a running node with its service."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.proxy.lookup.service import LookupService, serving
from tests.proxy.node import ROOT, Node, Peer, wait_until

EXAMPLE = ROOT / "deploy" / "examples" / "sipwarden-rule-reputation"
SERVICE = """
[[trunk]]
id = "peer"
kind = "interconnect"
sources = ["127.0.0.3"]
next_hop = "switch"

[policy]
file = "policy.toml"

[[lookup]]
kind = "reputation"
url = "{url}"
field = "reputation"
deadline = "700ms"
"""
POLICY = """order = ["emergency", "trunk", "regular", "reputation", "label"]

[rules.reputation]
on_error = "mark"
spare = ["+86138*"]

[rules.label]
threshold = 1
weights = { REP_DOUBTFUL = 2, RULE_FAILED = 3 }
prefix = "suspect"
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `source` and `site`, which pip has installed the package into, without a network."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--target", folder / "site", folder / "source"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def service() -> Iterator[LookupService]:
    with serving() as made:
        yield made


@pytest.fixture
def node(installed: Path, service: LookupService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node that is configured for the rule, the package being on its path and on ours; not started."""
    monkeypatch.setenv("PYTHONPATH", str(installed / "site"))
    monkeypatch.syspath_prepend(installed / "site")
    monkeypatch.setenv("COLUMNS", "160")
    made = Node(tmp_path)
    made.config.write_text(made.text + SERVICE.replace("{url}", service.url))
    (tmp_path / "policy.toml").write_text(POLICY)
    yield made
    sys.modules.pop("sipwarden_rule_reputation", None)


def sipwarden(node: Node, command: str, *words: str) -> tuple[int, str]:
    """Exit status and output of a command."""
    with redirect_stdout(io.StringIO()) as out:
        status = main([command, "-c", str(node.config), *words])
    return status, out.getvalue()


def test_its_own_tests(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=installed / "source",
        env=os.environ | {"PYTHONPATH": str(installed / "site"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_its_readme_tells_the_truth(node: Node) -> None:
    """The configuration that strangers copy from it is good."""
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    lookup, policy = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    node.config.write_text(node.config.read_text().partition("[[lookup]]")[0] + lookup)
    (node.folder / "policy.toml").write_text(policy)
    status, said = sipwarden(node, "check")
    assert status == 0
    assert "warning" not in said
    _, shown = sipwarden(node, "codes")
    assert "REP_BAD  The reputation service calls the calling number bad.\n信誉服务" in shown
    assert "basis: 反诈法 art. 13\n→ The number's user may have" in shown
    assert "AUTH_FAIL  " in shown


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        ('spare = ["+86138*"]', 'spare = [\n"+86138*",\n"86139*"]', "7: rules.reputation.spare[1]: not a number or prefix ('86139*'; "),
        (
            'spare = ["+86138*"]',
            "speed = 1",
            "5: rules.reputation.speed: unknown key (1; it has: mode, on_error, action, redirect_to, bad, spare",
        ),
        ('on_error = "mark"', 'on_error = "forward"', "4: rules.reputation.on_error: no such value ('forward'; "),
        (
            "REP_DOUBTFUL",
            "REP_DUBTFUL",
            "9: rules.label.weights.REP_DUBTFUL: has no effect: no rule gives this mark; did you mean 'REP",
        ),
    ],
)
def test_check_names_what_is_wrong_with_its_settings(node: Node, good: str, bad: str, says: str) -> None:
    (node.folder / "policy.toml").write_text(POLICY.replace(good, bad))
    status, said = sipwarden(node, "check")
    assert f"{node.folder}/policy.toml:{says}" in said
    assert status == (0 if "no effect" in says else 1)


def test_check_wants_somebody_to_answer(node: Node) -> None:
    node.config.write_text(node.config.read_text().partition("[[lookup]]")[0])
    status, said = sipwarden(node, "check")
    assert status == 1
    assert "policy.toml:3: rules.reputation: cannot be bound: ValueError: nobody answers: sipwarden.toml has no [[lookup]]" in said


def test_without_the_package_check_names_the_rule_and_the_remedy(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != os.environ["PYTHONPATH"]])
    status, said = sipwarden(node, "check")
    assert status == 1
    assert "policy.toml:1: order[3]: unknown rule ('reputation'; known rules: emergency, " in said
    assert "; a rule of another package is known once the package is installed beside this one)" in said
    assert sipwarden(node, "codes") == (1, "")


def test_explain_asks_its_service(node: Node, service: LookupService) -> None:
    call = ["--trunk", "peer", "--from", "+8613712345678", "--to", "075583123401"]
    service.does = '{"reputation": "bad"}'
    _, shown = sipwarden(node, "explain", *call)
    assert shown.startswith(" REJECT   403 Forbidden")
    assert "REP_BAD  The reputation service calls the calling number bad." in shown
    assert re.search(r"│ reputation +│ reject +│ REP_BAD  the service calls \+8613712345678 bad", shown)
    service.does = '{"reputation": "purple"}'
    _, shown = sipwarden(node, "explain", *call)
    assert "the service says 'purple' of a number, and this rule knows bad, doubtful, good; on_error is 'mark'" in " ".join(shown.split())


def test_in_a_running_node(node: Node, service: LookupService) -> None:
    """The answer leads to nothing, a mark, a rejection; a fault of the rule to what on_error says; each is counted."""
    node.start()
    callers = iter(f"+86137123456{digit:02}" for digit in range(100))
    refused = {"bad"}

    def call(answer: str) -> tuple[bytes, bool]:
        """The final response that a caller gets, and whether the switch got the call labelled."""
        service.does = f'{{"reputation": "{answer}"}}'
        with closing(Peer("127.0.0.3")) as peer, closing(Peer("127.0.0.5", node.switch)) as switch:
            peer.send(peer.request("INVITE", caller=next(callers)), node.port)
            assert peer.receive().startswith(b"SIP/2.0 100 ")
            if answer in refused:
                return peer.final()[:11], False
            invite = switch.receive()
            switch.send(switch.answer(invite, "486 Busy Here"), node.port)
            assert switch.receive().startswith(b"ACK ")
            return peer.final()[:11], b'From: "suspect ' in invite

    def failing(on_error: str) -> None:
        reloads = node.metric("sipwarden_reloads_total")
        (node.folder / "policy.toml").write_text(POLICY.replace('on_error = "mark"', f'on_error = "{on_error}"'))
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == reloads + 1)

    try:
        assert call("good") == (b"SIP/2.0 486", False)
        assert call("doubtful") == (b"SIP/2.0 486", True)
        assert call("bad") == (b"SIP/2.0 403", False)
        assert node.metric('sipwarden_invites_total{action="reject",code="REP_BAD",trunk="peer"}') == 1
        assert node.metric('sipwarden_lookups_total{kind="reputation",outcome="answered"}') == 3
        assert call("purple") == (b"SIP/2.0 486", True)  # its mark weighs
        assert node.metric('sipwarden_rule_failures_total{rule="reputation"}') == 1
        failing("no opinion")
        assert call("purple") == (b"SIP/2.0 486", False)
        failing("reject")
        refused.add("purple")
        assert call("purple") == (b"SIP/2.0 403", False)
        assert node.metric('sipwarden_rule_failures_total{rule="reputation"}') == 3
        assert node.metric('sipwarden_invites_total{action="reject",code="RULE_FAILED",trunk="peer"}') == 1
        with closing(Peer("127.0.0.3")) as peer, closing(Peer("127.0.0.5", node.switch)) as switch:
            peer.send(peer.request("INVITE", caller="+8613802881946"), node.port)  # one that is spared: nobody is asked
            assert switch.receive().startswith(b"INVITE ")
        assert len(service.asked) == 6
        assert "Traceback" not in node.log
    finally:
        node.process.kill()  # not in good order: a call that nobody has answered would be waited for
        node.process.wait()
