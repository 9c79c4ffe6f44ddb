"""Keeps one connection to the data stream alive and tells what comes of it; what the stream leaves open is asked for."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import structlog
from websockets.exceptions import ConnectionClosed

from paiid.core.clock import Clock
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.book import Book, Sides
from paiid.feeds.alpaca.connection import Connection, StreamFault, StreamTimings, open_connection
from paiid.feeds.alpaca.keys import AlpacaDataKeys
from paiid.feeds.alpaca.messages import (
    CancelMessage,
    CorrectionMessage,
    ErrorMessage,
    Message,
    QuoteMessage,
    SubscriptionMessage,
    TradeMessage,
    read_frame,
)
from paiid.feeds.alpaca.snapshots import Snapshots
from paiid.feeds.alpaca.subscription import Subscription, Wanted
from paiid.feeds.alpaca.values import micros_of, price_of, size_of
from paiid.feeds.outbox import Outbox
from paiid.wires.alpaca.handshake import code_of

NO_LAST_PRICE = frozenset("BCGHNPRUWZ479")
"""Trades by conditions of both tapes that are not the market's price now: averages, sold out of sequence, priced by reference,
settled in another way, contingent."""
_LATE_US = 5_000_000
_MUTE_ROUNDS = 3
_COMPLAIN_S = 60.0
_log = structlog.get_logger("paiid.feeds.alpaca")


class Listener:
    """`run` never ends by itself. `dropped` counts messages that could not be used; `connections` those that were opened."""

    def __init__(
        self,
        clock: Clock,
        keys: AlpacaDataKeys,
        book: Book,
        snapshots: Snapshots,
        wanted: Wanted,
        timings: StreamTimings,
        *,
        packed: bool,
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._book = book
        self._snapshots = snapshots
        self._wanted = wanted
        self._timings = timings
        self._packed = packed
        self._pause_s = 0.0
        self._complained_s = -_COMPLAIN_S
        self.dropped = 0
        self.connections = 0

    async def run(self, outbox: Outbox) -> None:
        """Connect, listen, connect again, until cancelled."""
        while True:
            began_s = self._clock.monotonic_s()
            try:
                fault = await self._connect_once(outbox)
            except Exception as error:  # noqa: BLE001 - the feed loop: a defect costs a connection, never the feed
                _log.error("alpaca_data_defect", error=type(error).__name__, exc_info=error)
                fault = StreamFault("the reader of Alpaca's stream broke")
            outbox.lost(str(fault))
            pause_s = self._next_pause_s(fault, self._clock.monotonic_s() - began_s)
            _log.warning(
                "alpaca_data_stream_lost", keys=self._keys.label, reason=str(fault), pause_s=round(pause_s, 2)
            )
            await self._clock.sleep(pause_s)

    async def _connect_once(self, outbox: Outbox) -> StreamFault:
        """One connection from its beginning to its end; why it ended."""
        try:
            connection = await open_connection(self._keys, self._timings, packed=self._packed)
        except StreamFault as fault:
            return fault
        self.connections += 1
        _log.info("alpaca_data_stream_connected", keys=self._keys.label)
        try:
            outbox.heard()
            self._wanted.refused.clear()
            return await _Session(self, connection, outbox).run()
        finally:
            with contextlib.suppress(ConnectionClosed, OSError):
                await connection.close()

    def _next_pause_s(self, fault: StreamFault, held_s: float) -> float:
        """Growing, and between half of it and all of it by chance: not all come at once."""
        timings = self._timings
        grown = (
            timings.first_pause_s if held_s >= timings.stable_s or not self._pause_s else self._pause_s * 2
        )
        if fault.pause == "quick":
            grown = max(timings.first_pause_s, self._pause_s)
        self._pause_s = min(timings.longest_pause_s, grown)
        least_s = {"crowded": timings.crowded_pause_s, "slow": timings.slow_pause_s}.get(fault.pause, 0.0)
        chance = int.from_bytes(self._clock.random_bytes(2), "big") / 65_536
        return max(least_s, self._pause_s) * (0.5 + chance / 2) if not least_s else least_s * (1 + chance / 2)

    def complain(self, dropped: int) -> None:
        """Count what could not be used, and say so now and then."""
        self.dropped += dropped
        now_s = self._clock.monotonic_s()
        if now_s - self._complained_s >= _COMPLAIN_S:
            self._complained_s = now_s
            _log.warning("alpaca_data_messages_dropped", dropped=self.dropped)


class _Session:
    """What goes on while one connection is open."""

    def __init__(self, listener: Listener, connection: Connection, outbox: Outbox) -> None:
        self._listener = listener
        self._clock = listener._clock
        self._book = listener._book
        self._snapshots = listener._snapshots
        self._wanted = listener._wanted
        self._timings = listener._timings
        self._socket = connection.socket
        self._subscription = Subscription(connection, listener._wanted, self._timings.reply_s)
        self._outbox = outbox
        self._frames = 0
        self._told_s: dict[str, float] = {}
        """When each symbol was last told or asked for on this connection; one that is not here is told anew."""
        self._asked_s: dict[str, float] = {}
        self._news = 0
        self._mute_rounds = 0

    async def run(self) -> StreamFault:
        """Until the connection is of no use any more; why."""
        work: list[Coroutine[Any, Any, None]] = [
            self._read(),
            self._ping(),
            self._subscription.keep(),
            self._keep_asking(),
        ]
        tasks = [asyncio.create_task(one, name="paiid-alpaca-data") for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except StreamFault as fault:
            return fault
        except ConnectionClosed as closed:
            return StreamFault(f"the connection to Alpaca's stream was lost ({code_of(closed)})")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return StreamFault("the connection to Alpaca's stream ended")

    async def _read(self) -> None:
        async for frame in self._socket:
            self._frames += 1
            read = read_frame(frame)
            if read.dropped:
                self._listener.complain(read.dropped)
            for message in read.messages:
                self._take(message)

    def _take(self, message: Message) -> None:
        if isinstance(message, QuoteMessage):
            if message.S in self._wanted.all:
                self._take_quote(message)
        elif isinstance(message, TradeMessage):
            if message.S in self._wanted.all:
                self._take_trade(message)
        elif isinstance(message, (CorrectionMessage, CancelMessage)):
            self._book.doubt_last(message.S)
        elif isinstance(message, SubscriptionMessage):
            self._subscription.heard(message)
        elif isinstance(message, ErrorMessage):
            self._subscription.refused(message.code)

    def _take_quote(self, told: QuoteMessage) -> None:
        bid, ask, bid_size, ask_size = (
            price_of(told.bp),
            price_of(told.ap),
            size_of(told.bs),
            size_of(told.as_),
        )
        if bid is None or ask is None or bid_size is None or ask_size is None:
            self._listener.complain(1)
            return
        self._tell(
            told.S, self._book.note_sides(told.S, Sides(bid, bid_size, ask, ask_size, micros_of(told.t)))
        )

    def _take_trade(self, told: TradeMessage) -> None:
        price = price_of(told.p)
        if not price:
            self._listener.complain(1)
        elif NO_LAST_PRICE.isdisjoint(told.c or ()):
            self._tell(told.S, self._book.note_trade(told.S, price, micros_of(told.t)))

    def _tell(self, symbol: str, quote: Quote | None) -> None:
        self._news += 1
        # Before its snapshot a symbol has no previous close, and maybe half of a quote: it is told once it is whole.
        if quote is not None and symbol in self._told_s:
            self._told_s[symbol] = self._clock.monotonic_s()
            self._outbox.put(quote)

    async def _ping(self) -> None:
        while True:
            frames = self._frames
            pong = await self._socket.ping()
            try:
                async with asyncio.timeout(self._timings.silence_s):
                    await pong
            except TimeoutError:
                if frames == self._frames:
                    raise StreamFault("Alpaca's stream fell silent", "quick") from None
            self._outbox.heard()
            await self._clock.sleep(self._timings.ping_s)

    async def _keep_asking(self) -> None:
        failures = 0
        while True:
            self._wanted.ask_wake.clear()
            due = self._due()
            if due:
                try:
                    await self._ask(due)
                    failures = 0
                except FeedUnavailable as problem:
                    # The stream goes on; what is not confirmed grows stale by itself.
                    failures += 1
                    _log.warning("alpaca_data_not_confirmed", symbols=len(due), reason=str(problem))
                    self._tell_without_snapshot(due)
                    await self._clock.sleep(
                        min(self._timings.confirm_s, self._timings.first_pause_s * 2**failures)
                    )
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timings.look_s):
                    await self._wanted.ask_wake.wait()

    def _due(self) -> list[str]:
        """What must be asked for now."""
        now_s, timings = self._clock.monotonic_s(), self._timings
        for kept in (self._told_s, self._asked_s):
            for symbol in [one for one in kept if one not in self._wanted.all]:
                del kept[symbol]
        due = []
        for symbol in self._wanted.symbols:
            told_s = self._told_s.get(symbol)
            streamed = symbol in self._subscription.symbols
            pause_s = timings.confirm_s if streamed else timings.polled_s
            if (
                told_s is None
                or now_s - told_s >= pause_s
                or (
                    self._book.needs_close(symbol)
                    and now_s - self._asked_s.get(symbol, 0.0) >= timings.polled_s
                )
            ):
                due.append(symbol)
        return due

    async def _ask(self, due: list[str]) -> None:
        news, asked_us = self._news, self._clock.now_us()
        before = {symbol: self._book.find(symbol) for symbol in due if symbol in self._told_s}
        quotes = await self._snapshots.fetch(due)
        now_s = self._clock.monotonic_s()
        for symbol in due:
            self._told_s[symbol] = self._asked_s[symbol] = now_s
            quote = quotes.get(symbol)
            if quote is not None and symbol in self._wanted.all:
                self._outbox.put(quote)
        if news == self._news and self._missed(before, quotes, asked_us):
            self._mute_rounds += 1
            if self._mute_rounds >= _MUTE_ROUNDS:
                raise StreamFault("Alpaca's stream is open but tells nothing", "quick")
        elif news != self._news:
            self._mute_rounds = 0

    def _missed(self, before: dict[str, Quote | None], quotes: dict[str, Quote], asked_us: int) -> bool:
        """Whether the answer has what the stream should have told some time ago: a connection can be open and yet be mute."""
        return any(
            (known := before.get(symbol)) is not None
            and symbol in self._subscription.symbols
            and known.as_of_us < quote.as_of_us < asked_us - _LATE_US
            for symbol, quote in quotes.items()
        )

    def _tell_without_snapshot(self, due: list[str]) -> None:
        """What the stream has told of symbols whose snapshot cannot be had: better than nothing."""
        for symbol in due:
            quote = self._book.find(symbol)
            if symbol not in self._told_s and quote is not None and symbol in self._subscription.symbols:
                self._told_s[symbol] = -self._timings.confirm_s
                self._outbox.put(quote)
