"""Smiles that agree with each other: no calendar spread for nothing, and volatilities between expirations and strikes."""

import numpy as np
import pytest

from paiid.domain.pricing.expected_move import by_straddle, by_volatility
from paiid.domain.pricing.smile import Svi
from paiid.domain.pricing.smile_fit import SmileQuotes
from paiid.domain.pricing.surface import (
    Slice,
    between,
    build,
    has_calendar,
    volatilities,
    volatilities_by_delta,
)
from paiid.domain.pricing.terms import FloatArray

K = np.linspace(-0.3, 0.3, 15)


def level(volatility: float, error: float = 0.003) -> SmileQuotes:
    return SmileQuotes(K, np.full(len(K), volatility), np.full(len(K), error))


def curved(years: float, shift: float = 0.0, k: FloatArray = K) -> SmileQuotes:
    """A skewed smile whose total variance grows with time."""
    curve = Svi(0.04 * years + shift, 0.1 * years, -0.4, 0.0, 0.2)
    return SmileQuotes(k, np.sqrt(curve.total_variance(k) / years), np.full(len(k), 0.002))


def test_a_surface_of_flat_chains_is_flat_at_all_times_and_strikes() -> None:
    slices = build([(years, 100.0, level(0.2)) for years in (0.05, 0.3, 1.0)])
    smiles = [one.smile for one in slices if one.smile is not None]
    assert len(smiles) == 3
    assert not any(one.butterfly or one.calendar or one.mended for one in slices)
    for years in (0.05, 0.1, 0.3, 0.77, 1.0):
        assert volatilities(smiles, years, K) == pytest.approx([0.2] * len(K), abs=1e-6)
        assert volatilities_by_delta(smiles, years, (0.75, 0.5, 0.25)) == pytest.approx([0.2] * 3, abs=1e-6)


def test_total_variance_between_expirations_is_linear_in_time() -> None:
    smiles = [one.smile for one in build([(0.1, 100.0, curved(0.1)), (0.5, 100.0, curved(0.5))]) if one.smile]
    early, _ = between(smiles, 0.1, K)
    late, _ = between(smiles, 0.5, K)
    third, known = between(smiles, 0.2, K)
    assert known.all()
    assert third == pytest.approx(0.75 * early + 0.25 * late, rel=1e-12)
    for outside in (0.09, 0.51):
        with pytest.raises(ValueError, match="outside"):
            between(smiles, outside, K)


def test_between_expirations_only_what_both_quote_is_known() -> None:
    narrow = np.linspace(-0.1, 0.1, 9)
    slices = build([(0.1, 100.0, curved(0.1, k=narrow)), (0.5, 100.0, curved(0.5))])
    smiles = [one.smile for one in slices if one.smile is not None]
    found = volatilities(smiles, 0.3, np.array([-0.2, -0.1, 0.0, 0.1, 0.2]))
    assert [one is None for one in found] == [True, False, False, False, True]
    assert volatilities(smiles, 0.5, np.array([-0.2]))[0] is not None


def test_a_later_expiration_a_little_below_an_earlier_one_is_mended() -> None:
    below = curved(0.11, shift=-0.0009)
    slices = build([(0.1, 100.0, curved(0.1)), (0.11, 100.0, below), (0.5, 100.0, curved(0.5))])
    assert [one.mended for one in slices] == [(), ("calendar",), ()]
    assert not any(one.calendar or one.butterfly for one in slices)
    first, second, _ = slices
    assert first.smile is not None
    assert second.smile is not None
    assert not has_calendar(first.smile, second.smile)
    assert np.all(second.smile.curve.total_variance(K) >= first.smile.curve.total_variance(K) * (1 - 1e-4))


def test_one_far_below_is_shown_as_it_is_quoted_and_told() -> None:
    slices = build([(0.3, 100.0, level(0.3)), (0.31, 100.0, level(0.15))])
    assert [one.calendar for one in slices] == [False, True]
    assert slices[1].mended == ()
    assert slices[1].smile is not None
    assert slices[1].smile.volatility(K) == pytest.approx(np.full(len(K), 0.15), abs=1e-5)


def test_an_expiration_with_too_few_quotes_breaks_nothing_between_its_neighbours() -> None:
    few = SmileQuotes(K[:2], np.array([0.9, 0.9]), np.array([0.002, 0.002]))
    slices = build([(0.1, 100.0, curved(0.1)), (0.2, 100.0, few), (0.5, 100.0, curved(0.5))])
    assert [one.smile is None for one in slices] == [False, True, False]
    assert slices[1] == Slice(0.2, 100.0, few, None)
    assert not slices[2].calendar


def test_an_expected_move_is_one_deviation_and_a_straddle_four_fifths_of_it() -> None:
    move = by_volatility(200.0, 0.25, 0.16)
    assert move.dollars == pytest.approx(20.0)
    assert move.fraction == pytest.approx(0.1)
    # Brenner and Subrahmanyam: a straddle at the forward costs about sqrt(2 / pi) of it.
    straddle = by_straddle(200.0, 7.97, 7.97)
    assert straddle.fraction == pytest.approx(0.0797)
    assert straddle.dollars / move.dollars == pytest.approx((2 / np.pi) ** 0.5, rel=2e-3)
