"""One service over real connections: what it answers, and everything that it may do instead."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.config import Duration, LookupConfig, parse_url
from proxy.lookup import NoAnswer
from proxy.lookup.http import HttpService, ask_once
from tests.proxy.lookup.service import LookupService, serving
from tests.proxy.node import ROOT


def config(service: LookupService | None = None, **changed: Any) -> LookupConfig:
    url = "http://127.0.0.1:1/{number}" if service is None else service.url
    settings: dict[str, Any] = {"kind": "roaming", "url": url, "deadline": Duration(0.3)} | changed
    return LookupConfig(**settings)


async def refused(service: LookupService, does: str, **changed: Any) -> NoAnswer:
    service.does = does
    started = time.monotonic()
    with pytest.raises(NoAnswer) as raised:
        await ask_once(config(service, **changed), "+8613802881946")
    assert time.monotonic() - started < 1.0
    return raised.value


async def test_the_number_is_percent_encoded_and_connections_are_kept() -> None:
    with serving() as service:
        asker = HttpService(config(service))
        try:
            for key in ("+8613802881946", "a/../b?c=d&e#f\r\n中 %"):
                assert await asker(key) == "abroad"
            assert await asyncio.gather(*(asker(str(key)) for key in range(5))) == ["abroad"] * 5
        finally:
            await asker.close()
        assert service.asked[0] == "/where?number=%2B8613802881946"
        assert parse_qs(urlsplit(service.asked[1]).query) == {"number": ["a/../b?c=d&e#f\r\n中 %"]}
        assert service.connections <= 5


@pytest.mark.parametrize(
    ("does", "why", "alive"),
    [
        ("hang", "nothing came within 0.3 s", False),
        ('0.6 {"state": "abroad"}', "nothing came within 0.3 s", False),
        ("drip", "nothing came within 0.3 s", False),
        ("endless", "nothing came within 0.3 s", False),
        ("close", "Server disconnected", False),
        ("cut", "broke off", False),
        ("garbage", "not HTTP", False),
        ("huge", "larger than 65536 octets", False),
        ("redirect", "status 302", False),
        ("500", "status 500", False),
        ("503", "status 503", False),
        ("204", "status 204", False),
        ("429", "status 429", False),
        ("404", "status 404", True),
        ("400", "status 400", True),
        ("abroad", "is not JSON", False),
        ("\ufeff", "is not JSON", False),
        ("[" * 60000, "is not JSON", False),
        ("{}", "has no state", False),
        ("[1]", "has no state", False),
        ('{"state": null}', "neither text nor number", False),
        ('{"state": {"now": "abroad"}}', "neither text nor number", False),
        ('{"state": "Abroad"}', "no answer is configured for 'Abroad'", False),
        ('{"state": true}', "no answer is configured for True", False),
        ('{"state": 1}', "no answer is configured for 1", False),
    ],
)
async def test_what_is_no_answer(does: str, why: str, alive: bool) -> None:
    with serving() as service:
        error = await refused(service, does)
        assert why in str(error)
        assert error.alive is alive
        assert "8613802881946" not in str(error)
        assert not any("elsewhere" in target for target in service.asked)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_https_with_a_certificate_that_is_trusted_and_one_that_is_not(tmp_path: Path) -> None:
    pem = tmp_path / "service.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=service"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(tmp_path / "cert")]
    subprocess.run(made, check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + (tmp_path / "cert").read_bytes())
    script = """if True:
        import asyncio, sys
        from proxy.config import LookupConfig
        from proxy.lookup import NoAnswer
        from proxy.lookup.http import ask_once
        try:
            print(asyncio.run(ask_once(LookupConfig(kind="roaming", url=sys.argv[1]), "1")))
        except NoAnswer as error:
            print(error)
    """
    with serving(pem) as service:
        for trusted in (True, False):
            environment = os.environ | {"SSL_CERT_FILE": str(tmp_path / "cert") if trusted else os.devnull}
            command = [sys.executable, "-c", script, service.url]
            said = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
            assert said.strip() == "abroad" if trusted else "certificate verify failed" in said
        assert len(service.asked) == 1


async def test_nobody_listens() -> None:
    with pytest.raises(NoAnswer):
        await ask_once(config(), "1")


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving() as service:
        assert await ask_once(config(service), "1") == "abroad"


@pytest.mark.parametrize(
    ("field", "body", "answer"),
    [
        ("state", '{"state": "ROAM"}', "abroad"),
        ("results.0.where", '{"results": [{"where": 1}]}', "abroad"),
        ("roaming", '{"roaming": true}', "abroad"),
        ("roaming", '{"roaming": false}', "home"),
        ("", '"HPLMN"', "home"),
        ("state", '{"state": "absent"}', "unknown"),
        ("state", '{"state": 0}', None),  # neither false nor any other value that is named
        ("state", '{"state": "abroad"}', None),  # the mapping says what means abroad
        ("results.1.where", '{"results": [{"where": 1}]}', None),
        ("results.x", '{"results": [1]}', None),
    ],
)
async def test_mapping(field: str, body: str, answer: str | None) -> None:
    means: dict[str, tuple[str | int | bool, ...]] = {"abroad": ("ROAM", 1, True), "home": (False, "HPLMN"), "unknown": ("absent",)}
    asker = HttpService(config(field=field, answers=means))
    if answer is None:
        with pytest.raises(NoAnswer):
            asker.meaning(body.encode())
    else:
        assert asker.meaning(body.encode()) == answer


async def test_not_found_can_be_an_answer() -> None:
    with serving() as service:
        service.does = "404"
        assert await ask_once(config(service, not_found="unknown"), "1") == "unknown"


async def test_other_kinds_take_what_comes() -> None:
    with serving() as service:
        service.does = '{"state": "green"}'
        assert await ask_once(config(service, kind="risk"), "1") == "green"


def test_the_host_never_depends_on_the_key() -> None:
    template = parse_url("https://[2001:db8::1]:8443/v1/{number}/x?again={key}")
    filled = template.fill("@evil.example/../?#\\\udcff")
    assert filled == "https://[2001:db8::1]:8443/v1/%40evil.example%2F..%2F%3F%23%5C%3F/x?again=%40evil.example%2F..%2F%3F%23%5C%3F"
    assert urlsplit(filled).netloc == "[2001:db8::1]:8443"
