"""One request to Alpaca and what its end means: a yes, a definite no, never sent, or unknown (contracts E10, E11)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import structlog

from paiid.brokers import BrokerError, NotSent, OutcomeUnknown
from paiid.brokers.alpaca.budget import Budget, Deadline
from paiid.brokers.alpaca.keys import AlpacaKeys
from paiid.brokers.alpaca.refusals import failure, without
from paiid.core.clock import Clock

OBJECT_CAP = 1 << 20
LIST_CAP = 8 << 20
_MAX_CONNECTIONS = 8
_MAX_IDLE = 4
_IDLE_S = 5.0
"""Shorter than servers commonly keep an idle connection, so that a request seldom meets one that is just closed."""
_BACKGROUND = 4
_FIRST_BYTE = "http11.send_request_headers.started"
_log = structlog.get_logger("paiid.alpaca")


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx with its parsed body; None where it had none. Numbers in it are texts: the digits as they were sent."""

    status: int
    data: object


class _TooLong(Exception):
    pass


class Unreadable(Exception):
    """No JSON."""


class _Progress:
    """Whether a byte of the request can have left us: the connection tells just before it writes the first one."""

    def __init__(self, begun: bool) -> None:
        self.begun = begun

    async def trace(self, event: str, info: Any) -> None:
        if event == _FIRST_BYTE:
            self.begun = True

    def ended(self, words: str) -> BrokerError:
        return OutcomeUnknown(words) if self.begun else NotSent(words + "; nothing had been sent")


class Wire:
    """The connections of one pair of keys. No redirect is followed, nothing is sent twice, no proxy is asked."""

    def __init__(
        self, clock: Clock, keys: AlpacaKeys, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.keys = keys
        self.budget = Budget(clock)
        self._transport = transport
        # Other clients take the address with the version at its end: both mean the same.
        self._base = keys.api_url.rstrip("/").removesuffix("/v2")
        self._client: httpx2.AsyncClient | None = None
        self._background = asyncio.Semaphore(_BACKGROUND)

    async def send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        cap: int = OBJECT_CAP,
        background: bool = False,
    ) -> Reply:
        """One request, within what is left of the deadline. `background` reads leave a reserve of the budget, and of
        the connections, to orders. Raises BrokerRejected, NotSent, OutcomeUnknown; BrokerError without budget."""
        if not background:
            return await self._send(method, path, deadline, query, body, cap)
        try:
            async with asyncio.timeout(max(0.0, deadline.left_s)):
                await self._background.acquire()
        except TimeoutError:
            raise NotSent("other reads were in the way until the time was up") from None
        try:
            await self.budget.admit(deadline)
            return await self._send(method, path, deadline, query, body, cap)
        finally:
            self._background.release()

    async def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        cap: int,
    ) -> Reply:
        if deadline.left_s <= 0:
            raise NotSent("the time was up before the request was begun")
        # A transport of somebody else's need not tell when it begins to write.
        progress = _Progress(begun=self._transport is not None)
        try:
            async with asyncio.timeout(deadline.left_s):
                status, content = await self._exchange(method, path, query, body, cap, progress)
        except TimeoutError:
            raise progress.ended("no answer in time") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise NotSent(f"the broker could not be reached ({type(error).__name__})") from None
        except _TooLong:
            _log.error("alpaca_answer_too_long", method=method, path=path, cap=cap)
            raise OutcomeUnknown(f"the answer is longer than {cap} bytes") from None
        except Exception as error:  # noqa: BLE001 - what a network can do to an exchange is anything, and never a no
            raise progress.ended(f"the connection failed ({type(error).__name__})") from None
        return self._judge(method, path, status, content)

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        cap: int,
        progress: _Progress,
    ) -> tuple[int, bytes]:
        client = self._open()
        request = client.build_request(
            method,
            self._base + path,
            params=query or None,
            content=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
            headers=None if body is None else {"content-type": "application/json"},
            extensions={"trace": progress.trace},
        )
        self.budget.spend()
        response = await client.send(request, stream=True)
        try:
            self.budget.learn(response.headers, response.status_code)
            return response.status_code, await _content(response, cap)
        finally:
            await response.aclose()

    def _judge(self, method: str, path: str, status: int, content: bytes) -> Reply:
        try:
            data, readable = parse(content), True
        except Unreadable:
            data, readable = None, False
        if 200 <= status < 300:
            if not readable:
                _log.error("alpaca_answer_unreadable", method=method, path=path, status=status)
                raise OutcomeUnknown(f"the broker answered {status} with something unreadable")
            return Reply(status, data)
        if 300 <= status < 400:
            _log.error("alpaca_redirect_refused", method=method, path=path, status=status)
        elif status in (401, 429) or status >= 500:
            _log.warning("alpaca_refused", keys=self.keys.label, method=method, path=path, status=status)
        raise without((self.keys.secret, self.keys.key_id), failure(method, status, data, readable=readable))

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers={
                    "APCA-API-KEY-ID": self.keys.key_id,
                    "APCA-API-SECRET-KEY": self.keys.secret,
                    "accept": "application/json",
                    # A compressed body would hide its size from the cap.
                    "accept-encoding": "identity",
                    "user-agent": "paiid",
                },
                transport=self._transport,
                # The one deadline is around the whole exchange.
                timeout=None,
                follow_redirects=False,
                # Plain http is loopback only (`core/contradictions`), and certificates take a while to load.
                verify=self._base.startswith("https:"),
                trust_env=False,
                limits=httpx2.Limits(
                    max_connections=_MAX_CONNECTIONS,
                    max_keepalive_connections=_MAX_IDLE,
                    keepalive_expiry=_IDLE_S,
                ),
            )
        return self._client

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


async def _content(response: httpx2.Response, cap: int) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > cap:
            raise _TooLong
    return bytes(content)


def parse(content: bytes) -> object:
    """JSON, its numbers as texts so that no digit is lost and none is too many; None for an empty body.

    Raises Unreadable for what is no JSON. NaN and the like are null.
    """
    if not content.strip():
        return None
    try:
        return _DECODER.decode(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unreadable from None


_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None)
