"""What the figures for Prometheus tell of the ledger: read now and then in the background, never at a scrape."""

from dataclasses import dataclass, field

from sqlalchemy import case, func, select

from paiid.core.db import Tx, one_of, statement
from paiid.core.tables import accounts, halt_epoch, halts, orders, replicas, restored_accounts
from paiid.domain.halts import Mode
from paiid.domain.orders import Submission

UNSETTLED = (Submission.QUEUED.value, Submission.DISPATCHING.value, Submission.UNKNOWN.value)
_ALIVE_US = 15_000_000
_STANDS = ("agrees", "differs", "never_compared")

_ORDERS = statement(
    select(
        orders.c.state,
        func.count().label("n"),
        func.min(func.coalesce(orders.c.unknown_at, orders.c.created_at)).label("oldest_at"),
    )
    .where(one_of(orders.c.state, *UNSETTLED))
    .group_by(orders.c.state)
)
_HALTS = statement(select(halts.c.scope, halts.c.mode).where(halts.c.mode != Mode.ACTIVE.value))
_EPOCH = statement(select(halt_epoch.c.epoch).where(halt_epoch.c.id == 1))
_BOOKS = statement(
    select(
        accounts.c.broker,
        case(
            (accounts.c.reconcile_problem.is_not(None), "differs"),
            (accounts.c.reconciled_at.is_(None), "never_compared"),
            else_="agrees",
        ).label("stands"),
        func.count().label("n"),
    ).group_by("broker", "stands")
)
_REPLICAS = statement(
    select(
        replicas.c.build,
        replicas.c.seen_at,
        replicas.c.clock_skew_us,
    )
)
_PENDING = statement(
    select(func.count().label("n")).where(
        restored_accounts.c.imported_at.is_(None), restored_accounts.c.accepted_at.is_(None)
    )
)


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """One look. `unsettled` by state: how many orders, and the age of the oldest in seconds; `halts` by kind of scope and
    mode; `books` by broker and how an account's compare with the broker's."""

    unsettled: dict[str, tuple[int, float]] = field(default_factory=dict)
    halts: dict[tuple[str, str], int] = field(default_factory=dict)
    halt_epoch: int = 0
    books: dict[tuple[str, str], int] = field(default_factory=dict)
    replicas: int = 0
    builds: int = 0
    worst_skew_s: float = 0.0
    restores_pending: int = 0


async def load_ledger_figures(tx: Tx) -> LedgerFigures:
    """The ledger as a whole, in one round trip and the database's own time."""
    now_us = await tx.now_us()
    reads = (_ORDERS, _HALTS, _EPOCH, _BOOKS, _REPLICAS, _PENDING)
    unsettled, halted, epoch, books, replicated, pending = await tx.fetch_together(
        [(one, {}) for one in reads]
    )
    found: dict[tuple[str, str], int] = {}
    for row in halted:
        key = (str(row["scope"]).partition(":")[0], str(row["mode"]))
        found[key] = found.get(key, 0) + 1
    alive = [row for row in replicated if row["seen_at"] > now_us - _ALIVE_US]
    return LedgerFigures(
        unsettled={
            row["state"]: (row["n"], max(0, now_us - row["oldest_at"]) / 1_000_000) for row in unsettled
        },
        halts=found,
        halt_epoch=max((row["epoch"] for row in epoch), default=0),
        books={(row["broker"], row["stands"]): row["n"] for row in books},
        replicas=len(alive),
        builds=len({row["build"] for row in alive}),
        worst_skew_s=max((abs(row["clock_skew_us"]) for row in alive), default=0) / 1_000_000,
        restores_pending=sum(row["n"] for row in pending),
    )
