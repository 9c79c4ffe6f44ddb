"""What the tests of a reset share: an app at the built-in venue, its books, and a venue that can be meddled with."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select

from paiid.brokers import Broker, BrokerOrderView, OutcomeUnknown
from paiid.core.db import statement
from paiid.core.tables import accounts, events, executions, orders, paper_accounts, positions
from tests.conftest import MakeApp
from tests.world import App, Client

BUY: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 10}
REST: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1}
_ACCOUNT = statement(select(accounts).where(accounts.c.id == bindparam("b_id")))
_AT_VENUE = statement(select(paper_accounts).where(paper_accounts.c.number == bindparam("b_number")))
# What the service writes of its own accord, every minute and when it has compared the books.
_MOVING = {"accounts.reconciled_at", "accounts.version"}
TABLES = {
    table.name: statement(
        select(*[column for column in table.c if str(column) not in _MOVING]).order_by(
            *table.primary_key.columns
        )
    )
    for table in (accounts, orders, executions, positions, events)
}


class World:
    """An app at the built-in venue with its owner's account."""

    def __init__(self, app: App, owner: Client, account: str) -> None:
        self.app, self.owner, self.account = app, owner, account
        self.db = app.state.db
        self.venue: Any = app.state.portfolio._brokers["paper"]

    async def reset(self, who: Client | None = None, **terms: Any) -> Any:
        """POST it."""
        return await (who or self.owner).post(f"/api/accounts/{self.account}/reset", json=terms)

    async def row(self) -> dict[str, Any]:
        """The account in the ledger."""
        async with self.db.read() as tx:
            found = await tx.fetch_one(_ACCOUNT, {"b_id": self.account})
        return {name: found[name] for name in found.keys()}  # noqa: SIM118 - a Row iterates over values

    async def at_venue(self, number: str) -> Any:
        """The account at the venue."""
        async with self.db.read() as tx:
            return await tx.fetch_one(_AT_VENUE, {"b_number": number})

    async def everything(self) -> dict[str, list[Any]]:
        """All that a reset could change."""
        async with self.db.read() as tx:
            return {name: [tuple(row) for row in await tx.fetch(stmt)] for name, stmt in TABLES.items()}

    async def trade(self, order: dict[str, Any] = BUY) -> dict[str, Any]:
        """Place an order and wait for its end."""
        answer = await self.owner.execute(order)
        assert answer.json()["accepted"] is True, answer.text
        return await self.owner.wait_filled(answer.json()["orders"][0]["id"], 15)

    async def rest(self) -> str:
        """An order that stays open; its id."""
        answer = await self.owner.execute(REST)
        assert answer.json()["accepted"] is True, answer.text
        return str(answer.json()["orders"][0]["id"])

    async def get(self, path: str) -> Any:
        """The answer's body."""
        answer = await self.owner.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def start(make_app: MakeApp, **parts: Any) -> World:
    """The app, signed in."""
    app = await make_app(**parts)
    owner = await app.owner()
    return World(app, owner, str((await owner.get("/api/accounts")).json()[0]["id"]))


class Meddling:
    """The venue, and something that happens when it is asked for its open orders, cancels, or opens an account; what is sent to it
    waits while `let_in` is not set."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.fail_cancels = 0
        self.at_listing: Any = None
        self.at_opening: Any = None
        self.let_in = asyncio.Event()
        self.let_in.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> Any:
        """Fails as often as wanted."""
        if self.fail_cancels:
            self.fail_cancels -= 1
            raise OutcomeUnknown("no answer from the venue in time")
        return await self.inner.cancel(account_number, broker_order_id, timeout_s)

    async def submit(self, *order: Any) -> Any:
        """As the venue does, once it is let in."""
        await self.let_in.wait()
        return await self.inner.submit(*order)

    async def open_account(self, *account: Any) -> Any:
        """Before it something may happen, once."""
        meddle, self.at_opening = self.at_opening, None
        if meddle is not None:
            await meddle()
        return await self.inner.open_account(*account)

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        """What is there; afterwards something comes in between, once."""
        found: Sequence[BrokerOrderView] = await self.inner.fetch_open_orders(account_number, timeout_s)
        meddle, self.at_listing = self.at_listing, None
        if meddle is not None:
            await meddle()
        return found


async def start_meddled(make_app: MakeApp) -> tuple[World, Meddling]:
    """The app over a venue that can be meddled with."""
    made: list[Meddling] = []

    def wrap(inner: Broker) -> Broker:
        made.append(Meddling(inner))
        return made[0]  # type: ignore[return-value]

    world = await start(make_app, wrap_broker=wrap)
    # The comparison at the start lists open orders too.
    async with asyncio.timeout(15):
        while (await world.row())["reconciled_at"] is None:
            await asyncio.sleep(0.02)
    return world, made[0]
