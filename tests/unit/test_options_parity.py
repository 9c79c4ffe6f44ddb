"""What a chain's puts and calls imply: the rate and the yields that they were made with, and nothing where they do not tell it."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import numpy as np

from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing import parity
from paiid.domain.pricing.parity_implied import NEAR_PAIRS
from paiid.domain.pricing.terms import IMPLIED, Contracts, Market
from paiid.domain.pricing.valuation import value
from paiid.domain.rate_curve import RateCurve
from paiid.options.pricing import Told, arrays_of, cash_of, in_order, price_chain, rate_from
from paiid.options.records import NONE, Assumed, Payment, PricedChain, Spot
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import FAR, MIDDLE, NEAR, SPOT, STRIKES, chain, row

HALF = Decimal("0.02")


def told(rows: Iterable[ChainRow], **wish: object) -> Told:
    known: dict[str, object] = {
        "symbol": "ACME", "source": "hand", "delayed": False, "rows": in_order(list(rows)), "underlying_price": None,
        "as_of_us": None, "fetched_us": WEDNESDAY_OPEN_US, "priced_at_us": WEDNESDAY_OPEN_US,
        "spot": Spot(SPOT, SPOT, SPOT, "mid"), "rate": NONE, "dividend_yield": None, "payments": (), "dividends_source": "none",
    }  # fmt: skip
    return Told(**{**known, **wish})  # type: ignore[arg-type]


def american(rate: float, dividend_yield: float, payments: tuple[Payment, ...] = ()) -> list[ChainRow]:
    """A chain whose middles are what American contracts are worth, to a hundredth of a cent."""
    flat = chain((MIDDLE, FAR), range(80, 125, 5), half=HALF)
    arrays = arrays_of(flat, WEDNESDAY_OPEN_US)
    market = Market(SPOT, rate, dividend_yield, cash_of(payments, WEDNESDAY_OPEN_US))
    worth = value(arrays.contracts, market, np.full(len(flat), 0.3)).price
    made = []
    for one, price in zip(flat, worth, strict=True):
        middle = Decimal(float(price)).quantize(Decimal("0.0001"))
        contract = one.contract
        made.append(
            row(
                float(contract.strike), contract.expiration, contract.option_type,
                str(max(middle - HALF, Decimal(0))), str(middle + HALF),
            )
        )  # fmt: skip
    return made


def test_the_rate_of_a_european_chain_comes_back() -> None:
    for rate in (0.0, 0.01, 0.05):
        rows = chain(root="SPX", rate=rate, dividend_yield=0.013)
        found = rate_from(told(rows))
        assert found is not None
        assert abs(found - rate) < 3e-4, rate


def test_a_rate_below_zero_is_never_implied_but_taken_where_it_is_said() -> None:
    rows = chain(root="SPX", rate=-0.02)
    assert rate_from(told(rows)) == 0.0
    priced = price_chain(told(rows, rate=Assumed(-0.02, "setting")), "fast")
    assert abs(priced.assumptions.expirations[-1].dividend_yield.value) < 1e-4


def test_the_yields_of_a_european_chain_come_back_and_say_from_how_many_pairs() -> None:
    rows = chain(root="SPX", rate=0.04, dividend_yield=0.02)
    priced = price_chain(told(rows, rate=Assumed(0.04, "setting")), "fast")
    for terms in priced.assumptions.expirations:
        assert abs(terms.dividend_yield.value - 0.02) * terms.years < 5e-5, terms
        assert (terms.dividend_yield.source, terms.pairs) == ("parity", NEAR_PAIRS)
        assert terms.forward is not None
        assert abs(terms.forward - SPOT * np.exp(0.02 * terms.years)) < 0.01


def test_rate_and_yields_of_an_american_chain_come_back() -> None:
    rows = american(0.05, 0.02)
    found = rate_from(told(rows))
    assert found is not None
    assert abs(found - 0.05) < 2e-3
    priced = price_chain(told(rows, rate=Assumed(0.05, "setting")), "fast")
    for terms in priced.assumptions.expirations:
        assert abs(terms.dividend_yield.value - 0.02) * terms.years < 3e-4, terms
    _one_volatility(priced)


def test_beside_the_dividends_that_are_known_only_the_rest_is_implied() -> None:
    payments = (Payment(date(2027, 1, 15), Decimal("1.50")), Payment(date(2027, 7, 16), Decimal("1.50")))
    rows = american(0.03, 0.0, payments)
    rate = Assumed(0.03, "setting")
    known = price_chain(told(rows, rate=rate, payments=payments, dividends_source="announced"), "fast")
    for terms in known.assumptions.expirations:
        assert abs(terms.dividend_yield.value) * terms.years < 4e-4, terms
    unknown = price_chain(told(rows, rate=rate), "fast")
    assert unknown.assumptions.expirations[-1].dividend_yield.value > 0.02
    _one_volatility(known)


def _one_volatility(priced: PricedChain) -> None:
    """Near the money calls and puts were all made with 30 %, and say so."""
    near = (priced.implied.status == IMPLIED) & (np.abs(priced.contracts.strike - SPOT) <= 10)
    assert near.sum() == 20
    assert np.abs(priced.implied.volatility[near] - 0.3).max() < 3e-3


def test_wide_quotes_near_the_money_do_not_tell_a_rate() -> None:
    assert rate_from(told(chain((NEAR,), half=Decimal("1.00")))) is None


def test_a_flat_market_without_interest_implies_exactly_none() -> None:
    rows = chain(half=HALF)
    assert rate_from(told(rows)) == 0.0
    priced = price_chain(told(rows), "fast")
    assert [one.dividend_yield.value for one in priced.assumptions.expirations] == [0.0, 0.0, 0.0]


def test_two_pairs_are_not_enough_to_imply_a_yield() -> None:
    rows = chain((NEAR,), (95, 105), root="SPX", dividend_yield=0.5)
    (terms,) = price_chain(told(rows), "fast").assumptions.expirations
    assert (terms.dividend_yield, terms.pairs) == (NONE, 0)


def test_crossed_and_one_sided_quotes_do_not_speak_for_the_yield() -> None:
    rows = [row(strike, NEAR, kind, "0", "90") for strike in STRIKES for kind in ("call", "put")]
    (terms,) = price_chain(told(rows), "fast").assumptions.expirations
    assert terms.dividend_yield.source == "none"


def test_one_rogue_quote_does_not_move_what_its_spread_says_is_uncertain() -> None:
    rows = chain((FAR,), root="SPX", rate=0.04, dividend_yield=0.02)
    rows = [
        row(100, FAR, "call", "1.00", "30.00", root="SPX")
        if (one.contract.strike, one.contract.option_type) == (100, "call")
        else one
        for one in rows
    ]
    (terms,) = price_chain(told(rows, rate=Assumed(0.04, "setting")), "fast").assumptions.expirations
    assert abs(terms.dividend_yield.value - 0.02) < 1e-3


def test_a_curve_gives_each_expiration_its_own_rate() -> None:
    curve = RateCurve((0.0, 365.0), (1.0, 5.0))
    priced = price_chain(told(chain(), rate=curve, dividend_yield=NONE), "fast")
    rates = [one.rate for one in priced.assumptions.expirations]
    assert {one.source for one in rates} == {"curve_file"}
    for terms in priced.assumptions.expirations:
        assert abs(terms.rate.value - (0.01 + 0.04 * terms.years)) < 1e-12


def test_contracts_that_live_equally_long_with_one_strike_are_a_pair_and_others_are_not() -> None:
    contracts = Contracts(
        np.array([True, False, False, True, True, False]),
        np.array([100.0, 100.0, 105.0, 105.0, 110.0, 110.0]),
        np.array([0.5, 0.5, 0.5, 0.25, 0.5, 0.5]),
    )
    found = parity.find_pairs(contracts, np.array([True] * 5 + [False]))
    assert (found.call.tolist(), found.put.tolist()) == ([0], [1])


def test_index_contracts_that_are_settled_in_the_morning_end_before_those_of_the_afternoon() -> None:
    rows = [row(100, MIDDLE, "call", root=root) for root in ("SPX", "SPXW")]
    morning, afternoon = arrays_of(in_order(rows), WEDNESDAY_OPEN_US).contracts.years
    assert abs((afternoon - morning) * 365 * 24 - 6.5) < 1e-6
