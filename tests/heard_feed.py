"""A feed that has to be listened to or asked, as the real ones are, and that answers when the test lets it."""

import asyncio
from collections.abc import Sequence

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.instruments import Instrument
from paiid.domain.quotes import Quote
from tests.market_world import FakeFeed


class HeardFeed(FakeFeed):
    """Knows no quote by itself. `calls` has the symbols of each call for quotes, `asked` what else was asked; while `gate` is
    closed nobody is answered."""

    def __init__(self, *symbols: str, **more: int) -> None:
        super().__init__(*symbols, **more)
        self.calls: list[list[str]] = []
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Exception | None = None

    def newest(self, symbol: str) -> Quote | None:
        return None

    async def _answers(self) -> None:
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        self.calls.append(list(symbols))
        await self._answers()
        return await super().fetch_quotes(symbols)

    async def fetch_bars(
        self, symbol: str, timeframe: Timeframe, start_us: int, end_us: int, limit: int
    ) -> Sequence[Bar]:
        self.asked.append(f"bars {symbol} {timeframe.value}")
        await self._answers()
        return await super().fetch_bars(symbol, timeframe, start_us, end_us, limit)

    async def search(self, text: str, limit: int) -> Sequence[Instrument]:
        self.asked.append(f"search {text}")
        await self._answers()
        return await super().search(text, limit)
