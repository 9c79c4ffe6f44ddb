"""The arithmetic of what an account is worth."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from paiid.domain.margin import Combo
from paiid.domain.money import ZERO, round_money
from paiid.domain.occ import find_contract
from paiid.domain.quotes import Quote
from paiid.domain.valuation import (
    Holding,
    Mark,
    Print,
    Valued,
    best_and_worst,
    change_since,
    closing_price,
    expired_price,
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


def option(qty: str, cost: str, price: str | None, strike: str = "100", kind: str = "C") -> Valued:
    """Contracts on AAPL that expire on 18 December 2026."""
    return valued(qty, cost, price, "2", f"AAPL261218{kind}{int(D(strike) * 1000):08d}")


def test_a_contract_is_worth_a_hundred_times_its_price():
    """Two bought at 3 and three sold at 2, costs in dollars."""
    long, short = option("2", "600", "5"), option("-3", "-600", "2.5")
    assert (long.avg_entry_price, short.avg_entry_price) == (D(3), D(2))
    assert (long.market_value, short.market_value) == (D(1000), D(-750))
    assert (long.unrealized_pl, short.unrealized_pl) == (D(400), D(-150))
    assert (long.unrealized_plpc, long.change_today) == (D("0.666667"), D("1.5"))
    worth = value_account(D(10_000), [long, option("-1", "-500", "4", "110", "P")])
    assert (worth.equity, worth.long, worth.short) == (D(10_600), D(1000), D(-400))


def test_what_is_free_and_what_is_needed_follow_from_the_terms_of_the_account():
    """100 shares at 100 against 1,000 of debt, and a bull put spread 5 wide."""
    held = [
        valued("100", "9000", "100"),
        option("-1", "-500", "5", kind="P"),
        option("1", "300", "3", "95", "P"),
    ]
    plain = value_account(D(9_000), held)
    assert (plain.buying_power, plain.options_buying_power) == (D(8_500), D(8_500))
    lent = value_account(D(9_000), held, margin=True)
    assert (lent.options_buying_power, lent.buying_power) == (D(13_500), D(27_000))
    assert lent.equity == D(18_800)
    needed = lent.requirements
    assert needed is not None
    # Half of the shares, and of the spread its width less the 200 dollars that it has cost by now.
    assert (needed.initial, needed.maintenance, needed.call) == (D(5_300), D(2_800), False)
    assert lent.equity - needed.initial == lent.options_buying_power
    lower = value_account(D(20_000), held, margin=True, options_level=2)
    assert lower.options_buying_power == D(20_000 + 5_000 - 10_000)


def test_an_account_with_less_than_the_maintenance_requirement_is_called():
    def account(cash: str) -> bool:
        found = value_account(D(cash), [valued("100", "10000", "100")], margin=True).requirements
        assert found is not None
        return found.call

    assert not account("-7500")
    assert account("-7500.01")


def test_open_spreads_reserve_what_they_may_cost():
    spread = Combo((("AAPL261218P00100000", D(-1)), ("AAPL261218P00095000", D(1))), D(-180))
    worth = value_account(D(1_000), [], [spread])
    assert (worth.buying_power, worth.equity) == (D(680), D(1_000))
    assert worth.requirements is not None
    assert worth.requirements.initial == D(320)
    assert worth.requirements.maintenance == 0


def test_without_every_price_or_cover_nothing_is_said_of_what_is_needed():
    unpriced = value_account(D(5_000), [valued("10", "1000", None)], margin=True)
    assert unpriced.requirements is None
    assert unpriced.buying_power == D(10_000), "what has no price is not lent on"
    bare = value_account(D(5_000), [option("-1", "-500", "5")])
    assert (bare.buying_power, bare.options_buying_power, bare.requirements) == (None, None, None)
    assert bare.equity == D(4_500)


def test_a_contract_that_expired_with_the_day_was_worth_its_intrinsic_value():
    """The close was 98."""
    call, put = (find_contract(f"AAPL261218{right}00100000") for right in "CP")
    assert call is not None
    assert put is not None
    assert expired_price(call, quote(at_us=2000), 1500) == 0
    assert expired_price(put, quote(at_us=2000), 1500) == D(2)
    assert expired_price(put, None, 1500) is None


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
