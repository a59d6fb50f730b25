"""Addresses as they are written in sipwarden.toml: `host:port`, sources with prefixes, next-hop targets.

Every parser raises ValueError whose message says what is wrong and, after " | ", what would be right.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

SIP_PORT: Final = 5060

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORT: Final = re.compile(r"[0-9]{1,5}")
_TARGET: Final = re.compile(r"(?P<scheme>[A-Za-z]+):(?P<rest>[^;?]*)(?P<parameters>(?:;[^;?]*)*)(?P<headers>\?.*)?")


class SourcePattern(NamedTuple):
    """Where a trunk's messages come from: a network (a single address is a /32 or /128) and, where the operator names one, a port."""

    network: Network
    port: int | None


class Target(NamedTuple):
    """A next-hop target: an IP address in its shortest text form, a port and a transport in lower case."""

    host: str
    port: int
    transport: str


def parse_port(text: str) -> int:
    """A port from 1 to 65535."""
    if not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise ValueError(f"port {text!r} is not a number from 1 to 65535 | for example {SIP_PORT}")
    return int(text)


def split_port(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]` or `[v6]:port` taken apart; an IPv6 literal may stand without brackets where there is no port."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address with a port needs brackets around the address | for example [2001:db8::1]:5060")
        return host, parse_port(rest[1:]) if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, parse_port(port)
    return text, None


def parse_address(text: str) -> str:
    """An IPv4 or IPv6 address in its shortest text form (RFC 5952)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address | an IPv4 or IPv6 address, for example 192.0.2.1 or [2001:db8::1]") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise ValueError("an IPv6 address with a zone cannot be named in SIP | a global or unique local address")
    return address.compressed


def parse_host_port(text: str, default_port: int | None = SIP_PORT) -> tuple[str, int]:
    """`127.0.0.1:5060` or `[::1]:5060`; without a port `default_port`, or an error where there is none."""
    host, port = split_port(text.strip())
    if port is None:
        port = default_port
    if port is None:
        raise ValueError("there is no port | for example 127.0.0.1:9090")
    return parse_address(host), port


def parse_source(text: str) -> SourcePattern:
    """`192.0.2.1`, `192.0.2.0/24`, either with `:port`; an IPv6 address or prefix with a port in brackets."""
    host, port = split_port(text.strip())
    try:
        return SourcePattern(ipaddress.ip_network(host), port)
    except ValueError as error:
        if "has host bits set" in str(error):
            raise ValueError(f"the prefix has host bits set | {ipaddress.ip_network(host, strict=False)}") from None
        example = "an address or prefix, with or without a port: 192.0.2.1, 192.0.2.0/24, 192.0.2.1:5060, [2001:db8::1]:5060"
        raise ValueError(f"{host!r} is not an IP address or prefix | {example}") from None


def parse_target(text: str) -> Target:
    """`sip:IP[:port][;transport=udp|tcp]`, the form of a next hop's targets."""
    form = "sip:IP[:port][;transport=udp|tcp], for example sip:192.0.2.1:5060;transport=tcp or sip:[2001:db8::1]"
    found = _TARGET.fullmatch(text.strip())
    if found is None or found["scheme"].lower() not in ("sip", "sips"):
        raise ValueError(f"not a SIP URI | {form}")
    if found["scheme"].lower() == "sips":
        raise ValueError(f"TLS is not in this version | {form}")
    if found["headers"] or "@" in found["rest"]:
        raise ValueError(f"a target names a host only, without user part or headers | {form}")
    transport = "udp"
    for parameter in found["parameters"].lower().split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name != "transport":
            raise ValueError(f"the parameter {name!r} is not known here | {form}")
        if value == "tls":
            raise ValueError(f"TLS is not in this version | {form}")
        if value not in ("udp", "tcp"):
            raise ValueError(f"the transport {value!r} is not known | {form}")
        transport = value
    if found["rest"].count(":") > 1 and not found["rest"].startswith("["):
        raise ValueError(f"an IPv6 address in a URI stands in brackets | {form}")
    host, port = split_port(found["rest"])
    try:
        address = parse_address(host)
    except ValueError:
        raise ValueError(f"{host!r} is a host name: names need RFC 3263 look-ups, which this version does not make | {form}") from None
    if ipaddress.ip_address(address).is_unspecified:
        raise ValueError(f"{address} is no address that can be sent to | {form}")
    return Target(address, SIP_PORT if port is None else port, transport)
