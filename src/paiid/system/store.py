"""What health reads and writes: how the ledger stands with the brokers, the schema, leases, and the replicas' rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    bindparam,
    cast,
    column,
    delete,
    extract,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from paiid.core.db import Row, Tx, statement
from paiid.core.tables import accounts, leases, orders, replicas, restored_accounts

_RECONCILE = statement(
    select(
        func.count().label("accounts"),
        func.count(accounts.c.reconcile_problem).label("problems"),
        func.count(accounts.c.reconciled_at).label("compared"),
        func.min(accounts.c.reconciled_at).label("oldest_at"),
    )
)
_IN_DOUBT = statement(select(func.count().label("n")).where(orders.c.state == bindparam("b_state")))
_ANY_NUMBER = statement(
    select(accounts.c.number)
    .where(accounts.c.broker == bindparam("b_broker"))
    .order_by(accounts.c.created_at, accounts.c.id)
    .limit(1)
)
_WAITING = statement(
    select(func.count().label("n"))
    .select_from(restored_accounts)
    .where(restored_accounts.c.imported_at.is_(None), restored_accounts.c.accepted_at.is_(None))
)
# Alembic's own table, which is none of ours.
_REVISION = statement(select(column("version_num")).select_from(table("alembic_version")))
_LEASES = statement(select(leases).order_by(leases.c.name))

# -- the replicas' rows: on PostgreSQL alone, and in its own time, so that one statement is enough --------------------

_NOW: ColumnElement[int] = cast(
    extract("epoch", func.clock_timestamp()) * literal_column("1000000"), BigInteger
)
_ROW = upsert(replicas).values(
    id=bindparam("b_id"),
    build=bindparam("b_build"),
    version=bindparam("b_version"),
    schema=bindparam("b_schema"),
    started_at=_NOW,
    seen_at=_NOW,
    clock_skew_us=bindparam("b_skew"),
    detail=bindparam("b_detail"),
)
_BEAT = statement(
    _ROW.on_conflict_do_update(
        index_elements=["id"],
        set_={name: _ROW.excluded[name] for name in ("seen_at", "clock_skew_us", "detail")},
    )
)
_SEEN = statement(
    select(replicas, (_NOW - replicas.c.seen_at).label("ago_us"))
    .where(_NOW - replicas.c.seen_at < bindparam("b_within_us"))
    .order_by(replicas.c.started_at, replicas.c.id)
)
_SWEEP = statement(delete(replicas).where(_NOW - replicas.c.seen_at > bindparam("b_after_us")))
_LEAVE = statement(delete(replicas).where(replicas.c.id == bindparam("b_id")))


@dataclass(frozen=True, slots=True)
class ReconcileState:
    """Accounts, those whose books differ from the broker's, those never compared, the oldest comparison of the
    others, and orders whose outcome is unknown."""

    accounts: int
    problems: int
    never_compared: int
    oldest_at_us: int | None
    orders_in_doubt: int


@dataclass(frozen=True, slots=True)
class Replica:
    """One process as it last told of itself; instants in database time, `ago_us` since it was last seen, `skew_us` its clock
    minus the database's. `state` is "ready", or why it is not."""

    id: str
    build: str
    version: str
    schema: str
    started_at_us: int
    seen_at_us: int
    ago_us: int
    skew_us: int
    state: str


async def load_reconcile_state(tx: Tx) -> ReconcileState:
    """The ledger as a whole."""
    row = await tx.fetch_one(_RECONCILE)
    doubt = await tx.fetch_one(_IN_DOUBT, {"b_state": "UNKNOWN"})
    assert row is not None
    assert doubt is not None
    return ReconcileState(
        accounts=row["accounts"],
        problems=row["problems"],
        never_compared=row["accounts"] - row["compared"],
        oldest_at_us=row["oldest_at"],
        orders_in_doubt=doubt["n"],
    )


async def find_account_number(tx: Tx, broker: str) -> str | None:
    """The number of the oldest account kept at a broker."""
    row = await tx.fetch_one(_ANY_NUMBER, {"b_broker": broker})
    return None if row is None else str(row["number"])


async def count_waiting_after_restore(tx: Tx) -> int:
    """Accounts that came back from a backup, and whose orders since then are neither imported nor accepted."""
    row = await tx.fetch_one(_WAITING)
    assert row is not None
    return int(row["n"])


async def find_revision(tx: Tx) -> str | None:
    """The schema that the database is at."""
    row = await tx.fetch_one(_REVISION)
    return None if row is None else str(row["version_num"])


async def load_leases(tx: Tx) -> Sequence[Row]:
    """All leases: name, holder, token, expires_at (microseconds, database time)."""
    return await tx.fetch(_LEASES)


async def tell_replica(tx: Tx, replica: Replica) -> None:
    """Write the row of a process, or renew it; its instants are the database's own. PostgreSQL only."""
    await tx.execute(
        _BEAT,
        {
            "b_id": replica.id,
            "b_build": replica.build,
            "b_version": replica.version,
            "b_schema": replica.schema,
            "b_skew": replica.skew_us,
            "b_detail": replica.state,
        },
    )


async def load_replicas(tx: Tx, within_us: int) -> list[Replica]:
    """Those seen in the last microseconds, the oldest process first. PostgreSQL only."""
    return [
        Replica(
            id=row["id"],
            build=row["build"],
            version=row["version"],
            schema=row["schema"],
            started_at_us=row["started_at"],
            seen_at_us=row["seen_at"],
            ago_us=max(0, row["ago_us"]),
            skew_us=row["clock_skew_us"],
            state=row["detail"],
        )
        for row in await tx.fetch(_SEEN, {"b_within_us": within_us})
    ]


async def sweep_replicas(tx: Tx, after_us: int) -> int:
    """Remove those that were not seen for longer; how many. PostgreSQL only."""
    return await tx.execute(_SWEEP, {"b_after_us": after_us})


async def remove_replica(tx: Tx, replica_id: str) -> None:
    """This process ends. PostgreSQL only."""
    await tx.execute(_LEAVE, {"b_id": replica_id})
