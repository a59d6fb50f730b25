"""The service of look-up "certificate": fetches what `x5u` of a PASSporT names, which is whatever a caller wrote.

So it asks only hosts of the allow list, over HTTPS, at addresses of the public Internet, follows nothing, and reads little. Whoever invents
URLs under a host that is allowed makes nobody fetch more than a few, whether the host has something there or not: a URL that failed is left
in peace for a while, and so is a host that is dead; of URLs that were never fetched only so many are in a while. What a host is known to
have is fetched all the same, with a place kept for it, and what is used stays. Above the limit a URL has a chance, once a second, that is
asked for again: the certificate of a provider who is new comes with each of its calls, an invented one with one call. A URL with a query,
of which a host may have any number that mean the same, is not fetched: certificates of PASSporTs lie at plain paths.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from proxy.config import CertificatesConfig
from proxy.lookup.desk import Answers, Breaker, Desk, NoAnswer
from proxy.lookup.public import is_public
from rules.passport import LARGEST_PEM, parse_location
from rules.passport.credential import Credential

HEADERS: Final = {
    "Accept": "application/pem-certificate-chain, application/x-pem-file, */*;q=0.1",
    "Accept-Encoding": "identity",
    "User-Agent": "sipwarden",
}

REMEMBERED: Final = 256
"""Certificates kept: 64 KiB at the most each, a few as a rule."""

AT_ONCE: Final = 32
"""Fetches under way."""

AT_ONCE_OF_A_HOST: Final = 4
"""Of one host; the last place is for what it is known to have."""

DEAD_AFTER: Final = 3
"""Connections in a row that failed, after which a host is left in peace for PAUSE."""

PAUSE: Final = 10.0
"""Seconds that a host is left in peace, and in which NEW are counted."""

NEW: Final = 20
"""URLs of a host that are fetched for the first time in PAUSE, good or not; then only those that have been fetched before."""

TRICKLE: Final = 1.0
"""Seconds between two beyond those, each of a URL that was asked for and refused before."""

FAILED_LIFE: Final = 30.0
"""Seconds for which a URL that failed is not fetched again."""

FAILED_KEPT: Final = 4096
KNOWN_LIFE: Final = 7 * 86400.0
KNOWN_KEPT: Final = 1024
NEVER: Final = 1 << 62
"""Failures after which no URL of any host would be asked: one dead host stops no other."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives every address of a host. May raise OSError."""


async def resolve_by_system(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver gives."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for _family, _type, _proto, _name, sockaddr in found))


class CheckedResolver(AbstractResolver):
    """Resolves a host for one connection, and gives its addresses only if every one may be connected to."""

    def __init__(self, resolve: Resolve, allowed: Callable[[str], bool]) -> None:
        self._resolve = resolve
        self._allowed = allowed

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """Raises NoAnswer where one of the addresses is not public: whoever mixes them in means no good."""
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise Unreachable(f"{host} has no address: {error.strerror or type(error).__name__}") from None
        if not addresses:
            raise Unreachable(f"{host} has no address")
        for address in addresses:
            if not self._allowed(address):
                raise Unreachable(f"{host} resolves to {address[:64]}, which is not a public address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Unreachable(NoAnswer):
    """The host could not be spoken to."""

    def __init__(self, why: str) -> None:
        super().__init__(why, alive=True)  # others may be


class Host:
    """How things stand with one host of the allow list."""

    def __init__(self) -> None:
        self.open = 0
        self.breaker = Breaker(DEAD_AFTER, PAUSE)
        self._since = self._trickled = float("-inf")
        self._new = 0

    def takes_new(self, now: float, *, again: bool) -> bool:
        """Whether a URL that was never fetched may be now, `again` if it was asked for lately; one that may be counts."""
        if now - self._since >= PAUSE:
            self._since, self._new = now, 0
        if self._new < NEW:
            self._new += 1
            return True
        if again and now - self._trickled >= TRICKLE:
            self._trickled = now
            return True
        return False


class CertificateService:
    """Answers URLs with what lies there, PEM. Raises NoAnswer, which goes into the log and so never names the URL, only its host.

    `resolve` and `allowed` are for tests: who gives the addresses of a host, and which may be connected to.
    """

    def __init__(
        self,
        config: CertificatesConfig,
        ca: bytes | None = None,
        *,
        resolve: Resolve = resolve_by_system,
        allowed: Callable[[str], bool] = is_public,
    ) -> None:
        """`ca`: the content of `ca_file`."""
        self._ca = ca
        self._hosts = {authority: Host() for authority in config.authorities}
        self._resolver = CheckedResolver(resolve, allowed)
        self._failed = Answers(FAILED_KEPT)
        self._known = Answers(KNOWN_KEPT, authority_of, share_of(KNOWN_KEPT, config))
        self._refused = Answers(FAILED_KEPT)
        self._context: ssl.SSLContext | None = None

    async def __call__(self, key: str) -> object:
        """The certificate at a URL; whoever calls sets the limit in time."""
        try:
            location = parse_location(key)
        except ValueError as error:
            raise NoAnswer(f"the URL is {error}", alive=True) from None
        host = self._hosts.get(location.authority)
        if host is None or location.url != key:
            raise NoAnswer("its host is not one that certificates are fetched from", alive=True)
        if "?" in key:
            raise NoAnswer(f"a URL at {location.authority} has a query, and only plain paths are fetched", alive=True)
        now = asyncio.get_running_loop().time()
        name = location.authority
        if self._failed.get(key, now) is not None:
            raise NoAnswer(f"a URL at {name} failed lately, and is not tried again yet", alive=True)
        known = self._known.get(key, now) is not None
        if host.open >= (AT_ONCE_OF_A_HOST if known else AT_ONCE_OF_A_HOST - 1):
            raise NoAnswer(f"{host.open} URLs at {name} are being fetched already", alive=True)
        if not known and not host.takes_new(now, again=self._refused.get(key, now) is not None):
            self._refused.put(key, True, now + FAILED_LIFE)
            raise NoAnswer(f"{NEW} new URLs at {name} were fetched lately, and only known ones are", alive=True)
        if not host.breaker.allows(now):
            raise NoAnswer(f"{name} is dead, and is tried now and then", alive=True)
        host.open += 1
        spoken = good = False
        try:
            pem = await self._fetch(location.url, name)
            spoken = good = True
        except NoAnswer as error:
            spoken = not isinstance(error, Unreachable)
            raise
        finally:
            host.open -= 1
            now = asyncio.get_running_loop().time()
            if spoken:
                host.breaker.succeeded()
            else:
                host.breaker.failed(now)  # by cancellation, too: the time was over
            if good:
                self._known.put(key, True, now + KNOWN_LIFE)
            else:
                self._failed.put(key, True, now + FAILED_LIFE)
        return pem

    async def _fetch(self, url: str, name: str) -> str:
        if self._context is None:
            # beside the signalling path: reading the system's certificates takes milliseconds
            self._context = await asyncio.to_thread(tls_context, self._ca)
        sockets: list[socket.socket] = []
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            use_dns_cache=False,  # an address is good for the one connection that it was checked for
            force_close=True,
            ssl=self._context,
            socket_factory=lambda found: _opened(found, sockets),
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
        )
        try:
            pem = await _read(session, url, name)
        finally:
            for sock in sockets:
                _end(sock)
            await session.close()
        if not Credential(pem).certificates:
            raise NoAnswer(f"what {name} has is no certificate", alive=True)
        return pem


async def _read(session: aiohttp.ClientSession, url: str, name: str) -> str:
    """What lies at a URL. Raises NoAnswer."""
    try:
        async with session.get(URL(url, encoded=True), allow_redirects=False) as response:
            if response.status != 200:
                raise NoAnswer(f"{name} answered with status {response.status}", alive=True)
            if (response.content_length or 0) > LARGEST_PEM:
                raise NoAnswer(f"what {name} has is larger than {LARGEST_PEM} octets", alive=True)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST_PEM:
                    raise NoAnswer(f"what {name} has is larger than {LARGEST_PEM} octets", alive=True)
    except aiohttp.ClientPayloadError:
        raise NoAnswer(f"what {name} answered broke off", alive=True) from None
    except aiohttp.ClientResponseError:
        raise NoAnswer(f"what {name} answered is not HTTP", alive=True) from None
    except aiohttp.ClientError as error:
        raise Unreachable(f"{name} cannot be spoken to: {str(error)[:200] or type(error).__name__}") from None
    return body.decode("latin-1")


def _opened(found: aiohttp.AddrInfoType, sockets: list[socket.socket]) -> socket.socket:
    family, kind, protocol, _, _ = found
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    sockets.append(sock)
    return sock


def _end(sock: socket.socket) -> None:
    """End a connection now. Closing it in TLS's good order would wait for the other side, which may never answer."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended, or never begun
        pass


def tls_context(ca: bytes | None) -> ssl.SSLContext:
    """A context that demands the host's name and a path to `ca`, or to the system's certificates."""
    return ssl.create_default_context() if ca is None else ssl.create_default_context(cadata=ca.decode("ascii", "replace"))


def desk_for(config: CertificatesConfig) -> Desk:
    """The desk that questions for certificates are taken at."""
    desk = Desk(float(config.keep), remembered=REMEMBERED, concurrent=AT_ONCE, failures=NEVER, pause=PAUSE)
    desk.answers = Answers(REMEMBERED, authority_of, share_of(REMEMBERED, config))
    return desk


def authority_of(url: str) -> str:
    """Whose a URL is that `parse_location` has spelt: hosts share what is kept, so that one cannot push out another's."""
    return url.split("/", 3)[2] if url.count("/") > 2 else url


def share_of(kept: int, config: CertificatesConfig) -> int:
    """How many of what is kept each host may have."""
    return max(1, kept // max(1, len(config.authorities)))


async def fetch_once(config: CertificatesConfig, ca: bytes | None, url: str) -> object:
    """One certificate, within its deadline. Raises NoAnswer."""
    try:
        async with asyncio.timeout(config.deadline):
            return await CertificateService(config, ca)(url)
    except TimeoutError:
        raise NoAnswer(f"nothing came within {config.deadline:g} s") from None
