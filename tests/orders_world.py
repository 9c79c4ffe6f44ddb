"""What the order tests share: short deadlines, a fake broker, and what must not have changed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import func, select

from paiid.core.db import Database, statement
from paiid.core.tables import accounts, events, executions, intents, orders, positions
from paiid.trading.timings import Timings
from tests.fakes import FakeBroker
from tests.world import App, Client

QUICK = Timings(
    # As long as a commit may take on a busy machine: what passes it is not sent, which is not what these tests ask.
    send_window_s=2.0,
    broker_deadline_s=0.6,
    call_budget_s=2.0,
    unknown_wait_s=0.4,
    horizon_s=2.7,
    sweep_s=0.1,
    dispatch_slack_s=0.1,
    first_lookups_s=(0.05, 0.1, 0.2),
    late_lookup_s=0.2,
    watch_lookup_s=0.3,
)
BUY: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 10}
_COUNTED = (intents, orders, executions, positions, events)


async def counts(db: Database) -> dict[str, int]:
    """Rows of every table that an order may change."""
    found: dict[str, int] = {}
    async with db.read() as tx:
        for table in _COUNTED:
            row = await tx.fetch_one(statement(select(func.count().label("n")).select_from(table)))
            assert row is not None
            found[table.name] = row["n"]
    return found


async def account_figures(db: Database) -> list[tuple[str, int, int, int]]:
    """(account, cash, open orders, last event) of every account."""
    columns = (accounts.c.id, accounts.c.cash, accounts.c.open_orders, accounts.c.event_seq)
    async with db.read() as tx:
        rows = await tx.fetch(statement(select(*columns).order_by(accounts.c.id)))
    return [(row["id"], row["cash"], row["open_orders"], row["event_seq"]) for row in rows]


class Trading:
    """An app over a fake broker with a signed-in owner."""

    def __init__(self, app: App, broker: FakeBroker, owner: Client) -> None:
        self.app = app
        self.broker = broker
        self.owner = owner
        self.db: Database = app.state.db

    async def counts(self) -> dict[str, int]:
        """See `counts`."""
        return await counts(self.db)

    async def everything(self) -> tuple[Any, ...]:
        """What must be the same after a request that does nothing: sent orders, rows, and the accounts' figures."""
        sent = (len(self.broker.submitted), len(self.broker.canceled))
        return (*sent, await self.counts(), await account_figures(self.db))

    async def hold(self, symbol: str, qty: int, price: str = "100") -> dict[str, Any]:
        """Buy (or, with a negative quantity, sell short) and wait until the position is there; the order."""
        side = "buy" if qty > 0 else "sell"
        answer = await self.owner.execute({"symbol": symbol, "side": side, "qty": abs(qty)})
        assert answer.json()["accepted"] is True, answer.text
        (order,) = answer.json()["orders"]
        self.broker.fill(order["broker_order_id"], abs(qty), price)
        await self.owner.wait_filled(order["id"], 15)
        return order


async def id_of(client: Client) -> str:
    """The id of the user who calls."""
    return str((await client.get("/auth/me")).json()["id"])


async def final_answer(client: Client, key: str, *asked: dict[str, Any], timeout_s: float = 30.0) -> Any:
    """The final answer of a key, asked for again and again."""
    async with asyncio.timeout(timeout_s):
        while True:
            answer = await client.execute(*asked, key=key)
            if answer.status_code not in (202, 409):
                return answer
            await asyncio.sleep(0.05)


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(0.02)


async def settled(trading: Trading, key: str, *asked: dict[str, Any], timeout_s: float = 30.0) -> Any:
    """The final answer of a key."""
    end = asyncio.get_running_loop().time() + timeout_s
    while True:
        answer = await trading.owner.execute(*asked, key=key)
        if answer.status_code not in (202, 409):
            return answer
        assert asyncio.get_running_loop().time() < end, answer.text
        await asyncio.sleep(0.05)
