"""Fetching certificates, over TLS on loopback: from whom, from where, and what becomes of servers and callers that mean no good."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import proxy.lookup.certificates as certificates
from proxy.config import CertificatesConfig
from proxy.config.duration import Duration
from proxy.lookup import Lookups, NoAnswer
from proxy.lookup.certificates import AT_ONCE_OF_A_HOST, NEW, REMEMBERED, CertificateService, desk_for, fetch_once
from proxy.transport.counters import TransportCounters
from rules.verdict import Lookup
from tests.proxy.lookup.service import LookupService, serving
from tests.rules.passport.material import Authority, run

SAN = "subjectAltName=DNS:cert.test,DNS:dead.test"


class Pki:
    """A server's key and certificate, and who issued it."""

    def __init__(self, folder: Path) -> None:
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=ca",
            "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"))  # fmt: skip
        request = run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=server",
                      "-keyout", str(folder / "server.key"))  # fmt: skip
        (folder / "san.cnf").write_text(SAN)
        run("x509", "-req", "-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"), "-set_serial", "7", "-days", "9",
            "-extfile", str(folder / "san.cnf"), "-out", str(folder / "server.pem"), given=request)  # fmt: skip
        self.server = folder / "both.pem"
        self.server.write_bytes((folder / "server.key").read_bytes() + (folder / "server.pem").read_bytes())
        self.ca = (folder / "ca.pem").read_bytes()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(pki: Pki, authority: Authority) -> Iterator[LookupService]:
    with serving(pki.server) as made:
        made.does = authority.chain("leaf")
        yield made


@pytest.fixture(autouse=True)
async def _connections_end() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0.05)


class Names:
    """A resolver under a test's control."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == ["hang"]:
            await asyncio.sleep(60)
        if not answer:
            raise OSError(0, "no such host")
        return answer


def loopback(address: str) -> bool:
    return address == "127.0.0.1"


def made(server: LookupService, pki: Pki, names: Names | None = None, *, more: tuple[str, ...] = ()) -> tuple[CertificateService, str]:
    """A service that may ask `cert.test`, and the beginning of its URLs."""
    port = server.server_address[1]
    config = CertificatesConfig(hosts=(f"cert.test:{port}", *more))
    service = CertificateService(config, pki.ca, resolve=names or Names(["127.0.0.1"]), allowed=loopback)
    return service, f"https://cert.test:{port}/"


async def answer(service: CertificateService, url: str, limit: float = 2.0) -> Any:
    try:
        async with asyncio.timeout(limit):
            return await service(url)
    except NoAnswer as error:
        return error if url not in str(error) else f"{error} tells the URL"


async def test_a_certificate(server: LookupService, pki: Pki, authority: Authority) -> None:
    service, url = made(server, pki)
    assert await answer(service, url + "a.pem;b=%20") == authority.chain("leaf")
    assert server.asked == ["/a.pem;b=%20"]


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("redirect", "status 302"),
        ("404", "status 404"),
        ("500", "status 500"),
        ("204", "status 204"),
        ("huge", "larger than 65536"),
        ("garbage", "not HTTP"),
        ("cut", "broke off"),
        ("close", "cannot be spoken to"),
        ("hello", "no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificate"),
    ],
)
async def test_a_server_that_means_no_good(does: str, why: str, server: LookupService, pki: Pki) -> None:
    server.does = does
    service, url = made(server, pki)
    error = await answer(service, url + "a")
    assert isinstance(error, NoAnswer) and why in str(error) and error.alive
    asked = len(server.asked)
    assert asked <= 2  # a connection that closes without a word is tried again once
    assert "failed lately" in str(await answer(service, url + "a"))
    assert len(server.asked) == asked


@pytest.mark.parametrize("does", ["hang", "drip", "endless"])
async def test_a_slow_server_is_given_up(does: str, server: LookupService, pki: Pki) -> None:
    server.does = does
    service, url = made(server, pki)
    started = time.monotonic()
    try:
        await answer(service, url, 0.3)
    except TimeoutError:
        pass
    assert time.monotonic() - started < 1
    assert "failed lately" in str(await answer(service, url))


async def test_the_body_is_read_no_further_than_allowed(server: LookupService, pki: Pki) -> None:
    server.does = "x" * 65_537
    service, url = made(server, pki)
    assert "larger" in str(await answer(service, url))


@pytest.mark.parametrize(
    "url",
    [
        "https://other.test/a",
        "https://cert.test/a",
        "http://cert.test:{port}/a",
        "https://CERT.test:{port}/a",
        "https://user@cert.test:{port}/a",
        "https://cert.test:{port}/a#b",
        "https://127.0.0.1:{port}/a",
        "https://[::1]:{port}/a",
        "file:///etc/passwd",
        "",
    ],
)
async def test_urls_that_nothing_is_asked_of(url: str, server: LookupService, pki: Pki) -> None:
    names = Names(["127.0.0.1"])
    service, _ = made(server, pki, names)
    assert isinstance(await answer(service, url.format(port=server.server_address[1]) or "x"), NoAnswer)
    assert (names.asked, server.connections) == ([], 0)


@pytest.mark.parametrize("addresses", [["127.0.0.2"], ["127.0.0.1", "10.0.0.1"], ["::1"], ["0.0.0.0"], ["cert.test"], ["127.0.0.1%1"]])
async def test_no_address_that_is_not_allowed(addresses: list[str], server: LookupService, pki: Pki) -> None:
    service, url = made(server, pki, Names(addresses))
    assert "not a public address" in str(await answer(service, url))
    assert server.connections == 0


async def test_loopback_is_not_allowed_by_itself(server: LookupService, pki: Pki) -> None:
    port = server.server_address[1]
    service = CertificateService(CertificatesConfig(hosts=(f"localhost:{port}",)), pki.ca)
    assert "not a public address" in str(await answer(service, f"https://localhost:{port}/"))
    assert server.connections == 0


async def test_an_answer_of_the_resolver_holds_for_its_connection_only(server: LookupService, pki: Pki) -> None:
    """Rebinding: what was checked is connected to; the next connection's address is checked again."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    service, url = made(server, pki, names)
    assert isinstance(await answer(service, url + "a"), str)
    assert names.asked == ["cert.test"]
    assert "169.254.169.254" in str(await answer(service, url + "b"))
    assert names.asked == ["cert.test"] * 2
    assert server.connections == 1


async def test_no_address(server: LookupService, pki: Pki) -> None:
    service, url = made(server, pki, Names([]))
    assert "no address" in str(await answer(service, url))


async def test_the_resolver_s_time_counts(server: LookupService, pki: Pki) -> None:
    service, url = made(server, pki, Names(["hang"]))
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await answer(service, url, 0.2)
    assert time.monotonic() - started < 1


async def test_the_server_proves_its_name(server: LookupService, pki: Pki, authority: Authority) -> None:
    port = server.server_address[1]
    config = CertificatesConfig(hosts=(f"else.test:{port}", f"cert.test:{port}"))
    for ca, host in ((pki.ca, "else.test"), (authority.path("root.pem").read_bytes(), "cert.test"), (None, "cert.test")):
        service = CertificateService(config, ca, resolve=Names(["127.0.0.1"]), allowed=loopback)
        assert "cannot be spoken to" in str(await answer(service, f"https://{host}:{port}/"))
        assert server.asked == []


async def test_no_proxy_of_the_environment(server: LookupService, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    service, url = made(server, pki)
    assert isinstance(await answer(service, url), str)


async def test_a_dead_host_stops_no_other(server: LookupService, pki: Pki) -> None:
    dead = "https://dead.test:1/"
    names = Names(["127.0.0.1"])
    service, url = made(server, pki, names, more=("dead.test:1",))
    for number in range(3):
        assert "cannot be spoken to" in str(await answer(service, f"{dead}{number}"))
    assert "is dead" in str(await answer(service, f"{dead}4"))
    assert names.asked == ["dead.test"] * 3
    assert isinstance(await answer(service, url), str)


async def test_invented_urls_make_few_fetches(server: LookupService, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    service, url = made(server, pki)
    assert isinstance(await answer(service, url + "good"), str)
    good, server.does = server.does, "404"
    for number in range(NEW + 30):
        assert isinstance(await answer(service, f"{url}{number}"), NoAnswer)
    assert len(server.asked) == NEW
    server.does = good
    assert isinstance(await answer(service, url + "good"), str)  # what it is known to have
    assert "only known ones" in str(await answer(service, url + "new"))
    monkeypatch.setattr(certificates, "PAUSE", 0.0)
    assert isinstance(await answer(service, url + "newer"), str)


async def test_so_they_do_where_the_host_has_something_at_any_of_them(server: LookupService, pki: Pki) -> None:
    service, url = made(server, pki)
    for number in range(NEW + 30):
        await answer(service, f"{url}{number}")
    assert len(server.asked) == NEW


async def test_beyond_that_a_url_which_is_asked_for_again_has_a_chance(
    server: LookupService, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, url = made(server, pki)
    good, server.does = server.does, "404"
    for number in range(NEW):
        await answer(service, f"{url}{number}")
    server.does = good
    for number in range(200):
        assert "only known ones" in str(await answer(service, f"{url}once{number}"))
    assert "only known ones" in str(await answer(service, url + "provider"))
    assert isinstance(await answer(service, url + "provider"), str)
    assert "only known ones" in str(await answer(service, url + "once0"))  # not within a second
    monkeypatch.setattr(certificates, "TRICKLE", 0.0)
    assert isinstance(await answer(service, url + "once0"), str)


async def test_a_url_with_a_query_is_not_fetched(server: LookupService, pki: Pki) -> None:
    service, url = made(server, pki)
    assert "has a query" in str(await answer(service, url + "a.pem?1"))
    assert "has a query" in str(await answer(service, url + "?"))
    assert server.asked == []


async def test_one_host_is_asked_a_few_at_once(server: LookupService, pki: Pki) -> None:
    service, url = made(server, pki)
    assert isinstance(await answer(service, url + "known"), str)
    server.does = "0.3 " + server.does
    urls = [*(f"{url}{number}" for number in range(AT_ONCE_OF_A_HOST + 3)), url + "known"]
    found = await asyncio.gather(*(answer(service, each) for each in urls))
    assert sum(isinstance(each, str) for each in found) == AT_ONCE_OF_A_HOST
    assert isinstance(found[-1], str)  # a place is kept for it


def test_what_is_used_is_kept_and_hosts_share_the_room() -> None:
    desk = desk_for(CertificatesConfig(hosts=("a.test", "b.test")))
    for url in ("https://a.test/used", "https://a.test/idle", "https://b.test/idle"):
        desk.take(url, 0, 0.0)
        desk.answered(url, "PEM", 0.0)
    for number in range(1000):
        url = f"https://a.test/{number}"
        desk.take(url, number, 0.0)
        desk.answered(url, "PEM", 0.0)
        assert desk.recall("https://a.test/used", 0.0) == "PEM"
    assert desk.recall("https://a.test/idle", 0.0) is None
    assert desk.recall("https://b.test/idle", 0.0) == "PEM"
    assert len(desk.answers) == REMEMBERED // 2 + 1


class Asker:
    """The look-ups of a worker, with answers by ticket."""

    def __init__(self, service: CertificateService, config: CertificatesConfig) -> None:
        self.answers: dict[int, object] = {}
        self.all_there = asyncio.Event()
        self.lookups = Lookups(asyncio.get_running_loop(), self._note, TransportCounters())
        self.lookups.register("certificate", service, desk_for(config), config.deadline)
        self.tickets = 0

    async def ask(self, *urls: str, deadline: float = 2.0) -> list[object]:
        tickets = range(self.tickets, self.tickets + len(urls))
        self.tickets += len(urls)
        self.all_there.clear()
        self.lookups.start([(Lookup("certificate", url, deadline), ticket) for url, ticket in zip(urls, tickets, strict=True)])
        async with asyncio.timeout(5):
            await self.all_there.wait()
        return [self.answers[ticket] for ticket in tickets]

    def _note(self, ticket: int, answer: object) -> None:
        assert ticket not in self.answers
        self.answers[ticket] = answer
        if len(self.answers) == self.tickets:
            self.all_there.set()

    async def end(self) -> None:
        self.lookups.close()
        await self.lookups.closed()


async def test_at_the_desk(server: LookupService, pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    """Equal questions are one fetch, answers are kept, failures are counted and never close the desk."""
    service, url = made(server, pki)
    config = CertificatesConfig(hosts=("cert.test",), deadline=Duration(0.3))
    asker = Asker(service, config)
    first = await asker.ask(url, url, url)
    assert first[0] is first[1] is first[2] is not None
    assert (await asker.ask(url))[0] is first[0]
    assert len(server.asked) == 1
    with caplog.at_level(logging.WARNING):
        server.does = "404"
        assert await asker.ask(*(f"{url}{number}" for number in range(200))) == [None] * 200
        server.does = "hang"
        assert await asker.ask(url + "hang") == [None]
    assert len([record for record in caplog.records if "look-up certificate" in record.message]) == 1
    (state,) = asker.lookups.states()
    assert (state.paused, state.open, state.kept) == (False, 0, 1)
    counts = asker.lookups.counts
    assert (counts["certificate", "answered"], counts["certificate", "joined"], counts["certificate", "cached"]) == (1, 2, 1)
    assert counts["certificate", "failed"] + counts["certificate", "refused"] + counts["certificate", "timeout"] == 201
    await asker.end()


async def test_as_configured(server: LookupService, pki: Pki) -> None:
    lookups = Lookups(asyncio.get_running_loop(), lambda ticket, answer: None, TransportCounters())
    lookups.fetch_certificates(CertificatesConfig(), None)
    assert lookups.states() == ()
    config = CertificatesConfig(hosts=("cert.test",))
    lookups.fetch_certificates(config, pki.ca)
    lookups.configure(())
    assert [state.kind for state in lookups.states()] == ["certificate"]
    window = lookups._windows["certificate"]
    lookups.fetch_certificates(config, pki.ca)
    assert lookups._windows["certificate"] is window
    lookups.fetch_certificates(config, None)
    assert lookups._windows["certificate"] is not window
    lookups.fetch_certificates(CertificatesConfig(), None)
    assert lookups.states() == ()
    lookups.close()
    await lookups.closed()


async def test_once(server: LookupService, pki: Pki) -> None:
    port = server.server_address[1]
    config = CertificatesConfig(hosts=(f"localhost:{port}",), deadline=Duration(1.0))
    with pytest.raises(NoAnswer, match="not a public address"):
        await fetch_once(config, pki.ca, f"https://localhost:{port}/")
