"""The portfolio's SQL: holdings, account figures, and the equity kept at each roll of the day."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from paiid.core.db import Row, Tx, any_of, statement
from paiid.core.tables import account_days, accounts, activities, executions, orders, positions
from paiid.domain.instruments import CONTRACT_SIZE, multiplier_of
from paiid.domain.margin import Combo
from paiid.domain.money import money_from_int, money_to_int, qty_from_int, round_money
from paiid.domain.valuation import Holding, Print

_ACCOUNT_COLUMNS = [
    accounts.c[name]
    for name in (
        "id",
        "broker",
        "mode",
        "number",
        "name",
        "status",
        "cash",
        "starting_cash",
        "open_orders",
        "reconciled_at",
        "reconcile_problem",
        "created_at",
        "margin",
        "options_level",
        "reset_at",
    )
]
_ACCOUNTS = select(*_ACCOUNT_COLUMNS).where(any_of(accounts.c.id, "b_ids")).order_by(accounts.c.id)
_LOAD_ACCOUNTS = statement(_ACCOUNTS)
_LOCK_ACCOUNTS = statement(_ACCOUNTS.with_for_update())
_HOLDINGS = statement(
    select(
        positions.c.account_id,
        positions.c.symbol,
        positions.c.asset_class,
        positions.c.qty,
        positions.c.cost_basis,
        positions.c.open_buy_qty,
        positions.c.open_buy_value,
        positions.c.open_sell_qty,
        positions.c.open_sell_value,
    )
    .where(
        any_of(positions.c.account_id, "b_ids"),
        or_(positions.c.qty != 0, positions.c.open_buy_qty != 0, positions.c.open_sell_qty != 0),
    )
    .order_by(positions.c.account_id, positions.c.symbol)
)
_OPEN_SPREADS = statement(
    select(
        orders.c.id,
        orders.c.parent_id,
        orders.c.account_id,
        orders.c.symbol,
        orders.c.side,
        orders.c.qty,
        orders.c.filled_qty,
        orders.c.reserve_price,
        orders.c.ratio_qty,
    )
    .where(any_of(orders.c.account_id, "b_ids"), orders.c.open == 1, orders.c.order_class == "mleg")
    .order_by(orders.c.id)
)
# What was kept and booked before an account was reset is history.
_NEWEST_DAY = (
    select(account_days.c.account_id, func.max(account_days.c.day).label("day"))
    .join(accounts, accounts.c.id == account_days.c.account_id)
    .where(any_of(account_days.c.account_id, "b_ids"), account_days.c.rolled_at >= accounts.c.reset_at)
    .group_by(account_days.c.account_id)
    .subquery()
)
_LAST_DAYS = statement(
    select(account_days).join(
        _NEWEST_DAY,
        and_(
            account_days.c.account_id == _NEWEST_DAY.c.account_id,
            account_days.c.day == _NEWEST_DAY.c.day,
        ),
    )
)
_UNROLLED = statement(
    select(accounts.c.id)
    .outerjoin(
        account_days,
        and_(account_days.c.account_id == accounts.c.id, account_days.c.day == bindparam("b_day")),
    )
    .where(
        account_days.c.account_id.is_(None),
        accounts.c.created_at <= bindparam("b_roll"),
        accounts.c.reset_at <= bindparam("b_roll"),
    )
    .order_by(accounts.c.id)
    .limit(bindparam("b_limit"))
)
_SINCE = statement(
    select(
        executions.c.account_id,
        executions.c.symbol,
        executions.c.side,
        executions.c.qty,
        executions.c.price,
        executions.c.fee,
    )
    .join(accounts, accounts.c.id == executions.c.account_id)
    .where(
        any_of(executions.c.account_id, "b_ids"),
        executions.c.executed_at >= bindparam("b_from"),
        executions.c.booked_at >= accounts.c.reset_at,
    )
)
_MOVED_SINCE = statement(
    select(activities.c.account_id, activities.c.symbol, activities.c.qty, activities.c.cash)
    .join(accounts, accounts.c.id == activities.c.account_id)
    .where(
        any_of(activities.c.account_id, "b_ids"),
        activities.c.executed_at >= bindparam("b_from"),
        activities.c.booked_at >= accounts.c.reset_at,
    )
)
# Both databases speak this form of ON CONFLICT; Core's PostgreSQL construct renders it for SQLite too.
_KEEP_DAY = statement(upsert(account_days).on_conflict_do_nothing(index_elements=["account_id", "day"]))


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """What the ledger itself knows of an account: dollars, counters, and how it stands with its broker."""

    id: str
    broker: str
    mode: str
    number: str
    name: str
    status: str
    cash: Decimal
    starting_cash: Decimal
    open_orders: int
    reconciled_at_us: int | None
    reconcile_problem: str | None
    created_at_us: int
    margin: bool
    options_level: int
    reset_at_us: int

    @property
    def since_us(self) -> int:
        """When its books began: when it was opened, or last reset."""
        return max(self.created_at_us, self.reset_at_us)


@dataclass(frozen=True, slots=True)
class Day:
    """An account at the end of a trading day; `day` is its date."""

    account_id: str
    day: str
    equity: Decimal
    cash: Decimal
    rolled_at_us: int


def _account(row: Row) -> AccountFigures:
    return AccountFigures(
        id=row["id"],
        broker=row["broker"],
        mode=row["mode"],
        number=row["number"],
        name=row["name"],
        status=row["status"],
        cash=money_from_int(row["cash"]),
        starting_cash=money_from_int(row["starting_cash"]),
        open_orders=row["open_orders"],
        reconciled_at_us=row["reconciled_at"],
        reconcile_problem=row["reconcile_problem"],
        created_at_us=row["created_at"],
        margin=bool(row["margin"]),
        options_level=row["options_level"],
        reset_at_us=row["reset_at"],
    )


async def load_books(
    tx: Tx, ids: Sequence[str]
) -> tuple[list[AccountFigures], dict[str, list[Holding]], dict[str, list[Combo]], dict[str, Day]]:
    """These accounts by id, and of each its holdings (`load_holdings`), its open spreads as margin sees them, and the newest day kept,
    all as they were at one instant: cash from before a print with a position from behind it is worth what nobody ever had."""
    asked = {"b_ids": list(ids)}
    figures, held, spreads, days = await tx.fetch_together(
        [(_LOAD_ACCOUNTS, asked), (_HOLDINGS, asked), (_OPEN_SPREADS, asked), (_LAST_DAYS, asked)]
    )
    return (
        sorted((_account(row) for row in figures), key=lambda one: one.id),
        _holdings(ids, sorted(held, key=itemgetter("symbol"))),
        _combos(sorted(spreads, key=itemgetter("id"))),
        _days(days),
    )


async def lock_accounts(tx: Tx, ids: Sequence[str]) -> list[AccountFigures]:
    """The same, locked until the transaction ends, so that no print is booked meanwhile."""
    return [_account(row) for row in await tx.fetch(_LOCK_ACCOUNTS, {"b_ids": list(ids)})]


async def load_holdings(tx: Tx, ids: Sequence[str]) -> dict[str, list[Holding]]:
    """Holdings and symbols with open orders of each account, by symbol; every account asked for has a list."""
    return _holdings(ids, await tx.fetch(_HOLDINGS, {"b_ids": list(ids)}))


def _holdings(ids: Sequence[str], rows: Iterable[Row]) -> dict[str, list[Holding]]:
    found: dict[str, list[Holding]] = {account_id: [] for account_id in ids}
    for row in rows:
        found[row["account_id"]].append(
            Holding(
                symbol=row["symbol"],
                asset_class=row["asset_class"],
                qty=qty_from_int(row["qty"]),
                cost_basis=money_from_int(row["cost_basis"]),
                open_buy_qty=qty_from_int(row["open_buy_qty"]),
                open_buy_value=money_from_int(row["open_buy_value"]),
                open_sell_qty=qty_from_int(row["open_sell_qty"]),
                open_sell_value=money_from_int(row["open_sell_value"]),
            )
        )
    return found


def _combos(rows: Sequence[Row]) -> dict[str, list[Combo]]:
    found: dict[str, list[Combo]] = {}
    legs: dict[str, list[Row]] = {}
    for row in rows:
        if row["parent_id"] is not None:
            legs.setdefault(row["parent_id"], []).append(row)
    for row in rows:
        if row["parent_id"] is None and row["id"] in legs:
            units = qty_from_int(max(0, row["qty"] - row["filled_qty"]))
            net = units * money_from_int(row["reserve_price"]) * CONTRACT_SIZE
            found.setdefault(row["account_id"], []).append(
                Combo(
                    tuple(
                        (leg["symbol"], (units if leg["side"] == "buy" else -units) * (leg["ratio_qty"] or 1))
                        for leg in legs[row["id"]]
                    ),
                    net,
                )
            )
    return found


def _days(rows: Iterable[Row]) -> dict[str, Day]:
    return {
        row["account_id"]: Day(
            row["account_id"],
            row["day"],
            money_from_int(row["equity"]),
            money_from_int(row["cash"]),
            row["rolled_at"],
        )
        for row in rows
    }


async def load_unrolled(tx: Tx, day: str, roll_us: int, limit: int) -> list[str]:
    """Accounts that existed at the roll and have no row for the day that it ended."""
    rows = await tx.fetch(_UNROLLED, {"b_day": day, "b_roll": roll_us, "b_limit": limit})
    return [row["id"] for row in rows]


async def load_prints_since(tx: Tx, ids: Sequence[str], from_us: int) -> dict[str, list[Print]]:
    """What was executed, or moved by no order, at or after an instant, signed as the ledger booked it (busts undo
    their print)."""
    found: dict[str, list[Print]] = {account_id: [] for account_id in ids}
    for row in await tx.fetch(_SINCE, {"b_ids": list(ids), "b_from": from_us}):
        qty = qty_from_int(row["qty"])
        value = round_money(qty * money_from_int(row["price"])) * multiplier_of(row["symbol"])
        fee = money_from_int(row["fee"])
        bought = row["side"] == "buy"
        found[row["account_id"]].append(
            Print(row["symbol"], qty if bought else -qty, (-value if bought else value) - fee)
        )
    for row in await tx.fetch(_MOVED_SINCE, {"b_ids": list(ids), "b_from": from_us}):
        found[row["account_id"]].append(
            Print(row["symbol"], qty_from_int(row["qty"]), money_from_int(row["cash"]))
        )
    return found


async def keep_days(tx: Tx, days: Sequence[Day]) -> None:
    """Add the rows; a day that is already kept stays as it is."""
    await tx.execute_many(
        _KEEP_DAY,
        [
            {
                "account_id": day.account_id,
                "day": day.day,
                "equity": money_to_int(day.equity),
                "cash": money_to_int(day.cash),
                "rolled_at": day.rolled_at_us,
            }
            for day in days
        ],
    )
