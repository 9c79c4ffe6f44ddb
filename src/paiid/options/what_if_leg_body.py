"""The bodies of one leg and of one dividend: in which ways they may be named, and where each mistake is (contracts A8, A9)."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from paiid.core.json import JsonDecimal, StrictModel
from paiid.domain.instruments import is_option, parse_any_symbol
from paiid.domain.occ import OptionContract, find_contract
from paiid.options.what_if_terms import DividendAsked, LegAsked

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


def as_float(value: Decimal | None) -> float | None:
    """Exact digits to a float; None stays None."""
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
            as_float(self.days_to_expiry), as_float(self.volatility), as_float(self.price),
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
            contract.expiration, None, as_float(self.volatility), as_float(self.price),
        )  # fmt: skip

    def _shares(self) -> LegAsked:
        for name in ("strike_price", "expiration_date", "days_to_expiry", "size", "volatility"):
            if getattr(self, name) is not None:
                wrong(name, "not_of_this_type", f"Shares have no {name}.")
        return LegAsked("shares", float(self.qty), 1.0, price=as_float(self.price))

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
        return DividendAsked(float(self.amount), self._day, as_float(self.days))
