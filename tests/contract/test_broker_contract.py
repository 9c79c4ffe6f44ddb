"""What every broker promises, whoever it is: the same suite over each `Broker`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from decimal import Decimal
from typing import Protocol

import pytest

from paiid.brokers import (
    Broker,
    BrokerOrderView,
    BrokerRejected,
    BrokerUpdate,
    OutcomeUnknown,
)
from paiid.domain.orders import OrderStatus
from tests.fakes import FakeBroker, waits_for
from tests.paper_live import DEADLINE_S, PATIENCE_S, SET_STATUS, GatedDatabase, Street, filled, found, order

S = DEADLINE_S


class Stage(Protocol):
    """A broker, and what a test may do to the world behind it."""

    broker: Broker

    async def execute(self, view: BrokerOrderView, qty: int, price: str) -> None:
        """A print of this size at this price; the order is a limit order that the price suits."""

    async def block(self, account: str) -> None:
        """Nothing may be placed in the account any more."""

    def speechless(self, account: str) -> AbstractAsyncContextManager[None]:
        """Meanwhile the broker takes orders for this account but does not answer."""


class FakeStage:
    def __init__(self) -> None:
        self.broker = FakeBroker()

    async def execute(self, view: BrokerOrderView, qty: int, price: str) -> None:
        self.broker.fill(view.broker_order_id, qty, price)

    async def block(self, account: str) -> None:
        self.broker.blocked.add(account)

    @asynccontextmanager
    async def speechless(self, account: str) -> AsyncIterator[None]:
        before, event = self.broker.default, asyncio.Event()
        self.broker.default = waits_for(event)
        yield
        self.broker.default = before
        event.set()


class PaperStage:
    def __init__(self, street: Street, broker: Broker, db: GatedDatabase) -> None:
        self._street, self._db = street, db
        self.broker = broker

    async def execute(self, view: BrokerOrderView, qty: int, price: str) -> None:
        name, at = view.client_order_id, Decimal(price)
        assert name is not None
        before = await found(self.broker, name, view.account_number)
        far = str(at + 1) if view.side == "sell" else str(at - 1)
        bid, ask = (far, price) if view.side == "buy" else (price, far)
        self._street.show(bid, ask, qty)
        await filled(self.broker, name, int(before.filled_qty) + qty, view.account_number)
        self._street.show("99.00", "101.00")

    async def block(self, account: str) -> None:
        async with self._db.begin() as tx:
            await tx.execute(SET_STATUS, {"b_number": account, "status": "blocked"})

    @asynccontextmanager
    async def speechless(self, account: str) -> AsyncIterator[None]:
        self._db.gate.clear()
        yield
        self._db.gate.set()


@pytest.fixture(params=["paper on sqlite", "paper on postgresql", "fake"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each broker, started."""
    if request.param == "fake":
        yield FakeStage()
        return
    url = request.getfixturevalue("sqlite_url" if "sqlite" in request.param else "postgres_url")
    async with Street(url) as street:
        venue = await street.venue()
        yield PaperStage(street, venue.broker, venue.db)


async def take(broker: Broker, after: int, count: int) -> list[BrokerUpdate]:
    """The next updates behind a cursor."""
    async with asyncio.timeout(PATIENCE_S), aclosing(broker.updates(after)) as stream:
        return [await anext(stream) for _ in range(count)]


async def test_it_says_who_it_is_and_what_it_can_hold(stage: Stage) -> None:
    broker = stage.broker
    assert broker.name
    assert {"market", "limit", "stop"} >= broker.capabilities.order_types > set()
    assert {"day", "gtc", "ioc", "fok"} >= broker.capabilities.times_in_force > set()
    assert broker.lookup_lag_s >= 0
    assert broker.refusal_lookup_delay_s >= 0


async def test_an_accepted_order_is_told_as_it_was_asked(stage: Stage) -> None:
    asked = order("a-1", "sell", 7, "123.45", tif="day")
    view = await stage.broker.submit(asked, S)
    for name in ("account_number", "client_order_id", "symbol", "side", "qty", "type", "time_in_force"):
        assert getattr(view, name) == getattr(asked, name), name
    assert (view.limit_price, view.stop_price) == (Decimal("123.45"), None)
    assert (view.status, view.filled_qty, view.filled_avg_price) == (OrderStatus.NEW, 0, None)
    assert view.broker_order_id
    assert view.updated_at_us >= view.submitted_at_us > 0


async def test_E12_an_accepted_order_is_found_by_our_id_once_the_lag_is_over(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    await asyncio.sleep(stage.broker.lookup_lag_s)
    assert await stage.broker.fetch_order("me", "a-1", S) == view


async def test_an_order_nobody_placed_is_none_and_so_is_one_of_another_account(stage: Stage) -> None:
    await stage.broker.submit(order("a-1"), S)
    assert await stage.broker.fetch_order("me", "a-2", S) is None
    assert await stage.broker.fetch_order("bob", "a-1", S) is None


async def test_E11_a_client_order_id_used_before_is_an_unknown_outcome_and_places_nothing(
    stage: Stage,
) -> None:
    first = await stage.broker.submit(order("a-1"), S)
    with pytest.raises(OutcomeUnknown, match="must be unique"):
        await stage.broker.submit(order("a-1", "sell", 99), S)
    assert list(await stage.broker.fetch_open_orders("me", S)) == [first]
    other = await stage.broker.submit(order("a-1", account="bob"), S)
    assert other.broker_order_id != first.broker_order_id


async def test_one_client_order_id_many_times_at_once_is_one_order(stage: Stage) -> None:
    answers = await asyncio.gather(
        *(stage.broker.submit(order("a-1"), S) for _ in range(20)), return_exceptions=True
    )
    made = [answer for answer in answers if isinstance(answer, BrokerOrderView)]
    assert len(made) == 1
    assert all(isinstance(answer, OutcomeUnknown) for answer in answers if answer is not made[0])
    assert list(await stage.broker.fetch_open_orders("me", S)) == made


async def test_a_blocked_account_takes_no_order_and_says_so(stage: Stage) -> None:
    await stage.broker.submit(order("a-1"), S)
    await stage.block("me")
    with pytest.raises(BrokerRejected) as caught:
        await stage.broker.submit(order("a-2"), S)
    assert caught.value.code == "account_blocked"
    assert caught.value.message
    assert await stage.broker.fetch_order("me", "a-2", S) is None
    assert (await stage.broker.fetch_account("me", S)).status == "blocked"
    assert (await stage.broker.fetch_account("bob", S)).status == "active"


async def test_what_rests_in_a_blocked_account_can_still_be_canceled(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    await stage.block("me")
    await stage.broker.cancel("me", view.broker_order_id, S)
    assert (await found(stage.broker, "a-1")).status == OrderStatus.CANCELED


async def test_a_cancel_ends_the_order_and_a_second_one_is_refused(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    told = await stage.broker.cancel("me", view.broker_order_id, S)
    assert told is None or told.status == OrderStatus.CANCELED
    ended = await found(stage.broker, "a-1")
    assert ended.status == OrderStatus.CANCELED
    assert await stage.broker.fetch_open_orders("me", S) == []
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", view.broker_order_id, S)
    assert await found(stage.broker, "a-1") == ended


async def test_a_cancel_of_an_order_it_does_not_know_is_refused(stage: Stage) -> None:
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", "no-such-order", S)


async def test_an_order_cannot_be_canceled_from_another_account(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    await stage.broker.submit(order("b-1", account="bob"), S)
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("bob", view.broker_order_id, S)
    assert (await found(stage.broker, "a-1")).status == OrderStatus.NEW


async def test_a_cancel_after_a_part_keeps_the_part(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(view, 4, "99.50")
    partly = await found(stage.broker, "a-1")
    assert (partly.status, partly.filled_qty) == (OrderStatus.PARTIALLY_FILLED, 4)
    await stage.broker.cancel("me", view.broker_order_id, S)
    ended = await found(stage.broker, "a-1")
    assert (ended.status, ended.filled_qty, ended.filled_avg_price) == (
        OrderStatus.CANCELED, 4, Decimal("99.50"),
    )  # fmt: skip


async def test_a_filled_order_cannot_be_canceled_and_tells_its_average_price(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(view, 4, "99.50")
    await stage.execute(view, 6, "99.00")
    done = await found(stage.broker, "a-1")
    assert (done.status, done.filled_qty, done.filled_avg_price) == (OrderStatus.FILLED, 10, Decimal("99.20"))
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", view.broker_order_id, S)
    assert (await found(stage.broker, "a-1")).status == OrderStatus.FILLED


async def test_open_orders_are_those_of_the_account_that_still_work_oldest_first(stage: Stage) -> None:
    one = await stage.broker.submit(order("a-1", qty=10), S)
    two = await stage.broker.submit(order("a-2", price="90.00"), S)
    three = await stage.broker.submit(order("a-3", price="91.00"), S)
    await stage.broker.submit(order("b-1", price="90.00", account="bob"), S)
    await stage.execute(one, 3, "99.00")
    await stage.broker.cancel("me", two.broker_order_id, S)
    told = await stage.broker.fetch_open_orders("me", S)
    assert [view.client_order_id for view in told] == ["a-1", "a-3"]
    assert [view.filled_qty for view in told] == [3, 0]
    assert told[1] == three


async def test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1", qty=9), S)
    for qty, price in ((2, "99.00"), (3, "98.00"), (4, "97.00")):
        await stage.execute(view, qty, price)
    told = await stage.broker.fetch_executions("me", 0, S)
    assert [(one.qty, one.price) for one in told] == [(2, 99), (3, 98), (4, 97)]
    assert {(one.account_number, one.broker_order_id, one.symbol, one.side, one.kind) for one in told} == {
        ("me", view.broker_order_id, "AAPL", "buy", "fill")
    }
    assert len({one.execution_id for one in told}) == 3
    second = told[1].executed_at_us
    assert told[0].executed_at_us < second < told[2].executed_at_us
    assert await stage.broker.fetch_executions("me", second, S) == told[1:]
    assert await stage.broker.fetch_executions("me", second + 1, S) == told[2:]
    assert await stage.broker.fetch_executions("bob", 0, S) == []


async def test_positions_are_signed_and_at_their_average_price_and_none_is_zero(stage: Stage) -> None:
    assert await stage.broker.fetch_positions("me", S) == []
    buy = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(buy, 4, "100.00")
    await stage.execute(buy, 6, "99.00")
    (long,) = await stage.broker.fetch_positions("me", S)
    assert (long.symbol, long.qty, long.avg_entry_price) == ("AAPL", 10, Decimal("99.40"))
    sell = await stage.broker.submit(order("a-2", "sell", 10, "101.00"), S)
    await stage.execute(sell, 10, "102.00")
    assert await stage.broker.fetch_positions("me", S) == []
    short = await stage.broker.submit(order("a-3", "sell", 5, "101.00"), S)
    await stage.execute(short, 5, "103.00")
    (held,) = await stage.broker.fetch_positions("me", S)
    assert (held.qty, held.avg_entry_price) == (-5, 103)
    assert await stage.broker.fetch_positions("bob", S) == []


async def test_cash_moves_by_what_was_paid_and_an_untouched_account_is_there_too(stage: Stage) -> None:
    before = await stage.broker.fetch_account("me", S)
    assert (before.number, before.status) == ("me", "active")
    view = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(view, 10, "98.76")
    assert (await stage.broker.fetch_account("me", S)).cash == before.cash - Decimal("987.60")


async def test_updates_tell_every_print_and_every_end_in_order(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(view, 4, "99.00")
    await stage.execute(view, 5, "98.00")
    await stage.broker.cancel("me", view.broker_order_id, S)
    told = []
    async with asyncio.timeout(PATIENCE_S), aclosing(stage.broker.updates(0)) as stream:
        async for update in stream:
            told.append(update)
            if update.order.status == OrderStatus.CANCELED:
                break
    assert [update.cursor for update in told] == sorted({update.cursor for update in told})
    prints = [update for update in told if update.execution is not None]
    assert [update.order.filled_qty for update in prints] == [4, 9]
    assert [update.execution for update in prints] == list(await stage.broker.fetch_executions("me", 0, S))
    assert told[-1].order == await found(stage.broker, "a-1")


async def test_updates_go_on_behind_any_cursor_without_a_gap(stage: Stage) -> None:
    for n in range(6):
        view = await stage.broker.submit(order(f"a-{n}"), S)
        await stage.broker.cancel("me", view.broker_order_id, S)
    whole = await take(stage.broker, 0, 6)
    for index, update in enumerate(whole[:-1]):
        assert await take(stage.broker, update.cursor, 5 - index) == whole[index + 1 :]


async def test_a_reader_of_updates_waits_for_what_is_not_there_yet(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)

    async def read() -> BrokerUpdate:
        async with aclosing(stage.broker.updates(0)) as stream:
            async for update in stream:
                if update.order.status == OrderStatus.CANCELED:
                    return update
        raise AssertionError("the stream ended by itself")

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.05)
    assert not reader.done()
    await stage.broker.cancel("me", view.broker_order_id, S)
    async with asyncio.timeout(PATIENCE_S):
        update = await reader
    assert update.order.broker_order_id == view.broker_order_id


async def test_two_readers_of_updates_do_not_take_from_each_other(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    await stage.broker.cancel("me", view.broker_order_id, S)
    one, other = await asyncio.gather(take(stage.broker, 0, 1), take(stage.broker, 0, 1))
    assert one == other


async def test_E11_no_answer_in_time_is_an_unknown_outcome_and_a_look_up_tells(stage: Stage) -> None:
    await stage.broker.submit(order("a-0"), S)
    async with stage.speechless("me"):
        with pytest.raises(OutcomeUnknown):
            await stage.broker.submit(order("a-1"), 0.2)
    # Whether it was placed behind our back nobody knows; asked again under its id it is never placed twice.
    with_luck = await asyncio.gather(stage.broker.submit(order("a-1"), S), return_exceptions=True)
    assert isinstance(with_luck[0], BrokerOrderView | OutcomeUnknown)
    assert (await found(stage.broker, "a-1")).status == OrderStatus.NEW
    named = [one.client_order_id for one in await stage.broker.fetch_open_orders("me", S)]
    assert named == ["a-0", "a-1"]


async def test_it_can_be_stopped_at_any_time_and_more_than_once(stage: Stage) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await stage.broker.stop()
        await stage.broker.stop()
        await stage.broker.start()
        await stage.broker.stop()
