"""The Greeks that the simulated vendor tells: those of a plain European formula, in the scale that Alpaca's have."""

import pytest

from paiid.domain.pricing.black_scholes import price
from paiid.feeds.simulated.options import Model
from paiid.sim.alpaca.marketdata.greeks import greeks_body


@pytest.mark.parametrize("right", ["call", "put"])
def test_they_are_the_differences_of_the_formula_s_price(right: str) -> None:
    for strike, years, volatility in ((90.0, 0.5, 0.3), (100.0, 0.02, 0.15), (130.0, 2.0, 0.6)):
        told = greeks_body(right, strike, Model(101.0, years, volatility))  # type: ignore[arg-type]

        def worth(
            spot: float = 101.0,
            time: float = years,
            rate: float = 0.0,
            sigma: float = volatility,
            k: float = strike,
        ) -> float:
            return price(right, spot, k, time, rate, 0.0, sigma)  # type: ignore[arg-type]

        h, greeks = 1e-3, told["greeks"]
        day = 1e-4 / 365
        assert told["impliedVolatility"] == volatility
        assert greeks["delta"] == pytest.approx((worth(101 + h) - worth(101 - h)) / (2 * h), abs=2e-6)
        assert greeks["gamma"] == pytest.approx(
            (worth(101 + h) - 2 * worth() + worth(101 - h)) / h**2, abs=2e-6
        )
        assert greeks["theta"] == pytest.approx(
            (worth(time=years - day) - worth(time=years + day)) / 2e-4, abs=2e-6
        )
        assert greeks["vega"] == pytest.approx(
            (worth(sigma=volatility + 1e-5) - worth(sigma=volatility - 1e-5)) / 2e-5 / 100, abs=2e-6
        )
        assert greeks["rho"] == pytest.approx((worth(rate=1e-6) - worth(rate=-1e-6)) / 2e-6 / 100, abs=2e-6)


def test_where_no_time_is_left_there_are_none() -> None:
    assert greeks_body("call", 100.0, Model(101.0, 0.0, 0.3)) == {}
    assert greeks_body("put", 100.0, Model(101.0, 1e-7, 0.3)) == {}


def test_the_scale_is_that_of_the_documented_example() -> None:
    """alpaca.md, section 16: a SPY call 70 days before its end, which fits no spot exactly."""
    greeks = greeks_body("call", 700.0, Model(658.0, 70 / 365, 0.1432))["greeks"]
    for name, told in {
        "delta": 0.312,
        "gamma": 0.0081,
        "theta": -0.0412,
        "vega": 1.0321,
        "rho": 0.6012,
    }.items():
        assert 1 / 3 < greeks[name] / told < 3, name
