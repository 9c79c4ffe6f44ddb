"""Changes, cancels and look-ups at Tradier, over real sockets: asked for once, and absence only where it is proved (E10 to E12)."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import (
    BrokerError,
    BrokerRejected,
    BrokerReplace,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.tradier.desk import Desk
from paiid.core.clock import SystemClock
from paiid.domain.orders import OrderStatus
from paiid.wires.deadline import Deadline
from tests.fake_clock import FakeClock
from tests.tradier_orders import buy, otoco
from tests.tradier_stage import (
    NUMBER,
    ORDERS,
    Answer,
    TradierStage,
    hangs_up,
    listed,
    ok,
    row,
    says,
    silence,
    staged,
    told,
    within,
)

_ONE = f"{ORDERS}/228175"
_D = Decimal


@pytest.fixture
async def stage() -> AsyncIterator[TradierStage]:
    async with staged() as one:
        yield one


@pytest.fixture
def desk(stage: TradierStage) -> Desk:
    return stage.desk()


# -- changing ----------------------------------------------------------------------------------------

_CHANGE = BrokerReplace("r1-0002", limit_price=_D("65.50"))


async def test_a_change_keeps_id_and_tag_and_is_told_with_the_new_terms(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("PUT", _ONE, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed(row())), told(200, listed(row(price=65.5))))
    view = await desk.replace("228175", _CHANGE, within(60))
    assert (view.broker_order_id, view.client_order_id, view.limit_price) == ("228175", "r1-0001", _D("65.5"))
    (asked,) = stage.requests("PUT", _ONE)
    assert asked.form == {"price": "65.5"}


@pytest.mark.parametrize(
    "shown", [row(), row(status="canceled"), row(status="filled", avg_fill_price=65.2, exec_quantity=10.0)]
)
async def test_a_change_that_the_list_never_shows_is_unknown_for_the_order_may_have_ended_before(
    stage: TradierStage, shown: dict[str, Any]
) -> None:
    clock = FakeClock()
    stage.say("PUT", _ONE, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed(shown)))
    with pytest.raises(OutcomeUnknown):
        await stage.desk(clock=clock).replace("228175", _CHANGE, Deadline(clock, 5.0))
    assert len(stage.requests("GET")) > 5
    assert len(stage.requests("PUT", _ONE)) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (says(400, "order already in finalized state: filled"), "not_replaceable"),
        (says(401, f"Unauthorized Account: {NUMBER}"), "not_found"),
        (told(200, {"errors": {"error": "OrderContingentChangeNotAllowed"}}), "not_replaceable"),
        (told(429), "rate_limited"),
    ],
)
async def test_a_change_that_is_refused_is_a_no_and_is_sent_once(
    stage: TradierStage, desk: Desk, answer: Answer, code: str
) -> None:
    stage.say("PUT", _ONE, answer)
    with pytest.raises(BrokerRejected) as caught:
        await desk.replace("228175", _CHANGE, within())
    assert caught.value.code == code
    assert len(stage.requests("PUT", _ONE)) == 1


@pytest.mark.parametrize("answer", [told(500), told(200, ok(5)), told(200, ""), hangs_up])
async def test_a_change_without_an_answer_that_can_be_believed_is_unknown(
    stage: TradierStage, desk: Desk, answer: Answer
) -> None:
    stage.say("PUT", _ONE, answer)
    with pytest.raises(OutcomeUnknown):
        await desk.replace("228175", _CHANGE, within())
    assert len(stage.requests("PUT", _ONE)) == 1


# -- cancelling --------------------------------------------------------------------------------------


async def test_a_cancel_that_is_acknowledged_is_done_asking(stage: TradierStage, desk: Desk) -> None:
    stage.say("DELETE", _ONE, told(200, ok()))
    await desk.cancel("228175", within())
    assert [(one.method, one.form) for one in stage.asked] == [("DELETE", {})]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (says(400, "order already in finalized state: canceled"), "not_cancelable"),
        (says(401, f"Unauthorized Account: {NUMBER}"), "not_found"),
        (says(401, "Invalid Access Token"), "invalid_credentials"),
    ],
)
async def test_a_cancel_that_is_refused_says_why(
    stage: TradierStage, desk: Desk, answer: Answer, code: str
) -> None:
    stage.say("DELETE", _ONE, answer)
    with pytest.raises(BrokerRejected) as caught:
        await desk.cancel("228175", within())
    assert caught.value.code == code


async def test_a_cancel_that_is_told_429_is_asked_again(stage: TradierStage, desk: Desk) -> None:
    soon = str(SystemClock().now_us() // 1000 + 300)
    stage.say("DELETE", _ONE, told(429, x_ratelimit_expiry=soon), told(200, ok()))
    await desk.cancel("228175", within(60))
    assert len(stage.requests("DELETE", _ONE)) == 2


async def test_a_cancel_that_is_only_told_429_was_not_refused_by_the_order(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("DELETE", _ONE, told(429, x_ratelimit_expiry="1"))
    with pytest.raises(NotSent):
        await desk.cancel("228175", within(20))


async def test_a_cancel_still_goes_where_no_order_does(stage: TradierStage) -> None:
    session = stage.session()
    session.wire.governor("trading").learn(limit=60, left=1)
    stage.say("DELETE", _ONE, told(200, ok()))
    await stage.desk(session).cancel("228175", within())
    assert len(stage.asked) == 1


@pytest.mark.parametrize("broker_order_id", ["", "228175~1", "../balances", "0", "1/2", "abc", "²"])
async def test_an_id_that_tradier_cannot_have_given_is_no_order_and_no_request(
    stage: TradierStage, desk: Desk, broker_order_id: str
) -> None:
    assert await desk.find_by_id(broker_order_id, within()) is None
    for call in (desk.cancel(broker_order_id, within()), desk.replace(broker_order_id, _CHANGE, within())):
        with pytest.raises(BrokerRejected) as caught:
            await call
        assert caught.value.code == "not_found"
    assert stage.asked == []


# -- looking up --------------------------------------------------------------------------------------


async def test_E12_an_order_is_found_by_its_tag_among_all_of_today(stage: TradierStage, desk: Desk) -> None:
    stage.say("GET", ORDERS, told(200, listed(row(id=1, tag=None), row(), row(id=3, tag="r1-00011"))))
    found = await desk.find("r1-0001", within())
    assert found is not None
    assert found.broker_order_id == "228175"
    assert await desk.find("r1-000", within()) is None


async def test_E12_absence_is_told_only_where_the_whole_list_was_read(
    stage: TradierStage, desk: Desk
) -> None:
    assert await desk.find("r1-0001", within()) is None
    for answer in (told(500), told(200, "{}"), told(200, listed(row(id=1, tag="x"), {"id": 2})), hangs_up):
        stage.say("GET", ORDERS, answer)
        with pytest.raises(BrokerError):
            await desk.find("r1-0001", within())


async def test_two_orders_with_one_tag_are_told_loudly_and_the_first_one_counts(
    stage: TradierStage, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    later = "2026-10-05T14:31:09.310Z"
    stage.say("GET", ORDERS, told(200, listed(row(id=99, create_date=later), row())))
    found = await desk.find("r1-0001", within())
    assert found is not None
    assert found.broker_order_id == "228175"
    assert "tradier_tag_twice" in "".join(capsys.readouterr())


async def test_the_legs_of_a_bracket_are_not_taken_for_a_second_order_with_its_tag(
    stage: TradierStage, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    group = otoco()
    group["leg"] = [leg | {"tag": "r1-0001"} for leg in group["leg"]]
    stage.say("GET", ORDERS, told(200, listed(group)))
    found = await desk.find("r1-0001", within())
    assert found is not None
    assert (found.broker_order_id, len(found.legs)) == ("228175", 2)
    assert "tradier_tag_twice" not in "".join(capsys.readouterr())


async def test_an_order_of_another_day_is_found_by_its_id_alone(stage: TradierStage, desk: Desk) -> None:
    stage.say("GET", _ONE, told(200, {"order": row(status="expired")}))
    found = await desk.find_by_id("228175", within())
    assert found is not None
    assert (found.status, found.client_order_id) == (OrderStatus.EXPIRED, "r1-0001")
    assert stage.requests("GET", _ONE)[0].query == {"includeTags": "true"}


async def test_an_id_that_the_account_does_not_have_is_no_order(stage: TradierStage, desk: Desk) -> None:
    assert await desk.find_by_id("228175", within()) is None


@pytest.mark.parametrize("answer", [says(401, "Invalid Access Token"), told(500), told(200, {}), told(404)])
async def test_an_answer_that_does_not_say_that_there_is_no_order_proves_nothing(
    stage: TradierStage, desk: Desk, answer: Answer
) -> None:
    stage.say("GET", _ONE, answer)
    with pytest.raises(BrokerError):
        await desk.find_by_id("228175", within())


async def test_a_call_that_is_cancelled_after_the_order_was_taken_sends_nothing_more(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, silence)
    call = asyncio.create_task(desk.submit(buy(), within(60)))
    while not stage.requests("GET"):
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(stage.requests("POST")) == 1
