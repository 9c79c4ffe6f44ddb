"""Which quotes of a priced chain a smile is drawn through, and why the others are not.

One quote for each strike: the put below the forward, the call from it on, for out of the money the spread is smallest beside the
vega and early exercise worth least. A volatility of an American contract is that of the model itself, so what early exercise is
worth is off it already.
"""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing import quality
from paiid.domain.pricing.smile_fit import FEWEST_FOR_FIVE, SmileQuotes
from paiid.domain.pricing.terms import IMPLIED, BoolArray
from paiid.options.records import ExpirationTerms, IndexArray, PricedChain

UNTRUSTED = quality.WIDE | quality.PARITY_BROKEN
"""A volatility is implied from these, but no curve is drawn through it."""
_LEAST_ERROR = 2e-4
_MOST_VOLATILITY = 5.0
_SAME_LIFE = 1e-6


@dataclass(frozen=True, slots=True)
class Chosen:
    """The quotes of one expiration that a smile goes through, rising by k; `left_out` counts the others by reason; `stale` says that they
    are used although most are stale, for there are no better ones; `straddle` is the strike nearest the forward where both sides are
    good: (strike, call, put) in dollars a share."""

    terms: ExpirationTerms
    quotes: SmileQuotes
    left_out: dict[str, int]
    stale: bool
    straddle: tuple[float, float, float] | None


def choose(chain: PricedChain, number: int) -> Chosen:
    """Of the expiration with this number in the chain's assumptions. Without a forward above zero nothing is chosen."""
    terms = chain.assumptions.expirations[number]
    all_of_it = np.flatnonzero(chain.expiration_index == number)
    forward = terms.forward
    if terms.years <= 0 or forward is None or forward <= 0:
        why = "expired" if terms.years <= 0 else "no_underlying"
        left_out = {why: len(all_of_it)} if len(all_of_it) else {}
        return Chosen(terms, _quotes(chain, all_of_it[:0], 1.0), left_out, False, None)
    fresh = _chosen(chain, terms, all_of_it, forward, stale=False)
    if len(fresh.quotes) >= FEWEST_FOR_FIVE or "stale" not in fresh.left_out:
        return fresh
    return _chosen(chain, terms, all_of_it, forward, stale=True)


def _chosen(
    chain: PricedChain, terms: ExpirationTerms, all_of_it: IndexArray, forward: float, *, stale: bool
) -> Chosen:
    left_out: dict[str, int] = {}
    where = all_of_it
    for reason, bad in _objections(chain, terms, all_of_it, stale=stale):
        falls = bad[np.searchsorted(all_of_it, where)]
        if falls.any():
            left_out[reason] = int(np.count_nonzero(falls))
        where = where[~falls]
    straddle = _straddle(chain, where, forward)
    call, strikes = chain.contracts.call[where], chain.contracts.strike[where]
    outside: BoolArray = np.where(call, strikes >= forward, strikes < forward)
    if not outside.all():
        left_out["in_the_money"] = int(np.count_nonzero(~outside))
    quotes = _quotes(chain, where[outside], forward)
    doubled = int(np.count_nonzero(outside)) - len(quotes)
    if doubled:
        left_out["doubled"] = doubled
    return Chosen(terms, quotes, left_out, stale, straddle)


def _objections(
    chain: PricedChain, terms: ExpirationTerms, at: IndexArray, *, stale: bool
) -> tuple[tuple[str, BoolArray], ...]:
    """What speaks against each contract; it is counted with the first that does."""
    flags, volatility = chain.flags[at], chain.implied.volatility[at]
    uncertain = ~np.isfinite(chain.uncertainty[at]) | (volatility > _MOST_VOLATILITY)
    found: tuple[tuple[str, BoolArray], ...] = (
        ("adjusted", (flags & quality.ADJUSTED) != 0),
        ("other_settlement", np.abs(chain.contracts.years[at] - terms.years) > _SAME_LIFE),
        ("no_volatility", chain.implied.status[at] != IMPLIED),
        ("untrusted", (flags & UNTRUSTED) != 0),
        ("uncertain", uncertain),
    )
    return found if stale else (*found, ("stale", (flags & quality.STALE) != 0))


def _quotes(chain: PricedChain, where: IndexArray, forward: float) -> SmileQuotes:
    """By k; of two contracts of one strike (two roots of one index) the first."""
    strikes, first = np.unique(chain.contracts.strike[where], return_index=True)
    at = where[first]
    return SmileQuotes(
        np.log(strikes / forward),
        chain.implied.volatility[at],
        np.maximum(chain.uncertainty[at], _LEAST_ERROR),
    )


def _straddle(chain: PricedChain, where: IndexArray, forward: float) -> tuple[float, float, float] | None:
    call = chain.contracts.call[where]
    strikes = chain.contracts.strike[where]
    both = np.intersect1d(strikes[call], strikes[~call])
    if not len(both):
        return None
    strike = float(both[np.argmin(np.abs(np.log(both / forward)))])
    here = strikes == strike
    return strike, float(chain.mid[where[here & call][0]]), float(chain.mid[where[here & ~call][0]])
