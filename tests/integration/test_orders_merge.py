"""What a broker tells, in every order it can arrive in: the rows at the end are the same (contract E18)."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from paiid.brokers import BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus
from tests.ledger_world import SEED, Life, Merging, books, busted, canceled, filled, interrupted, sold

SHORT = "short 5"
LONG = "long 7"

LIVES = [
    pytest.param(canceled(), "ACCEPTED", SHORT, id="canceled-after-a-part-that-turns-a-short"),
    pytest.param(canceled(), "UNKNOWN", None, id="canceled-while-in-doubt"),
    pytest.param(sold(), "DISPATCHING", LONG, id="sold-through-zero-before-the-answer-came"),
    pytest.param(filled(), "external", LONG, id="filled-and-not-ours"),
    pytest.param(busted(), "ACCEPTED", SHORT, id="busted-and-corrected"),
]


async def merge_some(merging: Merging, told: Sequence[Sequence[BrokerUpdate]]) -> None:
    """Several accounts a transaction, so that one is never too large for the time a transaction has."""
    for start in range(0, len(told), 40):
        await merging.merge([update for updates in told[start : start + 40] for update in updates])


@pytest.mark.parametrize(("life", "state", "held"), LIVES)
async def test_E18_every_permutation_of_six_events_ends_in_the_same_rows(
    db: Database, clock: SystemClock, life: Life, state: str, held: str | None
) -> None:
    """An account for each permutation (360 of the 720, for one event is there twice); each transaction brings it its
    next event. Then as many more, each with all its events at once."""
    merging = Merging(db, clock)
    permutations = sorted(set(itertools.permutations(life.numbers())))
    assert len(permutations) == 360
    one_by_one = [f"one-{n}" for n in range(len(permutations))]
    at_once = [f"all-{n}" for n in range(len(permutations))]
    for accounts in (one_by_one, at_once):
        await merging.open(accounts, life, state)
        if held is not None:
            await merge_some(merging, [SEED[held](account) for account in accounts])
    for step in range(6):
        told = zip(one_by_one, permutations, strict=True)
        await merge_some(merging, [[life.events(account)[order[step]]] for account, order in told])
    told = zip(at_once, permutations, strict=True)
    await merge_some(merging, [[life.events(account)[i] for i in order] for account, order in told])

    found = await books(db)
    straight = found["one-0"]
    different = [account for account in (*one_by_one, *at_once) if found[account] != straight]
    assert not different, (len(different), different[:3], found[different[0]], straight)
    expected = life.expected(held)
    assert {name: straight[name] for name in expected} == expected


async def test_E18_a_terminal_status_that_is_told_before_its_prints_is_not_forgotten(
    db: Database, clock: SystemClock
) -> None:
    """The status waits, in its row, for the print in another transaction."""
    merging = Merging(db, clock)
    life = canceled()
    await merging.open(["a"], life, "ACCEPTED")
    new, first, second, third, _, end = life.events("a")
    await merging.merge([new])
    await merging.merge([end])
    (order,) = (await books(db))["a"]["orders"]
    assert (order["status"], order["open"]) == ("NEW", 1)
    await merging.merge([third, first])
    await merging.merge([second])
    (order,) = (await books(db))["a"]["orders"]
    assert (order["status"], order["open"], order["filled_qty"]) == ("CANCELED", 0, 10)


@pytest.mark.parametrize("late", [0, 1, 2, 3, 4])
async def test_E18_what_comes_after_the_end_changes_nothing(
    db: Database, clock: SystemClock, late: int
) -> None:
    merging = Merging(db, clock)
    life = filled()
    await merging.open(["a"], life, "ACCEPTED")
    for update in life.events("a"):
        await merging.merge([update])
    before = await books(db, everything=True)
    await merging.merge([life.events("a")[late]])
    assert await books(db, everything=True) == before


async def test_E18_a_cumulative_quantity_never_falls_and_the_cursor_never_goes_back(
    db: Database, clock: SystemClock
) -> None:
    merging = Merging(db, clock)
    life = canceled()
    await merging.open(["a"], life, "ACCEPTED")
    told: list[int] = []
    cursors: list[int] = []
    for at in (3, 1, 0, 2, 4, 5, 0):
        await merging.merge([life.events("a")[at]])
        (order,) = (await books(db))["a"]["orders"]
        told.append(order["broker_filled_qty"])
        cursors.append(await merging.cursor())
    assert told == sorted(told)
    assert cursors == sorted(cursors)
    assert cursors[-1] == max(one.cursor for one in life.events("a"))


@pytest.mark.parametrize("broken", [OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.HELD])
async def test_E18_a_status_never_goes_back_to_an_earlier_one(
    db: Database, clock: SystemClock, broken: OrderStatus
) -> None:
    """Held, new, partially filled: whichever comes last, the furthest is shown."""
    merging = Merging(db, clock)
    life = interrupted()
    await merging.open(["a", "b"], life, "ACCEPTED")
    held, new, part = life.events("a")
    await merging.merge([held])
    assert (await books(db))["a"]["orders"][0]["status"] == "HELD"
    await merging.merge([new])
    assert (await books(db))["a"]["orders"][0]["status"] == "NEW"
    await merging.merge([held])
    assert (await books(db))["a"]["orders"][0]["status"] == "NEW"
    await merging.merge([part])
    wanted = (await books(db))["a"]
    late: dict[OrderStatus, BrokerUpdate] = {u.order.status: u for u in (held, new, part)}
    await merging.merge([late[broken]])
    assert (await books(db))["a"] == wanted


async def test_E18_a_bust_and_a_correction_are_rows_of_their_own_that_add_up_and_are_alarmed(
    db: Database, clock: SystemClock
) -> None:
    merging = Merging(db, clock)
    life = busted()
    await merging.open(["a"], life, "ACCEPTED")
    for update in life.events("a"):
        await merging.merge([update])
    account = (await books(db))["a"]
    kinds = [(row["execution_id"], row["kind"], row["corrects"]) for row in account["executions"]]
    assert kinds == [
        ("bust-1", "bust", "print-1"),
        ("correction-2", "correction", "print-2"),
        ("print-1", "fill", None),
        ("print-2", "fill", None),
        ("reversal:print-2", "bust", "print-2"),
    ]
    (order,) = account["orders"]
    assert sum(row["qty"] for row in account["executions"]) == order["filled_qty"]
    assert order["status"] == "FILLED"
    assert [what for _, _, what in merging.alarms] == ["execution.bust", "execution.correction"]
    assert await merging.problem("a")


async def test_E18_an_order_that_is_not_ours_is_adopted_as_external(db: Database, clock: SystemClock) -> None:
    merging = Merging(db, clock)
    life = filled()
    await merging.open(["a"], life, "external")
    await merging.merge(life.events("a")[:2])
    (order,) = (await books(db))["a"]["orders"]
    assert (order["origin"], order["state"], order["status"]) == ("external", "ACCEPTED", "PARTIALLY_FILLED")
    assert order["client_order_id"] == "ext-b-1"
    assert order["open"] == 1
    (position,) = (await books(db))["a"]["positions"]
    assert (position["qty"], position["open_buy_qty"]) == (3, 7)


@pytest.mark.parametrize("state", ["REJECTED", "UNKNOWN"])
async def test_E18_shares_that_changed_hands_are_booked_even_where_the_order_cannot_be_believed(
    db: Database, clock: SystemClock, state: str
) -> None:
    """A refused order that lives, and one that is not what we sent: alarmed, and cash and position are true."""
    merging = Merging(db, clock)
    life = filled() if state == "REJECTED" else filled(qty="11")
    await merging.open(["a"], life, state, qty=10)
    for update in filled(qty=life.qty).events("a"):
        await merging.merge([update])
    account = (await books(db))["a"]
    (order,) = account["orders"]
    assert order["state"] == state
    assert account["positions"][0]["qty"] == 10
    assert account["cash"] == filled().expected(None)["cash"]
    wanted = {"REJECTED": "order.alive_after_refusal", "UNKNOWN": "order.mismatch"}[state]
    assert [what for _, _, what in merging.alarms] == [wanted], "told once, not at every update"


def _sequence(rows: Sequence[dict[str, Any]]) -> list[int]:
    return [row["seq"] for row in rows]


async def test_S01_every_change_has_its_event_numbered_without_a_hole(
    db: Database, clock: SystemClock
) -> None:
    merging = Merging(db, clock)
    life = busted()
    await merging.open(["a"], life, "UNKNOWN")
    for update in reversed(life.events("a")):
        await merging.merge([update])
    events = await merging.events("a")
    account = (await books(db, everything=True))["a"]
    assert _sequence(events) == list(range(1, account["event_seq"] + 1))
    newest = {event["kind"]: event["data"] for event in events}
    (order,) = account["orders"]
    (position,) = account["positions"]
    assert newest["order"]["version"] == order["version"]
    assert newest["order"]["status"] == order["status"]
    assert newest["position"]["version"] == position["version"]
    assert newest["position"]["qty"] * 10**9 == position["qty"] * 10**9
    assert newest["cash"]["cash"] == account["cash"]
    fills = sorted(event["data"]["execution_id"] for event in events if event["kind"] == "fill")
    assert fills == sorted(row["execution_id"] for row in account["executions"])
