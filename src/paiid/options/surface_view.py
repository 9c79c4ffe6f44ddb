"""A surface as JSON: what was drawn, through how many quotes, how well it fits, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np

from paiid.core.instants import instant
from paiid.domain.calendar import eastern_date
from paiid.domain.money import plain
from paiid.domain.pricing import expected_move
from paiid.domain.pricing.smile import Smile
from paiid.domain.pricing.surface import Slice, volatilities, volatilities_by_delta
from paiid.options.records import PricedChain
from paiid.options.surface_quotes import Chosen
from paiid.options.views import assumptions_view

By = Literal["moneyness", "delta"]
MONEYNESS = (0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.1, 1.15, 1.2, 1.3)
"""Strike over forward."""
DELTAS = (0.9, 0.75, 0.6, 0.5, 0.4, 0.25, 0.1)
"""Forward deltas of the call; below the forward the put's is one less."""
DAYS = (7, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365, 545, 730)
_WING = 0.25
_DAYS_OF_YEAR = 365.0


@dataclass(frozen=True, slots=True)
class Surface:
    """Slices with what they were made of, by expiration."""

    slices: tuple[Slice, ...]
    chosen: tuple[Chosen, ...]

    @property
    def smiles(self) -> list[Smile]:
        """Of the expirations that have one."""
        return [one.smile for one in self.slices if one.smile is not None]


def number(value: float | None, digits: int) -> float | None:
    """A finite float rounded for people, None where there is none."""
    return round(float(value), digits) + 0.0 if value is not None and isfinite(value) else None


def surface_view(chain: PricedChain, surface: Surface, by: By) -> dict[str, Any]:
    """The whole answer."""
    spot, today = chain.assumptions.spot, eastern_date(chain.assumptions.priced_at_us)
    price = None if spot is None else spot.price
    views = [
        _expiration(one, made, price, today) for one, made in zip(surface.slices, surface.chosen, strict=True)
    ]
    return {
        "symbol": chain.symbol,
        "underlying_price": None if chain.underlying_price is None else plain(chain.underlying_price),
        "source": chain.source,
        "as_of": instant(chain.as_of_us),
        "priced_at": instant(chain.assumptions.priced_at_us),
        "stale": chain.stale,
        "age_s": number(chain.age_s, 3),
        "delayed": chain.delayed,
        "accuracy": chain.accuracy,
        "reason": _reason(chain, surface),
        "model": "svi: w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)), k = log(strike / forward), w = volatility^2 years",
        "assumptions": assumptions_view(chain),
        "expirations": views,
        "term_structure": _term_structure(surface, today),
        "grid": _grid(surface.smiles, by),
        "arbitrage": {
            "butterfly": any(one.butterfly for one in surface.slices),
            "calendar": any(one.calendar for one in surface.slices),
        },
    }  # fmt: skip


def _reason(chain: PricedChain, surface: Surface) -> str | None:
    """Why there is nothing to show."""
    if surface.smiles:
        return None
    if not chain.rows:
        return "no_listed_options"
    return "no_underlying_price" if chain.assumptions.spot is None else "few_quotes"


def _expiration(one: Slice, made: Chosen, spot: float | None, today: Any) -> dict[str, Any]:
    smile, terms = one.smile, made.terms
    level = None if smile is None else smile.at_the_money
    return {
        "date": terms.day.isoformat(),
        "days_to_expiry": (terms.day - today).days,
        "years": number(terms.years, 8),
        "forward": number(terms.forward, 4),
        "reason": "few_quotes" if smile is None else None,
        "atm_volatility": number(level, 6),
        "skew": _skew(smile, level),
        "expected_move": _expected_move(made, spot, level),
        "svi": None if smile is None else _curve(smile),
        "fit": _fit(one),
        "quotes_used": len(one.quotes),
        "quotes_stale": made.stale,
        "quotes_left_out": {"total": sum(made.left_out.values()), **made.left_out},
        "strikes": None if smile is None else {
            "lowest": number(smile.forward * np.exp(smile.lowest), 4), "highest": number(smile.forward * np.exp(smile.highest), 4)
        },
        "arbitrage": {"butterfly": one.butterfly, "calendar": one.calendar, "mended": list(one.mended)},
    }  # fmt: skip


def _skew(smile: Smile | None, level: float | None) -> dict[str, Any] | None:
    """What traders call skew and convexity; None where the forward is beyond the strikes quoted, single ones where 25 delta is."""
    if smile is None or level is None:
        return None
    call, put = smile.at_delta(_WING), smile.at_delta(1 - _WING)
    both = call is not None and put is not None
    return {
        "slope": number(smile.skew, 6),
        "curvature": number(smile.curvature, 6),
        "put_25_delta": None if put is None else number(put[1], 6),
        "call_25_delta": None if call is None else number(call[1], 6),
        "risk_reversal_25_delta": number(call[1] - put[1], 6) if both and call and put else None,
        "butterfly_25_delta": number((call[1] + put[1]) / 2 - level, 6) if both and call and put else None,
    }


def _expected_move(made: Chosen, spot: float | None, level: float | None) -> dict[str, Any]:
    if spot is None:
        return {"straddle": None, "volatility": None}
    straddle = made.straddle
    by_quotes = None if straddle is None else expected_move.by_straddle(spot, straddle[1], straddle[2])
    by_level = None if level is None else expected_move.by_volatility(spot, level, made.terms.years)
    return {
        "straddle": None if by_quotes is None or straddle is None else {
            "dollars": number(by_quotes.dollars, 4), "percent": number(by_quotes.fraction * 100, 4),
            "strike_price": number(straddle[0], 4), "source": "quotes", "formula": expected_move.STRADDLE_FORMULA,
        },
        "volatility": None if by_level is None else {
            "dollars": number(by_level.dollars, 4), "percent": number(by_level.fraction * 100, 4),
            "source": "surface", "formula": expected_move.VOLATILITY_FORMULA,
        },
    }  # fmt: skip


def _curve(smile: Smile) -> dict[str, Any]:
    curve = smile.curve
    return {name: number(getattr(curve, name), 10) for name in ("a", "b", "rho", "m", "sigma")}


def _fit(one: Slice) -> dict[str, Any] | None:
    """Errors are fractions of volatility."""
    if one.fit is None:
        return None
    return {
        "parameters": one.fit.parameters,
        "rms_error": number(one.fit.rms, 6),
        "largest_error": number(one.fit.largest, 6),
        "within_spread": number(one.fit.within, 4),
    }


def _term_structure(surface: Surface, today: Any) -> list[dict[str, Any]]:
    """At-the-money volatility by expiration, and the volatility between it and the one before that both imply (None where variance falls)."""
    found: list[dict[str, Any]] = []
    years_before = variance_before = 0.0
    for one, made in zip(surface.slices, surface.chosen, strict=True):
        level = None if one.smile is None else one.smile.at_the_money
        if level is None:
            continue
        variance = level * level * one.years
        rise = (variance - variance_before) / (one.years - years_before) if one.years > years_before else -1.0
        found.append(
            {
                "date": made.terms.day.isoformat(),
                "days_to_expiry": (made.terms.day - today).days,
                "atm_volatility": number(level, 6),
                "forward_volatility": number(rise**0.5, 6) if rise >= 0 else None,
            }
        )
        years_before, variance_before = one.years, variance
    return found


def _grid(smiles: Sequence[Smile], by: By) -> dict[str, Any]:
    """Days between the first expiration and the last, by moneyness or delta; None where nobody quotes."""
    columns: tuple[float, ...] = MONEYNESS if by == "moneyness" else DELTAS
    rows: list[dict[str, Any]] = []
    k = np.log(np.array(MONEYNESS))
    for days in DAYS if smiles else ():
        years = days / _DAYS_OF_YEAR
        if not smiles[0].years <= years <= smiles[-1].years:
            continue
        found = (
            volatilities(smiles, years, k)
            if by == "moneyness"
            else volatilities_by_delta(smiles, years, DELTAS)
        )
        rows.append({"days": days, "volatilities": [number(one, 6) for one in found]})
    return {"by": by, "columns": list(columns), "rows": rows}
