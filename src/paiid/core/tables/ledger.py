"""Tables of the ledger: accounts, intents, orders, executions, positions, events, halts, audit, leases."""

from sqlalchemy import Index, Table, UniqueConstraint

from paiid.core.tables.base import integer, metadata, text

# One row an account, locked by every transaction that changes its state: `event_seq` numbers its events
# (contract S1), `cash` and `open_orders` are the risk counters the claim reads.
accounts = Table(
    "accounts",
    metadata,
    text("id", key=True),
    text("broker"),
    text("mode"),
    text("number"),
    text("owner_user_id"),
    text("name"),
    text("status"),
    integer("cash"),
    integer("starting_cash"),
    integer("open_orders", default=0),
    integer("event_seq", default=0),
    integer("event_epoch", default=1),
    integer("version", default=0),
    integer("reconciled_at", null=True),
    text("reconcile_problem", null=True),
    integer("created_at"),
    # Its terms as its broker has them (`domain/terms.py`); open spreads; since when its books count, after a reset.
    integer("margin", default=0),
    integer("options_level", default=3),
    integer("open_combos", default=0),
    integer("reset_at", default=0),
    UniqueConstraint("broker", "mode", "number"),
    Index(None, "owner_user_id"),
)

# One call under one key. `user_key` is user id + ':' + key, so that the scope of a key (E2) is one column.
intents = Table(
    "intents",
    metadata,
    text("id", key=True),
    text("user_id"),
    text("key"),
    text("user_key"),
    text("fingerprint"),
    text("kind"),
    text("account_id"),
    text("credential"),
    text("status"),
    integer("http_status", null=True),
    text("body", null=True),
    integer("corrected", default=0),
    integer("order_count"),
    integer("claimed_at"),
    integer("expires_at"),
    integer("unknown_at", null=True),
    integer("final_at", null=True),
    text("request_id", null=True),
    UniqueConstraint("user_key"),
    Index(None, "status", "expires_at"),
)

orders = Table(
    "orders",
    metadata,
    text("id", key=True),
    text("account_id"),
    text("user_id", null=True),
    text("intent_id", null=True),
    integer("position"),
    text("origin"),
    text("client_order_id"),
    text("broker_order_id", null=True),
    text("state"),
    text("status", null=True),
    text("symbol"),
    text("asset_class"),
    text("side"),
    text("type"),
    text("time_in_force"),
    integer("qty"),
    integer("limit_price", null=True),
    integer("stop_price", null=True),
    integer("reference_price", null=True),
    integer("reserve_price", default=0),
    integer("filled_qty", default=0),
    integer("filled_value", default=0),
    integer("filled_avg_price", null=True),
    integer("fees", default=0),
    # The furthest the broker has told (E18): the status shown follows once the prints behind it are booked.
    text("broker_status", null=True),
    integer("broker_filled_qty", default=0),
    text("reason", null=True),
    text("cancel_state", null=True),
    integer("cancel_requested_at", null=True),
    integer("open", default=0),
    integer("dispatch_deadline_at", null=True),
    integer("unknown_at", null=True),
    integer("lookup_count", default=0),
    integer("next_lookup_at", null=True),
    integer("watch_until", null=True),
    integer("version", default=1),
    integer("created_at"),
    integer("updated_at"),
    integer("submitted_at", null=True),
    # Exits and legs are rows of their own that hang on their parent: only the parent is sent.
    text("parent_id", null=True),
    text("order_class", default="simple"),
    text("group_role", null=True),
    text("position_intent", null=True),
    integer("notional", null=True),
    integer("trail_price", null=True),
    integer("trail_percent", null=True),
    integer("hwm", null=True),
    integer("extended_hours", default=0),
    integer("ratio_qty", null=True),
    # Ledger ids. `replace_state` is of the wish to replace this order, on the order that was to go.
    text("replaces", null=True),
    text("replaced_by", null=True),
    text("replace_state", null=True),
    UniqueConstraint("account_id", "client_order_id"),
    Index(None, "parent_id"),
    UniqueConstraint("account_id", "broker_order_id"),
    Index(None, "intent_id"),
    Index(None, "account_id", "id"),
    Index(None, "state", "next_lookup_at"),
    Index(None, "account_id", "open"),
)

executions = Table(
    "executions",
    metadata,
    text("id", key=True),
    text("account_id"),
    text("order_id"),
    text("execution_id"),
    text("kind"),
    text("corrects", null=True),
    text("symbol"),
    text("side"),
    integer("qty"),
    integer("price"),
    integer("fee"),
    integer("executed_at"),
    integer("booked_at"),
    UniqueConstraint("account_id", "execution_id"),
    Index(None, "account_id", "id"),
    Index(None, "account_id", "symbol", "executed_at"),
    Index(None, "order_id"),
)

# The holding and, beside it, what open orders still may buy and sell of the symbol (remaining quantity
# and remaining quantity x reserve price): the risk counters of one symbol.
positions = Table(
    "positions",
    metadata,
    text("account_id", key=True),
    text("symbol", key=True),
    text("asset_class"),
    integer("qty"),
    integer("cost_basis"),
    integer("realized_pl", default=0),
    integer("open_buy_qty", default=0),
    integer("open_buy_value", default=0),
    integer("open_sell_qty", default=0),
    integer("open_sell_value", default=0),
    integer("version", default=1),
    integer("updated_at"),
)

# What changed an account and was no order (`BrokerActivity`): `qty` signed at `price`, `cash` what the account got.
activities = Table(
    "activities",
    metadata,
    text("id", key=True),
    text("account_id"),
    text("activity_id"),
    text("kind"),
    text("symbol"),
    integer("qty"),
    integer("price"),
    integer("cash"),
    text("description"),
    integer("executed_at"),
    integer("booked_at"),
    UniqueConstraint("account_id", "activity_id"),
    Index(None, "account_id", "id"),
    Index(None, "account_id", "symbol", "executed_at"),
)

# Orders a user keeps for later; `name` is his own and stands once.
order_templates = Table(
    "order_templates",
    metadata,
    text("id", key=True),
    text("user_id"),
    text("name"),
    text("description", null=True),
    text("symbol"),
    text("side"),
    integer("qty", null=True),
    text("order_type"),
    integer("limit_price", null=True),
    integer("version", default=1),
    integer("created_at"),
    integer("updated_at"),
    UniqueConstraint("user_id", "name"),
    Index(None, "user_id", "id"),
)

account_days = Table(
    "account_days",
    metadata,
    text("account_id", key=True),
    text("day", key=True),
    integer("equity"),
    integer("cash"),
    integer("rolled_at"),
)

events = Table(
    "events",
    metadata,
    text("account_id", key=True),
    integer("seq", key=True),
    integer("epoch"),
    text("kind"),
    text("source"),
    integer("ts_event"),
    text("data"),
    Index(None, "ts_event"),
)

audit = Table(
    "audit",
    metadata,
    text("id", key=True),
    integer("at"),
    text("actor_kind"),
    text("actor_id"),
    text("action"),
    text("subject"),
    text("request_id", null=True),
    text("detail"),
    Index(None, "at"),
)

halts = Table(
    "halts",
    metadata,
    text("scope", key=True),
    text("mode"),
    integer("epoch"),
    text("reason"),
    text("set_by"),
    integer("set_at"),
)

halt_epoch = Table("halt_epoch", metadata, integer("id", key=True), integer("epoch"))

halt_receipts = Table(
    "halt_receipts",
    metadata,
    integer("epoch", key=True),
    text("scope"),
    text("mode"),
    text("level"),
    text("detail"),
    integer("started_at"),
    integer("updated_at"),
)

leases = Table(
    "leases",
    metadata,
    text("name", key=True),
    text("holder"),
    integer("token"),
    integer("expires_at"),
)

broker_cursors = Table("broker_cursors", metadata, text("name", key=True), integer("cursor"))
