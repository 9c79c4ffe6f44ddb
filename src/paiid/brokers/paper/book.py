"""The matching process's memory of working orders: which of them are worth a transaction now."""

import heapq
from collections.abc import Container, Iterable

from paiid.brokers.paper.desk import QuoteOf
from paiid.brokers.paper.records import PaperOrder
from paiid.domain.paper import IMMEDIATE, wants_look

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
        self._live_at: list[tuple[int, str, str]] = []
        self._expires_at: list[tuple[int, str, str]] = []

    def __len__(self) -> int:
        return sum(len(one.orders) for one in self._symbols.values())

    def add(self, orders: Iterable[PaperOrder]) -> None:
        """Take in accepted orders; what is known or over is passed by."""
        for order in orders:
            symbol = order.working.symbol
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

    def candidates(self, is_open: bool, now_us: int) -> list[PaperOrder]:
        """Orders that the market as it stands may change, first come first served."""
        found = self._expired(now_us)
        for symbol, book in self._symbols.items():
            quote = self._quote_of(symbol)
            key: _Key = (
                (is_open,)
                if quote is None
                else (is_open, quote.source, quote.sequence, quote.as_of_us, quote.stale)
            )
            if key != book.seen:
                book.seen = key
                looked_at: Iterable[str] = book.orders
            else:
                looked_at = book.fresh
            for order_id in list(looked_at):
                order = book.orders[order_id]
                if now_us < order.working.live_at_us:
                    book.fresh.add(order_id)
                    continue
                if order.working.time_in_force not in IMMEDIATE:
                    book.fresh.discard(order_id)
                if wants_look(order.working, quote, is_open, now_us):
                    found[order_id] = order
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
        """Remember how the database has these orders; what is over, or not there, goes. Those named in `again`
        count as not looked at."""
        for order in asked:
            symbol = order.working.symbol
            book = self._symbols.get(symbol)
            if book is None:
                continue
            current = now.get(order.id)
            if current is None or current.is_over:
                book.orders.pop(order.id, None)
                book.fresh.discard(order.id)
                if not book.orders:
                    del self._symbols[symbol]
            else:
                book.orders[order.id] = current
                if order.id in again:
                    self.look_again([current])
