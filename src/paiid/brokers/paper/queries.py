"""What is looked up in the paper venue's books: working orders, events, and what a broker is asked for."""

from sqlalchemy import bindparam, select, update

from paiid.brokers import BrokerExecution, BrokerPosition, BrokerUpdate
from paiid.brokers.paper.records import (
    PaperOrder,
    client_key,
    execution_from_row,
    order_from_row,
    update_from_row,
)
from paiid.brokers.paper.store import holding_from_row
from paiid.core.db import Tx, statement
from paiid.core.tables import paper_events, paper_executions, paper_orders, paper_positions, paper_sequence
from paiid.domain.instruments import multiplier_of

_OPEN_BOOK = statement(
    select(paper_orders)
    .where(paper_orders.c.working == 1, paper_orders.c.accepted_seq > bindparam("b_seq"))
    .order_by(paper_orders.c.accepted_seq)
)
_SEQUENCE = statement(select(paper_sequence.c.seq, paper_sequence.c.read_seq))
_EVENTS = statement(
    select(paper_events)
    .where(paper_events.c.seq > bindparam("b_seq"))
    .order_by(paper_events.c.seq)
    .limit(bindparam("b_limit"))
)
_READ_UPTO = statement(
    update(paper_sequence)
    .where(paper_sequence.c.id == 1, paper_sequence.c.read_seq < bindparam("b_seq"))
    .values(read_seq=bindparam("b_seq"))
)
_BY_KEY = statement(select(paper_orders).where(paper_orders.c.client_key == bindparam("b_key")))
_OPEN_OF_ACCOUNT = statement(
    select(paper_orders)
    .where(paper_orders.c.account_number == bindparam("b_number"), paper_orders.c.working == 1)
    .order_by(paper_orders.c.accepted_seq)
)
_ORDERS_SINCE = statement(
    select(paper_orders)
    .where(
        paper_orders.c.account_number == bindparam("b_number"),
        paper_orders.c.submitted_at >= bindparam("b_at"),
        paper_orders.c.parent_id.is_(None),
    )
    .order_by(paper_orders.c.submitted_at, paper_orders.c.accepted_seq)
    .limit(500)
)
_EXECUTIONS = statement(
    select(paper_executions)
    .where(
        paper_executions.c.account_number == bindparam("b_number"),
        paper_executions.c.executed_at >= bindparam("b_at"),
    )
    .order_by(paper_executions.c.executed_at, paper_executions.c.id)
)
_POSITIONS = statement(
    select(paper_positions)
    .where(paper_positions.c.account_number == bindparam("b_number"), paper_positions.c.qty != 0)
    .order_by(paper_positions.c.symbol)
)


async def load_open_book(tx: Tx, after_seq: int) -> tuple[list[PaperOrder], list[str], int]:
    """Working orders accepted after this event number, the ids of those whose rows cannot be read, and the
    number up to which that is all of them."""
    row = await tx.fetch_one(_SEQUENCE)
    upto: int = 0 if row is None else row["seq"]
    if upto <= after_seq:
        return [], [], after_seq
    orders: list[PaperOrder] = []
    unreadable: list[str] = []
    for one in await tx.fetch(_OPEN_BOOK, {"b_seq": after_seq}):
        try:
            orders.append(order_from_row(one))
        except ValueError:
            unreadable.append(one["id"])
    return orders, unreadable, upto


async def load_events(tx: Tx, after_seq: int, limit: int) -> list[BrokerUpdate]:
    """The next events behind this number, in order."""
    rows = await tx.fetch(_EVENTS, {"b_seq": after_seq, "b_limit": limit})
    return [update_from_row(row) for row in rows]


async def mark_read(tx: Tx, seq: int) -> None:
    """A reader has everything up to this number; it never goes back."""
    await tx.execute(_READ_UPTO, {"b_seq": seq})


async def find_order(tx: Tx, account_number: str, client_order_id: str) -> PaperOrder | None:
    """An order by its account and client id."""
    row = await tx.fetch_one(_BY_KEY, {"b_key": client_key(account_number, client_order_id)})
    return None if row is None else order_from_row(row)


async def load_open_orders(tx: Tx, account_number: str) -> list[PaperOrder]:
    """Working orders of an account, oldest first."""
    return [order_from_row(row) for row in await tx.fetch(_OPEN_OF_ACCOUNT, {"b_number": account_number})]


async def load_orders_since(tx: Tx, account_number: str, since_us: int) -> list[PaperOrder]:
    """At most 500 orders of an account from this instant on, oldest first; what hangs on another comes with that."""
    rows = await tx.fetch(_ORDERS_SINCE, {"b_number": account_number, "b_at": since_us})
    return [order_from_row(row) for row in rows]


async def load_executions(tx: Tx, account_number: str, since_us: int) -> list[BrokerExecution]:
    """Executions of an account from this instant on, oldest first."""
    rows = await tx.fetch(_EXECUTIONS, {"b_number": account_number, "b_at": since_us})
    return [execution_from_row(row) for row in rows]


async def load_positions(tx: Tx, account_number: str) -> list[BrokerPosition]:
    """Holdings of an account other than zero, by symbol."""
    return [
        BrokerPosition(row["symbol"], holding.qty, abs(holding.avg_entry_price(multiplier_of(row["symbol"]))))
        for row in await tx.fetch(_POSITIONS, {"b_number": account_number})
        for holding in (holding_from_row(row),)
    ]
