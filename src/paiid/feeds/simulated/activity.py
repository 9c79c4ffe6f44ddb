"""How many contracts of an option are traded in a day and held overnight on the simulated market, where nobody trades.

Invented like its prices, in the shape that real figures have: most near the money and at monthly expirations, more in symbols with narrow
spreads, at round strikes and out of the money than in it. Open interest is that of the last roll and stands still until the next one; it
grows in the weeks after a strike was listed. Volume begins each trading day at 0 and grows through the session, fastest at both ends.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import exp, log, sqrt

from paiid.domain.calendar import MarketHours, eastern_date
from paiid.domain.occ import OptionContract
from paiid.feeds.simulated.listing import Listing
from paiid.feeds.simulated.walk import hash64

_YEAR_US = 365.25 * 86_400_000_000
_DEPTH = 8_000.0
"""Contracts held at the money of a monthly expiration, of a symbol with a spread of one basis point."""
_WEEKLY = 0.3
_FEWER_A_YEAR = 4.0
"""A year away a fifth as many are held at each strike as on the last day."""
_OUT_OF_THE_MONEY, _IN_THE_MONEY = 1.3, 0.6
_ROUND = Decimal(10)
_ROUND_STRIKES = 1.6
_NARROWEST = 0.03
_GROWN_AFTER_US = 30 * 86_400_000_000
_TURNOVER = 0.6
_TURNOVER_HALVES_AFTER = 0.08
"""Years to expiration at which half as much is traded as on the last day."""
_ENDS_OF_DAY = 3.0
_HELD_DICE, _TRADED_DICE = 4000, 4001


@dataclass(frozen=True, slots=True)
class Activity:
    """Contracts traded so far in the trading day, and held when `open_interest_day` ended."""

    volume: int
    open_interest: int
    open_interest_day: date


@dataclass(frozen=True, slots=True)
class TradingDay:
    """The trading day that is on or comes next: since which roll, what the underlying cost then, and how much of a day's volume has been
    traded (0 to 1)."""

    day: date
    roll_us: int
    close: float
    traded: float


def trading_day_at(hours: MarketHours, at_us: int, roll_us: int, close: float) -> TradingDay:
    """The trading day of an instant behind the roll `roll_us`, at which the underlying cost `close`."""
    day = hours.trading_day(at_us)
    [session] = hours.sessions(day, day)
    x = min(1.0, max(0.0, (at_us - session.open_us) / (session.close_us - session.open_us)))
    # The integral of 1 + a (2x - 1)^2, of which the whole is 1.
    traded = (x + _ENDS_OF_DAY * ((2.0 * x - 1.0) ** 3 + 1.0) / 6.0) / (1.0 + _ENDS_OF_DAY / 3.0)
    return TradingDay(day, roll_us, close, traded)


def activity_of(
    listing: Listing,
    contract: OptionContract,
    seed: int,
    since_us: int,
    until_us: int,
    day: TradingDay,
    *,
    monthly: bool,
) -> Activity:
    """Of a contract that is listed from `since_us` to `until_us`; `seed` is its own."""
    strike = float(contract.strike)
    years = max(0.0, (until_us - day.roll_us) / _YEAR_US)
    width = _NARROWEST + listing.volatility_pct / 100 * sqrt(years)
    x = log(strike / day.close) / width
    out = (strike > day.close) is (contract.option_type == "call")
    depth = _DEPTH / listing.spread_bps * exp(-0.5 * x * x) / (1.0 + _FEWER_A_YEAR * years)
    depth *= _OUT_OF_THE_MONEY if out else _IN_THE_MONEY
    depth *= 1.0 if monthly else _WEEKLY
    depth *= 1.0 if contract.strike % _ROUND else _ROUND_STRIKES
    grown = min(1.0, max(0, day.roll_us - since_us) / _GROWN_AFTER_US)
    held = depth * grown * (0.3 + 1.4 * _uniform(hash64(seed, _HELD_DICE)))
    luck = _uniform(hash64(seed, _TRADED_DICE, day.day.toordinal()))
    turnover = _TURNOVER / (1.0 + years / _TURNOVER_HALVES_AFTER)
    whole_day = depth * turnover * (0.1 + 2.7 * luck * luck)
    return Activity(int(whole_day * day.traded), int(held), eastern_date(day.roll_us))


def _uniform(hashed: int) -> float:
    return (hashed >> 11) * 2.0**-53
