"""One client of the market stream, over a WebSocket or over HTTP: what it wants, and the messages that wait for it."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

import structlog

from paiid.sim.engine.connection import Connection
from paiid.sim.tradier.markets.events import Tick
from paiid.sim.tradier.markets.wanted import Wanted
from paiid.sim.tradier.shapes import encode

__all__ = ["End", "Listener"]

_LAST_WORDS_S = 1.0
"""How long a client has to take what was sent before its end; one that reads nothing must not keep its connection."""
_log = structlog.get_logger("paiid.sim")


@dataclass(frozen=True, slots=True)
class End:
    """The last thing that happens: a farewell, or a cut."""

    cut: bool


class Listener:
    """`account` is whose session it is; None before a session was told. `connection` is what lies below, if anything does."""

    def __init__(self, number: int, connection: Connection | None, max_queue: int) -> None:
        self.number = number
        self.account: str | None = None
        self.session = ""
        self.wanted = Wanted()
        self.connection = connection
        self._max_queue = max_queue
        self._queue: deque[bytes | End] = deque()
        self._news = asyncio.Event()
        self._is_silent = False
        self._last_resort: asyncio.TimerHandle | None = None
        self.is_over = False

    def hear(self, tick: Tick) -> None:
        """Send this message in its turn; a client for which too many wait is cut off."""
        if self._is_silent or self.is_over:
            return
        if len(self._queue) >= self._max_queue:
            _log.warning("sim_market_client_too_slow", account=self.account)
            self._queue.clear()
            self.cut()
            return
        self._put(tick.encoded())

    def hear_noise(self, noise: bytes) -> None:
        """Send something that no decoder takes."""
        if not self._is_silent:
            self._put(noise)

    def say(self, body: dict[str, Any]) -> None:
        """Send a message that is not the market's."""
        if not self._is_silent:
            self._put(encode(body))

    def refuse(self, text: str, *, final: bool) -> None:
        """Tell an error, and close behind it where it is final."""
        self.say({"error": text})
        if final:
            self.end()

    def end(self) -> None:
        """Close it in good order once all before it has been sent."""
        self._put(End(cut=False))

    def cut(self) -> None:
        """Cut the connection once all before it has been sent."""
        self._put(End(cut=True))

    def fall_silent(self, *, deaf: bool) -> None:
        """Stay open and say nothing any more; deaf: answer no ping either."""
        self._is_silent = True
        if deaf and self.connection is not None:
            self.connection.deafen()

    def reset(self) -> None:
        """Cut the connection now."""
        if self.connection is not None:
            self.connection.reset()

    async def next(self) -> bytes | End:
        """The next message, or the end; with a line break behind it for those who asked for one."""
        while not self._queue:
            self._news.clear()
            await self._news.wait()
        item = self._queue.popleft()
        if isinstance(item, End):
            return item
        return item + b"\n" if self.wanted.linebreak else item

    def gone(self) -> None:
        """The connection has ended: nothing is left to cut."""
        self.is_over = True
        if self._last_resort is not None:
            self._last_resort.cancel()

    def _put(self, item: bytes | End) -> None:
        if self.is_over:
            return
        if isinstance(item, End):
            self.is_over = True
            self._last_resort = asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.reset)
        self._queue.append(item)
        self._news.set()
