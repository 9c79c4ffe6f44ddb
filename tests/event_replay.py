"""An account as its event rows alone tell it: what a client that missed nothing would show (contract S1)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from paiid.core.json import encode
from paiid.trading.answers import execution_view, order_view, position_event
from paiid.trading.records import ExecutionRow, OrderRow, PositionRow


@dataclass
class Account:
    """Orders, fills and activities by id, positions by symbol, and cash."""

    orders: dict[str, Any] = field(default_factory=dict)
    fills: dict[str, Any] = field(default_factory=dict)
    activities: dict[str, Any] = field(default_factory=dict)
    positions: dict[str, Any] = field(default_factory=dict)
    cash: Decimal = Decimal(0)


def replayed(events: Sequence[dict[str, Any]]) -> Account:
    """The events in the order of their numbers, each believed. Raises AssertionError where a number is missing."""
    account = Account()
    for at, event in enumerate(events, 1):
        assert event["seq"] == at, "an event is missing"
        data = event["data"]
        match event["kind"]:
            case "order":
                account.orders[data["id"]] = data
            case "fill":
                account.fills[data["execution_id"]] = data
            case "activity":
                account.activities[data["activity_id"]] = data
            case "position":
                account.positions[data["symbol"]] = data
            case "cash":
                account.cash = data["cash"]
            case other:
                raise AssertionError(other)
    return account


def as_told(view: dict[str, Any]) -> Any:
    """A view as its event's text has it."""
    return json.loads(encode(view), parse_float=Decimal)


def stored(
    orders: Sequence[OrderRow],
    executions: Sequence[ExecutionRow],
    activities: dict[str, Any],
    positions: Sequence[PositionRow],
    cash: Decimal,
) -> Account:
    """The same, from the rows; positions that never held anything were never told."""
    return Account(
        {row.id: as_told(order_view(row)) for row in orders},
        {row.execution_id: as_told(execution_view(row)) for row in executions},
        activities,
        {row.symbol: as_told(position_event(row)) for row in positions},
        cash,
    )
