"""What an order may do to the position it meets: short sales of stock, and opening and closing options."""

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from paiid.domain.instruments import is_option
from paiid.domain.margin import MINIMUM_EQUITY
from paiid.domain.money import ZERO
from paiid.domain.orders import PositionIntent
from paiid.domain.paper import MIN_NOTIONAL, SHARE, PaperRefused, Working
from paiid.domain.terms import AccountTerms

_LEVEL_TO_SELL, _LEVEL_TO_BUY = 1, 2


class Held(Protocol):
    """A position, and what open orders still may buy and sell of it."""

    @property
    def qty(self) -> Decimal:
        """Signed shares or contracts."""
        ...

    @property
    def open_buy_qty(self) -> Decimal:
        """What open orders may buy."""
        ...

    @property
    def open_sell_qty(self) -> Decimal:
        """What open orders may sell."""
        ...


def inferred_intent(side: str, qty: Decimal) -> PositionIntent:
    """What an order on this side does to an option position of this size."""
    if side == "buy":
        return "buy_to_close" if qty < 0 else "buy_to_open"
    return "sell_to_close" if qty > 0 else "sell_to_open"


def check_position(
    order: Working,
    held: Held,
    terms: AccountTerms,
    intent: PositionIntent | None,
    equity: Callable[[], Decimal],
) -> None:
    """Whether the order fits the position. Raises PaperRefused.

    Stock: short sales are of whole shares, and in a margin account only from 2,000 dollars of equity. Options:
    `position_intent_mismatch`, `insufficient_qty`, `options_level`, `opposite_order_open`.
    """
    if is_option(order.symbol):
        _check_option(order, held, terms, intent)
        return
    if intent is not None and intent != inferred_intent(order.side, held.qty):
        raise _mismatch(intent, inferred_intent(order.side, held.qty))
    if order.side == "buy":
        return
    # A position is worth as much as the order reckons a share to be worth.
    small = order.notional is not None and order.notional < MIN_NOTIONAL
    if small and held.qty * (order.notional or ZERO) >= MIN_NOTIONAL * order.qty:
        raise PaperRefused("invalid_notional", f"The notional must be at least {MIN_NOTIONAL} dollar.")
    if order.left <= max(ZERO, held.qty - held.open_sell_qty):
        return
    if order.unit != SHARE or held.qty % 1 != 0:
        raise PaperRefused(
            "short_sale_whole_shares",
            f"Only {max(ZERO, held.qty - held.open_sell_qty)} shares can be sold: fractions are never sold short.",
        )
    if terms.margin and equity() < MINIMUM_EQUITY:
        raise PaperRefused(
            "equity_below_2000", f"A short sale needs {MINIMUM_EQUITY} dollars of equity in the account."
        )


def _mismatch(given: PositionIntent, inferred: PositionIntent) -> PaperRefused:
    return PaperRefused(
        "position_intent_mismatch", f"Position intent mismatch, inferred: {inferred}, specified: {given}."
    )


def _check_option(order: Working, held: Held, terms: AccountTerms, intent: PositionIntent | None) -> None:
    inferred = inferred_intent(order.side, held.qty)
    if intent is not None and intent != inferred:
        raise _mismatch(intent, inferred)
    selling = order.side == "sell"
    if inferred.endswith("close"):
        free = held.qty - held.open_sell_qty if selling else -held.qty - held.open_buy_qty
        if order.left > free:
            raise PaperRefused(
                "insufficient_qty",
                f"Insufficient qty available for order (requested: {order.left}, available: {max(ZERO, free)}).",
            )
        return
    needed = _LEVEL_TO_SELL if selling else _LEVEL_TO_BUY
    if terms.options_level < needed:
        raise PaperRefused(
            "options_level",
            f"This order needs options level {needed}; the account has {terms.options_level}.",
        )
    if held.qty == 0 and (held.open_buy_qty if selling else held.open_sell_qty) > 0:
        raise PaperRefused(
            "opposite_order_open",
            "An open order would take the other side of this contract: cancel it first.",
        )
