"""A running node that waits for its roaming service: +86 mobiles from abroad, parked, resumed both ways, given up, explained."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.proxy.lookup.service import LookupService, serving
from tests.proxy.node import Node, Peer, wait_until

ABROAD = """
[[trunk]]
id = "abroad"
kind = "international"
sources = ["127.0.0.4"]
next_hop = "switch"

[[lookup]]
kind = "roaming"
url = "{url}"
deadline = "700ms"
failures = 3
pause = "300ms"
"""


@pytest.fixture
def service() -> Iterator[LookupService]:
    with serving() as made:
        yield made


@pytest.fixture
def node(service: LookupService, tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    made.config.write_text(made.text + ABROAD.replace("{url}", service.url))
    made.start()
    yield made
    assert "Traceback" not in made.log
    made.process.kill()  # not in good order: calls that no switch has answered would be waited for
    made.process.wait()


def invite(peer: Peer, node: Node, caller: str) -> bytes:
    request = peer.request("INVITE", caller=caller)
    peer.send(request, node.port)
    return request


def parked(peer: Peer, node: Node, caller: str) -> bytes:
    request = invite(peer, node, caller)
    assert peer.receive().startswith(b"SIP/2.0 100 ")
    return request


def outcome(node: Node, name: str) -> float:
    return node.metric(f'sipwarden_lookups_total{{kind="roaming",outcome="{name}"}}')


def test_a_roamer_s_call_waits_and_goes_on(node: Node, service: LookupService) -> None:
    service.does = '0.2 {"state": "abroad"}'
    with closing(Peer("127.0.0.4")) as gateway, closing(Peer("127.0.0.5", node.switch)) as switch:
        first = parked(gateway, node, "+8613802881946")
        assert switch.receive(0.1) == b""
        gateway.send(first, node.port)  # a retransmission is answered, and asks nobody again
        assert gateway.receive().startswith(b"SIP/2.0 100 ")
        assert switch.receive().startswith(b"INVITE ")
        assert service.asked == ["/where?number=%2B8613802881946"]
        service.does = "hang"  # known already: nobody waits
        parked(gateway, node, "+8613802881946")
        while not (again := switch.receive()).startswith(b"INVITE ") or b"-%d\r\n" % Peer.serial not in again:
            pass
        assert len(service.asked) == 1
    assert (outcome(node, "answered"), outcome(node, "cached")) == (1, 1)
    assert node.metric('sipwarden_invites_total{action="pass",code="INTL_86_ROAMING",trunk="abroad"}') == 2
    assert node.metric('sipwarden_lookup_kept{kind="roaming"}') == 1


def test_a_forged_number_s_call_waits_and_is_refused(node: Node, service: LookupService) -> None:
    service.does = '0.2 {"state": "home"}'
    with closing(Peer("127.0.0.4")) as gateway, closing(Peer("127.0.0.5", node.switch)) as switch:
        parked(gateway, node, "+8613802881946")
        assert gateway.final().startswith(b"SIP/2.0 403 ")
        assert switch.receive(0.1) == b""
        service.does = "hang"
        invite(gateway, node, "+8613802881946")
        while (data := gateway.receive()).startswith(b"SIP/2.0 403 ") and b"-%d\r\n" % Peer.serial not in data:
            pass  # the first refusal again: nobody has acknowledged it
        assert data.startswith(b"SIP/2.0 403 ")  # known already: refused at once, without a 100
    assert len(service.asked) == 1


def test_a_caller_gives_up_while_waiting(node: Node, service: LookupService) -> None:
    service.does = '0.3 {"state": "abroad"}'
    with closing(Peer("127.0.0.4")) as gateway, closing(Peer("127.0.0.5", node.switch)) as switch:
        request = parked(gateway, node, "+8613802881946")
        gateway.send(request.replace(b"INVITE", b"CANCEL"), node.port)
        got = [gateway.receive(), gateway.receive()]
        assert sorted(data[:11] for data in got) == [b"SIP/2.0 200", b"SIP/2.0 487"]
        assert switch.receive(0.5) == b""
    wait_until(lambda: node.metric('sipwarden_events_total{event="lookups_late"}') == 1)
    assert node.metric('sipwarden_events_total{event="cancelled"}') == 1
    assert node.metric("sipwarden_parked_calls") == 0
    assert node.stop() == 0


@pytest.mark.parametrize(("does", "least"), [("hang", 0.6), ("drip", 0.6), ("500", 0.0), ("close", 0.0), ('{"state": 7}', 0.0)])
def test_a_service_in_trouble_delays_no_call_past_its_deadline(node: Node, service: LookupService, does: str, least: float) -> None:
    service.does = does
    with closing(Peer("127.0.0.4")) as gateway, closing(Peer("127.0.0.5", node.switch)) as switch:
        started = time.monotonic()
        for digit in range(3):
            invite(gateway, node, f"+861380288194{digit}")
        refused: dict[bytes, bytes] = {}
        while len(refused) < 3:
            final = gateway.final()
            assert final, "a call without a final response"
            refused[final.partition(b"Call-ID: ")[2].partition(b"\r\n")[0]] = final[:11]
        took = time.monotonic() - started
        assert set(refused.values()) == {b"SIP/2.0 403"}
        assert least <= took < 3
        wait_until(lambda: node.metric('sipwarden_lookup_breaker_open{kind="roaming"}') == 1, 2)
        invite(gateway, node, "+12125550100")  # a call that needs no answer is not touched
        assert switch.receive().startswith(b"INVITE ")
    service.does = '{"state": "abroad"}'
    time.sleep(0.35)
    with closing(Peer("127.0.0.4")) as gateway:
        invite(gateway, node, "+8613802881949")
        wait_until(lambda: outcome(node, "answered") == 1)
    assert node.metric('sipwarden_lookup_breaker_open{kind="roaming"}') == 0
    assert node.metric('sipwarden_events_total{event="internal_errors"}') == 0


def test_another_service_after_a_reload(node: Node, service: LookupService) -> None:
    service.does = '0.4 {"state": "abroad"}'
    with serving() as other, closing(Peer("127.0.0.4")) as gateway, closing(Peer("127.0.0.5", node.switch)) as switch:
        other.does = '{"state": "home"}'
        parked(gateway, node, "+8613802881946")
        node.config.write_text(node.text + ABROAD.replace("{url}", other.url))
        node.hang_up()
        assert switch.receive().startswith(b"INVITE ")  # what had been asked was answered
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1)
        invite(gateway, node, "+8613802881946")
        wait_until(lambda: node.metric('sipwarden_invites_total{action="reject",code="INTL_86_NOT_ROAMING",trunk="abroad"}') == 1)
        assert len(other.asked) == len(service.asked) == 1


def files(folder: Path, url: str) -> str:
    made = Node(folder)
    made.config.write_text(made.text + ABROAD.replace("{url}", url))
    return str(made.config)


def test_check_wants_a_roaming_check(service: LookupService, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = files(tmp_path, service.url)
    assert main(["check", "-c", config]) == 0
    assert "warning" not in capsys.readouterr().out
    text = Path(config).read_text()
    Path(config).write_text(text[: text.index("[[lookup]]")])
    assert main(["check", "-c", config]) == 0
    assert "no roaming check is configured: +86 mobiles on abroad get what `roaming_failure` says" in capsys.readouterr().out
    assert service.asked == []


def test_explain_asks(service: LookupService, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--trunk", "abroad", "--from", "+8613802881946", "--to", "075522223333"]
    words = ["explain", "-c", files(tmp_path, service.url), *call, "--json"]
    service.does = '0.2 {"state": "home"}'
    assert main(words) == 0
    said = capsys.readouterr()
    verdict = json.loads(said.out)
    assert (verdict["code"], said.err) == ("INTL_86_NOT_ROAMING", "")
    assert verdict["steps"][-1]["detail"].startswith("the roaming service says home; ")
    assert verdict["elapsed_us"] < 100_000
    assert main([*words, "--at", "2026-01-31T09:00:00"]) == 0
    assert "know nothing of another time" in capsys.readouterr().err
    service.does = "500"
    assert main(words) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["code"] == "INTL_86_UNVERIFIED"
    assert said.err == "note: look-up roaming of +8613802881946 had no answer: its service answered with status 500.\n"
    assert len(service.asked) == 3
