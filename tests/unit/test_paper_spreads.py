"""What a spread does on given quotes, without a venue: net, units, and what is refused."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.margin import Combo
from paiid.domain.money import ZERO
from paiid.domain.orders import Leg, OrderStatus
from paiid.domain.paper import Moment, PaperRefused, Taken, Working
from paiid.domain.paper_spreads import (
    NOTHING,
    check_intent,
    check_legs,
    combo_of,
    decide_spread,
    net_of,
    wants_look,
)
from paiid.domain.quotes import Quote

D = Decimal
A, B, C = "AAPL270319C00100000", "AAPL270319C00105000", "AAPL270319C00110000"
OPEN = Moment(1_000, True, True)
LEGS = (Leg(A, "buy", 1, "buy_to_open"), Leg(B, "sell", 2, "sell_to_open"), Leg(C, "buy", 1, "buy_to_open"))


def quote(symbol: str, bid: str, ask: str, size: int = 50, *, stale: bool = False) -> Quote:
    return Quote(symbol, D(bid), D(ask), D(size), D(size), D(bid), D(bid), 500, 1, "hand", stale)


def quotes(size: int = 50) -> dict[str, Quote | None]:
    return {
        A: quote(A, "4.90", "5.00", size),
        B: quote(B, "3.00", "3.10", size),
        C: quote(C, "1.40", "1.50", size),
    }


def nothing_taken(**gone: Taken) -> dict[str, Taken]:
    return {one: gone.get(one) or Taken("hand", 1, 500) for one in (A, B, C)}


def working(limit: str | None, qty: int = 10, expires_at_us: int | None = None) -> Working:
    price = None if limit is None else D(limit)
    type_ = "market" if limit is None else "limit"
    return Working("AAPL", "buy", type_, "gtc", D(qty), price, None, 900, expires_at_us)  # type: ignore[arg-type]


def test_the_net_is_what_is_bought_at_the_ask_less_what_is_sold_at_the_bid() -> None:
    assert net_of(LEGS, (D("5.00"), D("3.00"), D("1.50"))) == D("0.50")


@pytest.mark.parametrize(("limit", "fills"), [("0.50", True), ("0.51", True), ("0.49", False), (None, True)])
def test_the_limit_is_never_exceeded(limit: str | None, fills: bool) -> None:
    step = decide_spread(working(limit), LEGS, quotes(), nothing_taken(), OPEN)
    assert (step.units, step.net) == ((10, D("0.50")) if fills else (0, 0))
    assert wants_look(working(limit), LEGS, quotes().get, OPEN) is fills


@pytest.mark.parametrize(("limit", "fills"), [("-2.90", True), ("-2.91", False)])
def test_a_credit_is_never_less_than_its_limit(limit: str, fills: bool) -> None:
    legs = (Leg(A, "sell", 1, "sell_to_open"), Leg(B, "buy", 1, "buy_to_open"))
    pair: dict[str, Quote | None] = {A: quote(A, "5.90", "6.00"), B: quote(B, "2.90", "3.00")}
    step = decide_spread(working(limit), legs, pair, nothing_taken(), OPEN)
    assert (step.units > 0) is fills


def test_units_are_what_the_thinnest_leg_allows() -> None:
    gone = {B: Taken("hand", 1, 500, bid=D(43))}
    step = decide_spread(working(None), LEGS, quotes(), nothing_taken(**gone), OPEN)
    assert (step.units, step.ends) == (3, None)
    assert (
        decide_spread(working(None, 3), LEGS, quotes(), nothing_taken(**gone), OPEN).ends
        is OrderStatus.FILLED
    )
    all_gone = {C: Taken("hand", 1, 500, ask=D(50))}
    assert decide_spread(working(None), LEGS, quotes(), nothing_taken(**all_gone), OPEN) is NOTHING


@pytest.mark.parametrize("symbol", [A, B, C])
def test_every_leg_must_be_tradable(symbol: str) -> None:
    stale = quotes() | {symbol: quote(symbol, "1.00", "1.10", stale=True)}
    assert decide_spread(working(None), LEGS, stale, nothing_taken(), OPEN) is NOTHING
    assert decide_spread(working(None), LEGS, quotes() | {symbol: None}, nothing_taken(), OPEN) is NOTHING
    taken = nothing_taken()
    del taken[symbol]
    assert decide_spread(working(None), LEGS, quotes(), taken, OPEN) is NOTHING


def test_a_leg_without_a_bid_can_be_bought_and_not_sold() -> None:
    worthless = quotes() | {C: quote(C, "0", "0.05")}
    assert decide_spread(working(None), LEGS, worthless, nothing_taken(), OPEN).units == 10
    worthless = quotes() | {B: quote(B, "0", "0.05")}
    assert decide_spread(working(None), LEGS, worthless, nothing_taken(), OPEN) is NOTHING


def test_nothing_happens_before_it_is_live_or_while_the_market_is_closed_and_it_ends_in_time() -> None:
    for moment in (Moment(899, True, True), Moment(1_000, False, True)):
        assert decide_spread(working(None), LEGS, quotes(), nothing_taken(), moment) is NOTHING
        assert not wants_look(working(None), LEGS, quotes().get, moment)
    ended = decide_spread(working(None, expires_at_us=1_000), LEGS, quotes(), nothing_taken(), OPEN)
    assert (ended.ends, ended.units) == (OrderStatus.EXPIRED, 0)
    assert wants_look(working(None, expires_at_us=1_000), LEGS, {}.get, OPEN)


@pytest.mark.parametrize(
    ("ratios", "fits"), [((1, 1), True), ((2, 3), True), ((2, 2), False), ((3, 6), False), ((0, 1), False)]
)
def test_ratios_are_in_lowest_terms(ratios: tuple[int, int], fits: bool) -> None:
    legs = [Leg(A, "buy", ratios[0], "buy_to_open"), Leg(B, "sell", ratios[1], "sell_to_open")]
    if fits:
        check_legs("AAPL", legs, 3)
        return
    with pytest.raises(PaperRefused) as caught:
        check_legs("AAPL", legs, 3)
    assert caught.value.code == "leg_ratios"


@pytest.mark.parametrize(
    ("side", "intent", "held", "closing", "qty", "code"),
    [
        ("sell", "sell_to_close", 5, 0, 5, None),
        ("sell", "sell_to_close", 5, 1, 5, "insufficient_qty"),
        ("sell", "sell_to_close", 0, 0, 1, "position_intent_mismatch"),
        ("sell", "sell_to_close", -5, 0, 1, "position_intent_mismatch"),
        ("sell", "sell_to_open", 1, 0, 1, "position_intent_mismatch"),
        ("sell", "sell_to_open", -5, 0, 1, None),
        ("buy", "buy_to_close", -5, 0, 5, None),
        ("buy", "buy_to_close", -5, 0, 6, "insufficient_qty"),
        ("buy", "buy_to_close", 5, 0, 1, "position_intent_mismatch"),
        ("buy", "buy_to_open", -1, 0, 1, "position_intent_mismatch"),
        ("buy", "buy_to_open", 0, 0, 1, None),
    ],
)
def test_intents_fit_the_position(
    side: str, intent: str, held: int, closing: int, qty: int, code: str | None
) -> None:
    leg = Leg(A, side, 1, intent)  # type: ignore[arg-type]
    if code is None:
        check_intent(0, leg, D(held), D(closing), D(qty))
        return
    with pytest.raises(PaperRefused) as caught:
        check_intent(0, leg, D(held), D(closing), D(qty))
    assert caught.value.code == code
    assert "legs.0" in caught.value.message


def test_an_open_spread_is_signed_contracts_and_dollars() -> None:
    assert combo_of(LEGS, D(3), D("-0.40")) == Combo(((A, D(3)), (B, D(-6)), (C, D(3))), D(-120))


_cents = st.integers(1, 2_000)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(_cents, st.integers(0, 50), st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=3
    ),
    st.one_of(st.none(), st.integers(-3_000, 3_000)),
    st.integers(1, 40),
)
def test_whatever_the_quotes_no_leg_trades_beyond_its_quote_and_no_spread_beyond_its_limit(
    shown: list[tuple[int, int, int, int]], limit: int | None, qty: int
) -> None:
    market: dict[str, Quote | None] = {}
    taken: dict[str, Taken] = {}
    for symbol, (bid, wide, size, gone) in zip((A, B, C), shown, strict=True):
        market[symbol] = quote(symbol, str(D(bid) / 100), str(D(bid + wide) / 100), size)
        taken[symbol] = Taken("hand", 1, 500, D(gone), D(gone))
    order = working(None if limit is None else str(D(limit) / 100), qty)
    step = decide_spread(order, LEGS, market, taken, OPEN)
    assert step.units == step.units.to_integral_value()
    assert ZERO <= step.units <= qty
    if step.units == 0:
        return
    assert order.limit_price is None or step.net <= order.limit_price
    for leg, price, (bid, wide, size, gone) in zip(LEGS, step.prices, shown, strict=True):
        assert price == (D(bid + wide) if leg.side == "buy" else D(bid)) / 100
        assert leg.ratio_qty * step.units <= size - gone
    assert (step.ends is OrderStatus.FILLED) == (step.units == qty)
