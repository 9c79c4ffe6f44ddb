"""What the simulated Alpaca reads in the venue's books: orders of any age, executions with their running total,
activities, and an account as the venue reckons it. It never writes there."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, exists, func, or_, select

from paiid.brokers import BrokerActivity, BrokerExecution, BrokerOrderView
from paiid.brokers.paper.accounts import terms_from_row
from paiid.brokers.paper.group_store import legs_of, load_combos, load_groups
from paiid.brokers.paper.records import activity_from_row, execution_from_row, order_from_row
from paiid.brokers.paper.store import holding_from_row
from paiid.core.db import Statement, Tx, any_of, statement
from paiid.core.tables import (
    paper_accounts,
    paper_activities,
    paper_executions,
    paper_orders,
    paper_positions,
)
from paiid.domain.money import money_from_int, qty_from_int
from paiid.domain.paper_account import MarkOf, PaperAccount
from paiid.domain.terms import AccountTerms

_LONGEST_TICKER = 8
_ACCOUNT = statement(select(paper_accounts).where(paper_accounts.c.number == bindparam("b_number")))
_HOLDINGS = statement(
    select(paper_positions).where(paper_positions.c.account_number == bindparam("b_number"))
)
_ACCEPTED = statement(
    select(paper_orders.c.accepted_seq).where(
        paper_orders.c.id == bindparam("b_id"), paper_orders.c.account_number == bindparam("b_number")
    )
)
_ACTIVITIES = statement(
    select(paper_activities)
    .where(paper_activities.c.account_number == bindparam("b_number"))
    .order_by(paper_activities.c.at, paper_activities.c.id)
)


async def load_book(tx: Tx, number: str, mark_of: MarkOf, unopened: AccountTerms) -> PaperAccount:
    """An account with cash, holdings and reservations; one without an order yet is told as it would be opened."""
    row = await tx.fetch_one(_ACCOUNT, {"b_number": number})
    if row is None:
        return PaperAccount(unopened.starting_cash, {}, mark_of, 0, unopened)
    book = PaperAccount(money_from_int(row["cash"]), {}, mark_of, row["open_orders"], terms_from_row(row))
    for one in await tx.fetch(_HOLDINGS, {"b_number": number}):
        book.holdings[one["symbol"]] = holding_from_row(one)
    if row["open_combos"]:
        book.combos = (await load_combos(tx, [number]))[number]
    return book


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders of an account are wanted. Instants and event numbers are exclusive bounds; `asset_class` is
    `us_equity` or `us_option`; `status` is open, closed or all."""

    status: str = "open"
    limit: int = 50
    after_us: int | None = None
    until_us: int | None = None
    after_seq: int | None = None
    before_seq: int | None = None
    descending: bool = True
    nested: bool = False
    symbols: tuple[str, ...] = ()
    side: str | None = None
    asset_class: str | None = None


async def find_accepted_seq(tx: Tx, number: str, order_id: str) -> int | None:
    """The place of an order in the order of acceptance."""
    row = await tx.fetch_one(_ACCEPTED, {"b_number": number, "b_id": order_id})
    return None if row is None else int(row["accepted_seq"])


async def list_orders(tx: Tx, number: str, wanted: OrderFilter) -> list[BrokerOrderView]:
    """Orders in the order of acceptance, each with what hangs on it. The legs of a spread come with it alone; exits come
    as orders of their own too, unless `nested`, and then a parent is as open as its exits are."""
    params: dict[str, Any] = {"b_number": number, "b_limit": wanted.limit}
    if wanted.after_us is not None:
        params["b_after"] = wanted.after_us
    if wanted.until_us is not None:
        params["b_until"] = wanted.until_us
    if wanted.after_seq is not None:
        params["b_after_seq"] = wanted.after_seq
    if wanted.before_seq is not None:
        params["b_before_seq"] = wanted.before_seq
    if wanted.side is not None:
        params["b_side"] = wanted.side
    if wanted.symbols:
        params["b_symbols"] = params["b_leg_symbols"] = list(wanted.symbols)
    bounds = frozenset(params) - {"b_number", "b_limit", "b_leg_symbols"}
    query = _orders(wanted.status, bounds, wanted.nested, wanted.asset_class, wanted.descending)
    orders = [order_from_row(row) for row in await tx.fetch(query, params)]
    family = (await load_groups(tx, [one for one in orders if one.is_parent])).values()
    return [one.view(legs_of(one, family)) for one in orders]


@lru_cache(maxsize=512)
def _orders(
    status: str, bounds: frozenset[str], nested: bool, asset_class: str | None, descending: bool
) -> Statement:
    order = paper_orders.c
    child = paper_orders.alias("child")
    where: list[ColumnElement[bool]] = [
        order.account_number == bindparam("b_number"),
        or_(order.group_role.is_(None), order.group_role != "leg"),
    ]
    working: ColumnElement[bool] = order.working == 1
    if nested:
        where.append(order.parent_id.is_(None))
        working = or_(working, exists().where(child.c.parent_id == order.id, child.c.working == 1))
    if status == "open":
        where.append(working)
    elif status == "closed":
        where.append(~working)
    simple = order.order_class != "mleg"
    if asset_class == "us_equity":
        where.append(and_(simple, func.length(order.symbol) <= _LONGEST_TICKER))
    elif asset_class == "us_option":
        where.append(or_(~simple, func.length(order.symbol) > _LONGEST_TICKER))
    possible: dict[str, ColumnElement[bool]] = {
        "b_after": order.submitted_at > bindparam("b_after"),
        "b_until": order.submitted_at < bindparam("b_until"),
        "b_after_seq": order.accepted_seq > bindparam("b_after_seq"),
        "b_before_seq": order.accepted_seq < bindparam("b_before_seq"),
        "b_side": and_(simple, order.side == bindparam("b_side")),
        "b_symbols": or_(
            and_(simple, any_of(order.symbol, "b_symbols")),
            exists().where(
                child.c.parent_id == order.id,
                child.c.group_role == "leg",
                any_of(child.c.symbol, "b_leg_symbols"),
            ),
        ),
    }
    where += [clause for name, clause in possible.items() if name in bounds]
    by = order.accepted_seq.desc() if descending else order.accepted_seq
    return statement(select(paper_orders).where(*where).order_by(by).limit(bindparam("b_limit")))


@dataclass(frozen=True, slots=True)
class Print:
    """An execution with what its order looked like after it. `order_qty` is the order's quantity as it is now."""

    execution: BrokerExecution
    cum_qty: Decimal
    order_qty: Decimal
    order_status: str
    position_intent: str | None


@dataclass(frozen=True, slots=True)
class PrintFilter:
    """Which executions are wanted: exclusive bounds in time, one order, and those behind (instant, id) in the wanted
    direction."""

    after_us: int | None = None
    until_us: int | None = None
    order_id: str | None = None
    beyond: tuple[int, str] | None = None
    descending: bool = True
    limit: int | None = None


async def list_prints(tx: Tx, number: str, wanted: PrintFilter) -> list[Print]:
    """Executions of an account by time."""
    params: dict[str, Any] = {"b_number": number}
    if wanted.after_us is not None:
        params["b_after"] = wanted.after_us
    if wanted.until_us is not None:
        params["b_until"] = wanted.until_us
    if wanted.order_id is not None:
        params["b_order"] = wanted.order_id
    if wanted.beyond is not None:
        params["b_at"] = params["b_same"] = wanted.beyond[0]
        params["b_id"] = wanted.beyond[1]
    if wanted.limit is not None:
        params["b_limit"] = wanted.limit
    query = _prints(frozenset(params), wanted.descending)
    return [
        Print(
            execution_from_row(row),
            qty_from_int(int(row["cum"])),
            qty_from_int(row["order_qty"]),
            row["status"],
            row["position_intent"],
        )
        for row in await tx.fetch(query, params)
    ]


@lru_cache(maxsize=128)
def _prints(bounds: frozenset[str], descending: bool) -> Statement:
    done = paper_executions.c
    so_far = func.sum(done.qty).over(partition_by=done.order_id, order_by=(done.executed_at, done.id))
    inner = (
        select(paper_executions, so_far.label("cum"))
        .where(done.account_number == bindparam("b_number"))
        .subquery("prints")
    )
    one = inner.c
    possible: dict[str, ColumnElement[bool]] = {
        "b_after": one.executed_at > bindparam("b_after"),
        "b_until": one.executed_at < bindparam("b_until"),
        "b_order": one.order_id == bindparam("b_order"),
    }
    where = [clause for name, clause in possible.items() if name in bounds]
    if "b_at" in bounds:
        same = one.executed_at == bindparam("b_same")
        where.append(
            or_(one.executed_at < bindparam("b_at"), and_(same, one.id < bindparam("b_id")))
            if descending
            else or_(one.executed_at > bindparam("b_at"), and_(same, one.id > bindparam("b_id")))
        )
    query = select(
        inner,
        paper_orders.c.qty.label("order_qty"),
        paper_orders.c.status,
        paper_orders.c.position_intent,
    ).join(paper_orders, paper_orders.c.id == one.order_id)
    query = query.where(*where)
    query = (
        query.order_by(one.executed_at.desc(), one.id.desc())
        if descending
        else query.order_by(one.executed_at, one.id)
    )
    return statement(query.limit(bindparam("b_limit")) if "b_limit" in bounds else query)


_PRINT = statement(
    select(paper_executions.c.executed_at).where(
        paper_executions.c.id == bindparam("b_id"), paper_executions.c.account_number == bindparam("b_number")
    )
)


async def find_print_at_us(tx: Tx, number: str, execution_id: str) -> int | None:
    """When an execution of this account was; None where there is no such one."""
    row = await tx.fetch_one(_PRINT, {"b_number": number, "b_id": execution_id})
    return None if row is None else int(row["executed_at"])


async def list_activities(tx: Tx, number: str) -> Sequence[BrokerActivity]:
    """What changed the account and was no order, oldest first."""
    return [activity_from_row(row) for row in await tx.fetch(_ACTIVITIES, {"b_number": number})]
