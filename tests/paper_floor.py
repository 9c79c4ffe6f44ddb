"""The venue's real books stepped by hand, for orders that hang together: brackets, spreads, replacements, day rolls."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from paiid.brokers import BrokerExecution, BrokerOrder, BrokerOrderView, BrokerReplace, BrokerUpdate
from paiid.brokers.paper.group_store import legs_of, load_groups
from paiid.brokers.paper.queries import find_order, load_events, load_executions
from paiid.brokers.paper.records import PaperOrder, order_from_row
from paiid.brokers.paper.replace import Replacer, ReplaceRequest
from paiid.core.db import Database, statement
from paiid.core.tables import paper_accounts, paper_orders
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import ZERO, round_money
from paiid.domain.orders import Leg, Side, StopLoss, TakeProfit
from paiid.domain.paper_account import PaperAccount
from paiid.domain.terms import PLAIN, AccountTerms
from tests.paper_world import START_US, Market, RealVenue

_ALL_ORDERS = statement(select(paper_orders).order_by(paper_orders.c.accepted_seq))
_ALL_ACCOUNTS = statement(select(paper_accounts))
D = Decimal


def order(
    name: str, side: Side = "buy", qty: int = 100, price: str | None = None, **more: Any
) -> BrokerOrder:
    """A gtc limit order of AAPL, or a market order where there is no price."""
    fields: dict[str, Any] = {
        "account_number": "me",
        "client_order_id": name,
        "symbol": "AAPL",
        "side": side,
        "qty": D(qty),
        "type": "market" if price is None else "limit",
        "time_in_force": "gtc",
        "limit_price": None if price is None else D(price),
    }
    return BrokerOrder(**(fields | more))


def bracket(name: str, profit: str, stop: str | StopLoss, **more: Any) -> BrokerOrder:
    """An entry with both exits."""
    loss = StopLoss(D(stop)) if isinstance(stop, str) else stop
    plain = order(name, more.pop("side", "buy"), more.pop("qty", 100), more.pop("price", None), **more)
    return replace(plain, order_class="bracket", take_profit=TakeProfit(D(profit)), stop_loss=loss)


def oco(name: str, profit: str, stop: str, **more: Any) -> BrokerOrder:
    """Two exits of a position."""
    plain = order(name, more.pop("side", "sell"), more.pop("qty", 100), profit, **more)
    return replace(plain, order_class="oco", stop_loss=StopLoss(D(stop)))


def spread(name: str, legs: str, limit: str | None = None, qty: int = 1, **more: Any) -> BrokerOrder:
    """A spread in AAPL: legs such as `+AAPL261218C00100000 -2AAPL261218C00110000`, `to_close` after a `!`."""
    made = []
    for text in legs.split():
        closes = text.endswith("!")
        ratio, symbol = text[1:].rstrip("!").split("AAPL", 1)
        side: Side = "buy" if text[0] == "+" else "sell"
        intent: Any = f"{side}_to_{'close' if closes else 'open'}"
        made.append(Leg("AAPL" + symbol, side, int(ratio or 1), intent))
    return order(name, "buy", qty, limit, **({"order_class": "mleg", "legs": tuple(made)} | more))


class Floor(RealVenue):
    """`RealVenue` with what tests of groups ask it."""

    @classmethod
    async def opened(cls, database: Database, terms: AccountTerms = PLAIN) -> "Floor":
        """With AAPL at 99.90 / 100.10 in any size."""
        floor = await cls.open(Market(), database, terms)
        assert isinstance(floor, Floor)
        floor.show("99.90", "100.10")
        return floor

    def show(self, bid: str, ask: str, size: int = 10_000, symbol: str = "AAPL", **more: Any) -> None:
        """A new quote."""
        self.market.show(symbol, D(bid), D(size), D(ask), D(size), **more)

    async def tick(self, ms: int = 20) -> None:
        """Time passes, and the venue looks."""
        self.market.clock.us += ms * 1000
        await self.look()

    async def shown(self, bid: str, ask: str, size: int = 10_000, symbol: str = "AAPL") -> None:
        """A new quote, and the venue looks."""
        self.show(bid, ask, size, symbol)
        await self.tick(1)

    async def place(self, one: BrokerOrder, ms: int = 20) -> BrokerOrderView:
        """Submit it and let it go live."""
        await self.submit(one)
        view = await self.view(one.client_order_id, one.account_number)
        await self.tick(ms)
        return view

    async def view(self, name: str, account: str = "me") -> BrokerOrderView:
        """An order with its legs, as the venue tells it."""
        async with self.db.read() as tx:
            found = await find_order(tx, account, name)
            assert found is not None, name
            group = await load_groups(tx, [found])
        return found.view(legs_of(found, group.values()))

    async def told(self, name: str) -> str:
        """Status and what has filled: `FILLED 100`, with the reason in brackets where there is one."""
        view = await self.view(name)
        reason = f" ({view.reason})" if view.reason else ""
        return f"{view.status.value} {view.filled_qty.normalize():f}{reason}"

    async def replace(self, name: str, new_name: str, **change: Any) -> BrokerOrderView:
        """Raises BrokerRejected, OutcomeUnknown."""
        old = await self.view(name)
        request = ReplaceRequest("me", old.broker_order_id, BrokerReplace(new_name, **change))
        placed = await self.db.commit_with(Replacer(self.desk).replace, request)
        return placed.view()

    async def prints(self, account: str = "me") -> list[BrokerExecution]:
        """All executions."""
        async with self.db.read() as tx:
            return await load_executions(tx, account, 0)

    async def events(self) -> list[BrokerUpdate]:
        """Everything that was told."""
        async with self.db.read() as tx:
            return await load_events(tx, 0, 1_000_000)

    async def position(self, symbol: str = "AAPL") -> Decimal:
        """What is held."""
        return (await self.account("me")).holding(symbol).qty

    async def audit(self) -> PaperAccount:
        """Add the books up from orders and prints. Raises AssertionError."""
        book = await self.account("me")
        async with self.db.read() as tx:
            orders = [order_from_row(row) for row in await tx.fetch(_ALL_ORDERS)]
        assert book.open_orders == sum(not one.is_over for one in orders), "open orders"
        prints = await self.prints()
        for one in orders:
            _audit_order(one, [p for p in prints if p.broker_order_id == one.id], orders)
        symbols = {one.working.symbol for one in orders} | set(book.holdings)
        for symbol in symbols:
            _audit_reservations(book, symbol, orders)
        spreads = {
            one.id for one in orders if one.is_parent and one.order_class == "mleg" and not one.is_over
        }
        assert set(book.combos) == spreads, "open spreads"
        told = await self.events()
        assert [one.cursor for one in told] == list(range(1, len(told) + 1)), "event numbers with a hole"
        for one in orders:
            life = [e for e in told if e.order is not None and e.order.broker_order_id == one.id]
            last = life[-1].order
            assert last is not None
            assert replace(last, legs=()) == one.view(), "the last thing told is not how it is"
        return book


def _audit_order(one: PaperOrder, prints: Sequence[BrokerExecution], orders: Sequence[PaperOrder]) -> None:
    assert one.working.filled_qty <= one.working.qty, "more filled than ordered"
    if one.order_class == "mleg" and one.is_parent:
        assert not prints
        for leg in legs_of(one, orders):
            assert leg.working.filled_qty == one.working.filled_qty * (leg.ratio_qty or 0), "legs out of step"
            assert leg.status == one.status
        return
    assert one.working.filled_qty == sum((p.qty for p in prints), ZERO), "quantity"
    exits = [o for o in orders if o.root_id == one.root_id and o.group_role in ("take_profit", "stop_loss")]
    live = [o for o in exits if not o.is_over]
    assert len({o.working.left for o in live}) <= 1, "exits out of step"


def _audit_reservations(book: PaperAccount, symbol: str, orders: Sequence[PaperOrder]) -> None:
    holding = book.holding(symbol)
    for side, qty, value in (
        ("buy", holding.open_buy_qty, holding.open_buy_value),
        ("sell", holding.open_sell_qty, holding.open_sell_value),
    ):
        these = [
            o for o in orders
            if (o.working.symbol, o.working.side) == (symbol, side) and not o.is_over and o.counts
        ]  # fmt: skip
        assert qty == sum((o.working.left for o in these), ZERO), f"reserved quantity of {symbol}"
        reserved = (round_money(o.working.left * o.reserve_price * multiplier_of(symbol)) for o in these)
        assert value == sum(reserved, ZERO), f"reserved dollars of {symbol}"


__all__ = ["START_US", "Floor", "bracket", "oco", "order", "spread"]
