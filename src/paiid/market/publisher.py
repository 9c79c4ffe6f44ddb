"""Gathers what the leader has shown for a few milliseconds, and publishes it in as few messages as it takes (docs/adr/0018)."""

import asyncio
from collections.abc import Callable, Iterable

from paiid.core.bus import Bus
from paiid.market.board import Board, Shown
from paiid.market.ticks import MOST_IN_MESSAGE, TICKS, Confirmed, Ticks, encode, tick_of


class Publisher:
    """The newest of each symbol waits, so what waits is bounded by symbols. `may` says whether this replica still leads."""

    def __init__(self, bus: Bus, board: Board, may: Callable[[], bool]) -> None:
        self._bus = bus
        self._board = board
        self._may = may
        self._epoch = 0
        self._shown: dict[str, Shown] = {}
        self._confirmed: dict[str, Confirmed] = {}
        self._gone: dict[str, None] = {}
        self._some = asyncio.Event()

    @property
    def epoch(self) -> int:
        """The epoch that is published; 0 for none."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._shown.clear()
        self._confirmed.clear()
        self._gone.clear()

    def show(self, shown: Shown) -> None:
        """A quote that was shown here."""
        if self._speaks:
            self._shown[shown.quote.symbol] = shown
            self._gone.pop(shown.quote.symbol, None)
            self._some.set()

    def confirm(self, word: Confirmed) -> None:
        """A quote that is still the newest."""
        if self._speaks:
            self._confirmed[word.symbol] = word
            self._some.set()

    def forget(self, symbols: Iterable[str]) -> None:
        """Symbols that are not followed any more."""
        if self._speaks:
            for symbol in symbols:
                self._gone[symbol] = None
                self._shown.pop(symbol, None)
                self._confirmed.pop(symbol, None)
            self._some.set()

    def show_all(self) -> None:
        """Somebody may have missed anything."""
        for symbol in self._board.symbols():
            shown = self._board.find(symbol)
            if shown is not None and shown.epoch == self._epoch:
                self.show(shown)

    async def something(self) -> None:
        """Until there is something to publish."""
        await self._some.wait()

    def flush(self) -> None:
        """Publish what has gathered."""
        self._some.clear()
        ticks = [tick_of(one) for one in self._shown.values()]
        confirmed, gone = list(self._confirmed.values()), list(self._gone)
        self._shown.clear()
        self._confirmed.clear()
        self._gone.clear()
        if not self._epoch or not self._may():
            return
        for start in range(0, max(len(ticks), len(confirmed), len(gone)), MOST_IN_MESSAGE):
            end = start + MOST_IN_MESSAGE
            batch = Ticks(self._epoch, ticks[start:end], confirmed[start:end], gone[start:end])
            self._bus.publish(TICKS, encode(batch))

    @property
    def _speaks(self) -> bool:
        return self._epoch > 0 and self._bus.shared and self._bus.up
