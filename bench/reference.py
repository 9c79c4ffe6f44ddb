"""The converged prices of tests/data/american_reference.json as arrays, and ours at the same points."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paiid.domain.pricing import valuation
from paiid.domain.pricing.terms import Accuracy, CashDividend, Contracts, Implied, Market, Style, Values

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FILE = Path(__file__).resolve().parent.parent / "tests" / "data" / "american_reference.json"
NAMES = ("price", "delta", "gamma", "theta", "vega", "rho")
SPOT = 100.0
DAYS = 365.0


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry a case everywhere; NaN where the reference tells no Greek."""

    group: NDArray[np.str_]
    american: Mask
    call: Mask
    strike: Array
    days: Array
    rate: Array
    dividend_yield: Array
    volatility: Array
    dividends: tuple[tuple[CashDividend, ...], ...]
    values: Values
    error: Array
    quantlib: Array
    fingerprint: str

    def __len__(self) -> int:
        return len(self.strike)

    def priced_alike(self) -> list[tuple[Style, NDArray[np.intp]]]:
        """Which cases one call can take: those of one style and the same cash dividends."""
        found: dict[tuple[bool, tuple[CashDividend, ...]], list[int]] = {}
        for place, (american, paid) in enumerate(zip(self.american, self.dividends, strict=True)):
            found.setdefault((bool(american), paid), []).append(place)
        return [
            ("american" if american else "european", np.array(places))
            for (american, _), places in found.items()
        ]

    def terms(self, places: NDArray[np.intp]) -> tuple[Contracts, Market]:
        """The contracts at these places, which are alike, and their market."""
        contracts = Contracts(self.call[places], self.strike[places], self.days[places] / DAYS)
        paid = self.dividends[places[0]]
        return contracts, Market(SPOT, self.rate[places], self.dividend_yield[places], paid)


def load(file: Path = FILE) -> Reference:
    """All of it. Raises OSError and ValueError."""
    text = file.read_bytes()
    rows: list[dict[str, Any]] = json.loads(text)["cases"]

    def column(name: str) -> Array:
        return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

    return Reference(
        group=np.array([row["group"] for row in rows]),
        american=np.array([row["american"] for row in rows], dtype=np.bool_),
        call=np.array([row["call"] for row in rows], dtype=np.bool_),
        strike=column("strike"),
        days=column("days"),
        rate=column("rate"),
        dividend_yield=column("yield"),
        volatility=column("volatility"),
        dividends=tuple(
            tuple(CashDividend(day / DAYS, amount) for day, amount in row["dividends"]) for row in rows
        ),
        values=Values(*(column(name) for name in NAMES)),
        error=column("error"),
        quantlib=column("quantlib"),
        fingerprint=hashlib.sha256(text).hexdigest()[:12],
    )


def value_all(reference: Reference, accuracy: Accuracy) -> Values:
    """Ours of every case."""
    found = np.zeros((len(NAMES), len(reference)))
    for style, places in reference.priced_alike():
        contracts, market = reference.terms(places)
        told = valuation.value(
            contracts, market, reference.volatility[places], style=style, accuracy=accuracy
        )
        found[:, places] = [getattr(told, name) for name in NAMES]
    return Values(*found)


def imply_all(reference: Reference, price: Array, accuracy: Accuracy) -> Implied:
    """What ours says these prices imply."""
    volatility = np.zeros(len(reference))
    status = np.zeros(len(reference), dtype=np.uint8)
    for style, places in reference.priced_alike():
        contracts, market = reference.terms(places)
        told = valuation.implied_volatility(contracts, market, price[places], style=style, accuracy=accuracy)
        volatility[places], status[places] = told.volatility, told.status
    return Implied(volatility, status)
