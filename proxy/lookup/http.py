"""The service of a `[[lookup]]`: one GET for each question, to the configured host and no other, a JSON answer read and mapped."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from proxy.config import LookupConfig, parse_url
from proxy.lookup.desk import NoAnswer

LARGEST_ANSWER: Final = 64 << 10
"""Octets of a body at the most."""

IDLE: Final = 30.0
"""Seconds that an unused connection is kept."""

HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "sipwarden"}

PASSING: Final = frozenset((408, 425, 429))
"""Refusals in the 400s that say more of the service than of the question."""


class HttpService:
    """Answers keys. Follows no redirects, keeps no cookies, knows no proxies of the environment. Raises NoAnswer, which goes into the log
    and so never names the key.
    """

    def __init__(self, config: LookupConfig) -> None:
        self._url = parse_url(config.url)
        self._config = config
        self._path = tuple(config.field.split(".")) if config.field else ()
        self._meanings = {(type(value), value): word for word, values in config.answers.items() for value in values}
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, key: str) -> object:
        """The answer to one key; whoever calls sets the limit in time."""
        try:
            return await self._get(key)
        except aiohttp.ClientConnectionError as error:
            raise NoAnswer(str(error) or "its service closed the connection") from None
        except aiohttp.ClientResponseError:
            raise NoAnswer("what its service answered is not HTTP") from None
        except aiohttp.ClientError as error:
            raise NoAnswer(f"its service's answer broke off ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _get(self, key: str) -> object:
        session = self._session
        if session is None:
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._config.concurrent, keepalive_timeout=IDLE),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=HEADERS,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=False,
            )
        async with session.get(URL(self._url.fill(key), encoded=True), allow_redirects=False) as response:
            if response.status == 404 and self._config.not_found is not None:
                return self._config.not_found
            if response.status != 200:
                alive = 400 <= response.status < 500 and response.status not in PASSING
                raise NoAnswer(f"its service answered with status {response.status}", alive=alive)
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise NoAnswer(f"its service's answer is larger than {LARGEST_ANSWER} octets")
        return self.meaning(bytes(body))

    def meaning(self, body: bytes) -> object:
        """The answer that a JSON document gives. Raises NoAnswer."""
        try:
            value: Any = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NoAnswer(f"its service's answer is not JSON: {error}") from None
        for step in self._path:
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 6 and int(step) < len(value):
                value = value[int(step)]
            else:
                raise NoAnswer(f"its service's answer has no {self._config.field}")
        if not isinstance(value, str | int | bool):
            raise NoAnswer(f"{self._config.field or 'the answer'} is neither text nor number nor true or false")
        if self._meanings:
            word = self._meanings.get((type(value), value))
            if word is None:
                raise NoAnswer(f"no answer is configured for {value!r:.80}")
            return word
        if self._config.words and value not in self._config.words:
            raise NoAnswer(f"no answer is configured for {value!r:.80}")
        return value


async def ask_once(config: LookupConfig, key: str) -> object:
    """The answer to one question over a connection of its own, within its deadline. Raises NoAnswer."""
    service = HttpService(config)
    try:
        async with asyncio.timeout(config.deadline):
            return await service(key)
    except TimeoutError:
        raise NoAnswer(f"nothing came within {config.deadline:g} s") from None
    finally:
        await service.close()
