"""The paper venue in several processes over one database: one of them matches, and no fill is booked twice or lost."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import text

from paiid.brokers import BrokerOrderView, BrokerRejected, BrokerUpdate, NotSent, OutcomeUnknown
from paiid.brokers.paper.desk import Desk
from paiid.brokers.paper.fills import FillEngine
from paiid.brokers.paper.matcher import LEASE
from paiid.brokers.paper.queries import load_open_book
from paiid.brokers.paper.store import Change, LostRace, enter_accounts, save
from paiid.core.db import statement
from paiid.core.leases import LeaseLost, Leases
from paiid.domain.orders import OrderStatus
from paiid.domain.paper import Step
from tests.paper_live import DEADLINE_S, PATIENCE_S, Street, Venue, audit, filled, found, order, over, until

S = DEADLINE_S


@pytest.fixture
async def street(db_url: str) -> AsyncIterator[Street]:
    async with Street(db_url) as made:
        yield made


async def _in_turn(call: Callable[[], Awaitable[BrokerOrderView]]) -> BrokerOrderView:
    """The answer of a call that is made again as long as it certainly was not sent: where many ask at once, a busy machine
    does not give each a turn at the database in time."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except NotSent:
                await asyncio.sleep(0.01)


async def test_nothing_is_matched_before_a_process_holds_the_lease(street: Street) -> None:
    idle = await street.venue("idle", runs=False)
    await idle.broker.submit(order("a-1"), S)
    street.show("99.90", "100.00")
    await asyncio.sleep(0.3)
    assert (await found(idle.broker, "a-1")).status == OrderStatus.NEW
    await street.venue("runs")
    assert (await over(idle.broker, "a-1")).status == OrderStatus.FILLED


async def test_of_two_processes_one_matches_the_orders_of_both(street: Street) -> None:
    first = await street.venue("first")
    second = await street.venue("second", matching=False)
    street.show("99.90", "100.00", 1_000)
    await asyncio.gather(
        *(
            _in_turn(partial(venue.broker.submit, order(f"{n}-{venue is first}"), S))
            for n in range(20)
            for venue in (first, second)
        )
    )
    for n in range(20):
        for name in (f"{n}-True", f"{n}-False"):
            assert (await over(second.broker, name)).filled_qty == 10
    assert await first.matches()
    assert not await second.matches()
    assert len(await first.broker.fetch_executions("me", 0, S)) == 40
    await audit(second, ["me"])


async def test_when_the_one_that_matches_dies_another_takes_over_after_the_lease(street: Street) -> None:
    first = await street.venue("first")
    second = await street.venue("second", matching=False)
    await second.broker.submit(order("a-1"), S)
    first.die()
    await until(second.matches)
    street.show("99.90", "100.00")
    assert (await over(second.broker, "a-1")).filled_qty == 10
    await audit(second, ["me"])


async def test_a_process_that_stops_gives_its_lease_up_and_another_takes_over(street: Street) -> None:
    first = await street.venue("first")
    waiting = await street.venue("waiting", runs=False)
    await first.broker.submit(order("a-1"), S)
    assert await waiting.leases.take(LEASE, 1) is None
    await first.broker.stop()
    assert await waiting.leases.take(LEASE, 1) is not None
    assert not await first.matches()
    await waiting.broker.start()
    await until(waiting.matches)
    street.show("99.90", "100.00")
    assert (await over(waiting.broker, "a-1")).filled_qty == 10


async def test_a_process_that_slept_through_its_lease_fills_nothing_any_more(street: Street) -> None:
    sleeper = await street.venue("sleeper")
    second = await street.venue("second", matching=False)
    await second.broker.submit(order("a-1", qty=10), S)
    await second.broker.submit(order("a-2", qty=10, account="bob"), S)
    # Give the sleeper something to do that it cannot begin.
    sleeper.db.gate.clear()
    street.show("99.90", "100.00", 15)
    await until(second.matches)
    await filled(second.broker, "a-2", 5, "bob")
    sleeper.db.gate.set()

    async def noticed() -> bool:
        return not await sleeper.matches()

    await until(noticed)
    assert await second.matches()
    prints = [one for name in ("me", "bob") for one in await second.broker.fetch_executions(name, 0, S)]
    assert sum(one.qty for one in prints) == 15, "the quote showed 15"
    await audit(second, ["me", "bob"])


async def _engine(street: Street, holder: str, ttl_s: float) -> tuple[FillEngine, Venue, Leases]:
    venue = await street.venue(holder, runs=False)
    desk = Desk(street.clock, street.market.quote_of, street.market.hours, 0)
    return FillEngine(street.clock, street.market.quote_of, street.market.hours, desk), venue, venue.leases


async def test_a_lease_that_went_to_another_is_a_fence_against_its_old_holder(street: Street) -> None:
    engine, slow, leases = await _engine(street, "slow", 0.05)
    _, quick, others = await _engine(street, "quick", 30)
    held = await leases.take(LEASE, 0.05)
    assert held is not None
    await slow.broker.submit(order("a-1"), S)
    street.show("99.90", "100.00")
    await asyncio.sleep(0.1)
    async with slow.db.read() as tx:
        orders, _, _ = await load_open_book(tx, 0)
    taken_over = await others.take(LEASE, 30)
    assert taken_over is not None
    assert taken_over.token == held.token + 1
    with pytest.raises(LeaseLost):
        async with slow.db.begin() as tx:
            await engine.run(tx, held, orders)
    assert (await found(quick.broker, "a-1")).status == OrderStatus.NEW
    async with quick.db.begin() as tx:
        done = await engine.run(tx, taken_over, orders)
    assert done.changed == 1
    assert (await found(quick.broker, "a-1")).status == OrderStatus.FILLED


async def test_a_fill_of_an_order_that_has_moved_is_not_booked_and_leaves_no_trace(street: Street) -> None:
    venue = await street.venue(runs=False)
    view = await venue.broker.submit(order("a-1"), S)
    async with venue.db.read() as tx:
        (before,), _, _ = await load_open_book(tx, 0)
    await venue.broker.cancel("me", view.broker_order_id, S)
    filled_version = replace(
        before,
        working=replace(before.working, filled_qty=Decimal(10)),
        filled_value=Decimal(1000),
        status=OrderStatus.FILLED,
        version=before.version + 1,
    )

    async def book_the_fill() -> None:
        async with venue.db.begin() as tx:
            _, accounts, _ = await enter_accounts(tx, ["me"], street.market.mark_of)
            step = Step(qty=Decimal(10), price=Decimal(100), ends=OrderStatus.FILLED)
            accounts.books["me"].settle(before.working, step, Decimal(100))
            await save(tx, accounts, [Change(before, filled_version)])

    with pytest.raises(LostRace):
        await book_the_fill()
    assert (await found(venue.broker, "a-1")).status == OrderStatus.CANCELED
    await audit(venue, ["me"])


async def _cancel_later(venue: Venue, account: str, order_id: str, after_s: float) -> str:
    await asyncio.sleep(after_s)
    try:
        view = await _in_turn(partial(venue.broker.cancel, account, order_id, S))
    except BrokerRejected as refused:
        return refused.code
    except OutcomeUnknown:
        return "unknown"
    assert view.status == OrderStatus.CANCELED
    return f"canceled at {view.filled_qty}"


async def test_cancels_that_race_fills_never_lose_or_double_a_share(street: Street) -> None:
    matching = await street.venue("matching")
    other = await street.venue("other", matching=False)
    chance = random.Random(7)
    accounts = ["me", "bob", "eve"]
    fates: dict[tuple[str, str], str] = {}
    for wave in range(4):
        placed = await asyncio.gather(
            *(
                _in_turn(
                    partial(other.broker.submit, order(f"{wave}-{n}", qty=10, account=accounts[n % 3]), S)
                )
                for n in range(45)
            )
        )
        cancels = [
            asyncio.create_task(
                _cancel_later(
                    chance.choice((matching, other)), one.account_number, one.broker_order_id,
                    0.02 + chance.random() * 0.3,
                )
            )
            for one in placed
        ]  # fmt: skip
        while not all(task.done() for task in cancels):
            street.show("99.90", "100.00", chance.randint(1, 25))
            await asyncio.sleep(0.003)
        for one, task in zip(placed, cancels, strict=True):
            fates[(one.account_number, one.client_order_id or "")] = task.result()
        street.show("99.00", "101.00")
    for (account, name), fate in fates.items():
        view = await found(matching.broker, name, account)
        if fate.startswith("canceled"):
            assert (view.status, f"canceled at {view.filled_qty}") == (OrderStatus.CANCELED, fate), (
                name,
                fate,
            )
        else:
            assert fate == "not_cancelable"
            assert (view.status, view.filled_qty) == (OrderStatus.FILLED, 10)
    assert {fate.split(" ")[0] for fate in fates.values()} == {"canceled", "not_cancelable"}, (
        "no race took place"
    )
    await audit(matching, accounts)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE paper_orders SET filled_qty = filled_qty - 1000000000",
        "UPDATE paper_accounts SET cash = cash + 1",
        "UPDATE paper_positions SET open_buy_qty = 1000000000",
        "UPDATE paper_orders SET status = 'CANCELED', working = 0",
        "DELETE FROM paper_events WHERE seq = 2",
        "DELETE FROM paper_executions",
    ],
)
async def test_the_audit_of_these_tests_sees_books_that_were_tampered_with(
    street: Street, tampering: str
) -> None:
    venue = await street.venue()
    await venue.broker.submit(order("a-1"), S)
    street.show("99.90", "100.00")
    await over(venue.broker, "a-1")
    await audit(venue, ["me"])
    async with venue.db.begin() as tx:
        await tx.execute(statement(text(tampering)))
    with pytest.raises(AssertionError):
        await audit(venue, ["me"])


async def test_a_reader_sees_every_event_of_all_processes_in_order_while_they_are_written(
    street: Street,
) -> None:
    first = await street.venue("first")
    second = await street.venue("second", matching=False)
    street.show("99.90", "100.00", 300)

    async def read(venue: Venue) -> list[BrokerUpdate]:
        told: list[BrokerUpdate] = []
        async with aclosing(venue.broker.updates(0)) as stream:
            async for update in stream:
                told.append(update)
                if len([one for one in told if one.order.status in ("FILLED", "CANCELED")]) == 60:
                    break
        return told

    readers = [asyncio.create_task(read(venue)) for venue in (first, second)]

    async def trade(venue: Venue, account: str, n: int) -> None:
        price = "100.00" if n % 2 else "90.00"
        asked = order(f"{account}-{n}", price=price, account=account)
        view = await _in_turn(partial(venue.broker.submit, asked, S))
        if n % 2 == 0:
            await _in_turn(partial(venue.broker.cancel, account, view.broker_order_id, S))

    await asyncio.gather(
        *(trade(first, "me", n) for n in range(30)), *(trade(second, "bob", n) for n in range(30))
    )
    async with asyncio.timeout(PATIENCE_S):
        one, other = await asyncio.gather(*readers)
    assert one == other
    assert [update.cursor for update in one] == list(range(1, len(one) + 1))
    assert len(one) == 120
