"""What the order path is asked to do, and what a claim can answer."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from paiid.brokers import Capabilities
from paiid.domain.errors import Problem
from paiid.domain.identity import Principal
from paiid.domain.instruments import Instrument
from paiid.domain.money import plain
from paiid.domain.orders import OrderRequest
from paiid.domain.quotes import Quote
from paiid.domain.risk import RiskLimits
from paiid.trading.records import AccountRow, IntentRow, OrderRow

IntentKind = Literal["execute", "close"]
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Close a position, wholly (`qty` None) or in part."""

    symbol: str
    qty: Decimal | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller asked for, parsed but with nothing resolved: exactly what the fingerprint covers."""

    kind: IntentKind
    account: str | None
    orders: tuple[OrderRequest, ...]
    close: CloseRequest | None = None

    def symbols(self) -> tuple[str, ...]:
        """The symbols named, in order."""
        if self.close is not None:
            return (self.close.symbol,)
        return tuple(order.symbol for order in self.orders)


def fingerprint(asked: Asked) -> str:
    """SHA-256 over what was asked (contract E3): decimals normalised, defaults left out, nothing resolved."""
    value: dict[str, object] = {"kind": asked.kind}
    if asked.account is not None:
        value["account"] = asked.account
    if asked.close is not None:
        value["close"] = {
            "symbol": asked.close.symbol,
            **({} if asked.close.qty is None else {"qty": str(plain(asked.close.qty))}),
        }
    orders = []
    for order in asked.orders:
        one: dict[str, str] = {"symbol": order.symbol, "side": order.side}
        if order.type != "market":
            one["type"] = order.type
        if order.time_in_force != "day":
            one["time_in_force"] = order.time_in_force
        for name in ("qty", "limit_price", "stop_price"):
            number: Decimal | None = getattr(order, name)
            if number is not None:
                one[name] = str(plain(number))
        orders.append(one)
    if orders:
        value["orders"] = orders
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was looked up for a claim before it began: prices, limits, what the broker can hold.

    `position_size` in dollars sizes an order without a quantity. `market_open` is the session at this moment.
    """

    quotes: Mapping[str, Quote | None]
    instruments: Mapping[str, Instrument | None]
    limits: RiskLimits
    position_size: Decimal | None
    capabilities: Capabilities
    market_open: bool
    newest: Callable[[str], Quote | None]

    def with_quotes(self, quotes: Mapping[str, Quote | None]) -> "Surroundings":
        """The same with newer prices."""
        return replace(self, quotes=quotes)

    def mark(self, symbol: str) -> Decimal | None:
        """The middle of a fresh quote, None where there is none."""
        quote = self.quotes.get(symbol) or self.newest(symbol)
        return None if quote is None or quote.stale else quote.mid


@dataclass(slots=True)
class Claim:
    """One call on its way to becoming an intent. `problem`: why it could not be resolved (told only if the
    key is new, for a known key is answered from its rows)."""

    principal: Principal
    key: str
    asked: Asked
    fingerprint: str
    intent_id: str
    request_id: str | None
    account_id: str | None
    surroundings: Surroundings | None
    problem: Problem | None
    attempts: int = 0

    @property
    def is_dry_run(self) -> bool:
        """It has no key, so nothing that belongs to a key is made for it (contract E16)."""
        return not self.key

    @property
    def user_key(self) -> str:
        """The scope of the key (E2) as one value."""
        return f"{self.principal.user_id}:{self.key}"


@dataclass(frozen=True, slots=True)
class Known:
    """The key was claimed before: the intent as it is, for replay, 202, 409 or 422."""

    intent: IntentRow
    account: AccountRow
    orders: list[OrderRow]
    now_us: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The intent is ours and its first order is DISPATCHING: it must be sent before the window closes."""

    intent: IntentRow
    account: AccountRow
    orders: list[OrderRow]
    stamp_s: float


@dataclass(frozen=True, slots=True)
class Final:
    """The claim itself made the answer final: every order refused, skipped or adopted."""

    status: int
    body: str


@dataclass(slots=True)
class DryRunPlan:
    """What a dry run found for each order: the reason of a no, or the estimated value of a yes."""

    account: AccountRow
    rows: list[OrderRow] = field(default_factory=list)
    values: list[Decimal | None] = field(default_factory=list)
    buying_power: Decimal | None = None
