"""Prices a chain: from rows as the source told them to arrays with volatilities, Greeks and flags. Runs in the pool, never on the event loop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from paiid.domain.option_chain import ChainRow
from paiid.domain.pricing import parity, parity_implied, quality
from paiid.domain.pricing.terms import (
    IMPLIED,
    NO_PRICE,
    Accuracy,
    BoolArray,
    CashDividend,
    Contracts,
    FloatArray,
    Implied,
    Market,
    Style,
    Values,
)
from paiid.domain.rate_curve import RateCurve
from paiid.options.contract_terms import ex_date_us, exercise_ends_us, expires_us, is_european
from paiid.options.records import (
    Assumed,
    Assumptions,
    ExpirationTerms,
    IndexArray,
    Payment,
    PricedChain,
    Spot,
)

_YEAR_US = 365 * 86_400_000_000
_NAN = float("nan")
_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a chain before anything is computed. `rate` is one for all, or a curve; `dividend_yield` is None where the chain's own
    parity shall tell it."""

    symbol: str
    source: str
    delayed: bool
    rows: tuple[ChainRow, ...]
    underlying_price: Decimal | None
    as_of_us: int | None
    fetched_us: int
    priced_at_us: int
    spot: Spot | None
    rate: Assumed | RateCurve
    dividend_yield: Assumed | None
    payments: tuple[Payment, ...]
    dividends_source: str


@dataclass(frozen=True, slots=True)
class Arrays:
    """Rows as arrays of one length."""

    contracts: Contracts
    quotes: parity.Sides
    european: BoolArray
    adjusted: BoolArray
    quoted: BoolArray
    stale: BoolArray
    group: IndexArray
    days: tuple[date, ...]


def in_order(rows: Sequence[ChainRow]) -> tuple[ChainRow, ...]:
    """By expiration, strike, the call first, adjusted roots after the plain one; doubles are left out."""
    ordered = sorted(rows, key=lambda row: row.order)
    return tuple(
        row
        for before, row in zip([None, *ordered], ordered, strict=False)
        if before is None or before.contract != row.contract
    )


def arrays_of(rows: Sequence[ChainRow], at_us: int) -> Arrays:
    """Rows in order as arrays; years are from `at_us` on."""
    days = sorted({row.contract.expiration for row in rows})
    number = {day: index for index, day in enumerate(days)}
    quotes = [row.quote for row in rows]
    years = [(expires_us(row.contract) - at_us) / _YEAR_US for row in rows]
    return Arrays(
        contracts=Contracts(
            np.array([row.contract.option_type == "call" for row in rows], dtype=np.bool_),
            np.array([float(row.contract.strike) for row in rows]),
            np.maximum(np.array(years, dtype=np.float64), 0.0),
        ),
        quotes=parity.Sides(
            np.array([_NAN if one is None else _side(one.bid) for one in quotes]),
            np.array([_NAN if one is None else _side(one.ask) for one in quotes]),
        ),
        european=np.array([is_european(row.contract.root) for row in rows], dtype=np.bool_),
        adjusted=np.array([_is_adjusted(row) for row in rows], dtype=np.bool_),
        quoted=np.array([one is not None for one in quotes], dtype=np.bool_),
        stale=np.array([one is not None and one.stale for one in quotes], dtype=np.bool_),
        group=np.array([number[row.contract.expiration] for row in rows], dtype=np.intp),
        days=tuple(days),
    )


def price_chain(told: Told, accuracy: Accuracy) -> PricedChain:
    """The chain with all that can be computed. Never raises for what a source tells of a contract: that becomes a flag."""
    arrays = arrays_of(told.rows, told.priced_at_us)
    contracts, quotes, spot = arrays.contracts, arrays.quotes, told.spot
    flags = quality.of_quotes(arrays.quoted, quotes.bid, quotes.ask)
    flags |= np.where(arrays.stale, np.uint32(quality.STALE), np.uint32(0))
    flags |= np.where(arrays.adjusted, np.uint32(quality.ADJUSTED), np.uint32(0))
    flags |= np.where(contracts.years <= 0, np.uint32(quality.EXPIRED), np.uint32(0))
    if spot is None:
        flags |= np.uint32(quality.NO_UNDERLYING)
    mid = np.where(flags & np.uint32(quality.UNPRICEABLE), _NAN, quotes.mid)
    usable = parity.Sides(
        np.where(np.isnan(mid), _NAN, quotes.bid), np.where(np.isnan(mid), _NAN, quotes.ask)
    )
    assumptions = _assumptions(told, arrays, usable, accuracy)
    implied, values = _nothing(len(told.rows))
    uncertainty = np.full(len(told.rows), _NAN)
    if spot is not None and len(told.rows):
        market = _market(assumptions, spot, arrays.group)
        _imply(arrays, market, mid, implied, values, accuracy)
        known = implied.status == IMPLIED
        with np.errstate(divide="ignore", invalid="ignore"):
            # Vega is by the point.
            moved = (quotes.ask - quotes.bid) / 2 / values.vega / 100
        uncertainty = np.where(known & np.isfinite(moved), moved, _NAN)
        flags |= quality.of_implied(contracts, spot.price, mid, implied)
        pairs = parity.find_pairs(contracts, ~np.isnan(mid))
        torn = parity.broken(contracts, quotes, pairs, market, arrays.european, (spot.low, spot.high))
        flags |= np.where(torn, np.uint32(quality.PARITY_BROKEN), np.uint32(0))
    wide = quality.is_wide(quotes.bid, quotes.ask, uncertainty)
    flags |= np.where(wide, np.uint32(quality.WIDE), np.uint32(0))
    return PricedChain(
        symbol=told.symbol,
        source=told.source,
        delayed=told.delayed,
        accuracy=accuracy,
        underlying_price=told.underlying_price,
        as_of_us=told.as_of_us,
        fetched_us=told.fetched_us,
        rows=told.rows,
        contracts=contracts,
        expiration_index=arrays.group,
        european=arrays.european,
        bid=quotes.bid,
        ask=quotes.ask,
        mid=mid,
        implied=implied,
        values=values,
        uncertainty=uncertainty,
        flags=flags,
        assumptions=assumptions,
    )


def rate_from(told: Told, accuracy: Accuracy = "fast") -> float | None:
    """The rate that the puts and calls of these rows imply, None where they do not tell it."""
    if told.spot is None or not told.rows:
        return None
    arrays = arrays_of(told.rows, told.priced_at_us)
    bad = arrays.adjusted | arrays.stale | ~(arrays.quotes.bid < arrays.quotes.ask)
    quotes = parity.Sides(np.where(bad, _NAN, arrays.quotes.bid), np.where(bad, _NAN, arrays.quotes.ask))
    cash = cash_of(told.payments, told.priced_at_us)
    return parity_implied.implied_rate(
        arrays.contracts, quotes, arrays.european, arrays.group, told.spot.price, cash, accuracy
    )


def cash_of(payments: Sequence[Payment], at_us: int) -> tuple[CashDividend, ...]:
    """Dividends whose ex-date has not begun, in years from an instant."""
    coming = [(ex_date_us(one.ex_date) - at_us, float(one.amount)) for one in payments]
    return tuple(CashDividend(ahead_us / _YEAR_US, amount) for ahead_us, amount in coming if ahead_us > 0)


def _assumptions(told: Told, arrays: Arrays, usable: parity.Sides, accuracy: Accuracy) -> Assumptions:
    at_us, spot = told.priced_at_us, told.spot
    cash = cash_of(told.payments, at_us)
    years = [max(0.0, (exercise_ends_us(day) - at_us) / _YEAR_US) for day in arrays.days]
    rate = told.rate
    rates = [Assumed(rate.rate(one), "curve_file") if isinstance(rate, RateCurve) else rate for one in years]
    yields, pairs = [told.dividend_yield or Assumed(0.0, "none")] * len(years), [0] * len(years)
    if told.dividend_yield is None and spot is not None and arrays.days:
        found, counts = parity_implied.implied_yields(
            arrays.contracts, usable, arrays.european, arrays.group,
            np.array([one.value for one in rates]), spot.price, cash, accuracy,
        )  # fmt: skip
        yields = [
            Assumed(float(one), "parity") if count else Assumed(0.0, "none")
            for one, count in zip(found, counts, strict=True)
        ]
        pairs = [int(count) for count in counts]
    terms = tuple(
        ExpirationTerms(day, life, r, q, _forward(spot, life, r.value, q.value, cash), count)
        for day, life, r, q, count in zip(arrays.days, years, rates, yields, pairs, strict=True)
    )
    return Assumptions(at_us, spot, told.payments, told.dividends_source, cash, terms)


def _forward(
    spot: Spot | None, years: float, rate: float, dividend_yield: float, cash: tuple[CashDividend, ...]
) -> float | None:
    if spot is None:
        return None
    life, r, q = np.array([years]), np.array([rate]), np.array([dividend_yield])
    now = spot.price * np.exp(-q * life) - parity.present_value(cash, life, r, q)
    return float((now * np.exp(r * life))[0])


def _market(assumptions: Assumptions, spot: Spot, group: IndexArray) -> Market:
    rates = np.array([one.rate.value for one in assumptions.expirations])
    yields = np.array([one.dividend_yield.value for one in assumptions.expirations])
    return Market(spot.price, rates[group], yields[group], assumptions.cash)


def _nothing(count: int) -> tuple[Implied, Values]:
    implied = Implied(np.zeros(count), np.full(count, NO_PRICE, dtype=np.uint8))
    return implied, Values(*(np.zeros(count) for _ in range(6)))


def _imply(
    arrays: Arrays, market: Market, mid: FloatArray, implied: Implied, values: Values, accuracy: Accuracy
) -> None:
    """Fill in volatilities and values of what has a middle, each style in one go."""
    from paiid.domain.pricing.valuation import imply_and_value  # scipy is loaded when it is needed

    rate, dividend_yield = market.rate, market.dividend_yield
    assert isinstance(rate, np.ndarray)
    assert isinstance(dividend_yield, np.ndarray)
    asked = ~np.isnan(mid)
    for european, where in _portions(asked, arrays):
        some = Contracts(
            arrays.contracts.call[where], arrays.contracts.strike[where], arrays.contracts.years[where]
        )
        here = Market(market.spot, rate[where], dividend_yield[where], market.dividends)
        style: Style = "european" if european else "american"
        found, worth = imply_and_value(some, here, mid[where], style=style, accuracy=accuracy)
        implied.volatility[where], implied.status[where] = found.volatility, found.status
        known = found.status == IMPLIED
        for name in ("price", "delta", "gamma", "theta", "vega", "rho"):
            getattr(values, name)[where] = np.where(known, getattr(worth, name), 0.0)


def _portions(asked: BoolArray, arrays: Arrays) -> Iterator[tuple[bool, IndexArray]]:
    """What is valued in one go: one style, whole expirations, and only so many contracts that the memory it takes has a bound."""
    for european in (False, True):
        where = np.flatnonzero(asked & (arrays.european == european))
        # Contracts are in the order of their expirations.
        ends = np.flatnonzero(np.diff(arrays.group[where], append=-1)) + 1
        begin = 0
        for number, end in enumerate(ends):
            if number + 1 == len(ends) or ends[number + 1] - begin > _AT_ONCE:
                for start in range(begin, int(end), 2 * _AT_ONCE):
                    yield european, where[start : min(int(end), start + 2 * _AT_ONCE)]
                begin = int(end)


def _is_adjusted(row: ChainRow) -> bool:
    return row.contract.adjusted or row.size is None


def _side(price: Decimal) -> float:
    """A price of 0 is none, and what is no number is none."""
    value = float(price)
    return value if 0 < value < float("inf") else _NAN
