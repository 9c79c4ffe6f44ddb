"""What a broker is to us: one Protocol, and the three ways a call can fail to be a yes.

BrokerError
├── BrokerRejected   it answered a definite no; nothing was placed
├── NotSent          not one byte reached it; nothing was placed
└── OutcomeUnknown   anything else: it may or may not have happened; look it up, never send again
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from paiid.domain.orders import OrderStatus, OrderType, Side, TimeInForce


class BrokerError(Exception):
    """A call to a broker that gave no yes. The text is safe to show: never a secret."""


class BrokerRejected(BrokerError):
    """A definite no, with the broker's own code and words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NotSent(BrokerError):
    """Definitely not sent: refused connection, connect or pool time-out, send window passed."""


class OutcomeUnknown(BrokerError):
    """Time-out, reset, 5xx, unreadable answer, duplicate id: only a look-up can tell."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can hold itself (contract E19). What is not here is refused, never emulated by us."""

    asset_classes: frozenset[str]
    order_types: frozenset[str]
    times_in_force: frozenset[str]
    fractional: bool
    short_selling: bool
    own_stop: bool
    """It has an account setting that suspends trading, for the level `broker_fenced` of K4."""
    lists_end_with_day: bool
    """Its order list forgets yesterday, so absence proves something on the same ET day only (E12)."""


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """One order to place. Prices in dollars, quantities in shares; `client_order_id` is ours (E8)."""

    account_number: str
    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class BrokerOrderView:
    """An order as the broker tells it. `filled_qty` and `filled_avg_price` are cumulative."""

    account_number: str
    broker_order_id: str
    client_order_id: str | None
    symbol: str
    side: Side
    qty: Decimal
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    stop_price: Decimal | None
    status: OrderStatus
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    submitted_at_us: int
    updated_at_us: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class BrokerExecution:
    """One print. `qty` and `price` are of this execution; `kind` tells busts and corrections apart."""

    account_number: str
    execution_id: str
    broker_order_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    executed_at_us: int
    kind: Literal["fill", "bust", "correction"] = "fill"
    corrects: str | None = None


@dataclass(frozen=True, slots=True)
class BrokerUpdate:
    """Something that happened to an order. `cursor` lets the reader continue behind it after a restart."""

    cursor: int
    order: BrokerOrderView
    execution: BrokerExecution | None = None


@dataclass(frozen=True, slots=True)
class BrokerPosition:
    """A holding; `qty` is signed (short is negative), `avg_entry_price` in dollars a share."""

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """The broker's own word on an account, in dollars."""

    number: str
    cash: Decimal
    status: Literal["active", "blocked"]


class Broker(Protocol):
    """A venue that holds orders. Every call may raise BrokerError; `timeout_s` bounds connect, write and
    read together. No call retries by itself."""

    name: str
    capabilities: Capabilities
    lookup_lag_s: float
    """How long an accepted order may stay invisible to a look-up; part of E12's horizon."""

    refusal_lookup_delay_s: float
    """A definite refusal is believed only after a look-up this much later (E11): 1 s where refusals come
    over a wire, 0 where the refusal and the books are one transaction."""

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        """Place it: the view is a definite yes. Raises BrokerRejected, NotSent, OutcomeUnknown."""
        ...

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """Look an order up by our id; None is the broker's word that it knows of none."""
        ...

    async def cancel(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """Ask for cancellation. The view, if the broker tells it at once. Raises BrokerRejected where the
        order is already in a terminal state or unknown there."""
        ...

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        """All orders that still work, ours or not."""
        ...

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        """Executions since an instant, oldest first: the catch-up after a reconnect (E18)."""
        ...

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        """All holdings other than zero."""
        ...

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        """Cash and status."""
        ...

    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        """Everything after this cursor, then live, until cancelled. Duplicates are allowed, gaps are not."""
        ...

    async def start(self) -> None:
        """Begin background work, if any."""
        ...

    async def stop(self) -> None:
        """End it; returns within a second."""
        ...
