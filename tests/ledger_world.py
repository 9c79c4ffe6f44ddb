"""Broker events in a test's hand, merged without an app around them, and the ledger's rows as plain values."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, insert, select

from paiid.brokers import BrokerActivity, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import Database, statement
from paiid.core.failpoints import no_probe
from paiid.core.tables import accounts, broker_cursors, events, executions, orders, positions
from paiid.domain.orders import OrderStatus, Side
from paiid.trading.book import Book
from paiid.trading.merging import Merger
from tests.fakes import FakeBroker
from tests.halt_world import order_row

START_US = 1_800_000_000_000_000
_NANO, _MICRO = 10**9, 10**6
_ACCOUNTS = statement(insert(accounts))
_ORDERS = statement(insert(orders))
_ALL = {
    "accounts": statement(select(accounts).order_by(accounts.c.id)),
    "orders": statement(select(orders).order_by(orders.c.account_id, orders.c.broker_order_id)),
    "executions": statement(select(executions).order_by(executions.c.account_id, executions.c.execution_id)),
    "positions": statement(select(positions).order_by(positions.c.account_id, positions.c.symbol)),
}
_EVENTS = statement(select(events).where(events.c.account_id == bindparam("b_id")).order_by(events.c.seq))
_CURSOR = statement(select(broker_cursors.c.cursor))
# What says when and under which number something was written, and nothing of what it is.
_UNCOMPARED = {
    "id", "order_id", "created_at", "updated_at", "submitted_at", "booked_at", "version", "event_seq",
    "unknown_at", "reconcile_problem",
}  # fmt: skip
_SCALES = {"qty": _NANO, "filled_qty": _NANO, "broker_filled_qty": _NANO, "open_buy_qty": _NANO}
_SCALES |= {"open_sell_qty": _NANO, "cash": _MICRO, "price": _MICRO, "fee": _MICRO}


@dataclass(frozen=True)
class Told:
    """One event of a life: what the broker says of the order, and perhaps a print."""

    status: OrderStatus
    filled: str
    execution_id: str | None = None
    qty: str = "0"
    price: str = "0"
    kind: str = "fill"
    corrects: str | None = None


@dataclass(frozen=True)
class Life:
    """An order's events, in the order in which they happen."""

    qty: str
    told: tuple[Told, ...]
    outcome: dict[str | None, dict[str, Any]]
    side: str = "buy"
    limit: str | None = "101"
    broker_id: str = "b-1"
    symbol: str = "AAPL"
    start_us: int = START_US

    def events(self, account: str) -> list[BrokerUpdate]:
        """The updates for one account; client ids only where the order is one of ours."""
        return [self._update(account, at) for at in range(len(self.told))]

    def numbers(self) -> list[int]:
        """The events by their place; one that is told twice has the same number twice."""
        return [self.told.index(one) if one.execution_id else at for at, one in enumerate(self.told)]

    def _update(self, account: str, at: int) -> BrokerUpdate:
        told = self.told[at]
        view = BrokerOrderView(
            account_number=account,
            broker_order_id=self.broker_id,
            client_order_id=None,
            symbol=self.symbol,
            side=self.side,  # type: ignore[arg-type]
            qty=Decimal(self.qty),
            type="market" if self.limit is None else "limit",
            time_in_force="day",
            limit_price=None if self.limit is None else Decimal(self.limit),
            stop_price=None,
            status=told.status,
            filled_qty=Decimal(told.filled),
            filled_avg_price=None,
            submitted_at_us=self.start_us,
            updated_at_us=self.start_us + at,
        )
        execution = None
        if told.execution_id is not None:
            first = next(i for i, one in enumerate(self.told) if one.execution_id == told.execution_id)
            execution = BrokerExecution(
                account_number=account,
                execution_id=told.execution_id,
                broker_order_id=self.broker_id,
                symbol=self.symbol,
                side=self.side,  # type: ignore[arg-type]
                qty=Decimal(told.qty),
                price=Decimal(told.price),
                fee=Decimal("0.01"),
                executed_at_us=self.start_us + first * 1000,
                kind=told.kind,  # type: ignore[arg-type]
                corrects=told.corrects,
            )
        return BrokerUpdate(at + 1, view, execution)

    def expected(self, held: str | None) -> dict[str, Any]:
        """What must be true in the end, reckoned by hand."""
        return self.outcome[held]


NEW, PART = OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED
FILLED, CANCELED, HELD = OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.HELD
_P1 = Told(PART, "3", "print-1", "3", "100")
_P2 = Told(PART, "6", "print-2", "3", "100.01")


def filled(qty: str = "10") -> Life:
    """New, two parts, the rest, the second part once more, and the broker's word that it is filled."""
    told = (Told(NEW, "0"), _P1, _P2, Told(FILLED, "10", "print-3", "4", "99.99"), _P2, Told(FILLED, "10"))
    # 300 + 300.03 + 399.96 and three fees of a cent.
    outcome = {"cash": Decimal("-1000.02"), "open_orders": 0}
    # 7 at 50 were there before, for one cent.
    return Life(qty, told, {None: outcome, "long 7": {"cash": Decimal("-1350.03"), "open_orders": 0}})


def canceled() -> Life:
    """Ten of twelve are bought before it is cancelled."""
    told = (Told(NEW, "0"), _P1, _P2, Told(PART, "10", "print-3", "4", "99.99"), _P2, Told(CANCELED, "10"))
    outcome = {"cash": Decimal("-1000.02"), "open_orders": 0}
    short = {"cash": Decimal("-750.03"), "open_orders": 0}
    return Life("12", told, {None: outcome, "short 5": short})


def sold() -> Life:
    """Ten are sold, three of them more than there were."""
    told = (Told(NEW, "0"), _P1, _P2, Told(FILLED, "10", "print-3", "4", "99.99"), _P2, Told(FILLED, "10"))
    long = {"cash": Decimal("999.96") - Decimal("350.01"), "open_orders": 0}
    return Life("10", told, {"long 7": long}, side="sell", limit="99")


def busted() -> Life:
    """Two prints of five; the first never happened, the second was at another price."""
    told = (
        Told(NEW, "0"),
        Told(PART, "5", "print-1", "5", "100"),
        Told(FILLED, "10", "print-2", "5", "100.5"),
        Told(FILLED, "5", "bust-1", "5", "100", "bust", "print-1"),
        Told(FILLED, "5", "correction-2", "5", "100.25", "correction", "print-2"),
        Told(FILLED, "5", "bust-1", "5", "100", "bust", "print-1"),
    )
    outcome = {"cash": Decimal("-501.26"), "open_orders": 0}
    short = {"cash": Decimal("-251.27"), "open_orders": 0}
    return Life("10", told, {None: outcome, "short 5": short})


def interrupted() -> Life:
    """Held, then working, then partly filled, and nothing after it."""
    return Life("10", (Told(HELD, "0"), Told(NEW, "0"), _P1), {})


def _seed(side: str, qty: str) -> Callable[[str], list[BrokerUpdate]]:
    told = (Told(FILLED, qty, "seed", qty, "50"),)
    life = Life(qty, told, {}, side, None, "b-0", start_us=START_US - 60_000_000)
    return life.events


SEED: dict[str, Callable[[str], list[BrokerUpdate]]] = {
    "short 5": _seed("sell", "5"),
    "long 7": _seed("buy", "7"),
}


@dataclass
class Merging:
    """A reader of updates without a stream: the test is the stream."""

    db: Database
    clock: SystemClock
    broker: FakeBroker = field(default_factory=lambda: FakeBroker("fake"))
    alarms: list[tuple[str, str, str]] = field(default_factory=list)
    reading: type[Merger] = Merger

    def __post_init__(self) -> None:
        self.reader = self.reading(
            self.db,
            self.clock,
            self.broker,
            f"updates:{self.broker.name}",
            no_probe,
            self._published,
        )

    def _published(self, book: Book) -> None:
        self.alarms.extend(book.alarms)

    async def open(self, names: Sequence[str], life: Life, state: str, qty: int | None = None) -> None:
        """Accounts of these names without cash, each with the order in this state; 'external': with none."""
        async with self.db.begin() as tx:
            now = await tx.now_us()
            await tx.execute_many(
                _ACCOUNTS,
                [account_row(name, int(state != "external" and state != "REJECTED"), now) for name in names],
            )
            if state == "external":
                return
            rows = [order_row(self.clock, name, "u", state, now) for name in names]
            whole = (qty or int(life.qty)) * _NANO
            works = state != "REJECTED"
            for row in rows:
                row |= {"client_order_id": f"pd-{row['account_id']}", "broker_order_id": life.broker_id}
                row |= {"qty": whole, "side": life.side, "type": "limit", "open": int(works)}
                row |= {"limit_price": int(Decimal(life.limit or 0) * _MICRO)}
                row |= {"reserve_price": row["limit_price"]}
                row |= {"status": "NEW" if state == "ACCEPTED" else None}
            await tx.execute_many(_ORDERS, rows)
            if works:
                side = life.side
                value = whole * int(Decimal(life.limit or 0) * _MICRO) // _NANO
                await tx.execute_many(
                    statement(insert(positions)),
                    [
                        {
                            "account_id": name, "symbol": life.symbol, "asset_class": "stock", "qty": 0,
                            "cost_basis": 0, "realized_pl": 0, "version": 1, "updated_at": now,
                            "open_buy_qty": whole if side == "buy" else 0,
                            "open_buy_value": value if side == "buy" else 0,
                            "open_sell_qty": whole if side == "sell" else 0,
                            "open_sell_value": value if side == "sell" else 0,
                        }
                        for name in names
                    ],
                )  # fmt: skip

    async def merge(self, updates: Sequence[BrokerUpdate]) -> None:
        """One chunk, one transaction."""
        await self.reader.merge(None, updates)

    async def cursor(self) -> int:
        """How far the reader says it is."""
        async with self.db.read() as tx:
            row = await tx.fetch_one(_CURSOR)
        return 0 if row is None else int(row["cursor"])

    async def problem(self, account: str) -> str | None:
        """Why the account does not count as reconciled."""
        async with self.db.read() as tx:
            rows = await tx.fetch(_ALL["accounts"])
        return next(row["reconcile_problem"] for row in rows if row["id"] == account)

    async def events(self, account: str) -> list[dict[str, Any]]:
        """The account's channel."""
        async with self.db.read() as tx:
            rows = await tx.fetch(_EVENTS, {"b_id": account})
        return [
            {"seq": r["seq"], "kind": r["kind"], "data": json.loads(r["data"], parse_float=Decimal)}
            for r in rows
        ]


def account_row(name: str, open_orders: int, now_us: int) -> dict[str, Any]:
    """An account without cash, as a row."""
    row: dict[str, Any] = {"id": name, "broker": "fake", "mode": "paper", "number": name}
    row |= {"owner_user_id": "u", "name": name, "status": "active", "cash": 0, "starting_cash": 0}
    row |= {"open_orders": open_orders, "event_seq": 0, "event_epoch": 1, "version": 0}
    row |= {"margin": 0, "options_level": 3, "open_combos": 0, "reset_at": 0}
    return row | {"reconciled_at": None, "reconcile_problem": None, "created_at": now_us}


async def books(db: Database, *, everything: bool = False) -> dict[str, dict[str, Any]]:
    """Every account with its orders, executions and positions, without ids, times and versions unless wanted."""
    found: dict[str, dict[str, Any]] = {}
    async with db.read() as tx:
        for row in await tx.fetch(_ALL["accounts"]):
            plain = _plain(row, everything)
            found[row["id"]] = plain | {"orders": [], "executions": [], "positions": []}
        for name in ("orders", "executions", "positions"):
            for row in await tx.fetch(_ALL[name]):
                found[row["account_id"]][name].append(_plain(row, everything))
    return found


def _plain(row: Any, everything: bool) -> dict[str, Any]:
    """Quantities in shares and cash in dollars, so that a failing test reads well."""
    named = {"name", "number", "account_id", "owner_user_id", "client_order_id"}
    plain: dict[str, Any] = {}
    for name in row.keys():  # noqa: SIM118 - a Row iterates over values
        if not everything and (name in _UNCOMPARED or name in named - {"client_order_id"}):
            continue
        value = row[name]
        if name == "client_order_id" and str(value).startswith("pd-"):
            continue
        if name in _SCALES and value is not None:
            value = Decimal(value) / _SCALES[name]
        plain[name] = value
    return plain


def printed(account: str, at: int, side: Side, qty: str, price: str, symbol: str = "AAPL") -> BrokerUpdate:
    """An order that is filled whole, by one print."""
    view = BrokerOrderView(
        account_number=account,
        broker_order_id=f"b-{at}",
        client_order_id=None,
        symbol=symbol,
        side=side,
        qty=Decimal(qty),
        type="market",
        time_in_force="day",
        limit_price=None,
        stop_price=None,
        status=OrderStatus.FILLED,
        filled_qty=Decimal(qty),
        filled_avg_price=Decimal(price),
        submitted_at_us=START_US,
        updated_at_us=START_US + at,
    )
    execution = BrokerExecution(
        account,
        f"print-{at}",
        f"b-{at}",
        symbol,
        side,
        Decimal(qty),
        Decimal(price),
        Decimal(0),
        START_US + at,
    )
    return BrokerUpdate(at, view, execution)


def happened(
    account: str, at: int, kind: Any, qty: str, price: str, cash: str, symbol: str = "AAPL"
) -> BrokerUpdate:
    """An activity."""
    activity = BrokerActivity(
        account,
        f"{kind}-{at}",
        kind,
        symbol,
        Decimal(qty),
        Decimal(price),
        Decimal(cash),
        START_US + at,
        kind,
    )
    return BrokerUpdate(at, None, None, activity)
