"""Greeks of positions and of a whole portfolio: what contracts tell a share, times what is held.

Deltas of different underlyings are shares of different things and cannot be added; their values in dollars can. So a portfolio's delta
and gamma are told in dollars (and, by underlying, in shares); theta, vega and rho are dollars anyway.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Greeks:
    """Of one share of a contract, in the units of `terms.Values`; or of a position: the same times quantity and size."""

    delta: float
    gamma: float
    theta: float
    vega: float
    rho: float

    def times(self, factor: float) -> "Greeks":
        """Of so many shares; negative for a short."""
        return Greeks(*(factor * getattr(self, one.name) for one in fields(self)))


NO_GREEKS = Greeks(0.0, 0.0, 0.0, 0.0, 0.0)
ONE_SHARE = Greeks(1.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ContractGreeks:
    """What is known of one contract at one instant: Greeks of one share, None where its quote allows none and `quality` says why.
    `source` is who computed them; `size` is how many shares it is about, None for an adjusted one."""

    volatility: float | None
    greeks: Greeks | None
    source: str | None
    quality: tuple[str, ...]
    spot: float | None
    size: int | None
    as_of_us: int


@dataclass(frozen=True, slots=True)
class Line:
    """One position for the sum: Greeks of one share of it, shares it is about (quantity x size), None where there are no Greeks;
    `spot` of its underlying, None where that has no price."""

    symbol: str
    underlying: str
    shares: float
    greeks: Greeks | None
    spot: float | None


@dataclass(frozen=True, slots=True)
class UnderlyingGreeks:
    """All positions on one underlying: in its shares, and in dollars."""

    underlying: str
    greeks: Greeks
    spot: float

    @property
    def delta_dollars(self) -> float:
        """What a move of the underlying by its whole price would bring at this delta; a hundredth of it is the gain of one percent."""
        return self.greeks.delta * self.spot

    @property
    def gamma_dollars(self) -> float:
        """By how much `delta_dollars` grows when the underlying rises by one percent."""
        return self.greeks.gamma * self.spot * self.spot / 100


@dataclass(frozen=True, slots=True)
class PortfolioGreeks:
    """Of everything held. `missing` are positions whose Greeks are not known: they are in none of the sums."""

    by_underlying: tuple[UnderlyingGreeks, ...]
    missing: tuple[str, ...]

    @property
    def delta_dollars(self) -> float:
        """Dollars of the underlyings that the portfolio moves like."""
        return sum(one.delta_dollars for one in self.by_underlying)

    @property
    def gamma_dollars(self) -> float:
        """By how much that grows when every underlying rises by one percent."""
        return sum(one.gamma_dollars for one in self.by_underlying)

    @property
    def theta(self) -> float:
        """Dollars a calendar day."""
        return sum(one.greeks.theta for one in self.by_underlying)

    @property
    def vega(self) -> float:
        """Dollars a point of volatility."""
        return sum(one.greeks.vega for one in self.by_underlying)

    @property
    def rho(self) -> float:
        """Dollars a percentage point of the rate."""
        return sum(one.greeks.rho for one in self.by_underlying)


def portfolio_greeks(lines: Iterable[Line]) -> PortfolioGreeks:
    """The sums by underlying, in alphabetical order, and what is missing in them."""
    sums: dict[str, tuple[Greeks, float]] = {}
    missing: list[str] = []
    for line in lines:
        if line.greeks is None or line.spot is None:
            missing.append(line.symbol)
            continue
        before, _ = sums.get(line.underlying, (NO_GREEKS, 0.0))
        sums[line.underlying] = (_plus(before, line.greeks.times(line.shares)), line.spot)
    return PortfolioGreeks(_by_name(sums), tuple(sorted(missing)))


def _by_name(sums: Mapping[str, tuple[Greeks, float]]) -> tuple[UnderlyingGreeks, ...]:
    return tuple(UnderlyingGreeks(name, *sums[name]) for name in sorted(sums))


def _plus(one: Greeks, other: Greeks) -> Greeks:
    return Greeks(*(getattr(one, field.name) + getattr(other, field.name) for field in fields(Greeks)))
