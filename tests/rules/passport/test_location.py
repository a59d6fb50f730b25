"""URLs of certificates: what passes has one reading only."""

from __future__ import annotations

import pytest

from rules.passport import parse_authority, parse_location

GOOD = {
    "https://cert.example/a.pem": ("https://cert.example/a.pem", "cert.example", 443, "cert.example"),
    "HTTPS://CERT.Example:443": ("https://cert.example/", "cert.example", 443, "cert.example"),
    "https://cert.example:8443/a/b?c=d&e=%20": ("https://cert.example:8443/a/b?c=d&e=%20", "cert.example", 8443, "cert.example:8443"),
    "https://a-b.c1.xn--p1ai/": ("https://a-b.c1.xn--p1ai/", "a-b.c1.xn--p1ai", 443, "a-b.c1.xn--p1ai"),
    "https://cert.example?x": ("https://cert.example/?x", "cert.example", 443, "cert.example"),
}
BAD = [
    "",
    "https://",
    "https:///a.pem",
    "http://cert.example/a.pem",
    "ftp://cert.example/a.pem",
    "//cert.example/a.pem",
    "https:cert.example/a.pem",
    "https://user@cert.example/a.pem",
    "https://user:word@cert.example/a.pem",
    "https://cert.example@127.0.0.1/",
    "https://cert.example#@127.0.0.1/",
    "https://cert.example/a.pem#b",
    "https://cert.example\\@127.0.0.1/",
    "https://cert.example/a b",
    "https://cert.example/a\r\nHost: x",
    "https://cert.example/\u00e9",
    "https://c\u0435rt.example/",
    "https://cert.example./",
    "https://.example/",
    "https://cert..example/",
    "https://-cert.example/",
    "https://cert-.example/",
    "https://cert_1.example/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://017700000001/",
    "https://example.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://cert.example:0/",
    "https://cert.example:65536/",
    "https://cert.example:/",
    "https://cert.example:443:443/",
    "https://cert.example:4４3/",
    "https://*.example/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 127 + "example/",
    "https://cert.example/" + "a" * 1024,
    " https://cert.example/",
    "https://cert.example/\n",
]


@pytest.mark.parametrize("url", GOOD)
def test_good(url: str) -> None:
    location = parse_location(url)
    assert tuple(location) == GOOD[url]
    assert parse_location(location.url) == location


@pytest.mark.parametrize("url", BAD)
def test_bad(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_location(url)


@pytest.mark.parametrize(
    "text", ["", "*", "*.example", "cert.example/", "https://cert.example", "10.0.0.1", "[::1]", "a b", "a:0", "a:x", "a:1:2"]
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match=r" \| a host name"):
        parse_authority(text)
