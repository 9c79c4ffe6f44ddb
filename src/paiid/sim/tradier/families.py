"""What became of an accepted request: its orders at the venue with all their generations, and their newest prints."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, or_, select

from paiid.brokers import BrokerExecution, BrokerOrderView
from paiid.brokers.paper.records import client_key, execution_from_row, order_from_row
from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import paper_executions, paper_orders
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from paiid.sim.tradier.ids import Placed, Register, name_of, parse_name, prefix_of

__all__ = ["Family", "load_families", "load_touched"]

_AFTER = "\x7f"
"""Sorts behind everything that may follow the beginning of a name."""
_FIRST = statement(select(paper_orders).where(any_of(paper_orders.c.client_key, "b_keys")))
_CHAIN = statement(
    select(paper_orders)
    .where(paper_orders.c.client_key >= bindparam("b_from"), paper_orders.c.client_key < bindparam("b_to"))
    .order_by(paper_orders.c.accepted_seq)
)
_TOUCHED = statement(
    select(paper_orders.c.client_order_id).where(
        paper_orders.c.account_number == bindparam("b_number"),
        or_(paper_orders.c.working == 1, paper_orders.c.updated_at >= bindparam("b_since")),
    )
)
_PRINTS = statement(
    select(paper_executions)
    .where(
        paper_executions.c.account_number == bindparam("b_number"),
        paper_executions.c.executed_at >= bindparam("b_since"),
        any_of(paper_executions.c.order_id, "b_ids"),
    )
    .order_by(paper_executions.c.executed_at, paper_executions.c.id)
)


@dataclass(frozen=True, slots=True)
class Family:
    """`chains` are the generations of each member by its role, oldest first; `prints` the newest print of each order
    by the venue's id."""

    placed: Placed
    chains: Mapping[str, Sequence[BrokerOrderView]] = field(default_factory=dict)
    prints: Mapping[str, BrokerExecution] = field(default_factory=dict)

    @property
    def is_taken(self) -> bool:
        """Whether it was accepted: the venue has it, or it was to be rejected later."""
        return bool(self.chains) or self.placed.rejected_at_us is not None

    def chain(self, index: int | None) -> Sequence[BrokerOrderView]:
        """The generations of a member, or (None) of the order that is the whole; empty where there is none."""
        role = "" if index is None else self.placed.legs[index].role
        return self.chains.get(role, ())

    @property
    def working(self) -> list[BrokerOrderView]:
        """The venue's orders that can still do something."""
        newest = [chain[-1] for chain in self.chains.values()]
        return [one for one in newest if one.status not in TERMINAL_STATUSES]


async def load_families(tx: Tx, wanted: Sequence[Placed]) -> list[Family]:
    """What became of these requests of one account, in their order."""
    if not wanted:
        return []
    keys = [client_key(one.account, name) for one in wanted for name in _first_names(one)]
    rows = list(await tx.fetch(_FIRST, {"b_keys": keys}))
    changed = {
        name.id
        for row in rows
        if row["status"] == OrderStatus.REPLACED.value
        and (name := parse_name(row["client_order_id"])) is not None
    }
    for one in wanted:
        if one.id in changed:
            bounds = client_key(one.account, prefix_of(one.id))
            rows += await tx.fetch(_CHAIN, {"b_from": bounds, "b_to": bounds + _AFTER})
    views = {row["id"]: order_from_row(row).view() for row in rows}
    prints = await _newest_prints(tx, wanted[0].account, views.values())
    chains: dict[int, dict[str, list[BrokerOrderView]]] = {}
    for view in views.values():
        name = parse_name(view.client_order_id)
        if name is not None:
            chains.setdefault(name.id, {}).setdefault(name.role, []).append(view)
    return [_family(one, chains.get(one.id, {}), prints) for one in wanted]


async def load_touched(tx: Tx, register: Register, account: str, since_us: int) -> list[Placed]:
    """The requests of which anything is open or has changed since an instant, oldest first."""
    rows = await tx.fetch(_TOUCHED, {"b_number": account, "b_since": since_us})
    names = [parse_name(row["client_order_id"]) for row in rows]
    found = {
        one.id: known[0] for one in names if one is not None and (known := register.find(one.id)) is not None
    }
    return [found[number] for number in sorted(found)]


def _first_names(placed: Placed) -> list[str]:
    roles = {leg.role for leg in placed.legs} | {""}
    return [name_of(placed.id, role) for role in sorted(roles)]


def _family(
    placed: Placed, chains: Mapping[str, list[BrokerOrderView]], prints: Mapping[str, BrokerExecution]
) -> Family:
    ordered = {role: sorted(chain, key=_generation) for role, chain in chains.items()}
    mine = {
        view.broker_order_id: prints[view.broker_order_id]
        for chain in ordered.values()
        for view in chain
        if view.broker_order_id in prints
    }
    return Family(placed, ordered, mine)


def _generation(view: BrokerOrderView) -> int:
    name = parse_name(view.client_order_id)
    return 1 if name is None else name.generation


async def _newest_prints(
    tx: Tx, account: str, views: Iterable[BrokerOrderView]
) -> dict[str, BrokerExecution]:
    filled = [one for one in views if one.filled_qty > 0]
    if not filled:
        return {}
    rows = await tx.fetch(
        _PRINTS,
        {
            "b_number": account,
            "b_since": min(one.submitted_at_us for one in filled),
            "b_ids": [one.broker_order_id for one in filled],
        },
    )
    return {row["order_id"]: execution_from_row(row) for row in rows}
