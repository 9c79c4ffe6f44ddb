"""Greeks of positions and portfolios: signs, sizes, sums by underlying, and what is missing."""

import pytest

from paiid.domain.pricing.position import ONE_SHARE, Greeks, Line, portfolio_greeks

CALL = Greeks(0.5, 0.02, -0.1, 0.25, 0.12)


def test_a_position_is_its_contract_times_the_shares_it_is_about() -> None:
    (found,) = portfolio_greeks([Line("AAPL260116C00100000", "AAPL", 300.0, CALL, 100.0)]).by_underlying
    assert found.greeks == Greeks(150.0, 6.0, -30.0, 75.0, 36.0)
    assert found.delta_dollars == 15_000.0
    assert found.gamma_dollars == pytest.approx(6.0 * 100 * 100 / 100)


def test_shares_and_contracts_of_one_underlying_hedge_each_other() -> None:
    total = portfolio_greeks(
        [
            Line("AAPL", "AAPL", -50.0, ONE_SHARE, 100.0),
            Line("AAPL260116C00100000", "AAPL", 100.0, CALL, 100.0),
        ]
    )
    assert total.delta_dollars == 0.0
    assert (total.theta, total.vega, total.rho) == (-10.0, 25.0, 12.0)


def test_a_move_of_one_percent_changes_dollar_delta_by_dollar_gamma() -> None:
    shares, gamma, spot = 100.0, 0.02, 250.0
    line = Line("X260116C00250000", "X", shares, Greeks(0.5, gamma, 0.0, 0.0, 0.0), spot)
    total = portfolio_greeks([line])
    moved = (0.5 + gamma * spot * 0.01) * shares * spot
    assert moved - total.delta_dollars == pytest.approx(total.gamma_dollars)


def test_underlyings_are_summed_in_dollars_and_told_by_name() -> None:
    total = portfolio_greeks(
        [Line("MSFT", "MSFT", 10.0, ONE_SHARE, 400.0), Line("AAPL", "AAPL", -10.0, ONE_SHARE, 200.0)]
    )
    assert [one.underlying for one in total.by_underlying] == ["AAPL", "MSFT"]
    assert total.delta_dollars == 2_000.0


def test_what_has_no_greeks_or_no_price_is_named_and_in_no_sum() -> None:
    total = portfolio_greeks(
        [
            Line("AAPL260116C00100000", "AAPL", 100.0, None, 100.0),
            Line("MSFT", "MSFT", 1.0, ONE_SHARE, None),
            Line("SPY", "SPY", 1.0, ONE_SHARE, 500.0),
        ]
    )
    assert total.missing == ("AAPL260116C00100000", "MSFT")
    assert total.delta_dollars == 500.0
