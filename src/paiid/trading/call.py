"""The orders that a call comes to: those it names, those of a template, the one that closes a position, or the one
that takes another's place (contract E0)."""

from decimal import Decimal

from paiid.domain.errors import Code, Problem, not_found
from paiid.domain.instruments import is_option
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderRequest, PositionIntent, Side
from paiid.domain.risk import Standing
from paiid.trading.book import Book
from paiid.trading.commands import Claim
from paiid.trading.records import OrderRow
from paiid.trading.replace import changed_request


def orders_of_call(
    item: Claim, book: Book, standing: Standing, adopted: OrderRow | None, old: OrderRow | None
) -> tuple[OrderRequest, ...]:
    """The orders of the call; a close is turned into the one order that closes what is left to close, a replacement
    into the order that the old one is to become (E0)."""
    replacing, close = item.asked.replace, item.asked.close
    if replacing is not None:
        found = adopted or old
        assert found is not None
        return (changed_request(book, found, replacing if old is not None else None),)
    if close is None:
        return item.orders if item.orders is not None else item.asked.orders
    intent = _closing_intent(close.symbol, standing)
    if adopted is not None:
        return (_market_order(close.symbol, adopted.side, close.qty, intent),)
    own = standing.of(close.symbol)
    if own is None or own.qty == 0:
        raise not_found("position")
    closing = (own.open_sell_qty if own.qty > 0 else own.open_buy_qty) + standing.closing_in_combos(
        close.symbol
    )
    left = max(ZERO, abs(own.qty) - closing)
    if left == 0:
        raise Problem(Code.CONFLICT, "Open orders already close this whole position; cancel them first.")
    if close.qty is not None and close.qty > left:
        raise Problem(
            Code.CONFLICT,
            f"A close may not be larger than what is left to close: {left} of {close.symbol}.",
            extra={"measured": close.qty, "limit": left},
        )
    return (_market_order(close.symbol, "sell" if own.qty > 0 else "buy", close.qty or left, intent),)


def _closing_intent(symbol: str, standing: Standing) -> PositionIntent | None:
    own = standing.of(symbol)
    if not is_option(symbol) or own is None:
        return None
    return "sell_to_close" if own.qty > 0 else "buy_to_close"


def _market_order(
    symbol: str, side: Side, qty: Decimal | None, intent: PositionIntent | None
) -> OrderRequest:
    return OrderRequest(
        symbol, side, "market", "day", qty, limit_price=None, stop_price=None, position_intent=intent
    )
