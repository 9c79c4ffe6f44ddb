"""`paiid orders`: look at orders, and settle one that only the broker's own words can settle (contract E12)."""

import typer

from paiid.cli.session import CLI_ACTOR, fail, table, with_database
from paiid.core.audit import AuditEntry
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.instants import instant
from paiid.core.settings import Settings
from paiid.domain.orders import Submission
from paiid.trading.answers import quantity
from paiid.trading.book import Book
from paiid.trading.queries import find_order, load_newest_orders
from paiid.trading.records import OrderRow
from paiid.trading.resolve import settle_by_owner


def show(account: str | None, state: str | None, limit: int) -> None:
    """The command `orders list`."""
    wanted = None if state is None else state.upper().replace("-", "_")
    if wanted is not None and wanted not in set(Submission):
        fail("--state: use one of " + ", ".join(Submission), 2)

    async def work(_: Settings, db: Database, __: Clock) -> list[OrderRow]:
        async with db.read() as tx:
            return await load_newest_orders(tx, account, wanted, limit)

    rows = [
        (
            order.id,
            order.account_id,
            order.state.value,
            "-" if order.status is None else order.status.value,
            order.side,
            str(quantity(order.qty)),
            order.symbol,
            order.type,
            instant(order.created_at) or "-",
        )
        for order in with_database(work)
    ]
    table(("ID", "ACCOUNT", "STATE", "STATUS", "SIDE", "QTY", "SYMBOL", "TYPE", "CREATED"), rows)


def settle(order_id: str, outcome: str) -> None:
    """The command `orders settle`."""
    if outcome not in ("placed", "not-placed"):
        fail("the outcome is placed or not-placed", 2)

    def write_down(book: Book, order: OrderRow) -> None:
        detail = {"account": order.account_id, "outcome": outcome, "client_order_id": order.client_order_id}
        book.audit(AuditEntry(CLI_ACTOR, "order.settle", order.id, detail))

    async def work(_: Settings, db: Database, clock: Clock) -> tuple[OrderRow | None, OrderRow | None]:
        settled = await settle_by_owner(db, clock, order_id, outcome == "placed", write_down)
        async with db.read() as tx:
            return settled, await find_order(tx, order_id)

    settled, found = with_database(work)
    if found is None:
        fail(f"there is no order {order_id}")
    if settled is None:
        fail(f"order {order_id} is {found.state.value}; only an UNKNOWN order can be settled")
    typer.echo(f"order {order_id} is {settled.state.value}")
