"""The bodies of what-if and strategy: what may be said, within which bounds, and where each mistake is (contracts A8, A9)."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from paiid.core.json import JsonDecimal, StrictModel
from paiid.domain.errors import Problem
from paiid.domain.instruments import parse_symbol
from paiid.domain.pricing.terms import Accuracy, Style
from paiid.market.asked import MAX_MOMENT, parse_moment
from paiid.options.what_if_leg_body import Days, DividendBody, LegBody, Points, Rate, Spot, as_float, wrong
from paiid.options.what_if_terms import Asked, GridAsked, MarketAsked, RangeAsked, ScenarioAsked

MAX_LEGS = 20
"""Legs of a what-if."""
MAX_STRATEGY_LEGS = 4
"""Options of a strategy; shares come on top."""
MAX_DIVIDENDS = 12
MAX_SPOT_STEPS = 41
MAX_STEPS = 21
MAX_POINTS = 201


class _MarketBody(StrictModel):
    """What both questions say of the market, and of what is to be otherwise."""

    symbol: str | None = Field(
        default=None, max_length=16, description="The underlying, where no leg names it.", examples=["AAPL"]
    )
    spot: Spot | None = Field(default=None, description="Its price now, instead of the market's.")
    rate: Rate | None = None
    dividend_yield: Rate | None = None
    dividends: list[DividendBody] | None = Field(
        default=None, max_length=MAX_DIVIDENDS, description="Instead of those that are known; [] for none."
    )
    style: Style | None = Field(default=None, description="Follows from the underlying unless said.")
    accuracy: Accuracy = Field(
        default="fast", description="fast: within 1e-3 dollars at a spot of 100; accurate: 1e-5."
    )
    spot_to: Spot | None = Field(default=None, description="What if the price were this.")
    spot_change_pct: Annotated[JsonDecimal, Field(ge=-99, le=1000)] | None = Field(
        default=None, description="Or moved by so many percent."
    )
    volatility_change: Points = Field(
        default=Decimal(0), description="Points on every volatility: 2 makes 0.25 0.27. None falls below 0."
    )
    rate_change: Annotated[JsonDecimal, Field(ge=-50, le=50)] = Field(
        default=Decimal(0), description="Points."
    )
    days_forward: Annotated[JsonDecimal, Field(ge=0, le=36_500)] | None = Field(
        default=None, description="What if so many calendar days had passed; at most to the first expiration."
    )
    at: str | None = Field(
        default=None,
        max_length=MAX_MOMENT,
        description="Or if it were this instant.",
        examples=["2026-12-04T15:00:00Z"],
    )
    _at_us: int | None = PrivateAttr(default=None)

    @field_validator("symbol")
    @classmethod
    def _ticker(cls, value: str | None) -> str | None:
        return None if value is None else parse_symbol(value)

    @model_validator(mode="after")
    def _one_way(self) -> "_MarketBody":
        for one, other in (("spot_to", "spot_change_pct"), ("days_forward", "at")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                wrong(other, "given_twice", f"Send {one} or {other}, not both.")
        if self.at is not None:
            try:
                object.__setattr__(self, "_at_us", parse_moment("at", self.at))
            except Problem as problem:
                wrong("at", problem.errors[0].code, problem.errors[0].message)
        return self

    def _to_asked(
        self, legs: list[LegBody], grid: GridAsked | None = None, reach: RangeAsked | None = None
    ) -> Asked:
        market = MarketAsked(
            self._underlying(legs),
            as_float(self.spot),
            as_float(self.rate),
            as_float(self.dividend_yield),
            None if self.dividends is None else tuple(one.to_asked() for one in self.dividends),
            self.style,
            self.accuracy,
        )
        scenario = ScenarioAsked(
            as_float(self.spot_to), as_float(self.spot_change_pct), float(self.volatility_change),
            float(self.rate_change), as_float(self.days_forward), self._at_us,
        )  # fmt: skip
        return Asked(tuple(leg.to_asked() for leg in legs), market, scenario, grid, reach)

    def _underlying(self, legs: list[LegBody]) -> str | None:
        known = self.symbol
        for at, leg in enumerate(legs):
            named = leg.ticker()
            if named is not None and known is not None and named != known:
                wrong(
                    f"legs.{at}.symbol",
                    "leg_underlying",
                    f"All legs are about one underlying, {known}, not {named}.",
                )
            known = known or named
        return known


class GridBody(StrictModel):
    """Values over many prices and, by rows, volatilities or times."""

    by: Literal["volatility", "time"] = "volatility"
    spot_from_pct: Annotated[JsonDecimal, Field(ge=-99, le=1000)] = Decimal(-20)
    spot_to_pct: Annotated[JsonDecimal, Field(ge=-99, le=1000)] = Decimal(20)
    spot_steps: int = Field(default=21, ge=2, le=MAX_SPOT_STEPS)
    volatility_from: Points = Field(default=Decimal(-10), description="Points.")
    volatility_to: Points = Decimal(10)
    days_to: Days | None = Field(
        default=None, description="By time: from now to then; to the first expiration unless said."
    )
    steps: int = Field(default=11, ge=2, le=MAX_STEPS, description="Rows.")

    @model_validator(mode="after")
    def _rises(self) -> "GridBody":
        if self.spot_from_pct >= self.spot_to_pct:
            wrong("spot_to_pct", "range", "spot_to_pct is above spot_from_pct.")
        if self.volatility_from >= self.volatility_to:
            wrong("volatility_to", "range", "volatility_to is above volatility_from.")
        return self

    def to_asked(self) -> GridAsked:
        """The grid, frozen."""
        return GridAsked(
            self.by, float(self.spot_from_pct), float(self.spot_to_pct), self.spot_steps,
            float(self.volatility_from), float(self.volatility_to), as_float(self.days_to), self.steps,
        )  # fmt: skip


class PriceBody(_MarketBody):
    """What legs are worth and how they react, now and in a world that is otherwise."""

    legs: list[LegBody] = Field(
        min_length=1,
        max_length=MAX_LEGS,
        examples=[[{"symbol": "AAPL261218C00265000", "qty": 1}, {"symbol": "AAPL", "qty": -50}]],
    )
    grid: GridBody | None = None
    _asked: Asked = PrivateAttr()

    @model_validator(mode="after")
    def _whole(self) -> "PriceBody":
        object.__setattr__(
            self, "_asked", self._to_asked(self.legs, None if self.grid is None else self.grid.to_asked())
        )
        return self

    def to_asked(self) -> Asked:
        """The question, frozen."""
        return self._asked


class RangeBody(StrictModel):
    """The prices that a pay-off is shown at."""

    from_pct: Annotated[JsonDecimal, Field(ge=-99, le=1000)] | None = Field(
        default=None, description="Percent of the spot."
    )
    to_pct: Annotated[JsonDecimal, Field(ge=-99, le=1000)] | None = None
    points: int = Field(default=61, ge=2, le=MAX_POINTS)

    @model_validator(mode="after")
    def _rises(self) -> "RangeBody":
        if self.from_pct is not None and self.to_pct is not None and self.from_pct >= self.to_pct:
            wrong("to_pct", "range", "to_pct is above from_pct.")
        return self

    def to_asked(self) -> RangeAsked:
        """The range, frozen."""
        return RangeAsked(as_float(self.from_pct), as_float(self.to_pct), self.points)


class StrategyBody(_MarketBody):
    """One to four options, with shares or without: what they pay at the end, and what that is worth."""

    legs: list[LegBody] = Field(
        min_length=1,
        max_length=MAX_STRATEGY_LEGS + 1,
        examples=[
            [
                {"symbol": "AAPL261218C00265000", "qty": 1},
                {"symbol": "AAPL261218C00275000", "qty": -1},
            ]
        ],
    )
    range: RangeBody = RangeBody()
    _asked: Asked = PrivateAttr()

    @model_validator(mode="after")
    def _whole(self) -> "StrategyBody":
        options = sum(1 for leg in self.legs if leg.to_asked().kind != "shares")
        if not 1 <= options <= MAX_STRATEGY_LEGS:
            wrong("legs", "legs_count", f"A strategy has 1 to {MAX_STRATEGY_LEGS} options, not {options}.")
        object.__setattr__(self, "_asked", self._to_asked(self.legs, None, self.range.to_asked()))
        return self

    def to_asked(self) -> Asked:
        """The question, frozen."""
        return self._asked
