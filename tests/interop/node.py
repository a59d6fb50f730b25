"""The real node between real peers: `sipwarden run` with a configuration that has a trunk and a next hop for every kind of peer."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.proxy.node import Node as BareNode
from tests.proxy.node import free_port as free_port
from tests.proxy.node import wait_until as wait_until

CALLER = "075583123401"
"""A number that the trunks here may present."""

STRANGER = "075599999999"
"""One that they may not."""

CALLED = "+8675522223333"
SWITCH = "127.0.0.5"
SPARE = "127.0.0.7"
"""A second target, for failover."""

CONFIG = """
[node]
name = "interop"
workers = {workers}
{node}

[[listen]]
address = "127.0.0.1:{port}"

[[listen]]
address = "[::1]:{port}"

[[trunk]]                               # UDP to UDP
id = "acme"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.2"]
home_area = "755"
next_hop = "switch"
deliver = "acme-pbx"

[[trunk]]                               # to a switch that listens on TCP
id = "acme-tcp"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.3"]
home_area = "755"
next_hop = "switch-tcp"

[[trunk]]                               # to a switch whose first target may be dead
id = "acme-two"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.4"]
home_area = "755"
next_hop = "two"

[[trunk]]                               # IPv6, known by its port
id = "acme-six"
customer = "acme"
kind = "enterprise"
sources = ["[::1]:{six_caller}"]
home_area = "755"
next_hop = "switch-six"

[[trunk]]
id = "acme-six-tcp"
customer = "acme"
kind = "enterprise"
sources = ["::1"]
home_area = "755"
next_hop = "switch-six-tcp"

[[trunk]]                               # through Kamailio to the switch
id = "acme-kamailio"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.6"]
home_area = "755"
next_hop = "kamailio"

[[trunk]]                               # from Kamailio
id = "kamailio"
customer = "acme"
kind = "enterprise"
sources = ["127.0.0.10:{kamailio}"]
home_area = "755"
next_hop = "switch"

[[trunk]]
id = "core"
kind = "core"
sources = ["127.0.0.5"]

[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.5:{switch}"]

[[next_hop]]
id = "switch-tcp"
targets = ["sip:127.0.0.5:{switch};transport=tcp"]

[[next_hop]]
id = "two"
targets = ["sip:127.0.0.5:{switch}"]
failover = ["sip:127.0.0.7:{switch}"]
no_response = "500ms"

[[next_hop]]
id = "switch-six"
targets = ["sip:[::1]:{switch}"]

[[next_hop]]
id = "switch-six-tcp"
targets = ["sip:[::1]:{switch};transport=tcp"]

[[next_hop]]
id = "acme-pbx"
targets = ["sip:127.0.0.2:{pbx}"]

[[next_hop]]
id = "kamailio"
targets = ["sip:127.0.0.10:{kamailio}"]

[directory]
segments = ["segments.csv"]

[admin]
listen = "127.0.0.1:{admin}"
"""
SEGMENTS = """customer,trunk,first,last
acme,acme,+8675583123400,+8675583123499
acme,acme-tcp,+8675583123400,+8675583123499
acme,acme-two,+8675583123400,+8675583123499
acme,acme-six,+8675583123400,+8675583123499
acme,acme-six-tcp,+8675583123400,+8675583123499
acme,acme-kamailio,+8675583123400,+8675583123499
acme,kamailio,+8675583123400,+8675583123499
"""


class Node(BareNode):
    """One node; `switch` and `pbx` are the ports of its peers behind, `kamailio` that of the proxy beside it."""

    def __init__(self, folder: Path, workers: int = 1, node: str = "") -> None:
        super().__init__(folder, workers)
        self._more = node
        self.pbx, self.kamailio, self.six_caller = free_port(), free_port(), free_port()
        self._write(workers)
        (folder / "segments.csv").write_text(SEGMENTS)

    def move(self, port: int) -> None:
        """Have another port, before the start."""
        self.port = port
        self._write(1)

    def _write(self, workers: int) -> None:
        ports = {
            "node": self._more,
            "port": self.port,
            "admin": self.admin,
            "switch": self.switch,
            "pbx": self.pbx,
            "kamailio": self.kamailio,
            "six_caller": self.six_caller,
        }
        self.text = CONFIG.format(workers=workers, **ports)
        self.config.write_text(self.text)

    def event(self, name: str) -> float:
        """One of the counters without a metric of its own."""
        return self.metric(f'sipwarden_events_total{{event="{name}"}}')

    @property
    def sent_again(self) -> float:
        """Messages that the node had to retransmit."""
        return self.metric('sipwarden_retransmissions_total{direction="out"}')

    @property
    def resident(self) -> int:
        """Octets of memory of all workers."""
        return int(self.metric("sipwarden_workers_resident_bytes"))

    @property
    def open_transactions(self) -> int:
        """Transactions that some worker still holds."""
        return int(self.metric('sipwarden_transactions{side="server"}') + self.metric('sipwarden_transactions{side="client"}'))

    def healthy(self) -> None:
        """Fail where this program had a defect or lost a worker."""
        assert self.process.poll() is None, self.log
        assert self.event("internal_errors") == 0, self.log
        assert self.metric("sipwarden_worker_restarts_total") == 0, self.log


@contextmanager
def running(folder: Path, workers: int = 1, node: str = "") -> Iterator[Node]:
    """A node that is ready, ended at the end; `node`: more lines of its [node]."""
    made = Node(folder, workers, node)
    made.start()
    try:
        yield made
    finally:
        assert made.stop() == 0, made.log


def bound(transport: str, address: str, port: int) -> bool:
    """Whether somebody has this address and port."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return True
        return False


def await_bound(transport: str, address: str, port: int, seconds: float = 10.0) -> None:
    """Wait until a peer listens."""
    wait_until(lambda: bound(transport, address, port), seconds)


def environment() -> dict[str, str]:
    """What peers run with: Debian keeps some of them in /usr/sbin."""
    return os.environ | {"PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))}
