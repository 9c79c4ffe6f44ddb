"""The referee: the venue's own books against our ledger, read from the database beside the servers."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import select

from paiid.core.clock import SystemClock
from paiid.core.db import Database, Row, make_database, statement
from paiid.core.tables import (
    halt_receipts,
    halts,
    leases,
    orders,
    paper_orders,
    paper_positions,
    positions,
)

_VENUE_ORDERS = statement(select(paper_orders))
_OUR_ORDERS = statement(select(orders))
_VENUE_POSITIONS = statement(select(paper_positions).where(paper_positions.c.qty != 0))
_OUR_POSITIONS = statement(select(positions).where(positions.c.qty != 0))
_LEASES = statement(select(leases))
_HALTS = statement(select(halts))
_RECEIPTS = statement(select(halt_receipts))

NOTHING_SENT = {"REFUSED", "SKIPPED"}


class Books:
    """Both sides' books in one open database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def _rows(self, stmt: Any) -> list[Row]:
        async with self._db.read() as tx:
            return list(await tx.fetch(stmt))

    async def venue_orders(self) -> list[Row]:
        """The venue's orders; `submitted_at` is when it placed them, in database time."""
        return await self._rows(_VENUE_ORDERS)

    async def our_orders(self) -> list[Row]:
        """The ledger's orders; `created_at` is the instant of the claim, in database time."""
        return await self._rows(_OUR_ORDERS)

    async def leases(self) -> dict[str, tuple[str, int]]:
        """Holder and token of every lease."""
        return {row["name"]: (row["holder"], row["token"]) for row in await self._rows(_LEASES)}

    async def halts(self) -> dict[str, Row]:
        """The halts by scope, resumed ones too."""
        return {row["scope"]: row for row in await self._rows(_HALTS)}

    async def receipts(self) -> dict[int, Row]:
        """The receipts of halts by epoch."""
        return {row["epoch"]: row for row in await self._rows(_RECEIPTS)}

    async def differences(self) -> list[str]:
        """Every way in which ledger and venue differ; an order is at the venue at most once."""
        placed = await self.venue_orders()
        venue = {row["client_order_id"]: (row["filled_qty"], row["status"]) for row in placed}
        ours = {row["client_order_id"]: row for row in await self.our_orders()}
        wrong = [f"the venue has {one} and we do not" for one in venue if one not in ours]
        if len(venue) != len(placed):
            wrong.append("the venue has an order twice")
        for client_id, row in ours.items():
            if row["state"] == "ACCEPTED":
                mine = (row["filled_qty"], row["status"])
                if venue.get(client_id) != mine:
                    wrong.append(f"{client_id}: venue {venue.get(client_id)}, ours {mine}")
            elif client_id in venue:
                wrong.append(f"{client_id} is {row['state']} here and lives at the venue")
        held = {(r["account_number"], r["symbol"]): r["qty"] for r in await self._rows(_VENUE_POSITIONS)}
        booked = {(r["account_id"], r["symbol"]): r["qty"] for r in await self._rows(_OUR_POSITIONS)}
        if held != booked:
            wrong.append(f"positions: venue {held}, ours {booked}")
        return wrong

    async def assert_agree(self, timeout_s: float = 40.0) -> None:
        """They must come to agree once the updates have been merged."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while wrong := await self.differences():
            assert loop.time() < end, wrong
            await asyncio.sleep(0.1)

    async def assert_truthful(self, answers: Iterable[dict[str, Any]]) -> None:
        """What each answer says of each order is what the venue has: one order if accepted, else none."""
        counts: dict[str, int] = {}
        for row in await self.venue_orders():
            counts[row["client_order_id"]] = counts.get(row["client_order_id"], 0) + 1
        for answer in answers:
            for order in answer["orders"]:
                expected = 1 if order["state"] == "ACCEPTED" else 0
                assert counts.get(order["client_order_id"], 0) == expected, order


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Books]:
    """The books of a database; it must be reachable."""
    db: Database = make_database(database_url, SystemClock())
    await db.start()
    try:
        yield Books(db)
    finally:
        await db.stop()
