"""Alpaca's feed over a scripted server, as the feed contract's suite wants a stage: a feed, its clock, and a way to make it show something."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from typing import Any

from paiid.domain.calendar import eastern_date, eastern_us
from paiid.feeds.alpaca import AlpacaFeed
from tests.alpaca_data_wire import (
    ACTIONS,
    ASSETS,
    CONTRACTS,
    STOCK_BARS,
    AlpacaDataWire,
    answer_with,
    data_serving,
    quote,
    snapshot,
    stamp,
    trade,
)
from tests.alpaca_wire import Asked, told
from tests.fake_clock import FakeClock
from tests.market_world import WEDNESDAY_OPEN_US

KNOWN = ("AAPL", "BRK.B", "SPY")
_UNITS_US = {"Min": 60_000_000, "Hour": 3_600_000_000, "Day": 86_400_000_000}


class HandClock(FakeClock):
    """Time in a test's hand, beside real sockets: a sleep is a real one, of at most a moment, and moves nothing."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.2))


class SocketClock(FakeClock):
    """Wall time from a test's hand, which only grows with real time beside it."""

    def __init__(self, start_us: int = WEDNESDAY_OPEN_US) -> None:
        super().__init__(start_us)
        self._began_s = time.monotonic()

    def now_us(self) -> int:
        return self._us + int((time.monotonic() - self._began_s) * 1_000_000)

    def monotonic_s(self) -> float:
        return self.now_us() / 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class AlpacaDataStage:
    """`feed` over `wire`. `move` lets time pass and gives each known symbol a newer quote, on the stream and in what is asked for."""

    name = "alpaca"

    def __init__(self, wire: AlpacaDataWire, clock: FakeClock, feed: AlpacaFeed) -> None:
        self.wire = wire
        self.clock = clock
        self.feed = feed
        self._tasks: set[asyncio.Task[None]] = set()
        self._steps = 0
        for symbol in KNOWN:
            self._show(symbol, clock.now_us())
        assets = [_asset(symbol) for symbol in KNOWN]
        wire.say("GET", ASSETS, answer_with(200, assets))
        for asset in assets:
            wire.say("GET", f"{ASSETS}/{asset['symbol']}", answer_with(200, asset))
        self._list_contracts()
        wire.say("GET", STOCK_BARS, self._told_bars)
        wire.say("GET", ACTIONS, self._told_actions)

    def move(self, seconds: float = 2.0) -> None:
        """Must be called on the event loop."""
        self.clock.advance(seconds)
        self._steps += 1
        news: list[dict[str, Any]] = []
        at_us = self.clock.now_us()
        for symbol in KNOWN:
            self._show(symbol, at_us)
            if symbol in self.wire.data_stream.subscribed:
                bid, ask = self._prices()
                news.append(quote(symbol, bid, ask, at_us))
                news.append(trade(symbol, ask, at_us))
        if news:
            task = asyncio.create_task(self.wire.data_stream.send(*news))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _prices(self) -> tuple[float, float]:
        step = self._steps % 50
        return (1000 + step) / 100, (1002 + step) / 100

    def _show(self, symbol: str, at_us: int) -> None:
        bid, ask = self._prices()
        self.wire.market[symbol] = snapshot(bid, ask, ask, at_us)

    def _list_contracts(self) -> None:
        symbols = [
            f"AAPL{day}{right}{strike:08d}"
            for day in ("261218", "270115")
            for strike in (9000, 10000, 11000)
            for right in "CP"
        ]
        rows = [contract_row(symbol) for symbol in symbols]
        for row in rows:
            self.wire.options[row["symbol"]] = snapshot(0.5, 0.52, 0.51, self.clock.now_us())
            self.wire.say("GET", f"{CONTRACTS}/{row['symbol']}", answer_with(200, row))

        async def listing(asked: Asked, writer: asyncio.StreamWriter) -> None:
            first, last = asked.query["expiration_date_gte"], asked.query["expiration_date_lte"]
            found = [
                row
                for row in rows
                if row["underlying_symbol"] in asked.query["underlying_symbols"].split(",")
                and first <= row["expiration_date"] <= last
            ]
            await answer_with(200, {"option_contracts": found, "next_page_token": None})(asked, writer)

        self.wire.say("GET", CONTRACTS, listing)

    async def _told_bars(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        """A bar on each step of the clock that is not in the future, or none for a symbol that nobody knows."""
        symbol, rows = asked.query["symbols"], []
        if symbol in KNOWN:
            for start_us in _steps(asked.query["timeframe"], self.clock.now_us()):
                if asked.query["start"] <= stamp(start_us)[:26] + "Z" <= asked.query["end"]:
                    rows.append(bar_row(start_us))
        rows = rows[: int(asked.query["limit"])]
        await answer_with(200, {"bars": {symbol: rows}, "next_page_token": None})(asked, writer)

    async def _told_actions(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        row = {
            "symbol": "AAPL", "rate": 0.26, "special": False, "foreign": False, "ex_date": "2026-02-03",
            "process_date": "2026-02-20", "record_date": "2026-02-03", "payable_date": "2026-02-20",
        }  # fmt: skip
        here = "AAPL" in asked.query["symbols"].split(",")
        here = here and asked.query["start"] <= row["process_date"] <= asked.query["end"]
        said = {"cash_dividends": [row]} if here else {}
        # Of the paid plan, so that a year can be asked for day by day.
        limits = {"x_ratelimit_limit": "10000", "x_ratelimit_remaining": "9000"}
        await answer_with(200, {"corporate_actions": said, "next_page_token": None}, **limits)(asked, writer)


def _steps(timeframe: str, now_us: int) -> list[int]:
    """The last hundred beginnings of bars, the newest first."""
    if timeframe == "1Week":
        monday = eastern_date(now_us) - timedelta(days=eastern_date(now_us).weekday())
        return [_midnight_us(monday - timedelta(weeks=n)) for n in range(60)]
    if timeframe == "1Month":
        today = eastern_date(now_us)
        months = [divmod(today.year * 12 + today.month - 1 - n, 12) for n in range(24)]
        return [_midnight_us(date(year, month + 1, 1)) for year, month in months]
    if timeframe == "1Day":
        return [_midnight_us(eastern_date(now_us) - timedelta(days=n)) for n in range(120)]
    unit = next(one for one in _UNITS_US if timeframe.endswith(one))
    step_us = int(timeframe.removesuffix(unit)) * _UNITS_US[unit]
    return [now_us - now_us % step_us - n * step_us for n in range(200)]


def _midnight_us(day: date) -> int:
    from datetime import time as wall

    return eastern_us(day, wall())


def bar_row(start_us: int) -> dict[str, Any]:
    """A bar as REST tells it."""
    return {
        "t": stamp(start_us),
        "o": 10.0,
        "h": 10.5,
        "l": 9.5,
        "c": 10.2,
        "v": 1234,
        "n": 12,
        "vw": 10.123456,
    }


def _asset(symbol: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "b28f4066-5c6d-479b-a2af-85dc1a8f16fb", "class": "us_equity", "exchange": "NYSE", "symbol": symbol,
        "name": f"{symbol} Incorporated", "status": "active", "tradable": True, "marginable": True, "shortable": True,
        "fractionable": True, "borrow_status": "easy_to_borrow", "attributes": ["has_options"],
    } | changes  # fmt: skip


def contract_row(symbol: str, **changes: Any) -> dict[str, Any]:
    """A contract as the trading API lists it."""
    day = f"20{symbol[-15:-13]}-{symbol[-13:-11]}-{symbol[-11:-9]}"
    root = symbol[:-15]
    return {
        "id": "98359ef7-5124-49f3-85ea-5cf02df6defa", "symbol": symbol, "name": symbol, "status": "active", "tradable": True,
        "expiration_date": day, "root_symbol": root, "underlying_symbol": root.rstrip("123456789"),
        "type": "call" if symbol[-9] == "C" else "put", "style": "american", "strike_price": str(int(symbol[-8:]) / 1000),
        "multiplier": "100", "size": "100", "open_interest": "5121",
    } | changes  # fmt: skip


asset_row = _asset


@asynccontextmanager
async def alpaca_data_stage(**options: Any) -> AsyncIterator[AlpacaDataStage]:
    """A feed that is started, in the session of the day before Thanksgiving; gone at the end."""
    async with data_serving() as wire:
        wire.default = told(404, {"code": 40410000, "message": "not found"})
        clock = SocketClock()
        feed = wire.feed(clock, **options)
        await feed.start()
        try:
            yield AlpacaDataStage(wire, clock, feed)
        finally:
            async with asyncio.timeout(10):
                await feed.stop()
