"""The SQL of order templates, and a template as a frozen value."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from paiid.core.db import Row, Tx, statement
from paiid.core.tables import order_templates
from paiid.domain.money import money_from_int, money_to_int, qty_from_int, qty_to_int
from paiid.domain.orders import OrderType, Side

_ALL = select(order_templates).where(order_templates.c.user_id == bindparam("b_user"))
_FIND = statement(_ALL.where(order_templates.c.id == bindparam("b_id")))
_PAGE = statement(
    _ALL.where(order_templates.c.id < bindparam("b_before"))
    .order_by(order_templates.c.id.desc())
    .limit(bindparam("b_limit"))
)
_NAMED = statement(
    select(order_templates.c.id).where(
        order_templates.c.user_id == bindparam("b_user"), order_templates.c.name == bindparam("b_name")
    )
)
_COUNT = statement(
    select(func.count().label("n"))
    .select_from(order_templates)
    .where(order_templates.c.user_id == bindparam("b_user"))
)
_INSERT = statement(insert(order_templates))
_CHANGED = (
    "name", "description", "symbol", "side", "qty", "order_type", "limit_price", "version", "updated_at",
)  # fmt: skip
_UPDATE = statement(
    update(order_templates).where(order_templates.c.id == bindparam("b_id")), columns=list(_CHANGED)
)
_DELETE = statement(delete(order_templates).where(order_templates.c.id == bindparam("b_id")))


@dataclass(frozen=True, slots=True)
class Draft:
    """What a user keeps of an order. `qty` in shares or contracts, None: sized by his settings when it is used;
    `limit_price` in dollars, exactly for type limit."""

    name: str
    description: str | None
    symbol: str
    side: Side
    qty: Decimal | None
    order_type: OrderType
    limit_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Template:
    """A draft that is kept; `version` counts its changes, instants in microseconds."""

    id: str
    user_id: str
    draft: Draft
    version: int
    created_at: int
    updated_at: int


def _from_row(row: Row) -> Template:
    qty, limit = row["qty"], row["limit_price"]
    draft = Draft(
        name=row["name"],
        description=row["description"],
        symbol=row["symbol"],
        side=row["side"],
        qty=None if qty is None else qty_from_int(qty),
        order_type=row["order_type"],
        limit_price=None if limit is None else money_from_int(limit),
    )
    return Template(
        row["id"], row["user_id"], draft, int(row["version"]), row["created_at"], row["updated_at"]
    )


def _values(template: Template) -> dict[str, Any]:
    draft = template.draft
    return {
        "name": draft.name,
        "description": draft.description,
        "symbol": draft.symbol,
        "side": draft.side,
        "qty": None if draft.qty is None else qty_to_int(draft.qty),
        "order_type": draft.order_type,
        "limit_price": None if draft.limit_price is None else money_to_int(draft.limit_price),
        "version": template.version,
        "updated_at": template.updated_at,
    }


async def find_template(tx: Tx, user_id: str, template_id: str) -> Template | None:
    """A template of this user; another's is None."""
    row = await tx.fetch_one(_FIND, {"b_user": user_id, "b_id": template_id})
    return None if row is None else _from_row(row)


async def load_template_page(tx: Tx, user_id: str, before: str, limit: int) -> list[Template]:
    """Newest first; `before` is the id the page continues behind."""
    rows = await tx.fetch(_PAGE, {"b_user": user_id, "b_before": before, "b_limit": limit})
    return [_from_row(row) for row in rows]


async def find_named(tx: Tx, user_id: str, name: str) -> str | None:
    """The id of this user's template of that name."""
    row = await tx.fetch_one(_NAMED, {"b_user": user_id, "b_name": name})
    return None if row is None else str(row["id"])


async def count_templates(tx: Tx, user_id: str) -> int:
    """How many templates the user has."""
    row = await tx.fetch_one(_COUNT, {"b_user": user_id})
    return 0 if row is None else int(row["n"])


async def add_template(tx: Tx, template: Template) -> None:
    """A new row. Raises UniqueViolation for a name that the user has already: hold his row alone before."""
    owned = {"id": template.id, "user_id": template.user_id, "created_at": template.created_at}
    await tx.execute(_INSERT, owned | _values(template))


async def save_template(tx: Tx, template: Template) -> None:
    """Write it back whole. Hold the user's row alone before."""
    await tx.execute(_UPDATE, {"b_id": template.id} | _values(template))


async def drop_template(tx: Tx, template_id: str) -> None:
    """Delete the row. Hold the user's row alone before."""
    await tx.execute(_DELETE, {"b_id": template_id})
