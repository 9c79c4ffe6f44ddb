"""The bodies of what-if and strategy: what may be said, within which bounds, and where each mistake is (contracts A8, A9)."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from paiid.core.json import JsonDecimal, StrictModel
from paiid.domain.errors import Problem
from paiid.domain.instruments import is_option, parse_any_symbol, parse_symbol
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.pricing.terms import Accuracy, Style
from paiid.market.asked import MAX_MOMENT, parse_moment
from paiid.options.what_if_terms import (
    Asked,
    DividendAsked,
    GridAsked,
    LegAsked,
    MarketAsked,
    RangeAsked,
    ScenarioAsked,
)

MAX_LEGS = 20
"""Legs of a what-if."""
MAX_STRATEGY_LEGS = 4
"""Options of a strategy; shares come on top."""
MAX_DIVIDENDS = 24
MAX_SPOT_STEPS = 41
MAX_STEPS = 21
MAX_POINTS = 201
_FIRST_YEAR, _LAST_YEAR = 2000, 2099

Spot = Annotated[JsonDecimal, Field(ge=Decimal("0.0001"), le=Decimal("1e6"))]
Amount = Annotated[JsonDecimal, Field(ge=0, le=Decimal("1e6"))]
Volatility = Annotated[
    JsonDecimal, Field(ge=Decimal("0.0001"), le=10, description="A fraction a year: 0.25 is 25 %.")
]
Rate = Annotated[
    JsonDecimal,
    Field(ge=Decimal("-0.5"), le=1, description="A fraction a year, continuously compounded: 0.04 is 4 %."),
]
Days = Annotated[JsonDecimal, Field(gt=0, le=36_500)]
Points = Annotated[JsonDecimal, Field(ge=-500, le=500)]
_ALIASES = {
    "option_type": "type",
    "optionType": "type",
    "strike": "strike_price",
    "strikePrice": "strike_price",
    "expiration": "expiration_date",
    "expirationDate": "expiration_date",
    "quantity": "qty",
}


def wrong(field: str, code: str, message: str) -> NoReturn:
    """Refuse one field. Raises PydanticCustomError, which the edge turns into a 422."""
    raise PydanticCustomError(code, "{words}", {"at": field, "words": message})


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _day(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text) if len(text) == len("2026-12-18") else None
    except ValueError:
        day = None
    if day is None:
        wrong(field, "date", f"There is no day {text}; write it as 2026-12-18.")
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        wrong(field, "range", f"Days reach from {_FIRST_YEAR} to {_LAST_YEAR}.")
    return day


class LegBody(StrictModel):
    """One leg: a contract by its OCC symbol or by type, strike and expiration; or shares."""

    symbol: str | None = Field(
        default=None,
        max_length=24,
        description="OCC symbol of a contract; a ticker is shares of it.",
        examples=["AAPL261218C00265000"],
    )
    type: Literal["call", "put", "shares"] | None = Field(
        default=None, description="Follows from an OCC symbol."
    )
    strike_price: Annotated[JsonDecimal, Field(ge=Decimal("0.001"), le=Decimal("1e6"))] | None = None
    expiration_date: str | None = Field(default=None, max_length=10, examples=["2026-12-18"])
    days_to_expiry: Days | None = Field(
        default=None, description="Calendar days, instead of expiration_date."
    )
    qty: Annotated[JsonDecimal, Field(ge=Decimal("-1e6"), le=Decimal("1e6"))] = Field(
        description="Contracts or shares; negative for what is sold."
    )
    size: Annotated[JsonDecimal, Field(gt=0, le=100_000)] | None = Field(
        default=None, description="Shares one contract is about; 100 unless said."
    )
    volatility: Volatility | None = None
    price: Amount | None = Field(
        default=None,
        description="What it costs, dollars a share; its volatility is implied from it if none is given.",
    )
    _asked: LegAsked = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        folded: dict[str, Any] = {}
        for name, value in data.items():
            target = _ALIASES.get(str(name), str(name))
            if target in folded:
                wrong(target, "given_twice", f"{target} is given twice, in two spellings; keep one.")
            folded[target] = value
        return folded

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str | None) -> str | None:
        return None if value is None else parse_any_symbol(value)

    @model_validator(mode="after")
    def _shape(self) -> "LegBody":
        object.__setattr__(self, "_asked", self._to_asked())
        return self

    def to_asked(self) -> LegAsked:
        """The leg, frozen."""
        return self._asked

    def ticker(self) -> str | None:
        """The underlying that the leg itself names."""
        contract = self._asked.contract
        return contract.underlying if contract is not None else self.symbol

    def _to_asked(self) -> LegAsked:
        if not self.qty:
            wrong("qty", "zero", "qty is not 0: positive for what is bought, negative for what is sold.")
        contract = find_contract(self.symbol) if self.symbol is not None and is_option(self.symbol) else None
        if contract is not None:
            return self._by_symbol(contract)
        kind = self.type or ("shares" if self.symbol is not None and self.strike_price is None else None)
        if kind is None:
            wrong("type", "missing", "Say type: call, put or shares; or name the contract by its OCC symbol.")
        if kind == "shares":
            return self._shares()
        if self.strike_price is None:
            wrong("strike_price", "missing", "An option has a strike_price.")
        if (self.expiration_date is None) == (self.days_to_expiry is None):
            wrong(
                "expiration_date",
                "missing" if self.expiration_date is None else "given_twice",
                "An option has exactly one of expiration_date and days_to_expiry.",
            )
        self._whole()
        day = None if self.expiration_date is None else _day("expiration_date", self.expiration_date)
        return LegAsked(
            kind, float(self.qty), float(self.size or 100), None, float(self.strike_price), day,
            _float(self.days_to_expiry), _float(self.volatility), _float(self.price),
        )  # fmt: skip

    def _by_symbol(self, contract: OptionContract) -> LegAsked:
        for name in ("strike_price", "expiration_date", "days_to_expiry"):
            if getattr(self, name) is not None:
                wrong(name, "option_twice", f"The symbol names the contract already; leave out {name}.")
        if self.type not in (None, contract.option_type):
            wrong("type", "option_twice", f"{contract.symbol} is a {contract.option_type}.")
        if contract.adjusted and self.size is None:
            wrong(
                "size",
                "adjusted",
                f"{contract.symbol} is an adjusted contract: say how many shares it is about.",
            )
        self._whole()
        return LegAsked(
            contract.option_type, float(self.qty), float(self.size or 100), contract, float(contract.strike),
            contract.expiration, None, _float(self.volatility), _float(self.price),
        )  # fmt: skip

    def _shares(self) -> LegAsked:
        for name in ("strike_price", "expiration_date", "days_to_expiry", "size", "volatility"):
            if getattr(self, name) is not None:
                wrong(name, "not_of_this_type", f"Shares have no {name}.")
        return LegAsked("shares", float(self.qty), 1.0, price=_float(self.price))

    def _whole(self) -> None:
        if self.qty != self.qty.to_integral_value():
            wrong("qty", "whole_contracts", f"Options are held in whole contracts, not {self.qty}.")


class DividendBody(StrictModel):
    """A cash dividend to come."""

    amount: Annotated[JsonDecimal, Field(gt=0, le=100_000)] = Field(description="Dollars a share.")
    ex_date: str | None = Field(default=None, max_length=10)
    days: Days | None = Field(default=None, description="Calendar days from now, instead of ex_date.")
    _day: date | None = PrivateAttr()

    @model_validator(mode="after")
    def _one_of(self) -> "DividendBody":
        if (self.ex_date is None) == (self.days is None):
            wrong("ex_date", "missing", "A dividend has exactly one of ex_date and days.")
        object.__setattr__(self, "_day", None if self.ex_date is None else _day("ex_date", self.ex_date))
        return self

    def to_asked(self) -> DividendAsked:
        """The dividend, frozen."""
        return DividendAsked(float(self.amount), self._day, _float(self.days))


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
            _float(self.spot),
            _float(self.rate),
            _float(self.dividend_yield),
            None if self.dividends is None else tuple(one.to_asked() for one in self.dividends),
            self.style,
            self.accuracy,
        )
        scenario = ScenarioAsked(
            _float(self.spot_to), _float(self.spot_change_pct), float(self.volatility_change),
            float(self.rate_change), _float(self.days_forward), self._at_us,
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
            float(self.volatility_from), float(self.volatility_to), _float(self.days_to), self.steps,
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
        return RangeAsked(_float(self.from_pct), _float(self.to_pct), self.points)


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
