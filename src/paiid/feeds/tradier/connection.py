"""One connection to the market stream, by WebSocket or by HTTP (tradier.md, sections 9.2 and 9.3)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol
from urllib.parse import urlencode, urlsplit

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from paiid.feeds.tradier.faults import StreamFault, fault_of_status, fault_of_words
from paiid.feeds.tradier.messages import Pieces, Read, read_frame
from paiid.feeds.tradier.timings import StreamTimings
from paiid.wires.connecting import ClosedIfLate, transport_over
from paiid.wires.tradier.keys import LIVE_STREAM_URL, TradierKeys

Transport = Literal["websocket", "http"]
FILTER = ("quote", "trade", "tradex", "summary")
DUMMY, DUMMY_FILTER = "SPY", ("summary",)
"""The stream wants at least one symbol (section 9.2): while nobody is followed, the least that can be told."""
_PATH = "/markets/events"
_LIVE_HTTP_URL = "https://stream.tradier.com/v1"
_MAX_FRAME = 1 << 20
_MAX_FRAMES_WAITING = 256
_CLOSE_S = 0.3
_MOST_OF_A_REFUSAL = 2048


class Channel(Protocol):
    """An open connection that has been told a set of symbols."""

    replaces: bool
    """Whether another set can be told on it."""

    async def tell(self, session_id: str, symbols: Sequence[str]) -> None:
        """From now on these and no others (section 9.2)."""
        ...

    def reads(self) -> AsyncIterator[Read]:
        """What comes, until it ends."""
        ...

    async def answers(self, within_s: float) -> bool:
        """Whether the other side answers a ping; False where there is no such thing."""
        ...

    async def close(self) -> None:
        """Say good-bye, or cut it off where nobody answers: an abandoned one would hold our only place."""
        ...


async def open_channel(
    transport: Transport, keys: TradierKeys, timings: StreamTimings, session_id: str, symbols: Sequence[str]
) -> Channel:
    """Connected, and told these symbols as Tradier writes them. Raises StreamFault."""
    if transport == "http":
        return await _open_http(http_url_of(keys), timings, session_id, symbols)
    channel = WebSocketChannel(await _connect(keys.stream_url.rstrip("/") + _PATH, timings))
    try:
        async with asyncio.timeout(timings.reply_s):
            await channel.tell(session_id, symbols)
    except (TimeoutError, ConnectionClosed):
        await channel.close()
        raise StreamFault("Tradier's stream hung up before it was asked") from None
    except BaseException:
        await channel.close()
        raise
    return channel


def http_url_of(keys: TradierKeys) -> str:
    """Where the stream is by HTTP: a host of its own at Tradier, else the same as the WebSocket's."""
    if keys.stream_url.rstrip("/") == LIVE_STREAM_URL:
        return _LIVE_HTTP_URL + _PATH
    parts = urlsplit(keys.stream_url)
    return parts._replace(scheme=parts.scheme.replace("ws", "http")).geturl().rstrip("/") + _PATH


def payload_of(session_id: str, symbols: Sequence[str]) -> dict[str, str | bool | list[str]]:
    """The one message to the stream."""
    return {
        "symbols": list(symbols) or [DUMMY],
        "sessionid": session_id,
        "filter": list(FILTER if symbols else DUMMY_FILTER),
        "linebreak": True,
        "validOnly": True,
        "advancedDetails": False,
    }


class _NoRedirect(connect):
    """The library would follow a redirect, and the session would go to whoever it leads to."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _connect(url: str, timings: StreamTimings) -> ClientConnection:
    try:
        return await _NoRedirect(
            url,
            proxy=None,
            # The official examples have it so (section 9.2).
            compression=None,
            open_timeout=timings.reply_s,
            close_timeout=_CLOSE_S,
            # Our own pings tell whoever listens that there is life.
            ping_interval=None,
            max_size=_MAX_FRAME,
            max_queue=_MAX_FRAMES_WAITING,
            user_agent_header="paiid",
        )
    except InvalidStatus as refused:
        raise fault_of_status("Tradier's stream", refused.response.status_code) from None
    except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
        raise StreamFault(f"Tradier's stream could not be reached ({type(error).__name__})") from None


class WebSocketChannel:
    """Takes another set of symbols at any time."""

    replaces = True

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def tell(self, session_id: str, symbols: Sequence[str]) -> None:
        try:
            await self._socket.send(json.dumps(payload_of(session_id, symbols)))
        except ConnectionClosed as closed:
            raise StreamFault(f"the connection to Tradier's stream was lost ({_code_of(closed)})") from None

    async def reads(self) -> AsyncIterator[Read]:
        try:
            while True:
                yield read_frame(await self._socket.recv())
        except ConnectionClosed as closed:
            raise StreamFault(f"the connection to Tradier's stream was lost ({_code_of(closed)})") from None

    async def answers(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await (await self._socket.ping())
        except TimeoutError:
            return False
        except ConnectionClosed as closed:
            raise StreamFault(f"the connection to Tradier's stream was lost ({_code_of(closed)})") from None
        return True

    async def close(self) -> None:
        try:
            with contextlib.suppress(ConnectionClosed, OSError):
                await self._socket.close()
        finally:
            self._socket.transport.abort()


def _code_of(closed: ConnectionClosed) -> str:
    code = closed.rcvd or closed.sent
    return "without a word" if code is None else str(code.code)


async def _open_http(
    url: str, timings: StreamTimings, session_id: str, symbols: Sequence[str]
) -> "HttpChannel":
    # No token: the session alone opens the stream.
    client = httpx2.AsyncClient(
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "paiid"},
        timeout=None,
        follow_redirects=False,
        trust_env=False,
        transport=transport_over(ClosedIfLate(), https=url.startswith("https:")),
    )
    try:
        async with asyncio.timeout(timings.reply_s):
            request = client.build_request(
                "POST",
                url,
                content=urlencode(_as_form(payload_of(session_id, symbols))).encode(),
                headers={"content-type": "application/x-www-form-urlencoded"},
            )
            response = await client.send(request, stream=True)
            if response.status_code != 200:
                raise await _refusal(response)
    except (TimeoutError, httpx2.HTTPError, OSError) as error:
        await client.aclose()
        raise StreamFault(f"Tradier's stream could not be reached ({type(error).__name__})") from None
    except BaseException:
        await client.aclose()
        raise
    return HttpChannel(client, response)


def _as_form(payload: Mapping[str, str | bool | list[str]]) -> dict[str, str]:
    return {
        name: ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value
        for name, value in payload.items()
    }  # fmt: skip


async def _refusal(response: httpx2.Response) -> StreamFault:
    found = b""
    async for piece in response.aiter_raw():
        found += piece
        if len(found) > _MOST_OF_A_REFUSAL:
            break
    await response.aclose()
    words = found[:_MOST_OF_A_REFUSAL].decode("utf-8", "replace")
    return fault_of_words(words) or fault_of_status("Tradier's stream", response.status_code)


class HttpChannel:
    """An answer that never ends. Another set of symbols needs another connection (section 9.3)."""

    replaces = False

    def __init__(self, client: httpx2.AsyncClient, response: httpx2.Response) -> None:
        self._client = client
        self._response = response

    async def tell(self, session_id: str, symbols: Sequence[str]) -> None:
        raise StreamFault("another set of symbols needs another connection", "now")

    async def reads(self) -> AsyncIterator[Read]:
        pieces = Pieces()
        try:
            async for piece in self._response.aiter_raw():
                yield pieces.read(piece)
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise StreamFault(
                f"the connection to Tradier's stream was lost ({type(error).__name__})"
            ) from None
        raise StreamFault("Tradier's stream was ended by the other side")

    async def answers(self, within_s: float) -> bool:
        return False

    async def close(self) -> None:
        # Nobody has to answer: the connection is dropped, which is how an endless answer is ended.
        with contextlib.suppress(httpx2.HTTPError, OSError):
            await self._response.aclose()
        await self._client.aclose()
