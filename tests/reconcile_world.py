"""A ledger and a broker that can fall apart: the reconciler between them, without an app around them."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from paiid.brokers import BrokerActivity, BrokerOrder, BrokerOrderView, BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import Database, statement
from paiid.core.failpoints import no_probe
from paiid.core.tables import accounts, activities, audit, orders
from paiid.domain.identity import Actor
from paiid.domain.orders import Side
from paiid.trading.accept import Accepted, accept_books
from paiid.trading.book import Book
from paiid.trading.merging import Merger
from paiid.trading.reconcile import Reconciler
from paiid.trading.records import AccountRow
from tests.fakes import FakeBroker
from tests.halt_world import order_row
from tests.ledger_world import account_row, books

OWNER = Actor("cli", "cli")
ACCOUNT = "one"
_ADD = statement(insert(accounts))
_ORDER = statement(insert(orders))
_AUDIT = statement(select(audit).where(audit.c.action == bindparam("b_action")).order_by(audit.c.id))
_ACTIVITIES = statement(select(activities).order_by(activities.c.id))


class Hurried(SystemClock):
    """Sleeps take no time; what a test wants to happen meanwhile happens."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.sleeps = 0
        self.at_us: int | None = None

    def now_us(self) -> int:
        return super().now_us() if self.at_us is None else self.at_us

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        if self.meanwhile is not None:
            await self.meanwhile()


class Budgeted(FakeBroker):
    """A broker that counts requests, as Alpaca does; time that passes gives them back."""

    def __init__(self, left: int) -> None:
        super().__init__("fake")
        self.left = left
        self.lowest = left

    @property
    def budget_left(self) -> int | None:  # type: ignore[override]
        return self.left

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        self.left -= 1
        self.lowest = min(self.lowest, self.left)
        return await super().fetch_order_by_id(account_number, broker_order_id, timeout_s)


@dataclass
class Books:
    """One account without cash on both sides, which agree at first."""

    db: Database
    broker: FakeBroker = field(default_factory=lambda: FakeBroker("fake"))
    clock: Hurried = field(default_factory=Hurried)
    alarms: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker.cash_before.setdefault(ACCOUNT, Decimal(0))
        self.reconciler = Reconciler(self.db, self.clock, self.broker, 1.0)
        self.merger = Merger(self.db, self.clock, self.broker, "updates:fake", no_probe, self._published)

    def _published(self, book: Book) -> None:
        self.alarms.extend(book.alarms)

    async def open(self, **other: Any) -> "Books":
        """Put the account into the ledger; it agreed with its broker once."""
        async with self.db.begin() as tx:
            row = account_row(ACCOUNT, 0, await tx.now_us()) | {"broker": self.broker.name}
            await tx.execute(_ADD, row | {"reconciled_at": 1} | other)
        return self

    async def row(self) -> AccountRow:
        """The account as it is now."""
        return next(one for one in await self.reconciler.accounts() if one.id == ACCOUNT)

    async def set(self, **values: Any) -> None:
        """Change the account's row behind everybody's back."""
        change = statement(update(accounts).where(accounts.c.id == bindparam("b_id")), columns=list(values))
        async with self.db.begin() as tx:
            await tx.execute(change, {"b_id": ACCOUNT, **values})

    async def add_order(self, **other: Any) -> str:
        """An order that works in the ledger, as if claimed an hour ago."""
        async with self.db.begin() as tx:
            row = order_row(self.clock, ACCOUNT, "u", "ACCEPTED", await tx.now_us() - 3_600_000_000)
            row |= {"qty": 10 * 10**9, "type": "limit", "limit_price": 100_000_000, "status": "NEW"}
            row |= {"reserve_price": 0, "submitted_at": row["created_at"]} | other
            await tx.execute(_ORDER, row)
        account = await self.row()
        await self.set(open_orders=account.open_orders + 1)
        return str(row["id"])

    async def placed(self, **other: Any) -> tuple[str, str]:
        """An order that works on both sides: (our id, the broker's id)."""
        async with self.db.read() as tx:
            name = f"pd-{await tx.now_us()}-{len(self.broker.orders)}"
        view = self.place(name)
        ours = await self.add_order(client_order_id=name, broker_order_id=view.broker_order_id, **other)
        return ours, view.broker_order_id

    def place(self, name: str, symbol: str = "AAPL", side: Side = "buy", qty: int = 10) -> BrokerOrderView:
        """An order at the broker alone: somebody else's."""
        return place(self.broker, name, symbol, side, qty)

    def act(self, kind: Any, name: str, cash: str, qty: str = "0", symbol: str = "") -> None:
        """Something that is no order, now."""
        at_us = 1_800_000_000_000_000 + self.broker.later_us + len(self.broker.activities)
        self.broker.act(
            BrokerActivity(ACCOUNT, name, kind, symbol, Decimal(qty), Decimal(0), Decimal(cash), at_us, name)
        )

    async def merge(self, updates: Sequence[BrokerUpdate]) -> None:
        """One transaction."""
        if updates:
            await self.merger.merge(None, updates)

    async def catch_up(self, _: AccountRow | None = None) -> None:
        """What was missed, in chunks."""
        updates = await self.reconciler.missed(await self.row(), 0)
        for start in range(0, len(updates), 50):
            await self.merge(updates[start : start + 50])

    async def compare(self, *, heal: bool = False) -> list[str]:
        """The differences, as people read them."""
        found = await self.reconciler.compare(await self.row(), self.catch_up if heal else None)
        return [str(one) for one in found]

    async def accept(self, reason: str = "looked at it") -> Accepted:
        """The owner's word."""
        return await accept_books(
            self.db, self.clock, self.reconciler, self.merge, ACCOUNT, OWNER, reason, None
        )

    async def shown(self) -> dict[str, Any]:
        """The account with orders, executions and positions."""
        found: dict[str, Any] = (await books(self.db))[ACCOUNT]
        return found

    async def audited(self, action: str) -> list[dict[str, Any]]:
        """The details of these audit rows, oldest first."""
        async with self.db.read() as tx:
            return [json.loads(row["detail"]) for row in await tx.fetch(_AUDIT, {"b_action": action})]

    async def activities(self) -> list[tuple[str, str, Decimal, Decimal, Decimal]]:
        """(kind, symbol, shares, price, dollars) of what was booked and was no order."""
        async with self.db.read() as tx:
            rows = await tx.fetch(_ACTIVITIES)
        return [
            (
                row["kind"],
                row["symbol"],
                Decimal(row["qty"]) / 10**9,
                Decimal(row["price"]) / 10**6,
                Decimal(row["cash"]) / 10**6,
            )
            for row in rows
        ]


def place(
    broker: FakeBroker, name: str, symbol: str = "AAPL", side: Side = "buy", qty: int = 10
) -> BrokerOrderView:
    """An order at a broker, by somebody."""
    return broker.place(BrokerOrder(ACCOUNT, name, symbol, side, Decimal(qty), "limit", "day", Decimal(100)))


def rows_of(found: dict[str, Any]) -> dict[str, tuple[str, Decimal]]:
    """broker's id -> (status, filled)."""
    return {row["broker_order_id"]: (row["status"], row["filled_qty"]) for row in found["orders"]}


def held(found: dict[str, Any]) -> dict[str, Decimal]:
    """symbol -> shares."""
    return {row["symbol"]: row["qty"] for row in found["positions"] if row["qty"]}
