"""Pings of next hops (flows: health.flow has the ordinary course)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.proxy.wire import CONFIG, SEGMENTS, Wire, edit_config, load, make_proxy

PINGED = edit_config(CONFIG, 'next_hop switch options_interval = "10s"')


@pytest.fixture
def wire(tmp_path: Path) -> Wire:
    wire = Wire(make_proxy(tmp_path, PINGED))
    wire.wait(0)
    return wire


def up(wire: Wire) -> bool:
    return bool(wire.proxy.gauges()["next_hops"]["switch", "sip:127.0.0.5:5080"])


def test_a_ping_is_a_request_of_our_own(wire: Wire) -> None:
    ping = wire.learnt("switch")
    assert ping.uri == b"sip:127.0.0.5:5080"
    assert ping.first(b"to") == b"<sip:127.0.0.5:5080>"
    assert (ping.first(b"from") or b"").startswith(b"<sip:127.0.0.1:5060>;tag=")
    assert len(ping.all(b"via")) == 1
    assert ping.first(b"max-forwards") == b"70"
    wire.reply("switch", 200, "OPTIONS")
    wire.wait(9.9)
    assert not wire.out and up(wire)
    wire.wait(0.2)
    again = wire.learnt("switch")
    assert again.first(b"call-id") != ping.first(b"call-id")


@pytest.mark.parametrize(("status", "result"), [(200, True), (404, True), (405, True), (500, True), (503, False)])
def test_any_answer_but_503_means_up(wire: Wire, status: int, result: bool) -> None:
    wire.learnt("switch")
    wire.reply("switch", status, "OPTIONS")
    assert up(wire) is result


def test_two_silent_pings_mean_down_and_one_answer_up(wire: Wire) -> None:
    wire.learnt("switch")
    wire.wait(19.9)
    assert up(wire)
    wire.wait(0.2)
    assert not up(wire)
    last = [data for who, data in wire.out if who == "switch"][-1]
    wire.out = [("switch", last)]
    wire.learnt("switch")
    wire.reply("switch", 200, "OPTIONS")
    assert up(wire)


def test_a_provisional_answer_says_nothing(wire: Wire) -> None:
    wire.learnt("switch")
    wire.reply("switch", 100, "OPTIONS")
    assert wire.proxy.routing.hops["switch"].targets[0].unanswered == 1


def test_pings_of_an_old_configuration_end_and_what_is_known_stays(wire: Wire, tmp_path: Path) -> None:
    wire.learnt("switch")
    wire.reply("switch", 503, "OPTIONS")
    wire.proxy.apply(*load(tmp_path, edit_config(PINGED, 'next_hop switch options_interval = "20s"'), SEGMENTS, None, None), wire.now)
    assert not up(wire)
    wire.wait(0)
    wire.learnt("switch")
    wire.reply("switch", 200, "OPTIONS")
    wire.wait(19)
    assert not wire.out
    wire.proxy.apply(*load(tmp_path, CONFIG, SEGMENTS, None, None), wire.now)
    wire.wait(400)
    assert not wire.out and wire.tables()["timers"] == 0


def test_a_target_that_cannot_be_connected_to_goes_down(tmp_path: Path) -> None:
    wire = Wire(make_proxy(tmp_path, edit_config(CONFIG, 'next_hop outward options_interval = "1s"')))
    wire.wait(0)
    for _ in range(3):
        wire.learnt("outward")
        wire.proxy.send_failed(*wire.last["outward"], wire.now)
        wire.wait(1.0)
    assert wire.proxy.gauges()["next_hops"]["outward", "sip:127.0.0.8:5060;transport=tcp"] is False
    wire.out.clear()


def test_answers_are_not_held_against_a_target(wire: Wire) -> None:
    for _ in range(6):
        wire.learnt("switch")
        wire.reply("switch", 200, "OPTIONS")
        wire.wait(10.0)
        assert up(wire)
    wire.out.clear()
