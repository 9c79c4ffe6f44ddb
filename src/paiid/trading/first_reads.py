"""What the transactions of the hot path read first, in as few round trips as their locks allow.

Rows that depend on an account are read in a statement after the one that locks it: a statement sees what was committed when it
began, and it may have waited for the lock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from paiid.auth.store import StandingReads
from paiid.core.db import Read, Row, Tx
from paiid.core.leases import Held, held_read
from paiid.domain.halts import HaltSet
from paiid.domain.identity import Principal, Role
from paiid.trading import store
from paiid.trading.halt_store import ACTIVE, halts_of
from paiid.trading.records import (
    AccountRow,
    IntentRow,
    OrderRow,
    PositionRow,
    account_from,
    intent_from,
    order_from,
    position_from,
)

Standings = dict[tuple[str, str], Role]
Grants = dict[tuple[str, str], str]
"""(user, account) -> 'view' or 'trade'."""


@dataclass(frozen=True, slots=True)
class Entered:
    """Who may act, what is halted, and the accounts of a group; empty what was not asked for."""

    now_us: int
    accounts: dict[str, AccountRow]
    halts: HaltSet = field(default_factory=HaltSet)
    standing: Standings = field(default_factory=dict)
    grants: Grants = field(default_factory=dict)
    positions: Sequence[PositionRow] = ()


async def enter_claim(tx: Tx, principals: Sequence[Principal], account_ids: Iterable[str]) -> Entered:
    """Pass the gate; then hold callers and their grants shared, so that taking away a right serialises with the claim, and lock the
    accounts, in this order and each by their ids. The halts are read after the gate (contract K3)."""
    asked = StandingReads(principals)
    now_us, (halts, *standing, granted, locked) = await tx.enter(
        [
            (ACTIVE, {}),
            *asked.reads,
            (store.LOCK_GRANTS, _users(principals)),
            (store.LOCK_ACCOUNTS, _ids(account_ids)),
        ],
        gate=True,
    )
    return Entered(
        now_us, _accounts(locked), halts_of(halts), asked.roles(standing, now_us), _grants(granted)
    )


async def enter_record(tx: Tx, going_on: Sequence[Principal], account_ids: Iterable[str]) -> Entered:
    """Lock the accounts. Where calls go on, the gate is passed again before, and their callers are held."""
    accounts = (store.LOCK_ACCOUNTS, _ids(account_ids))
    if not going_on:
        now_us, (locked,) = await tx.enter([accounts])
        return Entered(now_us, _accounts(locked))
    asked = StandingReads(going_on)
    now_us, (halts, *standing, locked) = await tx.enter([(ACTIVE, {}), *asked.reads, accounts], gate=True)
    return Entered(now_us, _accounts(locked), halts_of(halts), asked.roles(standing, now_us))


async def read_plan(tx: Tx, principal: Principal, account_ids: Iterable[str]) -> Entered:
    """What a dry run needs, without a lock."""
    ids = _ids(account_ids)
    now_us, (halts, granted, found, held) = await tx.enter(
        [
            (ACTIVE, {}),
            (store.LOAD_GRANTS, _users([principal])),
            (store.LOAD_ACCOUNTS, ids),
            (store.POSITIONS, ids),
        ]
    )
    return Entered(
        now_us,
        _accounts(found),
        halts_of(halts),
        grants=_grants(granted),
        positions=[position_from(row) for row in held],
    )


async def load_for_claim(
    tx: Tx, account_ids: Iterable[str], user_keys: Sequence[str]
) -> tuple[list[PositionRow], dict[str, IntentRow]]:
    """Positions of accounts that are locked already, and the intents of these keys."""
    held, known = await tx.fetch_together(
        [
            (store.POSITIONS, _ids(account_ids)),
            (store.INTENTS_BY_KEY, {"b_keys": sorted(set(user_keys))}),
        ]
    )
    return [position_from(row) for row in held], {row["user_key"]: intent_from(row) for row in known}


async def load_for_record(
    tx: Tx, account_ids: Iterable[str], intent_ids: Sequence[str]
) -> tuple[list[PositionRow], list[IntentRow], list[OrderRow]]:
    """Positions of accounts that are locked already, and these intents with all their orders."""
    ids = _ids(intent_ids)
    held, found, placed = await tx.fetch_together(
        [(store.POSITIONS, _ids(account_ids)), (store.INTENTS, ids), (store.ORDERS_OF_INTENTS, ids)]
    )
    return (
        [position_from(row) for row in held],
        [intent_from(row) for row in found],
        [order_from(row) for row in placed],
    )


async def enter_merge(tx: Tx, held: Held | None, account_ids: Iterable[str]) -> Entered | None:
    """Hold the lease and lock the accounts; None where the lease has run out."""
    leases = [] if held is None else [held_read(held)]
    now_us, (*mine, locked) = await tx.enter([*leases, (store.LOCK_ACCOUNTS, _ids(account_ids))])
    return Entered(now_us, _accounts(locked)) if all(mine) else None


async def load_for_merge(
    tx: Tx, locked: Iterable[str], told: Read, prints: Read
) -> tuple[list[PositionRow], list[OrderRow], set[tuple[str, str]]]:
    """Positions of accounts that are locked already, the orders that are told of, and which of these prints are booked."""
    held, orders, booked = await tx.fetch_together([(store.POSITIONS, _ids(locked)), told, prints])
    return (
        [position_from(row) for row in held],
        [order_from(row) for row in orders],
        store.booked_of(booked),
    )


async def load_intents(tx: Tx, intent_ids: Sequence[str]) -> tuple[list[IntentRow], list[OrderRow]]:
    """These intents with all their orders, both as they were at one instant: an intent from before its end with orders from behind it
    would be told as final, without the answer that was stored for it (E15)."""
    ids = _ids(intent_ids)
    found, placed = await tx.fetch_together([(store.INTENTS, ids), (store.ORDERS_OF_INTENTS, ids)])
    return [intent_from(row) for row in found], [order_from(row) for row in placed]


def _ids(ids: Iterable[str]) -> Mapping[str, list[str]]:
    return {"b_ids": sorted(set(ids))}


def _users(principals: Iterable[Principal]) -> Mapping[str, list[str]]:
    return {"b_users": sorted({one.user_id for one in principals})}


def _grants(rows: Iterable[Row]) -> Grants:
    return {(row["user_id"], row["account_id"]): row["access"] for row in rows}


def _accounts(rows: Iterable[Row]) -> dict[str, AccountRow]:
    return {row["id"]: account_from(row) for row in rows}
