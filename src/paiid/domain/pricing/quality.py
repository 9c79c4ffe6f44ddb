"""What is wrong with a contract's quote, as flags: a chain says of every number that it does not give why it does not.

Quotes are arrays of one length, dollars a share, NaN where a side is not there.
"""

import numpy as np
from numpy.typing import NDArray

from paiid.domain.pricing.terms import ABOVE, BELOW, FLAT, BoolArray, Contracts, FloatArray, Implied

Flags = NDArray[np.uint32]

NO_QUOTE = 1 << 0
"""Nobody ever quoted it."""
NO_BID = 1 << 1
NO_ASK = 1 << 2
CROSSED = 1 << 3
"""The bid is above the ask."""
LOCKED = 1 << 4
"""The bid is the ask: a number is computed, but somebody's quote is late."""
STALE = 1 << 5
"""Not confirmed within the source's re-send interval; a number is computed from it all the same."""
WIDE = 1 << 6
"""See `is_wide`; a number is computed, and `iv_uncertainty` tells how little it may mean."""
BELOW_INTRINSIC = 1 << 7
"""The middle is worth less than exercising it (for a European one: than exercising it at expiration, discounted)."""
OUT_OF_BOUNDS = 1 << 8
"""The middle is outside what any volatility explains: above the underlying or the strike, or below what the forward pays."""
IV_NOT_IDENTIFIABLE = 1 << 9
"""Worth what exercising it now gives, or so deep in or out of the money that volatility does not move the price."""
PARITY_BROKEN = 1 << 10
"""Call and put of this strike contradict each other by more than their spreads (`parity.broken`)."""
ADJUSTED = 1 << 11
"""Its deliverable is not (only) shares of the underlying; no formula for plain contracts fits it."""
EXPIRED = 1 << 12
"""The last instant of its life has passed."""
NO_UNDERLYING = 1 << 13
"""There is no price of the underlying."""

NAMES: tuple[tuple[int, str], ...] = (
    (NO_QUOTE, "no_quote"),
    (NO_BID, "no_bid"),
    (NO_ASK, "no_ask"),
    (CROSSED, "crossed"),
    (LOCKED, "locked"),
    (STALE, "stale"),
    (WIDE, "wide"),
    (BELOW_INTRINSIC, "below_intrinsic"),
    (OUT_OF_BOUNDS, "out_of_bounds"),
    (IV_NOT_IDENTIFIABLE, "iv_not_identifiable"),
    (PARITY_BROKEN, "parity_broken"),
    (ADJUSTED, "adjusted"),
    (EXPIRED, "expired"),
    (NO_UNDERLYING, "no_underlying"),
)
UNPRICEABLE = NO_QUOTE | NO_BID | NO_ASK | CROSSED | ADJUSTED | EXPIRED | NO_UNDERLYING
"""With any of these no volatility is implied."""

WIDE_SHARE = 0.25
WIDE_DOLLARS = 0.05
WIDE_VOLATILITY = 0.05


def names_of(flags: int) -> list[str]:
    """The names of flags, always in the same order."""
    return [name for flag, name in NAMES if flags & flag]


def of_quotes(quoted: BoolArray, bid: FloatArray, ask: FloatArray) -> Flags:
    """What the two sides show by themselves. What is not `quoted` has no other flag."""
    no_bid, no_ask = np.isnan(bid), np.isnan(ask)
    flags = _where(~quoted, NO_QUOTE)
    flags |= _where(quoted & no_bid, NO_BID) | _where(quoted & no_ask, NO_ASK)
    # Comparisons with NaN are false.
    return flags | _where(bid > ask, CROSSED) | _where(bid == ask, LOCKED)


def of_implied(contracts: Contracts, spot: float, mid: FloatArray, implied: Implied) -> Flags:
    """Why a middle (NaN: it was not asked) implies no volatility."""
    asked = ~np.isnan(mid)
    below, above = asked & (implied.status == BELOW), asked & (implied.status == ABOVE)
    intrinsic = np.where(contracts.call, spot - contracts.strike, contracts.strike - spot)
    under = below & (mid < intrinsic)
    return (
        _where(under, BELOW_INTRINSIC)
        | _where((below & ~under) | above, OUT_OF_BOUNDS)
        | _where(asked & (implied.status == FLAT), IV_NOT_IDENTIFIABLE)
    )


def is_wide(bid: FloatArray, ask: FloatArray, uncertainty: FloatArray) -> BoolArray:
    """Whether the two sides are so far apart that their middle says little: by more than 5 cents and a quarter of it, or so far that half of
    it moves the implied volatility by more than 5 points (`uncertainty`, a fraction; NaN where there is none)."""
    spread = ask - bid
    wide: BoolArray = (spread > np.maximum(WIDE_DOLLARS, WIDE_SHARE * (bid + ask) / 2) * (1 + 1e-9)) | (
        (spread > 0) & (uncertainty > WIDE_VOLATILITY)
    )
    return wide


def _where(condition: BoolArray, flag: int) -> Flags:
    return np.where(condition, np.uint32(flag), np.uint32(0))
