"""What is wrong with quotes: each flag where it belongs, and no number where a quote allows none."""

from dataclasses import replace
from decimal import Decimal
from typing import Literal

import numpy as np

from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing import quality
from paiid.domain.pricing.terms import IMPLIED
from paiid.options.pricing import Told, in_order, price_chain
from paiid.options.records import NONE, Assumed, PricedChain, Spot
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import NEAR, SPOT, chain, row


def priced(rows: list[ChainRow], *, spot: float | None = SPOT, rate: float = 0.0) -> PricedChain:
    """With a given rate and no dividends."""
    known = None if spot is None else Spot(spot, spot - 0.01, spot + 0.01, "mid")
    told = Told(
        "ACME", "hand", False, in_order(rows), None, None, WEDNESDAY_OPEN_US, WEDNESDAY_OPEN_US,
        known, Assumed(rate, "setting"), NONE, (), "none",
    )  # fmt: skip
    return price_chain(told, "fast")


def flags_of(
    bid: str | None,
    ask: str | None,
    strike: float = 100,
    kind: Literal["call", "put"] = "call",
    quoted: bool = True,
    size: int | None = 100,
    root: str = "ACME",
) -> tuple[list[str], bool]:
    """The names of a lone contract's flags, and whether it has a volatility."""
    one = priced([row(strike, NEAR, kind, bid, ask, quoted=quoted, size=size, root=root)])
    return quality.names_of(int(one.flags[0])), bool(one.implied.status[0] == IMPLIED)


def test_each_flaw_of_a_quote_has_its_flag_and_only_some_leave_a_number() -> None:
    assert flags_of(None, None) == ([], True)
    assert flags_of("3.00", "3.00") == (["locked"], True)
    assert flags_of("2.00", "4.00") == (["wide"], True)
    assert flags_of(None, None, quoted=False) == (["no_quote"], False)
    assert flags_of("0", "3.10") == (["no_bid"], False)
    assert flags_of("3.00", "0") == (["no_ask"], False)
    assert flags_of("0", "0") == (["no_bid", "no_ask"], False)
    assert flags_of("-1", "3.10") == (["no_bid"], False)
    assert flags_of("NaN", "3.10") == (["no_bid"], False)
    assert flags_of("3.00", "Infinity") == (["no_ask"], False)
    assert flags_of("3.10", "3.00") == (["crossed"], False)
    assert flags_of("29.00", "29.20", strike=70) == (["below_intrinsic"], False)
    assert flags_of("150", "151") == (["out_of_bounds"], False)
    assert flags_of("101", "102", kind="put") == (["out_of_bounds"], False)
    assert flags_of(None, None, size=None) == (["adjusted"], False)
    assert flags_of(None, None, root="ACME1") == (["adjusted"], False)


def test_without_a_price_of_the_underlying_nothing_is_computed() -> None:
    one = priced(chain(), spot=None)
    assert not (one.implied.status == IMPLIED).any()
    assert ((one.flags & np.uint32(quality.NO_UNDERLYING)) != 0).all()
    assert not one.values.price.any()
    assert one.assumptions.expirations[0].forward is None


def test_a_stale_quote_is_flagged_and_still_gives_a_number() -> None:
    fresh = row(100)
    assert fresh.quote is not None
    one = priced([replace(fresh, quote=replace(fresh.quote, stale=True))])
    assert quality.names_of(int(one.flags[0])) == ["stale"]
    assert abs(one.implied.volatility[0] - 0.3) < 1e-3


def test_what_expired_before_the_instant_of_pricing_is_flagged() -> None:
    past = row(100, NEAR.replace(month=11, day=20), bid="1.00", ask="1.10")
    assert quality.names_of(int(priced([past]).flags[0])) == ["expired"]


def test_a_quarter_of_the_middle_is_not_wide_more_is_and_five_cents_never_are() -> None:
    bid, ask = np.array([0.875, 0.87, 0.01, np.nan]), np.array([1.125, 1.13, 0.06, 1.0])
    unknown = np.full(4, np.nan)
    assert quality.is_wide(bid, ask, unknown).tolist() == [False, True, False, False]
    deep = quality.is_wide(np.array([50.0, 50.0]), np.array([51.0, 51.0]), np.array([0.049, 0.051]))
    assert deep.tolist() == [False, True]


def test_a_deep_call_whose_spread_hides_its_volatility_is_wide() -> None:
    one = priced([row(70, half=Decimal("0.12"), volatility=0.4)])
    assert "wide" in quality.names_of(int(one.flags[0]))
    assert one.uncertainty[0] > quality.WIDE_VOLATILITY


def test_call_and_put_that_contradict_each_other_are_flagged_and_their_neighbours_are_not() -> None:
    rows = chain((NEAR,))
    broken = [
        row(100, NEAR, "call", "5.00", "5.10")
        if one.contract.strike == 100 and one.contract.option_type == "call"
        else one
        for one in rows
    ]
    assert not (priced(rows).flags & np.uint32(quality.PARITY_BROKEN)).any()
    one = priced(broken)
    torn = [
        (float(contract.contract.strike), contract.contract.option_type)
        for contract, flag in zip(one.rows, one.flags, strict=True)
        if flag & quality.PARITY_BROKEN
    ]
    assert torn == [(100.0, "call"), (100.0, "put")]


def test_what_the_spreads_can_explain_is_no_contradiction() -> None:
    wide = [row(100, NEAR, "call", "3.0", "5.1"), row(100, NEAR, "put", "2.4", "3.2")]
    assert not (priced(wide).flags & np.uint32(quality.PARITY_BROKEN)).any()


def test_an_american_put_above_european_parity_is_no_contradiction_and_one_of_an_index_is() -> None:
    """With interest at 10 % a European put at 130 is worth less than 30; an American one never is."""
    for root, expected in (("ACME", False), ("SPX", True)):
        rows = [
            row(130, NEAR, "call", "0.01", "0.02", root=root),
            row(130, NEAR, "put", "30.0", "30.1", root=root),
        ]
        one = priced(rows, rate=0.10)
        assert bool((one.flags & np.uint32(quality.PARITY_BROKEN)).any()) is expected, root


def test_nothing_that_a_source_may_tell_gives_a_number_that_is_none() -> None:
    rows = []
    prices = [
        "NaN",
        "-Infinity",
        "Infinity",
        "-5",
        "0",
        "0.0001",
        "3",
        "99.99",
        "100",
        "100.01",
        "99999",
        "1E+30",
    ]
    for number, bid in enumerate(prices):
        for index, ask in enumerate(prices):
            strike = 50 + number * len(prices) + index
            rows += [row(strike, NEAR, kind, bid, ask) for kind in ("call", "put")]
    one = priced(rows, rate=0.03)
    known = one.implied.status == IMPLIED
    assert known.any()
    assert not known.all()
    values = one.values
    for array in (values.price, values.delta, values.gamma, values.theta, values.vega, values.rho):
        assert np.isfinite(array).all()
    assert np.isfinite(one.implied.volatility).all()
    unusable = (one.flags & np.uint32(quality.UNPRICEABLE)) != 0
    assert not (known & unusable).any()
    # Whatever has no volatility says why.
    assert (one.flags[~known] != 0).all()
