"""The SQL behind orders that were replaced in place: a chain may be long, and is loaded at once (ADR 0024)."""

from collections.abc import Sequence

from sqlalchemy import select

from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import orders
from paiid.trading.records import ORDER_FIELDS, OrderRow, order_from

_chain = (
    select(orders.c.id, orders.c.replaces).where(any_of(orders.c.id, "b_ids")).cte("chain", recursive=True)
)
# Only what has passed its id on: at other brokers a chain of replaced orders is of no interest here.
_chain = _chain.union(
    select(orders.c.id, orders.c.replaces).where(
        orders.c.id == _chain.c.replaces, orders.c.broker_order_id.like("%~%")
    )
)
_PREDECESSORS = statement(
    select(*[orders.c[name] for name in ORDER_FIELDS]).where(orders.c.id == _chain.c.id)
)


async def load_predecessors(tx: Tx, ids: Sequence[str]) -> list[OrderRow]:
    """These orders, and those that have passed their id on to them, one after the other."""
    return [order_from(row) for row in await tx.fetch(_PREDECESSORS, {"b_ids": sorted(set(ids))})]
