"""What the end of a day does to an account, without a venue: intrinsic values, assignments, dividends, splits."""

from decimal import Decimal

import pytest

from paiid.domain.money import ZERO
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.paper_account import Holding, PaperAccount
from paiid.domain.paper_roll import dividend, enter, expire, settled_in_cash, settled_in_shares, split
from paiid.domain.terms import DEFAULT_TERMS, PLAIN, AccountTerms

D = Decimal


def contract(text: str) -> OptionContract:
    found = find_contract(text)
    assert found is not None
    return found


C100, C105, P100 = (contract(f"AAPL270115{one}") for one in ("C00100000", "C00105000", "P00100000"))


def account(cash: int, terms: AccountTerms = PLAIN, **held: int) -> PaperAccount:
    """Holdings by symbol: shares at 100 dollars, contracts at a dollar a share."""
    holdings = {symbol: Holding(D(qty), D(qty) * 100) for symbol, qty in held.items()}
    return PaperAccount(D(cash), holdings, lambda symbol, qty: None, terms=terms)


@pytest.mark.parametrize(
    ("one", "qty", "shares", "cash"),
    [(C100, 2, 200, -20_000), (C100, -2, -200, 20_000), (P100, 2, -200, 20_000), (P100, -2, 200, -20_000)],
)
def test_shares_come_or_go_at_the_strike(one: OptionContract, qty: int, shares: int, cash: int) -> None:
    gone, came = settled_in_shares(one, D(qty))
    assert (gone.symbol, gone.qty, gone.price, gone.cash) == (one.symbol, -qty, 0, 0)
    assert (came.symbol, came.qty, came.price, came.cash) == ("AAPL", shares, 100, cash)
    assert {gone.kind, came.kind} == {"exercise" if qty > 0 else "assignment"}


@pytest.mark.parametrize(("close", "settled"), [("100.01", True), ("100.00", False), ("99.99", False)])
def test_a_call_is_exercised_from_a_cent_in_the_money(close: str, settled: bool) -> None:
    book = account(20_000, **{C100.symbol: 1})
    expire(book, [(C100, D(close))])
    assert book.holding(C100.symbol).qty == 0
    assert (book.holding("AAPL").qty, book.cash) == ((100, 10_000) if settled else (0, 20_000))


@pytest.mark.parametrize(("close", "settled"), [("99.99", True), ("100.00", False)])
def test_a_put_is_exercised_from_a_cent_in_the_money(close: str, settled: bool) -> None:
    book = account(20_000, **{P100.symbol: 1, "AAPL": 100})
    expire(book, [(P100, D(close))])
    assert (book.holding("AAPL").qty, book.cash) == ((0, 30_000) if settled else (100, 20_000))


@pytest.mark.parametrize(
    ("cash", "terms", "shares"),
    [(10_000, PLAIN, 100), (9_999, PLAIN, 0), (4_500, DEFAULT_TERMS, 100), (4_499, DEFAULT_TERMS, 0)],
)
def test_exercise_needs_the_free_margin_for_the_shares(cash: int, terms: AccountTerms, shares: int) -> None:
    book = account(cash, terms, **{C100.symbol: 1})
    (first, *_) = expire(book, [(C100, D(110))])
    assert book.holding("AAPL").qty == shares
    if shares == 0:
        assert (first.kind, first.price, book.cash) == ("expiration", 10, cash + 1_000)


def test_a_short_contract_is_assigned_whatever_the_account_has() -> None:
    book = account(0, **{P100.symbol: -1})
    expire(book, [(P100, D(90))])
    assert (book.holding("AAPL").qty, book.cash) == (100, -10_000)


def test_the_short_leg_of_a_spread_is_assigned_first_so_that_the_long_one_meets_it() -> None:
    book = account(0, **{C100.symbol: 10, C105.symbol: -10})
    made = expire(book, [(C100, D(120)), (C105, D(120))])
    assert [one.kind for one in made] == ["assignment", "assignment", "exercise", "exercise"]
    assert (book.holding("AAPL").qty, book.cash) == (0, 5_000)


def test_an_account_that_cannot_be_valued_weighs_no_exercise() -> None:
    book = account(20_000, **{C100.symbol: 1, "MSFT": -1})
    with pytest.raises(ValueError, match="MSFT"):
        expire(book, [(C100, D(110))])


def test_the_cost_of_shares_that_an_exercise_brings_is_the_strike() -> None:
    book = account(20_000, **{C100.symbol: 1})
    expire(book, [(C100, D(110))])
    assert book.holding("AAPL").cost_basis == 10_000
    assert book.holding(C100.symbol).cost_basis == 0


def test_what_is_closed_in_cash_is_worth_its_intrinsic_value() -> None:
    one = settled_in_cash(P100, D(3), D("97.50"))
    assert (one.qty, one.price, one.cash) == (-3, D("2.5"), 750)


@pytest.mark.parametrize(("qty", "cash"), [("100", "25"), ("-10", "-2.5"), ("0.000000001", "0")])
def test_a_dividend_is_paid_to_the_millionth_of_a_dollar(qty: str, cash: str) -> None:
    assert dividend("AAPL", D(qty), D("0.25"), "").cash == D(cash)


@pytest.mark.parametrize(
    ("qty", "ratio", "after"), [("101", "0.1", "10.1"), ("100", "4", "400"), ("-7", "2", "-14")]
)
def test_a_split_multiplies_the_shares_and_keeps_the_cost(qty: str, ratio: str, after: str) -> None:
    book = account(0, AAPL=0)
    book.holdings["AAPL"] = Holding(D(qty), D(1_000))
    enter(book, split("AAPL", D(qty), D(ratio), ""))
    assert (book.holding("AAPL").qty, book.holding("AAPL").cost_basis, book.cash) == (D(after), 1_000, ZERO)


def test_a_split_rounds_toward_zero_at_the_billionth() -> None:
    booking = split("AAPL", D("1"), D(1) / D(3), "")
    assert booking.qty == D("0.333333333") - 1
