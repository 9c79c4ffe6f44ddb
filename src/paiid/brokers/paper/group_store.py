"""The SQL of orders that belong together: the rest of a group, and the open spreads of an account."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from sqlalchemy import bindparam, or_, select

from paiid.brokers.paper.records import PaperOrder, order_from_row
from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import paper_orders
from paiid.domain.margin import Combo
from paiid.domain.orders import OrderStatus
from paiid.domain.paper_spreads import combo_of

_GROUPS = statement(
    select(paper_orders)
    .where(or_(any_of(paper_orders.c.id, "b_ids"), any_of(paper_orders.c.parent_id, "b_parents")))
    .order_by(paper_orders.c.accepted_seq)
)
_SPREADS = statement(
    select(paper_orders)
    .where(
        any_of(paper_orders.c.account_number, "b_numbers"),
        paper_orders.c.working == 1,
        paper_orders.c.order_class == bindparam("b_class"),
    )
    .order_by(paper_orders.c.accepted_seq)
)
_ROLE_RANK = {"take_profit": 0, "stop_loss": 1}


async def load_groups(tx: Tx, orders: Iterable[PaperOrder]) -> dict[str, PaperOrder]:
    """All orders of the groups that these belong to, by id, oldest first; without a question where there is none."""
    roots = sorted({one.root_id for one in orders if one.order_class != "simple"})
    if not roots:
        return {}
    rows = await tx.fetch(_GROUPS, {"b_ids": roots, "b_parents": roots})
    return {row["id"]: order_from_row(row) for row in rows}


def legs_of(parent: PaperOrder, orders: Iterable[PaperOrder]) -> tuple[PaperOrder, ...]:
    """What hangs on an order as it is now, the take profit first; what was replaced hangs there no more."""
    found = [one for one in orders if one.parent_id == parent.id and one.status is not OrderStatus.REPLACED]
    return tuple(sorted(found, key=lambda one: (_ROLE_RANK.get(one.group_role or "", 0), one.accepted_seq)))


async def load_combos(tx: Tx, numbers: Sequence[str]) -> dict[str, dict[str, Combo]]:
    """The open spreads of these accounts: by account, by the spread's id."""
    rows = await tx.fetch(_SPREADS, {"b_numbers": list(numbers), "b_class": "mleg"})
    orders = [order_from_row(row) for row in rows]
    found: dict[str, dict[str, Combo]] = {number: {} for number in numbers}
    for order in orders:
        if order.is_parent:
            found[order.account_number][order.id] = combo(order, legs_of(order, orders))
    return found


class _Ratio:
    """A leg's order as the arithmetic of spreads reads it."""

    __slots__ = ("ratio_qty", "side", "symbol")

    def __init__(self, order: PaperOrder) -> None:
        self.symbol, self.side = order.working.symbol, order.working.side
        self.ratio_qty = order.ratio_qty or 1


def ratios(legs: Iterable[PaperOrder]) -> list[_Ratio]:
    """The legs of a spread, for `domain/paper_spreads.py`."""
    return [_Ratio(leg) for leg in legs]


def combo(parent: PaperOrder, legs: Iterable[PaperOrder], left: Decimal | None = None) -> Combo:
    """What of a spread is still open (or, with `left`, will be), at the net it has reserved."""
    return combo_of(ratios(legs), parent.working.left if left is None else left, parent.reserve_price)
