"""From the body of an order to the venue's order: what it is about, whether account and position allow it.

The venue has the last word on means and positions; what stands here is what Alpaca refuses and the venue would take
(such as a sale through zero), and what only Alpaca has words for.
"""

from dataclasses import replace
from decimal import Decimal

from paiid.brokers import BrokerOrder
from paiid.domain.instruments import Instrument, is_option, underlying_of
from paiid.domain.money import ZERO, plain
from paiid.domain.orders import Leg, PositionIntent
from paiid.domain.paper_account import Holding, PaperAccount
from paiid.domain.paper_positions import inferred_intent
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.asked import AskedLeg, AskedOrder
from paiid.sim.alpaca.assets import symbol_of_id
from paiid.sim.alpaca.books import figures_of, own_means
from paiid.sim.alpaca.errors import (
    Facts,
    cost_basis,
    forbidden,
    free_to_close,
    insufficient_qty,
    unprocessable,
)
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.ids import new_uuid, parse_uuid, to_venue_client_id
from paiid.sim.alpaca.order_rules import check_tick
from paiid.sim.alpaca.parse import canonical_symbol

SUSPENDED = "new orders are rejected by user request"


async def find_instrument(exchange: Exchange, text: str) -> Instrument:
    """What a ticker, a contract's symbol or an asset id stands for. Raises AlpacaError 422."""
    symbol: str | None = text
    if parse_uuid(text) is not None:
        symbol = await symbol_of_id(exchange, text)
        if symbol is None:
            raise unprocessable(f'asset "{text}" not found')
    symbol = canonical_symbol(symbol or text)
    instrument = await exchange.market.fetch_instrument(symbol)
    if instrument is None:
        raise unprocessable(f'asset "{symbol}" not found')
    if not instrument.tradable:
        raise unprocessable(f'asset "{symbol}" is not tradable')
    return instrument


async def resolve(
    exchange: Exchange,
    account: SimAccount,
    asked: AskedOrder,
    instrument: Instrument | None,
    book: PaperAccount,
) -> BrokerOrder:
    """The order as the venue takes it; only a spread has no `instrument`. Raises AlpacaError for what account, position
    and asset do not allow."""
    if instrument is None:
        return await _spread(exchange, account, asked, book)
    symbol = instrument.symbol
    for name, price in (("limit_price", asked.limit_price), ("stop_price", asked.stop_price)):
        check_tick(name, symbol, price)
    if asked.take_profit is not None:
        check_tick("take_profit.limit_price", symbol, asked.take_profit.limit_price)
    if asked.stop_loss is not None:
        check_tick("stop_loss.stop_price", symbol, asked.stop_loss.stop_price)
        check_tick("stop_loss.limit_price", symbol, asked.stop_loss.limit_price)
    held = book.holding(symbol)
    order = _single(exchange, account, asked, symbol)
    inferred = inferred_intent(asked.side, held.qty)
    if asked.position_intent is not None and asked.position_intent != inferred:
        raise unprocessable(
            f"position intent mismatch, inferred: {inferred}, specified: {asked.position_intent}"
        )
    if is_option(symbol):
        _check_option(account, order, held, inferred)
        return replace(order, position_intent=inferred)
    _check_share(account, instrument, order, held)
    _check_multiplier(exchange, account, order, book)
    # The venue is told the intents that a view does not tell by its side (`render.intent_of`).
    opens_short = inferred == "sell_to_open" or inferred == "buy_to_close"
    return replace(order, position_intent=inferred if opens_short else None)


def facts_of(exchange: Exchange, order: BrokerOrder, book: PaperAccount) -> Facts:
    """What words a refusal of the venue."""
    underlying = underlying_of(order.symbol)
    return Facts(
        order=order,
        held=book.holding(order.symbol),
        quote=exchange.market.newest(order.symbol),
        buying_power=figures_of(book).buying_power,
        underlying_qty=max(ZERO, book.holding(underlying).qty),
        underlying_asset_id=exchange.asset_ids.of(underlying),
    )


def _single(exchange: Exchange, account: SimAccount, asked: AskedOrder, symbol: str) -> BrokerOrder:
    return BrokerOrder(
        account_number=account.number,
        client_order_id=to_venue_client_id(asked.client_order_id or new_uuid(exchange.clock)),
        symbol=symbol,
        side=asked.side,
        qty=asked.qty,
        type=asked.type,
        time_in_force=asked.time_in_force,
        limit_price=asked.limit_price,
        stop_price=asked.stop_price,
        notional=asked.notional,
        trail_price=asked.trail_price,
        trail_percent=asked.trail_percent,
        extended_hours=asked.extended_hours,
        order_class=asked.order_class,
        take_profit=asked.take_profit,
        stop_loss=asked.stop_loss,
    )


def _check_share(account: SimAccount, instrument: Instrument, order: BrokerOrder, held: Holding) -> None:
    fraction = order.notional is not None or (order.qty is not None and order.qty % 1 != 0)
    if fraction and not instrument.fractionable:
        raise forbidden(f'asset "{order.symbol}" is not fractionable')
    if fraction and not account.configurations.fractional_trading:
        raise forbidden("fractional trading is not enabled for this account")
    against = held.qty if order.side == "sell" else -held.qty
    if against > 0:
        free = free_to_close(held, order.side)
        if order.qty is not None and order.qty > free:
            # One order closes a position or opens one: it never goes through zero.
            raise insufficient_qty(order.symbol, order.qty, free, abs(held.qty))
        return
    if order.order_class == "oco":
        raise insufficient_qty(order.symbol, order.qty or ZERO, ZERO, ZERO)
    if held.qty == 0 and order.side == "buy" and held.open_sell_qty > 0:
        raise forbidden("cannot open a long buy while a short sell order is open")
    if order.side == "buy":
        return
    if held.qty == 0 and held.open_buy_qty > 0:
        raise forbidden("cannot open a short sell while a long buy order is open")
    if account.configurations.no_shorting or not instrument.shortable or not account.terms.margin:
        raise forbidden("account is not allowed to short")
    if fraction:
        raise unprocessable("fractional orders cannot be sold short")


def _check_multiplier(
    exchange: Exchange, account: SimAccount, order: BrokerOrder, book: PaperAccount
) -> None:
    """An owner who wants no margin may buy for what cash is left when all open purchases have been paid."""
    if account.configurations.max_margin_multiplier != "1" or order.side != "buy":
        return
    if book.holding(order.symbol).qty < 0:
        return
    left = own_means(book)
    cost = cost_basis(order, exchange.market.newest(order.symbol))
    if cost > left:
        raise forbidden(
            "insufficient buying power", buying_power=str(plain(left)), cost_basis=str(plain(cost))
        )


def _check_option(account: SimAccount, order: BrokerOrder, held: Holding, inferred: PositionIntent) -> None:
    qty = order.qty or ZERO
    if inferred.endswith("_to_close"):
        free = free_to_close(held, order.side)
        if qty > free:
            raise insufficient_qty(order.symbol, qty, free, abs(held.qty))
        return
    needed = 1 if order.side == "sell" else 2
    _check_level(account, needed)


def _check_level(account: SimAccount, needed: int) -> None:
    """Raises AlpacaError where the owner has set a lower level than the account was approved for; the venue knows only
    the approved one."""
    if account.options_level < needed:
        words = (
            "account not eligible to trade uncovered option contracts"
            if account.options_level
            else "account not eligible to trade options contracts"
        )
        raise forbidden(words)


async def _spread(
    exchange: Exchange, account: SimAccount, asked: AskedOrder, book: PaperAccount
) -> BrokerOrder:
    legs = [await _leg(exchange, leg, book, asked.qty or ZERO) for leg in asked.legs]
    closing = all(leg.position_intent.endswith("_to_close") for leg in legs)
    if not closing:
        _check_level(account, 3)
    return BrokerOrder(
        account_number=account.number,
        client_order_id=to_venue_client_id(asked.client_order_id or new_uuid(exchange.clock)),
        symbol=underlying_of(legs[0].symbol),
        side="buy",
        qty=asked.qty,
        type=asked.type,
        time_in_force=asked.time_in_force,
        limit_price=asked.limit_price,
        order_class="mleg",
        legs=tuple(legs),
    )


async def _leg(exchange: Exchange, leg: AskedLeg, book: PaperAccount, units: Decimal) -> Leg:
    instrument = await find_instrument(exchange, leg.symbol)
    if not is_option(instrument.symbol):
        raise unprocessable("mleg orders are only supported for options")
    held = book.holding(instrument.symbol)
    inferred = inferred_intent(leg.side, held.qty)
    if leg.intent is not None and leg.intent != inferred:
        raise unprocessable(f"position intent mismatch, inferred: {inferred}, specified: {leg.intent}")
    if inferred.endswith("_to_close"):
        free, wanted = free_to_close(held, leg.side), leg.ratio_qty * units
        if wanted > free:
            raise insufficient_qty(instrument.symbol, wanted, free, abs(held.qty))
    return Leg(instrument.symbol, leg.side, leg.ratio_qty, inferred)
