"""Tables of the built-in paper venue: its own books, apart from our ledger, as a broker would keep them."""

from sqlalchemy import Index, Table, UniqueConstraint

from paiid.core.tables.base import integer, metadata, text

paper_accounts = Table(
    "paper_accounts",
    metadata,
    text("number", key=True),
    integer("cash"),
    text("status"),
    integer("version", default=1),
    integer("created_at"),
)

paper_orders = Table(
    "paper_orders",
    metadata,
    text("id", key=True),
    text("account_number"),
    text("client_order_id"),
    text("symbol"),
    text("side"),
    text("type"),
    text("time_in_force"),
    integer("qty"),
    integer("limit_price", null=True),
    integer("stop_price", null=True),
    integer("triggered_at", null=True),
    integer("reserve_price"),
    integer("filled_qty", default=0),
    integer("filled_value", default=0),
    text("status"),
    text("reason", null=True),
    integer("working", default=1),
    integer("live_at"),
    integer("expires_at", null=True),
    integer("version", default=1),
    integer("submitted_at"),
    integer("updated_at"),
    UniqueConstraint("account_number", "client_order_id"),
    Index(None, "working", "symbol"),
)

paper_executions = Table(
    "paper_executions",
    metadata,
    text("id", key=True),
    text("order_id"),
    text("account_number"),
    text("symbol"),
    text("side"),
    integer("qty"),
    integer("price"),
    integer("fee"),
    integer("quote_sequence"),
    integer("executed_at"),
    Index(None, "account_number", "executed_at"),
)

paper_positions = Table(
    "paper_positions",
    metadata,
    text("account_number", key=True),
    text("symbol", key=True),
    integer("qty"),
    integer("cost_basis"),
)

# What has been taken of the size of a symbol's newest quote; a newer sequence starts afresh.
paper_liquidity = Table(
    "paper_liquidity",
    metadata,
    text("symbol", key=True),
    integer("quote_sequence"),
    integer("bid_taken"),
    integer("ask_taken"),
)

# The venue's update stream: `seq` is the cursor of `Broker.updates`.
paper_events = Table(
    "paper_events",
    metadata,
    integer("seq", key=True),
    text("order_id"),
    text("execution_id", null=True),
    text("data"),
    integer("at"),
)
