"""The SQL of a restored database: what must not be believed any more, and which accounts wait for their brokers' orders."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, not_, or_, select, update

from paiid.accounts.store import EVERY_ACCOUNT, RESTORED_WAITING
from paiid.core.db import Row, Statement, Tx, any_of, statement
from paiid.core.tables import (
    accounts,
    ai_reservations,
    api_tokens,
    halt_epoch,
    halt_receipts,
    halts,
    invites,
    leases,
    orders,
    replicas,
    restored_accounts,
    sessions,
    stream_tickets,
    switches,
)
from paiid.domain.halts import GLOBAL
from paiid.domain.orders import Submission

NOT_COMPARED = "restored from a backup; not compared with the broker yet"
"""The problem of an account whose orders are here, until its books have been compared."""
_LAST_RESTORE = "restored"
"""The name of a switch that nobody turns: its value is the id of the restore that this database comes from."""
_DROP_LAST = statement(delete(switches).where(switches.c.name == _LAST_RESTORE))
_ADD_LAST = statement(insert(switches))
_FIND_LAST = statement(select(switches.c.value).where(switches.c.name == _LAST_RESTORE))
_PENDING = restored_accounts.c.imported_at.is_(None) & restored_accounts.c.accepted_at.is_(None)
_LOAD_PENDING = statement(select(restored_accounts).where(_PENDING).order_by(restored_accounts.c.account_id))
_FIND = statement(
    select(restored_accounts).where(restored_accounts.c.account_id == bindparam("b_id")).with_for_update()
)
_RESTORED_IDS = statement(
    select(restored_accounts.c.account_id).where(any_of(restored_accounts.c.account_id, "b_ids"))
)
_ALL_IDS = statement(select(restored_accounts.c.account_id))
_SAY_PROBLEM = statement(
    update(restored_accounts).where(restored_accounts.c.account_id == bindparam("b_id"), _PENDING),
    columns=["problem"],
)
_SAY_IMPORTED = statement(
    update(restored_accounts)
    .where(restored_accounts.c.account_id == bindparam("b_id"), _PENDING)
    .values(problem=None),
    columns=["imported_at", "imported_orders"],
)
_SAY_ACCEPTED = statement(
    update(restored_accounts).where(restored_accounts.c.account_id == bindparam("b_id"), _PENDING),
    columns=["accepted_by", "accepted_at"],
)
_NAMES = statement(
    select(orders.c.client_order_id, orders.c.broker_order_id).where(
        orders.c.account_id == bindparam("b_account"),
        or_(
            any_of(orders.c.client_order_id, "b_names"),
            any_of(orders.c.broker_order_id, "b_broker_ids"),
        ),
    )
)
_RENAME = statement(
    update(orders).where(
        orders.c.account_id == bindparam("b_account"),
        orders.c.broker_order_id == bindparam("b_broker_id"),
        orders.c.origin == "external",
    ),
    columns=["client_order_id"],
)

# -- of the restore itself; each runs once, in its transaction

_DROPPED = tuple(statement(delete(table)) for table in (stream_tickets, replicas, ai_reservations))
_OLD_PENDING = statement(
    select(restored_accounts.c.account_id, restored_accounts.c.backup_at).where(
        or_(_PENDING, restored_accounts.c.account_id == EVERY_ACCOUNT)
    )
)
_FORGET_RESTORES = statement(delete(restored_accounts))
_OUTSIDE = statement(
    select(accounts.c.id, accounts.c.broker)
    .where(accounts.c.broker != bindparam("b_own"))
    .order_by(accounts.c.id)
)
_ADD = statement(insert(restored_accounts))
_MARK_WAITING = statement(
    update(accounts).where(
        any_of(accounts.c.id, "b_ids"),
        or_(
            accounts.c.reconcile_problem.is_(None),
            not_(
                accounts.c.reconcile_problem.like("order.%")
                | accounts.c.reconcile_problem.like("execution.%")
            ),
        ),
    ),
    columns=["reconcile_problem"],
)
_MARK = statement(
    update(accounts)
    .where(
        accounts.c.id == bindparam("b_id"),
        or_(accounts.c.reconcile_problem.is_(None), accounts.c.reconcile_problem == RESTORED_WAITING),
    )
    .values(reconcile_problem=NOT_COMPARED)
)
_MOVE_EVENTS = statement(update(accounts).values(event_epoch=accounts.c.event_epoch + bindparam("b_by")))
_MOVE_HALTS: tuple[Statement, ...] = tuple(
    statement(update(table).values(epoch=table.c.epoch + bindparam("b_by")))
    for table in (halt_epoch, halts, halt_receipts)
)
_DROP_GLOBAL = statement(delete(halts).where(halts.c.scope == str(GLOBAL)))
_FREE_LEASES = statement(update(leases).values(expires_at=0, token=leases.c.token + bindparam("b_by")))
_END_SESSIONS = statement(
    update(sessions)
    .where(sessions.c.ended_at.is_(None))
    .values(ended_at=bindparam("b_now"), end_reason="restored")
)
_REVOKE_TOKENS = statement(
    update(api_tokens).where(api_tokens.c.revoked_at.is_(None)).values(revoked_at=bindparam("b_now"))
)
_REVOKE_INVITES = statement(
    update(invites)
    .where(invites.c.revoked_at.is_(None), invites.c.used_at.is_(None))
    .values(revoked_at=bindparam("b_now"))
)
# What was waiting for its turn may have been sent since: it is looked up like what was on the wire. The deadline is of
# what is sent, not of the exits and legs that hang on it.
_WAITING = (orders.c.state == Submission.QUEUED.value, any_of(orders.c.account_id, "b_ids"))
_DOUBT_SENT = statement(
    update(orders)
    .where(*_WAITING, or_(orders.c.parent_id.is_(None), orders.c.replaces.is_not(None)))
    .values(state=Submission.DISPATCHING.value, dispatch_deadline_at=bindparam("b_now"))
)
_DOUBT_HUNG = statement(update(orders).where(*_WAITING).values(state=Submission.DISPATCHING.value))


@dataclass(frozen=True, slots=True)
class RestoredAccount:
    """An account that came back from a backup. Times in microseconds; `problem` is why its import does not go on."""

    account_id: str
    restore_id: str
    backup_at_us: int
    restored_at_us: int
    imported_at_us: int | None
    problem: str | None
    accepted_at_us: int | None

    @property
    def pending(self) -> bool:
        """Whether orders that its broker has taken since the backup may be unknown here."""
        return self.imported_at_us is None and self.accepted_at_us is None


async def load_pending(tx: Tx) -> dict[str, RestoredAccount]:
    """Accounts whose brokers' orders are not imported and not accepted, by id."""
    return {row["account_id"]: _account(row) for row in await tx.fetch(_LOAD_PENDING)}


async def waiting_for_import(tx: Tx) -> dict[str, str]:
    """The same accounts, with why a halt of them cannot be resumed yet (contract K8)."""
    return {
        account_id: "it came back from a backup, and its broker's orders since are not imported yet"
        + (f" ({one.problem})" if one.problem is not None else "")
        for account_id, one in (await load_pending(tx)).items()
    }


async def lock_restored(tx: Tx, account_id: str) -> RestoredAccount | None:
    """The account's row, locked; None where it did not come from a backup, or has no outside broker."""
    row = await tx.fetch_one(_FIND, {"b_id": account_id})
    return None if row is None else _account(row)


async def find_restored_ids(tx: Tx, account_ids: list[str]) -> frozenset[str]:
    """Those of the accounts that came back from a backup once."""
    return frozenset(row["account_id"] for row in await tx.fetch(_RESTORED_IDS, {"b_ids": account_ids}))


async def load_restored_ids(tx: Tx) -> frozenset[str]:
    """All accounts that came back from a backup, `EVERY_ACCOUNT` with them; nothing where the database did not."""
    return frozenset(row["account_id"] for row in await tx.fetch(_ALL_IDS))


async def save_problem(tx: Tx, account_id: str, problem: str) -> None:
    """Why the import of a pending account does not go on."""
    await tx.execute(_SAY_PROBLEM, {"b_id": account_id, "problem": problem})


async def save_imported(tx: Tx, account_id: str, now_us: int, count: int) -> bool:
    """The broker's orders are here; False where that, or the owner's word, was here already."""
    values = {"b_id": account_id, "imported_at": now_us, "imported_orders": count}
    return await tx.execute(_SAY_IMPORTED, values) == 1


async def save_accepted(tx: Tx, account_id: str, now_us: int, by: str) -> None:
    """The owner's word that nothing more will come."""
    await tx.execute(_SAY_ACCEPTED, {"b_id": account_id, "accepted_at": now_us, "accepted_by": by})


async def find_names(
    tx: Tx, account_id: str, names: list[str], broker_ids: list[str]
) -> list[tuple[str, str | None]]:
    """(client id, broker's id) of the orders that bear one of these."""
    rows = await tx.fetch(_NAMES, {"b_account": account_id, "b_names": names, "b_broker_ids": broker_ids})
    return [(row["client_order_id"], row["broker_order_id"]) for row in rows]


async def rename(tx: Tx, account_id: str, broker_id: str, name: str) -> None:
    """Give an external order, known by its prints alone, the client's id that the broker tells. Raises UniqueViolation."""
    await tx.execute(_RENAME, {"b_account": account_id, "b_broker_id": broker_id, "client_order_id": name})


# -- the restore ------------------------------------------------------------------------------------


async def load_outside_accounts(tx: Tx, built_in: str) -> dict[str, str]:
    """Accounts at brokers other than our own venue: id -> broker."""
    return {row["id"]: row["broker"] for row in await tx.fetch(_OUTSIDE, {"b_own": built_in})}


async def replace_restored(
    tx: Tx, account_ids: list[str], restore_id: str, backup_at_us: int, now_us: int
) -> None:
    """These accounts wait from now on. One that waited already in the backup waits for what it waited for then; so does one
    that will only be opened, whichever of several restores has lost it."""
    earlier = {row["account_id"]: int(row["backup_at"]) for row in await tx.fetch(_OLD_PENDING)}
    await tx.execute(_FORGET_RESTORES)
    rows: list[dict[str, Any]] = [
        {
            "account_id": one,
            "restore_id": restore_id,
            "backup_at": min(backup_at_us, earlier.get(one, backup_at_us)),
            "restored_at": now_us,
            "imported_at": now_us if one == EVERY_ACCOUNT else None,
            "imported_orders": 0,
            "problem": None,
            "accepted_by": None,
            "accepted_at": None,
        }
        for one in (EVERY_ACCOUNT, *account_ids)
    ]
    await tx.execute_many(_ADD, rows)


async def mark_waiting(tx: Tx, account_ids: list[str]) -> None:
    """Nothing is claimed in these accounts; an alarm that stands there stays."""
    await tx.execute(_MARK_WAITING, {"b_ids": account_ids, "reconcile_problem": RESTORED_WAITING})


async def mark_not_compared(tx: Tx, account_id: str) -> None:
    """The account waits no more, and its books count as different until they are compared; another problem stays."""
    await tx.execute(_MARK, {"b_id": account_id})


async def move_epochs(tx: Tx, by: int) -> None:
    """Move the numbers of halts with their receipts, and the epochs of all account channels, on by the same amount, and
    the tokens of leases with them; no lease is held any more."""
    for stmt in (*_MOVE_HALTS, _MOVE_EVENTS, _FREE_LEASES):
        await tx.execute(stmt, {"b_by": by})


async def drop_global_halt(tx: Tx) -> None:
    """So that arming it begins anew, with an epoch and a receipt of its own."""
    await tx.execute(_DROP_GLOBAL)


async def drop_what_was_of_processes(tx: Tx) -> None:
    """Tickets, replicas and what requests under way had reserved."""
    for stmt in _DROPPED:
        await tx.execute(stmt)


async def say_restored(tx: Tx, restore_id: str, by: str, now_us: int) -> None:
    """This database is another one than that of which the backup was taken."""
    await tx.execute(_DROP_LAST)
    values = {"name": _LAST_RESTORE, "value": restore_id, "updated_at": now_us, "updated_by": by}
    await tx.execute(_ADD_LAST, values)


async def find_restore(tx: Tx) -> str | None:
    """The id of the restore that this database comes from, or None."""
    row = await tx.fetch_one(_FIND_LAST)
    return None if row is None else str(row["value"])


async def end_sessions(tx: Tx, now_us: int) -> int:
    """End all sessions; how many."""
    return await tx.execute(_END_SESSIONS, {"b_now": now_us})


async def revoke_tokens(tx: Tx, now_us: int) -> int:
    """Revoke all API tokens and open invites; how many tokens."""
    await tx.execute(_REVOKE_INVITES, {"b_now": now_us})
    return await tx.execute(_REVOKE_TOKENS, {"b_now": now_us})


async def doubt_waiting_orders(tx: Tx, account_ids: list[str], now_us: int) -> int:
    """Orders of these accounts that waited for their turn may have been sent since: how many."""
    count = await tx.execute(_DOUBT_SENT, {"b_ids": account_ids, "b_now": now_us})
    await tx.execute(_DOUBT_HUNG, {"b_ids": account_ids})
    return count


def _account(row: Row) -> RestoredAccount:
    return RestoredAccount(
        row["account_id"],
        row["restore_id"],
        row["backup_at"],
        row["restored_at"],
        row["imported_at"],
        row["problem"],
        row["accepted_at"],
    )
