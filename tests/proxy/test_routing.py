"""Who sends from an address, and where a call goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import load_config
from proxy.flow import Listener
from proxy.routing import Routing, RoutingError
from proxy.token import Secret
from rules.directory import DirectoryConfig, load_directory
from rules.numbers import normalise

SECRET = Secret(b"a secret for tests only")
TRUNK = '[[trunk]]\nid = "{0}"\nkind = "interconnect"\nsources = [{1}]\nnext_hop = "out"\n'
CONFIG = """
[[listen]]
address = "192.0.2.1:5060"
[[listen]]
address = "[2001:db8::1]:5060"
transports = ["udp"]
[[next_hop]]
id = "out"
targets = ["sip:192.0.2.70:5080", "sip:192.0.2.71"]
failover = ["sip:[2001:db8::70]:5080"]
[[next_hop]]
id = "to-one"
targets = ["sip:192.0.2.70:5080;transport=tcp"]
"""
TRUNKS = {
    "host": '"198.51.100.7"',
    "port": '"198.51.100.7:5070"',
    "net": '"198.51.100.0/24"',
    "wide": '"198.51.0.0/16", "2001:db8:1::/48"',
    "netport": '"198.51.100.0/24:5099"',
    "six": '"2001:db8:1:2::/64"',
    "four": '"203.0.113.9"',
}


@pytest.fixture
def routing(tmp_path: Path) -> Routing:
    return make(tmp_path, CONFIG + "".join(TRUNK.format(*pair) for pair in TRUNKS.items()))


def make(folder: Path, text: str, listeners: list[Listener] | None = None) -> Routing:
    (folder / "sipwarden.toml").write_text(text)
    config = load_config(folder / "sipwarden.toml")
    return Routing(config, listeners or config.listeners(), SECRET)


@pytest.mark.parametrize(
    ("address", "port", "trunk"),
    [
        ("198.51.100.7", 5060, "host"),
        ("198.51.100.7", 5070, "port"),
        ("198.51.100.7", 5099, "netport"),  # a port before none, then the longest prefix
        ("198.51.100.8", 5099, "netport"),
        ("198.51.100.8", 5060, "net"),
        ("198.51.1.1", 5060, "wide"),
        ("2001:db8:1:2::5", 5060, "six"),
        ("2001:db8:1:3::5", 5060, "wide"),
        ("2001:db8:2::5", 5060, None),
        ("::ffff:203.0.113.9", 5060, "four"),
        ("fe80::1%eth0", 5060, None),
        ("192.0.2.70", 5080, None),
    ],
)
def test_the_most_specific_trunk(routing: Routing, address: str, port: int, trunk: str | None) -> None:
    found = routing.resolve(address, port).trunk
    assert (found.id if found is not None else None) == trunk


def test_next_hops_are_known_whatever_port_they_send_from(routing: Routing) -> None:
    exact, other, stranger = (routing.resolve(*place) for place in [("192.0.2.71", 5060), ("192.0.2.71", 49152), ("192.0.2.72", 5060)])
    assert exact.known and exact.hop_codes == other.hop_codes == (routing.hops["out"].code,)
    assert set(routing.resolve("192.0.2.70", 5080).hop_codes) == {routing.hops["out"].code, routing.hops["to-one"].code}
    assert not stranger.known and stranger.hop_codes == ()


def test_strangers_are_counted_by_address_or_64(routing: Routing) -> None:
    assert routing.resolve("192.0.2.99", 1).refuse_key == "192.0.2.99"
    one, two, three = (routing.resolve(address, 1).refuse_key for address in ("2001:db8:9::1", "2001:db8:9::ffff", "2001:db8:9:1::1"))
    assert one == two != three


def test_targets_take_turns_and_failover_comes_last(routing: Routing) -> None:
    hop = routing.hops["out"]
    orders = [[target.uri for target in hop.order()] for _ in range(4)]
    assert {order[2] for order in orders} == {"sip:[2001:db8::70]:5080"}
    assert orders[0] == orders[2] != orders[1] == orders[3]
    assert sorted(orders[0]) == sorted(orders[1])
    hop.targets[0].up = False
    assert {hop.order()[0].uri for _ in range(4)} == {"sip:192.0.2.71"}
    assert [hop.order()[2].uri for _ in range(2)] == ["sip:192.0.2.70:5080"] * 2
    hop.targets[1].up = hop.failover[0].up = False
    assert len(hop.order()) == 3  # tried last rather than never


SHARED = """
[[trunk]]
id = "core"
kind = "core"
next_hop = "out"
[[trunk]]
id = "early"
customer = "acme"
kind = "enterprise"
next_hop = "out"
[[trunk]]
id = "sbc"
customers = ["acme", "beta"]
kind = "enterprise"
next_hop = "out"
deliver = "to-one"
[[trunk]]
id = "late"
customer = "acme"
kind = "enterprise"
next_hop = "out"
deliver = "out"
"""


def test_a_number_of_every_trunk_is_delivered_to_the_first_that_can_be_and_tells_whose_it_is(tmp_path: Path) -> None:
    made = make(tmp_path, CONFIG + SHARED)
    (tmp_path / "segments.csv").write_text(
        "customer,trunk,first,last\nacme,*,+8675583120000,\nbeta,sbc,+8675583120001,\nacme,late,+8675583120002,\n"
    )
    directory = load_directory(DirectoryConfig(segments=("segments.csv",)), tmp_path, made.trunks)
    core = made.trunks["core"]
    for number, hop, sides in (
        ("+8675583120000", "to-one", ("customer acme",)),
        ("+8675583120001", "to-one", ("customer beta",)),
        ("+8675583120002", "out", ("customer acme",)),  # another hop: it has one customer only
        ("+8675583120003", "out", ("customer acme",)),
    ):
        called = normalise(number, None)
        found = made.hop_for(core, called, directory, 0.0, emergency=False)
        assert found is not None and found.id == hop, number
        assert made.sides_for(found, called, directory, 0.0, None) == sides, number
    unknown = normalise("+8675583120009", None)
    assert made.sides_for(made.hops["to-one"], unknown, directory, 0.0, None) == ()


def test_own_addresses(routing: Routing) -> None:
    assert routing.is_own(b"192.0.2.1", None) and routing.is_own(b"192.0.2.1", 5060) and routing.is_own(b"2001:db8::1", 5060)
    assert not routing.is_own(b"192.0.2.1", 5061)
    assert not routing.is_own(b"192.0.2.10", None)


def test_a_listener_that_fits(routing: Routing) -> None:
    udp4, tcp4, udp6 = routing.listeners
    assert routing.listener_for("udp", "192.0.2.7", None) is udp4
    assert routing.listener_for("tcp", "192.0.2.7", udp4) is tcp4
    assert routing.listener_for("udp", "2001:db8::7", tcp4) is udp6
    assert routing.listener_for("tcp", "2001:db8::7", None) is None
    assert routing.listener_for("sctp", "192.0.2.7", None) is None


def test_a_target_that_no_listener_can_reach(tmp_path: Path) -> None:
    with pytest.raises(RoutingError, match="no listener can reach"):
        make(tmp_path, CONFIG, [Listener(0, "udp", "2001:db8::1", 5060)])


def test_whose_number_is_called(tmp_path: Path) -> None:
    """By the segment: every trunk's, one customer's of several, the caller's own place where a code differs by area."""
    customer = '[[trunk]]\nid = "{0}"\n{1}\nkind = "enterprise"\nhome_area = "{2}"\nnext_hop = "out"\n'
    one = customer.format("acme-sz", 'customer = "acme"', "755")
    routing = make(tmp_path, CONFIG + one + customer.format("tower", 'customers = ["one", "two"]', "10"))
    (tmp_path / "segments.csv").write_text(
        "customer,trunk,first,last\nacme,*,+8675583120000,+8675583129999\ntwo,tower,+861062230000,+861062239999\n"
        "acme,acme-sz,+8696777,\none,tower,+8696777,\n"
    )
    directory = load_directory(DirectoryConfig(segments=("segments.csv",)), tmp_path, routing.trunks)
    found = [routing.side_called(normalise(to, home), directory, 0.0, home) for to, home in CALLED_FROM]
    assert found == ["customer acme", "customer two", "customer acme", "customer one", None]


CALLED_FROM = [("075583120001", "10"), ("01062230001", "755"), ("96777", "755"), ("96777", "10"), ("075583668888", "755")]
