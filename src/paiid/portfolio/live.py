"""The portfolio channels: an account's summary and positions, valued anew as its symbols tick, without a query a tick (contract S4).

What an account holds is kept in memory while somebody listens: read when the first one comes, and again when the account's own
channel has moved, and now and then for what moves no channel, such as the day's first equity or a quote that has grown stale.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import structlog

from paiid.core.clock import Clock
from paiid.core.db import DatabaseUnavailable
from paiid.core.json import encode
from paiid.core.tasks import Background
from paiid.domain.pricing.position import ContractGreeks
from paiid.domain.valuation import Mark
from paiid.market.board import Board, Shown
from paiid.market.demand import Demand
from paiid.portfolio.service import Books, PortfolioService
from paiid.portfolio.views import live_view
from paiid.stream.events import CatchUp, ChannelKind, Event, Place
from paiid.stream.hub import Hub
from paiid.stream.journal import Journal

_log = structlog.get_logger("paiid.portfolio.live")

PREFIX = "portfolio"
MOST_READ = 100
"""Accounts whose books are read together."""
BETWEEN_BREATHS = 4
"""Accounts that are valued before others have the event loop."""


class _Live:
    """One account in memory. `fetched` are marks of symbols that no quote in memory is known of, `greeks` those of the last
    reading: they cost too much for every tick, and say of when they are; `data` is what was told last."""

    __slots__ = ("books", "data", "fetched", "greeks", "sequence", "told_us")

    def __init__(
        self, books: Books, fetched: Mapping[str, Mark], greeks: Mapping[str, ContractGreeks]
    ) -> None:
        self.books = books
        self.fetched = fetched
        self.greeks = greeks
        self.sequence = 0
        self.data = b""
        self.told_us = 0


class LivePortfolio:
    """Provider of `portfolio:ID`."""

    kind: ChannelKind = "value"

    def __init__(
        self,
        portfolio: PortfolioService,
        journal: Journal,
        board: Board,
        demand: Demand,
        hub: Hub,
        clock: Clock,
        *,
        every_s: float = 0.25,
        reload_s: float = 5.0,
    ) -> None:
        """Values what has moved each `every_s`, and reads and values everything each `reload_s`."""
        self._portfolio = portfolio
        self._journal = journal
        self._demand = demand
        self._hub = hub
        self._clock = clock
        self._every_s = every_s
        self._reload_s = reload_s
        self._epoch = clock.now_us()
        self._live: dict[str, _Live] = {}
        self._holders: dict[str, set[str]] = {}
        self._dirty: set[str] = set()
        self._moved: set[str] = set()
        self._reload_at_s = clock.monotonic_s() + reload_s
        self._background = Background(clock)
        board.watch(self._ticked)

    # -- the provider -------------------------------------------------------------------------------

    async def open(self, name: str) -> None:
        """Take the account into memory. Raises KeyError for no such account, DatabaseUnavailable."""
        # Watched first: what happens while the books are read makes them be read again.
        self._journal.watch(name, self._moved.add)
        try:
            found = await self._portfolio.load_books([name])
            books = {one.account.id: one for one in found}[name]
            fetched = await self._portfolio.fetch_marks(books.symbols)
            live = self._live[name] = _Live(books, fetched, self._portfolio.greeks.newest(books.options))
        finally:
            if name not in self._live:
                self._journal.unwatch(name)
        self._hold(name, (), books.symbols)
        self._value(name, live)
        if books.options - live.greeks.keys():
            # Nobody waits for them here: they come with the next reading, which is at once.
            self._moved.add(name)

    def close(self, name: str) -> None:
        """Let it go."""
        self._journal.unwatch(name)
        self._moved.discard(name)
        self._dirty.discard(name)
        live = self._live.pop(name, None)
        if live is not None:
            self._hold(name, live.books.symbols, ())

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        """The newest valuation, unless the reader has seen just that. Raises KeyError."""
        live = self._live[name]
        now = Place(self._epoch, live.sequence)
        if since == now:
            return CatchUp(now)
        event = self._event(name, live)
        if since is not None and since.epoch != self._epoch:
            return CatchUp(now, "epoch", None, (event,))
        if since is not None and not 0 <= since.sequence <= live.sequence:
            return CatchUp(now, "unknown_place", None, (event,))
        return CatchUp(now, events=(event,))

    # -- what is held -------------------------------------------------------------------------------

    def _hold(self, name: str, before: Iterable[str], after: Iterable[str]) -> None:
        """The account held `before` and holds `after`: the market is to follow it, and ticks are to find the account."""
        old, new = set(before), set(after)
        for symbol in new - old:
            self._holders.setdefault(symbol, set()).add(name)
        for symbol in old - new:
            holders = self._holders.get(symbol, set())
            holders.discard(name)
            if not holders:
                self._holders.pop(symbol, None)
        self._demand.add(sorted(new - old))
        self._demand.drop(sorted(old - new))

    def _ticked(self, shown: Shown) -> None:
        self._dirty.update(self._holders.get(shown.quote.symbol, ()))

    # -- in the background --------------------------------------------------------------------------

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._background.failing

    async def start(self) -> None:
        """Begin to value."""
        self._background.begin("portfolio-values", self._run_values)
        self._background.begin("portfolio-books", self._run_books)

    async def stop(self) -> None:
        """End it."""
        await self._background.stop()

    async def _run_values(self) -> None:
        while True:
            await self.value_dirty()
            await self._clock.sleep(self._every_s)

    async def _run_books(self) -> None:
        """Beside the valuing: reading may wait for a database or a feed, and ticks need neither."""
        while True:
            try:
                await self.read_moved()
            except DatabaseUnavailable as problem:
                # Without it nothing can be traded either: what was read last goes on being valued.
                _log.warning("portfolio_books_wait", reason=str(problem))
            await self._clock.sleep(self._every_s)

    async def value_dirty(self) -> None:
        """Tell the hub what accounts are worth whose symbols have ticked, or whose books were read."""
        dirty, self._dirty = self._dirty, set()
        for count, name in enumerate(sorted(dirty), 1):
            live = self._live.get(name)
            if live is not None and self._value(name, live):
                self._hub.put(self._event(name, live))
            if count % BETWEEN_BREATHS == 0:
                await self._clock.sleep(0)

    async def read_moved(self) -> None:
        """Read the books of the accounts that have moved; of all, when it is time for that. Raises DatabaseUnavailable."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._reload_at_s:
            self._reload_at_s = now_s + self._reload_s
            self._moved.update(self._live)
        # One that is just being opened has to wait until it is.
        moved = sorted(self._moved & self._live.keys())
        self._moved.difference_update(moved)
        for some in _chunks(moved, MOST_READ):
            lives = {name: self._live[name] for name in some if name in self._live}
            try:
                found = await self._portfolio.load_books(list(lives))
            except DatabaseUnavailable:
                self._moved.update(moved)
                raise
            for books in found:
                self._take(books.account.id, lives[books.account.id], books)
            fetched = await self._portfolio.fetch_marks({one for books in found for one in books.symbols})
            greeks = await self._portfolio.greeks.load({one for books in found for one in books.options})
            for books in found:
                self._take_marks(books.account.id, lives[books.account.id], fetched)
                self._take_greeks(books.account.id, lives[books.account.id], greeks)

    def _take(self, name: str, live: _Live, books: Books) -> None:
        if self._live.get(name) is live:
            self._hold(name, live.books.symbols, books.symbols)
            live.books = books
            self._dirty.add(name)

    def _take_marks(self, name: str, live: _Live, fetched: Mapping[str, Mark]) -> None:
        mine = {symbol: fetched[symbol] for symbol in live.books.symbols if symbol in fetched}
        if self._live.get(name) is live and mine != live.fetched:
            live.fetched = mine
            self._dirty.add(name)

    def _take_greeks(self, name: str, live: _Live, greeks: Mapping[str, ContractGreeks]) -> None:
        mine = {symbol: greeks[symbol] for symbol in live.books.options if symbol in greeks}
        if self._live.get(name) is live and mine != live.greeks:
            live.greeks = mine
            self._dirty.add(name)

    def _value(self, name: str, live: _Live) -> bool:
        """Value it; whether that says anything new."""
        symbols = live.books.symbols
        found = live.books.at({**live.fetched, **self._portfolio.newest_marks(symbols)})
        data = encode(live_view(found.account, found.worth, found.last_day, live.greeks))
        if data == live.data:
            return False
        live.data = data
        live.sequence += 1
        live.told_us = self._clock.now_us()
        return True

    def _event(self, name: str, live: _Live) -> Event:
        return Event(
            f"{PREFIX}:{name}",
            "portfolio_update",
            self._epoch,
            live.sequence,
            live.told_us,
            "ledger",
            live.data,
        )


def _chunks(names: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while some := list(islice(rest, size)):
        yield some
