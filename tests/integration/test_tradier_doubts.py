"""What Tradier's lists and refusals seem to prove and do not: shifted pages, hung answers, a 401 for everything (contracts E10, E11, E12, K6)."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerError, BrokerOrder, NotSent
from paiid.brokers.tradier import TradierBroker
from paiid.brokers.tradier.listing import DayList
from paiid.core.clock import SystemClock
from paiid.wires.governor import Priority
from tests.tradier_stage import (
    NUMBER,
    ORDERS,
    Answer,
    Asked,
    TradierStage,
    listed,
    ok,
    row,
    says,
    silence,
    staged,
    told,
    within,
)

S = 5.0
OUR_TAG = "pd-" + "0123456789abcdef" * 2
PAGE = 25
_PROFILE = "/v1/user/profile"
_EXPIRED = told(
    401,
    {"fault": {"faultstring": "Access Token expired", "detail": {"errorcode": "keymanagement.service.x"}}},
)


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
async def unlearned(stage: TradierStage) -> AsyncIterator[TradierBroker]:
    """One that has to ask which account its token is for."""
    one = TradierBroker(SystemClock(), stage.keys(account_id=None))
    yield one
    await one.stop()


@pytest.fixture
async def day_list(stage: TradierStage) -> AsyncIterator[DayList]:
    one = DayList(SystemClock(), stage.session())
    yield one
    await one.stop()


def orders(first: int, last: int) -> list[dict[str, Any]]:
    """Orders of these ids, the newest first."""
    return [row(id=number) for number in range(last, first - 1, -1)]


class Paged:
    """A list in pages of 25, the newest first, whose rows a test may change between two pages."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.behind_first: list[dict[str, Any]] | None = None
        """What the list is once its first page has been told, next time."""

    async def __call__(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        at = (int(asked.query["page"]) - 1) * PAGE
        await told(200, listed(*self.rows[at : at + PAGE]))(asked, writer)
        if self.behind_first is not None:
            self.rows, self.behind_first = self.behind_first, None


async def test_K06_an_order_that_comes_between_two_pages_does_not_hide_the_pages_behind_for_ever(
    stage: TradierStage, broker: TradierBroker
) -> None:
    """It pushes the last row of the first page on to the second, which then shows nothing new, like a list without pages."""
    paged = Paged(orders(1, PAGE))
    paged.behind_first = orders(1, PAGE + 1)
    stage.say("GET", ORDERS, paged)
    await broker.fetch_open_orders(NUMBER, S)
    paged.rows = orders(1, PAGE + 5)
    assert len(await broker.fetch_open_orders(NUMBER, S)) == PAGE + 5
    await broker.fetch_open_orders(NUMBER, S)
    assert len(await broker.fetch_open_orders(NUMBER, S)) == PAGE + 5


async def test_a_list_that_gives_the_same_page_again_has_no_pages(
    stage: TradierStage, broker: TradierBroker
) -> None:
    stage.say("GET", ORDERS, told(200, listed(*orders(1, 7))))
    for _ in range(3):
        assert len(await broker.fetch_open_orders(NUMBER, S)) == 7
    assert [one.query["page"] for one in stage.requests("GET")] == ["1", "2", "1", "1"]


async def test_K06_E12_a_look_of_the_background_that_hangs_does_not_keep_an_urgent_one_waiting(
    stage: TradierStage, day_list: DayList
) -> None:
    stage.say("GET", ORDERS, silence, told(200, listed(row(tag=OUR_TAG))))
    hanging = asyncio.create_task(day_list.fetch(within(600), priority=Priority.BACKGROUND))

    async def asked() -> bool:
        return bool(stage.requests("GET"))

    async with asyncio.timeout(30):
        while not await asked():
            await asyncio.sleep(0.01)
        look = await day_list.fetch(within(25), priority=Priority.READ)
    assert [one.broker_order_id for one in look.by_tag(OUR_TAG)] == ["228175"]
    assert not hanging.done()
    hanging.cancel()


async def test_E12_a_401_under_an_orders_path_proves_nothing_while_the_list_cannot_be_read(
    stage: TradierStage, broker: TradierBroker
) -> None:
    """A token that has lost the account is answered with the same words, whatever it asks."""
    stage.say("GET", ORDERS, says(401, f"Unauthorized Account: {NUMBER}"))
    stage.say("GET", f"{ORDERS}/228175", says(401, f"Unauthorized Account: {NUMBER}"))
    with pytest.raises(BrokerError):
        await broker.fetch_order_by_id(NUMBER, "228175", S)


@pytest.mark.parametrize("answer", [_EXPIRED, says(401, "Invalid Access Token"), says(429, "")])
async def test_a_cancel_that_is_refused_for_its_token_stays_wished(
    stage: TradierStage, broker: TradierBroker, answer: Answer
) -> None:
    """Nothing was said of the order: a refusal would end the wish, and the order would work on."""
    stage.say("DELETE", f"{ORDERS}/228175", answer)
    # Time enough for the answer on a slow machine; behind a 429 all of it is waited for.
    with pytest.raises(NotSent):
        await broker.cancel(NUMBER, "228175", 4.0)


@pytest.mark.parametrize("answer", [_EXPIRED, says(429, ""), says(500, ""), says(403, "Forbidden")])
async def test_a_cancel_whose_account_could_not_be_learned_stays_wished(
    stage: TradierStage, unlearned: TradierBroker, answer: Answer
) -> None:
    stage.say("GET", _PROFILE, answer)
    with pytest.raises(NotSent):
        await unlearned.cancel(NUMBER, "228175", 1.0)
    assert stage.requests("DELETE", f"{ORDERS}/228175") == []


async def test_E10_an_order_does_not_wait_for_the_account_to_be_learned_beyond_its_window(
    stage: TradierStage, unlearned: TradierBroker
) -> None:
    """The profile is answered two seconds later, which by then is too late for the order."""
    known = told(
        200, {"profile": {"account": {"account_number": NUMBER, "status": "active", "type": "cash"}}}
    )

    async def late(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)
        await known(asked, writer)

    stage.say("GET", _PROFILE, late)
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed(row(tag=OUR_TAG))))
    order = BrokerOrder(NUMBER, OUR_TAG, "XYZ", "buy", Decimal(10), "limit", "day", Decimal("65.25"))
    with pytest.raises(NotSent):
        await unlearned.submit(order, S)
    assert stage.requests("POST") == []
    # As somebody learns it who has more time.
    assert await unlearned.fetch_order(NUMBER, OUR_TAG, S) is not None
    assert (await unlearned.submit(order, S)).broker_order_id == "228175"


async def test_E12_of_two_orders_with_our_tag_only_the_first_is_told_under_it(
    stage: TradierStage, broker: TradierBroker
) -> None:
    """Tags are not unique: whoever copies an order with its tag has made another one."""
    copied = row(id=999, tag=OUR_TAG, create_date="2026-10-05T15:00:00.000Z")
    stage.say("GET", ORDERS, told(200, listed(copied, row(tag=OUR_TAG))))
    views = await broker.fetch_open_orders(NUMBER, S)
    assert [(one.broker_order_id, one.client_order_id) for one in views] == [
        ("228175", OUR_TAG),
        ("999", None),
    ]
    found = await broker.fetch_order(NUMBER, OUR_TAG, S)
    assert found is not None
    assert found.broker_order_id == "228175"


async def test_past_orders_are_looked_through_as_far_as_they_are_told_and_not_at_every_question(
    stage: TradierStage, broker: TradierBroker
) -> None:
    """Who places fifty orders a day has more than a thousand in a month."""
    asked_for: list[str] = []

    async def many(asked: Asked, writer: asyncio.StreamWriter) -> None:
        page = int(asked.query["page"])
        if "filter" not in asked.query:
            await told(200, listed())(asked, writer)
            return
        asked_for.append(asked.query["page"])
        rows = [
            row(id=1000 + page * PAGE + at, status="filled", exec_quantity=10.0, avg_fill_price=65.25)
            for at in range(PAGE)
        ]
        await told(200, listed(*rows))(asked, writer)

    stage.say("GET", ORDERS, many)
    found = await broker.fetch_order_by_id(NUMBER, "1030", 60.0)
    assert found is not None
    assert found.status.value == "FILLED"
    count = len(asked_for)
    assert await broker.fetch_order_by_id(NUMBER, "77", 60.0) is None
    assert len(asked_for) == count
