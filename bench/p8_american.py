"""P8: implied volatility, price and five Greeks of 5,000 American contracts, with quarterly cash dividends and with a yield only, beside
what QuantLib has: prices without cash from its boundary method, and finite differences."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from bench.figures import Say, Series, goal, ratio, ratio_row, row
from bench.processes import cores, pinned
from paiid.domain.pricing import valuation
from paiid.domain.pricing.terms import (
    IMPLIED,
    CashDividend,
    Contracts,
    FloatArray,
    Implied,
    Market,
    Values,
)
from tests.oracle import finite_differences, quantlib_prices
from tests.oracle.case import Case

SPOT, RATE, DIVIDEND_YIELD = 100.0, 0.04, 0.012
DAYS = (3, 10, 17, 24, 31, 45, 59, 80, 108, 136, 171, 199, 227, 262, 325, 388, 479, 570, 661, 752)
STRIKES = 125
QUARTERS = tuple((38 + 91 * number, 0.30) for number in range(9))
GOAL_MS = 100.0
GOAL_APART = 1e-3
MESH = 400
"""Nodes and steps of QuantLib's finite differences: about as exact as our fast mode."""
SAMPLE_QDFP, SAMPLE_MESH, SAMPLE_EXACT = 500, 25, 12
TELLING_VEGA = 1e-2
"""Dollars a point from which the volatility is compared."""


class Chain:
    """20 expirations of 125 strikes, calls and puts, by a skewed smile, and their prices; `paid` cash or a yield."""

    def __init__(self, cash: bool) -> None:
        years = np.repeat(np.array(DAYS) / 365.0, 2 * STRIKES)
        across = np.tile(np.repeat(np.linspace(-1.0, 1.0, STRIKES), 2), len(DAYS))
        call = np.tile([True, False], len(DAYS) * STRIKES)
        widest = np.minimum(4.0 * 0.28 * np.sqrt(years), np.log(2.0))
        self.contracts = Contracts(call, np.round(SPOT * np.exp(across * widest), 2), years)
        self.volatility: FloatArray = 0.28 - 0.09 * across * np.sqrt(widest) + 0.06 * across**2
        self.paid = QUARTERS if cash else ()
        dividends = tuple(CashDividend(day / 365.0, amount) for day, amount in self.paid)
        self.market = Market(SPOT, RATE, 0.0 if cash else DIVIDEND_YIELD, dividends)
        # Contract by contract, not as a chain: what the chain then implies from these prices is not its own answer.
        self.values = valuation.value(self.contracts, self.market, self.volatility, accuracy="fast")
        self.price = self.values.price

    def __len__(self) -> int:
        return len(self.contracts)

    def case(self, place: int) -> Case:
        """One contract for the other means; what is paid after its expiration is left out."""
        days = round(float(self.contracts.years[place]) * 365)
        return Case(
            bool(self.contracts.call[place]),
            True,
            SPOT,
            float(self.contracts.strike[place]),
            days,
            RATE,
            float(self.market.dividend_yield),
            float(self.volatility[place]),
            tuple((day, amount) for day, amount in self.paid if day <= days),
        )

    def sample(self, count: int) -> list[Case]:
        """So many contracts, evenly over the chain."""
        return [self.case(int(place)) for place in np.linspace(0, len(self) - 1, count).round()]


def imply(chain: Chain, pool: ThreadPoolExecutor | None = None) -> tuple[Implied, Values]:
    """As the service asks: on this thread, or shared out among those of a pool."""
    return valuation.imply_and_value(chain.contracts, chain.market, chain.price, accuracy="fast", pool=pool)


def _timed(work: Callable[[], object], seconds: float, wall: Series, cpu: Series) -> None:
    """Add the medians of a spell: milliseconds, and milliseconds of CPU, which other processes on the machine do not lengthen."""
    runs: list[tuple[float, float]] = []
    ends_at = time.perf_counter() + seconds
    while not runs or time.perf_counter() < ends_at:
        begun_at, used = time.perf_counter(), time.process_time()
        work()
        runs.append((time.perf_counter() - begun_at, time.process_time() - used))
    wall.add(median(one for one, _ in runs) * 1e3)
    cpu.add(median(one for _, one in runs) * 1e3)


def _each(price: Callable[[Case], object], cases: list[Case], whole: int) -> Callable[[], float]:
    """Milliseconds of all contracts, from a part of them."""

    def spell() -> float:
        begun_at = time.perf_counter()
        for case in cases:
            price(case)
        return (time.perf_counter() - begun_at) * 1e3 * whole / len(cases)

    return spell


def accuracy_of(say: Say, chain: Chain) -> bool:
    """What this very chain's numbers are worth: the volatilities, the Greeks there, and a sample of prices by the slow and exact means."""
    implied, values = imply(chain)
    known = implied.status == IMPLIED
    telling = known & (values.vega >= TELLING_VEGA)
    apart = np.abs(implied.volatility - chain.volatility)[telling].max()
    delta = np.abs(values.delta - chain.values.delta)[telling].max()
    price = np.abs(values.price - chain.price)[known].max()
    say(
        f"  {known.sum():,} of {len(chain):,} imply a volatility, within {apart:.1e} of the one their prices were made of "
        f"(price {price:.1e} dollars, delta {delta:.1e})"
    )
    living = np.flatnonzero(telling)
    places = living[np.linspace(0, len(living) - 1, SAMPLE_EXACT).round().astype(int)]
    worst = 0.0
    for place in places:
        found = finite_differences.extrapolated(chain.case(int(place)), 1000)[1]
        worst = max(worst, abs(chain.price[place] - found.price))
    say(f"  {SAMPLE_EXACT} of the prices are within {worst:.1e} dollars of converged finite differences")
    met = bool(max(worst, price) <= GOAL_APART)
    say(f"  goal   dollars at a spot of 100, at most {GOAL_APART:g}: {'reached' if met else 'missed'}")
    return met


def _variant(say: Say, words: str, cash: bool, seconds: float, rounds: int) -> bool:
    chain = Chain(cash)
    say(f"P8 American chain of {len(chain):,} contracts, {words}")
    names = [f"ours, {words}: volatility, price, 5 Greeks" for words in ("one thread", "two threads")]
    one, two = (Series(name, "ms") for name in names)
    one_cpu, two_cpu = (Series(name, "ms CPU") for name in names)
    peers = [
        (
            Series(f"QuantLib finite differences {MESH}x{MESH}, no implied", "ms"),
            _each(
                lambda case: quantlib_prices.finite_differences(case, MESH, MESH),
                chain.sample(SAMPLE_MESH),
                len(chain),
            ),
        )
    ]
    if not cash:
        peers.append(
            (
                Series("QuantLib QdFp, fast scheme, price only", "ms"),
                _each(quantlib_prices.american_fast, chain.sample(SAMPLE_QDFP), len(chain)),
            )
        )
    on, _ = cores()
    with ThreadPoolExecutor(2) as pool:
        imply(chain, pool)
        for _ in range(rounds):
            _timed(lambda: imply(chain, pool), seconds, two, two_cpu)
            with pinned(on):
                _timed(lambda: imply(chain), seconds, one, one_cpu)
                for series, spell in peers:
                    series.add(spell())
    for mine, cpu in ((two, two_cpu), (one, one_cpu)):
        row(say, "ours", mine.name, mine, cpu)
    for series, _ in peers:
        row(say, "peer", series.name, series)
    for series, _ in peers:
        ratio_row(say, ratio(f"{series.name} / ours, one thread", series.values, one.values))
    met = accuracy_of(say, chain)
    return goal(say, "milliseconds a chain on two threads", two, GOAL_MS, at_most=True) and met


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    met = _variant(say, "cash dividends every quarter", True, seconds, rounds)
    say("")
    return _variant(say, "a yield only", False, seconds, rounds) and met
