"""The SQL that only single orders need: what they could wash against, and how far a trailing stop has come."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import bindparam, select, update

from paiid.brokers.paper.records import PaperOrder
from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import paper_orders
from paiid.domain.money import money_from_int, money_to_int
from paiid.domain.orders import Side

_RESTING = statement(
    select(
        paper_orders.c.id,
        paper_orders.c.account_number,
        paper_orders.c.symbol,
        paper_orders.c.side,
        paper_orders.c.limit_price,
    )
    .where(
        any_of(paper_orders.c.account_number, "b_numbers"),
        paper_orders.c.working == 1,
        any_of(paper_orders.c.symbol, "b_symbols"),
        paper_orders.c.order_class == "simple",
        paper_orders.c.type != "trailing_stop",
    )
    .order_by(paper_orders.c.accepted_seq)
)
_trail = (
    update(paper_orders)
    .where(paper_orders.c.id == bindparam("b_id"), paper_orders.c.working == 1)
    .values(hwm=bindparam("b_hwm"), stop_price=bindparam("b_stop"))
)
_RAISE_TRAIL = statement(_trail.where(paper_orders.c.hwm < bindparam("b_hwm")))
_LOWER_TRAIL = statement(_trail.where(paper_orders.c.hwm > bindparam("b_hwm")))


@dataclass(frozen=True, slots=True)
class Resting:
    """An open order as the rule against wash trades sees it; no limit: it would trade at any price."""

    order_id: str
    limit_price: Decimal | None


async def load_resting(
    tx: Tx, numbers: Sequence[str], symbols: Sequence[str]
) -> list[tuple[str, str, Side, Resting]]:
    """(account, symbol, side, order) of open simple orders, trailing stops left out."""
    rows = await tx.fetch(_RESTING, {"b_numbers": list(numbers), "b_symbols": list(symbols)})
    return [
        (
            row["account_number"],
            row["symbol"],
            row["side"],
            Resting(row["id"], None if row["limit_price"] is None else money_from_int(row["limit_price"])),
        )
        for row in rows
    ]


async def save_trails(tx: Tx, orders: Sequence[PaperOrder]) -> None:
    """Keep the best price that each trailing stop has seen, and its stop, without an event; never a worse one."""
    for side, statement_of in (("sell", _RAISE_TRAIL), ("buy", _LOWER_TRAIL)):
        moved = [
            {
                "b_id": order.id,
                "b_hwm": money_to_int(order.working.hwm),
                "b_stop": money_to_int(order.working.stop_price),
            }
            for order in orders
            if order.working.side == side
            and order.working.hwm is not None
            and order.working.stop_price is not None
        ]
        if moved:
            await tx.execute_many(statement_of, moved)
