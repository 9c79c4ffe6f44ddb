"""What an order may do to the position it meets at the paper venue: short sales, opening and closing options."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from paiid.domain.money import ZERO
from paiid.domain.orders import PositionIntent
from paiid.domain.paper import PaperRefused, Working
from paiid.domain.paper_account import EMPTY, Holding, PaperAccount, trade
from paiid.domain.terms import DEFAULT_TERMS, PLAIN, AccountTerms

D = Decimal
CALL = "AAPL270219C00100000"
PUT = "AAPL270219P00090000"


def place(
    side: Any,
    qty: str,
    *held: tuple[str, int],
    symbol: str = "AAPL",
    cash: int = 100_000,
    terms: AccountTerms = DEFAULT_TERMS,
    intent: PositionIntent | None = None,
    notional: str | None = None,
    price: str = "100",
    **opened: Any,
) -> str | None:
    """The code of a refusal, for an account that holds these and has these orders open in the symbol."""
    book = PaperAccount(D(cash), {}, lambda _symbol, _qty: D(100), terms=terms)
    for name, amount in held:
        book.holdings[name] = trade(EMPTY, "buy" if amount > 0 else "sell", D(abs(amount)), D(0))
    if opened:
        was = book.holding(symbol)
        book.holdings[symbol] = Holding(was.qty, ZERO, **{name: D(value) for name, value in opened.items()})
    amount = None if notional is None else D(notional)
    order = Working(symbol, side, "limit", "day", D(qty), D(price), None, 0, None, notional=amount)
    try:
        book.place(order, D(price), intent)
    except PaperRefused as refused:
        assert book.open_orders == 0
        return refused.code
    return None


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        (None, partial(place, "sell", "10.5", ("AAPL", 11))),
        ("short_sale_whole_shares", partial(place, "sell", "11.5", ("AAPL", 11))),
        (None, partial(place, "sell", "1.5", ("AAPL", 11), open_sell_qty=9)),
        ("short_sale_whole_shares", partial(place, "sell", "1.5", ("AAPL", 11), open_sell_qty=10)),
        (None, partial(place, "sell", "12", ("AAPL", 11))),
        ("short_sale_whole_shares", partial(place, "sell", "0.1", notional="10")),
        ("invalid_notional", partial(place, "sell", "0.005", ("AAPL", 1), notional="0.5")),
        (None, partial(place, "sell", "1", ("AAPL", 1), notional="0.99")),
        ("equity_below_2000", partial(place, "sell", "1", cash=1_999)),
        (None, partial(place, "sell", "1", cash=2_000)),
        (None, partial(place, "sell", "1", cash=1_999, terms=PLAIN)),
        ("position_intent_mismatch", partial(place, "sell", "1", intent="sell_to_close")),
        (None, partial(place, "sell", "1", ("AAPL", 1), intent="sell_to_close")),
    ],
)
def test_short_sales_of_stock_are_of_whole_shares_and_need_equity(
    code: str | None, asked: Callable[[], str | None]
) -> None:
    assert asked() == code


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        (None, partial(place, "buy", "1", symbol=CALL, price="1")),
        (None, partial(place, "buy", "1", symbol=CALL, price="1", intent="buy_to_open")),
        (
            "position_intent_mismatch",
            partial(place, "buy", "1", symbol=CALL, price="1", intent="buy_to_close"),
        ),
        (
            None,
            partial(
                place, "buy", "2", (CALL, -2), ("AAPL", 200), symbol=CALL, price="1", intent="buy_to_close"
            ),
        ),
        ("insufficient_qty", partial(place, "buy", "3", (CALL, -2), ("AAPL", 200), symbol=CALL, price="1")),
        (
            "position_intent_mismatch",
            partial(place, "sell", "1", (CALL, 2), symbol=CALL, price="1", intent="sell_to_open"),
        ),
        (None, partial(place, "sell", "2", (CALL, 2), symbol=CALL, price="1")),
        ("insufficient_qty", partial(place, "sell", "2", (CALL, 2), symbol=CALL, price="1", open_sell_qty=1)),
        ("uncovered_option", partial(place, "sell", "1", symbol=CALL, price="1")),
        (None, partial(place, "sell", "1", ("AAPL", 100), symbol=CALL, price="1")),
        ("uncovered_option", partial(place, "sell", "2", ("AAPL", 199), symbol=CALL, price="1")),
        (None, partial(place, "sell", "1", symbol=PUT, price="1", cash=9_000)),
        ("insufficient_buying_power", partial(place, "sell", "1", symbol=PUT, price="1", cash=8_999)),
        ("insufficient_buying_power", partial(place, "buy", "10", symbol=CALL, price="1", cash=999)),
        (None, partial(place, "buy", "10", symbol=CALL, price="1", cash=1_000)),
        (
            "opposite_order_open",
            partial(place, "sell", "1", ("AAPL", 100), symbol=CALL, price="1", open_buy_qty=1),
        ),
        (
            "options_level",
            partial(place, "buy", "1", symbol=CALL, price="1", terms=AccountTerms(options_level=1)),
        ),
        (None, partial(place, "buy", "1", symbol=CALL, price="1", terms=AccountTerms(options_level=2))),
        (
            "options_level",
            partial(place, "sell", "1", symbol=PUT, price="1", terms=AccountTerms(options_level=0)),
        ),
        (None, partial(place, "sell", "1", symbol=PUT, price="1", terms=AccountTerms(options_level=1))),
        (
            None,
            partial(
                place, "sell", "1", (CALL, 1), symbol=CALL, price="1", terms=AccountTerms(options_level=0)
            ),
        ),
    ],
)
def test_options_are_opened_and_closed_as_position_level_and_cover_allow(
    code: str | None, asked: Callable[[], str | None]
) -> None:
    assert asked() == code


def test_shares_that_cover_a_call_cannot_be_sold_away() -> None:
    assert place("sell", "100", ("AAPL", 100), (CALL, -1)) == "uncovered_option"
    assert place("sell", "100", ("AAPL", 200), (CALL, -1)) is None
