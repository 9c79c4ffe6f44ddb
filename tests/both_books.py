"""Both sides' books, read past every wire for a referee: the ledger's rows, the simulated broker's, and its evidence."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx2
from sqlalchemy import bindparam, select

from paiid.core.clock import SystemClock
from paiid.core.db import Database, Row, make_database, statement
from paiid.core.tables import (
    accounts,
    executions,
    orders,
    paper_accounts,
    paper_executions,
    paper_orders,
    paper_positions,
    positions,
)

_NUMBER: Any = bindparam("b_number")
_ACCOUNT: Any = bindparam("b_account")


def _of(table: Any, column: Any, bound: Any, *order: Any) -> Any:
    return statement(select(table).where(column == bound).order_by(*order))


_THEIR_ORDERS = _of(paper_orders, paper_orders.c.account_number, _NUMBER, paper_orders.c.id)
_THEIR_PRINTS = _of(
    paper_executions,
    paper_executions.c.account_number,
    _NUMBER,
    paper_executions.c.executed_at,
    paper_executions.c.id,
)
_THEIR_POSITIONS = _of(paper_positions, paper_positions.c.account_number, _NUMBER, paper_positions.c.symbol)
_THEIR_ACCOUNT = _of(paper_accounts, paper_accounts.c.number, _NUMBER, paper_accounts.c.number)
_OUR_ORDERS = _of(orders, orders.c.account_id, _ACCOUNT, orders.c.id)
_OUR_PRINTS = _of(executions, executions.c.account_id, _ACCOUNT, executions.c.id)
_OUR_POSITIONS = _of(positions, positions.c.account_id, _ACCOUNT, positions.c.symbol)
_OUR_ACCOUNT = _of(accounts, accounts.c.broker, bindparam("b_broker"), accounts.c.id)

_REPLAYS = 5
NOTHING_THERE = frozenset({"REFUSED", "SKIPPED", "REJECTED", "NOT_PLACED"})
"""States that say that the broker has no such order."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Everything that is compared. `ledger` are the entries of the simulator's own evidence."""

    ledger: list[dict[str, Any]]
    their_orders: list[Row]
    their_prints: list[Row]
    their_positions: list[Row]
    their_account: Row
    our_orders: list[Row]
    our_prints: list[Row]
    our_positions: list[Row]
    our_account: Row


@dataclass(frozen=True, slots=True)
class BothBooks(ABC):
    """What a referee of one account reads. Nobody's word counts, only rows and the simulator's ledger."""

    sim_db: Database
    ledger: Path
    db: Database
    broker: ClassVar[str]

    async def read(self) -> Sides:
        """Both sides at about this moment; the broker's after ours, so that what is still to come shows."""
        async with self.db.read() as tx:
            (account,) = await tx.fetch(_OUR_ACCOUNT, {"b_broker": self.broker})
            mine = {"b_account": account["id"]}
            our_orders = list(await tx.fetch(_OUR_ORDERS, mine))
            our_prints = list(await tx.fetch(_OUR_PRINTS, mine))
            our_positions = list(await tx.fetch(_OUR_POSITIONS, mine))
        theirs = {"b_number": account["number"]}
        async with self.sim_db.read() as tx:
            (their_account,) = await tx.fetch(_THEIR_ACCOUNT, theirs)
            return Sides(
                entries(self.ledger),
                list(await tx.fetch(_THEIR_ORDERS, theirs)),
                list(await tx.fetch(_THEIR_PRINTS, theirs)),
                list(await tx.fetch(_THEIR_POSITIONS, theirs)),
                their_account,
                our_orders,
                our_prints,
                our_positions,
                account,
            )

    @abstractmethod
    async def differences(self) -> list[str]:
        """Every rule that is broken now, in words that begin with the rule's name."""


def entries(ledger: Path) -> list[dict[str, Any]]:
    """All whole entries of a simulator's ledger."""
    return [json.loads(line) for line in ledger.read_bytes().split(b"\n")[:-1]]


def requests_of(both: Sides, method: str, path: str) -> Iterator[dict[str, Any]]:
    """Requests with this method whose path holds these words."""
    for one in both.ledger:
        if one["kind"] == "request" and one["method"] == method and path in one["path"]:
            yield one


def more_than_once(names: Iterable[str]) -> list[str]:
    """Those that come twice, in order."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def not_settled(row: Row) -> Iterator[str]:
    """Wishes of one of our orders that are still under way."""
    name = row["client_order_id"]
    if row["state"] not in NOTHING_THERE and row["state"] != "ACCEPTED":
        yield f"settled: {name} is still {row['state']}"
    if row["cancel_state"] in ("REQUESTED", "UNKNOWN") and row["open"]:
        yield f"settled: the cancel of {name} is {row['cancel_state']}"
    if row["replace_state"] in ("REQUESTED", "UNKNOWN"):
        yield f"settled: the replace of {name} is {row['replace_state']}"


def positions_equal(both: Sides) -> Iterator[str]:
    """The same quantity of everything."""
    mine = {row["symbol"]: row["qty"] for row in both.our_positions if row["qty"]}
    theirs = {row["symbol"]: row["qty"] for row in both.their_positions if row["qty"]}
    for symbol in sorted(mine.keys() | theirs.keys()):
        if mine.get(symbol, 0) != theirs.get(symbol, 0):
            yield f"position: {symbol} {mine.get(symbol, 0)} here, {theirs.get(symbol, 0)} at the broker"


@asynccontextmanager
async def both_opened(sim_database: str, database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Both databases, beside processes that run: the simulator's and ours."""
    sim_db = make_database(sim_database, SystemClock())
    db = make_database(database_url, SystemClock())
    await sim_db.start()
    await db.start()
    try:
        yield sim_db, db
    finally:
        await db.stop()
        await sim_db.stop()


async def changed_answers(
    http: httpx2.AsyncClient, asked: Sequence[tuple[httpx2.Request, bytes]]
) -> list[str]:
    """Final answers that are not replayed byte for byte: the requests are sent again. Where the database did not come free in time
    nothing has been looked up yet."""
    wrong: list[str] = []
    for request, content in asked:
        for _ in range(_REPLAYS):
            again = await http.send(request)
            if again.status_code != 503:
                break
        replayed = again.headers.get("Idempotency-Replayed")
        if (again.status_code, again.content, replayed) != (200, content, "true"):
            wrong.append(f"replayed: {again.status_code} {replayed} {again.text}, was {content!r}")
    return wrong
