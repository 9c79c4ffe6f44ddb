"""Tables of the built-in paper venue: its own books, apart from our ledger, as a broker would keep them."""

from sqlalchemy import Index, Table, UniqueConstraint

from paiid.core.tables.base import integer, metadata, text

# Locked by every transaction that changes an order, a holding or the cash of the account.
paper_accounts = Table(
    "paper_accounts",
    metadata,
    text("number", key=True),
    integer("cash"),
    text("status"),
    integer("open_orders", default=0),
    integer("version", default=1),
    integer("created_at"),
    # Open spreads: 0 spares a question about them.
    integer("open_combos", default=0),
    # The terms (`domain/terms.py`); `price_improvement` in millionths of a percent.
    integer("margin", default=0),
    integer("options_level", default=3),
    integer("fees", default=1),
    integer("impact", default=1),
    integer("price_improvement", default=0),
)

# `client_key` is account number + ':' + client order id, so that one column refuses duplicates. `accepted_seq`
# and `event_seq` are the numbers of the order's first and latest row in `paper_events`. `parent_id` is the order that
# an exit or a leg hangs on; the entry of a bracket, and a spread as a whole, are parents. `fees` are all so far.
paper_orders = Table(
    "paper_orders",
    metadata,
    text("id", key=True),
    text("account_number"),
    text("client_order_id"),
    text("client_key"),
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
    integer("accepted_seq"),
    integer("event_seq"),
    integer("submitted_at"),
    integer("updated_at"),
    integer("notional", null=True),
    integer("trail_price", null=True),
    integer("trail_percent", null=True),
    integer("hwm", null=True),
    integer("extended_hours", default=0),
    text("order_class", default="simple"),
    text("group_role", null=True),
    text("parent_id", null=True),
    text("position_intent", null=True),
    integer("ratio_qty", null=True),
    text("replaces", null=True),
    text("replaced_by", null=True),
    integer("fees", default=0),
    UniqueConstraint("client_key"),
    Index(None, "parent_id"),
    Index(None, "working", "accepted_seq"),
    Index(None, "account_number", "working"),
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

# The holding, and what open orders still may buy and sell of the symbol: remaining quantity, and remaining
# quantity x reserve price.
paper_positions = Table(
    "paper_positions",
    metadata,
    text("account_number", key=True),
    text("symbol", key=True),
    integer("qty"),
    integer("cost_basis"),
    integer("open_buy_qty", default=0),
    integer("open_buy_value", default=0),
    integer("open_sell_qty", default=0),
    integer("open_sell_value", default=0),
)

# What has been taken of the size of a symbol's newest quote; a newer quote starts afresh.
paper_liquidity = Table(
    "paper_liquidity",
    metadata,
    text("symbol", key=True),
    text("source"),
    integer("quote_sequence"),
    integer("as_of"),
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

# One row. `seq` numbers the events; every writing transaction holds its lock to the end, so that numbers become
# visible in order and a reader never passes one by. `read_seq` is how far a reader has come, `rolled_at` the last end
# of a trading day whose expirations and corporate actions are booked.
paper_sequence = Table(
    "paper_sequence",
    metadata,
    integer("id", key=True),
    integer("seq"),
    integer("read_seq", default=0),
    integer("rolled_at", default=0),
)

# What changed an account and was no order: expirations, exercises, assignments, dividends, splits. The id is made of
# what it is about, so that nothing happens twice.
paper_activities = Table(
    "paper_activities",
    metadata,
    text("id", key=True),
    text("account_number"),
    text("kind"),
    text("symbol"),
    integer("qty"),
    integer("price"),
    integer("cash"),
    text("description"),
    integer("at"),
    Index(None, "account_number", "at"),
)
