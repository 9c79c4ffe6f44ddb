"""Regulation T by figures: what stock is lent on, what orders and open spreads reserve, what maintenance asks for."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.domain.margin import (
    Combo,
    Exposure,
    Uncovered,
    buying_power,
    by_underlying,
    equity,
    excess,
    group_requirement,
    lends,
    maintenance_requirement,
    requirement,
    tied_up,
)
from paiid.domain.occ import OptionContract

D = Decimal


def option(kind: str, strike: str) -> str:
    """The symbol of a contract on AAPL."""
    return OptionContract.of("AAPL", kind, D(strike), date(2026, 12, 18)).symbol


PUT_95, PUT_100 = option("put", "95"), option("put", "100")
CALL_100, CALL_105 = option("call", "100"), option("call", "105")


def have(
    qty: str = "0",
    mark: str | None = "100",
    symbol: str = "AAPL",
    *,
    buying: tuple[str, str] = ("0", "0"),
    selling: tuple[str, str] = ("0", "0"),
) -> Exposure:
    """A position at its mark, with open orders as (quantity, dollars)."""
    price = None if mark is None else D(mark)
    return Exposure(symbol, D(qty), D(buying[0]), D(buying[1]), D(selling[0]), D(selling[1]), price)


def spread(*legs: tuple[str, str], net: str) -> Combo:
    return Combo(tuple((symbol, D(qty)) for symbol, qty in legs), D(net))


@pytest.mark.parametrize(
    ("cash", "exposures", "free", "power"),
    [
        # cash, what is held and open, excess, buying power
        ("100000", [], "100000", "200000"),
        ("0", [have("1000")], "50000", "100000"),
        # Twice the cash buys stock, and nothing is left.
        ("-100000", [have("2000")], "0", "0"),
        ("-100000", [have("2000", "90")], "-10000", "-20000"),
        # A short needs its proceeds and half as much again.
        ("150000", [have("-500")], "75000", "150000"),
        # What orders reserve: half of opening stock, nothing of closing.
        ("100000", [have(buying=("100", "10000"))], "95000", "190000"),
        ("100000", [have(selling=("100", "10000"))], "95000", "190000"),
        ("100000", [have("100", selling=("100", "9000"))], "105000", "210000"),
        ("100000", [have("100", selling=("150", "15000"))], "102500", "205000"),
        ("100000", [have("-100", buying=("150", "15000"))], "82500", "165000"),
        # A long without a mark counts nothing.
        ("100000", [have("100", None)], "100000", "200000"),
        # Options bought are paid in full and lent on never.
        ("100000", [have("10", "5", CALL_100)], "100000", "200000"),
        ("100000", [have(mark=None, symbol=CALL_100, buying=("10", "5000"))], "95000", "190000"),
        ("100000", [have("-5", "5", PUT_100)], "50000", "100000"),
        ("100000", [have(mark=None, symbol=PUT_100, selling=("2", "1000"))], "80000", "160000"),
        ("100000", [have("-5", "5", PUT_100), have("5", "3", PUT_95)], "97500", "195000"),
        ("100000", [have("200"), have("-2", "5", CALL_100)], "110000", "220000"),
        # Two sales are open and either may fill: the long is gone, or the shares are.
        ("100000", [have("-5", "5", PUT_100), have("5", "3", PUT_95, selling=("5", "1500"))], "50000", "100000"),
        # Buys of options that close reserve nothing.
        ("100000", [have("-5", "5", PUT_100, buying=("5", "2500"))], "50000", "100000"),
    ],
)  # fmt: skip
def test_with_margin_stock_is_lent_on_at_half(
    cash: str, exposures: list[Exposure], free: str, power: str
) -> None:
    assert excess(D(cash), exposures, margin=True) == D(free)
    assert buying_power(D(cash), exposures, margin=True) == D(power)


@pytest.mark.parametrize(
    ("cash", "exposures", "free"),
    [
        ("100000", [], "100000"),
        ("1000", [have("1000")], "1000"),
        ("100000", [have(buying=("100", "10000"))], "90000"),
        ("100000", [have(selling=("100", "10000"))], "95000"),
        ("150000", [have("-500")], "75000"),
        ("1000", [have(mark=None, symbol=CALL_100, buying=("1", "400"))], "600"),
        ("10000", [have("-1", None, PUT_100)], "0"),
        ("500", [have("100"), have("-1", None, CALL_100)], "500"),
    ],
)
def test_without_margin_nothing_is_lent(cash: str, exposures: list[Exposure], free: str) -> None:
    assert excess(D(cash), exposures, margin=False) == D(free)
    assert buying_power(D(cash), exposures, margin=False) == D(free)


@pytest.mark.parametrize(
    ("cash", "qty", "wanted"), [("0", "20", "2000"), ("0", "19.999", "0"), ("1000", "9", "1000")]
)
def test_under_2000_dollars_of_equity_nothing_is_lent(cash: str, qty: str, wanted: str) -> None:
    """Twenty shares at 100 are just enough: 1,000 to lend, and twice that to buy with."""
    assert buying_power(D(cash), [have(qty)], margin=True) == D(wanted)


def test_equity_counts_options_at_a_hundred_times_their_mark() -> None:
    held = [have("10"), have("-2", "3", PUT_100), have("1", "2", PUT_95)]
    assert equity(D(5000), held) == D(5000 + 1000 - 600 + 200)
    assert lends(D(1400), held, margin=True)
    assert not lends(D("1399.99"), held, margin=True)


@pytest.mark.parametrize("margin", [True, False])
def test_a_short_without_a_price_leaves_everything_unknown(margin: bool) -> None:
    with pytest.raises(ValueError, match="no price for the short position in AAPL"):
        excess(D(1000), [have("-1", None)], margin=margin)


def test_with_margin_the_equity_needs_the_price_of_a_short_option_too() -> None:
    with pytest.raises(ValueError, match="no price"):
        excess(D(20_000), [have("-1", None, PUT_100)], margin=True)


def test_a_short_call_that_no_shares_and_no_long_cover_is_uncovered() -> None:
    with pytest.raises(Uncovered):
        excess(D(1_000_000), [have("-1", "5", CALL_100)], margin=True)
    # An order that sells the shares takes the cover away, and so does one that sells the long.
    covered = [have("100"), have("-1", "5", CALL_100)]
    assert excess(D(0), covered, margin=True) == D(5000)
    with pytest.raises(Uncovered):
        excess(D(0), [have("100", selling=("1", "100")), covered[1]], margin=True)
    with pytest.raises(Uncovered):
        excess(D(0), [covered[1], have("1", "3", CALL_105, selling=("1", "300"))], margin=True)


def test_shares_of_another_company_cover_nothing() -> None:
    with pytest.raises(Uncovered):
        excess(D(0), [have("100", symbol="MSFT"), have("-1", "5", CALL_100)], margin=True)


def test_covered_shares_are_lent_on_at_no_more_than_the_strike() -> None:
    """100 shares at 130 against a call at 100: lent on are 10,000, and the call has lost 3,000 of the equity."""
    assert excess(D(0), [have("100", "130"), have("-1", "30", CALL_100)], margin=True) == D(5000)


@pytest.mark.parametrize(
    ("exposures", "combos", "reserved"),
    [
        # A credit spread ties up its width less the credit, a debit spread its debit.
        ([], [spread((PUT_100, "-2"), (PUT_95, "2"), net="-180")], "820"),
        ([], [spread((CALL_100, "1"), (CALL_105, "-1"), net="210")], "210"),
        # Closing one frees nothing before it fills, and needs nothing.
        (
            [have("-1", "5", PUT_100), have("1", "3", PUT_95)],
            [spread((PUT_100, "1"), (PUT_95, "-1"), net="230")],
            "500",
        ),
        # Two of a kind add up, whatever else is held.
        (
            [have("1", "3", PUT_95)],
            [
                spread((PUT_100, "-1"), (PUT_95, "1"), net="-100"),
                spread((PUT_100, "-1"), (PUT_95, "1"), net="-100"),
            ],
            "800",
        ),
        # A credit that exceeds what is tied up adds nothing.
        ([], [spread((PUT_100, "-1"), (PUT_95, "1"), net="-510")], "0"),
        # Half an iron condor is tied up by the other half already; its credit is not there before it fills.
        (
            [have("-1", "5", PUT_100), have("1", "3", PUT_95)],
            [spread((CALL_100, "-1"), (CALL_105, "1"), net="-200")],
            "500",
        ),
        # Of two halves either may fill alone: the one with the smaller credit counts.
        (
            [],
            [
                spread((CALL_100, "-1"), (CALL_105, "1"), net="-200"),
                spread((PUT_100, "-1"), (PUT_95, "1"), net="-100"),
            ],
            "400",
        ),
    ],
)
def test_an_open_spread_reserves_what_it_would_tie_up_and_cost(
    exposures: list[Exposure], combos: list[Combo], reserved: str
) -> None:
    assert D(10_000) - excess(D(10_000), exposures, combos, margin=False) == D(reserved)


def test_an_open_spread_that_would_leave_a_call_uncovered_is_none() -> None:
    with pytest.raises(Uncovered):
        excess(D(10_000), [], [spread((CALL_100, "-2"), (CALL_105, "1"), net="-500")], margin=True)


def test_below_the_level_of_spreads_a_long_covers_nothing() -> None:
    held = [have("-1", "5", PUT_100), have("1", "3", PUT_95)]
    assert excess(D(20_000), held, margin=True, spreads=False) == D(10_000)
    assert excess(D(20_000), held, margin=True) == D(19_500)


@pytest.mark.parametrize(
    ("exposures", "wanted"),
    [
        ([have("100")], "2500"),
        ([have("-100")], "3000"),
        # Cheap shorts need five dollars a share, and under five dollars their value or 2.50 a share.
        ([have("-100", "10")], "500"),
        ([have("-100", "4")], "400"),
        ([have("-100", "1")], "250"),
        ([have("10", "5", CALL_100)], "5000"),
        # The put of which 300 are lost already needs the rest of its strike.
        ([have("-1", "3", PUT_100)], "9700"),
        ([have("-1", "5", PUT_100), have("1", "3", PUT_95)], "300"),
        ([have("100"), have("-1", "5", CALL_100)], "2500"),
        # What is open is not held.
        ([have(buying=("100", "10000"))], "0"),
        ([have("100", None)], "0"),
    ],
)
def test_maintenance_is_what_the_positions_need_to_stay(exposures: list[Exposure], wanted: str) -> None:
    assert maintenance_requirement(exposures) == D(wanted)


def test_one_symbol_alone_is_the_cash_account_of_a_group() -> None:
    one = have("-10", "100", buying=("20", "2000"))
    assert requirement(one) == group_requirement([one], loan=False) == D(1500 + 1000)


# -- properties -------------------------------------------------------------------------------------

quantities = st.integers(-300, 300).map(D)
counts = st.integers(0, 300).map(D)
prices = st.integers(1, 500).map(D)


@st.composite
def stocks(draw: Any) -> Exposure:
    """Shares with open orders at 100 dollars."""
    buying, selling = draw(counts), draw(counts)
    symbol = draw(st.sampled_from(["AAPL", "MSFT"]))
    return Exposure(symbol, draw(quantities), buying, buying * 100, selling, selling * 100, draw(prices))


@st.composite
def calls_and_puts(draw: Any) -> Exposure:
    """Contracts with open orders at 5 dollars."""
    buying, selling = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    symbol = draw(st.sampled_from([PUT_95, PUT_100, CALL_100, CALL_105]))
    qty = D(draw(st.integers(-3, 3)))
    return Exposure(symbol, qty, D(buying), D(buying * 500), D(selling), D(selling * 500), D(5))


mixed = st.lists(st.one_of(stocks(), calls_and_puts()), max_size=6, unique_by=lambda one: one.symbol)


@given(mixed, st.booleans(), st.booleans())
@settings(max_examples=300)
def test_the_groups_add_up_to_the_whole(exposures: list[Exposure], loan: bool, spreads: bool) -> None:
    """What the venue may keep up group by group."""
    try:
        whole = tied_up(exposures, loan=loan, spreads=spreads)
    except Uncovered:
        return
    groups = by_underlying(exposures)
    assert whole == sum(group_requirement(group, loan=loan, spreads=spreads) for group in groups.values())


@given(mixed, st.integers(0, 200_000).map(D))
@settings(max_examples=300)
def test_without_margin_is_never_kinder_than_with_it(exposures: list[Exposure], cash: Decimal) -> None:
    try:
        lent = excess(cash, exposures, margin=True)
    except ValueError:
        return
    assert excess(cash, exposures, margin=False) <= lent


@given(mixed, st.integers(0, 200_000).map(D))
@settings(max_examples=300)
def test_the_excess_is_no_more_than_the_equity_at_the_strikes(
    exposures: list[Exposure], cash: Decimal
) -> None:
    """Whatever the options say today: exercised at these prices, what is left is no less than the excess."""
    plain = [replace(one, open_buy_qty=D(0), open_sell_qty=D(0)) for one in exposures]
    try:
        free = excess(cash, plain, margin=True)
    except ValueError:
        return
    worth = cash
    price = next((one.mark for one in plain if one.symbol == "AAPL" and one.mark), D(100))
    for one in plain:
        contract = {PUT_95: D(95), PUT_100: D(100), CALL_100: D(100), CALL_105: D(105)}.get(one.symbol)
        if contract is None:
            worth += one.qty * (one.mark or D(0))
        else:
            inside = contract - price if "P0" in one.symbol else price - contract
            worth += one.qty * max(D(0), inside) * 100
    assert free <= worth


fresh_spreads = st.lists(
    st.sampled_from(
        [
            spread((PUT_100, "-1"), (PUT_95, "1"), net="-100"),
            spread((CALL_100, "-1"), (CALL_105, "1"), net="-200"),
            spread((CALL_100, "1"), (CALL_105, "-1"), net="200"),
            spread((PUT_100, "1"), (PUT_95, "-1"), net="300"),
        ]
    ),
    max_size=7,
)


@given(fresh_spreads)
@settings(max_examples=60, deadline=None)
def test_whichever_of_the_open_spreads_fill_the_excess_does_not_fall(combos: list[Combo]) -> None:
    before = excess(D(10_000), [], combos, margin=False)
    for filled in chain.from_iterable(combinations(range(len(combos)), n) for n in range(len(combos) + 1)):
        held: dict[str, Decimal] = {}
        cash = D(10_000)
        for index in filled:
            cash -= combos[index].net
            for symbol, qty in combos[index].legs:
                held[symbol] = held.get(symbol, D(0)) + qty
        rest = [combo for index, combo in enumerate(combos) if index not in filled]
        exposures = [have(str(qty), "5", symbol) for symbol, qty in held.items()]
        assert excess(cash, exposures, rest, margin=False) >= before
