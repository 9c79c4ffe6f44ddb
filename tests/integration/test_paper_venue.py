"""The paper venue over real databases: restarts, the end of the day, shared commits, poisoned rows, a lost database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from decimal import Decimal

import pytest
from sqlalchemy import bindparam, update

from paiid.brokers import BrokerOrderView, BrokerRejected, NotSent, OutcomeUnknown
from paiid.brokers.paper.queries import load_events, mark_read
from paiid.brokers.paper.stream import prune_events
from paiid.core.db import CommitUnknown, Database, make_database, statement
from paiid.core.tables import paper_accounts, paper_events, paper_orders
from paiid.domain.money import MAX_SCALED
from paiid.domain.orders import OrderStatus
from tests.paper_live import DEADLINE_S, PATIENCE_S, Street, audit, filled, found, order, over, until
from tests.paper_world import START_US, Market, RealVenue

S = DEADLINE_S

_SPOIL = statement(update(paper_orders).where(paper_orders.c.id == bindparam("b_id")), columns=["status"])
_ENRICH = statement(
    update(paper_accounts).where(paper_accounts.c.number == bindparam("b_number")), columns=["cash"]
)
_AGE = statement(update(paper_events).where(paper_events.c.seq <= bindparam("b_seq")), columns=["at"])
_TOUCH_ACCOUNT = statement(
    update(paper_accounts)
    .where(paper_accounts.c.number == bindparam("b_number"))
    .values(version=paper_accounts.c.version + 1)
)


@pytest.fixture
async def street(db_url: str) -> AsyncIterator[Street]:
    async with Street(db_url) as made:
        yield made


# -- restarts and the end of the day ------------------------------------------------------------------


async def test_after_a_restart_working_orders_go_on(street: Street) -> None:
    before = await street.venue("before")
    await before.broker.submit(order("a-1", qty=10), S)
    street.show("99.90", "100.00", 4)
    await filled(before.broker, "a-1", 4)
    await before.stop()
    after = await street.venue("after")
    street.show("99.90", "99.95", 100)
    view = await over(after.broker, "a-1")
    assert (view.status, view.filled_avg_price) == (OrderStatus.FILLED, Decimal("99.97"))
    await audit(after, ["me"])


async def test_what_was_taken_of_a_quote_is_still_taken_after_a_restart(street: Street) -> None:
    before = await street.venue("before")
    street.show("99.90", "100.00", 60)
    await before.broker.submit(order("a-1", qty=100), S)
    await filled(before.broker, "a-1", 60)
    await before.stop()
    after = await street.venue("after")
    await after.broker.submit(order("a-2", qty=5), S)
    await asyncio.sleep(0.4)
    assert (await found(after.broker, "a-1")).filled_qty == 60
    assert (await found(after.broker, "a-2")).filled_qty == 0
    street.show("99.90", "100.00", 60)
    assert (await over(after.broker, "a-1")).filled_qty == 100
    assert (await over(after.broker, "a-2")).filled_qty == 5


async def test_a_stop_that_was_triggered_stays_triggered_after_a_restart(street: Street) -> None:
    before = await street.venue("before")
    await before.broker.submit(order("a-1", "sell", 10, "98.00", type="stop"), S)
    street.show("97.00", "97.10", 4)
    await filled(before.broker, "a-1", 4)
    await before.stop()
    after = await street.venue("after")
    street.show("99.00", "99.10", 100)
    assert (await over(after.broker, "a-1")).filled_avg_price == Decimal("98.20")


async def test_at_the_roll_day_orders_expire_and_others_stay(street: Street) -> None:
    venue = await street.venue()
    # Later than a busy machine takes to accept the two: an order from behind the roll is one of the next day.
    street.market.hours.roll_us = street.clock.now_us() + 2_000_000
    await venue.broker.submit(order("day", tif="day"), S)
    await venue.broker.submit(order("gtc", tif="gtc"), S)
    view = await over(venue.broker, "day")
    assert (view.status, view.reason, view.filled_qty) == (OrderStatus.EXPIRED, "day_over", 0)
    assert view.updated_at_us >= street.market.hours.roll_us
    assert (await found(venue.broker, "gtc")).status == OrderStatus.NEW
    await audit(venue, ["me"])


async def test_a_process_that_was_down_at_the_roll_expires_day_orders_when_it_comes_back(
    street: Street,
) -> None:
    before = await street.venue("before")
    # Later than a busy machine takes for what comes before it.
    roll_us = street.market.hours.roll_us = street.clock.now_us() + 2_000_000
    await before.broker.submit(order("day", tif="day"), S)
    await before.broker.submit(order("gtc", tif="gtc"), S)
    await before.stop()
    while street.clock.now_us() <= roll_us:
        await asyncio.sleep(0.05)
    street.show("98.00", "99.00")
    after = await street.venue("after")
    view = await over(after.broker, "day")
    assert (view.status, view.reason, view.filled_qty) == (OrderStatus.EXPIRED, "day_over", 0)
    assert (await over(after.broker, "gtc")).status == OrderStatus.FILLED
    await audit(after, ["me"])


async def test_an_order_asked_about_before_its_time_by_the_databases_clock_is_asked_about_again(
    db: Database,
) -> None:
    market = Market()
    market.hours.roll_us = START_US + 1_000_000
    venue = await RealVenue.open(market, db)
    size = Decimal(100)
    market.show("AAPL", Decimal("99.90"), size, Decimal("100.00"), size)
    await venue.submit(order("live"))
    await venue.submit(order("day", price="90.00", tif="day"))
    venue.db.behind_us = 5_000
    for at_us, behind_us, name, status in (
        (20_000, 5_000, "live", OrderStatus.NEW),
        (24_000, 0, "live", OrderStatus.FILLED),
        (1_000_000, 5_000, "day", OrderStatus.NEW),
        (1_004_000, 0, "day", OrderStatus.EXPIRED),
    ):
        market.clock.us, venue.db.behind_us = START_US + at_us, behind_us
        await venue.look()
        assert (await venue.order("me", name)).status == status, at_us


# -- shared commits -----------------------------------------------------------------------------------


async def test_a_hundred_orders_at_once_are_one_commit(street: Street) -> None:
    venue = await street.venue(runs=False)
    before = venue.db.begun
    views = await asyncio.gather(
        *(venue.broker.submit(order(f"a-{n}", qty=1, account=f"u{n % 7}"), S) for n in range(100))
    )
    assert venue.db.begun == before + 1
    assert len({view.broker_order_id for view in views}) == 100
    await audit(venue, [f"u{n}" for n in range(7)])


async def test_one_refused_order_does_not_take_its_group_along(street: Street) -> None:
    venue = await street.venue(runs=False)
    await venue.broker.submit(order("twice"), S)
    asked = [order("a-1"), order("dear", qty=2_000), order("twice"), order("a-2"), order("odd", symbol="ZZZ")]
    before = venue.db.begun
    answers = await asyncio.gather(*(venue.broker.submit(one, S) for one in asked), return_exceptions=True)
    assert venue.db.begun == before + 1
    assert isinstance(answers[0], BrokerOrderView)
    assert isinstance(answers[1], BrokerRejected)
    assert answers[1].code == "insufficient_buying_power"
    assert isinstance(answers[2], OutcomeUnknown)
    assert isinstance(answers[3], BrokerOrderView)
    assert isinstance(answers[4], BrokerRejected)
    assert answers[4].code == "no_quote"
    assert [view.client_order_id for view in await venue.broker.fetch_open_orders("me", S)] == [
        "twice", "a-1", "a-2",
    ]  # fmt: skip
    await audit(venue, ["me"])


async def test_money_is_spent_once_however_many_ask_for_it_together(street: Street) -> None:
    first = await street.venue("first", runs=False)
    second = await street.venue("second", runs=False)
    answers = await asyncio.gather(
        *(
            venue.broker.submit(order(f"{holder}-{n}", qty=90), S)
            for n in range(15)
            for holder, venue in (("first", first), ("second", second))
        ),
        return_exceptions=True,
    )
    made = [answer for answer in answers if isinstance(answer, BrokerOrderView)]
    codes = {answer.code for answer in answers if isinstance(answer, BrokerRejected)}
    assert len(made) == 11, "11 x 90 x 100 dollars is what 100,000 allow"
    assert codes == {"insufficient_buying_power"}
    await audit(first, ["me"])


# -- poison -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", ["a row that cannot be read", "a sum that cannot be kept"])
async def test_an_order_that_cannot_be_booked_does_not_stop_the_others(street: Street, poison: str) -> None:
    venue = await street.venue()
    for n in range(5):
        await venue.broker.submit(order(f"a-{n}", "sell", account=f"u{n}"), S)
    bad = await found(venue.broker, "a-2", "u2")
    async with venue.db.begin() as tx:
        if poison == "a row that cannot be read":
            await tx.execute(_SPOIL, {"b_id": bad.broker_order_id, "status": "?"})
        else:
            await tx.execute(_ENRICH, {"b_number": "u2", "cash": MAX_SCALED})
    street.show("100.00", "100.10")
    for n in (0, 1, 3, 4):
        assert (await over(venue.broker, f"a-{n}", f"u{n}")).status == OrderStatus.FILLED
    await venue.broker.submit(order("later", "sell"), S)
    assert (await over(venue.broker, "later")).status == OrderStatus.FILLED
    assert await venue.broker.fetch_executions("u2", 0, S) == []
    await audit(venue, ["me"])


async def test_an_order_whose_row_cannot_be_read_does_not_keep_the_venue_from_starting(
    street: Street,
) -> None:
    idle = await street.venue("idle", runs=False)
    bad = await idle.broker.submit(order("bad", account="u1"), S)
    await idle.broker.submit(order("good"), S)
    async with idle.db.begin() as tx:
        await tx.execute(_SPOIL, {"b_id": bad.broker_order_id, "status": "?"})
    street.show("99.90", "100.00")
    await street.venue("runs")
    assert (await over(idle.broker, "good")).status == OrderStatus.FILLED


# -- a database that fails ----------------------------------------------------------------------------


async def test_E17_a_database_that_stays_locked_is_definitely_not_sent(street: Street) -> None:
    venue = await street.venue(runs=False)
    view = await venue.broker.submit(order("a-1"), S)
    # It waits as long as in life from here on.
    venue.db.least_s = 0.0
    other = make_database(street.url, street.clock)
    await other.start()
    try:
        # Who holds the lock has used up his own time, too, and may not hear of his commit.
        with suppress(CommitUnknown):
            async with other.begin() as tx:
                await tx.execute(_TOUCH_ACCOUNT, {"b_number": "me"})
                with pytest.raises(NotSent):
                    await venue.broker.submit(order("a-2"), 10)
                with pytest.raises(NotSent):
                    await venue.broker.cancel("me", view.broker_order_id, 10)
    finally:
        await other.stop()
    assert await venue.broker.fetch_order("me", "a-2", S) is None
    assert (await found(venue.broker, "a-1")).status == OrderStatus.NEW
    await venue.broker.submit(order("a-2"), S)
    await audit(venue, ["me"])


async def test_E17_a_database_that_is_away_is_definitely_not_sent(street: Street) -> None:
    venue = await street.venue()
    venue.db.cut = True
    for call in (
        venue.broker.submit(order("a-1"), S),
        venue.broker.cancel("me", "po_x", S),
        venue.broker.fetch_order("me", "a-1", S),
        venue.broker.fetch_open_orders("me", S),
        venue.broker.fetch_executions("me", 0, S),
        venue.broker.fetch_positions("me", S),
        venue.broker.fetch_account("me", S),
    ):
        with pytest.raises(NotSent):
            await call
    venue.db.cut = False
    assert await venue.broker.fetch_order("me", "a-1", S) is None


async def test_E11_a_commit_in_doubt_is_an_unknown_outcome_and_a_look_up_tells(street: Street) -> None:
    venue = await street.venue(runs=False)
    venue.db.answers_to_lose = 1
    with pytest.raises(OutcomeUnknown, match="in doubt"):
        await venue.broker.submit(order("a-1"), S)
    view = await found(venue.broker, "a-1")
    venue.db.answers_to_lose = 1
    with pytest.raises(OutcomeUnknown, match="in doubt"):
        await venue.broker.cancel("me", view.broker_order_id, S)
    assert (await found(venue.broker, "a-1")).status == OrderStatus.CANCELED
    await audit(venue, ["me"])


async def test_a_fill_whose_commit_is_in_doubt_is_booked_once(street: Street) -> None:
    venue = await street.venue()
    for n in range(5):
        await venue.broker.submit(order(f"a-{n}", qty=10), S)
    # Every transaction of the next while loses its answer: fills and renewals of the lease alike.
    venue.db.answers_to_lose = 8
    street.show("99.90", "100.00", 23)

    async def lost() -> bool:
        return venue.db.answers_to_lose == 0

    await until(lost)
    street.show("99.90", "100.00", 100)
    for n in range(5):
        assert (await over(venue.broker, f"a-{n}")).filled_qty == 10
    await audit(venue, ["me"])


async def test_matching_goes_on_by_itself_when_the_database_comes_back(street: Street) -> None:
    venue = await street.venue()
    await venue.broker.submit(order("a-1"), S)
    venue.db.cut = True
    street.show("99.90", "100.00")
    await asyncio.sleep(0.3)
    venue.db.cut = False
    assert (await over(venue.broker, "a-1")).status == OrderStatus.FILLED


async def test_it_stops_though_its_database_does_not_answer(street: Street) -> None:
    venue = await street.venue()
    venue.db.gate.clear()
    async with asyncio.timeout(PATIENCE_S):
        await venue.broker.stop()
    venue.db.gate.set()


# -- what a reader has taken in may go ----------------------------------------------------------------


async def test_only_events_that_are_old_and_were_read_are_deleted(street: Street) -> None:
    venue = await street.venue(runs=False)
    for n in range(4):
        await venue.broker.submit(order(f"a-{n}"), S)
    async with venue.db.begin() as tx:
        await tx.execute(_AGE, {"b_seq": 3, "at": 1})
        assert await prune_events(tx, 1_000, 100) == 0, "nobody has read them"
        await mark_read(tx, 2)
        assert await prune_events(tx, 1_000, 1) == 1
        assert await prune_events(tx, 1_000, 100) == 1
        await mark_read(tx, 4)
        assert await prune_events(tx, 1_000, 100) == 1, "the fourth is not old"
    async with venue.db.read() as tx:
        assert [one.cursor for one in await load_events(tx, 0, 100)] == [4]
    async with asyncio.timeout(PATIENCE_S), aclosing(venue.broker.updates(3)) as stream:
        assert (await anext(stream)).order.client_order_id == "a-3"
