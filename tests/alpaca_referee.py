"""The referee between the ledger and a simulated Alpaca: both sides' books read past every wire, and compared."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from paiid.sim.alpaca.app import LEDGER_FILE
from paiid.sim.alpaca.ids import from_venue_client_id, is_made_up, wire_id
from paiid.sim.alpaca.world import database_url
from tests.both_books import (
    NOTHING_THERE,
    BothBooks,
    Sides,
    both_opened,
    changed_answers,
    more_than_once,
    not_settled,
    positions_equal,
    requests_of,
)

__all__ = ["Referee", "Sides", "changed_answers", "judge", "referee_of"]

_UNIT = 1_000_000_000
"""Quantities are stored in 1e-9, so a value is quantity x price / this."""


@dataclass(frozen=True, slots=True)
class Referee(BothBooks):
    """Judges one account."""

    broker: ClassVar[str] = "alpaca"

    async def differences(self) -> list[str]:
        """Every rule that is broken now, in words that begin with the rule's name."""
        return list(judge(await self.read()))


@asynccontextmanager
async def referee_of(sim_data: Path, database_url_: str) -> AsyncIterator[Referee]:
    """A referee beside processes that run: it opens both databases for itself."""
    async with both_opened(database_url(sim_data), database_url_) as (sim_db, db):
        yield Referee(sim_db, sim_data / LEDGER_FILE, db)


# -- the rules --------------------------------------------------------------------------------------


def judge(both: Sides) -> Iterator[str]:
    """All rules."""
    yield from _sent_once(both)
    yield from _accepted_once(both)
    yield from _nothing_lost(both)
    yield from _orders_equal(both)
    yield from _prints_equal(both)
    yield from positions_equal(both)
    if both.our_account["cash"] != both.their_account["cash"]:
        yield f"cash: {both.our_account['cash']} here, {both.their_account['cash']} at the broker"
    if both.our_account["reconcile_problem"] is not None:
        yield f"reconciled: {both.our_account['reconcile_problem']}"


def _named(both: Sides, method: str) -> Iterator[str]:
    for one in requests_of(both, method, "/v2/orders"):
        body = one["body"]
        if isinstance(body, dict) and body.get("client_order_id") is not None:
            yield str(body["client_order_id"])


def _sent_once(both: Sides) -> Iterator[str]:
    """An intent causes at most one submission, ever."""
    for method in ("POST", "PATCH"):
        for name in more_than_once(_named(both, method)):
            yield f"sent once: {name} was sent more than once by {method}"


def _accepted_once(both: Sides) -> Iterator[str]:
    kinds = ("order_accepted", "order_replaced")
    told = [str(one["client_order_id"]) for one in both.ledger if one["kind"] in kinds]
    for name in more_than_once(told):
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
        yield from not_settled(row)


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


def _prints_equal(both: Sides) -> Iterator[str]:
    ours = {row["id"]: row["broker_order_id"] for row in both.our_orders}
    booked: Counter[tuple[Any, ...]] = Counter(
        (ours.get(row["order_id"]), row["symbol"], row["side"], row["qty"], row["price"])
        for row in both.our_prints
    )
    there: Counter[tuple[Any, ...]] = Counter(
        (wire_id(row["order_id"]), row["symbol"], row["side"], row["qty"], row["price"])
        for row in both.their_prints
    )
    for one in sorted((booked - there).elements(), key=str):
        yield f"prints: booked here and not at the broker: {one}"
    for one in sorted((there - booked).elements(), key=str):
        yield f"prints: at the broker and not booked: {one}"
