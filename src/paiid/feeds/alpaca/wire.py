"""One GET at Alpaca and what its end means: an answer, or that the source is not available, in words that are safe to show."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2
import msgspec
import structlog

from paiid.core.clock import Clock
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.budget import Budget
from paiid.feeds.alpaca.keys import AlpacaDataKeys
from paiid.feeds.alpaca.values import digits_of, fields_of, text_of

OBJECT_CAP = 1 << 20
LIST_CAP = 16 << 20
ASSETS_CAP = 48 << 20
"""All assets were about 8 MB in 2026."""
_THREAD_FROM = 256 << 10
"""Longer answers are parsed beside the event loop."""
_MAX_CONNECTIONS = 4
_IDLE_S = 20.0
_log = structlog.get_logger("paiid.feeds.alpaca")
_DECODER = msgspec.json.Decoder(float_hook=digits_of)


@dataclass(frozen=True, slots=True)
class Answer:
    """A body that could be read; `status` 200, or one of the three that say something about the question: 400, 404, 422.
    Numbers with a point in it are Decimal, with the digits as sent."""

    status: int
    data: object

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == 200

    @property
    def message(self) -> str:
        """The other side's words; for reading, never for showing."""
        return text_of(fields_of(self.data).get("message")) or ""


class _TooLong(Exception):
    pass


class Wire:
    """The connections to one host. No redirect is followed, no proxy is asked, no compressed body is taken."""

    def __init__(
        self, clock: Clock, keys: AlpacaDataKeys, base_url: str, *, request_s: float = 4.0, reserve: int = 0
    ) -> None:
        self.budget = Budget(clock, reserve)
        self._keys = keys
        # Other clients take the address with the version at its end: both mean the same.
        self._base = base_url.rstrip("/").removesuffix("/v2")
        self._request_s = request_s
        self._client: httpx2.AsyncClient | None = None

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, cap: int = OBJECT_CAP, slow: bool = False
    ) -> Answer:
        """One request within its deadline; `slow` ones have five times as long. Raises FeedUnavailable."""
        if self.budget.left <= 0:
            raise FeedUnavailable(
                f"the budget of {self.budget.limit} requests a minute at Alpaca is spent for now"
            )
        try:
            async with asyncio.timeout(self._request_s * (5 if slow else 1)):
                status, content = await self._exchange(path, query, cap)
        except TimeoutError:
            raise FeedUnavailable("Alpaca's market data did not answer in time") from None
        except _TooLong:
            _log.error("alpaca_data_answer_too_long", path=path, cap=cap)
            raise FeedUnavailable(f"Alpaca's answer is longer than {cap} bytes") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise FeedUnavailable(
                f"Alpaca's market data could not be reached ({type(error).__name__})"
            ) from None
        return await self._judge(path, status, content)

    async def _exchange(self, path: str, query: Mapping[str, str] | None, cap: int) -> tuple[int, bytes]:
        client = self._open()
        request = client.build_request("GET", self._base + path, params=query or None)
        self.budget.spend()
        response = await client.send(request, stream=True)
        try:
            self.budget.learn(response.headers, response.status_code)
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > cap:
                    raise _TooLong
            return response.status_code, bytes(content)
        finally:
            await response.aclose()

    async def _judge(self, path: str, status: int, content: bytes) -> Answer:
        if status in (401, 403):
            _log.error("alpaca_data_refused", keys=self._keys.label, path=path, status=status)
            raise FeedUnavailable(f"Alpaca does not give us these market data with our keys ({status})")
        if status == 429:
            _log.warning("alpaca_data_throttled", keys=self._keys.label, path=path)
            raise FeedUnavailable("Alpaca takes no more requests for now (429)")
        if status not in (200, 400, 404, 422):
            _log.warning("alpaca_data_failed", path=path, status=status)
            raise FeedUnavailable(f"Alpaca's market data answered {status}")
        try:
            if len(content) < _THREAD_FROM:
                return Answer(status, _DECODER.decode(content))
            return Answer(status, await asyncio.to_thread(_DECODER.decode, content))
        except (msgspec.DecodeError, RecursionError, ValueError):
            if status != 200:
                return Answer(status, None)
            _log.error("alpaca_data_unreadable", path=path, length=len(content))
            raise FeedUnavailable("Alpaca's market data answered something unreadable") from None

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers={
                    "APCA-API-KEY-ID": self._keys.key,
                    "APCA-API-SECRET-KEY": self._keys.secret,
                    "accept": "application/json",
                    # A compressed body would hide its size from the cap.
                    "accept-encoding": "identity",
                    "user-agent": "paiid",
                },
                # The one deadline is around the whole exchange.
                timeout=None,
                follow_redirects=False,
                # Plain http is loopback only (`keys`), and certificates take a while to load.
                verify=self._base.startswith("https:"),
                trust_env=False,
                limits=httpx2.Limits(
                    max_connections=_MAX_CONNECTIONS,
                    max_keepalive_connections=_MAX_CONNECTIONS,
                    keepalive_expiry=_IDLE_S,
                ),
            )
        return self._client

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
