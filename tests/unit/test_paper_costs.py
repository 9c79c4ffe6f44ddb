"""What trading costs at the paper venue: fees, the price that size moves, amounts in dollars, stops that trail."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.orders import OrderStatus
from paiid.domain.paper import (
    NOTHING,
    OPENING_PATIENCE_US,
    Moment,
    Step,
    Taken,
    Working,
    affordable,
    after_quote,
    applied,
    decide,
    fill_price,
    trail_stop,
)
from paiid.domain.paper_account import Holding, PaperAccount
from paiid.domain.paper_fees import fees_of
from paiid.domain.quotes import Quote
from paiid.domain.terms import DEFAULT_TERMS, PLAIN, AccountTerms
from tests.paper_world import Market

D = Decimal
NOW = Moment(0, is_open=True, is_extended=True)
CALL = "AAPL270219C00100000"


def working(
    side: Any = "buy", qty: str = "100", type: Any = "market", tif: Any = "day", **more: Any
) -> Working:
    base: dict[str, Any] = {"limit_price": None, "stop_price": None, "live_at_us": 0, "expires_at_us": None}
    return Working(more.pop("symbol", "AAPL"), side, type, tif, D(qty), **{**base, **more})


def quote(bid: str = "99.90", ask: str = "100.00", size: int = 300, symbol: str = "AAPL") -> Quote:
    return Market().show(symbol, D(bid), D(size), D(ask), D(size))


def decided(order: Working, shown: Quote, moment: Moment = NOW, terms: AccountTerms = PLAIN) -> Step:
    return decide(order, shown, after_quote(None, shown), moment, terms)


# -- fees ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "side", "qty", "value", "fees"),
    [
        ("AAPL", "buy", 1_000_000, 10**8, "0"),
        ("AAPL", "sell", 0, 0, "0"),
        ("AAPL", "sell", 1, 1, "0.01"),
        ("AAPL", "sell", 100, 10_000, "0.23"),
        ("AAPL", "sell", 1_000_000, 1_000_000, "30.39"),
        ("AAPL", "sell", 50_000, 1_000_000, "30.35"),
        (CALL, "buy", 1, 255, "0.06"),
        (CALL, "buy", 10, 2_550, "0.54"),
        (CALL, "sell", 10, 2_550, "0.62"),
        (CALL, "buy", 10_000, 1, "531.50"),
    ],
)
def test_an_order_owes_what_the_schedules_say(
    symbol: str, side: Any, qty: int, value: int, fees: str
) -> None:
    assert fees_of(symbol, side, D(qty), D(value)) == D(fees)


def test_prints_pay_together_what_the_order_owes_as_one() -> None:
    book = PaperAccount(D(0), {"AAPL": Holding(D(100), D(1))}, lambda _s, _q: D(1), terms=DEFAULT_TERMS)
    order, paid = working("sell"), []
    for _ in range(20):
        step = Step(qty=D(5), price=D("99.99"))
        paid.append(book.settle(order, step, D(100), counts=False))
        order = applied(order, step, D(100))
    assert sum(paid) == fees_of("AAPL", "sell", D(100), D(9_999)) == D("0.23")
    assert book.cash == 9_999 - D("0.23")
    assert sum(one > 0 for one in paid) > 2, "not all of it at one print"
    assert all(one >= 0 for one in paid)


def test_a_buy_of_options_that_leaves_nothing_for_its_fees_is_cut() -> None:
    terms = replace(DEFAULT_TERMS, margin=False)
    book = PaperAccount(D(1_000), {}, lambda _s, _q: D(1), terms=terms)
    order = working(qty="10", symbol=CALL)
    book.place(order, D(1))
    cut = book.within_means(order, Step(qty=D(10), price=D(1), ends=OrderStatus.FILLED), D(1), 0)
    assert (cut.qty, cut.ends, cut.reason) == (9, OrderStatus.CANCELED, "insufficient_buying_power")


# -- size that moves the price ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "filled", "limit", "price"),
    [
        ("buy", "0", None, "100.00"),
        ("buy", "299", None, "100.00"),
        ("buy", "300", None, "100.01"),
        ("buy", "599.5", None, "100.01"),
        ("buy", "600", None, "100.02"),
        ("buy", "15000", None, "100.50"),
        ("buy", "90000", None, "100.50"),
        ("buy", "600", "100.01", "100.01"),
        ("sell", "300", None, "99.89"),
        ("sell", "600", "99.89", "99.89"),
        ("sell", "90000", None, "99.40"),
    ],
)
def test_each_size_taken_before_costs_a_tick(side: Any, filled: str, limit: str | None, price: str) -> None:
    order = working(side, "100000", filled_qty=D(filled), limit_price=None if limit is None else D(limit))
    assert fill_price(order, quote(), D(300), DEFAULT_TERMS) == D(price)
    assert fill_price(order, quote(), D(300), PLAIN) == (D("100.00") if side == "buy" else D("99.90"))


def test_a_tick_of_an_option_is_an_options_tick_and_a_price_stays_above_zero() -> None:
    dear, cheap = quote("4.90", "5.00", symbol=CALL), quote("0.02", "0.03", symbol=CALL)
    order = working("sell", "1000", symbol=CALL, filled_qty=D(900))
    assert fill_price(order, dear, D(300), DEFAULT_TERMS) == D("4.75")
    assert fill_price(order, cheap, D(300), DEFAULT_TERMS) == D("0.01")


@pytest.mark.parametrize(("percent", "price"), [("0", "100.00"), ("10", "99.99"), ("50", "99.95")])
def test_price_improvement_is_a_part_of_the_spread_for_market_orders(percent: str, price: str) -> None:
    terms = replace(DEFAULT_TERMS, price_improvement_pct=D(percent))
    assert fill_price(working(), quote(), D(300), terms) == D(price)
    stop = working(type="stop", stop_price=D(99), triggered=True)
    assert fill_price(stop, quote(), D(300), terms) == D("100.00")


# -- fractions and amounts ----------------------------------------------------------------------------


def test_a_whole_order_takes_whole_shares_of_what_fractions_have_left() -> None:
    shown = quote(size=10)
    taken = Taken(shown.source, shown.sequence, shown.as_of_us, ask=D("0.5"))
    assert decide(working(qty="20"), shown, taken, NOW, PLAIN).qty == 9
    assert decide(working(qty="20.5"), shown, taken, NOW, PLAIN).qty == D("9.5")


def test_an_amount_is_spent_at_the_price_of_each_fill_and_never_exceeded() -> None:
    order = working(qty="10", notional=D(1_000))
    step = decided(order, quote(size=4))
    assert (step.qty, step.ends) == (4, None)
    order = applied(order, step, D(100))
    assert (order.qty, order.left) == (10, 6)
    dearer = decided(order, quote("149.90", "150.00"))
    assert (dearer.qty, dearer.ends) == (4, OrderStatus.FILLED)
    over = applied(order, dearer, D(100))
    assert (over.filled_value, over.qty, over.left) == (1_000, 8, 0)


def test_what_an_amount_still_reserves_follows_from_what_is_left_of_it() -> None:
    book = PaperAccount(D(1_000), {}, lambda _s, _q: D(100))
    order = working(qty="10", notional=D(1_000))
    book.place(order, D(100))
    cheap = Step(qty=D(8), price=D("50"))
    book.settle(order, cheap, D(100))
    order = applied(order, cheap, D(100))
    held = book.holding("AAPL")
    assert (held.qty, held.open_buy_qty, held.open_buy_value) == (8, 6, 600)
    book.settle(order, Step(ends=OrderStatus.CANCELED), D(100))
    assert book.holding("AAPL") == Holding(D(8), D(400))
    assert applied(order, Step(ends=OrderStatus.CANCELED), D(100)).qty == 8


@pytest.mark.parametrize(
    ("dollars", "price", "shares"), [("1", "3", "0.333333333"), ("0.000001", "999999", "0")]
)
def test_an_amount_buys_the_last_whole_billionth(dollars: str, price: str, shares: str) -> None:
    assert affordable(D(dollars), D(price)) == D(shares)


def test_a_fraction_that_is_no_longer_held_is_not_sold_short() -> None:
    book = PaperAccount(D(1_000), {"AAPL": Holding(D("0.5"), D(50))}, lambda _s, _q: D(100))
    step = Step(qty=D("1.5"), price=D(100), ends=OrderStatus.FILLED)
    cut = book.within_means(working("sell", "1.5"), step, D(100), 0)
    assert (cut.qty, cut.ends, cut.reason) == (D("0.5"), OrderStatus.CANCELED, "insufficient_qty")


# -- stops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "hwm", "trail", "percent", "stop"),
    [
        ("sell", "100.00", "1.50", None, "98.50"),
        ("buy", "100.00", "1.50", None, "101.50"),
        ("sell", "99.99", None, "1", "98.99"),
        ("buy", "99.99", None, "1", "100.99"),
        ("sell", "100.00", None, "0.000001", "99.99"),
        ("buy", "100.00", None, "0.000001", "100.01"),
        ("sell", "1.50", "0.60", None, "0.90"),
        ("sell", "1.01", None, "10", "0.9090"),
    ],
)
def test_a_trailed_stop_is_on_the_tick_that_is_farther_away(
    side: Any, hwm: str, trail: str | None, percent: str | None, stop: str
) -> None:
    dollars, part = (None if one is None else D(one) for one in (trail, percent))
    assert trail_stop("AAPL", side, D(hwm), dollars, part) == D(stop)


def test_a_trailing_stop_follows_only_the_better_price_and_then_triggers() -> None:
    order = working("sell", type="trailing_stop", trail_price=D(1))
    for bid, hwm, stop in (
        ("99.90", "99.90", "98.90"),
        ("99.80", "99.90", "98.90"),
        ("101.00", "101.00", "100.00"),
    ):
        step = decided(order, quote(bid, "200"))
        assert step.qty == 0
        assert step.ends is None
        order = applied(order, step, D(100))
        assert (order.hwm, order.stop_price) == (D(hwm), D(stop))
    done = decided(order, quote("100.00", "100.10"))
    assert (done.triggers, done.qty, done.ends) == (True, 100, OrderStatus.FILLED)


def test_a_trailing_stop_that_has_triggered_follows_nothing() -> None:
    order = working(
        "sell", type="trailing_stop", trail_price=D(1), hwm=D(100), stop_price=D(99), triggered=True
    )
    assert decided(order, quote("120.00", "120.10")).qty == 100


def test_a_stop_limit_triggers_first_and_fills_within_its_limit_only() -> None:
    order = working("buy", type="stop_limit", stop_price=D(105), limit_price=D(106))
    assert decided(order, quote("104.00", "104.90")) == NOTHING
    beyond = decided(order, quote("107.00", "107.10"))
    assert beyond == Step(triggers=True)
    order = applied(order, beyond, D(106))
    assert decided(order, quote("106.00", "106.01")) == NOTHING
    assert decided(order, quote("103.00", "103.10")).price == D("103.10")


# -- auctions and the evening -------------------------------------------------------------------------


def test_an_opening_order_waits_a_minute_for_a_quote_of_the_session_and_no_longer() -> None:
    order = working(tif="opg", live_at_us=1_000)
    before = replace(quote(), as_of_us=999)
    late = 1_000 + OPENING_PATIENCE_US
    assert decided(order, before, replace(NOW, at_us=late - 1)) == NOTHING
    gone = Step(ends=OrderStatus.CANCELED, reason="not_filled_in_auction")
    assert decided(order, before, replace(NOW, at_us=late)) == gone
    assert decided(order, replace(before, as_of_us=1_000), replace(NOW, at_us=late)) == gone
    in_time = decided(order, replace(before, as_of_us=1_000), replace(NOW, at_us=late - 1))
    assert (in_time.qty, in_time.ends) == (100, OrderStatus.FILLED)


@pytest.mark.parametrize(
    ("extended_hours", "is_open", "is_extended", "fills"),
    [
        (False, True, True, True),
        (False, False, True, False),
        (True, True, True, True),
        (True, False, True, True),
        (True, False, False, False),
    ],
)
def test_only_those_who_ask_for_it_trade_in_extended_hours(
    extended_hours: bool, is_open: bool, is_extended: bool, fills: bool
) -> None:
    order = working(type="limit", limit_price=D(100), extended_hours=extended_hours)
    assert (decided(order, quote(), Moment(0, is_open, is_extended)).qty > 0) == fills
