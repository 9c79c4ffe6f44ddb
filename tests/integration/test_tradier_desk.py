"""Orders at Tradier, over real sockets: placed at most once, a yes only where it is one, and looked up by what is ours (E10 to E12)."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from paiid.brokers import (
    BrokerRejected,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.tradier.desk import Desk, Preview
from paiid.domain.orders import Leg, OrderStatus
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from tests.fake_clock import FakeClock
from tests.tradier_orders import bracket, buy, otoco
from tests.tradier_stage import (
    ORDERS,
    Answer,
    TradierStage,
    hangs_up,
    listed,
    ok,
    resets,
    row,
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


# -- placing -----------------------------------------------------------------------------------------


async def test_E11_an_order_that_was_taken_is_told_as_the_list_shows_it(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    filled = row(
        status="filled",
        avg_fill_price=65.2,
        exec_quantity=10.0,
        last_fill_price=65.2,
        last_fill_quantity=10.0,
    )
    stage.say("GET", ORDERS, told(200, listed(filled)))
    view = await desk.submit(buy(), within())
    assert (view.broker_order_id, view.client_order_id, view.status) == (
        "228175",
        "r1-0001",
        OrderStatus.FILLED,
    )
    assert (view.filled_qty, view.filled_avg_price) == (_D(10), _D("65.2"))
    (asked,) = stage.requests("POST")
    assert asked.form == {
        "class": "equity", "symbol": "XYZ", "side": "buy", "quantity": "10", "type": "limit", "duration": "day",
        "price": "65.25", "tag": "r1-0001",
    }  # fmt: skip
    assert all(one.query["includeTags"] == "true" for one in stage.requests("GET"))


async def test_an_order_that_is_rejected_a_moment_after_it_was_taken_is_told_as_rejected(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed(row(status="rejected", reason_description="InitialMargin"))))
    view = await desk.submit(buy(), within())
    assert (view.status, view.reason) == (OrderStatus.REJECTED, "InitialMargin")


@pytest.mark.parametrize(
    "listing",
    [
        told(500), told(429), hangs_up, told(200, "<orders/>"), told(200, listed()), told(200, listed(row(id=5))),
        told(200, listed(row(side=None))), silence,
    ],
)  # fmt: skip
async def test_E11_an_order_that_was_taken_stays_taken_whatever_the_reading_gives(
    stage: TradierStage, desk: Desk, listing: Answer
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, listing)
    view = await desk.submit(buy(), within(20))
    assert (view.broker_order_id, view.client_order_id, view.status) == ("228175", "r1-0001", OrderStatus.NEW)
    assert (view.symbol, view.side, view.qty, view.limit_price) == ("XYZ", "buy", _D(10), _D("65.25"))
    assert len(stage.requests("POST")) == 1


async def test_a_spent_budget_of_reads_costs_an_order_no_time_although_a_place_would_soon_be_free(
    stage: TradierStage,
) -> None:
    clock = FakeClock()
    session = stage.session(clock=clock)
    reads = session.wire.governor("standard")
    while reads.left_for(Priority.READ) > 0:
        await reads.admit(Priority.READ, Deadline(clock, 1.0))
    clock.advance(59.5)
    stage.say("POST", ORDERS, told(200, ok()))
    view = await stage.desk(session, clock=clock).submit(buy(), Deadline(clock, 5.0))
    assert view.status is OrderStatus.NEW
    assert [one.method for one in stage.asked] == ["POST"]


async def test_E11_errors_in_a_200_are_a_no_and_nothing_is_read(stage: TradierStage, desk: Desk) -> None:
    errors = ["Backoffice rejected override of the order.", "DayTradingBuyingPowerExceeded"]
    stage.say("POST", ORDERS, told(200, {"errors": {"error": errors}}))
    with pytest.raises(BrokerRejected) as caught:
        await desk.submit(buy(), within())
    assert caught.value.code == "insufficient_buying_power"
    assert [one.method for one in stage.asked] == ["POST"]


@pytest.mark.parametrize(
    "answer",
    [
        told(500, "An error occurred while communicating with the backend.", "text/plain"), told(502), told(404),
        told(200, "<order><id>228175</id><status>ok</status></order>", "application/xml"), told(200, "x" * 5000),
        told(200, {"order": {"id": 228175, "status": "ok"}, "errors": {"error": "x"}}), told(200, []), hangs_up, resets,
    ],
)  # fmt: skip
async def test_E11_whatever_is_neither_yes_nor_no_is_unknown_and_is_not_sent_again(
    stage: TradierStage, desk: Desk, answer: Answer
) -> None:
    stage.say("POST", ORDERS, answer)
    with pytest.raises(OutcomeUnknown):
        await desk.submit(buy(), within())
    assert [one.method for one in stage.asked] == ["POST"]


async def test_E11_a_429_is_a_no_and_the_order_is_never_sent_again(stage: TradierStage, desk: Desk) -> None:
    stage.say("POST", ORDERS, told(429), told(200, ok()))
    with pytest.raises(BrokerRejected) as caught:
        await desk.submit(buy(), within())
    assert caught.value.code == "rate_limited"
    assert len(stage.requests("POST")) == 1


async def test_E10_an_order_waits_for_its_budget_but_not_long_and_then_was_not_sent(
    stage: TradierStage,
) -> None:
    session = stage.session()
    session.wire.governor("trading").learn(left=0)
    with pytest.raises(NotSent):
        await stage.desk(session).submit(buy(), within(60))
    assert stage.asked == []


async def test_an_order_that_closes_still_goes_where_one_that_opens_has_to_stay(stage: TradierStage) -> None:
    session = stage.session()
    desk = stage.desk(session)
    stage.say("POST", ORDERS, told(200, ok()))
    session.wire.governor("trading").learn(limit=60, left=7)
    with pytest.raises(NotSent):
        await desk.submit(buy(), within())
    await desk.submit(buy(side="sell", position_intent="sell_to_close"), within())
    assert len(stage.requests("POST")) == 1


async def test_what_tradier_cannot_hold_is_refused_before_a_byte_is_sent(
    stage: TradierStage, desk: Desk
) -> None:
    with pytest.raises(BrokerRejected):
        await desk.submit(buy(time_in_force="fok"), within())
    assert stage.asked == []


async def test_a_yes_whose_order_has_another_tag_in_the_list_is_unknown(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed(row(tag="somebody-else"))))
    with pytest.raises(OutcomeUnknown):
        await desk.submit(buy(), within())


# -- groups ------------------------------------------------------------------------------------------


async def test_a_bracket_is_told_with_its_exits_once_the_list_shows_them(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    part = otoco()
    part["leg"] = part["leg"][:2]
    stage.say(
        "GET", ORDERS, told(200, listed()), told(500), told(200, listed(part)), told(200, listed(otoco()))
    )
    view = await desk.submit(bracket(), within(60))
    assert (view.broker_order_id, view.client_order_id, view.order_class) == ("228175", "r1-0001", "bracket")
    assert [(leg.group_role, leg.limit_price or leg.stop_price) for leg in view.legs] == [
        ("take_profit", _D(70)),
        ("stop_loss", _D(60)),
    ]
    (asked,) = stage.requests("POST")
    assert asked.form["class"] == "otoco"
    assert "symbol" not in asked.form


async def test_E11_a_bracket_whose_exits_are_not_shown_in_time_is_unknown_for_its_legs_are_not_known(
    stage: TradierStage,
) -> None:
    clock = FakeClock()
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed()))
    with pytest.raises(OutcomeUnknown):
        await stage.desk(clock=clock).submit(bracket(), Deadline(clock, 5.0))
    assert len(stage.requests("GET")) > 5
    assert len(stage.requests("POST")) == 1


async def test_a_spread_is_told_with_its_legs(stage: TradierStage, desk: Desk) -> None:
    put, lower = "SPY261218P00640000", "SPY261218P00630000"
    legs = [
        row(
            id=1,
            tag=None,
            symbol="SPY",
            option_symbol=put,
            side="sell_to_open",
            quantity=2.0,
            **{"class": "option"},
        ),
        row(
            id=2,
            tag=None,
            symbol="SPY",
            option_symbol=lower,
            side="buy_to_open",
            quantity=2.0,
            **{"class": "option"},
        ),
    ]
    parent = row(
        symbol="SPY", type="credit", price=0.85, quantity=2.0, leg=legs, num_legs=2, **{"class": "multileg"}
    )
    stage.say("POST", ORDERS, told(200, ok()))
    stage.say("GET", ORDERS, told(200, listed(parent)))
    order = buy(
        order_class="mleg", symbol="SPY", qty=_D(2), limit_price=_D("-0.85"), position_intent=None,
        legs=(Leg(put, "sell", 1, "sell_to_open"), Leg(lower, "buy", 1, "buy_to_open")),
    )  # fmt: skip
    view = await desk.submit(order, within())
    assert (view.limit_price, view.qty, [leg.symbol for leg in view.legs]) == (
        _D("-0.85"),
        _D(2),
        [put, lower],
    )


# -- preview -----------------------------------------------------------------------------------------


async def test_a_preview_tells_what_the_order_would_cost_and_asks_for_no_order(
    stage: TradierStage, desk: Desk
) -> None:
    shown = {
        "status": "ok",
        "commission": 0.0,
        "cost": 5000.10,
        "fees": 0.10,
        "order_cost": 5000.0,
        "margin_change": 2500.0,
    }
    stage.say("POST", ORDERS, told(200, {"order": shown}))
    assert await desk.preview(buy(), within()) == Preview(_D("5000.1"), _D(5000), _D(0), _D("0.1"), _D(2500))
    assert [(one.method, one.form["preview"]) for one in stage.asked] == [("POST", "true")]


async def test_a_preview_gives_the_reason_for_which_the_order_would_be_refused(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("POST", ORDERS, told(200, {"errors": {"error": "ShortStockTradingDeniedForAccount"}}))
    with pytest.raises(BrokerRejected) as caught:
        await desk.preview(buy(), within())
    assert caught.value.code == "not_shortable"


async def test_a_preview_that_is_answered_with_an_order_is_no_preview(
    stage: TradierStage, desk: Desk
) -> None:
    stage.say("POST", ORDERS, told(200, ok()))
    with pytest.raises(OutcomeUnknown):
        await desk.preview(buy(), within())
