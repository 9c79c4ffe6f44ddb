"""The referee between the ledger and a simulated Tradier: both sides' books read past every wire, and compared.

At Tradier an order keeps its number when it is changed, so several of our rows, and several of the venue's orders, are one
order on the wire: what is compared is that (ADR 0024). Prints are not told there, so their sums are compared (ADR 0023).
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from paiid.core.db import Row
from paiid.domain.instruments import is_option
from paiid.domain.money import qty_from_int
from paiid.sim.tradier.app import LEDGER_FILE
from paiid.sim.tradier.ids import Placed, Register, parse_name
from paiid.sim.tradier.world import database_url
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

__all__ = ["Referee", "Sides", "changed_answers", "judge", "on_the_wire", "referee_of", "root_of"]

_PER_CONTRACT = 100


@dataclass(slots=True)
class Wired:
    """One order as the wire knows it: the venue's orders behind its number, oldest first; none where it was rejected after
    it had been taken."""

    placed: Placed
    generations: list[Row] = field(default_factory=list)

    @property
    def status(self) -> str:
        """How it stands now."""
        return str(self.generations[-1]["status"]) if self.generations else "REJECTED"

    def total(self, name: str) -> int:
        """The sum of a column over its generations."""
        return sum(row[name] for row in self.generations)


@dataclass(frozen=True, slots=True)
class Referee(BothBooks):
    """Judges one account."""

    broker: ClassVar[str] = "tradier"

    async def differences(self) -> list[str]:
        """Every rule that is broken now, in words that begin with the rule's name."""
        both = await self.read()
        # Read last: it may know of an order before the venue does, never after.
        return list(judge(both, Register(self.ledger.parent)))


@asynccontextmanager
async def referee_of(sim_data: Path, database_url_: str) -> AsyncIterator[Referee]:
    """A referee beside processes that run: it opens both databases for itself."""
    async with both_opened(database_url(sim_data), database_url_) as (sim_db, db):
        yield Referee(sim_db, sim_data / LEDGER_FILE, db)


def root_of(broker_order_id: str) -> str:
    """The number on the wire of an order that may have passed it on (`228175~1`)."""
    return broker_order_id.partition("~")[0]


def on_the_wire(both: Sides, register: Register) -> dict[str, Wired]:
    """Every order that was taken, by its number; a group has its entry's orders, or those of an oco's take profit."""
    found: dict[str, Wired] = {}
    for placed in register.of_account(both.our_account["number"]):
        if placed.rejected_at_us is not None:
            members = range(len(placed.legs)) if placed.has_members else ()
            hanging = [placed.leg_id(at) for at in members if placed.legs[at].role]
            found |= {str(number): Wired(placed) for number in (placed.id, *hanging)}
    for row in both.their_orders:
        name = parse_name(row["client_order_id"])
        known = None if name is None else register.find(name.id)
        assert name is not None, row["client_order_id"]
        assert known is not None, row["client_order_id"]
        placed = known[0]
        roles = [leg.role for leg in placed.legs]
        number = placed.id if name.role == "" else placed.leg_id(roles.index(name.role))
        found.setdefault(str(number), Wired(placed)).generations.append(row)
    for one in found.values():
        one.generations.sort(key=_generation)
    return found


def _generation(row: Row) -> int:
    name = parse_name(row["client_order_id"])
    return 0 if name is None else name.generation


# -- the rules --------------------------------------------------------------------------------------


def judge(both: Sides, register: Register) -> Iterator[str]:
    """All rules."""
    there = on_the_wire(both, register)
    yield from _sent_once(both)
    yield from _accepted_once(both)
    yield from _changed_once(both)
    yield from _nothing_lost(both, there)
    yield from _orders_equal(both, there)
    yield from _prints_equal(both, register)
    yield from positions_equal(both)
    yield from _cash_equal(both)
    if both.our_account["reconcile_problem"] is not None:
        yield f"reconciled: {both.our_account['reconcile_problem']}"


def _sent_once(both: Sides) -> Iterator[str]:
    """An intent causes at most one submission, ever."""
    forms = [one["body"] for one in requests_of(both, "POST", "/orders") if isinstance(one["body"], dict)]
    tags = [str(form["tag"]) for form in forms if form.get("tag") and form.get("preview") != "true"]
    for tag in more_than_once(tags):
        yield f"sent once: {tag} was sent more than once"


def _accepted_once(both: Sides) -> Iterator[str]:
    told = [str(one["tag"]) for one in both.ledger if one["kind"] == "order_accepted" and one["tag"]]
    for tag in more_than_once(told):
        yield f"accepted once: the broker has accepted {tag} more than once"
    known = {row["client_order_id"] for row in both.our_orders}
    for tag in sorted(set(told) - known):
        yield f"nothing lost: the broker has accepted {tag} and we do not know it"


def _changed_once(both: Sides) -> Iterator[str]:
    """A change bears no name of its own: there are no more of them than were wished, and as many as we say."""
    rows = {row["id"]: row for row in both.our_orders}
    wished: Counter[str] = Counter()
    made: Counter[str] = Counter()
    too_late: Counter[str] = Counter()
    for row in both.our_orders:
        if row["replaces"] is not None and row["state"] not in ("REFUSED", "SKIPPED"):
            number = _number_before(rows, row)
            wished[number] += 1
            made[number] += row["state"] == "ACCEPTED"
            # Changed, and ended before anybody here knew of the change: there was nothing left to hand over.
            too_late[number] += row["state"] == "REJECTED" and "had ended as" in (row["reason"] or "")
    sent = Counter(one["path"].rpartition("/")[2] for one in requests_of(both, "PUT", "/orders/"))
    done = Counter(str(one["order_id"]) for one in both.ledger if one["kind"] == "order_replaced")
    for number in sorted(wished.keys() | sent.keys() | done.keys()):
        if sent[number] > wished[number]:
            yield f"sent once: {number} was to be changed {wished[number]} times, and {sent[number]} were sent"
        if not made[number] <= done[number] <= made[number] + too_late[number]:
            yield f"changed: {number} was changed {made[number]} times here, {done[number]} at the broker"


def _number_before(rows: dict[str, Row], row: Row) -> str:
    """The number on the wire of the order that the row was to change."""
    while row["replaces"] in rows:
        row = rows[row["replaces"]]
    return root_of(row["broker_order_id"] or "")


def _nothing_lost(both: Sides, there: dict[str, Wired]) -> Iterator[str]:
    """Every order there is here, once; one that we say is not there is not there."""
    ids = Counter(row["broker_order_id"] for row in both.our_orders if row["broker_order_id"] is not None)
    rejected = {row["client_order_id"] for row in both.our_orders if row["state"] == "REJECTED"}
    for number, one in there.items():
        said = not one.generations and one.placed.tag in rejected
        if ids[number] != 1 and not said:
            yield f"nothing lost: {number} ({one.placed.tag}) at the broker is here {ids[number]} times"
    living = {one.placed.tag for one in there.values() if one.generations}
    for row in both.our_orders:
        name, state = row["client_order_id"], row["state"]
        if state == "ACCEPTED" and root_of(row["broker_order_id"] or "") not in there:
            yield f"nothing invented: {name} is ACCEPTED here and not at the broker"
        elif state in NOTHING_THERE and row["parent_id"] is None and name in living:
            yield f"truthful: {name} is {state} here and lives at the broker"
        yield from not_settled(row)


def _orders_equal(both: Sides, there: dict[str, Wired]) -> Iterator[str]:
    chains: dict[str, list[Row]] = {}
    for row in both.our_orders:
        if row["broker_order_id"] is not None:
            chains.setdefault(root_of(row["broker_order_id"]), []).append(row)
    for number, theirs in there.items():
        chain = chains.get(number, [])
        for mine in chain:
            status = theirs.status if mine["broker_order_id"] == number else "REPLACED"
            if mine["status"] != status:
                yield f"status: {mine['broker_order_id']} is {mine['status']} here, {status} at the broker"
        filled = sum(row["filled_qty"] for row in chain)
        if chain and filled != theirs.total("filled_qty"):
            yield f"filled: {number} has {filled} here, {theirs.total('filled_qty')} at the broker"
        # What an average leaves out is at most half of its last digit for each share.
        value, off = sum(row["filled_value"] for row in chain), theirs.total("filled_value")
        if chain and abs(value - off) > 1 + qty_from_int(filled):
            yield f"value: {number} was {value} here, {off} at the broker"


def _prints_equal(both: Sides, register: Register) -> Iterator[str]:
    """Of every order as much is booked as has filled; in how many prints, nobody is told."""
    ours = {row["id"]: root_of(row["broker_order_id"] or "") for row in both.our_orders}
    numbers = {
        row["id"]: number
        for number, one in on_the_wire(both, register).items()
        for row in one.generations
    }  # fmt: skip
    booked: Counter[tuple[Any, ...]] = Counter()
    for row in both.our_prints:
        booked[ours.get(row["order_id"], "?"), row["symbol"], row["side"]] += row["qty"]
    there: Counter[tuple[Any, ...]] = Counter()
    for row in both.their_prints:
        there[numbers.get(row["order_id"], "?"), row["symbol"], row["side"]] += row["qty"]
    for one in sorted(booked.keys() | there.keys()):
        if booked[one] != there[one]:
            yield f"prints: {one} has {booked[one]} here, {there[one]} at the broker"


def _cash_equal(both: Sides) -> Iterator[str]:
    """To the rounding of averages: half of the last digit for each share."""
    shares = sum(
        qty_from_int(row["qty"]) * (_PER_CONTRACT if is_option(row["symbol"]) else 1)
        for row in both.our_prints
    )
    here, there = both.our_account["cash"], both.their_account["cash"]
    if abs(here - there) > 1 + shares:
        yield f"cash: {here} here, {there} at the broker"
