"""What every broker promises, whoever it is: the same suite over each `Broker`."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.brokers import BrokerOrderView, BrokerRejected, NotSent, OutcomeUnknown
from paiid.domain.orders import OrderStatus
from tests.alpaca_stage import alpaca_stage
from tests.contract.able_fakes import InPlaceFake, LiveFake
from tests.contract.stages import (
    DAY_US,
    FakeStage,
    S,
    Stage,
    StreetStage,
    canceled,
    has_status,
    sale,
)
from tests.contract.tradier_dialect import OtherWords
from tests.contract.tradier_stage import tradier_stage
from tests.paper_live import PATIENCE_S, Street, found, order, until

FAKES = {"fake": None, "fake without replay": LiveFake, "fake that changes in place": InPlaceFake}
STAGES = (
    "paper on sqlite",
    "paper on postgresql",
    "alpaca over the simulator",
    "tradier over the simulator",
    "tradier in other words",
    *FAKES,
)


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Each broker, started."""
    if request.param in FAKES:
        fake = FAKES[request.param]
        yield FakeStage(None if fake is None else fake())
        return
    url = request.getfixturevalue("postgres_url" if "postgresql" in request.param else "sqlite_url")
    if "alpaca" in request.param:
        async with alpaca_stage(url, tmp_path) as one:
            yield one
        return
    if "tradier" in request.param:
        words = OtherWords if "other words" in request.param else None
        async with tradier_stage(url, tmp_path, words, null_text=words is None) as other:
            yield other
        return
    async with Street(url) as street:
        street.market.hours.roll_us = street.clock.now_us() + DAY_US // 2
        venue = await street.venue()
        yield StreetStage(street, venue.broker, venue.db)


async def test_it_says_who_it_is_and_what_it_can_hold(stage: Stage) -> None:
    broker = stage.broker
    assert broker.name
    types = {"market", "limit", "stop", "stop_limit", "trailing_stop"}
    assert types >= broker.capabilities.order_types > set()
    assert {"day", "gtc", "ioc", "fok", "opg", "cls"} >= broker.capabilities.times_in_force > set()
    classes = {"simple", "bracket", "oto", "oco", "mleg"}
    assert classes >= {one for row in broker.capabilities.rows for one in row.order_classes} > set()
    assert classes >= broker.capabilities.replaceable
    assert broker.lookup_lag_s >= 0
    assert broker.refusal_lookup_delay_s >= 0


async def test_an_accepted_order_is_told_as_it_was_asked(stage: Stage) -> None:
    asked = sale(stage, "a-1", 7, "123.45", "sell_to_open")
    view = await stage.broker.submit(asked, S)
    for name in ("account_number", "client_order_id", "symbol", "side", "qty", "type", "time_in_force"):
        assert getattr(view, name) == getattr(asked, name), name
    assert (view.limit_price, view.stop_price) == (Decimal("123.45"), None)
    assert (view.status, view.filled_qty, view.filled_avg_price) == (OrderStatus.NEW, 0, None)
    assert view.broker_order_id
    assert view.updated_at_us >= view.submitted_at_us > 0


async def test_E12_an_accepted_order_is_found_by_our_id_once_the_lag_is_over(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    assert view.time_in_force == "gtc"
    await asyncio.sleep(stage.broker.lookup_lag_s)
    assert await stage.broker.fetch_order("me", "a-1", S) == view


async def test_an_order_nobody_placed_is_none_and_so_is_one_of_another_account(stage: Stage) -> None:
    await stage.broker.submit(order("a-1"), S)
    assert await stage.broker.fetch_order("me", "a-2", S) is None
    assert await stage.of("bob").fetch_order("bob", "a-1", S) is None


async def test_an_account_that_the_broker_does_not_have_is_refused_or_empty(stage: Stage) -> None:
    """One of another token is refused, whatever is asked of it; a broker of all accounts knows of nothing in it."""
    view = await stage.broker.submit(order("a-1"), S)
    if stage.of("bob") is stage.broker:
        assert await stage.broker.fetch_order("bob", "a-1", S) is None
        assert await stage.broker.fetch_positions("bob", S) == []
        return
    broker, order_id = stage.broker, view.broker_order_id
    for ask in (
        lambda: broker.fetch_order("bob", "a-1", S),
        lambda: broker.fetch_order_by_id("bob", order_id, S),
        lambda: broker.fetch_open_orders("bob", S),
        lambda: broker.fetch_positions("bob", S),
        lambda: broker.fetch_account("bob", S),
        lambda: broker.fetch_activities("bob", 0, S),
        lambda: broker.cancel("bob", order_id, S),
    ):
        with pytest.raises(BrokerRejected) as caught:
            await ask()
        assert caught.value.code == "unknown_account"
    with pytest.raises(NotSent):
        await stage.broker.submit(order("b-1", account="bob"), S)
    assert await found(stage.broker, "a-1") == view


async def test_E11_a_client_order_id_used_before_is_an_unknown_outcome_and_places_nothing(
    stage: Stage,
) -> None:
    first = await stage.broker.submit(order("a-1"), S)
    if not stage.manners.ids_are_unique:
        # It is another order, and only the first is told under the id from then on.
        second = await stage.broker.submit(order("a-1", price="90.00"), S)
        assert second.broker_order_id != first.broker_order_id
        copy = replace(second, client_order_id=None)
        assert list(await stage.broker.fetch_open_orders("me", S)) == [first, copy]
        assert await found(stage.broker, "a-1") == first
        return
    with pytest.raises(OutcomeUnknown, match=r"must be unique|used before"):
        await stage.broker.submit(order("a-1", "sell", 99), S)
    assert list(await stage.broker.fetch_open_orders("me", S)) == [first]
    other = await stage.of("bob").submit(order("a-1", account="bob"), S)
    assert other.broker_order_id != first.broker_order_id


async def test_one_client_order_id_many_times_at_once_is_one_order(stage: Stage) -> None:
    answers = await asyncio.gather(
        *(stage.broker.submit(order("a-1"), S) for _ in range(20)), return_exceptions=True
    )
    made = [answer for answer in answers if isinstance(answer, BrokerOrderView)]
    if not stage.manners.ids_are_unique:
        # What keeps the intent to one order is that it is sent once (E10).
        assert len({view.broker_order_id for view in made}) == 20
        assert {view.client_order_id for view in made} == {"a-1"}
        assert await found(stage.broker, "a-1") == min(made, key=lambda view: int(view.broker_order_id))
        return
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
    told = (await stage.broker.fetch_account("me", S)).status
    assert told == ("blocked" if stage.manners.tells_blocks else "active")
    assert (await stage.of("bob").fetch_account("bob", S)).status == "active"


async def test_what_rests_in_a_blocked_account_can_still_be_canceled(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    await stage.block("me")
    await canceled(stage, view)


async def test_a_cancel_ends_the_order_and_a_second_one_is_refused(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    told = await stage.broker.cancel("me", view.broker_order_id, S)
    assert told is None or told.status == OrderStatus.CANCELED
    over = await has_status(stage.broker, "a-1", OrderStatus.CANCELED)
    assert await stage.broker.fetch_open_orders("me", S) == []
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", view.broker_order_id, S)
    assert await found(stage.broker, "a-1") == over


async def test_a_cancel_of_an_order_it_does_not_know_is_refused(stage: Stage) -> None:
    with pytest.raises(BrokerRejected):
        await stage.broker.cancel("me", "no-such-order", S)


async def test_an_order_cannot_be_canceled_from_another_account(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    await stage.of("bob").submit(order("b-1", account="bob"), S)
    with pytest.raises(BrokerRejected):
        await stage.of("bob").cancel("bob", view.broker_order_id, S)
    assert (await found(stage.broker, "a-1")).status == OrderStatus.NEW


async def test_a_cancel_after_a_part_keeps_the_part(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(view, 4, "99.50")
    partly = await found(stage.broker, "a-1")
    assert (partly.status, partly.filled_qty) == (OrderStatus.PARTIALLY_FILLED, 4)
    over = await canceled(stage, view)
    assert (over.filled_qty, over.filled_avg_price) == (4, Decimal("99.50"))


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
    await stage.of("bob").submit(order("b-1", price="90.00", account="bob"), S)
    await stage.execute(one, 3, "99.00")
    await canceled(stage, two)
    told = await stage.broker.fetch_open_orders("me", S)
    assert [view.client_order_id for view in told] == ["a-1", "a-3"]
    assert [view.filled_qty for view in told] == [3, 0]
    assert told[1] == three


async def test_a_sale_opens_a_short_position_only_where_it_says_so_or_need_not_say_it(stage: Stage) -> None:
    if not stage.broker.capabilities.needs_intent:
        view = await stage.broker.submit(order("a-1", "sell", 5, "110.00", tif="day"), S)
        assert (view.side, view.qty, view.status) == ("sell", 5, OrderStatus.NEW)
        return
    for intent in (None, "sell_to_close"):
        asked = replace(order("a-1", "sell", 5, "110.00", tif="day"), position_intent=intent)
        with pytest.raises(BrokerRejected) as caught:
            await stage.broker.submit(asked, S)
        assert caught.value.code == "position_intent_mismatch"
    buy = await stage.broker.submit(order("b-1", qty=3), S)
    await stage.execute(buy, 3, "99.00")
    with pytest.raises(BrokerRejected) as caught:
        await stage.broker.submit(sale(stage, "a-1", 5, "110.00"), S)
    assert caught.value.code == "crosses_zero"
    assert await stage.broker.fetch_order("me", "a-1", S) is None
    view = await stage.broker.submit(sale(stage, "a-1", 3, "110.00"), S)
    assert (view.side, view.qty, view.position_intent) == ("sell", 3, "sell_to_close")


async def test_a_part_of_a_share_is_taken_or_refused_as_the_table_says(stage: Stage) -> None:
    asked = replace(order("a-1", tif="day"), qty=Decimal("2.5"))
    if stage.broker.capabilities.fractional:
        view = await stage.broker.submit(asked, S)
        assert (view.qty, view.status) == (Decimal("2.5"), OrderStatus.NEW)
        return
    with pytest.raises(BrokerRejected):
        await stage.broker.submit(asked, S)
    assert await stage.broker.fetch_order("me", "a-1", S) is None
    assert await stage.broker.fetch_open_orders("me", S) == []


async def test_E11_no_answer_in_time_is_an_unknown_outcome_and_a_look_up_tells(stage: Stage) -> None:
    await stage.broker.submit(order("a-0"), S)
    async with stage.speechless("me"):
        with pytest.raises(OutcomeUnknown):
            # Long enough for a slow machine to have sent it.
            await stage.broker.submit(order("a-1"), 1.0)
    # Whether it was placed behind our back nobody knows.
    if stage.manners.ids_are_unique:
        # Asked again under its id it is never placed twice.
        with_luck = await asyncio.gather(stage.broker.submit(order("a-1"), S), return_exceptions=True)
        assert isinstance(with_luck[0], BrokerOrderView | OutcomeUnknown)
    else:

        async def is_there() -> bool:
            return await stage.broker.fetch_order("me", "a-1", S) is not None

        await until(is_there)
    assert (await found(stage.broker, "a-1")).status == OrderStatus.NEW
    named = [one.client_order_id for one in await stage.broker.fetch_open_orders("me", S)]
    assert named == ["a-0", "a-1"]


async def test_E12_the_end_of_a_day_hides_by_our_id_what_is_over_only_where_the_table_says_so(
    stage: Stage,
) -> None:
    rests = await stage.broker.submit(order("a-1"), S)
    gone = await canceled(stage, await stage.broker.submit(order("a-2", price="90.00"), S))
    await stage.next_day()
    assert list(await stage.broker.fetch_open_orders("me", S)) == [rests]
    assert await found(stage.broker, "a-1") == rests
    forgets = stage.broker.capabilities.lists_end_with_day
    assert await stage.broker.fetch_order("me", "a-2", S) == (None if forgets else gone)
    # By the broker's own id it is told still.
    assert await stage.broker.fetch_order_by_id("me", gone.broker_order_id, S) == gone


async def test_it_can_be_stopped_at_any_time_and_more_than_once(stage: Stage) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await stage.broker.stop()
        await stage.broker.stop()
        await stage.broker.start()
        await stage.broker.stop()
