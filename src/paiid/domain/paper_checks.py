"""What the paper venue takes: an order's form, the market at that moment, the bands its prices must keep
(docs/paper.md)."""

from datetime import time, timedelta
from decimal import Decimal

from paiid.domain.calendar import eastern_us
from paiid.domain.capabilities import Capabilities, Holds, cannot_hold
from paiid.domain.instruments import SYMBOL_PATTERN, is_option
from paiid.domain.money import ZERO, round_money
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.orders import OrderRequest, Side
from paiid.domain.paper import (
    IMMEDIATE,
    MAX_PRICE,
    MAX_QTY,
    MIN_NOTIONAL,
    SHARE_FRACTION,
    Hours,
    Moment,
    PaperRefused,
    Working,
    affordable,
    moment_of,
    price_tick,
    trail_stop,
)
from paiid.domain.quotes import Quote

CLOSING_US = 2_000_000
"""A cls order takes part in this last stretch of the session."""
_AUCTION_FROM = time(19, 0)
_OPG_LEAD_US = 2 * 60 * 1_000_000
_CLS_LEAD_US = 10 * 60 * 1_000_000
_DAY = timedelta(days=1)
_NEEDS = {
    "market": frozenset[str](),
    "limit": frozenset({"limit_price"}),
    "stop": frozenset({"stop_price"}),
    "stop_limit": frozenset({"limit_price", "stop_price"}),
    "trailing_stop": frozenset({"trail"}),
}


def capabilities_of(*, never_closes: bool) -> Capabilities:
    """What the venue can hold, by whether its hours ever close."""
    everyday = frozenset({"day", "gtc"})
    auctions = frozenset[str]() if never_closes else frozenset({"opg", "cls"})
    simple = frozenset({"simple"})
    groups = frozenset({"bracket", "oto"})
    stops = frozenset({"stop", "stop_limit", "trailing_stop"})
    fractional = frozenset({"market", "limit", "stop", "stop_limit"})
    notes = {
        "trailing_stop": "Trailing stops are held for whole shares, day or gtc, and as the stop loss of a bracket.",
        "extended_hours": "Outside the regular session only simple limit orders for stock, day or gtc, are held.",
    }
    if never_closes:
        notes["opg"] = notes["cls"] = "This market never closes: there is no auction to take part in."
    return Capabilities(
        rows=(
            Holds("stock", simple, frozenset({"limit"}), everyday, extended_hours=True),
            Holds("stock", simple, frozenset({"market", "limit"}), everyday | {"ioc", "fok"} | auctions),
            Holds("stock", simple, frozenset({"stop"}), everyday | {"ioc", "fok"}),
            Holds("stock", simple, stops, everyday),
            Holds("stock", groups, frozenset({"market", "limit", "stop", "stop_limit"}), everyday),
            Holds("stock", frozenset({"oco"}), frozenset({"limit"}), everyday),
            Holds("stock_fractional", simple, fractional, frozenset({"day"})),
            Holds("stock_notional", simple, frozenset({"market"}), frozenset({"day"})),
            Holds("option", simple, fractional, everyday),
            Holds("option_spread", frozenset({"mleg"}), frozenset({"market", "limit"}), everyday),
        ),
        short_selling=True,
        own_stop=False,
        lists_end_with_day=False,
        replaceable=frozenset({"simple", "bracket", "oco", "mleg"}),
        notes=notes,
    )


def check_order(order: OrderRequest, can: Capabilities) -> None:
    """What can be said of a single order without looking at market or account. Raises PaperRefused.

    A spread has rules of its own (`domain/paper_spreads.py`).
    """
    if order.order_class == "mleg":
        return
    if is_option(order.symbol):
        contract = find_contract(order.symbol)
        if contract is None or contract.symbol != order.symbol:
            raise PaperRefused("unknown_contract", "There is no such option contract.")
    elif not SYMBOL_PATTERN.match(order.symbol):
        raise PaperRefused("unknown_symbol", "There is no such symbol.")
    _check_size(order)
    reason = cannot_hold(order, can)
    if reason is not None:
        raise PaperRefused(reason.code, reason.message)
    _check_prices(order)
    if order.position_intent is not None and order.position_intent.partition("_")[0] != order.side:
        raise PaperRefused(
            "position_intent_mismatch", f"position_intent {order.position_intent} is not for a {order.side}."
        )


def _check_size(order: OrderRequest) -> None:
    if (order.qty is None) == (order.notional is None):
        raise PaperRefused("invalid_qty", "An order has exactly one of qty and notional.")
    size = order.qty if order.qty is not None else order.notional
    code = "invalid_qty" if order.qty is not None else "invalid_notional"
    if size is None or not size.is_finite() or size <= 0:
        raise PaperRefused(code, "The size of an order is over 0.")
    if order.qty is not None:
        if order.qty % SHARE_FRACTION != 0:
            raise PaperRefused(code, "A quantity has at most 9 decimals.")
        if is_option(order.symbol) and order.qty % 1 != 0:
            raise PaperRefused(code, "Option contracts are whole.")
        if order.qty > MAX_QTY:
            raise PaperRefused(code, f"The quantity must not be over {MAX_QTY}.")
    elif size != round_money(size) or size > MAX_QTY * MAX_PRICE:
        raise PaperRefused(code, "A notional has at most 6 decimals.")
    elif size < MIN_NOTIONAL and order.side == "buy":
        raise PaperRefused(code, f"The notional must be at least {MIN_NOTIONAL} dollar.")
    elif is_option(order.symbol):
        raise PaperRefused(code, "Options are ordered by the contract, not by notional.")


def _check_prices(order: OrderRequest) -> None:
    trails = [one for one in (order.trail_price, order.trail_percent) if one is not None]
    given = {
        "limit_price": order.limit_price,
        "stop_price": order.stop_price,
        "trail": trails[0] if trails else None,
    }
    for name, price in given.items():
        wanted = name in _NEEDS[order.type]
        if (price is not None) != wanted:
            raise PaperRefused(
                "invalid_price", f"A {order.type} order {'needs a' if wanted else 'has no'} {name}."
            )
        if price is not None and name != "trail":
            check_price(name, order.symbol, price)
    if len(trails) > 1:
        raise PaperRefused("invalid_price", "A trailing stop has one of trail_price and trail_percent.")
    if order.trail_percent is not None and not 0 < order.trail_percent < 100:
        raise PaperRefused("invalid_price", "trail_percent must be over 0 and under 100.")
    if order.trail_percent is not None and order.trail_percent != round_money(order.trail_percent):
        raise PaperRefused("invalid_price", "trail_percent has at most 6 decimals.")
    if order.trail_price is not None:
        check_price("trail_price", order.symbol, order.trail_price)


def check_price(name: str, symbol: str, price: Decimal) -> None:
    """A price in its range and on the tick. Raises PaperRefused."""
    if not price.is_finite() or price <= 0 or price > MAX_PRICE:
        raise PaperRefused("invalid_price", f"{name} must be over 0 and at most {MAX_PRICE}.")
    tick = price_tick(symbol, price)
    if price % tick != 0:
        raise PaperRefused("invalid_price", f"{name} must be a multiple of {tick} at this price level.")


def check_market(order: OrderRequest, quote: Quote | None, moment: Moment) -> Quote:
    """Whether the market, as it stands, takes this order. Raises PaperRefused."""
    option = is_option(order.symbol)
    if quote is None and option:
        raise PaperRefused("unknown_contract", "This option contract is not listed.")
    side_price = ZERO if quote is None else quote.ask if order.side == "buy" else quote.bid
    if quote is None or quote.ask <= 0 or (quote.bid <= 0 and not option):
        raise PaperRefused("no_quote", "There is no quote for this symbol.")
    at_once = order.type == "market" or order.time_in_force in IMMEDIATE
    if at_once and order.time_in_force not in ("opg", "cls"):
        if not moment.is_open:
            raise PaperRefused(
                "market_closed", "The market is closed; market, ioc and fok orders need it open."
            )
        if quote.stale:
            raise PaperRefused("stale_quote", "The newest quote is too old to trade on.")
        if side_price <= 0:
            raise PaperRefused("no_quote", "Nobody bids for this contract.")
    _check_against(order, quote)
    return quote


def _check_against(order: OrderRequest, quote: Quote) -> None:
    """Prices that make no sense beside the quote."""
    stop = order.stop_price
    if stop is not None:
        if order.side == "sell" and stop >= quote.bid > 0:
            raise PaperRefused(
                "stop_through_market", f"The stop price must be less than the current price, {quote.bid}."
            )
        if order.side == "buy" and stop <= quote.ask:
            raise PaperRefused(
                "stop_through_market", f"The stop price must be greater than the current price, {quote.ask}."
            )
    if order.trail_price is not None and order.side == "sell" and order.trail_price >= quote.bid:
        raise PaperRefused("invalid_price", "The trail must be less than the current price.")
    if order.type == "limit" and order.limit_price is not None and not is_option(order.symbol):
        check_band(order.side, order.limit_price, quote)


def price_band(middle: Decimal) -> Decimal:
    """How far through the market a limit may be, as a part of the middle of the quote.

    The figures of tier 2 of the plan to address extraordinary market volatility (Limit Up-Limit Down, appendix A).
    """
    if middle >= 3:
        return Decimal("0.10")
    return Decimal("0.20") if middle >= Decimal("0.75") else Decimal("0.75")


def check_band(side: Side, limit_price: Decimal, quote: Quote) -> None:
    """Refuses a limit that would trade through more than the band. Raises PaperRefused."""
    middle = quote.mid
    band = price_band(middle)
    edge = middle * (1 + band) if side == "buy" else middle * (1 - band)
    if limit_price > edge if side == "buy" else limit_price < edge:
        raise PaperRefused(
            "price_band",
            f"limit_price {limit_price} is more than {band:.0%} through the middle of the market, {middle}.",
        )


def last_trade_us(contract: OptionContract, hours: Hours) -> int:
    """The end of a contract's last trading day: of its expiration, or of the trading day before that."""
    day = contract.expiration
    return hours.sessions(day - 7 * _DAY, day)[-1].close_us


def reserve_price(order: OrderRequest, quote: Quote) -> Decimal:
    """Dollars a share that an open order keeps reserved until it fills or ends.

    A buy: what it costs at most as far as known (its limit; the higher of stop and ask; ask and trail; ask). A sale:
    what the shares would bring, the base of the short-sale requirement (the higher of limit and bid; stop; bid).
    """
    if order.side == "buy":
        near = quote.ask
        if order.limit_price is not None:
            price = order.limit_price
        elif order.type == "trailing_stop":
            price = trail_stop(order.symbol, "buy", near, order.trail_price, order.trail_percent)
        else:
            price = max(near, order.stop_price or near)
    else:
        near = quote.bid
        price = max(order.limit_price, near) if order.limit_price is not None else (order.stop_price or near)
    return round_money(price)


def working_of(order: OrderRequest, qty: Decimal, live_at_us: int, expires_at_us: int | None) -> Working:
    """An order as it begins to work, with the quantity it comes to."""
    return Working(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        qty=qty,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        live_at_us=live_at_us,
        expires_at_us=expires_at_us,
        notional=order.notional,
        trail_price=order.trail_price,
        trail_percent=order.trail_percent,
        extended_hours=order.extended_hours,
    )


def prepare(
    order: OrderRequest, quote: Quote | None, hours: Hours, now_us: int, latency_us: int
) -> tuple[Working, Decimal]:
    """A single order as it will work, and its reserve price; it has passed `check_order`. Raises PaperRefused.

    The account is not looked at here: that is `PaperAccount.place`.
    """
    moment = moment_of(hours, now_us)
    contract = find_contract(order.symbol) if is_option(order.symbol) else None
    ends_us = None if contract is None else last_trade_us(contract, hours)
    if ends_us is not None and now_us >= ends_us:
        raise PaperRefused("expired_contract", "This option contract has expired.")
    quote = check_market(order, quote, moment)
    price = reserve_price(order, quote)
    live_us, expires_us = _times(order, hours, now_us, latency_us)
    if ends_us is not None:
        expires_us = ends_us if expires_us is None else min(expires_us, ends_us)
    qty = order.qty
    if qty is None:
        qty = affordable(order.notional or ZERO, price)
        if qty == 0:
            raise PaperRefused("invalid_notional", "The notional buys nothing at this price.")
    return (
        working_of(order, qty, live_us, expires_us),
        price,
    )


def _times(order: OrderRequest, hours: Hours, now_us: int, latency_us: int) -> tuple[int, int | None]:
    """When it goes live, and when it ends by itself. Raises PaperRefused outside an auction's hours."""
    live_us = now_us + latency_us
    if order.time_in_force in ("opg", "cls"):
        session = hours.coming_session(now_us)
        from_us = eastern_us(session.day - _DAY, _AUCTION_FROM)
        opening = order.time_in_force == "opg"
        until_us = session.open_us - _OPG_LEAD_US if opening else session.close_us - _CLS_LEAD_US
        if not from_us <= now_us < until_us:
            words = "2 minutes before the open" if opening else "10 minutes before the close"
            raise PaperRefused(
                "auction_closed",
                f"{order.time_in_force} orders are taken from 19:00 Eastern the evening before until {words}.",
            )
        first_us = session.open_us if opening else session.close_us - CLOSING_US
        return max(live_us, first_us), session.close_us
    return live_us, day_end_us(order.time_in_force, order.extended_hours, hours, now_us)


def day_end_us(time_in_force: str, extended_hours: bool, hours: Hours, now_us: int) -> int | None:
    """When an order that is accepted now ends by itself; None for one that no day ends."""
    if time_in_force != "day":
        return None
    return hours.extended_end_us(now_us) if extended_hours else hours.next_roll_us(now_us)


def check_wash(
    side: Side, limit_price: Decimal | None, opposite_limit: Decimal | None, opposite_id: str
) -> None:
    """Whether an order could trade with an open one of the other side in the same symbol and account.

    Limits are those of limit and stop-limit orders; without one it could trade at any price. Both are of class simple
    and no trailing stops: those are exempt. Raises PaperRefused.
    """
    if limit_price is not None and opposite_limit is not None:
        bid, offer = (limit_price, opposite_limit) if side == "buy" else (opposite_limit, limit_price)
        if bid < offer:
            return
    raise PaperRefused(
        "wash_trade", f"Potential wash trade: the opposite order {opposite_id} is open. Use complex orders."
    )
