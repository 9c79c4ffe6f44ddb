"""The bodies of the order routes: what may be said, in which spelling, and where each mistake is."""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from paiid.core.json import JsonDecimal, StrictModel
from paiid.domain.errors import Code, Problem
from paiid.domain.instruments import is_option, parse_any_symbol, underlying_of
from paiid.domain.occ import BadContract, OptionContract
from paiid.domain.orders import (
    Leg,
    OrderClass,
    OrderRequest,
    OrderType,
    PositionIntent,
    StopLoss,
    TakeProfit,
    TimeInForce,
)
from paiid.trading.commands import Asked, ReplaceRequest
from paiid.trading.order_shapes import check_shape, class_of, wrong

KEY_PATTERN = re.compile(r"[A-Za-z0-9._:-]{8,128}\Z", re.ASCII)
MAX_BATCH = 10
MAX_LEGS = 4
MAX_RATIO = 1_000
_MOST = Decimal("1e9")
_ALIASES = {
    "limitPrice": "limit_price",
    "stopPrice": "stop_price",
    "trailPrice": "trail_price",
    "trailPercent": "trail_percent",
    "timeInForce": "time_in_force",
    "orderType": "type",
    "order_type": "type",
    "quantity": "qty",
    "assetClass": "asset_class",
    "extendedHours": "extended_hours",
    "optionType": "option_type",
    "strikePrice": "strike_price",
    "expirationDate": "expiration_date",
    "takeProfit": "take_profit",
    "stopLoss": "stop_loss",
    "orderClass": "order_class",
    "positionIntent": "position_intent",
    "ratioQty": "ratio_qty",
}
_SIDES: dict[str, PositionIntent] = {
    "buy_to_open": "buy_to_open",
    "buy_to_close": "buy_to_close",
    "sell_to_open": "sell_to_open",
    "sell_to_close": "sell_to_close",
}
Price = JsonDecimal
SideWord = Literal["buy", "sell", "buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"]


def _fold(data: Any, aliases: Mapping[str, str]) -> Any:
    """Other spellings to ours; both at once is a mistake, not a choice for us to make."""
    if not isinstance(data, dict):
        return data
    folded: dict[str, Any] = {}
    for name, value in data.items():
        target = aliases.get(name, name)
        if target in folded:
            raise ValueError(f"{target} is given twice, in two spellings; keep one")
        folded[target] = value
    return folded


class _Spelled(StrictModel):
    """A body whose fields may be spelled in other ways, and whose numbers must fit."""

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        return _fold(data, _ALIASES)

    @field_validator("*")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Decimal):
            if abs(value) > _MOST:
                raise ValueError("is larger than any order can be")
            return _with_decimals(value, 9 if info.field_name == "qty" else 6)
        return value


class TakeProfitBody(_Spelled):
    """The exit with a profit."""

    limit_price: Price = Field(gt=0, description="In dollars.")


class StopLossBody(_Spelled):
    """The exit with a loss: a stop, a stop-limit, or a trailing stop."""

    stop_price: Price | None = Field(default=None, gt=0, description="In dollars.")
    limit_price: Price | None = Field(
        default=None, gt=0, description="With it the exit is a stop-limit order."
    )
    trail_price: Price | None = Field(
        default=None, description="Instead of stop_price: dollars behind the market."
    )
    trail_percent: Price | None = Field(default=None, description="Instead of stop_price: percent behind it.")


class LegBody(_Spelled):
    """One leg of a spread."""

    symbol: str = Field(max_length=24, description="OCC symbol.", examples=["AAPL261218C00265000"])
    side: SideWord
    ratio_qty: int = Field(
        default=1, ge=1, le=MAX_RATIO, description="Contracts for each unit of the spread."
    )
    position_intent: PositionIntent | None = Field(default=None, description="Or say it with the side.")

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str) -> str:
        return parse_any_symbol(value)

    @model_validator(mode="after")
    def _says_intent(self) -> "LegBody":
        if self.position_intent is None and self.side not in _SIDES:
            wrong(
                "position_intent",
                "missing",
                "Say whether the leg opens or closes: buy_to_open, sell_to_close, …",
            )
        return self

    def to_leg(self) -> Leg:
        """The frozen leg of the domain."""
        intent = self.position_intent or _SIDES[self.side]
        return Leg(self.symbol, "buy" if self.side.startswith("buy") else "sell", self.ratio_qty, intent)


class OrderBody(_Spelled):
    """One order. Prices in dollars, quantity in shares or contracts, as JSON numbers with exactly the digits meant."""

    symbol: str | None = Field(
        default=None,
        max_length=24,
        description="Ticker, such as AAPL or BRK.B, or an OCC symbol. A spread may leave it out.",
        examples=["AAPL"],
    )
    side: SideWord | None = Field(default=None, description="Not for spreads: their legs have sides.")
    qty: JsonDecimal | None = Field(
        default=None,
        description="Shares or contracts; without it your setting `position_size` sizes the order.",
    )
    notional: JsonDecimal | None = Field(
        default=None, description="Dollars to buy or sell for, instead of qty."
    )
    type: OrderType = "market"
    limit_price: Price | None = Field(
        default=None, description="For limit and stop_limit orders; of a spread the net: debit +, credit -."
    )
    stop_price: Price | None = Field(default=None, description="For stop and stop_limit orders, in dollars.")
    trail_price: Price | None = Field(default=None, description="Trailing stop: dollars behind the market.")
    trail_percent: Price | None = Field(default=None, description="Trailing stop: percent behind the market.")
    time_in_force: TimeInForce = "day"
    extended_hours: bool = Field(
        default=False, description="Limit orders, day or gtc: before and after hours too."
    )
    asset_class: Literal["stock", "option"] | None = Field(
        default=None, description="Follows from the symbol."
    )
    option_type: Literal["call", "put"] | None = Field(
        default=None, description="With strike and expiration, instead of an OCC symbol."
    )
    strike_price: Price | None = None
    expiration_date: str | None = Field(default=None, max_length=10, examples=["2026-12-18"])
    order_class: OrderClass | None = Field(default=None, description="Follows from the fields, but for oco.")
    take_profit: TakeProfitBody | None = None
    stop_loss: StopLossBody | None = None
    bracket: bool = Field(
        default=False, description="Exits at your settings' distances from the reference price."
    )
    legs: list[LegBody] = Field(
        default=[], max_length=MAX_BATCH, description="2 to 4 of one underlying: a spread."
    )
    position_intent: PositionIntent | None = None
    _request: OrderRequest = PrivateAttr()

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str | None) -> str | None:
        return None if value is None else parse_any_symbol(value)

    @field_validator("qty")
    @classmethod
    def _positive(cls, value: Decimal | None) -> Decimal | None:
        if value is None:
            # A price of null is how many clients say "none". A quantity of null is a number that got lost:
            # it must be heard, not sized by a setting.
            raise ValueError("null is not a quantity; leave the field out to size by your setting")
        if value <= 0:
            raise ValueError("must be greater than 0")
        return value

    @model_validator(mode="after")
    def _shape(self) -> "OrderBody":
        object.__setattr__(self, "_request", self._to_request())
        check_shape(self._request)
        return self

    def to_request(self) -> OrderRequest:
        """The frozen order of the domain."""
        return self._request

    def _to_request(self) -> OrderRequest:
        order_class = class_of(
            self.order_class,
            legs=bool(self.legs),
            take_profit=self.take_profit is not None,
            stop_loss=self.stop_loss is not None,
            bracket=self.bracket,
        )
        if self.bracket and (self.take_profit is not None or self.stop_loss is not None):
            wrong("bracket", "bracket_prices", "Send bracket: true, or take_profit and stop_loss, not both.")
        spread = order_class == "mleg"
        symbol = self._named_symbol(spread)
        intent = self._intent(spread)
        limit, profit = self.limit_price, self.take_profit.limit_price if self.take_profit else None
        if order_class == "oco" and profit is not None:
            if limit is not None and limit != profit:
                wrong(
                    "take_profit.limit_price",
                    "oco_prices",
                    f"The take profit stands twice: {limit} and {profit}.",
                )
            limit, profit = profit, None
        loss = self.stop_loss
        return OrderRequest(
            symbol=symbol,
            side="sell" if (self.side or "").startswith("sell") else "buy",
            type="limit" if order_class == "oco" and "type" not in self.model_fields_set else self.type,
            time_in_force=self.time_in_force,
            qty=self.qty,
            limit_price=limit,
            stop_price=self.stop_price,
            notional=self.notional,
            trail_price=self.trail_price,
            trail_percent=self.trail_percent,
            extended_hours=self.extended_hours,
            order_class=order_class,
            take_profit=None if profit is None else TakeProfit(profit),
            stop_loss=None
            if loss is None
            else StopLoss(loss.stop_price, loss.limit_price, loss.trail_price, loss.trail_percent),
            default_exits=self.bracket,
            legs=tuple(leg.to_leg() for leg in self.legs),
            position_intent=intent,
        )

    def _named_symbol(self, spread: bool) -> str:
        """What is traded: the symbol, the contract that the option fields name, or a spread's underlying."""
        said = {
            name
            for name in ("option_type", "strike_price", "expiration_date")
            if getattr(self, name) is not None
        }
        if spread:
            if said:
                wrong(min(said), "not_of_this_type", "The legs of a spread name their contracts.")
            symbol = self.symbol or underlying_of(self.legs[0].symbol)
            if is_option(symbol):
                wrong("symbol", "spread_symbol", "The symbol of a spread is its underlying; leave it out.")
        else:
            if self.symbol is None:
                wrong("symbol", "missing", "is required")
            symbol = self._contract(said) if said else self.symbol
        if self.asset_class is not None and self.asset_class != (
            "option" if spread or is_option(symbol) else "stock"
        ):
            wrong("asset_class", "asset_class", f"{symbol} is no {self.asset_class}.")
        return symbol

    def _contract(self, said: set[str]) -> str:
        missing = {"option_type", "strike_price", "expiration_date"} - said
        if missing:
            wrong(
                min(missing),
                "missing",
                "An option is named by option_type, strike_price and expiration_date.",
            )
        assert self.symbol is not None
        assert self.option_type is not None
        assert self.strike_price is not None
        if is_option(self.symbol):
            wrong(
                "option_type",
                "option_twice",
                "The symbol names the contract already; leave the other fields out.",
            )
        try:
            day = date.fromisoformat(self.expiration_date or "")
        except ValueError:
            day = None
        if day is None or len(self.expiration_date or "") != 10:
            wrong(
                "expiration_date", "date", f"There is no day {self.expiration_date}; write it as 2026-12-18."
            )
        try:
            return OptionContract.of(self.symbol, self.option_type, self.strike_price, day).symbol
        except BadContract as error:
            wrong(error.field, "contract", str(error))

    def _intent(self, spread: bool) -> PositionIntent | None:
        said = _SIDES.get(self.side or "")
        if spread:
            if self.side is not None:
                wrong("side", "spread_side", "A spread has no side: its legs have.")
            return self.position_intent
        if self.side is None:
            wrong("side", "missing", "is required")
        if said is not None and self.position_intent not in (None, said):
            wrong(
                "position_intent",
                "position_intent",
                f"The side says {said}, the intent {self.position_intent}.",
            )
        return said or self.position_intent


class ExecuteBody(StrictModel):
    """A call of 1 to 10 orders under one key."""

    requestId: str | None = Field(
        default=None, description="The idempotency key, if not in the header Idempotency-Key."
    )
    dryRun: bool = Field(default=False, description="Say what would happen, do nothing.")
    account: str | None = Field(default=None, max_length=64, description="An account's id; default: yours.")
    orders: list[OrderBody] = Field(min_length=1, max_length=MAX_BATCH)

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        return _fold(data, {"request_id": "requestId", "dry_run": "dryRun"})

    def to_asked(self) -> Asked:
        """What was asked, frozen."""
        return Asked("execute", self.account, tuple(order.to_request() for order in self.orders))


class ReplaceBody(_Spelled):
    """What an order is to become; what is not named stays as it is."""

    requestId: str | None = Field(
        default=None, description="The idempotency key, if not in the header Idempotency-Key."
    )
    qty: JsonDecimal | None = Field(
        default=None, gt=0, description="The new total, what has filled of it included."
    )
    limit_price: Price | None = Field(default=None, description="In dollars; of a spread the net.")
    stop_price: Price | None = Field(default=None, gt=0)
    trail_price: Price | None = Field(default=None, gt=0)
    trail_percent: Price | None = Field(default=None, gt=0, lt=100)
    time_in_force: TimeInForce | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "ReplaceBody":
        if not self.model_fields_set - {"requestId"}:
            wrong(
                "qty",
                "missing",
                "Say what is to change: qty, limit_price, stop_price, a trail, time_in_force.",
            )
        return self

    def to_asked(self, order_id: str, version: int | None) -> Asked:
        """What was asked, frozen."""
        change = ReplaceRequest(
            order_id, version, self.qty, self.limit_price, self.stop_price, self.trail_price,
            self.trail_percent, self.time_in_force,
        )  # fmt: skip
        return Asked("replace", None, (), replace=change)


def _with_decimals(value: Decimal | None, most: int) -> Decimal | None:
    if value is not None:
        exponent = value.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > most:
            raise ValueError(f"has more than {most} decimals")
    return value


def idempotency_key(headers: list[str], in_body: str | None) -> str:
    """The key of the call (contract E1): one header, bare or in one pair of double quotes, or `requestId`.

    Raises Problem (400) where it is missing, malformed, doubled, or given twice and different.
    """
    if len(headers) > 1:
        raise Problem(Code.IDEMPOTENCY_KEY_CONFLICT, "The header Idempotency-Key is there twice; send one.")
    in_header: str | None = None
    if headers:
        in_header = headers[0]
        if len(in_header) >= 2 and in_header[0] == in_header[-1] == '"':
            in_header = in_header[1:-1]
    if in_header is not None and in_body is not None and in_header != in_body:
        raise Problem(
            Code.IDEMPOTENCY_KEY_CONFLICT,
            "Idempotency-Key and requestId differ; send one of them, or the same.",
        )
    key = in_header if in_header is not None else in_body
    if key is None:
        raise Problem(
            Code.IDEMPOTENCY_KEY_MISSING,
            "Send a fresh key with each new order: header Idempotency-Key, or requestId in the body. "
            "Retry with the same key as often as you like; it executes once.",
        )
    if not KEY_PATTERN.match(key):
        raise Problem(
            Code.IDEMPOTENCY_KEY_INVALID,
            "A key has 8 to 128 of the characters A-Z a-z 0-9 . _ : - and nothing else.",
        )
    return key
