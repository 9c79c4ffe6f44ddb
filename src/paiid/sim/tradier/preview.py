"""What an order would cost, without placing it (tradier.md, section 6.4): the venue's own checks over a copy of its books."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerOrder, BrokerRejected
from paiid.brokers.paper.desk import request_of
from paiid.brokers.paper.groups import check_exits
from paiid.brokers.paper.spreads import accept_spread
from paiid.domain.instruments import is_option, multiplier_of
from paiid.domain.margin import Uncovered
from paiid.domain.money import ZERO, round_money
from paiid.domain.paper import PaperRefused, moment_of
from paiid.domain.paper_account import PaperAccount
from paiid.domain.paper_checks import check_order, prepare
from paiid.sim.tradier.accounts import SimAccount
from paiid.sim.tradier.asked import Asked
from paiid.sim.tradier.books import load_book
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.order_rules import worded
from paiid.sim.tradier.placing import check, units_of, venue_order
from paiid.sim.tradier.render import wire_symbol
from paiid.sim.tradier.shapes import Told, number
from paiid.sim.tradier.strategies import strategy_of

__all__ = ["preview"]

_NOWHERE = 1
"""A number for an order that is never placed."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def preview(exchange: TradierExchange, account: SimAccount, asked: Asked) -> Told:
    """The answer to `preview=true`. Raises TradierError, BusinessError."""
    async with exchange.db.read() as tx:
        book = await load_book(tx, exchange, account)
    await check(exchange, account, asked, book)
    order = venue_order(account, asked, _NOWHERE)
    before = _free(book)
    try:
        price = _try(exchange, order, book)
    except PaperRefused as refused:
        raise worded(BrokerRejected(refused.code, refused.message), asked, book) from refused
    leg, units = asked.legs[0], units_of(asked)
    cost = round_money(units * price) * multiplier_of(leg.symbol)
    now = _EPOCH + timedelta(microseconds=exchange.clock.now_us())
    body: dict[str, Any] = {
        "status": "ok",
        "commission": number(ZERO),
        "cost": number(cost),
        "fees": number(ZERO),
        "symbol": wire_symbol(leg.underlying if is_option(leg.symbol) else leg.symbol),
        "quantity": number(units),
        "side": "buy" if asked.cls == "multileg" else leg.side,
        "type": asked.type,
        "duration": asked.duration,
        "price": number(asked.price),
        "result": True,
        "order_cost": number(cost),
        "margin_change": number(before - _free(book)),
        "request_date": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}",
        "extended_hours": asked.duration in ("pre", "post"),
        "class": asked.cls,
        "strategy": "equity" if asked.cls == "equity" else strategy_of([one.symbol for one in asked.legs]),
        "day_trades": 0,
    }
    if asked.cls == "option":
        body["option_symbol"] = leg.symbol
    return Told({"order": {name: one for name, one in body.items() if one is not None}})


def _try(exchange: TradierExchange, order: BrokerOrder, book: PaperAccount) -> Decimal:
    """Take the order into a copy of the books; dollars a share that it would reserve. Raises PaperRefused."""
    now_us, latency_us = exchange.clock.now_us(), exchange.options.latency_ms * 1000
    asked, newest = request_of(order), exchange.market.newest
    if order.order_class == "mleg":
        family = accept_spread(
            order.account_number, order.client_order_id, asked, book, newest, exchange.hours, exchange.clock,
            now_us, latency_us,
        )  # fmt: skip
        return family[0].reserve_price
    check_order(asked, exchange.venue.capabilities)
    quote = newest(order.symbol)
    if order.order_class != "simple":
        check_exits(asked, quote, book.holding(order.symbol), moment_of(exchange.hours, now_us))
    working, price = prepare(asked, quote, exchange.hours, now_us, latency_us)
    book.place(working, price, order.position_intent)
    return price


def _free(book: PaperAccount) -> Decimal:
    """Dollars free for margin; none where they cannot be reckoned."""
    free: Callable[[], Decimal] = book.excess
    try:
        return free()
    except (ValueError, Uncovered):
        return ZERO
