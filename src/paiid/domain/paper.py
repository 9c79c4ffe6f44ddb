"""The rules by which the paper venue fills an order: one order, one quote, what is left of it (docs/paper.md)."""

from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Protocol

from paiid.domain.calendar import Session
from paiid.domain.instruments import is_option, option_tick, tick_of
from paiid.domain.money import ZERO, round_money
from paiid.domain.orders import OrderStatus, OrderType, Side, TimeInForce
from paiid.domain.quotes import Quote
from paiid.domain.terms import AccountTerms

LATENCY_MS = 20
"""From acceptance until the order is live; the order meets the quote that stands then, or a later one."""
IMMEDIATE_PATIENCE_US = 1_000_000
"""How long a live ioc or fok order waits for a quote that may be traded on, before it is canceled."""
OPENING_PATIENCE_US = 60_000_000
"""How long after the open an opg order waits for the first quote of the session."""
MAX_QTY = Decimal(1_000_000)
MAX_PRICE = Decimal(1_000_000)
MIN_NOTIONAL = Decimal(1)
"""Dollars; less is taken only from a position that is worth less."""
MAX_OPEN_ORDERS = 10_000
"""Open orders of one account."""
MAX_IMPACT_TICKS = 50
IMMEDIATE: frozenset[str] = frozenset({"ioc", "fok", "opg"})
"""Times in force that are decided on the first quote that may be traded on."""
SHARE = Decimal(1)
SHARE_FRACTION = Decimal("1e-9")


class Hours(Protocol):
    """What the venue needs to know of the calendar (`domain/calendar.py`)."""

    @property
    def never_closes(self) -> bool:
        """Whether there is neither an opening nor a close."""
        ...

    def is_open(self, at_us: int) -> bool:
        """Whether the market trades at this instant."""
        ...

    def is_extended(self, at_us: int) -> bool:
        """Whether an extended-hours order can trade at this instant; the regular session is part of that."""
        ...

    def next_roll_us(self, at_us: int) -> int:
        """The first day roll after this instant: day orders expire then."""
        ...

    def previous_roll_us(self, at_us: int) -> int:
        """The last day roll at or before this instant."""
        ...

    def trading_day(self, at_us: int) -> date:
        """The day that the next roll ends."""
        ...

    def extended_end_us(self, at_us: int) -> int:
        """The end of the extended day that is on or comes next: extended day orders expire then."""
        ...

    def coming_session(self, at_us: int) -> Session:
        """The regular session that is on or comes next."""
        ...

    def sessions(self, first: date, last: date) -> list[Session]:
        """The trading days from `first` to `last`, both included, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant in microseconds, and what may trade then."""

    at_us: int
    is_open: bool
    is_extended: bool


def moment_of(hours: Hours, at_us: int) -> Moment:
    """What the market's clock says at this instant."""
    is_open = hours.is_open(at_us)
    return Moment(at_us, is_open, is_open or hours.is_extended(at_us))


class PaperRefused(Exception):
    """The venue does not take the order: a stable code, and one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Working:
    """An order that may still fill. Quantities in shares or contracts, prices in dollars, instants in microseconds.

    `expires_at_us` is None for what no day ends; `triggered` matters for stops only. A notional order's `qty` is what
    it was reckoned to buy at acceptance, and what it really bought once it is over. `hwm` is the best price that a
    trailing stop has seen, from which its `stop_price` follows. `filled_value` is price x quantity so far.
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
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    extended_hours: bool = False
    filled_value: Decimal = ZERO

    @property
    def left(self) -> Decimal:
        """Shares still to fill; of a notional order, what is left of it as reckoned when it was accepted."""
        return self.qty - self.filled_qty

    @property
    def unit(self) -> Decimal:
        """The smallest quantity it fills in: a share or contract, or a billionth of a share."""
        whole = self.notional is None and self.qty == self.qty.to_integral_value()
        return SHARE if whole else SHARE_FRACTION


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
    """What a quote does to an order: trigger it, fill `qty` at `price`, end it, move the stop of a trailing one (`hwm`
    and `stop_price`, always together and never with anything else); or nothing of these."""

    triggers: bool = False
    qty: Decimal = ZERO
    price: Decimal = ZERO
    ends: OrderStatus | None = None
    reason: str | None = None
    hwm: Decimal | None = None
    stop_price: Decimal | None = None

    @property
    def changes(self) -> bool:
        """False where the order stays exactly as it is."""
        return self.triggers or self.qty > 0 or self.ends is not None or self.hwm is not None


NOTHING = Step()


def applied(order: Working, step: Step, reserve_price: Decimal) -> Working:
    """The order after a step. What a notional order will still buy is reckoned again at its reserve price; at its end
    its quantity is what it bought."""
    filled = order.filled_qty + step.qty
    value = order.filled_value + round_money(step.qty * step.price)
    qty = order.qty
    if order.notional is not None:
        if step.ends is not None:
            qty = filled
        elif step.qty > 0:
            qty = filled + affordable(order.notional - value, reserve_price)
    return replace(
        order,
        qty=qty,
        filled_qty=filled,
        filled_value=value,
        triggered=order.triggered or step.triggers,
        hwm=step.hwm if step.hwm is not None else order.hwm,
        stop_price=step.stop_price if step.hwm is not None else order.stop_price,
    )


def affordable(dollars: Decimal, price: Decimal) -> Decimal:
    """Shares that an amount buys at a price, rounded down to the billionth."""
    return max(ZERO, (dollars / price).quantize(SHARE_FRACTION, ROUND_FLOOR))


def tradable(quote: Quote | None, side: Side = "sell") -> bool:
    """Whether orders on `side` may fill on this quote: it is there, fresh, two-sided and not crossed.

    An option that is worth nothing has no bid: it can be bought all the same.
    """
    if quote is None or quote.stale or quote.ask <= 0 or quote.bid > quote.ask:
        return False
    return quote.bid > 0 or (quote.bid == 0 and side == "buy" and is_option(quote.symbol))


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


def price_tick(symbol: str, price: Decimal) -> Decimal:
    """The smallest price step of a stock or option at this price, in dollars."""
    return option_tick(symbol, price) if is_option(symbol) else tick_of(price)


def trail_stop(
    symbol: str, side: Side, hwm: Decimal, trail_price: Decimal | None, trail_percent: Decimal | None
) -> Decimal:
    """The stop price that trails the best price seen, on the tick that is farther from the market."""
    trail = trail_price if trail_price is not None else hwm * (trail_percent or ZERO) / 100
    stop = hwm + trail if side == "buy" else hwm - trail
    tick = price_tick(symbol, stop)
    return (stop / tick).to_integral_value(ROUND_CEILING if side == "buy" else ROUND_FLOOR) * tick


def trailed(order: Working, quote: Quote) -> Step | None:
    """The step by which a trailing stop follows this quote; None where its stop stays, or it is no such order."""
    if order.type != "trailing_stop" or order.triggered:
        return None
    seen = quote.ask if order.side == "buy" else quote.bid
    if order.hwm is not None and (seen >= order.hwm if order.side == "buy" else seen <= order.hwm):
        return None
    stop = trail_stop(order.symbol, order.side, seen, order.trail_price, order.trail_percent)
    return Step(hwm=seen, stop_price=stop)


def _triggers(order: Working, price: Decimal) -> bool:
    stop = order.stop_price
    return (
        stop is not None and not order.triggered and (price >= stop if order.side == "buy" else price <= stop)
    )


def _waits_for_trigger(order: Working) -> bool:
    return not order.triggered and (order.stop_price is not None or order.type == "trailing_stop")


def _within_limit(order: Working, price: Decimal) -> bool:
    limit = order.limit_price
    return limit is None or (price <= limit if order.side == "buy" else price >= limit)


def reaches(order: Working, quote: Quote) -> bool:
    """Whether the quote's price lets the order trade, triggers it, or moves its stop."""
    price = quote.ask if order.side == "buy" else quote.bid
    if _waits_for_trigger(order):
        return _triggers(order, price) or trailed(order, quote) is not None
    return _within_limit(order, price)


def patience_us(order: Working) -> int:
    """How long an immediate order, once live, waits for what it needs to be decided."""
    return OPENING_PATIENCE_US if order.time_in_force == "opg" else IMMEDIATE_PATIENCE_US


def may_trade(order: Working, quote: Quote | None, moment: Moment) -> bool:
    """Whether this order can trade at this moment on this quote, whatever its price.

    An opg order trades on quotes of the session only, not on one that was there before the open.
    """
    if not (moment.is_open or (order.extended_hours and moment.is_extended)):
        return False
    if quote is None or not tradable(quote, order.side):
        return False
    return order.time_in_force != "opg" or quote.as_of_us >= order.live_at_us


def wants_look(order: Working, quote: Quote | None, moment: Moment) -> bool:
    """A cheap first question for a book of thousands: could `decide` change anything?"""
    if order.expires_at_us is not None and moment.at_us >= order.expires_at_us:
        return True
    if moment.at_us < order.live_at_us:
        return False
    if order.time_in_force in IMMEDIATE:
        return may_trade(order, quote, moment) or moment.at_us >= order.live_at_us + patience_us(order)
    return quote is not None and may_trade(order, quote, moment) and reaches(order, quote)


def decide(
    order: Working, quote: Quote | None, taken: Taken | None, moment: Moment, terms: AccountTerms
) -> Step:
    """What happens to a working order at this moment, with this quote of which `taken` is gone.

    `taken` is None when a newer quote than this has been traded on. Money is not looked at here.
    """
    auction = order.time_in_force in ("opg", "cls")
    if order.expires_at_us is not None and moment.at_us >= order.expires_at_us:
        if auction:
            return Step(ends=OrderStatus.CANCELED, reason="not_filled_in_auction")
        return Step(ends=OrderStatus.EXPIRED, reason="day_over")
    if moment.at_us < order.live_at_us:
        return NOTHING
    late = moment.at_us >= order.live_at_us + patience_us(order)
    if order.time_in_force == "opg" and late:
        return Step(ends=OrderStatus.CANCELED, reason="not_filled_in_auction")
    if quote is None or taken is None or not may_trade(order, quote, moment):
        if order.time_in_force in IMMEDIATE and late:
            return Step(ends=OrderStatus.CANCELED, reason="no_fresh_quote")
        return NOTHING
    return _against(order, quote, taken, terms)


def _against(order: Working, quote: Quote, taken: Taken, terms: AccountTerms) -> Step:
    moved = trailed(order, quote)
    if moved is not None:
        return moved
    price, size = shown(quote, order.side)
    immediate = order.time_in_force in IMMEDIATE
    unfilled = "not_filled_in_auction" if order.time_in_force == "opg" else "not_immediately_fillable"
    triggers = _triggers(order, price)
    if (_waits_for_trigger(order) and not triggers) or not _within_limit(order, price):
        if immediate:
            return Step(triggers, ends=OrderStatus.CANCELED, reason=unfilled)
        return Step(triggers)
    price = fill_price(order, quote, size, terms)
    free = max(ZERO, size - (taken.ask if order.side == "buy" else taken.bid))
    if order.unit == SHARE:
        free = free.to_integral_value(ROUND_FLOOR)
    wanted = order.left
    if order.notional is not None:
        wanted = affordable(order.notional - order.filled_value, price)
    qty = min(wanted, free)
    if order.time_in_force == "fok" and qty < wanted:
        return Step(triggers, ends=OrderStatus.CANCELED, reason=unfilled)
    if qty == wanted:
        return Step(triggers, qty, price if qty > 0 else ZERO, OrderStatus.FILLED)
    if immediate:
        return Step(triggers, qty, price, OrderStatus.CANCELED, unfilled)
    return Step(triggers, qty, price if qty > 0 else ZERO)


def fill_price(order: Working, quote: Quote, size: Decimal, terms: AccountTerms) -> Decimal:
    """Dollars a share at which the order trades on this quote, which shows `size` on its side.

    With `terms.impact`, one tick worse for every whole `size` that this order has taken already, at most 50 ticks, and
    never worse than its limit. With price improvement a market order gets that share of the spread.
    """
    price = quote.ask if order.side == "buy" else quote.bid
    worse = 1 if order.side == "buy" else -1
    if order.type == "market" and terms.price_improvement_pct:
        price -= worse * (quote.ask - quote.bid) * terms.price_improvement_pct / 100
    if terms.impact and size > 0 and order.filled_qty >= size:
        tick = price_tick(order.symbol, price)
        price += worse * tick * min(MAX_IMPACT_TICKS, int(order.filled_qty // size))
        price = max(tick, price)
        if not _within_limit(order, price) and order.limit_price is not None:
            price = order.limit_price
    return round_money(price)
