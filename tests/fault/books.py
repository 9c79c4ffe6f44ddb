"""The referee: the venue's own books against our ledger."""

import asyncio
from typing import Any

from sqlalchemy import bindparam, func, select

from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database, statement
from paiid.core.tables import orders, paper_orders, paper_positions, positions
from tests.fault.processes import Server

_AT_VENUE = statement(
    select(func.count().label("n"))
    .select_from(paper_orders)
    .where(paper_orders.c.client_order_id == bindparam("b_id"))
)
_VENUE_ORDERS = statement(
    select(paper_orders.c.client_order_id, paper_orders.c.filled_qty, paper_orders.c.status)
)
_OUR_ORDERS = statement(
    select(orders.c.client_order_id, orders.c.filled_qty, orders.c.status, orders.c.state)
)
_VENUE_POSITIONS = statement(
    select(paper_positions.c.account_number, paper_positions.c.symbol, paper_positions.c.qty).where(
        paper_positions.c.qty != 0
    )
)
_OUR_POSITIONS = statement(
    select(positions.c.account_id, positions.c.symbol, positions.c.qty).where(positions.c.qty != 0)
)


async def _fetch(database_url: str, stmt: Any, params: dict[str, Any] | None = None) -> list[Any]:
    db: Database = make_database(database_url, SystemClock())
    await db.start()
    try:
        async with db.read() as tx:
            return list(await tx.fetch(stmt, params))
    finally:
        await db.stop()


async def count_at_venue(database_url: str, client_order_id: str) -> int:
    """How many orders with this id the venue holds."""
    rows = await _fetch(database_url, _AT_VENUE, {"b_id": client_order_id})
    return int(rows[0]["n"])


async def differences(database_url: str) -> list[str]:
    """Every way in which the ledger and the venue's books differ."""
    venue = {
        r["client_order_id"]: (r["filled_qty"], r["status"])
        for r in await _fetch(database_url, _VENUE_ORDERS)
    }
    ours = {r["client_order_id"]: r for r in await _fetch(database_url, _OUR_ORDERS)}
    wrong = [f"the venue has {one} and we do not" for one in venue if one not in ours]
    for client_id, row in ours.items():
        if row["state"] == "ACCEPTED":
            if client_id not in venue:
                wrong.append(f"we say {client_id} was accepted and the venue has none")
            elif venue[client_id] != (row["filled_qty"], row["status"]):
                wrong.append(
                    f"{client_id}: venue {venue[client_id]}, ours {(row['filled_qty'], row['status'])}"
                )
        elif client_id in venue:
            wrong.append(f"{client_id} is {row['state']} here and lives at the venue")
    held = {
        (r["account_number"], r["symbol"]): r["qty"] for r in await _fetch(database_url, _VENUE_POSITIONS)
    }
    booked = {(r["account_id"], r["symbol"]): r["qty"] for r in await _fetch(database_url, _OUR_POSITIONS)}
    if held != booked:
        wrong.append(f"positions: venue {held}, ours {booked}")
    return wrong


async def assert_books_agree(server: Server, database_url: str, timeout_s: float = 10.0) -> None:
    """The books must come to agree once the updates have been merged."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while wrong := await differences(database_url):
        assert loop.time() < end, wrong
        await asyncio.sleep(0.2)
