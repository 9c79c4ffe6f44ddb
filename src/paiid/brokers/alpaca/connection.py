"""One connection to the trade-update stream: connect, authenticate, listen (section 14)."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from paiid.brokers.alpaca.keys import AlpacaKeys
from paiid.brokers.alpaca.wire import Unreadable, parse
from paiid.wires.alpaca.handshake import Refused, Unreachable, code_of, open_socket
from paiid.wires.values import fields_of, rows_of, text_of, word_of

Form = Literal["documented", "current"]
"""Alpaca's documents and its own clients disagree on the message with the keys; servers have been seen to take either."""
STREAM = "trade_updates"
_MAX_FRAME = 1 << 20
_MAX_FRAMES_WAITING = 64


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """How long the stream waits for what, in seconds."""

    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    stable_s: float = 60.0
    """A connection that has held this long begins again with the first pause."""
    unauthorized_pause_s: float = 30.0
    reply_s: float = 5.0
    ping_s: float = 10.0
    silence_s: float = 20.0
    """Without an answer to a ping for this long, the connection is given up."""
    request_s: float = 10.0
    reread_pause_s: float = 0.5


class StreamFault(Exception):
    """The connection is of no use; the text says why and never holds a key."""


class KeysNotTaken(StreamFault):
    """There was no yes to the keys in this form: the other one may be the server's."""


class Unauthorized(KeysNotTaken):
    """There was a no."""


class TooManyConnections(StreamFault):
    """HTTP 429 at the handshake: an abandoned connection may still hold the account's only place."""


async def open_stream(keys: AlpacaKeys, timings: StreamTimings, form: Form) -> ClientConnection:
    """A connection on which trade updates come from now on: the server has said that it listens. Raises StreamFault."""
    connection = await _connect(keys, timings)
    try:
        async with asyncio.timeout(timings.reply_s):
            await connection.send(json.dumps(_greeting(keys, form)))
            await _until_authorized(connection)
            await connection.send(json.dumps({"action": "listen", "data": {"streams": [STREAM]}}))
            await _until_listening(connection)
    except TimeoutError:
        await connection.close()
        raise KeysNotTaken("the stream did not answer to the keys in time") from None
    except ConnectionClosed as closed:
        raise KeysNotTaken(f"the stream hung up on the keys ({code_of(closed)})") from None
    except BaseException:
        await connection.close()
        raise
    return connection


async def _connect(keys: AlpacaKeys, timings: StreamTimings) -> ClientConnection:
    try:
        return await open_socket(
            keys.stream_url,
            reply_s=timings.reply_s,
            most_bytes=_MAX_FRAME,
            most_waiting=_MAX_FRAMES_WAITING,
            ping_s=timings.ping_s,
            silence_s=max(0.05, timings.silence_s - timings.ping_s),
        )
    except Refused as refused:
        if refused.status == 429:
            raise TooManyConnections("the stream has no place for us now (429)") from None
        if refused.status in (401, 403):
            raise Unauthorized(f"the stream refused us ({refused.status})") from None
        raise StreamFault(f"the stream answered the handshake with {refused.status}") from None
    except Unreachable as problem:
        raise StreamFault(f"the stream could not be reached ({problem})") from None


def _greeting(keys: AlpacaKeys, form: Form) -> dict[str, Any]:
    if form == "documented":
        return {"action": "authenticate", "data": {"key_id": keys.key_id, "secret_key": keys.secret}}
    return {"action": "auth", "key": keys.key_id, "secret": keys.secret}


async def _until_authorized(connection: ClientConnection) -> None:
    while True:
        for message in messages_of(await connection.recv()) or ():
            told = fields_of(message.get("data"))
            if message.get("stream") == "authorization":
                if word_of(told.get("status")) == "authorized":
                    return
                raise Unauthorized("the stream does not accept the keys")
            if message.get("stream") == "listening" and told.get("error"):
                raise Unauthorized("the stream does not accept the keys")


async def _until_listening(connection: ClientConnection) -> None:
    while True:
        for message in messages_of(await connection.recv()) or ():
            told = fields_of(message.get("data"))
            if message.get("stream") == "authorization":
                raise Unauthorized("the stream does not let us listen")
            if message.get("stream") == "listening":
                # Streams that it does not know, or does not give us, are silently left out of the answer.
                if STREAM in (text_of(one) for one in rows_of(told.get("streams"))):
                    return
                raise StreamFault("the stream gives us no trade updates")


def messages_of(frame: str | bytes) -> list[dict[str, Any]] | None:
    """The messages of a frame, text or binary (paper sends JSON in binary ones); None where it is no JSON."""
    try:
        told = parse(frame.encode() if isinstance(frame, str) else frame)
    except Unreadable:
        return None
    return [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, dict)]
