"""Checks of what is kept in the database: the schema, how the books stand, what a restore left open, the replicas."""

from collections.abc import Set

from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.system import store
from paiid.system.checks import Probe, Told
from paiid.system.replicas import Replicas

__all__ = ["migrations_probe", "reconcile_probe", "replicas_probe", "restore_probe"]


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def migrations_probe(db: Database, head: str, known: Set[str]) -> Probe:
    """Whether the schema is that of this code; `known` are the revisions this code has heard of. Raises DatabaseUnavailable."""

    async def probe() -> Told:
        async with db.read(brief=True) as tx:
            found = await store.find_revision(tx)
        if found == head:
            return Told("at head", figures={"schema_at_head": 1.0})
        if found is None or found in known:
            why = "the schema of the database is older than this code"
            return Told(why, "down", unready=why, figures={"schema_at_head": 0.0})
        # Migrations only add: the code before goes on with the schema after.
        detail = "the schema is newer than this code: a roll is under way"
        return Told(detail, "degraded", figures={"schema_at_head": 1.0})

    return probe


def reconcile_probe(db: Database, clock: Clock) -> Probe:
    """Whether the ledger agrees with the brokers' own books. Raises DatabaseUnavailable."""

    async def probe() -> Told:
        async with db.read() as tx:
            found = await store.load_reconcile_state(tx)
        figures = {
            "reconcile_problems": float(found.problems),
            "orders_in_doubt": float(found.orders_in_doubt),
        }
        words = []
        if found.problems:
            differ = _count(found.problems, "account differs", "accounts differ")
            words.append(f"{differ} from the broker's books")
        elif found.oldest_at_us is None:
            words.append("not compared yet")
        else:
            words.append("the books agree")
        if found.oldest_at_us is not None:
            age_s = max(0.0, (clock.now_us() - found.oldest_at_us) / 1_000_000)
            figures["reconcile_oldest_age_seconds"] = age_s
            words.append(f"the oldest comparison is {age_s:.0f} s old")
        if found.orders_in_doubt:
            words.append(f"{_count(found.orders_in_doubt, 'order', 'orders')} in doubt")
        return Told("; ".join(words), "degraded" if found.problems else "up", figures=figures)

    return probe


def restore_probe(db: Database) -> Probe:
    """Whether accounts wait for their orders since a backup. Raises DatabaseUnavailable."""

    async def probe() -> Told:
        async with db.read(brief=True) as tx:
            waiting = await store.count_waiting_after_restore(tx)
        figures = {"restored_accounts_waiting": float(waiting)}
        if not waiting:
            return Told("no account waits", figures=figures)
        wait = _count(waiting, "account waits", "accounts wait")
        return Told(f"{wait} for the orders since the backup", "degraded", figures=figures)

    return probe


def replicas_probe(replicas: Replicas) -> Probe:
    """How many processes run on the database, and whether they are of one build. Raises DatabaseUnavailable."""

    async def probe() -> Told:
        number = len(await replicas.look())
        builds = len(replicas.builds)
        figures = {"replicas": float(number), "replica_builds": float(builds)}
        told = _count(number, "replica", "replicas")
        if builds > 1:
            detail = f"{told} of {builds} different builds: a roll is under way"
            return Told(detail, "degraded", figures=figures)
        return Told(told, figures=figures)

    return probe
