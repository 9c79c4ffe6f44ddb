"""The bodies of the order routes: what may be said, in which spelling, and where each mistake is."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from paiid.core.json import JsonDecimal, StrictModel
from paiid.domain.errors import Code, Problem
from paiid.domain.instruments import parse_symbol
from paiid.domain.orders import OrderRequest
from paiid.trading.commands import Asked

KEY_PATTERN = re.compile(r"[A-Za-z0-9._:-]{8,128}\Z", re.ASCII)
MAX_BATCH = 10
_MOST = Decimal("1e9")
_ALIASES = {
    "limitPrice": "limit_price",
    "stopPrice": "stop_price",
    "timeInForce": "time_in_force",
    "orderType": "type",
    "order_type": "type",
    "quantity": "qty",
    "assetClass": "asset_class",
}


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


class OrderBody(StrictModel):
    """One order. Prices in dollars, quantity in shares, as JSON numbers with exactly the digits meant."""

    symbol: str = Field(max_length=16, description="Ticker, such as AAPL or BRK.B.", examples=["AAPL"])
    side: Literal["buy", "sell"]
    qty: JsonDecimal | None = Field(
        default=None, description="Shares; without it your setting `position_size` sizes the order."
    )
    type: Literal["market", "limit", "stop"] = "market"
    limit_price: JsonDecimal | None = Field(
        default=None, description="Required for limit orders, in dollars."
    )
    stop_price: JsonDecimal | None = Field(default=None, description="Required for stop orders, in dollars.")
    time_in_force: Literal["day", "gtc", "ioc", "fok"] = "day"
    asset_class: Literal["stock"] = "stock"

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        return _fold(data, _ALIASES)

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str) -> str:
        return parse_symbol(value)

    @field_validator("qty", "limit_price", "stop_price")
    @classmethod
    def _positive(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        if value is None:
            # A price of null is how many clients say "none". A quantity of null is a number that got lost:
            # it must be heard, not sized by a setting.
            if info.field_name == "qty":
                raise ValueError("null is not a quantity; leave the field out to size by your setting")
            return None
        if value <= 0:
            raise ValueError("must be greater than 0")
        if value > _MOST:
            raise ValueError("is larger than any order can be")
        return value

    @field_validator("qty")
    @classmethod
    def _nine_decimals(cls, value: Decimal | None) -> Decimal | None:
        return _with_decimals(value, 9)

    @field_validator("limit_price", "stop_price")
    @classmethod
    def _six_decimals(cls, value: Decimal | None) -> Decimal | None:
        return _with_decimals(value, 6)

    @model_validator(mode="after")
    def _prices_fit_type(self) -> "OrderBody":
        if self.type == "limit" and self.limit_price is None:
            raise ValueError("a limit order needs limit_price")
        if self.type == "stop" and self.stop_price is None:
            raise ValueError("a stop order needs stop_price")
        if self.type != "limit" and self.limit_price is not None:
            raise ValueError(f"a {self.type} order takes no limit_price")
        if self.type != "stop" and self.stop_price is not None:
            raise ValueError(f"a {self.type} order takes no stop_price")
        if self.type == "stop" and self.time_in_force in ("ioc", "fok"):
            raise ValueError("a stop order waits for its price; ioc and fok orders do not wait")
        return self

    def to_request(self) -> OrderRequest:
        """The frozen order of the domain."""
        return OrderRequest(
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            time_in_force=self.time_in_force,
            qty=self.qty,
            limit_price=self.limit_price,
            stop_price=self.stop_price,
        )


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
