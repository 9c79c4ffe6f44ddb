"""The ledger's rows as objects: what a transaction loads, changes and writes back.

Numbers stay scaled integers here (money 1e-6, quantity 1e-9), exactly as stored: the ledger adds and
compares, it never rounds. Prices become Decimal at the edges (risk, answers, broker).
"""

from dataclasses import dataclass, fields
from typing import Any

from paiid.core.db import Row
from paiid.domain.money import MONEY_SCALE, QTY_SCALE
from paiid.domain.orders import (
    FINAL_SUBMISSIONS,
    TERMINAL_STATUSES,
    GroupRole,
    OrderClass,
    OrderStatus,
    OrderType,
    PositionIntent,
    Side,
    Submission,
    TimeInForce,
)

_QTY_FACTOR: int = 10**QTY_SCALE
MONEY_FACTOR: int = 10**MONEY_SCALE


def value_of(qty: int, price: int) -> int:
    """Scaled quantity x scaled price, as scaled money, half to even."""
    whole, rest = divmod(qty * price, _QTY_FACTOR)
    double = rest * 2
    if double > _QTY_FACTOR or (double == _QTY_FACTOR and whole & 1):
        whole += 1
    return whole


def average_price(value: int, qty: int) -> int | None:
    """Scaled money / scaled quantity, as a scaled price rounded half up; None for no quantity."""
    if qty == 0:
        return None
    return (value * _QTY_FACTOR * 2 + qty) // (qty * 2)


@dataclass(slots=True)
class OrderRow:
    """One order of the ledger; field names are column names."""

    id: str
    account_id: str
    user_id: str | None
    intent_id: str | None
    position: int
    origin: str
    client_order_id: str
    broker_order_id: str | None
    state: Submission
    status: OrderStatus | None
    symbol: str
    asset_class: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: int
    limit_price: int | None
    stop_price: int | None
    reference_price: int | None
    reserve_price: int
    filled_qty: int
    filled_value: int
    filled_avg_price: int | None
    fees: int
    broker_status: OrderStatus | None
    broker_filled_qty: int
    reason: str | None
    cancel_state: str | None
    cancel_requested_at: int | None
    open: int
    dispatch_deadline_at: int | None
    unknown_at: int | None
    lookup_count: int
    next_lookup_at: int | None
    watch_until: int | None
    version: int
    created_at: int
    updated_at: int
    submitted_at: int | None
    parent_id: str | None = None
    order_class: OrderClass = "simple"
    group_role: GroupRole | None = None
    position_intent: PositionIntent | None = None
    notional: int | None = None
    trail_price: int | None = None
    trail_percent: int | None = None
    hwm: int | None = None
    extended_hours: int = 0
    ratio_qty: int | None = None
    replaces: str | None = None
    replaced_by: str | None = None
    replace_state: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether its submission has come to an end (it may still fill)."""
        return self.state in FINAL_SUBMISSIONS

    @property
    def works(self) -> bool:
        """Whether it may still buy or sell: waiting, on the wire, in doubt, or open at the broker."""
        if self.state is Submission.ACCEPTED:
            return self.status not in TERMINAL_STATUSES
        return self.state in _MAY_WORK

    @property
    def remaining(self) -> int:
        """Scaled quantity that is not filled yet."""
        return max(0, self.qty - self.filled_qty)


_MAY_WORK = frozenset({Submission.QUEUED, Submission.DISPATCHING, Submission.UNKNOWN})


@dataclass(slots=True)
class IntentRow:
    """One call under one key; field names are column names."""

    id: str
    user_id: str
    key: str
    user_key: str
    fingerprint: str
    kind: str
    account_id: str
    credential: str
    status: str
    http_status: int | None
    body: str | None
    corrected: int
    order_count: int
    claimed_at: int
    expires_at: int
    unknown_at: int | None
    final_at: int | None
    request_id: str | None


@dataclass(slots=True)
class AccountRow:
    """One account, locked while a transaction changes anything in it; field names are column names."""

    id: str
    broker: str
    mode: str
    number: str
    owner_user_id: str
    name: str
    status: str
    cash: int
    starting_cash: int
    open_orders: int
    event_seq: int
    event_epoch: int
    version: int
    reconciled_at: int | None
    reconcile_problem: str | None
    created_at: int
    margin: int = 0
    options_level: int = 3
    open_combos: int = 0
    reset_at: int = 0


@dataclass(slots=True)
class PositionRow:
    """One symbol in an account: the holding (`cost_basis` is signed like `qty`) and its open orders."""

    account_id: str
    symbol: str
    asset_class: str
    qty: int
    cost_basis: int
    realized_pl: int
    open_buy_qty: int
    open_buy_value: int
    open_sell_qty: int
    open_sell_value: int
    version: int
    updated_at: int


@dataclass(slots=True)
class ExecutionRow:
    """One print, booked; field names are column names."""

    id: str
    account_id: str
    order_id: str
    execution_id: str
    kind: str
    corrects: str | None
    symbol: str
    side: str
    qty: int
    price: int
    fee: int
    executed_at: int
    booked_at: int


ORDER_FIELDS = tuple(field.name for field in fields(OrderRow))
INTENT_FIELDS = tuple(field.name for field in fields(IntentRow))
ACCOUNT_FIELDS = tuple(field.name for field in fields(AccountRow))
POSITION_FIELDS = tuple(field.name for field in fields(PositionRow))
EXECUTION_FIELDS = tuple(field.name for field in fields(ExecutionRow))


def order_from(row: Row) -> OrderRow:
    """A row of `orders`."""
    order = OrderRow(*[row[name] for name in ORDER_FIELDS])
    order.state = Submission(order.state)
    if order.status is not None:
        order.status = OrderStatus(order.status)
    if order.broker_status is not None:
        order.broker_status = OrderStatus(order.broker_status)
    return order


def intent_from(row: Row) -> IntentRow:
    """A row of `intents`."""
    return IntentRow(*[row[name] for name in INTENT_FIELDS])


def account_from(row: Row) -> AccountRow:
    """A row of `accounts`."""
    return AccountRow(*[row[name] for name in ACCOUNT_FIELDS])


def position_from(row: Row) -> PositionRow:
    """A row of `positions`."""
    return PositionRow(*[row[name] for name in POSITION_FIELDS])


def execution_from(row: Row) -> ExecutionRow:
    """A row of `executions`."""
    return ExecutionRow(*[row[name] for name in EXECUTION_FIELDS])


def columns_of(record: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The record as statement parameters."""
    return {name: getattr(record, name) for name in names}
