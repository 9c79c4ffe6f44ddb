"""Options on what pays cash dividends, normalised and as arrays: what the solver is asked, and where it stands on the way back from expiration.

Arrays are (problems, 1) unless told otherwise; prices and cash are by dollar of strike.
"""

from dataclasses import dataclass

import numpy as np

from paiid.domain.pricing.dividends_outlook import Drift, IndexArray, Outlook
from paiid.domain.pricing.terms import FloatArray

LEAST_LOG = -30.0
"""A log price from which nothing comes back."""


@dataclass(frozen=True, slots=True)
class Problems:
    """Options of one right and style, normalised to a strike of 1."""

    call: bool
    american: bool
    drift: Drift
    years: FloatArray
    ex_years: tuple[float, ...]
    """Ascending; those of an option's expiration or later do not concern it."""
    cash: FloatArray  # (problems, ex-dates)
    lowest: FloatArray
    """Log of the prices today that will be asked: from this one."""
    highest: FloatArray

    def __len__(self) -> int:
        return len(self.years)

    def take(self, chosen: IndexArray) -> "Problems":
        return Problems(
            self.call,
            self.american,
            self.drift.take(chosen),
            self.years[chosen],
            self.ex_years,
            self.cash[chosen],
            self.lowest[chosen],
            self.highest[chosen],
        )

    def reachable(
        self, reach: float, years: FloatArray, paid: FloatArray | int
    ) -> tuple[FloatArray, FloatArray]:
        """The log prices that matter after `years`, when the first `paid` dividends were paid: `reach` standard deviations."""
        drift = self.drift
        travel = reach * drift.volatility * np.sqrt(years)
        lowest = self.lowest + np.minimum(drift.log_drift * years, 0.0) - travel
        gone = np.where(np.arange(self.cash.shape[1]) < paid, self.cash, 0.0)
        left = np.exp(lowest) - gone.sum(axis=1, keepdims=True)
        lowest = np.log(np.maximum(left, np.exp(LEAST_LOG)))
        # Values grow with the price, so that what is far up counts by chance times price: the measure with the price as the unit.
        upward = np.maximum((drift.log_drift + drift.volatility**2) * years, 0.0)
        return lowest, self.highest + upward + travel


@dataclass(frozen=True, slots=True)
class State:
    """Where the way back has come to for some of the problems: just before an ex-date, or at expiration."""

    which: IndexArray
    outlook: Outlook
    anchor: FloatArray
    """Log price from which a call is exercised at that moment."""
    bends: FloatArray  # (problems, bends)
    """Log prices at which the value is or once was bent, the newest first."""
    smoothed: FloatArray  # (problems, bends)
    """For how many years it has been smoothed there."""
    hint: FloatArray
    """Of the curve of exercise: see `View`."""

    def take(self, chosen: IndexArray) -> "State":
        return State(
            self.which[chosen],
            self.outlook.take(chosen),
            self.anchor[chosen],
            self.bends[chosen],
            self.smoothed[chosen],
            self.hint[chosen],
        )

    def joined(self, other: "State") -> "State":
        count = max(self.bends.shape[1], other.bends.shape[1])

        def both(one: FloatArray, two: FloatArray) -> FloatArray:
            return np.concatenate(
                [np.pad(part, ((0, 0), (0, count - part.shape[1])), mode="edge") for part in (one, two)]
            )

        return State(
            np.concatenate([self.which, other.which]),
            self.outlook.joined(other.outlook),
            np.concatenate([self.anchor, other.anchor]),
            both(self.bends, other.bends),
            both(self.smoothed, other.smoothed),
            np.concatenate([self.hint, other.hint]),
        )
