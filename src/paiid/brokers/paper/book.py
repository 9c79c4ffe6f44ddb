"""The matching process's memory of working orders: which of them are worth a transaction now."""

import heapq
from collections.abc import Container, Iterable

from paiid.brokers.paper.desk import QuoteOf
from paiid.brokers.paper.records import PaperOrder
from paiid.brokers.paper.spread_book import SpreadBook
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import IMMEDIATE, Moment, wants_look

_Key = tuple[object, ...]


class _SymbolBook:
    __slots__ = ("fresh", "orders", "seen")

    def __init__(self) -> None:
        self.orders: dict[str, PaperOrder] = {}
        self.fresh: set[str] = set()
        """Not yet looked at since they were live: new ones, and immediate ones until they end."""
        self.seen: _Key | None = None
        """The quote, and whether the market was open, when all orders were last looked at."""


class OpenBook:
    """Working orders by symbol. The database decides; this only spares it questions with the answer no."""

    def __init__(self, quote_of: QuoteOf) -> None:
        self._quote_of = quote_of
        self._symbols: dict[str, _SymbolBook] = {}
        self._spreads = SpreadBook(quote_of)
        self._live_at: list[tuple[int, str, str]] = []
        self._expires_at: list[tuple[int, str, str]] = []

    def __len__(self) -> int:
        return sum(len(one.orders) for one in self._symbols.values()) + len(self._spreads)

    def add(self, orders: Iterable[PaperOrder]) -> None:
        """Take in accepted orders; what is known or over, or held until its entry has filled, is passed by."""
        for order in orders:
            symbol = order.working.symbol
            if order.order_class == "mleg":
                self._spreads.put(order)
                if order.parent_id is None and not order.is_over:
                    heapq.heappush(self._live_at, (order.working.live_at_us, symbol, order.id))
                continue
            if order.status is OrderStatus.HELD:
                continue
            book = self._symbols.get(symbol)
            if order.is_over or (book is not None and order.id in book.orders):
                continue
            if book is None:
                book = self._symbols[symbol] = _SymbolBook()
            book.orders[order.id] = order
            book.fresh.add(order.id)
            heapq.heappush(self._live_at, (order.working.live_at_us, symbol, order.id))
            if order.working.expires_at_us is not None:
                heapq.heappush(self._expires_at, (order.working.expires_at_us, symbol, order.id))

    def next_live_us(self, now_us: int) -> int | None:
        """When the next order goes live, if one is still ahead of that."""
        while self._live_at and self._live_at[0][0] <= now_us:
            heapq.heappop(self._live_at)
        return self._live_at[0][0] if self._live_at else None

    def candidates(self, moment: Moment) -> list[PaperOrder]:
        """Orders that the market as it stands may change, first come first served."""
        found = self._expired(moment.at_us)
        hours = (moment.is_open, moment.is_extended)
        for symbol, book in self._symbols.items():
            quote = self._quote_of(symbol)
            key: _Key = (
                hours
                if quote is None
                else (*hours, quote.source, quote.sequence, quote.as_of_us, quote.stale)
            )
            if key != book.seen:
                book.seen = key
                looked_at: Iterable[str] = book.orders
            else:
                looked_at = book.fresh
            for order_id in list(looked_at):
                order = book.orders[order_id]
                if moment.at_us < order.working.live_at_us:
                    book.fresh.add(order_id)
                    continue
                if order.working.time_in_force not in IMMEDIATE:
                    book.fresh.discard(order_id)
                if wants_look(order.working, quote, moment):
                    found[order_id] = order
        found.update((order.id, order) for order in self._spreads.candidates(moment))
        return sorted(found.values(), key=lambda one: (one.working.live_at_us, one.accepted_seq))

    def _expired(self, now_us: int) -> dict[str, PaperOrder]:
        found: dict[str, PaperOrder] = {}
        while self._expires_at and self._expires_at[0][0] <= now_us:
            _, symbol, order_id = heapq.heappop(self._expires_at)
            book = self._symbols.get(symbol)
            if book is not None and order_id in book.orders:
                found[order_id] = book.orders[order_id]
        return found

    def look_again(self, orders: Iterable[PaperOrder]) -> None:
        """Their transaction did not commit: they count as not looked at."""
        orders = list(orders)
        self._spreads.look_again(orders)
        for order in orders:
            book = self._symbols.get(order.working.symbol)
            if book is not None and order.id in book.orders:
                book.fresh.add(order.id)
                if order.working.expires_at_us is not None:
                    heapq.heappush(
                        self._expires_at, (order.working.expires_at_us, order.working.symbol, order.id)
                    )

    def keep(
        self, asked: Iterable[PaperOrder], now: dict[str, PaperOrder], again: Container[str] = ()
    ) -> None:
        """Remember how the database has these orders, and all others of `now` (the rest of their groups); what is
        over, or not there, goes. Those named in `again` count as not looked at."""
        for order in asked:
            if order.id not in now:
                self._drop(order)
        for current in now.values():
            if current.is_over:
                self._drop(current)
                continue
            book = self._symbols.get(current.working.symbol)
            if book is None or current.id not in book.orders:
                self.add([current])
            else:
                book.orders[current.id] = current
            if current.id in again:
                self.look_again([current])

    def _drop(self, order: PaperOrder) -> None:
        if order.order_class == "mleg":
            self._spreads.forget(order)
            return
        symbol = order.working.symbol
        book = self._symbols.get(symbol)
        if book is None:
            return
        book.orders.pop(order.id, None)
        book.fresh.discard(order.id)
        if not book.orders:
            del self._symbols[symbol]
