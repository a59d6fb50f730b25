"""What a rule's rejection does on the wire where its `action` is not to reject: sent elsewhere, or dropped in silence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from proxy.sip.message import SipMessage
from rules import RuleSet
from rules.call import Call
from rules.ruleset import BoundRule
from rules.verdict import Lookup, Outcome, Verdict
from tests.proxy.wire import CONFIG, Wire, edit_config, make_proxy

TO = "sip:announcement@192.0.2.9;user=phone"
REDIRECTS = f'[rules.segments]\naction = "redirect"\nredirect_to = "{TO}"\n'
DROPS = '[rules.segments]\naction = "drop"\n'
STRANGER = "from=+8675599999999"


def waits(call: Call) -> Outcome | Lookup | None:
    """Asks about every caller before the rules that reject."""
    return None if call.answers else Lookup("asked", "caller", 1.0)


def wire(folder: Path, policy: str, *edits: str) -> Wire:
    config = CONFIG
    for edit in edits:
        config = edit_config(config, edit)
    return Wire(make_proxy(folder, config, policy=policy))


def counted(made: Wire) -> dict[tuple[str, str, str], int]:
    return made.proxy.counters.invites


def test_a_call_is_sent_elsewhere(tmp_path: Path) -> None:
    made = wire(tmp_path, REDIRECTS)
    verdicts: list[Verdict] = []
    made.proxy.watch_verdicts(lambda verdict, call: verdicts.append(verdict))
    made.ask("pbx", "INVITE", STRANGER)
    answer = made.learnt("pbx")
    assert (answer.status, answer.first(b"contact"), answer.first(b"reason")) == (302, f"<{TO}>".encode(), None)
    made.ask("pbx", "ACK")
    made.ask("pbx", "INVITE", "again")
    assert made.got("pbx").status == 302
    assert counted(made) == {("acme", "redirect", "AUTH_FAIL"): 1}
    (verdict,) = verdicts
    assert (verdict.action, verdict.status, verdict.phrase, verdict.labels) == ("redirect", 302, "Moved Temporarily", {"redirect_to": TO})
    # nearly: another rule rejects; nearly: its own customer; nearly: an emergency call
    made.ask("pbx", "INVITE", "from=4008123123 new")
    assert made.learnt("pbx").status == 403
    made.ask("pbx", "ACK")
    for options in ("new", f"{STRANGER} new to=110"):
        made.ask("pbx", "INVITE", options)
        assert made.got("pbx").status == 100
        assert made.got("switch").method == b"INVITE"


def test_it_is_sent_elsewhere_by_a_peer_that_asks_as_well(tmp_path: Path) -> None:
    made = wire(tmp_path, REDIRECTS, 'trunk acme reject_profile = "redirect"', 'trunk acme go_on = "404"')
    made.ask("pbx", "INVITE", STRANGER)
    answer = made.got("pbx")
    assert (answer.status, answer.first(b"contact")) == (302, f"<{TO}>".encode())


def test_a_call_is_dropped_in_silence(tmp_path: Path) -> None:
    """Nothing is sent and nothing held; retransmissions are dropped and not judged again, a CANCEL and an ACK hear nothing either."""
    made = wire(tmp_path, DROPS)
    made.ask("pbx", "INVITE", STRANGER)
    for _ in range(3):
        made.ask("pbx", "INVITE", "again")
    made.ask("pbx", "CANCEL")
    made.ask("pbx", "ACK")
    assert made.out == []
    assert counted(made) == {("acme", "drop", "AUTH_FAIL"): 1}
    assert made.proxy.counters.retransmissions_in == 3
    assert {name: count for name, count in made.tables().items() if count} == {"refused": 1}
    made.wait(70)
    assert not any(made.tables().values())
    # nearly: another rule rejects
    made.ask("pbx", "INVITE", "from=4008123123 new")
    assert made.got("pbx").status == 403


@pytest.mark.parametrize(
    ("who", "edits", "status"),
    [
        ("pbx-tcp", (), 403),
        ("pbx", ('trunk acme reject_profile = "rfc8197"',), 0),
        ("pbx", ('trunk acme reject_profile = "redirect"',), 603),
    ],
)
def test_where_silence_cannot_be_kept_the_profile_speaks(tmp_path: Path, who: str, edits: tuple[str, ...], status: int) -> None:
    """Over a connection; and to a peer that asks, which would take silence for leave to go on."""
    made = wire(tmp_path, DROPS, *edits)
    made.ask(who, "INVITE", STRANGER)
    if not status:
        assert made.out == []
        return
    answer = made.got(who)
    assert (answer.status, answer.first(b"reason")) == (status, b"Q.850;cause=21")
    assert counted(made) == {("acme", "drop", "AUTH_FAIL"): 1}


@pytest.mark.parametrize(("policy", "status"), [(DROPS, 403), (REDIRECTS, 302)])
def test_a_call_that_had_to_wait_gets_an_answer(tmp_path: Path, policy: str, status: int) -> None:
    """100 was sent: the transaction must end."""
    proxy = make_proxy(tmp_path, policy=policy)
    order = list(proxy.ruleset.order)
    order.insert(2, BoundRule("waits", waits))
    proxy._screening.ruleset = RuleSet(tuple(order), proxy.ruleset.directory, "1")
    made = Wire(proxy)
    made.ask("pbx", "INVITE", STRANGER)
    assert made.learnt("pbx").status == 100
    ((_, ticket),) = proxy.take_lookups()
    proxy.resume(ticket, "good", 0.0)
    made.collect()
    answer = made.learnt("pbx")
    assert answer.status == status
    assert (answer.first(b"contact") == f"<{TO}>".encode()) is (status == 302)
    made.ask("pbx", "ACK")
    made.wait(400)
    assert not any(made.tables().values())


@pytest.mark.parametrize("policy", [DROPS, REDIRECTS])
def test_nobody_is_redirected_or_dropped_inside_a_dialog(tmp_path: Path, policy: str) -> None:
    made = wire(tmp_path, policy)
    made.ask("pbx", "INVITE")
    made.learnt("pbx")
    made.learnt("switch")
    made.reply("switch", 200)
    made.learnt("pbx")
    made.ask("pbx", "ACK")
    made.learnt("switch")
    made.ask("pbx", "INVITE", "sender=sip:+8675599999999@127.0.0.2")
    answer = made.got("pbx")
    assert (answer.status, answer.first(b"contact")) == (403, None)


@pytest.mark.parametrize("policy", [DROPS, REDIRECTS])
def test_observed_it_goes_on(tmp_path: Path, policy: str) -> None:
    made = wire(tmp_path, policy + 'mode = "observe"\n')
    verdicts: list[Verdict] = []
    made.proxy.watch_verdicts(lambda verdict, call: verdicts.append(verdict))
    made.ask("pbx", "INVITE", STRANGER)
    assert [SipMessage.parse(data).is_request for _, data in made.out] == [False, True]
    (verdict,) = verdicts
    assert verdict.would is not None
    assert (verdict.action, verdict.would.action, verdict.would.status) == (
        "pass",
        *(("drop", None) if policy == DROPS else ("redirect", 302)),
    )


def test_a_peer_that_asks_is_answered_while_the_node_drains(tmp_path: Path) -> None:
    """What can be decided at once is; what would have to wait is not taken on."""
    proxy = make_proxy(tmp_path, edit_config(CONFIG, 'trunk acme reject_profile = "redirect"'), check=waits)
    made = Wire(proxy)
    proxy.drain()
    made.ask("pbx", "INVITE", STRANGER)
    assert made.got("pbx").status == 603
    made.ask("pbx", "INVITE", "new to=110")
    assert made.got("pbx").status == 302
    made.ask("pbx", "INVITE", "new")
    answer = made.got("pbx")
    assert (answer.status, answer.first(b"retry-after")) == (503, None)
    assert proxy.take_lookups() == []


def test_a_peer_that_asks_is_not_told_to_go_on_with_a_call_that_cannot_be_recorded(tmp_path: Path) -> None:
    made = Wire(make_proxy(tmp_path, edit_config(CONFIG, 'trunk acme reject_profile = "redirect"')))
    made.proxy.refuse_calls(True)
    for asked, status in (("new", 503), (STRANGER, 603), ("new to=110", 302)):
        made.ask("pbx", "INVITE", asked)
        assert made.got("pbx").status == status
    made.proxy.refuse_calls(False)
    made.ask("pbx", "INVITE", "new")
    assert made.got("pbx").status == 302


def test_a_rule_that_fails_leaves_the_peer_that_asks_to_its_own_policy(tmp_path: Path) -> None:
    proxy = make_proxy(tmp_path, edit_config(CONFIG, 'trunk acme reject_profile = "redirect"'))

    def broken(call: Call) -> Outcome:
        raise KeyError("a defect")

    proxy._screening.ruleset = RuleSet((BoundRule("broken", broken, on_error="reject"),), proxy.ruleset.directory, "1")
    made = Wire(proxy)
    made.ask("pbx", "INVITE")
    answer = made.got("pbx")
    assert (answer.status, answer.first(b"retry-after"), answer.first(b"contact")) == (503, None, None)


def test_whatever_a_peer_that_asks_sends_only_responses_come_out(tmp_path: Path) -> None:
    """Broken and odd requests by the thousand: one well-formed response to each at the most, and nothing is left in the end."""
    made = wire(tmp_path, REDIRECTS, 'trunk acme reject_profile = "redirect"', 'trunk peer reject_profile = "redirect"')
    chosen = random.Random(7)
    proxy = made.proxy
    for _ in range(3000):
        who = chosen.choice(["pbx", "pbx-tcp", "peer"])
        options = {"to": chosen.choice(["110", "+8675583123456", "x" * 200, "%41;a=b,c"]), "from": chosen.choice(["+8675583123456", "400"])}
        if chosen.random() < 0.3:
            options["hops"] = "0"
        method = chosen.choice(["INVITE", "INVITE", "CANCEL", "ACK", "OPTIONS", "MESSAGE", "BYE"])
        data = bytearray(made.parties[who].request(method, options, chosen.choice([[], ["Route: <sip:127.0.0.1;lr>"], ["Privacy: id"]])))
        if chosen.random() < 0.5:
            at = chosen.randrange(len(data))
            data[at : at + chosen.randrange(3)] = bytes([chosen.choice(b'<>"\r\n;,:@? %\x00\xff0')])
        proxy.receive(bytes(data), made.flow_of(who), made.now)
        sent = proxy.take_sends()
        assert proxy.counters.internal_errors == 0, proxy.faults
        assert len(sent) <= 1
        for _, answer in sent:
            message = SipMessage.parse(answer)
            assert not message.is_request
            assert message.count(b"contact") == (message.status == 302)
    made.wait(400)
    assert not any(made.tables().values())
