"""The tables of sipwarden.toml as Structs. Trunks and the directory's files are the rules' own types."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from proxy.config.addresses import parse_host_port
from proxy.config.certificates import CERTIFICATE, CertificatesConfig
from proxy.config.duration import Duration
from proxy.config.faults import ConfigWarning
from proxy.config.lookups import LookupConfig
from proxy.config.signing import SigningConfig
from proxy.config.worker_ports import parse_range
from proxy.flow import Listener
from rules.call import Trunk
from rules.directory import DirectoryConfig

MOST_WORKERS: Final = 256


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[node]`. Limits hold for each worker."""

    name: str = "sipwarden"
    workers: int = 0
    """Worker processes; 0 is one per core."""
    time_zone: str = "Asia/Shanghai"
    """What the hours of segments and of marketing are meant in."""
    secret_file: str = "var/node.secret"
    """Key of dialog tokens and To tags, shared by all nodes that take over for each other; made where it is absent."""
    worker_ports: str | None = None
    """A range of UDP ports, "5100-5131", of which each worker has its own beside the shared address and names it in Via."""
    steering: bool = True
    """Whether the kernel gives datagrams to workers by Call-ID; else by the peer's address and port."""
    max_transactions: int = 200_000
    longest_call: Duration = Duration(12 * 3600.0)
    """A call that nobody has ended by then counts no more."""
    max_connections: int = 4096
    max_connections_per_source: int = 256


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[listen]]`: one address, for one or more transports."""

    address: str
    transports: tuple[Literal["udp", "tcp"], ...] = ("udp", "tcp")
    advertise: str | None = None
    """What Via and Record-Route name instead of `address`: an IP address, with or without a port."""

    @property
    def bound(self) -> tuple[str, int]:
        """Address and port to bind."""
        return parse_host_port(self.address)

    @property
    def named(self) -> tuple[str, int]:
        """Address and port that peers are told."""
        host, port = self.bound
        return (host, port) if self.advertise is None else parse_host_port(self.advertise, port)


class NextHop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[next_hop]]`: calls go to the first of `targets` that is up, then to `failover` in order. Durations in seconds."""

    id: str
    targets: tuple[str, ...]
    failover: tuple[str, ...] = ()
    options_interval: Duration = Duration(0.0)
    """Time between OPTIONS pings; 0: none, and the target always counts as up."""
    no_response: Duration = Duration(4.0)
    """Nothing heard from a target in this time, not even 100: the next one is tried."""
    verstat: bool = True
    """Whether telephone numbers of callers go there with what was found of them (verstat, 3GPP TS 24.229 §7.2A.20)."""
    sign: bool = False
    """Whether calls that go there are signed with what `[signing]` names (Identity, RFC 8224)."""


class PolicyConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[policy]`: without `file` the packaged default order."""

    file: str | None = None


class JournalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[journal]`. Retention in seconds."""

    path: str = "var/journal"
    retention: Duration = Duration(184 * 86400.0)


class AdminConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[admin]`: where /metrics, /healthz and /readyz are served."""

    listen: str = "127.0.0.1:9090"

    @property
    def bound(self) -> tuple[str, int]:
        """Address and port to bind."""
        return parse_host_port(self.listen, None)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, checked. Relative file names in it count from `base`."""

    file: str
    base: Path
    text: str
    node: Node = Node()
    listen: tuple[Listen, ...] = ()
    trunk: tuple[Trunk, ...] = ()
    next_hop: tuple[NextHop, ...] = ()
    lookup: tuple[LookupConfig, ...] = ()
    certificates: CertificatesConfig = CertificatesConfig()
    signing: SigningConfig | None = None
    policy: PolicyConfig = PolicyConfig()
    directory: DirectoryConfig = DirectoryConfig()
    journal: JournalConfig | None = None
    admin: AdminConfig | None = None
    warnings: tuple[ConfigWarning, ...] = ()

    @property
    def trunks(self) -> dict[str, Trunk]:
        """Trunks by id."""
        return {trunk.id: trunk for trunk in self.trunk}

    @property
    def services(self) -> dict[str, float]:
        """Kinds of look-up that there is a service for, each with its deadline in seconds."""
        services = {lookup.kind: float(lookup.deadline) for lookup in self.lookup}
        if self.certificates.hosts:
            services[CERTIFICATE] = float(self.certificates.deadline)
        return services

    def path(self, name: str) -> Path:
        """Where a file that the configuration names is, one that is only read."""
        return self.base / name

    def shown_path(self, name: str) -> str:
        """That file as messages name it: from where the configuration file itself was named."""
        return str(Path(self.file).parent / name)

    def state_path(self, name: str) -> Path:
        """Where a file that this program writes is: relative names count from the service's state directory where systemd gave one."""
        return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or self.base) / name

    def listeners(self) -> list[Listener]:
        """One Listener for each address and transport, in the order of the file; its place is its index."""
        pairs = [(transport, *listen.named) for listen in self.listen for transport in listen.transports]
        return [Listener(index, *pair) for index, pair in enumerate(pairs)]

    def worker_ports(self, worker: int) -> list[tuple[str, str, int]]:
        """Transport, address and port to bind for a worker alone, one for each UDP listener in their order; none without worker_ports.

        The same at every start, whatever the number of workers: a worker's ports follow from its number.
        """
        if self.node.worker_ports is None:
            return []
        first, _ = parse_range(self.node.worker_ports)
        hosts = self._udp_hosts()
        families = [":" in host for host in hosts]
        start = first + worker * self.ports_each
        return [("udp", host, start + families[:at].count(families[at])) for at, host in enumerate(hosts)]

    @property
    def ports_each(self) -> int:
        """Ports of `worker_ports` that each worker has: one for each UDP listener of the family that has most."""
        families = [":" in host for host in self._udp_hosts()]
        return max(families.count(True), families.count(False), 1)

    def own_ports(self, listener: Listener) -> range:
        """Ports that Via may name for this listener beside its own: those of any number of workers."""
        if self.node.worker_ports is None or listener.transport != "udp":
            return range(0)
        first, last = parse_range(self.node.worker_ports)
        return range(first, min(last, first + MOST_WORKERS * self.ports_each - 1) + 1)

    def _udp_hosts(self) -> list[str]:
        return [listen.bound[0] for listen in self.listen if "udp" in listen.transports]

    def bindings(self) -> list[tuple[str, str, int]]:
        """Transport, address and port to bind for each of `listeners()`."""
        return [(transport, *listen.bound) for listen in self.listen for transport in listen.transports]
