"""The probes of docs/limits.md that are about streams, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest.mock import patch

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from paiid.auth.tokens import digest
from paiid.stream.limits import StreamTimings
from paiid.stream.ticket_store import use_ticket
from tests.fake_clock import FakeClock
from tests.halt_world import add_account
from tests.limit_probes import Outcome, Probed, outcome, probe
from tests.ws_world import Socket, Streams, served, ticket_of

SCALE = 20
"""Seconds of the table are this many times shorter here."""
Ask = Callable[[Socket, int], Awaitable[None]]


@asynccontextmanager
async def opened(probed: Probed) -> AsyncIterator[tuple[Streams, Socket]]:
    """A socket of the owner."""
    async with served(probed.app) as streams, streams.socket(token=probed.owner.token) as socket:
        await socket.opened()
        yield streams, socket


async def handshake(streams: Streams, token: str | None) -> Outcome:
    """What comes of one more socket."""
    try:
        async with streams.socket(token=token):
            return "open"
    except InvalidStatus as refused:
        answer = refused.response
        return outcome(
            httpx2.Response(
                answer.status_code, headers=dict(answer.headers), content=bytes(answer.body or b"")
            )
        )


async def told(socket: Socket, *, ask: bool = True) -> Outcome:
    """What error the socket is told, until it is told that it was asked for the end. Raises ConnectionClosed."""
    if ask:
        await socket.connection.send('{"type":"ping","id":"end"}')
    found = "carried out"
    while True:
        async with asyncio.timeout(10):
            message: dict[str, Any] = json.loads(await socket.connection.recv())
        if message["type"] == "error":
            found = f"error `{message['code']}`"
        if message.get("id") == "end":
            return found


def _message(name: str, ask: Ask) -> None:
    """A row where what one message comes to tells."""

    async def found(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
        async with opened(probed) as (_, socket):
            found = []
            for number in (limit, limit + 1):
                await ask(socket, number)
                found.append(await told(socket))
        return found[0], found[1]

    probe(name)(found)


def _closing(name: str, frames: Callable[[int], bytes]) -> None:
    """A row beyond which the socket is closed; within it, what is asked behind these frames is answered."""
    probe(name)(lambda probed, limit: _closed_beyond(probed, limit, frames))


async def _closed_beyond(
    probed: Probed, limit: int, frames: Callable[[int], bytes]
) -> tuple[Outcome, Outcome]:
    outcomes = []
    async with served(probed.app) as streams:
        for number in (limit, limit + 1):
            async with streams.socket(token=probed.owner.token) as socket:
                await socket.opened()
                transport = cast(asyncio.Transport, socket.connection.transport)
                transport.write(frames(number) + _text('{"type":"ping","id":"end"}'))
                try:
                    outcomes.append(await told(socket, ask=False))
                except ConnectionClosed as closed:
                    outcomes.append(f"closed with {0 if closed.rcvd is None else closed.rcvd.code}")
    return outcomes[0], outcomes[1]


def _text(text: str, times: int = 1) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True) * times


def _fragments(count: int) -> bytes:
    pieces = [b'{"type":', *[b" "] * (count - 2), b'"ping"}']
    return b"".join([
        Frame(Opcode.CONT if n else Opcode.TEXT, piece, fin=n == count - 1).serialize(mask=True)
        for n, piece in enumerate(pieces)
    ])  # fmt: skip


_closing("message", lambda n: _text('{"type":"ping"}'.ljust(n)))
_closing("message-fragments", _fragments)
_closing("message-errors", lambda n: _text("{", n))
_message("message-depth", lambda s, n: s.connection.send('{"type":' + "[" * (n - 1) + "]" * (n - 1) + "}"))
_message("message-channels", lambda s, n: s.say(type="subscribe", symbols=["AAPL"] * n))
_message("message-id", lambda s, n: s.say(type="ping", id="i" * n))


@probe("message-burst")
async def _burst(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    # Nothing comes back meanwhile: a slow machine would refill the bucket.
    with patch("paiid.stream.ws.MESSAGES_A_SECOND", 0.0):
        # The question behind them is one more.
        return await _closed_beyond(probed, limit, lambda n: _text('{"type":"ping"}', n - 1))


@probe("stream-sockets")
async def _sockets(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    user_id = (await probed.owner.get("/auth/me")).json()["id"]
    found = []
    async with served(probed.app) as streams:
        for others in (limit - 1, limit):
            streams.elsewhere[user_id] = others
            found.append(await handshake(streams, probed.owner.token))
    return found[0], found[1]


async def _waiting(probed: Probed, limit: int, address: str) -> tuple[Outcome, Outcome]:
    found = []
    async with served(probed.app) as streams:
        for others in (limit - 1, limit):
            streams.service.clients._waiting.clear()
            streams.service.clients._waiting[address] = others
            found.append(await handshake(streams, None))
        streams.service.clients._waiting.clear()
    return found[0], found[1]


@probe("stream-waiting")
async def _waiting_in_all(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    return await _waiting(probed, limit, "10.9.9.9")


@probe("stream-waiting-address")
async def _waiting_there(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    return await _waiting(probed, limit, "127.0.0.1")


@probe("stream-auth-seconds")
async def _auth_seconds(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    assert StreamTimings().auth_within_s == limit
    # Who says it at once has all of that time, for a slow machine may need some of it.
    async with served(probed.app, StreamTimings()) as streams, streams.socket() as socket:
        await socket.say(type="auth", token=probed.owner.token)
        at = (await socket.hear("connection"))["type"]
    async with (
        served(probed.app, StreamTimings(auth_within_s=limit / SCALE)) as streams,
        streams.socket() as socket,
    ):
        return at, f"closed with {(await socket.closed())[0]}"


def _symbols(count: int) -> list[str]:
    return [f"Q{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]


class _Everything:
    async def instrument(self, symbol: str) -> object:
        return symbol


@probe("stream-symbols")
async def _most_symbols(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    found = []
    async with opened(probed) as (streams, socket):
        streams.service.subscriptions._instruments = cast(Any, _Everything())
        for number in (limit, limit + 1):
            await socket.say(type="subscribe", symbols=_symbols(number))
            found.append(await told(socket))
    return found[0], found[1]


@probe("stream-symbols-query")
async def _symbols_in_address(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    path = "/api/stream/prices?account=none&symbols="
    async with served(probed.app) as streams:
        # Past this check it opens a stream, so the first is refused for what comes after it.
        streams.service.clients._waiting["127.0.0.1"] = 64
        found = []
        for number in (limit, limit + 1):
            try:
                async with streams.socket(path + ",".join(_symbols(number))):
                    found.append("open")
            except InvalidStatus as refused:
                answer = refused.response
                found.append(outcome(httpx2.Response(
                    answer.status_code, headers=dict(answer.headers), content=bytes(answer.body or b"")
                )))  # fmt: skip
        streams.service.clients._waiting.clear()
    return found[0], found[1]


@probe("stream-accounts")
async def _most_accounts(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    state = probed.app.state
    user_id = (await probed.owner.get("/auth/me")).json()["id"]
    names = [f"acc{n}" for n in range(limit + 1)]
    for name in names:
        await add_account(state.db, state.clock, name, user_id)
    state.accounts.forget(user_id)
    found = []
    async with opened(probed) as (_, socket):
        for number in (limit, limit + 1):
            await socket.say(type="subscribe", channels=[f"account:{name}" for name in names[:number]])
            found.append(await told(socket))
    return found[0], found[1]


@probe("tickets")
async def _tickets(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with served(probed.app) as streams:
        # By a clock that stands still: a slow machine would refill the bucket.
        streams.service.tickets._limiter._clock = FakeClock()
        answers = [outcome(await probed.owner.post("/api/stream/ticket")) for _ in range(limit + 1)]
    return answers[limit - 1], answers[limit]


@probe("ticket-seconds")
async def _ticket_seconds(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    async with served(probed.app) as streams:
        found = []
        for short_us in (1, 0):
            async with probed.app.state.db.begin() as tx:
                before_us = await tx.now_us()
            ticket = await ticket_of(probed.owner)
            async with probed.app.state.db.begin() as tx:
                # Its time is counted from some instant between these two, however long it took to make it.
                made_us = before_us if short_us else await tx.now_us()
                taken = await use_ticket(tx, digest(ticket), made_us + limit * 1_000_000 - short_us)
            found.append("taken" if taken else "401 `invalid-token`")
        assert await streams.refused(subprotocols=["paiid.v1", "ticket.none"]) == (401, "invalid-token")
    return found[0], found[1]
