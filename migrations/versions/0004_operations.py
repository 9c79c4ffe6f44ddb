"""Operations: replicas, telemetry of user interfaces, GitHub events, AI usage, invites, switches, restored accounts."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null, server_default=default)


def _integer(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[int]:
    """A 64-bit integer that never counts up by itself, not even as a key."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null, server_default=default)


def _table(
    name: str, *columns: sa.Column[str] | sa.Column[int] | sa.UniqueConstraint, key: tuple[str, ...]
) -> None:
    op.create_table(name, *columns, sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{name}")))


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def upgrade() -> None:
    _table(
        "replicas",
        _text("id"),
        _text("build"),
        _text("version"),
        _text("schema"),
        _integer("started_at"),
        _integer("seen_at"),
        _integer("clock_skew_us"),
        _text("detail"),
        key=("id",),
    )
    _table(
        "telemetry_events",
        _text("id"),
        _text("user_id"),
        _text("user_role"),
        _text("session_id", null=True),
        _text("component"),
        _text("action"),
        _integer("occurred_at"),
        _integer("received_at"),
        _text("metadata"),
        key=("id",),
    )
    _index("telemetry_events", "received_at")
    _table("webhook_deliveries", _text("id"), _text("event"), _integer("received_at"), key=("id",))
    _index("webhook_deliveries", "received_at")
    _table(
        "github_events",
        _text("id"),
        _text("delivery_id"),
        _text("event"),
        _text("action", null=True),
        _text("repository"),
        _text("subject"),
        _text("title", null=True),
        _text("state", null=True),
        _text("sender", null=True),
        _text("url", null=True),
        _integer("occurred_at"),
        _integer("received_at"),
        _text("detail"),
        key=("id",),
    )
    _index("github_events", "received_at")
    _index("github_events", "repository", "id")
    _table(
        "github_counts",
        _text("repository"),
        _text("event"),
        _integer("total"),
        _integer("latest_at"),
        key=("repository", "event"),
    )
    _table(
        "ai_usage",
        _text("user_id"),
        _text("day"),
        _integer("requests"),
        _integer("input_tokens"),
        _integer("output_tokens"),
        _integer("cost"),
        _integer("updated_at"),
        key=("user_id", "day"),
    )
    _table(
        "ai_reservations",
        _text("id"),
        _text("user_id"),
        _text("day"),
        _integer("tokens"),
        _integer("cost"),
        _integer("expires_at"),
        key=("id",),
    )
    _index("ai_reservations", "user_id")
    _table(
        "invites",
        _text("id"),
        _text("code_hash"),
        _text("email", null=True),
        _text("role"),
        _text("created_by"),
        _integer("created_at"),
        _integer("expires_at"),
        _integer("used_at", null=True),
        _text("used_by", null=True),
        _integer("revoked_at", null=True),
        sa.UniqueConstraint("code_hash", name=op.f("uq_invites_code_hash")),
        key=("id",),
    )
    _table(
        "switches",
        _text("name"),
        _text("value"),
        _integer("updated_at"),
        _text("updated_by"),
        key=("name",),
    )
    _table(
        "restored_accounts",
        _text("account_id"),
        _text("restore_id"),
        _integer("backup_at"),
        _integer("restored_at"),
        _integer("imported_at", null=True),
        _integer("imported_orders", default="0"),
        _text("problem", null=True),
        _text("accepted_by", null=True),
        _integer("accepted_at", null=True),
        key=("account_id",),
    )
