"""What is streamed of what is followed, and the talk that keeps it so: additive subscribes and unsubscribes, each acknowledged."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from paiid.domain.instruments import is_option
from paiid.feeds.alpaca.connection import Connection, StreamFault, fault_of
from paiid.feeds.alpaca.messages import SubscriptionMessage
from paiid.feeds.alpaca.snapshots import is_asked_for

_LARGEST_BATCH = 500
_OF_THE_QUESTION = frozenset({400, 405, 410})
"""Errors that are about what was asked for, not about the connection."""
_log = structlog.get_logger("paiid.feeds.alpaca")


class Wanted:
    """Which symbols are followed, at most `most`, the first come first. Options are not on the stock stream, and at most `limit`
    others fit on it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = most
        self.symbols: tuple[str, ...] = ()
        self.all: frozenset[str] = frozenset()
        self.refused: set[str] = set()
        """Symbols that the stream does not take; asked for in other ways until there is another connection."""
        self.stream_wake = asyncio.Event()
        self.ask_wake = asyncio.Event()

    def set(self, symbols: Sequence[str]) -> None:
        """From now on these."""
        first = list(dict.fromkeys(symbols))[: self.most]
        self.symbols = tuple(symbol for symbol in first if is_asked_for(symbol))
        self.all = frozenset(self.symbols)
        self.wake()

    def wake(self) -> None:
        """Something is to be looked at anew."""
        self.stream_wake.set()
        self.ask_wake.set()

    def streamed(self) -> list[str]:
        """Those that should be on the stream."""
        fit = [symbol for symbol in self.symbols if not is_option(symbol) and symbol not in self.refused]
        return fit[: self.limit]


class Subscription:
    """Makes what one connection streams what is wanted."""

    def __init__(self, connection: Connection, wanted: Wanted, reply_s: float) -> None:
        self._send: Callable[[dict[str, str | Sequence[str]]], Awaitable[None]] = connection.send
        self._wanted = wanted
        self._reply_s = reply_s
        self._batch = _LARGEST_BATCH
        self._answer: asyncio.Future[int] | None = None
        self.symbols: frozenset[str] = frozenset()
        """What the other side has said that it streams."""

    def heard(self, message: SubscriptionMessage) -> None:
        """An acknowledgement: all that is subscribed now."""
        self.symbols = frozenset(message.quotes or ()) & frozenset(message.trades or ())
        self._settle(0)

    def refused(self, code: int) -> None:
        """An error message. Raises StreamFault where it is about the connection."""
        if code == 403:
            return
        if code not in _OF_THE_QUESTION or self._answer is None:
            raise fault_of(code)
        self._settle(code)

    async def keep(self) -> None:
        """Until cancelled. Raises StreamFault."""
        while True:
            self._wanted.stream_wake.clear()
            target = self._wanted.streamed()
            gone = sorted(self.symbols.difference(target))
            new = [symbol for symbol in target if symbol not in self.symbols]
            if gone:
                await self._unsubscribe(gone)
            elif new:
                await self._subscribe(new[: self._batch])
            else:
                await self._wanted.stream_wake.wait()

    async def _unsubscribe(self, symbols: list[str]) -> None:
        code = await self._ask("unsubscribe", symbols)
        if code or self.symbols.intersection(symbols):
            raise StreamFault(f"Alpaca's stream does not end a subscription ({code or 'still there'})")

    async def _subscribe(self, symbols: list[str]) -> None:
        code = await self._ask("subscribe", symbols)
        if code == 405:
            together = len(self.symbols) + len(symbols)
            # Never what was just refused; what is streamed already is known to fit.
            limit = max(len(self.symbols), min(together // 2, together - 1))
            _log.warning("alpaca_stream_limit_lowered", tried=together, limit=limit)
            self._wanted.limit = limit
            self._wanted.wake()
        elif code and len(symbols) > 1:
            # One of them may be why: in halves it turns out which.
            self._batch = len(symbols) // 2
        else:
            missing = set(symbols) if code else set(symbols) - self.symbols
            if missing:
                _log.warning("alpaca_stream_refused_symbols", code=code, symbols=sorted(missing)[:20])
                self._wanted.refused |= missing
                self._wanted.wake()

    async def _ask(self, action: str, symbols: Sequence[str]) -> int:
        """0 once it is acknowledged, or the code of the error. Raises StreamFault where nothing comes."""
        self._answer = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._reply_s):
                await self._send({"action": action, "trades": symbols, "quotes": symbols})
                return await self._answer
        except TimeoutError:
            raise StreamFault("Alpaca's stream does not answer to a subscription") from None
        finally:
            self._answer = None

    def _settle(self, code: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(code)
