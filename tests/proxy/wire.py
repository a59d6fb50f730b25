"""A proxy core between scripted peers, without a socket or a clock: what peers give it, what comes out, and how time passes.

`tests.proxy.party` writes what peers say, `tests.proxy.transcript` reads the flows in tests/cases/flows.
"""

from __future__ import annotations

import re
from pathlib import Path

from proxy.config import Config, load_config
from proxy.core import Proxy
from proxy.events import Event
from proxy.flow import Flow, Listener
from proxy.sip.message import SipMessage
from rules import RuleSet, load_policy
from rules.directory import load_directory
from rules.rule import Check
from rules.ruleset import BoundRule
from tests.proxy.party import PEERS, Party

SECRET = b"a secret for tests only"
CONFIG = """
[node]
name = "test"
longest_call = "10m"
[[listen]]
address = "127.0.0.1:5060"
transports = ["udp", "tcp"]
[[listen]]
address = "[::1]:5060"
transports = ["udp", "tcp"]
[[trunk]]
id = "acme"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.2", "::2"]
home_area = "755"
next_hop = "switch"
deliver = "acme-pbx"
[[trunk]]
id = "watched"
customer = "watched"
kind = "enterprise"
sources = ["127.0.0.12"]
home_area = "755"
next_hop = "switch"
mode = "observe"
[[trunk]]
id = "stopped"
customer = "stopped"
kind = "enterprise"
sources = ["127.0.0.13"]
home_area = "755"
next_hop = "pair"
suspended = true
[[trunk]]
id = "six"
kind = "interconnect"
sources = ["127.0.0.14"]
next_hop = "switch6"
[[trunk]]
id = "nowhere"
kind = "core"
sources = ["127.0.0.15"]
[[trunk]]
id = "peer"
kind = "interconnect"
sources = ["127.0.0.3"]
next_hop = "pair"
[[trunk]]
id = "abroad"
kind = "international"
sources = ["127.0.0.4"]
next_hop = "switch"
[[trunk]]
id = "inside"
kind = "core"
sources = ["127.0.0.5"]
next_hop = "outward"
[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.5:5080"]
[[next_hop]]
id = "pair"
targets = ["sip:127.0.0.6:5080"]
failover = ["sip:127.0.0.7:5080"]
[[next_hop]]
id = "outward"
targets = ["sip:127.0.0.8:5060;transport=tcp"]
[[next_hop]]
id = "streams"
targets = ["sip:127.0.0.8:5060;transport=tcp"]
failover = ["sip:127.0.0.9:5060;transport=tcp"]
[[next_hop]]
id = "switch6"
targets = ["sip:[::6]:5080"]
[[next_hop]]
id = "acme-pbx"
targets = ["sip:127.0.0.2:5060"]
[directory]
segments = ["segments.csv"]
"""
SEGMENTS = "customer,trunk,first,last\nacme,acme,+8675583120000,+8675583129999\n"


def edit_config(config: str, edit: str) -> str:
    """`trunk acme suspended = true`, `node max_transactions = 1`: one key of one table set, the table found by its id.

    `signing x5u = "https://..."` adds the table, `without trunk acme` takes one out.
    """
    table, rest = edit.split(" ", 1)
    if table == "without":
        kind, identifier = rest.split()
        sections = re.split(r"(?m)^(?=\[)", config)
        left = [section for section in sections if not (section.startswith(f"[[{kind}]]") and f'\nid = "{identifier}"\n' in section)]
        assert len(left) == len(sections) - 1, f"no [[{kind}]] {identifier}"
        return "".join(left)
    if table == "node":
        return config.replace("[node]\n", f"[node]\n{rest}\n")
    if table == "signing":
        return config + f'[signing]\nkey = "key.pem"\n{rest}\n'
    identifier, setting = rest.split(" ", 1)
    key = setting.partition("=")[0].strip()
    sections = re.split(r"(?m)^(?=\[)", config)
    for at, section in enumerate(sections):
        if section.startswith(f"[[{table}]]") and f'\nid = "{identifier}"\n' in section:
            kept = [line for line in section.splitlines() if line.partition("=")[0].strip() != key]
            sections[at] = "\n".join([*kept, setting]) + "\n"
            return "".join(sections)
    raise AssertionError(f"no [[{table}]] {identifier}")


def load(folder: Path, config: str, segments: str, policy: str | None, check: Check | None) -> tuple[Config, RuleSet]:
    """Configuration and policy from their texts; `check` judges calls after the other rules, as a third party's would."""
    (folder / "sipwarden.toml").write_text(config)
    (folder / "segments.csv").write_text(segments)
    loaded = load_config(folder / "sipwarden.toml")
    directory = load_directory(loaded.directory, loaded.base, loaded.trunks)
    ruleset = load_policy(policy, file="policy.toml", directory=directory, trunks=loaded.trunks)
    if check is not None:
        ruleset = RuleSet((*ruleset.order, BoundRule("asks", check)), directory, ruleset.policy_version)
    return loaded, ruleset


def make_proxy(
    folder: Path,
    config: str = CONFIG,
    segments: str = SEGMENTS,
    policy: str | None = None,
    check: Check | None = None,
    listeners: list[Listener] | None = None,
    **settings: object,
) -> Proxy:
    """A proxy core from configuration text, with its files in `folder`."""
    loaded, ruleset = load(folder, config, segments, policy, check)
    return Proxy(loaded, ruleset, listeners or loaded.listeners(), SECRET, **settings)  # type: ignore[arg-type]


class Wire:
    """The proxy and its peers."""

    def __init__(self, proxy: Proxy) -> None:
        self.now = 0.0
        self.out: list[tuple[str, bytes]] = []
        self.last: dict[str, tuple[Flow, bytes]] = {}
        self._flows: dict[tuple[str, str, int], Flow] = {}
        self.parties = {name: Party(name) for name in PEERS}
        self.events: list[Event] = []
        self.told: list[Event] = []
        self.proxies = [proxy]
        self.at = 0
        proxy.keep_events()
        self.collect()

    @property
    def proxy(self) -> Proxy:
        """The worker that messages reach."""
        return self.proxies[self.at]

    @proxy.setter
    def proxy(self, proxy: Proxy) -> None:
        self.proxies[self.at] = proxy

    def flow(self, transport: str, address: str, port: int) -> Flow:
        """The flow that the transports would give the core for this remote address."""
        key = (transport, address, port)
        if key not in self._flows:
            fitting = [one for one in self.proxy.routing.listeners if one.transport == transport and one.ipv6 == (":" in address)]
            self._flows[key] = Flow(fitting[0], address, port, connection=0 if transport == "udp" else len(self._flows) + 1)
        return self._flows[key]

    def flow_of(self, name: str) -> Flow:
        """A peer's flow."""
        return self.flow(*PEERS[name])

    def name_of(self, flow: Flow) -> str:
        """Which peer a flow leads to, or its address."""
        for name, place in PEERS.items():
            if place == (flow.listener.transport, flow.address, flow.port):
                return name
        return f"{flow.listener.transport}:{flow.address}:{flow.port}"

    def give(self, data: bytes, flow: Flow) -> None:
        """One message in; what comes out is added to `out`."""
        self.proxy.receive(data, flow, self.now)
        self.collect()

    def collect(self) -> None:
        """Take what the core wants to send."""
        for _ in range(8):  # until no worker has anything for another
            for proxy in self.proxies:
                for owner, said in proxy.take_hangups():
                    self.proxies[owner].hear_of_hangup(said, self.now)
            if len(self.proxies) > 1 and not self._hand_over():
                break
        for proxy in self.proxies:
            events = proxy.take_events()
            self.events += events
            self.told += events
            for flow, data in proxy.take_sends():
                name = self.name_of(flow)
                self.last[name] = (flow, data)
                self.out.append((name, data))
            assert proxy.counters.internal_errors == 0, "\n".join(proxy.faults)

    def _hand_over(self) -> bool:
        """Give workers what reached another one; False where there was nothing."""
        moved = [parcel for proxy in self.proxies for parcel in proxy.take_handovers()]
        for owner, flow, data in moved:
            if owner < len(self.proxies):
                self.proxies[owner].receive_handed(data, flow, self.now)
        return bool(moved)

    def calls(self) -> dict[str, int]:
        """Calls that are not over, of all workers, by trunk; those without any left out."""
        total: dict[str, int] = {}
        for proxy in self.proxies:
            for trunk, count in proxy.gauges()["calls"].items():
                assert count >= 0, f"{count} calls of {trunk}"
                total[trunk] = total.get(trunk, 0) + count
        return {trunk: count for trunk, count in total.items() if count}

    def wait(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = round(self.now + seconds, 6)
        while True:
            due = min(((due, at) for at, proxy in enumerate(self.proxies) if (due := proxy.next_timer()) is not None), default=None)
            if due is None or due[0] > end + 1e-7:
                break
            self.now = max(self.now, due[0])
            self.proxies[due[1]].handle_timer(self.now)
            self.collect()
        self.now = end

    def lines(self) -> list[tuple[str, bytes]]:
        """What came out and was not looked at yet: to whom, and the start line."""
        return [(who, data.partition(b"\r\n")[0]) for who, data in self.out]

    def got(self, who: str) -> SipMessage:
        """The next message that came out, which must be for `who`."""
        assert self.out, "nothing came out"
        to, data = self.out.pop(0)
        assert to == who, f"came out to {to}:\n{data.decode(errors='replace')}"
        return SipMessage.parse(data)

    def ask(self, who: str, method: str, options: str = "", headers: tuple[str, ...] = ()) -> None:
        """A peer sends a request (`options` as in a transcript)."""
        self.give(self.parties[who].request(method, _options(options), list(headers)), self.flow_of(who))

    def reply(self, who: str, status: int, method: str | None = None, options: str = "", headers: tuple[str, ...] = ()) -> None:
        """A peer answers a request that it got."""
        self.give(self.parties[who].response(status, method, _options(options), list(headers)), self.flow_of(who))

    def learn(self, who: str, message: SipMessage) -> None:
        """Have a peer take note of what came to it, at whichever of its ports."""
        transport, _, place = who.partition(":")
        for name, (used, address, _) in PEERS.items():
            if who == name or (transport == used and place.rpartition(":")[0] == address):
                self.parties[name].learn(message)
                return

    def learnt(self, who: str) -> SipMessage:
        """As `got`; the peer takes note of it."""
        message = self.got(who)
        self.learn(who, message)
        return message

    def tables(self) -> dict[str, int]:
        """How much the core still holds; all of it is 0 when every call is long over."""
        proxy = self.proxy
        proxy._answers._refused.find(b"", self.now)
        return {
            "servers": len(proxy._layer.servers),
            "clients": len(proxy._layer.clients),
            "timers": len(proxy._layer.timers),
            "parked": len(proxy._screening.parked),
            "refused": len(proxy._answers._refused),
            "lookups": len(proxy.take_lookups()),
            "handovers": len(proxy.take_handovers()),
        }


def _options(text: str) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] or "yes" for word in text.split()}
