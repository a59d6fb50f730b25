"""Which addresses a fetch may connect to: those of the public Internet, and nothing that stands for anything else."""

from __future__ import annotations

import ipaddress
from typing import Final

_NOT_PUBLIC_4: Final = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers (RFC 6598)
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; clouds keep their secrets at 169.254.169.254
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
]
"""The special-purpose registry of IANA (RFC 6890). Python's own `is_global` has changed its mind about several between releases."""

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""Everything else in IPv6 is loopback, local, multicast, mapped IPv4 (::ffff:0:0/96), NAT64 (64:ff9b::/96) or not assigned."""

_NOT_PUBLIC_6: Final = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
]


def is_public(text: str) -> bool:
    """Whether an address, as a resolver gives it, is a global unicast address; False for what is no address, or has a zone."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address.scope_id is None and address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)
