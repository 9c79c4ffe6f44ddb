"""What a broker is to us: one Protocol, and the three ways a call can fail to be a yes.

BrokerError
├── BrokerRejected   it answered a definite no; nothing was placed
├── NotSent          not one byte reached it; nothing was placed
└── OutcomeUnknown   anything else: it may or may not have happened; look it up, never send again
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from paiid.domain.capabilities import Capabilities
from paiid.domain.orders import (
    GroupRole,
    Leg,
    OrderClass,
    OrderStatus,
    OrderType,
    PositionIntent,
    Side,
    StopLoss,
    TakeProfit,
    TimeInForce,
)

ORDER_WAIT_S = 0.4
"""How long at most an order waits at its broker for a place in the budget before its first byte; part of the send window."""

__all__ = [
    "ORDER_WAIT_S",
    "Broker",
    "BrokerAccount",
    "BrokerActivity",
    "BrokerError",
    "BrokerExecution",
    "BrokerOrder",
    "BrokerOrderView",
    "BrokerPosition",
    "BrokerRejected",
    "BrokerReplace",
    "BrokerUpdate",
    "Capabilities",
    "NotSent",
    "OutcomeUnknown",
]


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
class BrokerOrder:
    """One order to place, with everything that hangs on it: one call to the broker, all of it or nothing.

    Prices and notional in dollars, quantities in shares or contracts; `client_order_id` is ours (E8). Exactly one
    of `qty` and `notional`. `take_profit` and `stop_loss` belong to bracket, oto and oco (an oco is its own take
    profit: type limit, and its stop loss). `legs` belong to mleg, whose `symbol` is the underlying, `side` "buy", and
    `limit_price` the net of one unit (debit positive, credit negative).
    """

    account_number: str
    client_order_id: str
    symbol: str
    side: Side
    qty: Decimal | None
    type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    order_class: OrderClass = "simple"
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    legs: tuple[Leg, ...] = ()
    position_intent: PositionIntent | None = None


@dataclass(frozen=True, slots=True)
class BrokerReplace:
    """What an order is to become. None stays as it is; `qty` is the new total, what has filled of it included.

    `client_order_id` is the id of the order that takes the old one's place.
    """

    client_order_id: str
    qty: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    time_in_force: TimeInForce | None = None


@dataclass(frozen=True, slots=True)
class BrokerOrderView:
    """An order as the broker tells it. `filled_qty` and `filled_avg_price` are cumulative.

    `qty` is None for notional orders. `legs` are the orders that hang on this one as they are now: exits of a bracket,
    oto or oco, legs of a spread; each also comes as an order of its own, with `parent_broker_order_id`. A spread's
    `filled_qty` counts units and its `filled_avg_price` is the net of one. An order that took another's place names
    it in `replaces`, and its `qty` is what was left to do then.
    """

    account_number: str
    broker_order_id: str
    client_order_id: str | None
    symbol: str
    side: Side
    qty: Decimal | None
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
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    hwm: Decimal | None = None
    """The best price a trailing stop has seen: highest bid for a sale, lowest ask for a buy."""
    extended_hours: bool = False
    order_class: OrderClass = "simple"
    group_role: GroupRole | None = None
    parent_broker_order_id: str | None = None
    legs: "tuple[BrokerOrderView, ...]" = ()
    ratio_qty: int | None = None
    position_intent: PositionIntent | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    last_fill: tuple[Decimal, Decimal] | None = None
    """(quantity, price) of the newest print, by brokers that tell no others (`Capabilities.tells_prints`)."""


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


ActivityKind = Literal[
    "expiration",
    "exercise",
    "assignment",
    "dividend",
    "split",
    "fee",
    "interest",
    "transfer",
    "journal",
    "other",
    "adjustment",
]
"""`other` is what a broker tells under a name that we do not know; `adjustment` is our own: an opening balance, or a
difference to the broker's books that the owner has accepted."""


@dataclass(frozen=True, slots=True)
class BrokerActivity:
    """Something that changed an account and was no order.

    `qty` is what was added to the position in `symbol` (signed, 0 for none) at `price` dollars a share, `cash` what the
    account got (signed). An exercise is two of them: the contract goes at 0, the shares come or go at the strike.
    A split changes `qty` at price 0: the cost stays. `activity_id` is told once and for ever.
    """

    account_number: str
    activity_id: str
    kind: ActivityKind
    symbol: str
    qty: Decimal
    price: Decimal
    cash: Decimal
    at_us: int
    description: str


@dataclass(frozen=True, slots=True)
class BrokerUpdate:
    """Something that happened to an order, or (`activity`, with no order) to an account. `cursor` lets the reader
    continue behind it after a restart.

    `resync` is an account number, with nothing else: what happened in it before this may never be told here, for the
    stream has only just begun (again); fetch it. Told by brokers whose stream has no replay, once it is subscribed.
    """

    cursor: int
    order: BrokerOrderView | None
    execution: BrokerExecution | None = None
    activity: BrokerActivity | None = None
    resync: str | None = None


@dataclass(frozen=True, slots=True)
class BrokerPosition:
    """A holding; `qty` is signed (short is negative), `avg_entry_price` in dollars a share."""

    symbol: str
    qty: Decimal
    avg_entry_price: Decimal


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """The broker's own word on an account, in dollars. `equity` None: not told. `suspended`: the broker's own stop
    (`set_own_stop`) is set, which alone does not make it `blocked`."""

    number: str
    cash: Decimal
    status: Literal["active", "blocked"]
    margin: bool = True
    options_level: int = 0
    mode: Literal["paper", "live"] = "paper"
    equity: Decimal | None = None
    buying_power: Decimal | None = None
    suspended: bool = False


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

    simulated: bool
    """It fills against the simulated market: simulated quotes are its prices. Of any other broker they say nothing."""

    replays_updates: bool
    """`updates` goes on behind a cursor without a gap; else what came while nobody listened has to be fetched."""

    @property
    def budget_left(self) -> int | None:
        """Requests that may still be made in this minute, as far as is known; None: there is no limit."""
        ...

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        """Seconds until the budget has a place for an order of this account, as far as is known; None: it has one now.
        `closes`: of one that closes a position, or changes an order (ADR 0026)."""
        ...

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        """The accounts that are there by themselves, one for each pair of keys; none where an account opens at its
        first order. Raises BrokerError."""
        ...

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        """Place it: the view is a definite yes. Raises BrokerRejected, NotSent, OutcomeUnknown."""
        ...

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """Look an order up by our id; None is the broker's word that it knows of none."""
        ...

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """Look an order up by the broker's id, which exits and legs have too; None: there is no such order in this
        account."""
        ...

    async def cancel(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        """Ask for cancellation. The view, if the broker tells it at once. Raises BrokerRejected where the
        order is already in a terminal state or unknown there."""
        ...

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        """Put another order in this one's place: the view of the new one, which names the old in `replaces`. A yes
        may still be followed by a no where the old one fills first. Raises BrokerRejected (the old one goes on),
        NotSent, OutcomeUnknown (look the new id up)."""
        ...

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        """Ask for the cancellation of everything open in one request, where `capabilities.cancels_all`: the broker's
        id of each order, and why it was refused or None. Raises BrokerError."""
        ...

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        """Set or lift the broker's own stop, where `capabilities.own_stop`: whether it was set before. Cancels are not
        stopped by it. Returns only once the broker shows it so. Raises BrokerError."""
        ...

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        """All orders that still work, ours or not; those that hang on another one (held exits, legs) as orders of
        their own, too."""
        ...

    async def fetch_orders_since(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        """Orders taken since an instant (it included), whether or not they still work, ours or not, oldest first, each with
        what hangs on it. There may be more: ask again from the last one's `submitted_at_us` until nothing new comes. Where
        `capabilities.lists_end_with_day`, those of today at most."""
        ...

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        """Executions since an instant, oldest first: the catch-up after a reconnect (E18)."""
        ...

    async def fetch_activities(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        """Activities since an instant, oldest first."""
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
