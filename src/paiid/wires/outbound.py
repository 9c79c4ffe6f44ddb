"""One HTTP exchange with somebody else's server, within one deadline, and how far it got (contract E10)."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from paiid.wires.connecting import ClosedIfLate, transport_over
from paiid.wires.deadline import Deadline

__all__ = ["Broken", "Heard", "NotBegun", "Outbound", "Reply", "TooLong"]

Heard = Callable[[int, Mapping[str, str]], None]
"""Told status and headers (names in lower case) as soon as they are there, whatever becomes of the body."""
_FIRST_BYTE = "http11.send_request_headers.started"


class NotBegun(Exception):
    """Not one byte of the request has left us. The text is safe to show."""

    outcome = "not_begun"


class Broken(Exception):
    """The request may or may not have been taken: no answer in time, or the connection broke. The text is safe to show."""

    outcome = "broken"


class TooLong(Broken):
    """The answer has more bytes than it may have."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Whatever was answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class _Progress:
    """Whether a byte of the request can have left us: the connection tells just before it writes the first one."""

    def __init__(self, begun: bool) -> None:
        self.begun = begun

    async def trace(self, event: str, info: Any) -> None:
        if event == _FIRST_BYTE:
            self.begun = True

    def ended(self, words: str) -> Exception:
        return Broken(words) if self.begun else NotBegun(words + "; nothing had been sent")


class Outbound:
    """The connections to one server with one credential. No redirect is followed, nothing is sent twice, no proxy is asked,
    no compressed body is taken: it would hide its size from the cap."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        most_connections: int = 8,
        most_idle: int = 4,
        idle_s: float = 5.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`idle_s` is shorter than servers commonly keep an idle connection, so that a request seldom meets one that is
        just closed. `transport` is for tests."""
        self._base = base_url.rstrip("/")
        self._headers = {"accept-encoding": "identity", "user-agent": "paiid", **headers}
        self._most = most_connections
        self._most_idle = most_idle
        self._idle_s = idle_s
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None
        self._sockets: ClosedIfLate | None = None

    async def exchange(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
        cap: int,
        heard: Heard | None = None,
    ) -> Reply:
        """One request and its whole answer, whatever its status. Raises NotBegun, Broken, TooLong; nothing else."""
        if deadline.left_s <= 0:
            raise NotBegun("the time was up before the request was begun")
        # A transport of somebody else's need not tell when it begins to write.
        progress = _Progress(begun=self._transport is not None)
        try:
            async with asyncio.timeout(deadline.left_s):
                return await self._exchange(method, path, query, content, content_type, cap, heard, progress)
        except TimeoutError:
            raise progress.ended("no answer in time") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise NotBegun(f"the server could not be reached ({type(error).__name__})") from None
        except TooLong:
            raise
        except Exception as error:  # noqa: BLE001 - what a network can do to an exchange is anything, and never a no
            raise progress.ended(f"the connection failed ({type(error).__name__})") from None

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: bytes | None,
        content_type: str | None,
        cap: int,
        heard: Heard | None,
        progress: _Progress,
    ) -> Reply:
        client = self._open()
        request = client.build_request(
            method,
            self._base + path,
            params=query or None,
            content=content,
            headers=None if content_type is None else {"content-type": content_type},
            extensions={"trace": progress.trace},
        )
        response = await client.send(request, stream=True)
        try:
            if heard is not None:
                heard(response.status_code, response.headers)
            found = bytearray()
            async for chunk in response.aiter_raw():
                found += chunk
                if len(found) > cap:
                    raise TooLong(f"the answer is longer than {cap} bytes")
            return Reply(response.status_code, response.headers, bytes(found))
        finally:
            await response.aclose()

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers=self._headers,
                transport=self._transport or self._connections(),
                # The one deadline is around the whole exchange.
                timeout=None,
                follow_redirects=False,
                trust_env=False,
            )
        return self._client

    def _connections(self) -> httpx2.AsyncHTTPTransport:
        self._sockets = ClosedIfLate()
        return transport_over(
            self._sockets,
            https=self._base.startswith("https:"),
            limits=httpx2.Limits(
                max_connections=self._most,
                max_keepalive_connections=self._most_idle,
                keepalive_expiry=self._idle_s,
            ),
        )

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        client, self._client = self._client, None
        sockets, self._sockets = self._sockets, None
        if client is not None:
            await client.aclose()
        if sockets is not None:
            await sockets.close()
