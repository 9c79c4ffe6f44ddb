"""One connection to the data stream: connect, be greeted, authenticate (alpaca.md, section 15)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from paiid.feeds.alpaca.keys import AlpacaDataKeys
from paiid.feeds.alpaca.messages import ErrorMessage, SuccessMessage, read_frame
from paiid.wires.alpaca.handshake import Refused, Unreachable, code_of, open_socket

_MAX_FRAME = 4 << 20
_MAX_FRAMES_WAITING = 256

Pause = Literal["quick", "grown", "crowded", "slow"]


@dataclass(frozen=True, slots=True)
class StreamTimings:
    """How long the stream waits for what, in seconds."""

    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    crowded_pause_s: float = 5.0
    """At least, where another connection may still hold our only place."""
    slow_pause_s: float = 60.0
    """Where asking again will not help before somebody has done something."""
    stable_s: float = 60.0
    """A connection that has held this long begins again with the first pause."""
    reply_s: float = 5.0
    ping_s: float = 1.5
    silence_s: float = 2.2
    """Without an answer to a ping for this long, the connection is given up; with `ping_s` less than the feed's heartbeat."""
    confirm_s: float = 12.0
    """A symbol that the stream has not told for this long is asked for, so that its quote is known to be the newest."""
    polled_s: float = 5.0
    """How often symbols are asked for that cannot be streamed: options, and what is over the limit."""
    look_s: float = 0.5
    """How often to look for what has to be asked."""


class StreamFault(Exception):
    """The connection is of no use; the text is safe to show. `pause` says how soon another may be tried."""

    def __init__(self, words: str, pause: Pause = "grown") -> None:
        super().__init__(words)
        self.pause = pause


_FAULTS: dict[int, tuple[str, Pause]] = {
    401: ("Alpaca's stream says that we are not authenticated", "slow"),
    402: ("Alpaca's stream does not accept the keys", "slow"),
    404: ("Alpaca's stream did not get the keys in time", "grown"),
    406: ("Alpaca's stream has no place for another connection with these keys", "crowded"),
    407: ("Alpaca's stream found us too slow", "quick"),
    408: ("Alpaca's stream is not open to these keys", "slow"),
    409: ("Alpaca's subscription does not hold this stream", "slow"),
    411: ("Alpaca's stream is beyond the scope of these keys", "slow"),
    500: ("Alpaca's stream has a fault of its own", "grown"),
}


def fault_of(code: int) -> StreamFault:
    """What an error means for the connection. In our words: theirs may hold anything."""
    words, pause = _FAULTS.get(code, ("Alpaca's stream refused us", "grown"))
    return StreamFault(f"{words} ({code})", pause)


class Connection:
    """An open connection. `packed`: MessagePack both ways; what comes is understood in either form."""

    def __init__(self, socket: ClientConnection, *, packed: bool) -> None:
        self.socket = socket
        self._packed = packed

    async def send(self, message: dict[str, str | Sequence[str]]) -> None:
        """One message."""
        if self._packed:
            await self.socket.send(msgspec.msgpack.encode(message))
        else:
            await self.socket.send(msgspec.json.encode(message).decode())

    async def close(self) -> None:
        """Say good-bye, or cut it off where nobody answers: an abandoned one would hold our only place."""
        try:
            await self.socket.close()
        finally:
            self.socket.transport.abort()

    async def until_success(self, word: str) -> None:
        """Raises StreamFault for an error instead."""
        while True:
            for message in read_frame(await self.socket.recv()).messages:
                if isinstance(message, SuccessMessage) and message.msg == word:
                    return
                # 403: we are authenticated already, so a yes it is.
                if isinstance(message, ErrorMessage) and message.code != 403:
                    raise fault_of(message.code)
                if isinstance(message, ErrorMessage) and word == "authenticated":
                    return


async def open_connection(keys: AlpacaDataKeys, timings: StreamTimings, *, packed: bool) -> Connection:
    """A connection that has taken the keys. Raises StreamFault."""
    connection = Connection(await _connect(keys, timings, packed=packed), packed=packed)
    try:
        async with asyncio.timeout(timings.reply_s):
            await connection.until_success("connected")
            await connection.send({"action": "auth", "key": keys.key, "secret": keys.secret})
            await connection.until_success("authenticated")
    except TimeoutError:
        await connection.close()
        raise StreamFault("Alpaca's stream did not answer to the keys in time") from None
    except ConnectionClosed as closed:
        raise StreamFault(f"Alpaca's stream hung up on the keys ({code_of(closed)})") from None
    except BaseException:
        await connection.close()
        raise
    return connection


async def _connect(keys: AlpacaDataKeys, timings: StreamTimings, *, packed: bool) -> ClientConnection:
    try:
        return await open_socket(
            keys.quotes_url,
            reply_s=timings.reply_s,
            most_bytes=_MAX_FRAME,
            most_waiting=_MAX_FRAMES_WAITING,
            # Our own pings tell whoever listens that there is life.
            ping_s=None,
            silence_s=None,
            headers={"Content-Type": "application/msgpack" if packed else "application/json"},
        )
    except Refused as refused:
        pauses: dict[int, Pause] = {401: "slow", 403: "slow", 429: "crowded"}
        raise StreamFault(
            f"Alpaca's stream answered the handshake with {refused.status}",
            pauses.get(refused.status, "grown"),
        ) from None
    except Unreachable as problem:
        raise StreamFault(f"Alpaca's stream could not be reached ({problem})") from None
