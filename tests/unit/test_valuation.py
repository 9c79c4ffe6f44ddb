"""The arithmetic of what an account is worth."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.money import ZERO, round_money
from paiid.domain.quotes import Quote
from paiid.domain.valuation import (
    Holding,
    Mark,
    Print,
    Valued,
    best_and_worst,
    change_since,
    closing_price,
    mark_from,
    rewind,
    value_account,
)

D = Decimal
prices = st.integers(1, 10**9).map(lambda n: D(n).scaleb(-4))
quantities = st.integers(-(10**6), 10**6).filter(bool).map(D)
trades = st.lists(st.tuples(st.sampled_from(["AAPL", "MSFT", "SPY"]), quantities, prices), max_size=12)


def quote(bid: str = "99", ask: str = "101", at_us: int = 1000, prev_close: str = "98") -> Quote:
    return Quote(
        "AAPL", D(bid), D(ask), D(100), D(100), D("100.5"), D(prev_close), at_us, 1, "simulated", stale=False
    )


def valued(qty: str, cost: str, price: str | None, prev: str = "100", symbol: str = "AAPL") -> Valued:
    mark = None if price is None else Mark(D(price), D(prev), "simulated", 1000, False)
    return Valued(Holding(symbol, "stock", D(qty), D(cost)), mark)


@given(trades, st.dictionaries(st.sampled_from(["AAPL", "MSFT", "SPY"]), prices))
def test_equity_moves_only_by_what_the_marks_say_of_what_was_traded(trades, marks):
    """Equity is starting cash plus, for every trade, quantity x (mark - price): nothing is lost or made."""
    cash, held = D(100_000), {}
    for symbol, qty, price in trades:
        cash -= round_money(qty * price)
        held[symbol] = held.get(symbol, ZERO) + qty
    holdings = [
        Valued(
            Holding(symbol, "stock", qty, ZERO),
            Mark(marks.get(symbol, D(1)), None, "simulated", 1, False),
        )
        for symbol, qty in held.items()
    ]
    worth = value_account(cash, holdings)
    expected = D(100_000) + sum(
        (qty * (marks.get(symbol, D(1)) - price) for symbol, qty, price in trades), ZERO
    )
    assert worth.equity == expected
    assert worth.long is not None
    assert worth.short is not None
    assert worth.equity == cash + worth.long + worth.short


@given(trades)
def test_taking_prints_back_out_restores_cash_and_holdings(trades):
    prints = [Print(symbol, qty, -round_money(qty * price)) for symbol, qty, price in trades]
    cash, held = D(500), {"AAPL": D(7)}
    after_cash, after = cash, dict(held)
    for one in prints:
        after_cash += one.cash
        after[one.symbol] = after.get(one.symbol, ZERO) + one.qty
    assert rewind(after_cash, after, prints) == (cash, held)


def test_a_long_and_a_short_gain_with_the_same_formula():
    long, short = valued("10", "1000", "110"), valued("-10", "-1000", "90")
    assert (long.avg_entry_price, short.avg_entry_price) == (D(100), D(100))
    assert (long.unrealized_pl, short.unrealized_pl) == (D(100), D(100))
    assert (long.unrealized_plpc, short.unrealized_plpc) == (D("0.1"), D("0.1"))
    assert (long.market_value, short.market_value) == (D(1100), D(-900))
    assert (long.change_today, short.change_today) == (D("0.1"), D("-0.1"))


def test_a_missing_price_leaves_the_sums_unknown_and_is_named():
    worth = value_account(D(5000), [valued("10", "1000", None), valued("1", "5", "6", symbol="SPY")])
    assert (worth.equity, worth.long, worth.short) == (None, None, None)
    assert worth.missing == ("AAPL",)
    assert worth.buying_power == D(5000), "a long needs no price to say what cash is free"


def test_a_short_without_a_price_leaves_the_buying_power_unknown():
    assert value_account(D(5000), [valued("-10", "-1000", None)]).buying_power is None


def test_buying_power_is_the_formula_of_the_venue():
    one = Holding("AAPL", "stock", D(-10), D(-1000), open_buy_qty=D(20), open_buy_value=D(2000))
    worth = value_account(D(11_000), [Valued(one, Mark(D(100), None, "simulated", 1, False))])
    assert worth.buying_power == D(11_000) - D(1500) - D(1000)


def test_a_symbol_with_open_orders_alone_is_no_position():
    one = Holding("AAPL", "stock", ZERO, ZERO, open_buy_qty=D(1), open_buy_value=D(100))
    worth = value_account(D(1000), [Valued(one, None)])
    assert worth.held == ()
    assert worth.equity == D(1000)
    assert worth.buying_power == D(900)


def test_no_percentage_is_told_of_a_base_that_is_not_above_zero():
    assert change_since(D(10), ZERO).percent is None
    assert change_since(D(105), D(100)).percent == D(5)
    assert change_since(None, D(100)).amount is None


def test_the_largest_winner_gains_and_the_largest_loser_loses():
    best, worst = best_and_worst([valued("1", "10", "12"), valued("1", "10", "11")])
    assert best is not None
    assert best.unrealized_pl == D(2)
    assert worst is None


def test_a_one_sided_quote_is_valued_at_the_last_trade():
    found = mark_from(quote(bid="0"))
    assert found is not None
    assert found.price == D("100.5")
    assert mark_from(None) is None


def test_the_close_of_a_roll_comes_from_the_previous_close_of_a_later_quote():
    assert closing_price(quote(at_us=2000), 1500) == D(98)
    assert closing_price(quote(at_us=1000), 1500) == D(100)
    assert closing_price(quote(at_us=2000, prev_close="0"), 1500) is None
