"""Tradier's lists over a real socket: one listing for many, every page, nothing passed off as whole that is not (contracts E12, E18)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import (
    BrokerOrder,
    BrokerRejected,
    OutcomeUnknown,
)
from paiid.brokers.tradier import TradierBroker, listing
from paiid.brokers.tradier.listing import DayList
from paiid.brokers.tradier.readers import read
from paiid.core.clock import SystemClock
from paiid.domain.calendar import eastern_date
from paiid.domain.orders import OrderStatus
from paiid.wires.governor import Priority
from tests.fake_clock import FakeClock
from tests.tradier_stage import (
    NUMBER,
    ORDERS,
    Answer,
    Asked,
    TradierStage,
    listed,
    ok,
    resets,
    row,
    says,
    silence,
    staged,
    told,
    within,
)

S = 5.0
OUR_TAG = "pd-" + "0123456789abcdef" * 2
_PROFILE, _BALANCES = "/v1/user/profile", f"/v1/accounts/{NUMBER}/balances"
_POSITIONS, _HISTORY = f"/v1/accounts/{NUMBER}/positions", f"/v1/accounts/{NUMBER}/history"
_GAIN_LOSS = f"/v1/accounts/{NUMBER}/gainloss"
_WRONG: list[Answer] = [
    told(200, "<html>", "text/html"), told(200, b""), told(200, []), told(200, {}), told(200, {"orders": 7}),
    told(200, "<orders/>", "application/xml"), says(500, "no"), told(502, b""), resets, told(200, "null"),
]  # fmt: skip


@pytest.fixture
async def stage() -> AsyncIterator[TradierStage]:
    async with staged() as one:
        yield one


@pytest.fixture
async def broker(stage: TradierStage) -> AsyncIterator[TradierBroker]:
    one = TradierBroker(SystemClock(), stage.keys())
    yield one
    await one.stop()


@pytest.fixture
async def day_list(stage: TradierStage) -> AsyncIterator[DayList]:
    one = DayList(SystemClock(), stage.session())
    yield one
    await one.stop()


class Held:
    """An answer that comes only when the test says so."""

    def __init__(self, body: Any) -> None:
        self.arrived = asyncio.Event()
        self.let_go = asyncio.Event()
        self._answer = told(200, body)

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.arrived.set()
        await self.let_go.wait()
        await self._answer(asked, writer)


def profile(*accounts: dict[str, Any]) -> dict[str, Any]:
    """A profile with these accounts by the 0/1/n rule."""
    rows = accounts or ({"account_number": NUMBER, "status": "active", "type": "margin", "option_level": 6},)
    return {"profile": {"id": "id-1", "account": rows[0] if len(rows) == 1 else list(rows)}}


def pages(*lists: list[dict[str, Any]]) -> Answer:
    """A list in pages; behind the last one there is nothing."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        page = int(asked.query["page"])
        await told(200, listed(*(lists[page - 1] if page <= len(lists) else [])))(asked, writer)

    return answer


# -- one listing for many -----------------------------------------------------------------------------


async def test_E12_a_caller_is_given_a_listing_that_began_after_his_call(
    stage: TradierStage, day_list: DayList
) -> None:
    first, second = Held(listed()), Held(listed(row(tag=OUR_TAG)))
    stage.say("GET", ORDERS, first, second, told(200, listed()))
    early = asyncio.create_task(day_list.fetch(within(), priority=Priority.READ))
    async with asyncio.timeout(30):
        await first.arrived.wait()
        late = [asyncio.create_task(day_list.fetch(within(30), priority=Priority.READ)) for _ in range(20)]
        await asyncio.sleep(0)
        second.let_go.set()
        first.let_go.set()
        assert (await early).views == ()
        assert [len(one.views) for one in await asyncio.gather(*late)] == [1] * 20
    # The second listing was one for all twenty; its order made it ask for what is behind.
    assert [one.query["page"] for one in stage.requests("GET")] == ["1", "1", "2"]


async def test_in_the_background_a_listing_of_just_now_will_do_and_a_read_has_its_own(
    stage: TradierStage,
) -> None:
    clock = FakeClock()
    one = DayList(clock, stage.session())
    for _ in range(3):
        await one.fetch(within(), priority=Priority.BACKGROUND)
    assert len(stage.requests("GET")) == 1
    await one.fetch(within(), priority=Priority.READ)
    assert len(stage.requests("GET")) == 2
    clock.advance(1.5)
    await one.fetch(within(), priority=Priority.BACKGROUND)
    assert len(stage.requests("GET")) == 3
    await one.fetch(within(), priority=Priority.BACKGROUND, at_most_s=0.0)
    assert len(stage.requests("GET")) == 4
    await one.stop()


async def test_a_caller_that_gives_up_takes_the_listing_from_nobody(
    stage: TradierStage, day_list: DayList
) -> None:
    held = Held(listed(row()))
    stage.say("GET", ORDERS, held, told(200, listed()))
    gone = asyncio.create_task(day_list.fetch(within(), priority=Priority.READ))
    stays = asyncio.create_task(day_list.fetch(within(30), priority=Priority.READ))
    async with asyncio.timeout(30):
        await held.arrived.wait()
        gone.cancel()
        held.let_go.set()
        assert len((await stays).views) == 1


async def test_a_listing_that_fails_fails_for_all_who_wait_and_the_next_one_is_asked_anew(
    stage: TradierStage, day_list: DayList
) -> None:
    stage.say("GET", ORDERS, says(500, "An error occurred."), told(200, listed()))
    answers = await asyncio.gather(
        *(day_list.fetch(within(), priority=Priority.READ) for _ in range(3)), return_exceptions=True
    )
    assert [type(one) for one in answers] == [OutcomeUnknown] * 3
    assert (await day_list.fetch(within(), priority=Priority.READ)).views == ()


async def test_a_listing_that_does_not_come_is_waited_for_as_long_as_the_caller_said(
    stage: TradierStage, day_list: DayList
) -> None:
    stage.say("GET", ORDERS, silence)
    with pytest.raises(OutcomeUnknown):
        await day_list.fetch(within(0.1), priority=Priority.READ)


@pytest.mark.parametrize("wrong", _WRONG)
async def test_E12_an_answer_without_a_list_is_no_proof_that_there_is_no_order(
    stage: TradierStage, broker: TradierBroker, wrong: Answer
) -> None:
    stage.say("GET", ORDERS, wrong)
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_order(NUMBER, OUR_TAG, S)
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_open_orders(NUMBER, S)


@pytest.mark.parametrize("none", [{"orders": "null"}, {"orders": None}, {"orders": {}}, {"orders": {"order": None}},
                                  {"orders": {"order": "null"}}, {"orders": {"order": []}}])  # fmt: skip
async def test_no_orders_in_any_of_the_forms_is_a_list_without_any(
    stage: TradierStage, broker: TradierBroker, none: Any
) -> None:
    stage.say("GET", ORDERS, told(200, none))
    assert await broker.fetch_order(NUMBER, OUR_TAG, S) is None
    assert await broker.fetch_open_orders(NUMBER, S) == []


async def test_E12_where_a_row_cannot_be_read_absence_proves_nothing_and_presence_does(
    stage: TradierStage, broker: TradierBroker
) -> None:
    stage.say("GET", ORDERS, told(200, listed({"id": 1, "side": "hold"}, row(tag=OUR_TAG))))
    found = await broker.fetch_order(NUMBER, OUR_TAG, S)
    assert found is not None
    assert found.broker_order_id == "228175"
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_order(NUMBER, "pd-" + "f" * 32, S)
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_open_orders(NUMBER, S)


# -- rows that are told again -----------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The ids of the rows that were read, in turn."""
    ids: list[object] = []

    def counted(row: Any, number: str) -> Any:
        ids.append(row["id"])
        return read(row, number)

    monkeypatch.setattr(listing, "read", counted)
    return ids


async def test_E18_a_row_that_is_told_again_as_it_was_is_not_read_again_and_one_that_has_changed_is(
    stage: TradierStage, day_list: DayList, reads: list[object]
) -> None:
    filled = {"status": "filled", "exec_quantity": 10.0, "avg_fill_price": 65.2, "remaining_quantity": 0.0}
    stage.say("GET", ORDERS, pages([row(id=1), row(id=2)]))
    before = await day_list.fetch(within(), priority=Priority.READ)
    again = await day_list.fetch(within(), priority=Priority.READ)
    assert (reads, again.views) == (["1", "2"], before.views)
    stage.say("GET", ORDERS, pages([row(id=1), row(id=2, **filled)]))
    after = await day_list.fetch(within(), priority=Priority.READ)
    assert reads == ["1", "2", "2"]
    assert {view.broker_order_id: view.status for view in after.views} == {
        "1": before.views[0].status,
        "2": OrderStatus.FILLED,
    }
    # As it was at first: what was read in between does not stand.
    stage.say("GET", ORDERS, pages([row(id=1), row(id=2)]))
    assert (await day_list.fetch(within(), priority=Priority.READ)).views == before.views


async def test_E12_a_row_that_cannot_be_read_proves_nothing_however_often_it_is_told(
    stage: TradierStage, day_list: DayList, reads: list[object]
) -> None:
    stage.say("GET", ORDERS, pages([{"id": 1, "side": "hold"}, row(id=2)]))
    for _ in range(3):
        assert (await day_list.fetch(within(), priority=Priority.READ)).unread == 1
    assert reads == ["1", "2", "1", "1"]


# -- pages --------------------------------------------------------------------------------------------


def many(first: int, count: int) -> list[dict[str, Any]]:
    """Orders with ids from here on."""
    return [row(id=first + i) for i in range(count)]


async def test_every_page_is_read_until_one_is_empty(stage: TradierStage, day_list: DayList) -> None:
    stage.say("GET", ORDERS, pages(many(1, 25), many(26, 25), many(51, 3)))
    look = await day_list.fetch(within(), priority=Priority.READ)
    assert len(look.views) == 53
    assert [one.query["page"] for one in stage.requests("GET")] == ["1", "2", "3", "4"]


async def test_a_page_that_repeats_what_was_told_is_the_end(stage: TradierStage, day_list: DayList) -> None:
    stage.say("GET", ORDERS, told(200, listed(*many(1, 7))))
    assert len((await day_list.fetch(within(), priority=Priority.READ)).views) == 7
    assert len(stage.requests("GET")) == 2
    # It has no pages, then: it is not asked for any again.
    stage.say("GET", ORDERS, told(200, listed(*many(1, 60))))
    assert len((await day_list.fetch(within(), priority=Priority.READ)).views) == 60
    assert len(stage.requests("GET")) == 3


async def test_a_second_page_is_not_asked_for_where_the_first_is_known_not_to_be_full(
    stage: TradierStage, day_list: DayList
) -> None:
    stage.say("GET", ORDERS, pages(many(1, 7)))
    for _ in range(3):
        assert len((await day_list.fetch(within(), priority=Priority.READ)).views) == 7
    assert [one.query["page"] for one in stage.requests("GET")] == ["1", "2", "1", "1"]


async def test_an_order_behind_a_page_that_was_just_full_is_seen(
    stage: TradierStage, day_list: DayList
) -> None:
    stage.say("GET", ORDERS, pages(many(1, 25)))
    assert len((await day_list.fetch(within(), priority=Priority.READ)).views) == 25
    stage.say("GET", ORDERS, pages(many(1, 25), many(26, 1)))
    assert len((await day_list.fetch(within(), priority=Priority.READ)).views) == 26


# -- by id --------------------------------------------------------------------------------------------


def bracket(**entry: Any) -> dict[str, Any]:
    return {
        "id": 900, "status": "open", "class": "otoco", "duration": "day", "tag": OUR_TAG,
        "leg": [row(id=901, **entry), row(id=902, side="sell", price=70.0, status="pending"),
                row(id=903, side="sell", type="stop", stop_price=60.0, status="pending")],
    }  # fmt: skip


@pytest.mark.parametrize(("asked", "found"), [("900", "900"), ("901", "900"), ("902", "902"), ("903", "903")])
async def test_a_group_is_found_by_the_id_of_each_of_its_members(
    stage: TradierStage, broker: TradierBroker, asked: str, found: str
) -> None:
    stage.say("GET", ORDERS, told(200, listed(bracket())))
    view = await broker.fetch_order_by_id(NUMBER, asked, S)
    assert view is not None
    assert view.broker_order_id == found
    by_tag = await broker.fetch_order(NUMBER, OUR_TAG, S)
    assert by_tag is not None
    assert (by_tag.broker_order_id, len(by_tag.legs)) == ("900", 2)


async def test_a_member_of_a_group_that_the_list_forgot_is_read_with_its_group(
    stage: TradierStage, broker: TradierBroker
) -> None:
    stage.say("GET", ORDERS, told(200, listed(bracket())))
    assert await broker.fetch_order_by_id(NUMBER, "902", S) is not None
    stage.say("GET", ORDERS, told(200, listed()))
    stage.say("GET", f"{ORDERS}/900", told(200, {"order": bracket()}))
    view = await broker.fetch_order_by_id(NUMBER, "902", S)
    assert view is not None
    assert (view.broker_order_id, view.group_role, view.parent_broker_order_id) == (
        "902",
        "take_profit",
        "900",
    )


async def test_a_leg_that_names_its_group_is_read_with_it(stage: TradierStage, broker: TradierBroker) -> None:
    stage.say("GET", f"{ORDERS}/903", told(200, {"order": row(id=903, parent_id=900)}))
    stage.say("GET", f"{ORDERS}/900", told(200, {"order": bracket()}))
    view = await broker.fetch_order_by_id(NUMBER, "903", S)
    assert view is not None
    assert (view.group_role, view.stop_price) == ("stop_loss", Decimal(60))


async def test_an_order_of_another_day_is_read_by_itself_and_one_that_is_nowhere_is_none(
    stage: TradierStage, broker: TradierBroker
) -> None:
    stage.say("GET", f"{ORDERS}/77", told(200, {"order": row(id=77, duration="gtc", tag="mybot")}))
    view = await broker.fetch_order_by_id(NUMBER, "77", S)
    assert view is not None
    assert (view.time_in_force, view.client_order_id) == ("gtc", None)
    (single,) = stage.requests("GET", f"{ORDERS}/77")
    assert single.query == {"includeTags": "true"}
    assert await broker.fetch_order_by_id(NUMBER, "78", S) is None
    assert await broker.fetch_order_by_id(NUMBER, "78~1", S) is None


def filtered(*past: dict[str, Any], refused: bool = False) -> Answer:
    """Today's list has nothing; the one of past days has these."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if "filter" not in asked.query:
            await told(200, listed())(asked, writer)
        elif refused:
            await says(400, "Invalid parameter, filter: is not valid.")(asked, writer)
        else:
            await told(200, listed(*(past if asked.query["page"] == "1" else ())))(asked, writer)

    return answer


async def test_an_order_that_ended_on_another_day_is_found_there_and_one_that_did_not_end_is_not(
    stage: TradierStage, broker: TradierBroker
) -> None:
    ended = row(id=77, status="filled", exec_quantity=10.0, avg_fill_price=65.3)
    stage.say("GET", ORDERS, filtered(ended, row(id=78), row(id=79, status="filled")))
    view = await broker.fetch_order_by_id(NUMBER, "77", S)
    assert view is not None
    assert (view.status, view.filled_qty) == (OrderStatus.FILLED, Decimal(10))
    assert await broker.fetch_order_by_id(NUMBER, "78", S) is None
    assert await broker.fetch_order_by_id(NUMBER, "79", S) is None
    asked = [one.query for one in stage.requests("GET") if "filter" in one.query]
    assert [one["page"] for one in asked] == ["1", "2"]
    today = eastern_date(SystemClock().now_us())
    assert asked[0]["filter"] == "all"
    assert date.fromisoformat(asked[0]["end"]) - date.fromisoformat(asked[0]["start"]) == timedelta(days=30)
    assert abs(date.fromisoformat(asked[0]["end"]) - today) <= timedelta(days=1)


async def test_where_past_days_are_not_told_an_order_is_simply_not_found(
    stage: TradierStage, broker: TradierBroker
) -> None:
    stage.say("GET", ORDERS, filtered(refused=True))
    for _ in range(2):
        assert await broker.fetch_order_by_id(NUMBER, "77", S) is None
    assert sum("filter" in one.query for one in stage.requests("GET")) == 1


async def test_open_orders_are_those_that_work_each_exit_as_one_of_its_own(
    stage: TradierStage, broker: TradierBroker
) -> None:
    done = row(id=2, status="filled", exec_quantity=10.0, avg_fill_price=65.3)
    live = bracket(status="filled", exec_quantity=10.0, avg_fill_price=65.3)
    stage.say("GET", ORDERS, told(200, listed(row(), done, live)))
    views = await broker.fetch_open_orders(NUMBER, S)
    assert [(one.broker_order_id, one.parent_broker_order_id) for one in views] == [
        ("228175", None),
        ("902", "900"),
        ("903", "900"),
    ]


async def test_K6_every_listing_of_open_orders_is_a_new_one(
    stage: TradierStage, broker: TradierBroker
) -> None:
    for _ in range(3):
        assert await broker.fetch_open_orders(NUMBER, S) == []
    assert len(stage.requests("GET")) == 3


# -- the broker as a whole ----------------------------------------------------------------------------


async def test_what_tradier_has_not_is_refused_and_prints_are_none(
    stage: TradierStage, broker: TradierBroker
) -> None:
    for call in (broker.cancel_all(NUMBER, S), broker.set_own_stop(NUMBER, True, S)):
        with pytest.raises(BrokerRejected) as refused:
            await call
        assert refused.value.code == "not_supported"
    assert await broker.fetch_executions(NUMBER, 0, S) == ()
    assert (broker.name, broker.simulated, broker.replays_updates) == ("tradier", True, False)
    assert broker.budget_left == 120
    assert stage.asked == []


async def test_an_order_is_told_under_our_id_whatever_the_list_shows(
    stage: TradierStage, broker: TradierBroker
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed(row(tag=None))))
    order = BrokerOrder(
        NUMBER, OUR_TAG, "XYZ", "buy", Decimal(10), "limit", "day", limit_price=Decimal("65.25")
    )
    view = await broker.submit(order, S)
    assert (view.client_order_id, view.broker_order_id, view.status) == (OUR_TAG, "228175", OrderStatus.NEW)
