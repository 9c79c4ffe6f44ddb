"""What an account is worth and may buy (`/v1/accounts/{id}/balances`, tradier.md, section 5.2)."""

from decimal import Decimal
from typing import Any

from starlette.requests import Request

from paiid.domain.instruments import is_option, multiplier_of
from paiid.domain.margin import Uncovered, maintenance_requirement
from paiid.domain.money import ZERO, round_cents
from paiid.domain.paper_account import Holding, PaperAccount, exposure_of
from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.books import read_book
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.gate import account_of
from paiid.sim.tradier.history import closed_today
from paiid.sim.tradier.shapes import Told, number

__all__ = ["get_balances"]


async def get_balances(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`GET /v1/accounts/{id}/balances`: with the one sub-object that goes with the type of the account."""
    account = account_of(exchange, user, request)
    book = await read_book(exchange, account)
    values = _values(book)
    told: dict[str, Any] = {
        "option_short_value": values["option_short"],
        "total_equity": book.cash + sum(values.values(), ZERO),
        "account_number": account.number,
        "account_type": "margin" if book.terms.margin else "cash",
        "close_pl": await closed_today(exchange, account),
        "current_requirement": _requirement(book),
        "equity": ZERO,
        "long_market_value": values["stock_long"] + values["option_long"],
        "market_value": sum(values.values(), ZERO),
        "open_pl": _open_pl(book),
        "option_long_value": values["option_long"],
        "option_requirement": ZERO,
        "pending_orders_count": book.open_orders,
        "short_market_value": values["stock_short"] + values["option_short"],
        "stock_long_value": values["stock_long"],
        "total_cash": book.cash,
        "uncleared_funds": ZERO,
        "pending_cash": _reserved(book),
    }
    if book.terms.margin:
        told["margin"] = {
            "fed_call": 0,
            "maintenance_call": 0,
            "option_buying_power": _money(_free(book)),
            "stock_buying_power": _money(_power(book)),
            "stock_short_value": _money(values["stock_short"]),
            "sweep": 0,
        }
    else:
        told["cash"] = {
            "cash_available": _money(max(ZERO, book.cash - _reserved(book))),
            "sweep": 0,
            "unsettled_funds": _money(ZERO),
        }
    return Told({"balances": {name: _told(one) for name, one in told.items()}})


def _told(value: Any) -> Any:
    return _money(value) if isinstance(value, Decimal) else value


def _money(value: Decimal) -> Decimal | None:
    return number(round_cents(value))


def _values(book: PaperAccount) -> dict[str, Decimal]:
    """Market values; what is short is below zero."""
    found = {"stock_long": ZERO, "stock_short": ZERO, "option_long": ZERO, "option_short": ZERO}
    for symbol, one in book.holdings.items():
        value = one.qty * (book.mark_of(symbol, one.qty) or ZERO) * multiplier_of(symbol)
        kind = "option" if is_option(symbol) else "stock"
        found[f"{kind}_{'long' if value > 0 else 'short'}"] += value
    return found


def _open_pl(book: PaperAccount) -> Decimal:
    total = ZERO
    for symbol, one in book.holdings.items():
        mark = book.mark_of(symbol, one.qty)
        if one.qty and mark is not None:
            total += one.qty * mark * multiplier_of(symbol) - one.cost_basis
    return total


def _reserved(book: PaperAccount) -> Decimal:
    """Dollars that open purchases may still cost."""
    return sum((one.open_buy_value for one in book.holdings.values()), ZERO)


def _requirement(book: PaperAccount) -> Decimal:
    """What the positions need to be kept; nothing where that cannot be reckoned."""
    try:
        return max(
            ZERO,
            maintenance_requirement(
                [
                    exposure_of(symbol, Holding(one.qty, one.cost_basis), book.mark_of(symbol, one.qty))
                    for symbol, one in book.holdings.items()
                    if one.qty
                ]
            ),
        )
    except (ValueError, Uncovered):
        return ZERO


def _free(book: PaperAccount) -> Decimal:
    """What options and other things that are not lent on may cost."""
    try:
        return max(ZERO, book.excess())
    except (ValueError, Uncovered):
        return ZERO


def _power(book: PaperAccount) -> Decimal:
    try:
        return max(ZERO, book.buying_power())
    except (ValueError, Uncovered):
        return ZERO
