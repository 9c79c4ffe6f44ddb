"""The rules by which the paper venue fills an order: one order, one quote, what is left of it (docs/paper.md)."""

from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from typing import Protocol

from paiid.domain.instruments import SYMBOL_PATTERN, tick_of
from paiid.domain.money import ZERO, round_money
from paiid.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from paiid.domain.quotes import Quote

STARTING_CASH = Decimal(100_000)
LATENCY_MS = 20
"""From acceptance until the order is live; the order meets the quote that stands then, or a later one."""
IMMEDIATE_PATIENCE_US = 1_000_000
"""How long a live ioc or fok order waits for a quote that may be traded on, before it is canceled."""
MAX_QTY = Decimal(1_000_000)
MAX_PRICE = Decimal(1_000_000)
MAX_OPEN_ORDERS = 10_000
"""Open orders of one account."""
IMMEDIATE: frozenset[str] = frozenset({"ioc", "fok"})


class Hours(Protocol):
    """What the venue needs to know of the calendar (`domain/calendar.py`)."""

    def is_open(self, at_us: int) -> bool:
        """Whether the market trades at this instant."""
        ...

    def next_roll_us(self, at_us: int) -> int:
        """The first day roll after this instant: day orders expire then."""
        ...


class PaperRefused(Exception):
    """The venue does not take the order: a stable code, and one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Working:
    """An order that may still fill. Quantities in shares, prices in dollars, instants in microseconds.

    `expires_at_us` is None for everything but day orders; `triggered` matters for stops only.
    """

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    live_at_us: int
    expires_at_us: int | None
    filled_qty: Decimal = ZERO
    triggered: bool = False

    @property
    def left(self) -> Decimal:
        """Shares still to fill."""
        return self.qty - self.filled_qty


@dataclass(frozen=True, slots=True)
class Taken:
    """What orders have taken of one quote: shares off its bid and off its ask."""

    source: str
    sequence: int
    as_of_us: int
    bid: Decimal = ZERO
    ask: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Step:
    """What a quote does to an order: trigger it, fill `qty` at `price`, end it; or nothing of these."""

    triggers: bool = False
    qty: Decimal = ZERO
    price: Decimal = ZERO
    ends: OrderStatus | None = None
    reason: str | None = None

    @property
    def changes(self) -> bool:
        """False where the order stays exactly as it is."""
        return self.triggers or self.qty > 0 or self.ends is not None


NOTHING = Step()


def check_order(
    symbol: str,
    type: OrderType,
    qty: Decimal,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
) -> None:
    """What can be said of an order without looking at market or account. Raises PaperRefused."""
    if not SYMBOL_PATTERN.match(symbol):
        raise PaperRefused("unknown_symbol", "There is no such symbol.")
    if not qty.is_finite() or qty <= 0 or qty != qty.to_integral_value():
        raise PaperRefused("invalid_qty", "The quantity must be a whole number of shares, at least 1.")
    if qty > MAX_QTY:
        raise PaperRefused("invalid_qty", f"The quantity must not be over {MAX_QTY} shares.")
    for name, wanted, price in (
        ("limit_price", type == "limit", limit_price),
        ("stop_price", type == "stop", stop_price),
    ):
        if (price is not None) != wanted:
            raise PaperRefused("invalid_price", f"A {type} order {'needs a' if wanted else 'has no'} {name}.")
        if price is None:
            continue
        if not price.is_finite() or price <= 0 or price > MAX_PRICE:
            raise PaperRefused("invalid_price", f"{name} must be over 0 and at most {MAX_PRICE}.")
        if price % tick_of(price) != 0:
            raise PaperRefused(
                "invalid_price", f"{name} must be a multiple of {tick_of(price)} at this price level."
            )


def check_market(type: OrderType, time_in_force: TimeInForce, quote: Quote | None, is_open: bool) -> Quote:
    """Whether the market, as it stands, takes this kind of order. Raises PaperRefused."""
    if quote is None or quote.bid <= 0 or quote.ask <= 0:
        raise PaperRefused("no_quote", "There is no quote for this symbol.")
    at_once = type == "market" or time_in_force in IMMEDIATE
    if at_once and not is_open:
        raise PaperRefused("market_closed", "The market is closed; market, ioc and fok orders need it open.")
    if at_once and quote.stale:
        raise PaperRefused("stale_quote", "The newest quote is too old to trade on.")
    return quote


def reserve_price(
    side: Side, type: OrderType, limit_price: Decimal | None, stop_price: Decimal | None, quote: Quote
) -> Decimal:
    """Dollars a share that an open order keeps reserved until it fills or ends.

    A buy: what it costs at most as far as known (limit; the higher of stop and ask; ask). A sale: what the
    shares would bring, the base of the short-sale requirement (the higher of limit and bid; stop; bid).
    """
    if side == "buy":
        near = quote.ask
        price = limit_price if limit_price is not None else max(near, stop_price or near)
    else:
        near = quote.bid
        price = max(limit_price, near) if limit_price is not None else (stop_price or near)
    return round_money(price)


def short_mark(quote: Quote) -> Decimal:
    """Dollars a share at which a short position is valued: the ask, which is what covering costs."""
    return quote.ask


def tradable(quote: Quote | None) -> bool:
    """Whether orders may fill on this quote: it is there, fresh, two-sided and not crossed."""
    return quote is not None and not quote.stale and 0 < quote.bid <= quote.ask


def after_quote(taken: Taken | None, quote: Quote) -> Taken | None:
    """What has been taken of this very quote; None when a newer one has been traded on already.

    A number that went back with a later instant is a source that began counting anew: a new quote.
    """
    if taken is not None and taken.source == quote.source and taken.sequence == quote.sequence:
        return taken
    if taken is not None and (quote.as_of_us, quote.sequence) < (taken.as_of_us, taken.sequence):
        return None
    return Taken(quote.source, quote.sequence, quote.as_of_us)


def take(taken: Taken, side: Side, qty: Decimal) -> Taken:
    """The same quote with this much less of the side that an order on `side` trades against."""
    if side == "buy":
        return replace(taken, ask=taken.ask + qty)
    return replace(taken, bid=taken.bid + qty)


def shown(quote: Quote, side: Side) -> tuple[Decimal, Decimal]:
    """Price and whole shares that the quote offers to an order on `side`, before anything was taken."""
    price, size = (quote.ask, quote.ask_size) if side == "buy" else (quote.bid, quote.bid_size)
    return price, size.to_integral_value(ROUND_FLOOR)


def reaches(order: Working, quote: Quote) -> bool:
    """Whether the quote's price lets the order trade, or triggers it."""
    price = quote.ask if order.side == "buy" else quote.bid
    if order.limit_price is not None:
        return price <= order.limit_price if order.side == "buy" else price >= order.limit_price
    if order.stop_price is not None and not order.triggered:
        return price >= order.stop_price if order.side == "buy" else price <= order.stop_price
    return True


def wants_look(order: Working, quote: Quote | None, is_open: bool, now_us: int) -> bool:
    """A cheap first question for a book of thousands: could `decide` change anything?"""
    if order.expires_at_us is not None and now_us >= order.expires_at_us:
        return True
    if now_us < order.live_at_us:
        return False
    if order.time_in_force in IMMEDIATE:
        return (is_open and tradable(quote)) or now_us >= order.live_at_us + IMMEDIATE_PATIENCE_US
    return is_open and quote is not None and tradable(quote) and reaches(order, quote)


def decide(order: Working, quote: Quote | None, taken: Taken | None, is_open: bool, now_us: int) -> Step:
    """What happens to a working order at this instant, with this quote of which `taken` is gone.

    `taken` is None when a newer quote than this has been traded on. Money is not looked at here.
    """
    if order.expires_at_us is not None and now_us >= order.expires_at_us:
        return Step(ends=OrderStatus.EXPIRED, reason="day_over")
    if now_us < order.live_at_us:
        return NOTHING
    immediate = order.time_in_force in IMMEDIATE
    if quote is None or taken is None or not is_open or not tradable(quote):
        if immediate and now_us >= order.live_at_us + IMMEDIATE_PATIENCE_US:
            return Step(ends=OrderStatus.CANCELED, reason="no_fresh_quote")
        return NOTHING
    return _against(order, quote, taken, immediate)


def _against(order: Working, quote: Quote, taken: Taken, immediate: bool) -> Step:
    if not reaches(order, quote):
        if immediate:
            return Step(ends=OrderStatus.CANCELED, reason="not_immediately_fillable")
        return NOTHING
    triggers = order.stop_price is not None and not order.triggered
    price, size = shown(quote, order.side)
    free = max(ZERO, size - (taken.ask if order.side == "buy" else taken.bid))
    qty = min(order.left, free)
    if order.time_in_force == "fok" and qty < order.left:
        return Step(triggers, ends=OrderStatus.CANCELED, reason="not_immediately_fillable")
    if qty == order.left:
        return Step(triggers, qty, round_money(price), OrderStatus.FILLED)
    if immediate:
        return Step(triggers, qty, round_money(price), OrderStatus.CANCELED, "not_immediately_fillable")
    return Step(triggers, qty, round_money(price) if qty > 0 else ZERO)
