"""What the order path is asked to do, and what a claim can answer."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from paiid.brokers import BrokerReplace, Capabilities
from paiid.domain.errors import Problem
from paiid.domain.identity import Principal
from paiid.domain.instruments import Instrument, is_option, underlying_of
from paiid.domain.money import plain
from paiid.domain.orders import OrderRequest, TimeInForce
from paiid.domain.quotes import Quote
from paiid.domain.risk import RiskLimits
from paiid.trading.records import AccountRow, IntentRow, OrderRow

IntentKind = Literal["execute", "close", "replace", "template"]
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """Close a position, wholly (`qty` None) or in part."""

    symbol: str
    qty: Decimal | None


@dataclass(frozen=True, slots=True)
class ReplaceRequest:
    """What an order is to become; None stays as it is. `version` is the one the caller has seen, None any.

    `qty` is the new total, what has filled included.
    """

    order_id: str
    version: int | None = None
    qty: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    time_in_force: TimeInForce | None = None


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """Place the order of one of the caller's templates, with what he wants otherwise this time."""

    template_id: str
    qty: Decimal | None = None
    limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller asked for, parsed but with nothing resolved: exactly what the fingerprint covers."""

    kind: IntentKind
    account: str | None
    orders: tuple[OrderRequest, ...]
    close: CloseRequest | None = None
    replace: ReplaceRequest | None = None
    template: TemplateUse | None = None

    def symbols(self) -> tuple[str, ...]:
        """The symbols named, those of legs and of options' underlyings included."""
        if self.close is not None:
            return tuple(dict.fromkeys((self.close.symbol, underlying_of(self.close.symbol))))
        named = (s for order in self.orders for s in (order.symbol, *(leg.symbol for leg in order.legs)))
        return tuple(dict.fromkeys(s for symbol in named for s in (symbol, underlying_of(symbol))))


def closes_all(asked: Asked) -> bool:
    """Whether the call only closes positions, as far as it says so, or changes an order: it may use what is kept for that
    of the broker's budget (ADR 0026)."""
    if asked.close is not None or asked.replace is not None:
        return True
    return bool(asked.orders) and all(_closes(one) for one in asked.orders)


def _closes(order: OrderRequest) -> bool:
    if order.order_class == "oco":
        return True
    if order.legs:
        return all((leg.position_intent or "").endswith("_to_close") for leg in order.legs)
    if order.position_intent is not None:
        return order.position_intent.endswith("_to_close")
    return order.side == "sell" and not is_option(order.symbol)


def fingerprint(asked: Asked) -> str:
    """SHA-256 over what was asked (contract E3): decimals normalised, defaults left out, nothing resolved."""
    value: dict[str, object] = {"kind": asked.kind}
    if asked.account is not None:
        value["account"] = asked.account
    for name in ("close", "replace", "template"):
        part = getattr(asked, name)
        if part is not None:
            value[name] = _canonical(part)
    if asked.orders:
        value["orders"] = [_canonical(order) for order in asked.orders]
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


_DEFAULTS: dict[str, object] = {"type": "market", "time_in_force": "day", "order_class": "simple"}


def _canonical(value: Any) -> Any:
    """A frozen value as JSON: fields that say nothing, or what is said by default, are left out."""
    if isinstance(value, Decimal):
        return str(plain(value))
    if isinstance(value, tuple):
        return [_canonical(one) for one in value]
    if not is_dataclass(value):
        return value
    defaults = _DEFAULTS if isinstance(value, OrderRequest) else {}
    named = ((one.name, getattr(value, one.name)) for one in fields(value))
    return {
        name: _canonical(part)
        for name, part in named
        if part is not None and part is not False and part != () and defaults.get(name) != part
    }


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was looked up for a claim before it began: prices, limits, what the broker can hold.

    `position_size` in dollars sizes an order without a quantity, `take_profit_pct` and `stop_loss_pct` are the user's
    distances of a bracket without prices, in percent. `market_open` is the regular session at this moment.
    """

    quotes: Mapping[str, Quote | None]
    instruments: Mapping[str, Instrument | None]
    limits: RiskLimits
    position_size: Decimal | None
    capabilities: Capabilities
    market_open: bool
    newest: Callable[[str], Quote | None]
    trading_day: date
    take_profit_pct: Decimal | None = None
    stop_loss_pct: Decimal | None = None
    unpriced: str | None = None
    """Why there are no prices at all for this broker: its market is not the one that is configured here."""

    def with_quotes(self, quotes: Mapping[str, Quote | None]) -> "Surroundings":
        """The same with newer prices."""
        return replace(self, quotes=quotes)

    def mark(self, symbol: str) -> Decimal | None:
        """The middle of a fresh quote, None where there is none."""
        quote = self.quotes.get(symbol) or self.newest(symbol)
        return None if quote is None or quote.stale or quote.ask <= 0 else quote.mid


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
    orders: tuple[OrderRequest, ...] | None = None
    """The orders of a template, looked up when the call came in; None: those that were asked for."""
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
    replacing: "Replacing | None" = None


@dataclass(frozen=True, slots=True)
class Replacing:
    """What goes to the broker in place of a new order: the order that is to go, and what it is to become."""

    broker_order_id: str
    change: BrokerReplace


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
    children: list[list[OrderRow]] = field(default_factory=list)
    values: list[Decimal | None] = field(default_factory=list)
    buying_power: Decimal | None = None
