"""Everything the first release keeps.

Written out, not taken from `paiid.core.tables`: those go on changing, and what this revision makes must not.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null)


def _integer(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[int]:
    """A 64-bit integer that never counts up by itself, not even as a key."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null, server_default=default)


def upgrade() -> None:
    _make_tables()
    op.execute("INSERT INTO halt_epoch (id, epoch) VALUES (1, 0)")
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'audit rows are append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'audit rows are append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
        )


def _make_tables() -> None:
    op.create_table(
        "account_days",
        _text("account_id"),
        _text("day"),
        _integer("equity"),
        _integer("cash"),
        _integer("rolled_at"),
        sa.PrimaryKeyConstraint("account_id", "day", name=op.f("pk_account_days")),
    )
    op.create_table(
        "accounts",
        _text("id"),
        _text("broker"),
        _text("mode"),
        _text("number"),
        _text("owner_user_id"),
        _text("name"),
        _text("status"),
        _integer("cash"),
        _integer("starting_cash"),
        _integer("open_orders", default="0"),
        _integer("event_seq", default="0"),
        _integer("event_epoch", default="1"),
        _integer("version", default="0"),
        _integer("reconciled_at", null=True),
        _text("reconcile_problem", null=True),
        _integer("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("broker", "mode", "number", name=op.f("uq_accounts_broker_mode_number")),
    )
    op.create_index(op.f("ix_accounts_owner_user_id"), "accounts", ["owner_user_id"], unique=False)
    op.create_table(
        "api_tokens",
        _text("id"),
        _text("user_id"),
        _text("name"),
        _text("token_hash"),
        _text("scopes"),
        _integer("created_at"),
        _integer("expires_at", null=True),
        _integer("last_used_at", null=True),
        _integer("revoked_at", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
    )
    op.create_index(op.f("ix_api_tokens_user_id"), "api_tokens", ["user_id"], unique=False)
    op.create_table(
        "audit",
        _text("id"),
        _integer("at"),
        _text("actor_kind"),
        _text("actor_id"),
        _text("action"),
        _text("subject"),
        _text("request_id", null=True),
        _text("detail"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_table(
        "broker_cursors",
        _text("name"),
        _integer("cursor"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_broker_cursors")),
    )
    op.create_table(
        "events",
        _text("account_id"),
        _integer("seq"),
        _integer("epoch"),
        _text("kind"),
        _text("source"),
        _integer("ts_event"),
        _text("data"),
        sa.PrimaryKeyConstraint("account_id", "seq", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_ts_event"), "events", ["ts_event"], unique=False)
    op.create_table(
        "executions",
        _text("id"),
        _text("account_id"),
        _text("order_id"),
        _text("execution_id"),
        _text("kind"),
        _text("corrects", null=True),
        _text("symbol"),
        _text("side"),
        _integer("qty"),
        _integer("price"),
        _integer("fee"),
        _integer("executed_at"),
        _integer("booked_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_executions")),
        sa.UniqueConstraint("account_id", "execution_id", name=op.f("uq_executions_account_id_execution_id")),
    )
    op.create_index(op.f("ix_executions_account_id_id"), "executions", ["account_id", "id"], unique=False)
    op.create_index(
        op.f("ix_executions_account_id_symbol_executed_at"),
        "executions",
        ["account_id", "symbol", "executed_at"],
        unique=False,
    )
    op.create_index(op.f("ix_executions_order_id"), "executions", ["order_id"], unique=False)
    op.create_table(
        "grants",
        _text("user_id"),
        _text("account_id"),
        _text("access"),
        _integer("created_at"),
        _text("created_by"),
        sa.PrimaryKeyConstraint("user_id", "account_id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_account_id"), "grants", ["account_id"], unique=False)
    op.create_table(
        "halt_epoch",
        _integer("id"),
        _integer("epoch"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_halt_epoch")),
    )
    op.create_table(
        "halt_receipts",
        _integer("epoch"),
        _text("scope"),
        _text("mode"),
        _text("level"),
        _text("detail"),
        _integer("started_at"),
        _integer("updated_at"),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_halt_receipts")),
    )
    op.create_table(
        "halts",
        _text("scope"),
        _text("mode"),
        _integer("epoch"),
        _text("reason"),
        _text("set_by"),
        _integer("set_at"),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_halts")),
    )
    op.create_table(
        "install_secrets",
        _text("name"),
        _text("value"),
        _integer("created_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_install_secrets")),
    )
    op.create_table(
        "intents",
        _text("id"),
        _text("user_id"),
        _text("key"),
        _text("user_key"),
        _text("fingerprint"),
        _text("kind"),
        _text("account_id"),
        _text("credential"),
        _text("status"),
        _integer("http_status", null=True),
        _text("body", null=True),
        _integer("corrected", default="0"),
        _integer("order_count"),
        _integer("claimed_at"),
        _integer("expires_at"),
        _integer("unknown_at", null=True),
        _integer("final_at", null=True),
        _text("request_id", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intents")),
        sa.UniqueConstraint("user_key", name=op.f("uq_intents_user_key")),
    )
    op.create_index(op.f("ix_intents_status_expires_at"), "intents", ["status", "expires_at"], unique=False)
    op.create_table(
        "leases",
        _text("name"),
        _text("holder"),
        _integer("token"),
        _integer("expires_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "orders",
        _text("id"),
        _text("account_id"),
        _text("user_id", null=True),
        _text("intent_id", null=True),
        _integer("position"),
        _text("origin"),
        _text("client_order_id"),
        _text("broker_order_id", null=True),
        _text("state"),
        _text("status", null=True),
        _text("symbol"),
        _text("asset_class"),
        _text("side"),
        _text("type"),
        _text("time_in_force"),
        _integer("qty"),
        _integer("limit_price", null=True),
        _integer("stop_price", null=True),
        _integer("reference_price", null=True),
        _integer("reserve_price", default="0"),
        _integer("filled_qty", default="0"),
        _integer("filled_value", default="0"),
        _integer("filled_avg_price", null=True),
        _integer("fees", default="0"),
        _text("broker_status", null=True),
        _integer("broker_filled_qty", default="0"),
        _text("reason", null=True),
        _text("cancel_state", null=True),
        _integer("cancel_requested_at", null=True),
        _integer("open", default="0"),
        _integer("dispatch_deadline_at", null=True),
        _integer("unknown_at", null=True),
        _integer("lookup_count", default="0"),
        _integer("next_lookup_at", null=True),
        _integer("watch_until", null=True),
        _integer("version", default="1"),
        _integer("created_at"),
        _integer("updated_at"),
        _integer("submitted_at", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint(
            "account_id", "broker_order_id", name=op.f("uq_orders_account_id_broker_order_id")
        ),
        sa.UniqueConstraint(
            "account_id", "client_order_id", name=op.f("uq_orders_account_id_client_order_id")
        ),
    )
    op.create_index(op.f("ix_orders_account_id_id"), "orders", ["account_id", "id"], unique=False)
    op.create_index(op.f("ix_orders_account_id_open"), "orders", ["account_id", "open"], unique=False)
    op.create_index(op.f("ix_orders_intent_id"), "orders", ["intent_id"], unique=False)
    op.create_index(
        op.f("ix_orders_state_next_lookup_at"), "orders", ["state", "next_lookup_at"], unique=False
    )
    op.create_table(
        "paper_accounts",
        _text("number"),
        _integer("cash"),
        _text("status"),
        _integer("open_orders", default="0"),
        _integer("version", default="1"),
        _integer("created_at"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_paper_accounts")),
    )
    op.create_table(
        "paper_events",
        _integer("seq"),
        _text("order_id"),
        _text("execution_id", null=True),
        _text("data"),
        _integer("at"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_paper_events")),
    )
    op.create_table(
        "paper_executions",
        _text("id"),
        _text("order_id"),
        _text("account_number"),
        _text("symbol"),
        _text("side"),
        _integer("qty"),
        _integer("price"),
        _integer("fee"),
        _integer("quote_sequence"),
        _integer("executed_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_executions")),
    )
    op.create_index(
        op.f("ix_paper_executions_account_number_executed_at"),
        "paper_executions",
        ["account_number", "executed_at"],
        unique=False,
    )
    op.create_table(
        "paper_liquidity",
        _text("symbol"),
        _text("source"),
        _integer("quote_sequence"),
        _integer("as_of"),
        _integer("bid_taken"),
        _integer("ask_taken"),
        sa.PrimaryKeyConstraint("symbol", name=op.f("pk_paper_liquidity")),
    )
    op.create_table(
        "paper_orders",
        _text("id"),
        _text("account_number"),
        _text("client_order_id"),
        _text("client_key"),
        _text("symbol"),
        _text("side"),
        _text("type"),
        _text("time_in_force"),
        _integer("qty"),
        _integer("limit_price", null=True),
        _integer("stop_price", null=True),
        _integer("triggered_at", null=True),
        _integer("reserve_price"),
        _integer("filled_qty", default="0"),
        _integer("filled_value", default="0"),
        _text("status"),
        _text("reason", null=True),
        _integer("working", default="1"),
        _integer("live_at"),
        _integer("expires_at", null=True),
        _integer("version", default="1"),
        _integer("accepted_seq"),
        _integer("event_seq"),
        _integer("submitted_at"),
        _integer("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_orders")),
        sa.UniqueConstraint("client_key", name=op.f("uq_paper_orders_client_key")),
    )
    op.create_index(
        op.f("ix_paper_orders_account_number_working"),
        "paper_orders",
        ["account_number", "working"],
        unique=False,
    )
    op.create_index(
        op.f("ix_paper_orders_working_accepted_seq"),
        "paper_orders",
        ["working", "accepted_seq"],
        unique=False,
    )
    op.create_table(
        "paper_positions",
        _text("account_number"),
        _text("symbol"),
        _integer("qty"),
        _integer("cost_basis"),
        _integer("open_buy_qty", default="0"),
        _integer("open_buy_value", default="0"),
        _integer("open_sell_qty", default="0"),
        _integer("open_sell_value", default="0"),
        sa.PrimaryKeyConstraint("account_number", "symbol", name=op.f("pk_paper_positions")),
    )
    op.create_table(
        "paper_sequence",
        _integer("id"),
        _integer("seq"),
        _integer("read_seq", default="0"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_sequence")),
    )
    op.create_table(
        "positions",
        _text("account_id"),
        _text("symbol"),
        _text("asset_class"),
        _integer("qty"),
        _integer("cost_basis"),
        _integer("realized_pl", default="0"),
        _integer("open_buy_qty", default="0"),
        _integer("open_buy_value", default="0"),
        _integer("open_sell_qty", default="0"),
        _integer("open_sell_value", default="0"),
        _integer("version", default="1"),
        _integer("updated_at"),
        sa.PrimaryKeyConstraint("account_id", "symbol", name=op.f("pk_positions")),
    )
    op.create_table(
        "sessions",
        _text("id"),
        _text("user_id"),
        _integer("generation"),
        _text("refresh_hash"),
        _text("previous_hash", null=True),
        _integer("rotated_at"),
        _text("access_jti"),
        _integer("access_iat"),
        _integer("created_at"),
        _integer("last_used_at"),
        _integer("expires_at"),
        _integer("ended_at", null=True),
        _text("end_reason", null=True),
        _text("user_agent", null=True),
        _text("address", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id_ended_at"), "sessions", ["user_id", "ended_at"], unique=False)
    op.create_table(
        "user_settings",
        _text("user_id"),
        _text("data"),
        _integer("version"),
        _integer("updated_at"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_settings")),
    )
    op.create_table(
        "users",
        _text("id"),
        _text("email"),
        _text("password_hash"),
        _text("role"),
        _integer("created_at"),
        _integer("updated_at"),
        _integer("disabled_at", null=True),
        _integer("deleted_at", null=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )


def downgrade() -> None:
    raise RuntimeError("migrations only go forward; restore a backup instead")
