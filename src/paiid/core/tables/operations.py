"""Tables around trading: replicas, telemetry, GitHub events, AI usage, invites, switches, restored accounts."""

from sqlalchemy import Index, Table, UniqueConstraint

from paiid.core.tables.base import integer, metadata, text

# One row a running process, renewed every few seconds; gone rows are swept.
replicas = Table(
    "replicas",
    metadata,
    text("id", key=True),
    text("build"),
    text("version"),
    text("schema"),
    integer("started_at"),
    integer("seen_at"),
    # Its wall clock minus the database's.
    integer("clock_skew_us"),
    text("detail"),
)

# What user interfaces tell of themselves. Who sent it is the caller's, whatever the event says.
telemetry_events = Table(
    "telemetry_events",
    metadata,
    text("id", key=True),
    text("user_id"),
    text("user_role"),
    text("session_id", null=True),
    text("component"),
    text("action"),
    integer("occurred_at"),
    integer("received_at"),
    text("metadata"),
    Index(None, "received_at"),
)

# Ids of deliveries that were taken: one that comes again is refused. They outlive the events.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    text("id", key=True),
    text("event"),
    integer("received_at"),
    Index(None, "received_at"),
)

github_events = Table(
    "github_events",
    metadata,
    text("id", key=True),
    text("delivery_id"),
    text("event"),
    text("action", null=True),
    text("repository"),
    text("subject"),
    text("title", null=True),
    text("state", null=True),
    text("sender", null=True),
    text("url", null=True),
    integer("occurred_at"),
    integer("received_at"),
    text("detail"),
    Index(None, "received_at"),
    Index(None, "repository", "id"),
)

# Totals go on when old events are pruned.
github_counts = Table(
    "github_counts",
    metadata,
    text("repository", key=True),
    text("event", key=True),
    integer("total"),
    integer("latest_at"),
)

# What a user has used of the model in a day (UTC); `cost` in millionths of a dollar.
ai_usage = Table(
    "ai_usage",
    metadata,
    text("user_id", key=True),
    text("day", key=True),
    integer("requests"),
    integer("input_tokens"),
    integer("output_tokens"),
    integer("cost"),
    integer("updated_at"),
)

# What requests under way may come to at most, so that many at once cannot pass the budget together. A row of a process that
# died in between counts until it expires.
ai_reservations = Table(
    "ai_reservations",
    metadata,
    text("id", key=True),
    text("user_id"),
    text("day"),
    integer("tokens"),
    integer("cost"),
    integer("expires_at"),
    Index(None, "user_id"),
)

invites = Table(
    "invites",
    metadata,
    text("id", key=True),
    text("code_hash"),
    text("email", null=True),
    text("role"),
    text("created_by"),
    integer("created_at"),
    integer("expires_at"),
    integer("used_at", null=True),
    text("used_by", null=True),
    integer("revoked_at", null=True),
    UniqueConstraint("code_hash"),
)

# What an owner turns on and off while the service runs (`registration`).
switches = Table(
    "switches",
    metadata,
    text("name", key=True),
    text("value"),
    integer("updated_at"),
    text("updated_by"),
)

# An account that came back from a backup, and one row, without an id, for the database as a whole: no resume before the broker's orders since then are in the ledger, for a key
# that was used after the backup is known by its order's id alone.
restored_accounts = Table(
    "restored_accounts",
    metadata,
    text("account_id", key=True),
    text("restore_id"),
    integer("backup_at"),
    integer("restored_at"),
    integer("imported_at", null=True),
    integer("imported_orders", default=0),
    text("problem", null=True),
    text("accepted_by", null=True),
    integer("accepted_at", null=True),
)
