"""The referee between the ledger and a simulated Alpaca: both sides' books read past every wire, and compared."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from paiid.sim.alpaca.app import LEDGER_FILE
from paiid.sim.alpaca.ids import from_venue_client_id, is_made_up, wire_id
from paiid.sim.alpaca.world import database_url

_UNIT = 1_000_000_000
"""Quantities are stored in 1e-9, so a value is quantity x price / this."""

_NUMBER = bindparam("b_number")
_ACCOUNT = bindparam("b_account")


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
class Referee:
    """Judges one account. Nobody's word counts, only rows and the simulator's ledger."""

    sim_db: Database
    ledger: Path
    db: Database

    async def read(self) -> Sides:
        """Both sides at about this moment; the broker's after ours, so that what is still to come shows."""
        async with self.db.read() as tx:
            (account,) = await tx.fetch(_OUR_ACCOUNT, {"b_broker": "alpaca"})
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

    async def differences(self) -> list[str]:
        """Every rule that is broken now, in words that begin with the rule's name."""
        return list(judge(await self.read()))


def entries(ledger: Path) -> list[dict[str, Any]]:
    """All whole entries of a simulator's ledger."""
    return [json.loads(line) for line in ledger.read_bytes().split(b"\n")[:-1]]


@asynccontextmanager
async def referee_of(sim_data: Path, database_url_: str) -> AsyncIterator[Referee]:
    """A referee beside processes that run: it opens both databases for itself."""
    sim_db = make_database(database_url(sim_data), SystemClock())
    db = make_database(database_url_, SystemClock())
    await sim_db.start()
    await db.start()
    try:
        yield Referee(sim_db, sim_data / LEDGER_FILE, db)
    finally:
        await db.stop()
        await sim_db.stop()


# -- the rules --------------------------------------------------------------------------------------


def judge(both: Sides) -> Iterator[str]:
    """All rules."""
    yield from _sent_once(both)
    yield from _accepted_once(both)
    yield from _nothing_lost(both)
    yield from _orders_equal(both)
    yield from _prints_equal(both)
    yield from _holdings_equal(both)
    if both.our_account["reconcile_problem"] is not None:
        yield f"reconciled: {both.our_account['reconcile_problem']}"


def _named(both: Sides, method: str) -> Iterator[str]:
    for one in both.ledger:
        if one["kind"] == "request" and one["method"] == method and one["path"].startswith("/v2/orders"):
            body = one["body"]
            if isinstance(body, dict) and body.get("client_order_id") is not None:
                yield str(body["client_order_id"])


def _more_than_once(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _sent_once(both: Sides) -> Iterator[str]:
    """An intent causes at most one submission, ever."""
    for method in ("POST", "PATCH"):
        for name in _more_than_once(_named(both, method)):
            yield f"sent once: {name} was sent more than once by {method}"


def _accepted_once(both: Sides) -> Iterator[str]:
    kinds = ("order_accepted", "order_replaced")
    told = [str(one["client_order_id"]) for one in both.ledger if one["kind"] in kinds]
    for name in _more_than_once(told):
        yield f"accepted once: the broker has accepted {name} more than once"
    known = {row["client_order_id"] for row in both.our_orders}
    for name in sorted(set(told) - known):
        yield f"nothing lost: the broker has accepted {name} and we do not know it"


def _nothing_lost(both: Sides) -> Iterator[str]:
    """Every order there is here, once; one that we say is not there is not there."""
    ids = Counter(row["broker_order_id"] for row in both.our_orders if row["broker_order_id"] is not None)
    there = {
        from_venue_client_id(row["client_order_id"])
        for row in both.their_orders
        if not is_made_up(row["client_order_id"])
    }
    for row in both.their_orders:
        if ids[wire_id(row["id"])] != 1:
            yield f"nothing lost: {row['client_order_id']} at the broker is here {ids[wire_id(row['id'])]} times"
    known = {wire_id(row["id"]) for row in both.their_orders}
    for row in both.our_orders:
        name, state = row["client_order_id"], row["state"]
        if state == "ACCEPTED" and row["broker_order_id"] not in known:
            yield f"nothing invented: {name} is ACCEPTED here and not at the broker"
        elif state in NOTHING_THERE and row["parent_id"] is None and name in there:
            yield f"truthful: {name} is {state} here and lives at the broker"
        elif state not in NOTHING_THERE and state != "ACCEPTED":
            yield f"settled: {name} is still {state}"


def _orders_equal(both: Sides) -> Iterator[str]:
    ours = {row["broker_order_id"]: row for row in both.our_orders}
    for theirs in both.their_orders:
        mine = ours.get(wire_id(theirs["id"]))
        if mine is None:
            continue
        name = mine["client_order_id"]
        if mine["status"] != theirs["status"]:
            yield f"status: {name} is {mine['status']} here, {theirs['status']} at the broker"
        if mine["filled_qty"] != theirs["filled_qty"]:
            yield f"filled: {name} has {mine['filled_qty']} here, {theirs['filled_qty']} at the broker"
        if theirs["filled_qty"]:
            average = round(theirs["filled_value"] * _UNIT / theirs["filled_qty"])
            if mine["filled_avg_price"] != average:
                yield f"average: {name} at {mine['filled_avg_price']} here, {average} at the broker"
        if mine["cancel_state"] in ("REQUESTED", "UNKNOWN") and mine["open"]:
            yield f"settled: the cancel of {name} is {mine['cancel_state']}"
        if mine["replace_state"] in ("REQUESTED", "UNKNOWN"):
            yield f"settled: the replace of {name} is {mine['replace_state']}"


def _prints_equal(both: Sides) -> Iterator[str]:
    ours = {row["id"]: row["broker_order_id"] for row in both.our_orders}
    booked = Counter(
        (ours.get(row["order_id"]), row["symbol"], row["side"], row["qty"], row["price"])
        for row in both.our_prints
    )
    there = Counter(
        (wire_id(row["order_id"]), row["symbol"], row["side"], row["qty"], row["price"])
        for row in both.their_prints
    )
    for one in sorted((booked - there).elements(), key=str):
        yield f"prints: booked here and not at the broker: {one}"
    for one in sorted((there - booked).elements(), key=str):
        yield f"prints: at the broker and not booked: {one}"


def _holdings_equal(both: Sides) -> Iterator[str]:
    mine = {row["symbol"]: row["qty"] for row in both.our_positions if row["qty"]}
    theirs = {row["symbol"]: row["qty"] for row in both.their_positions if row["qty"]}
    for symbol in sorted(mine.keys() | theirs.keys()):
        if mine.get(symbol, 0) != theirs.get(symbol, 0):
            yield f"position: {symbol} {mine.get(symbol, 0)} here, {theirs.get(symbol, 0)} at the broker"
    if both.our_account["cash"] != both.their_account["cash"]:
        yield f"cash: {both.our_account['cash']} here, {both.their_account['cash']} at the broker"


async def changed_answers(
    http: httpx2.AsyncClient, asked: Sequence[tuple[httpx2.Request, bytes]]
) -> list[str]:
    """Final answers that are not replayed byte for byte: the requests are sent again."""
    wrong: list[str] = []
    for request, content in asked:
        again = await http.send(request)
        replayed = again.headers.get("Idempotency-Replayed")
        if (again.status_code, again.content, replayed) != (200, content, "true"):
            wrong.append(f"replayed: {again.status_code} {replayed} {again.text}, was {content!r}")
    return wrong
