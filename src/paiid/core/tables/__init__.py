"""Every table of the database, one file an area; the schema itself is made by the migrations alone.

All columns are text or 64-bit integers, so that both databases hold exactly the same: instants in
microseconds since the epoch (`_at`), money and prices in millionths, quantities in billionths
(`domain/money.py`), flags as 0 and 1, JSON as text.
"""

from paiid.core.tables.base import metadata
from paiid.core.tables.identity import (
    api_tokens,
    grants,
    install_secrets,
    sessions,
    user_settings,
    users,
)
from paiid.core.tables.ledger import (
    account_days,
    accounts,
    activities,
    audit,
    broker_cursors,
    events,
    executions,
    halt_epoch,
    halt_receipts,
    halts,
    intents,
    leases,
    order_templates,
    orders,
    positions,
)
from paiid.core.tables.operations import (
    ai_reservations,
    ai_usage,
    github_counts,
    github_events,
    invites,
    replicas,
    restored_accounts,
    switches,
    telemetry_events,
    webhook_deliveries,
)
from paiid.core.tables.paper import (
    paper_accounts,
    paper_activities,
    paper_events,
    paper_executions,
    paper_liquidity,
    paper_orders,
    paper_positions,
    paper_sequence,
)
from paiid.core.tables.streams import stream_tickets

__all__ = [
    "account_days",
    "accounts",
    "activities",
    "ai_reservations",
    "ai_usage",
    "api_tokens",
    "audit",
    "broker_cursors",
    "events",
    "executions",
    "github_counts",
    "github_events",
    "grants",
    "halt_epoch",
    "halt_receipts",
    "halts",
    "install_secrets",
    "intents",
    "invites",
    "leases",
    "metadata",
    "order_templates",
    "orders",
    "paper_accounts",
    "paper_activities",
    "paper_events",
    "paper_executions",
    "paper_liquidity",
    "paper_orders",
    "paper_positions",
    "paper_sequence",
    "positions",
    "replicas",
    "restored_accounts",
    "sessions",
    "stream_tickets",
    "switches",
    "telemetry_events",
    "user_settings",
    "users",
    "webhook_deliveries",
]
