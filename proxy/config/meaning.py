"""What a configuration means, beyond its types: names that must exist, addresses that must be usable, keys that are not in force yet."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from os.path import normpath
from typing import Final, TypeVar

from proxy.config.addresses import SourcePattern, Target, parse_host_port, parse_source, parse_target
from proxy.config.certificates import check_certificates
from proxy.config.customers import check_customers
from proxy.config.journal import check_journal
from proxy.config.lookups import check_lookups
from proxy.config.model import MOST_WORKERS, Config, Listen, NextHop
from proxy.config.report import Report, name_of
from proxy.config.signing import check_signing
from proxy.config.trace import check_trace
from proxy.config.worker_ports import check_worker_ports
from rules.call import Trunk
from rules.directory import FILES, time_zone
from rules.directory.fields import is_category
from rules.numbers import normalise
from rules.profile import REDIRECT, known_profiles, redress_fault
from rules.toml_lines import Path as KeyPath

T = TypeVar("T")

LONGEST_NAME: Final = 4096
LONGEST_CALL: Final = 86400.0
"""Seconds: what is told of a call later than a day and an hour after its beginning would be a record of its own."""
"""Octets of a path that Linux takes (PATH_MAX)."""

NOT_IN_FORCE: Final = {
    "tls_identity": "TLS is not in this version: no peer is recognised by its certificate",
}
"""Keys of a trunk that are accepted without effect."""


def check(config: Config, report: Report) -> None:
    """Note every fault and warning."""
    _check_node(config, report)
    if not config.listen and "listen" not in report.incomplete:
        report.fault((), "no [[listen]]: nothing would be received", "", '[[listen]] with address = "127.0.0.1:5060"')
    _check_listen(config.listen, report)
    if not any(fault.key.startswith(("listen", "node.workers")) for fault in report.faults):
        check_worker_ports(config, report)
    _check_trunks(config, report)
    _check_next_hops(config, report)
    maybe = "trunk" in report.incomplete or any(trunk.kind == "international" for trunk in config.trunk)
    check_lookups(config.lookup, maybe, report)
    check_certificates(config.certificates, report)
    check_signing(config.signing, config.trunk, [index for index, hop in enumerate(config.next_hop) if hop.sign], report)
    check_trace(config.trace, config.trunk, report)
    if config.admin is not None:
        _try(report, ("admin", "listen"), config.admin.listen, partial(parse_host_port, default_port=None))
    if config.journal is not None:
        check_journal(config.journal, config.node.name, report)
    _check_files(config, report)
    for place, name in enumerate(config.directory.categories):
        if not is_category(name):
            report.fault(("directory", "categories", place), "not a category", name, "one word, such as finance")


def _check_files(config: Config, report: Report) -> None:
    """Names that can name a file, and each list once: twice it would count twice, and as two kinds it would take back what it says."""
    names = [((kind, place), name) for kind in FILES for place, name in enumerate(getattr(config.directory, kind))]
    seen: dict[str, str] = {}
    for (kind, place), name in names:
        at: KeyPath = ("directory", kind, place)
        if not can_name_a_file(name):
            report.fault(at, "not the name of a file", name or '""', "a file's name, relative to this file's folder")
            continue
        first = seen.setdefault(normpath(config.path(name)), name_of(at))
        if first != name_of(at):
            report.fault(at, f"stands in {first} already", name, "name each file once")
    for key in ("key", "certificate"):
        name = getattr(config.signing, key, None)
        if name is not None and not can_name_a_file(name):
            report.fault(("signing", key), "not the name of a file", name or '""', "a PEM file, relative to this file's folder")
    if config.policy.file is not None and not can_name_a_file(config.policy.file):
        name = config.policy.file or '""'
        report.fault(("policy", "file"), "not the name of a file", name, "leave it out for the packaged policy")


def can_name_a_file(name: str) -> bool:
    """Whether a file can have this name."""
    return bool(name) and name.isprintable() and len(name.encode("utf-8", "replace")) < LONGEST_NAME


def _check_node(config: Config, report: Report) -> None:
    node = config.node
    if not 0 <= node.workers <= MOST_WORKERS:
        report.fault(("node", "workers"), "out of range", node.workers, f"0 (one per core) to {MOST_WORKERS}")
    for key in ("max_transactions", "max_connections", "max_connections_per_source"):
        value = getattr(node, key)
        if value < 1:
            report.fault(("node", key), "must be at least 1", value, "leave it out for the default")
    if node.longest_call < 60:
        report.fault(("node", "longest_call"), "is too short", f"{node.longest_call:g} s", 'at least "1m"; "12h" by default')
    elif node.longest_call > LONGEST_CALL:
        report.fault(("node", "longest_call"), "is too long", f"{node.longest_call:g} s", 'at most "24h"; "12h" by default')
    _try(report, ("node", "time_zone"), node.time_zone, time_zone)
    if not node.name:
        report.fault(("node", "name"), "is empty", '""', "the host's name, for example")


def _check_listen(listens: tuple[Listen, ...], report: Report) -> None:
    seen: dict[tuple[str, str, int], int] = {}
    for index, listen in enumerate(listens):
        at = report.place("listen", index)
        bound = _try(report, (*at, "address"), listen.address, parse_host_port)
        if not listen.transports:
            report.fault((*at, "transports"), "is empty", "[]", '["udp", "tcp"]')
        if bound is None:
            continue
        named = bound
        if listen.advertise is not None:
            advertised = _try(report, (*at, "advertise"), listen.advertise, partial(parse_host_port, default_port=bound[1]))
            if advertised is None:
                continue
            named = advertised
            if (":" in named[0]) != (":" in bound[0]):
                report.fault((*at, "advertise"), "is of another family than address", listen.advertise, "IPv4 for IPv4, IPv6 for IPv6")
        if ipaddress.ip_address(named[0]).is_unspecified:
            key = "address" if listen.advertise is None else "advertise"
            remedy = 'advertise = "the address that peers send to", or one [[listen]] for each address'
            report.fault((*at, key), "a wildcard address cannot be named in Via and Record-Route", getattr(listen, key), remedy)
        for transport in listen.transports:
            first = seen.setdefault((transport, *bound), index)
            if first != index or listen.transports.count(transport) > 1:
                what = f"{transport} is bound there already, by {name_of(report.place('listen', first))}"
                report.fault((*at, "address"), what, listen.address, "each address, port and transport once")
                break


def _check_trunks(config: Config, report: Report) -> None:
    hops = {hop.id for hop in config.next_hop}
    ids: dict[str, int] = {}
    sources: dict[SourcePattern, str] = {}
    for index, trunk in enumerate(config.trunk):
        at = report.place("trunk", index)
        _check_id(report, at, trunk.id, ids, index)
        for key in ("next_hop", "deliver"):
            hop = getattr(trunk, key)
            if hop is not None and hop not in hops and "next_hop" not in report.incomplete:
                remedy = f"one of {', '.join(sorted(hops))}" if hops else "a [[next_hop]]"
                report.fault((*at, key), "no [[next_hop]] has this id", hop, remedy)
        asks = trunk.reject_profile == REDIRECT
        if trunk.next_hop is None and trunk.kind != "core" and not asks and not report.given((*at, "next_hop")):
            what = f"next_hop is missing: calls from {_kind(trunk)} trunk have nowhere to go"
            report.fault(at, what, "", 'next_hop = "the id of a [[next_hop]]"')
        _check_sources(report, at, trunk, sources)
        if trunk.home_area is not None:
            _check_area(report, (*at, "home_area"), trunk.home_area)
        if trunk.reject_profile not in known_profiles():
            remedy = f"one of {', '.join(known_profiles())}"
            report.fault((*at, "reject_profile"), "no such profile in this version", trunk.reject_profile, remedy)
        elif (wrong := redress_fault(trunk.reject_profile, trunk.redress)) is not None:
            report.fault((*at, "redress" if trunk.redress else "reject_profile"), wrong[0], trunk.redress, wrong[1])
        check_customers(report, at, trunk)
        _check_redirect(report, at, trunk)
        for key in ("voicemail", "iot_voice"):
            for place, number in enumerate(getattr(trunk, key)):
                if normalise(number, trunk.home_area).canonical is None:
                    report.fault((*at, key, place), "not a number", number, "a number with its country code, for example +8675583123456")
        if not 0 < trunk.emergency_cps < inf:
            what = "must be above 0 and finite: emergency calls cannot be shut off"
            report.fault((*at, "emergency_cps"), what, trunk.emergency_cps, "calls a second, 10 by default")
        _check_limits(report, at, trunk)
        for key, message in NOT_IN_FORCE.items():
            if report.given((*at, key)):
                report.warn((*at, key), message)


def _check_limits(report: Report, at: KeyPath, trunk: Trunk) -> None:
    if trunk.max_cps is not None and not 0 < trunk.max_cps < inf:
        report.fault((*at, "max_cps"), "must be above 0 and finite", trunk.max_cps, "calls a second; leave it out for no limit")
    if trunk.max_calls is not None and trunk.max_calls < 0:
        report.fault((*at, "max_calls"), "must not be negative", trunk.max_calls, "calls at a time; leave it out for no limit")
    if report.given((*at, "over_limit")) and trunk.max_cps is None and trunk.max_calls is None:
        report.warn((*at, "over_limit"), "has no effect but on calls above the limits of segments, without max_cps or max_calls")


def _check_redirect(report: Report, at: KeyPath, trunk: Trunk) -> None:
    """A trunk that asks us as a redirect server: what has no effect on it, and what cannot be done for it."""
    if trunk.reject_profile != REDIRECT:
        if report.given((*at, "go_on")):
            report.warn((*at, "go_on"), f'has no effect without reject_profile = "{REDIRECT}"')
        return
    only_answered = f'has no effect with reject_profile = "{REDIRECT}": its requests are answered, and none is sent on'
    if trunk.max_calls is not None:
        report.warn((*at, "max_calls"), f'has no effect with reject_profile = "{REDIRECT}": how long its calls last is not seen')
    for key in ("next_hop", "methods", "attest", "origid", "over_limit"):
        if report.given((*at, key)):
            report.warn((*at, key), only_answered)
    cannot = "a redirect server cannot {}: such calls are rejected"
    if trunk.kind == "international":
        for key in ("unverified", "roaming_failure"):
            if getattr(trunk, key) == "withhold":
                remedy = f'; {key} = "mark" lets them go on'
                report.warn((*at, key), cannot.format("withhold a number") + remedy)
    if trunk.kind == "enterprise" and trunk.hidden == "strip":
        report.warn((*at, "hidden"), cannot.format("strip Privacy"))


def _check_sources(report: Report, at: KeyPath, trunk: Trunk, sources: dict[SourcePattern, str]) -> None:
    if not trunk.sources and not report.given((*at, "sources")):
        report.warn(at, f"trunk {trunk.id} has no sources: no call can come in on it")
    for place, text in enumerate(trunk.sources):
        pattern = _try(report, (*at, "sources", place), text, parse_source)
        if pattern is None:
            continue
        if pattern.network.prefixlen == 0:
            report.warn((*at, "sources", place), f"{text} is every address there is: anyone may use trunk {trunk.id}")
        other = sources.setdefault(pattern, trunk.id)
        if other != trunk.id:
            report.fault((*at, "sources", place), f"is a source of trunk {other} already", text, "each source on one trunk")


def _check_area(report: Report, at: KeyPath, area: str) -> None:
    if not (area.isascii() and area.isdigit()):
        report.fault(at, "not digits", area, 'an area code, for example "755"')
    elif area.startswith("0"):
        report.fault(at, "an area code stands here without its 0", area, f'"{area.lstrip("0")}"')
    elif not any(normalise(f"+86{area}{'2' * length}", None).area == area for length in (7, 8)):
        report.fault(at, "no such area code in the number plan", area, 'an area code, for example "755"')


def _check_next_hops(config: Config, report: Report) -> None:
    bound: set[Target] = set()
    known = not any(fault.key.startswith("listen") for fault in report.faults)
    for listen in config.listen:
        try:
            bound |= {Target(*address, transport) for address in (listen.bound, listen.named) for transport in listen.transports}
        except ValueError:  # noted where the listeners are checked
            continue
    families = {(":" in host, transport) for host, _port, transport in bound}
    if known and not any(fault.key.startswith("node") for fault in report.faults):
        bound |= {Target(one.host, port, "udp") for one in config.listeners() for port in config.own_ports(one)}
    ids: dict[str, int] = {}
    used = {name for trunk in config.trunk for name in (trunk.next_hop, trunk.deliver)}
    for index, hop in enumerate(config.next_hop):
        at = report.place("next_hop", index)
        _check_id(report, at, hop.id, ids, index)
        if not hop.targets:
            report.fault((*at, "targets"), "is empty", "[]", '["sip:192.0.2.1:5060"]')
        if hop.options_interval and hop.options_interval < 1:
            report.fault((*at, "options_interval"), "is too short", f"{hop.options_interval:g} s", 'at least "1s", or "0s" for none')
        if hop.no_response < 0.5:
            what = "is too short: one lost datagram would move the call"
            report.fault((*at, "no_response"), what, f"{hop.no_response:g} s", 'at least "500ms" (T1)')
        if hop.id not in used and "trunk" not in report.incomplete:
            report.warn(at, f"no trunk uses next hop {hop.id}")
        for path, text, target in _targets(report, at, hop):
            if target in bound:
                report.fault(path, "is an address of this node itself: calls would come back", text, "the address of the next switch")
            elif known and (":" in target.host, target.transport) not in families:
                family = "IPv6" if ":" in target.host else "IPv4"
                what = f"no listener for {target.transport} over {family} to send from"
                report.fault(path, what, text, f'a [[listen]] with an {family} address and transports = ["{target.transport}"]')


def _targets(report: Report, at: KeyPath, hop: NextHop) -> Iterable[tuple[KeyPath, str, Target]]:
    seen: set[Target] = set()
    for key in ("targets", "failover"):
        for place, text in enumerate(getattr(hop, key)):
            path = (*at, key, place)
            target = _try(report, path, text, parse_target)
            if target is None:
                continue
            if target in seen:
                report.fault(path, "stands in this next hop already", text, "each target once")
            seen.add(target)
            yield path, text, target


def _check_id(report: Report, at: KeyPath, name: str, ids: dict[str, int], index: int) -> None:
    if not name or not name.isprintable() or any(character in name for character in ' ",;<>'):
        report.fault((*at, "id"), "not usable as an id", f'"{name}"', "letters, digits, . - and _")
    first = ids.setdefault(name, index)
    if first != index:
        report.fault((*at, "id"), f"{name_of(report.place(str(at[0]), first))} has this id already", name, "each id once")


def _kind(trunk: Trunk) -> str:
    return f"an {trunk.kind}" if trunk.kind[0] in "ei" else f"a {trunk.kind}"


def _try(report: Report, at: KeyPath, text: str, parse: Callable[[str], T]) -> T | None:
    """The parsed value, or None after a fault was noted."""
    try:
        return parse(text)
    except ValueError as error:
        report.fault(at, str(error), text)
        return None
