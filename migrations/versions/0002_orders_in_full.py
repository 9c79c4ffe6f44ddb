"""The whole vocabulary of orders: exits, legs, replacements, terms of accounts, activities, order templates.

Accounts that are there stay cash accounts; their next order pays fees and may be for options.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null, server_default=default)


def _integer(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[int]:
    """A 64-bit integer that never counts up by itself, not even as a key."""
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=null, server_default=default)


def upgrade() -> None:
    for column in (
        _integer("margin", default="0"),
        _integer("options_level", default="3"),
        _integer("open_combos", default="0"),
        _integer("reset_at", default="0"),
    ):
        op.add_column("accounts", column)
    for column in _order_columns():
        op.add_column("orders", column)
    op.add_column("orders", _text("replace_state", null=True))
    op.create_index(op.f("ix_orders_parent_id"), "orders", ["parent_id"])
    for column in (
        _integer("open_combos", default="0"),
        _integer("margin", default="0"),
        _integer("options_level", default="3"),
        _integer("fees", default="1"),
        _integer("impact", default="1"),
        _integer("price_improvement", default="0"),
    ):
        op.add_column("paper_accounts", column)
    for column in _order_columns():
        op.add_column("paper_orders", column)
    op.add_column("paper_orders", _integer("fees", default="0"))
    op.create_index(op.f("ix_paper_orders_parent_id"), "paper_orders", ["parent_id"])
    op.add_column("paper_sequence", _integer("rolled_at", default="0"))
    _make_tables()


def _order_columns() -> tuple[sa.Column[str] | sa.Column[int], ...]:
    """What the ledger's orders and the venue's have gained alike."""
    return (
        _text("parent_id", null=True),
        _text("order_class", default="simple"),
        _text("group_role", null=True),
        _text("position_intent", null=True),
        _integer("notional", null=True),
        _integer("trail_price", null=True),
        _integer("trail_percent", null=True),
        _integer("hwm", null=True),
        _integer("extended_hours", default="0"),
        _integer("ratio_qty", null=True),
        _text("replaces", null=True),
        _text("replaced_by", null=True),
    )


def _make_tables() -> None:
    op.create_table(
        "activities",
        _text("id"),
        _text("account_id"),
        _text("activity_id"),
        _text("kind"),
        _text("symbol"),
        _integer("qty"),
        _integer("price"),
        _integer("cash"),
        _text("description"),
        _integer("executed_at"),
        _integer("booked_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activities")),
        sa.UniqueConstraint("account_id", "activity_id", name=op.f("uq_activities_account_id_activity_id")),
    )
    op.create_index(op.f("ix_activities_account_id_id"), "activities", ["account_id", "id"])
    op.create_index(
        op.f("ix_activities_account_id_symbol_executed_at"),
        "activities",
        ["account_id", "symbol", "executed_at"],
    )
    op.create_table(
        "order_templates",
        _text("id"),
        _text("user_id"),
        _text("name"),
        _text("description", null=True),
        _text("symbol"),
        _text("side"),
        _integer("qty", null=True),
        _text("order_type"),
        _integer("limit_price", null=True),
        _integer("version", default="1"),
        _integer("created_at"),
        _integer("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_templates")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_order_templates_user_id_name")),
    )
    op.create_index(op.f("ix_order_templates_user_id_id"), "order_templates", ["user_id", "id"])
    op.create_table(
        "paper_activities",
        _text("id"),
        _text("account_number"),
        _text("kind"),
        _text("symbol"),
        _integer("qty"),
        _integer("price"),
        _integer("cash"),
        _text("description"),
        _integer("at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper_activities")),
    )
    op.create_index(
        op.f("ix_paper_activities_account_number_at"), "paper_activities", ["account_number", "at"]
    )
