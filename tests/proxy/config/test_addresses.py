from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import parse_source, parse_target
from proxy.config.addresses import parse_host_port


@pytest.mark.parametrize(
    ("text", "network", "port"),
    [
        ("192.0.2.1", "192.0.2.1/32", None),
        ("192.0.2.1:5060", "192.0.2.1/32", 5060),
        ("192.0.2.0/24", "192.0.2.0/24", None),
        ("192.0.2.0/24:5070", "192.0.2.0/24", 5070),
        ("2001:db8::1", "2001:db8::1/128", None),
        ("[2001:db8::1]:5060", "2001:db8::1/128", 5060),
        ("2001:db8::/32", "2001:db8::/32", None),
        ("[2001:db8::/32]:5070", "2001:db8::/32", 5070),
    ],
)
def test_source(text: str, network: str, port: int | None) -> None:
    pattern = parse_source(text)
    assert (str(pattern.network), pattern.port) == (network, port)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("sip:192.0.2.1", ("192.0.2.1", 5060, "udp")),
        ("sip:192.0.2.1:5070;transport=TCP", ("192.0.2.1", 5070, "tcp")),
        ("SIP:[2001:DB8:0::1]", ("2001:db8::1", 5060, "udp")),
        ("sip:[2001:db8::1]:5070;transport=udp", ("2001:db8::1", 5070, "udp")),
    ],
)
def test_target(text: str, target: tuple[str, int, str]) -> None:
    assert parse_target(text) == target


def test_host_port() -> None:
    assert parse_host_port("127.0.0.1") == ("127.0.0.1", 5060)
    assert parse_host_port("[::1]:9090", None) == ("::1", 9090)
    with pytest.raises(ValueError, match="no port"):
        parse_host_port("127.0.0.1", None)


@given(st.one_of(st.text(), st.from_regex(r"(sips?:)?[\[\]0-9a-f:./;=?@]{0,30}", fullmatch=True)))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    for parse in (parse_source, parse_target, parse_host_port):
        try:
            parse(text)
        except ValueError:
            pass
