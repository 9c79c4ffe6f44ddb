"""A referee for whole days at the venue: he believes none of its sums, and adds up orders and prints by himself."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from sqlalchemy import select

from paiid.brokers import BrokerActivity
from paiid.brokers.paper.queries import load_events
from paiid.brokers.paper.records import PaperOrder, activity_from_row, order_from_row
from paiid.core.db import Tx, statement
from paiid.core.tables import (
    paper_accounts,
    paper_activities,
    paper_executions,
    paper_orders,
    paper_positions,
)
from paiid.domain.occ import find_contract
from paiid.domain.orders import OrderStatus
from paiid.domain.quotes import Quote
from tests.paper_floor import Floor

ZERO, CENT, MILLIONTH, BILLIONTH = Decimal(0), Decimal("0.01"), Decimal("0.000001"), Decimal("1e-9")
ENDED = {"FILLED", "CANCELED", "EXPIRED", "REPLACED", "REJECTED"}
EXITS = {"take_profit", "stop_loss"}
_ACCOUNTS = statement(select(paper_accounts))
_ORDERS = statement(select(paper_orders).order_by(paper_orders.c.accepted_seq))
_PRINTS = statement(select(paper_executions).order_by(paper_executions.c.executed_at, paper_executions.c.id))
_ACTIVITIES = statement(select(paper_activities))
_POSITIONS = statement(select(paper_positions))


@dataclass(frozen=True)
class Print:
    """One execution as it stands in the venue's rows."""

    order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    fee: Decimal
    quote_sequence: int

    @property
    def value(self) -> Decimal:
        """Dollars that change hands."""
        return money(self.qty * self.price) * size_of(self.symbol)

    @property
    def signed(self) -> Decimal:
        """What it does to the position."""
        return self.qty if self.side == "buy" else -self.qty


@dataclass(frozen=True)
class Held:
    """A row of the venue's positions."""

    qty: Decimal = ZERO
    buys: Decimal = ZERO
    buy_value: Decimal = ZERO
    sells: Decimal = ZERO
    sell_value: Decimal = ZERO


@dataclass(frozen=True)
class Books:
    """Everything the venue has written of the one account."""

    cash: Decimal
    open_orders: int
    open_combos: int
    orders: list[PaperOrder]
    prints: list[Print]
    activities: list[BrokerActivity]
    held: dict[str, Held]
    print_ids: set[str]

    def holding(self, symbol: str) -> Held:
        """The row, or one of nothing."""
        return self.held.get(symbol, Held())


async def read_books(tx: Tx) -> Books:
    """The rows, with nothing of the venue's own arithmetic."""
    accounts = await tx.fetch(_ACCOUNTS)
    row = accounts[0] if accounts else {"cash": 10**11, "open_orders": 0, "open_combos": 0}
    printed = await tx.fetch(_PRINTS)
    prints = [
        Print(
            p["order_id"], p["symbol"], p["side"], Decimal(p["qty"]) * BILLIONTH,
            Decimal(p["price"]) * MILLIONTH, Decimal(p["fee"]) * MILLIONTH, p["quote_sequence"],
        )
        for p in printed
    ]  # fmt: skip
    held = {
        p["symbol"]: Held(
            Decimal(p["qty"]) * BILLIONTH, Decimal(p["open_buy_qty"]) * BILLIONTH,
            Decimal(p["open_buy_value"]) * MILLIONTH, Decimal(p["open_sell_qty"]) * BILLIONTH,
            Decimal(p["open_sell_value"]) * MILLIONTH,
        )
        for p in await tx.fetch(_POSITIONS)
    }  # fmt: skip
    return Books(
        Decimal(row["cash"]) * MILLIONTH,
        row["open_orders"],
        row["open_combos"],
        [order_from_row(one) for one in await tx.fetch(_ORDERS)],
        prints,
        [activity_from_row(one) for one in await tx.fetch(_ACTIVITIES)],
        held,
        {p["id"] for p in printed},
    )


def money(value: Decimal) -> Decimal:
    """Rounded to the millionth, half to even."""
    return value.quantize(MILLIONTH, ROUND_HALF_EVEN)


def size_of(symbol: str) -> int:
    """Shares a contract, or one."""
    return 100 if len(symbol) > 8 else 1


def fees_of(symbol: str, prints: Sequence[Print]) -> Decimal:
    """What one order owes for its prints: docs/paper.md, rules P2 and P41."""
    qty = sum((one.qty for one in prints), ZERO)
    if not qty:
        return ZERO
    value = sum((one.value for one in prints), ZERO)
    sells = prints[0].side == "sell"
    if len(symbol) > 8:
        owed = qty * Decimal("0.02815") + min(Decimal(55), qty * Decimal("0.025"))
        owed += qty * Decimal("0.00329") + value * Decimal("0.0000206") if sells else ZERO
    elif not sells:
        return ZERO
    else:
        owed = min(Decimal("9.79"), qty * Decimal("0.000195")) + value * Decimal("0.0000206")
    return owed.quantize(CENT, ROUND_CEILING)


@dataclass
class Judge:
    """Looks after every step. Raises AssertionError with what is wrong."""

    floor: Floor
    shown: dict[tuple[str, int], Quote] = field(default_factory=dict)
    books: Books | None = None
    grown: set[str] = field(default_factory=set)
    """Client ids of orders that took an exit's place with another quantity."""
    _over: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    _peaks: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    _filled: dict[str, Decimal] = field(default_factory=dict)

    def note_quotes(self) -> None:
        """Remember what the market shows."""
        for quote in self.floor.market.quotes.values():
            self.shown[(quote.symbol, quote.sequence)] = quote

    async def read(self) -> Books:
        """The books as they are."""
        async with self.floor.db.read() as tx:
            return await read_books(tx)

    async def look(self) -> Books:
        """Everything that must hold at any instant."""
        books = await self.read()
        by_order: dict[str, list[Print]] = defaultdict(list)
        for one in books.prints:
            by_order[one.order_id].append(one)
        self._money(books)
        for order in books.orders:
            self._order(order, by_order[order.id])
        self._quotes(books)
        self._counters(books)
        self._families(books)
        _exits_only_close(books)
        for parent in books.orders:
            if parent.order_class == "mleg" and parent.parent_id is None:
                legs = [one for one in books.orders if one.parent_id == parent.id]
                _spread(parent, legs, by_order)
        self.books = books
        return books

    def _money(self, books: Books) -> None:
        flow = sum((-one.value if one.side == "buy" else one.value for one in books.prints), ZERO)
        fees = sum((one.fee for one in books.prints), ZERO)
        paid = sum((one.cash for one in books.activities), ZERO)
        assert books.cash == Decimal(100_000) + flow - fees + paid, "cash does not add up"
        moved: dict[str, Decimal] = defaultdict(Decimal)
        for one in books.prints:
            moved[one.symbol] += one.signed
        for activity in books.activities:
            moved[activity.symbol] += activity.qty
        for symbol in {*moved, *books.held}:
            assert books.holding(symbol).qty == moved[symbol], f"{symbol} does not add up"

    def _order(self, order: PaperOrder, prints: list[Print]) -> None:
        working, spread = order.working, order.order_class == "mleg" and order.parent_id is None
        filled = sum((one.qty for one in prints), ZERO)
        assert spread or working.filled_qty == filled, "quantity lost or made up"
        assert working.filled_qty <= working.qty, "more filled than ordered"
        if working.notional is not None:
            value = sum((one.value for one in prints), ZERO)
            assert value <= working.notional, "more dollars than were asked for"
        elif order.status is OrderStatus.FILLED:
            assert working.filled_qty == working.qty, "filled and not all of it"
        owed = fees_of(working.symbol, prints) if self.floor.terms.fees else ZERO
        assert order.fees == sum((one.fee for one in prints), ZERO) == (ZERO if spread else owed), "fees"
        if working.limit_price is not None and order.group_role != "leg":
            for one in prints:
                worse = (
                    one.price > working.limit_price if one.side == "buy" else one.price < working.limit_price
                )
                assert not worse, "worse than its limit"
        if not spread:
            value = sum((money(one.qty * one.price) for one in prints), ZERO)
            assert order.filled_value == working.filled_value == value, "what its prints came to"
        before = self._filled.get(order.id, ZERO)
        assert working.filled_qty >= before, "what has filled fell"
        self._filled[order.id] = working.filled_qty
        now = (order.status, working.filled_qty, working.qty, order.reason, order.replaced_by, order.version)
        if order.status.value in ENDED:
            assert self._over.setdefault(order.id, now) == now, "the dead walk"
        else:
            assert order.id not in self._over, "the dead walk"
        if working.type == "trailing_stop" and working.hwm is not None and working.stop_price is not None:
            way = 1 if working.side == "sell" else -1
            hwm, stop = self._peaks.get(order.id, (working.hwm, working.stop_price))
            assert way * (working.hwm - hwm) >= 0 <= way * (working.stop_price - stop), "a trail went back"
            self._peaks[order.id] = (working.hwm, working.stop_price)

    def _quotes(self, books: Books) -> None:
        taken: dict[tuple[str, int, str], Decimal] = defaultdict(Decimal)
        for one in books.prints:
            quote = self.shown[(one.symbol, one.quote_sequence)]
            price, size = (quote.ask, quote.ask_size) if one.side == "buy" else (quote.bid, quote.bid_size)
            assert one.price >= price if one.side == "buy" else one.price <= price, "better than the quote"
            taken[one.symbol, one.quote_sequence, one.side] += one.qty
            there = size.to_integral_value(ROUND_FLOOR)
            assert taken[one.symbol, one.quote_sequence, one.side] <= there, "more than the quote showed"

    def _counters(self, books: Books) -> None:
        sums: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [ZERO, ZERO])
        for order in books.orders:
            if order.status.value in ENDED or order.status is OrderStatus.HELD or order.order_class == "mleg":
                continue
            if order.group_role == "stop_loss" and order.order_class in ("bracket", "oco"):
                continue
            mine = sums[order.working.symbol, order.working.side]
            left = order.working.qty - order.working.filled_qty
            mine[0] += left
            mine[1] += money(left * order.reserve_price * size_of(order.working.symbol))
        for symbol in {*books.held, *(symbol for symbol, _ in sums)}:
            held = books.holding(symbol)
            assert [held.buys, held.buy_value] == sums[symbol, "buy"], "reservations of buys"
            assert [held.sells, held.sell_value] == sums[symbol, "sell"], "reservations of sales"
        alive = [one for one in books.orders if one.status.value not in ENDED]
        assert books.open_orders == len(alive), "open orders"
        spreads = [one for one in alive if one.order_class == "mleg" and one.parent_id is None]
        assert books.open_combos == len(spreads), "open spreads"

    def _families(self, books: Books) -> None:
        """Entry and exits, with everything that took their places."""
        for family in families(books.orders):
            exits = [one for one in family if one.group_role in EXITS]
            entries = [one for one in family if one.group_role == "entry"]
            if not exits:
                continue
            sold = sum((one.working.filled_qty for one in exits), ZERO)
            live = [one for one in exits if one.status.value not in ENDED]
            assert len({one.working.qty - one.working.filled_qty for one in live}) <= 1, "exits out of step"
            if not entries:
                continue
            bought = sum((one.working.filled_qty for one in entries), ZERO)
            # An exit may be made larger where more shares are held.
            grown = any(one.client_order_id in self.grown for one in exits)
            assert grown or sold <= bought, "an exit sells more than the entry bought"
            if any(one.status in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED) for one in exits) or sold:
                assert any(one.status is OrderStatus.FILLED for one in entries), (
                    "exits live before their time"
                )

    async def end(self) -> None:
        """What was told is what there is; only a trail may have moved on quietly."""
        assert self.books is not None
        async with self.floor.db.read() as tx:
            told = await load_events(tx, 0, 1_000_000)
        assert [one.cursor for one in told] == list(range(1, len(told) + 1)), "event numbers with a hole"
        last = {one.order.broker_order_id: one.order for one in told if one.order is not None}
        for order in self.books.orders:
            view, now = replace(last[order.id], legs=()), order.view()
            if order.working.type == "trailing_stop" and not order.is_over:
                view = replace(view, hwm=now.hwm, stop_price=now.stop_price)
            assert view == now, "the last thing told is not how it is"
        activities = {one.activity.activity_id for one in told if one.activity is not None}
        assert activities == {one.activity_id for one in self.books.activities}, "activities not told"


def families(orders: Sequence[PaperOrder]) -> list[list[PaperOrder]]:
    """Orders that hang on each other or took each other's place."""
    head = {one.id: one.id for one in orders}

    def find(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    for one in orders:
        for other in (one.parent_id, one.replaces):
            if other is not None:
                head[find(one.id)] = find(other)
    found: dict[str, list[PaperOrder]] = defaultdict(list)
    for one in orders:
        if one.order_class not in ("simple", "mleg"):
            found[find(one.id)].append(one)
    return list(found.values())


def _exits_only_close(books: Books) -> None:
    """As long as nothing else has reduced the position, or a roll moved it, no exit turns it."""
    orders = {one.id: one for one in books.orders}
    held: dict[str, Decimal] = defaultdict(Decimal)
    disturbed = {one.symbol for one in books.activities if one.qty}
    for one in books.prints:
        is_exit = orders[one.order_id].group_role in EXITS
        reduces = held[one.symbol] * one.signed < 0
        if is_exit and one.symbol not in disturbed:
            there = abs(held[one.symbol]) if reduces else ZERO
            assert one.qty <= there, "an exit opens a position"
        elif reduces and not is_exit:
            disturbed.add(one.symbol)
        held[one.symbol] += one.signed


def _spread(parent: PaperOrder, legs: Sequence[PaperOrder], prints: dict[str, list[Print]]) -> None:
    """Every leg moves with the spread, and each round of prints is worth the net or better."""
    assert legs
    for leg in legs:
        assert leg.working.filled_qty == parent.working.filled_qty * (leg.ratio_qty or 0), "legs out of step"
        assert leg.status is parent.status, "a leg has a life of its own"
    rounds = zip(*(prints[leg.id] for leg in legs), strict=True)
    for one in rounds:
        units = {made.qty / (leg.ratio_qty or 1) for leg, made in zip(legs, one, strict=True)}
        assert len(units) == 1, "legs filled one by one"
        net = sum(
            (
                (leg.ratio_qty or 1) * (made.price if made.side == "buy" else -made.price)
                for leg, made in zip(legs, one, strict=True)
            ),
            ZERO,
        )
        limit = parent.working.limit_price
        assert limit is None or net <= limit, "worse than its net"
    value = sum((leg.filled_value * (1 if leg.working.side == "buy" else -1) for leg in legs), ZERO)
    assert parent.filled_value == value, "what its legs came to"


def free_margin(books: Books, quotes: dict[str, Quote], *, margin: bool) -> Decimal | None:
    """Dollars free for initial margin by formulas of his own; None where a call is naked.

    Of options only what no rule could ask less than: what they lose at the worst price of the underlying, if none or
    all of the open spreads fill. So it is never less than the venue's figure.
    """
    equity, free = books.cash, books.cash
    marks: dict[str, Decimal] = {}
    for symbol, held in books.held.items():
        marks[symbol] = quotes[symbol].ask if held.qty < 0 else quotes[symbol].bid
        equity += held.qty * marks[symbol] * size_of(symbol)
    lends, half = margin and equity >= 2000, Decimal("0.5")
    shares = ZERO
    contracts: dict[str, Decimal] = {}
    for symbol, held in books.held.items():
        buys = held.buy_value * _part(held.buys, max(ZERO, -held.qty))
        if len(symbol) > 8:
            free -= buys
            contracts[symbol] = held.qty - held.sells
            continue
        if symbol == "AAPL":
            # The one stock that has options here.
            shares = held.qty - held.sells
        worth = held.qty * marks[symbol]
        free += worth * 3 / 2 if held.qty < 0 else worth * half if lends else ZERO
        free -= buys * (half if lends else 1)
        free -= held.sell_value * _part(held.sells, max(ZERO, held.qty)) * half
    filled, net = dict(contracts), ZERO
    for order in books.orders:
        if order.order_class != "mleg" or order.status.value in ENDED:
            continue
        left = order.working.qty - order.working.filled_qty
        if order.parent_id is None:
            net += money(order.reserve_price * left * 100)
        else:
            signed = left if order.working.side == "buy" else -left
            filled[order.working.symbol] = filled.get(order.working.symbol, ZERO) + signed
    losses = [worst_loss(one, shares) for one in (contracts, filled)]
    if losses[0] is None or losses[1] is None:
        return None
    return free - max(losses[0], losses[1] + net)


def _part(total: Decimal, closing: Decimal) -> Decimal:
    """The part of a side's open quantity that opens."""
    return max(ZERO, total - closing) / total if total else ZERO


def worst_loss(contracts: dict[str, Decimal], shares: Decimal) -> Decimal | None:
    """The most that options lose wherever the underlying goes, with these shares to deliver; None without a limit."""
    known = [(found, qty) for symbol, qty in contracts.items() if qty and (found := find_contract(symbol))]
    deliver = max(ZERO, shares)
    calls = sum((qty for one, qty in known if one.option_type == "call"), ZERO)
    if calls * 100 + deliver < 0:
        return None
    prices = [ZERO, *(one.strike for one, _ in known), Decimal(1_000_000)]
    worth = [sum((qty * one.intrinsic(at) for one, qty in known), ZERO) * 100 + deliver * at for at in prices]
    return max(ZERO, -min(worth))
