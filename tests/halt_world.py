"""What the halt tests share: accounts, users, orders as rows, and a claim reduced to what K3 asks of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, DatabaseUnavailable, Tx, statement
from paiid.core.tables import accounts, audit, grants, halts, orders, sessions, users
from paiid.domain.halts import Mode, Scope
from paiid.domain.identity import ALL_SCOPES, Actor, Credential, Principal, Role
from paiid.trading.halt_change import Arm, Resume
from paiid.trading.halt_store import load_active

SECOND_US = 1_000_000
_USER = statement(insert(users))
_SESSION = statement(insert(sessions))
_ACCOUNT = statement(insert(accounts))
_GRANT = statement(insert(grants))
_ORDER = statement(insert(orders))
_ORDERS = statement(select(orders.c.id, orders.c.state, orders.c.created_at))
_HALTS = statement(select(halts))
_AUDIT = statement(select(audit).order_by(audit.c.id))

HOST = Actor("cli", "host")


def person(user_id: str, role: Role = "owner", credential: Credential = "session") -> Principal:
    """A caller; sessions are called like their user."""
    return Principal(user_id, f"{user_id}@example.com", role, credential, f"s-{user_id}", ALL_SCOPES)


def by(principal: Principal) -> Actor:
    """The caller in the audit."""
    return Actor(principal.credential, principal.user_id)


async def add_user(db: Database, clock: Clock, user_id: str, role: Role) -> Principal:
    """A user with a session."""
    now = clock.now_us()
    async with db.begin() as tx:
        await tx.execute(
            _USER,
            {
                "id": user_id,
                "email": f"{user_id}@example.com",
                "password_hash": "",
                "role": role,
                "created_at": now,
                "updated_at": now,
                "disabled_at": None,
                "deleted_at": None,
            },
        )
        row = {
            "id": f"s-{user_id}",
            "user_id": user_id,
            "generation": 1,
            "refresh_hash": "",
            "previous_hash": None,
        }
        row |= {"rotated_at": now, "access_jti": "", "access_iat": 0, "created_at": now, "last_used_at": now}
        row |= {
            "expires_at": now + 10**12,
            "ended_at": None,
            "end_reason": None,
            "user_agent": None,
            "address": None,
        }
        await tx.execute(_SESSION, row)
    return person(user_id, role)


async def add_account(
    db: Database,
    clock: Clock,
    account_id: str,
    owner: str,
    *,
    problem: str | None = None,
    broker: str = "fake",
) -> None:
    """An account that its owner may trade."""
    now = clock.now_us()
    row = {"id": account_id, "broker": broker, "mode": "paper", "number": account_id, "owner_user_id": owner}
    row |= {
        "name": account_id,
        "status": "active",
        "cash": 0,
        "starting_cash": 0,
        "open_orders": 0,
        "event_seq": 0,
    }
    row |= {
        "event_epoch": 1,
        "version": 0,
        "reconciled_at": None,
        "reconcile_problem": problem,
        "created_at": now,
    }
    row |= {"margin": 0, "options_level": 3, "open_combos": 0, "reset_at": 0}
    async with db.begin() as tx:
        await tx.execute(_ACCOUNT, row)
        await tx.execute(
            _GRANT,
            {
                "user_id": owner,
                "account_id": account_id,
                "access": "trade",
                "created_at": now,
                "created_by": owner,
            },
        )


def order_row(
    clock: Clock, account: str, user: str, state: str, now_us: int, **other: object
) -> dict[str, object]:
    """A row of `orders` as a claim would write it."""
    order_id = new_id(clock, "ord")
    row: dict[str, object] = {column.name: None for column in orders.columns}
    row |= {"id": order_id, "account_id": account, "user_id": user, "position": 0, "origin": "ours"}
    row |= {"client_order_id": f"pd-{order_id}", "state": state, "symbol": "AAPL", "asset_class": "stock"}
    row |= {"side": "buy", "type": "market", "time_in_force": "day", "qty": 10**9, "reserve_price": 0}
    row |= {
        "filled_qty": 0,
        "filled_value": 0,
        "fees": 0,
        "broker_filled_qty": 0,
        "open": 1,
        "lookup_count": 0,
        "order_class": "simple",
        "extended_hours": 0,
    }
    row |= {"version": 1, "created_at": now_us, "updated_at": now_us}
    if state == "DISPATCHING":
        row["dispatch_deadline_at"] = now_us + 5 * SECOND_US
    return row | other


async def add_order(db: Database, clock: Clock, account: str, user: str, state: str, **other: object) -> str:
    """An order that some process has claimed."""
    async with db.begin() as tx:
        row = order_row(clock, account, user, state, await tx.now_us(), **other)
        await tx.execute(_ORDER, row)
    return str(row["id"])


async def set_order(db: Database, order_id: str, **values: object) -> None:
    """Move an order on, as its record would."""
    stmt = statement(update(orders).where(orders.c.id == bindparam("b_id")), columns=list(values))
    async with db.begin() as tx:
        await tx.execute(stmt, {"b_id": order_id, **values})


class ClaimLike:
    """A claim reduced to the gate, the halts read in a later statement, and the order's row."""

    def __init__(self, clock: Clock, account: str, user: str, symbol: str = "AAPL") -> None:
        self._clock = clock
        self._account = account
        self._user = user
        self._symbol = symbol

    async def batch(self, tx: Tx, items: Sequence[int]) -> Sequence[str | Exception]:
        """'claimed' or 'refused' for each."""
        now_us = await tx.pass_gate()
        mode, _ = (await load_active(tx)).severest(self._account, self._user, [self._symbol])
        if mode is Mode.HALTED:
            return ["refused" for _ in items]
        rows = [
            order_row(self._clock, self._account, self._user, "DISPATCHING", now_us, symbol=self._symbol)
            for _ in items
        ]
        await tx.execute_many(_ORDER, rows)
        return ["claimed" for _ in items]


async def order_states(db: Database) -> dict[str, tuple[str, int]]:
    """State and birth of every order."""
    async with db.read() as tx:
        return {row["id"]: (row["state"], row["created_at"]) for row in await tx.fetch(_ORDERS)}


async def halt_rows(db: Database) -> dict[str, tuple[str, int]]:
    """Mode and epoch of every scope that has a row."""
    async with db.read() as tx:
        return {row["scope"]: (row["mode"], row["epoch"]) for row in await tx.fetch(_HALTS)}


async def audit_actions(db: Database) -> list[tuple[str, str, str]]:
    """(action, subject, actor) of every audit row, oldest first."""
    async with db.read() as tx:
        return [(row["action"], row["subject"], row["actor_id"]) for row in await tx.fetch(_AUDIT)]


def arm(scope: str, mode: Mode = Mode.HALTED, who: Principal | None = None, reason: str = "test") -> Arm:
    """A wish to arm a scope; by the host unless somebody is named."""
    return Arm(Scope.parse(scope), mode, reason, HOST if who is None else by(who), who)


def resume(scope: str, epoch: int, who: Principal | None = None, mode: Mode = Mode.ACTIVE) -> Resume:
    """A wish to resume one."""
    return Resume(Scope.parse(scope), mode, "all clear", epoch, HOST if who is None else by(who), who)


class Switched:
    """A database that can be taken away; everything else is the real one."""

    def __init__(self, real: Database) -> None:
        self._real = real
        self.down = False
        self.dialect = real.dialect

    @asynccontextmanager
    async def begin(self, **how: Any) -> AsyncIterator[Tx]:
        if self.down:
            raise DatabaseUnavailable("taken away")
        async with self._real.begin(**how) as tx:
            yield tx

    @asynccontextmanager
    async def read(self, **how: Any) -> AsyncIterator[Tx]:
        if self.down:
            raise DatabaseUnavailable("taken away")
        async with self._real.read(**how) as tx:
            yield tx
