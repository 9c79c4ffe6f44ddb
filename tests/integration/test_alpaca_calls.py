"""Every call to Alpaca over real sockets: look-ups, groups, replaces, cancels, lists, prints, its own stop, the market."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from paiid.brokers import (
    BrokerError,
    BrokerOrder,
    BrokerRejected,
    BrokerReplace,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.alpaca import AlpacaBroker
from paiid.brokers.alpaca.wire import LIST_CAP
from paiid.core.clock import SystemClock
from paiid.domain.orders import Leg, OrderStatus, StopLoss, TakeProfit
from tests.alpaca_wire import (
    NUMBER,
    ORDER_ID,
    AlpacaWire,
    bracket,
    fill,
    floods,
    hangs_up,
    order,
    serving,
    spread,
    told,
)

_ORDERS = "/v2/orders"
_BY_ID = f"/v2/orders/{ORDER_ID}"
_BY_CLIENT = "/v2/orders:by_client_order_id"


@pytest.fixture
async def wire() -> AsyncIterator[AlpacaWire]:
    async with serving() as one:
        yield one


@pytest.fixture
async def broker(wire: AlpacaWire) -> AsyncIterator[AlpacaBroker]:
    one = wire.broker()
    yield one
    await one.stop()


def buy(**changes: object) -> BrokerOrder:
    fields: dict[str, object] = {
        "account_number": NUMBER, "client_order_id": "r1-0001", "symbol": "XYZ", "side": "buy", "qty": Decimal(10),
        "type": "limit", "time_in_force": "day", "limit_price": Decimal("65.25"),
    }  # fmt: skip
    return BrokerOrder(**(fields | changes))  # type: ignore[arg-type]


async def test_a_look_up_that_finds_nothing_is_the_brokers_word_only_where_the_broker_says_it(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("GET", _BY_CLIENT, told(404, {"code": 40410000, "message": "order not found for r1-0001"}))
    assert await broker.fetch_order(NUMBER, "r1-0001", 5.0) is None
    for answer in (
        told(404, "<html>not here</html>"),
        told(404, {"message": "endpoint not found"}),
        told(404),
    ):
        wire.say("GET", _BY_CLIENT, answer)
        with pytest.raises(BrokerError):
            await broker.fetch_order(NUMBER, "r1-0001", 5.0)
    wire.say("GET", _BY_CLIENT, told(200, order(client_order_id="another")))
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_order(NUMBER, "r1-0001", 5.0)
    wire.say("GET", "/v2/orders/no-uuid", told(422, {"code": 40010001, "message": "order_id is missing"}))
    assert await broker.fetch_order_by_id(NUMBER, "no-uuid", 5.0) is None


async def test_a_bracket_is_told_with_its_exits_however_it_is_asked_for(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wanted = buy(
        order_class="bracket", take_profit=TakeProfit(Decimal(70)), stop_loss=StopLoss(stop_price=Decimal(60))
    )
    bare = bracket(legs=None)
    wire.say("POST", _ORDERS, told(200, bare))
    wire.say("GET", _BY_CLIENT, told(200, bare))
    wire.say("GET", _BY_ID, told(200, bracket()))
    wire.say("GET", "/v2/orders/sl-1", told(200, bracket()["legs"][1]))
    for view in (await broker.submit(wanted, 5.0), await broker.fetch_order(NUMBER, "r1-0001", 5.0)):
        assert view is not None
        assert [(leg.group_role, leg.status) for leg in view.legs] == [
            ("take_profit", OrderStatus.HELD),
            ("stop_loss", OrderStatus.HELD),
        ]
    child = await broker.fetch_order_by_id(NUMBER, "sl-1", 5.0)
    assert child is not None
    assert (child.parent_broker_order_id, child.group_role) == (ORDER_ID, "stop_loss")


async def test_E11_a_bracket_whose_exits_cannot_be_read_is_looked_up_and_never_told_in_part(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("POST", _ORDERS, told(200, bracket(legs=None)))
    wire.say("GET", _BY_ID, told(500))
    wanted = buy(
        order_class="bracket", take_profit=TakeProfit(Decimal(70)), stop_loss=StopLoss(stop_price=Decimal(60))
    )
    with pytest.raises(OutcomeUnknown):
        await broker.submit(wanted, 5.0)


async def test_an_exit_that_was_never_seen_nested_finds_its_parent(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("GET", "/v2/orders/tp-1", told(200, bracket()["legs"][0]))
    wire.say("GET", _ORDERS, told(200, [order(id="other"), bracket()]))
    child = await broker.fetch_order_by_id(NUMBER, "tp-1", 5.0)
    assert child is not None
    assert child.parent_broker_order_id == ORDER_ID
    (asked,) = wire.requests("GET", _ORDERS)
    assert (asked.query["nested"], asked.query["status"], asked.query["symbols"]) == ("true", "all", "XYZ")


async def test_a_spread_goes_out_and_comes_back_with_its_signed_price(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("POST", _ORDERS, told(200, spread()))
    legs = (
        Leg("SPY261218P00640000", "sell", 1, "sell_to_open"),
        Leg("SPY261218P00630000", "buy", 1, "buy_to_open"),
    )
    wanted = buy(symbol="SPY", qty=Decimal(2), order_class="mleg", limit_price=Decimal("-0.85"), legs=legs)
    view = await broker.submit(wanted, 5.0)
    assert (view.symbol, view.side, view.qty, view.limit_price) == (
        "SPY",
        "buy",
        Decimal(2),
        Decimal("-0.85"),
    )
    assert [(leg.symbol, leg.side, leg.ratio_qty, leg.group_role) for leg in view.legs] == [
        ("SPY261218P00640000", "sell", 1, "leg"),
        ("SPY261218P00630000", "buy", 1, "leg"),
    ]


async def test_a_replacement_keeps_our_id_and_names_what_it_replaces(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("PATCH", _BY_ID, told(200, order(id="new-1", client_order_id="r1-0002", limit_price="66")))
    view = await broker.replace(NUMBER, ORDER_ID, BrokerReplace("r1-0002", limit_price=Decimal(66)), 5.0)
    assert (view.broker_order_id, view.client_order_id, view.replaces) == ("new-1", "r1-0002", ORDER_ID)
    (asked,) = wire.requests("PATCH", _BY_ID)
    assert asked.body == {"client_order_id": "r1-0002", "limit_price": "66"}
    assert wire.requests("GET", _BY_ID) == []


async def test_a_new_quantity_is_refused_once_the_order_has_filled_in_part(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("PATCH", _BY_ID, told(200, order(id="new-1", client_order_id="r1-0002")))
    wire.say("GET", _BY_ID, told(200, order(status="partially_filled", filled_qty="4")))
    change = BrokerReplace("r1-0002", qty=Decimal(6))
    with pytest.raises(BrokerRejected) as caught:
        await broker.replace(NUMBER, ORDER_ID, change, 5.0)
    assert caught.value.code == "not_replaceable"
    wire.say("GET", _BY_ID, told(500))
    with pytest.raises(NotSent):
        await broker.replace(NUMBER, ORDER_ID, change, 5.0)
    assert wire.requests("PATCH", _BY_ID) == []
    wire.say("GET", _BY_ID, told(200, order(status="new")))
    await broker.replace(NUMBER, ORDER_ID, change, 5.0)


async def test_a_cancel_says_that_it_was_asked_for_or_why_not(wire: AlpacaWire, broker: AlpacaBroker) -> None:
    wire.say("DELETE", _BY_ID, told(204))
    await broker.cancel(NUMBER, ORDER_ID, 5.0)
    for answer, code in (
        (told(422, {"code": 42210000, "message": 'order is already in "filled" state'}), "not_cancelable"),
        (told(404, {"code": 40410000, "message": f"order not found for {ORDER_ID}"}), "not_found"),
    ):
        wire.say("DELETE", _BY_ID, answer)
        with pytest.raises(BrokerRejected) as caught:
            await broker.cancel(NUMBER, ORDER_ID, 5.0)
        assert caught.value.code == code
    for answer in (told(200, "<html>fine</html>"), told(503), hangs_up):
        wire.say("DELETE", _BY_ID, answer)
        with pytest.raises(OutcomeUnknown):
            await broker.cancel(NUMBER, ORDER_ID, 5.0)
    asked = len(wire.asked)
    for path in ("..", ".", ""):
        with pytest.raises(BrokerRejected):
            await broker.cancel(NUMBER, path, 5.0)
    assert len(wire.asked) == asked
    with pytest.raises(BrokerRejected):
        await broker.cancel(NUMBER, "a/../../positions?b", 5.0)
    assert wire.asked[-1].path == "/v2/orders/a/../../positions?b"


async def test_cancel_all_tells_each_order_apart(wire: AlpacaWire, broker: AlpacaBroker) -> None:
    rows = [
        {"id": "a", "status": 200},
        {"id": "b", "status": 500, "body": {"code": 50010000, "message": "try later"}},
        {"id": "c"},
        {"status": 200},
    ]
    wire.say("DELETE", _ORDERS, told(207, rows))
    outcomes = await broker.cancel_all(NUMBER, 5.0)
    assert outcomes == {"a": None, "b": "try later", "c": "the broker answered nothing"}
    wire.say("DELETE", _ORDERS, told(207, {"message": "?"}))
    with pytest.raises(OutcomeUnknown):
        await broker.cancel_all(NUMBER, 5.0)


async def test_open_orders_come_whole_from_every_page_with_what_hangs_on_them(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    many = [order(id=f"o-{at}", client_order_id=f"c-{at}") for at in range(499)]
    done = bracket(status="filled", filled_qty="10")
    done["legs"][0]["status"] = "new"
    last = order(id="o-last", client_order_id="c-last")
    wire.say("GET", _ORDERS, told(200, [*many, done]), told(200, [done, last]))
    views = {view.broker_order_id: view for view in await broker.fetch_open_orders(NUMBER, 5.0)}
    assert len(views) == 499 + 2 + 1
    assert ORDER_ID not in views
    assert views["tp-1"].parent_broker_order_id == views["sl-1"].parent_broker_order_id == ORDER_ID
    first, second = wire.requests("GET", _ORDERS)
    assert (first.query["status"], first.query["limit"], first.query["nested"]) == ("open", "500", "true")
    assert second.query["after"] == "2026-10-08T14:45:10.124049Z"


async def test_a_list_with_something_unreadable_is_not_passed_off_as_whole(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("GET", _ORDERS, told(200, [order(), {"symbol": "XYZ"}]))
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_open_orders(NUMBER, 5.0)
    wire.say("GET", "/v2/positions", told(200, [{"symbol": "XYZ", "side": "long", "qty": None}]))
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_positions(NUMBER, 5.0)
    wire.say("GET", "/v2/positions", told(200, {"message": "?"}))
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_positions(NUMBER, 5.0)
    wire.say("GET", "/v2/positions", floods(LIST_CAP + 10))
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_positions(NUMBER, 5.0)


async def test_prints_come_from_every_page_named_by_order_and_cumulative_quantity(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    first = [fill(id=f"f-{at}", qty="1", cum_qty=str(at + 1), order_id="long") for at in range(100)]
    wire.say("GET", "/v2/account/activities", told(200, first), told(200, [first[-1], fill(cum_qty="4.0")]))
    prints = await broker.fetch_executions(NUMBER, 1_791_000_000_000_000, 5.0)
    assert len(prints) == 101
    assert prints[0].execution_id == "long:1"
    assert prints[-1].execution_id == f"{ORDER_ID}:4"
    pages = wire.requests("GET", "/v2/account/activities")
    assert pages[0].query["after"] == "2026-10-03T03:59:59.999999Z"
    assert pages[1].query["page_token"] == "f-99"


async def test_prints_without_a_cumulative_quantity_are_counted_through(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    early = fill(id="f-1", qty="4", cum_qty=None, transaction_time="2026-10-08T14:45:10Z")
    late = fill(id="f-2", qty="6", cum_qty=None, transaction_time="2026-10-08T14:45:11Z")
    wire.say("GET", "/v2/account/activities", told(200, [late]), told(200, [early, late]))
    (found,) = await broker.fetch_executions(NUMBER, 1_791_000_000_000_000, 5.0)
    assert found.execution_id == f"{ORDER_ID}:10"
    assert wire.requests("GET", "/v2/account/activities")[1].query["order_id"] == ORDER_ID


async def test_K4_the_brokers_own_stop_is_set_and_seen_to_be_set(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    path = "/v2/account/configurations"
    wire.say("PATCH", path, told(200, {"suspend_trade": True}))
    off, on = told(200, {"suspend_trade": False}), told(200, {"suspend_trade": True})
    wire.say("GET", path, off, off, on)
    assert await broker.set_own_stop(NUMBER, True, 5.0) is False
    assert wire.requests("PATCH", path)[0].body == {"suspend_trade": True}
    assert await broker.set_own_stop(NUMBER, True, 5.0) is True
    assert len(wire.requests("PATCH", path)) == 1
    wire.say("GET", path, told(200, {"suspend_trade": None}))
    with pytest.raises(OutcomeUnknown):
        await broker.set_own_stop(NUMBER, True, 5.0)


class Hurried(SystemClock):
    """Two seconds are over with each sleep, and no sooner: a deadline is passed between requests, never within one."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        self.ahead_s += 2.0


async def test_K4_a_stop_of_the_brokers_own_that_is_not_seen_in_time_is_in_doubt(wire: AlpacaWire) -> None:
    path = "/v2/account/configurations"
    wire.say("PATCH", path, told(200, {"suspend_trade": True}))
    wire.say("GET", path, told(200, {"suspend_trade": False}))
    broker = AlpacaBroker(Hurried(), [wire.keys()])
    with pytest.raises(OutcomeUnknown, match="does not show"):
        await broker.set_own_stop(NUMBER, True, 20.0)
    assert len(wire.requests("PATCH", path)) == 1
    assert len(wire.requests("GET", path)) > 2, "it was looked for again and again"
    await broker.stop()


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_K4_a_stop_that_was_asked_for_is_in_doubt_where_the_look_behind_it_is_refused(
    wire: AlpacaWire, status: int
) -> None:
    path = "/v2/account/configurations"
    wire.say("PATCH", path, told(200, {"suspend_trade": True}))
    refused = told(status, {"code": 40010001, "message": "not now"})
    wire.say("GET", path, told(200, {"suspend_trade": False}), refused)
    broker = AlpacaBroker(Hurried(), [wire.keys()])
    with pytest.raises(OutcomeUnknown):
        await broker.set_own_stop(NUMBER, True, 20.0)
    wire.say("GET", path, told(200, {"suspend_trade": False}), refused, told(200, {"suspend_trade": True}))
    if status != 429:
        assert await broker.set_own_stop(NUMBER, True, 20.0) is False, "the look after it tells"
    await broker.stop()


async def test_the_budget_follows_the_headers_and_keeps_a_reserve_for_orders(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    assert broker.budget_left == 200
    await broker.fetch_accounts(5.0)
    assert broker.budget_left == 199
    tight = {"x_ratelimit_limit": "200", "x_ratelimit_remaining": "79", "x_ratelimit_reset": "9999999999"}
    wire.say("GET", "/v2/positions", told(200, [], **tight))
    wire.say("POST", _ORDERS, told(200, order()))
    await broker.fetch_positions(NUMBER, 5.0)
    assert broker.budget_left == 79
    with pytest.raises(BrokerError, match="budget"):
        await broker.fetch_positions(NUMBER, 0.3)
    await broker.submit(buy(), 5.0)
    assert broker.budget_left == 78
    assert len(wire.requests("GET", "/v2/positions")) == 1


async def test_idle_connections_are_used_again(wire: AlpacaWire, broker: AlpacaBroker) -> None:
    for _ in range(3):
        await broker.fetch_accounts(5.0)
    assert wire.accepted == 1


async def test_the_market_is_told_as_far_as_it_can_be_read(wire: AlpacaWire, broker: AlpacaBroker) -> None:
    from datetime import date

    wire.say(
        "GET",
        "/v2/assets/XYZ",
        told(
            200,
            {
                "symbol": "XYZ",
                "class": "us_equity",
                "status": "active",
                "tradable": True,
                "fractionable": "true",
                "attributes": ["has_options"],
            },
        ),
    )
    asset = await broker.fetch_asset("XYZ", 5.0)
    assert asset is not None
    assert (asset.active, asset.tradable, asset.fractionable, asset.shortable) == (True, True, True, False)
    wire.say("GET", "/v2/assets/NO", told(404, {"code": 40410000, "message": "asset not found for NO"}))
    assert await broker.fetch_asset("NO", 5.0) is None
    contract = {
        "symbol": "SPY261218C00700000",
        "expiration_date": "2026-12-18",
        "strike_price": "700",
        "type": "call",
        "underlying_symbol": "SPY",
        "tradable": True,
    }
    wire.say(
        "GET", "/v2/options/contracts",
        told(200, {"option_contracts": [contract], "next_page_token": "p2"}),
        told(200, {"option_contracts": [contract | {"symbol": "SPY261218C00710000", "strike_price": 710}], "next_page_token": None}),
    )  # fmt: skip
    listed = await broker.fetch_option_contracts("SPY", date(2026, 12, 1), date(2026, 12, 31), 5.0)
    assert [one.strike for one in listed] == [Decimal(700), Decimal(710)]
    assert wire.requests("GET", "/v2/options/contracts")[1].query["page_token"] == "p2"
    wire.say(
        "GET",
        "/v2/clock",
        told(200, {"timestamp": "2026-10-09T10:15:22.123456789-04:00", "is_open": True, "next_open": "x"}),
    )
    clock = await broker.fetch_clock(5.0)
    assert (clock.at_us, clock.is_open, clock.next_open_us) == (1_791_555_322_123_456, True, None)
    wire.say("GET", "/v2/calendar", told(200, [{"date": "2026-10-09", "open": "09:30", "close": "1600"}]))
    (day,) = await broker.fetch_calendar(date(2026, 10, 9), date(2026, 10, 9), 5.0)
    assert (day.open_minute, day.close_minute) == (570, 960)
    wire.say("GET", "/v2/calendar", told(200, [{"date": "2026-10-09"}]))
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_calendar(date(2026, 10, 9), date(2026, 10, 9), 5.0)
    wire.say("GET", "/v2/clock", told(401, "<html>401</html>"))
    with pytest.raises(BrokerRejected) as caught:
        await broker.fetch_clock(5.0)
    assert caught.value.code == "invalid_credentials"


async def test_prices_keep_every_digit_between_wire_and_view(wire: AlpacaWire, broker: AlpacaBroker) -> None:
    raw = json.dumps(order(qty="0.123456789", client_order_id="r1-0001")).replace('"65.25"', "0.1000001")
    wire.say("GET", _BY_CLIENT, told(200, raw))
    view = await broker.fetch_order(NUMBER, "r1-0001", 5.0)
    assert view is not None
    assert (view.qty, view.limit_price) == (Decimal("0.123456789"), Decimal("0.100000"))
