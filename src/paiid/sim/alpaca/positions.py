"""Positions: what is held, closing it, and exercising it (`/v2/positions`)."""

from collections.abc import Iterable
from decimal import ROUND_DOWN, Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.brokers import BrokerError, BrokerOrderView
from paiid.domain.instruments import is_option, multiplier_of
from paiid.domain.money import ZERO, round_money
from paiid.domain.occ import find_contract
from paiid.domain.paper import SHARE_FRACTION
from paiid.domain.paper_account import Holding, PaperAccount
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.asked import AskedOrder
from paiid.sim.alpaca.assets import exchange_of, find_symbol
from paiid.sim.alpaca.books import mark_of, read_book
from paiid.sim.alpaca.errors import (
    INTERNAL,
    SHORT_EXERCISE,
    AlpacaError,
    forbidden,
    free_to_close,
    insufficient_qty,
    invalid,
    not_found,
    unprocessable,
)
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.gate import Answer
from paiid.sim.alpaca.ids import wire_id
from paiid.sim.alpaca.orders import cancel_open_orders, place
from paiid.sim.alpaca.queries import PrintFilter, list_prints, load_book
from paiid.sim.alpaca.render import client_id_of, order_json
from paiid.sim.alpaca.values import bool_field, decimal_of, text_of

_NONE = "position does not exist"


async def list_positions(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/positions`."""
    book, overnight = await _read(exchange, account)
    return Answer(
        [
            position_json(exchange, symbol, held, overnight.get(symbol, ZERO))
            for symbol, held in sorted(book.holdings.items())
            if held.qty
        ]
    )


async def get_position(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`GET /v2/positions/{symbol or asset id}`."""
    book, overnight = await _read(exchange, account)
    symbol, held = await _held(exchange, book, request.path_params["symbol"])
    return Answer(position_json(exchange, symbol, held, overnight.get(symbol, ZERO)))


def position_json(exchange: Exchange, symbol: str, held: Holding, overnight: Decimal) -> dict[str, Any]:
    """The position object; `overnight` is how much (signed) was held when the last trading day ended. Valued as the
    venue does: a long position at the bid, a short one at the ask; null without a quote."""
    quote, multiplier = exchange.market.newest(symbol), multiplier_of(symbol)
    price = mark_of(exchange)(symbol, held.qty)
    last = None if quote is None or quote.prev_close <= 0 else quote.prev_close
    value = None if price is None else held.qty * price * multiplier
    profit = None if value is None else value - held.cost_basis
    basis = _basis_today(held, overnight, last, multiplier)
    today = None if value is None else value - basis
    reserved = held.open_sell_qty if held.qty > 0 else held.open_buy_qty
    free = max(ZERO, abs(held.qty) - reserved)
    return {
        "asset_id": exchange.asset_ids.of(symbol),
        "symbol": symbol,
        "exchange": exchange_of(symbol),
        "asset_class": "us_option" if is_option(symbol) else "us_equity",
        "asset_marginable": not is_option(symbol),
        "qty": text_of(held.qty),
        "avg_entry_price": text_of(abs(held.avg_entry_price(multiplier))),
        "side": "long" if held.qty > 0 else "short",
        "market_value": text_of(value),
        "cost_basis": text_of(held.cost_basis),
        "unrealized_pl": text_of(profit),
        "unrealized_plpc": text_of(_part(profit, held.cost_basis)),
        "unrealized_intraday_pl": text_of(today),
        "unrealized_intraday_plpc": text_of(_part(today, basis)),
        "current_price": text_of(price),
        "lastday_price": text_of(last),
        "change_today": text_of(
            None if price is None or last is None else round_money((price - last) / last)
        ),
        "qty_available": text_of(free if held.qty > 0 else -free),
    }


def _part(profit: Decimal | None, basis: Decimal) -> Decimal | None:
    return None if profit is None or not basis else round_money(profit / abs(basis))


def _basis_today(held: Holding, overnight: Decimal, last: Decimal | None, multiplier: int) -> Decimal:
    """Signed dollars that today's profit counts from: the last close for what was held overnight, the average entry
    for what came today."""
    if last is None or overnight * held.qty <= 0:
        return held.cost_basis
    kept = min(abs(overnight), abs(held.qty)) * (1 if held.qty > 0 else -1)
    return kept * last * multiplier + held.cost_basis * (held.qty - kept) / held.qty


async def _read(exchange: Exchange, account: SimAccount) -> tuple[PaperAccount, dict[str, Decimal]]:
    """The account, and what was held of each symbol when the last trading day ended."""
    since_us = exchange.hours.previous_roll_us(exchange.clock.now_us())
    async with exchange.db.read() as tx:
        book = await load_book(tx, account.number, mark_of(exchange), account.terms)
        prints = await list_prints(tx, account.number, PrintFilter(after_us=since_us))
    overnight = {symbol: held.qty for symbol, held in book.holdings.items()}
    for one in prints:
        done = one.execution
        overnight[done.symbol] = overnight.get(done.symbol, ZERO) - (
            done.qty if done.side == "buy" else -done.qty
        )
    return book, overnight


async def _held(exchange: Exchange, book: PaperAccount, text: str) -> tuple[str, Holding]:
    symbol = await find_symbol(exchange, text)
    held = None if symbol is None else book.holding(symbol)
    if symbol is None or held is None or not held.qty:
        raise not_found(_NONE)
    return symbol, held


async def close_position(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`DELETE /v2/positions/{symbol or asset id}`, all of it or `qty` or `percentage`."""
    qty = decimal_of(request.query_params.get("qty"), "qty")
    percentage = decimal_of(request.query_params.get("percentage"), "percentage")
    if qty is not None and percentage is not None:
        raise invalid("only one of qty or percentage is accepted")
    if qty is not None and qty <= 0:
        raise invalid("qty must be > 0")
    if percentage is not None and not 0 < percentage <= 100:
        raise invalid("percentage must be > 0 and <= 100")
    book = await read_book(exchange, account)
    symbol, held = await _held(exchange, book, request.path_params["symbol"])
    size = _size(symbol, held, qty, percentage)
    view = await _close(exchange, account, symbol, held, size)
    return Answer(order_json(exchange, view, at_us=view.submitted_at_us))


def _size(symbol: str, held: Holding, qty: Decimal | None, percentage: Decimal | None) -> Decimal:
    """How much to close. Raises AlpacaError for nothing, or more than is free."""
    there = abs(held.qty)
    if percentage is not None:
        unit = Decimal(1) if is_option(symbol) or held.qty < 0 else SHARE_FRACTION
        qty = (there * percentage / 100 / unit).quantize(Decimal(1), ROUND_DOWN) * unit
        if qty <= 0:
            raise unprocessable("qty must be > 0")
    wanted = there if qty is None else qty
    free = free_to_close(held, "sell" if held.qty > 0 else "buy")
    if wanted > free:
        raise insufficient_qty(symbol, wanted, free, there)
    return wanted


async def _close(
    exchange: Exchange, account: SimAccount, symbol: str, held: Holding, qty: Decimal
) -> BrokerOrderView:
    """A market order of ours for the day that closes so much of a position."""
    asked = AskedOrder(
        symbol=symbol,
        side="sell" if held.qty > 0 else "buy",
        qty=qty,
        notional=None,
        type="market",
        time_in_force="day",
        limit_price=None,
        stop_price=None,
        trail_price=None,
        trail_percent=None,
        extended_hours=False,
        client_order_id=None,
        order_class="simple",
        take_profit=None,
        stop_loss=None,
        legs=(),
        position_intent=None,
    )
    view = await place(exchange, account, asked)
    exchange.ledger.append(
        "position_close_accepted",
        order_id=wire_id(view.broker_order_id),
        client_order_id=client_id_of(view),
        account=account.number,
        symbol=symbol,
        side=view.side,
        qty=text_of(qty),
    )
    return view


async def close_all(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`DELETE /v2/positions`: a row for each; with `cancel_orders` what is open is cancelled first."""
    if bool_field(request.query_params.get("cancel_orders"), "cancel_orders"):
        await exchange.cancels.drain(await cancel_open_orders(exchange, account))
    book = await read_book(exchange, account)
    rows = [
        await _closed_row(exchange, account, symbol, held)
        for symbol, held in _short_options_first(book.holdings.items())
        if held.qty
    ]
    return Answer(rows, 207)


def _short_options_first(holdings: Iterable[tuple[str, Holding]]) -> list[tuple[str, Holding]]:
    """So that no contract is left uncovered while the rest is being closed."""
    return sorted(holdings, key=lambda one: (one[1].qty > 0, one[0]))


async def _closed_row(exchange: Exchange, account: SimAccount, symbol: str, held: Holding) -> dict[str, Any]:
    try:
        size = _size(symbol, held, None, None)
        view = await _close(exchange, account, symbol, held, size)
    except AlpacaError as error:
        return {"symbol": symbol, "status": error.status, "body": error.body}
    except BrokerError:
        words = AlpacaError(500, INTERNAL, "internal server error occurred")
        return {"symbol": symbol, "status": 500, "body": words.body}
    return {
        "symbol": symbol,
        "status": 200,
        "body": order_json(exchange, view, at_us=view.submitted_at_us),
    }


async def exercise(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`POST /v2/positions/{contract}/exercise`. The venue exercises at expiration only, so that a contract which could
    be exercised is refused as one after the close is."""
    await _exercisable(exchange, account, request)
    raise forbidden(
        "exercise requests are not accepted now; contracts in the money are exercised at expiration"
    )


async def do_not_exercise(exchange: Exchange, account: SimAccount, request: Request) -> Response:
    """`POST /v2/positions/{contract}/do-not-exercise`. The venue exercises everything in the money."""
    await _exercisable(exchange, account, request)
    raise forbidden(
        "do-not-exercise requests are not accepted; contracts in the money are exercised at expiration"
    )


async def _exercisable(exchange: Exchange, account: SimAccount, request: Request) -> None:
    """Raises AlpacaError for what is no contract, not held, short, or all bound in open orders."""
    symbol = await find_symbol(exchange, request.path_params["symbol"])
    if symbol is None or not is_option(symbol) or find_contract(symbol) is None:
        raise unprocessable("invalid symbol")
    held = (await read_book(exchange, account)).holding(symbol)
    if held.qty < 0:
        raise AlpacaError(403, SHORT_EXERCISE, "cannot exercise short position")
    if held.qty - held.open_sell_qty <= 0:
        raise forbidden("no available position for the specified contract")
