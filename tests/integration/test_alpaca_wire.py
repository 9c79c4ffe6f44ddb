"""Every way in which a request to Alpaca can end, over real sockets, and what each is called (contracts E10, E11)."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from paiid.brokers import (
    BrokerError,
    BrokerOrder,
    BrokerRejected,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.alpaca import AlpacaBroker
from paiid.brokers.alpaca.wire import OBJECT_CAP
from paiid.core.clock import SystemClock
from paiid.domain.orders import OrderStatus
from tests.alpaca_wire import (
    KEY_ID,
    NUMBER,
    ORDER_ID,
    SECRET,
    AlpacaWire,
    account,
    floods,
    hangs_up,
    order,
    resets,
    resets_mid_body,
    serving,
    silence,
    told,
    trickles,
)

_ORDERS = "/v2/orders"


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


async def ends_as(broker: AlpacaBroker, timeout_s: float = 5.0) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        await broker.submit(buy(), timeout_s)
    return caught.value


async def test_E11_a_2xx_with_an_order_id_is_a_yes_and_the_request_is_as_documented(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("POST", _ORDERS, told(200, order()))
    view = await broker.submit(buy(), 5.0)
    assert (view.broker_order_id, view.client_order_id, view.status) == (ORDER_ID, "r1-0001", OrderStatus.NEW)
    (asked,) = wire.requests("POST", _ORDERS)
    assert asked.body == {
        "client_order_id": "r1-0001", "symbol": "XYZ", "side": "buy", "qty": "10", "type": "limit",
        "time_in_force": "day", "limit_price": "65.25",
    }  # fmt: skip
    assert asked.headers["apca-api-key-id"] == KEY_ID
    assert asked.headers["apca-api-secret-key"] == SECRET
    assert asked.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"code": 40010000, "message": "malformed"}, "malformed_request"),
        (401, {"message": "unauthorized."}, "invalid_credentials"),
        (401, "<html>no</html>", "invalid_credentials"),
        (403, {"code": 40310000, "message": "insufficient buying power"}, "insufficient_buying_power"),
        (403, {"code": 40310000, "message": "insufficient qty available for order (requested: 3, available: 2.5)"}, "insufficient_qty"),
        (403, {"code": 40310000, "message": "insufficient underlying qty available for covered call (required: 200)"}, "uncovered_option"),
        (403, {"code": 40310000, "message": "potential wash trade detected. use complex orders"}, "wash_trade"),
        (422, {"code": 42210000, "message": "potential wash trade detected. use complex orders"}, "wash_trade"),
        (403, {"code": 40310000, "message": "cannot open a short sell while a long buy order is open"}, "opposite_side_open"),
        (403, {"code": 40310000, "message": "account not eligible to trade uncovered option contracts"}, "uncovered_option"),
        (403, {"code": 40310000, "message": "account is not allowed to short"}, "not_shortable"),
        (403, {"code": 40310000, "message": 'asset "XYZ" is not fractionable'}, "not_fractionable"),
        (403, {"code": 40310000, "message": "new orders are rejected by user request"}, "account_suspended"),
        (403, {"code": 40310100, "message": "trade denied due to pattern day trading protection"}, "pattern_day_trading"),
        (403, {"code": "40310000", "message": "something new"}, "forbidden"),
        (403, "<html>", "forbidden"),
        (404, {"code": 40410000, "message": "endpoint not found"}, "endpoint_not_found"),
        (422, {"code": 42210000, "message": 'asset "XYZ" not found'}, "unknown_symbol"),
        (422, {"code": 40010001, "message": "qty must be > 0"}, "invalid_order"),
        (429, {"code": 42910000, "message": "rate limit exceeded"}, "rate_limited"),
        (429, "too many requests.", "rate_limited"),
    ],
)  # fmt: skip
async def test_E11_a_refusal_is_a_definite_no_with_a_code_of_ours(
    wire: AlpacaWire, broker: AlpacaBroker, status: int, body: object, code: str
) -> None:
    wire.say("POST", _ORDERS, told(status, body))
    error = await ends_as(broker)
    assert isinstance(error, BrokerRejected)
    assert error.code == code


@pytest.mark.parametrize(
    "answer",
    [
        told(422, {"code": 40010001, "message": "client_order_id must be unique"}),
        told(422, "<html>no</html>"),
        told(500, {"code": 50010000, "message": "internal server error occurred"}),
        told(502, "<html>bad gateway</html>"),
        told(503),
        told(504, "gateway timeout"),
        told(418, {"message": "new"}),
        told(200, "<html>hello</html>"),
        told(200, '{"id": "half'),
        told(200),
        told(204),
        told(200, []),
        told(200, {"message": "fine"}),
        told(200, "[" * 100_000),
        told(200, order(client_order_id="somebody-elses")),
        floods(OBJECT_CAP + 10),
        hangs_up,
        resets,
        resets_mid_body(200),
        resets_mid_body(403),
    ],
)
async def test_E11_everything_else_is_unknown_and_sent_once(
    wire: AlpacaWire, broker: AlpacaBroker, answer: object
) -> None:
    wire.say("POST", _ORDERS, answer)  # type: ignore[arg-type]
    error = await ends_as(broker)
    assert isinstance(error, OutcomeUnknown)
    assert len(wire.requests("POST", _ORDERS)) == 1


@pytest.mark.parametrize("answer", [silence, trickles])
async def test_E10_one_deadline_holds_over_an_answer_that_does_not_come_or_never_ends(
    wire: AlpacaWire, broker: AlpacaBroker, answer: object
) -> None:
    await broker.fetch_accounts(5.0)
    wire.say("POST", _ORDERS, answer)  # type: ignore[arg-type]
    # Long enough for the first byte to go out on a slow machine: before it, it would be `NotSent`.
    assert isinstance(await ends_as(broker, 1.5), OutcomeUnknown)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_E10_a_redirect_is_not_followed(wire: AlpacaWire, broker: AlpacaBroker, status: int) -> None:
    wire.say("POST", _ORDERS, told(status, None, location=f"{wire.url}/elsewhere"))
    wire.say("POST", "/elsewhere", told(200, order()))
    wire.say("GET", "/elsewhere", told(200, order()))
    assert isinstance(await ends_as(broker), OutcomeUnknown)
    assert [one.path for one in wire.asked] == ["/v2/account", _ORDERS]


async def test_E11_a_refused_connection_is_not_sent() -> None:
    async with serving() as gone:
        broker = gone.broker()
        await broker.fetch_accounts(5.0)
        await gone.close_http()
        error = await ends_as(broker)
        assert isinstance(error, NotSent)
        assert "could not be reached" in str(error)
        assert gone.requests("POST", _ORDERS) == []
        await broker.stop()


async def test_E11_time_that_is_up_before_the_first_byte_is_not_sent(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    await broker.fetch_accounts(5.0)
    assert isinstance(await ends_as(broker, 0.0), NotSent)
    assert wire.requests("POST", _ORDERS) == []


async def test_E11_a_place_among_the_connections_that_does_not_come_free_is_not_sent(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    await broker.fetch_accounts(5.0)
    wire.say("DELETE", "/v2/orders/slow", silence)
    waiting = [asyncio.create_task(broker.cancel(NUMBER, "slow", 20.0)) for _ in range(8)]
    while len(wire.requests("DELETE", "/v2/orders/slow")) < 8:
        await asyncio.sleep(0.01)
    assert isinstance(await ends_as(broker, 0.2), NotSent)
    assert wire.requests("POST", _ORDERS) == []
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_background_reads_leave_connections_to_orders(wire: AlpacaWire, broker: AlpacaBroker) -> None:
    await broker.fetch_accounts(5.0)
    wire.say("GET", "/v2/positions", silence)
    wire.say("POST", _ORDERS, told(200, order()))
    reads = [asyncio.create_task(broker.fetch_positions(NUMBER, 20.0)) for _ in range(20)]
    while len(wire.requests("GET", "/v2/positions")) < 4:
        await asyncio.sleep(0.01)
    assert (await broker.submit(buy(), 5.0)).broker_order_id == ORDER_ID
    for task in reads:
        task.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


async def test_an_account_that_is_not_ours_is_asked_for_once_more_and_then_nothing_is_sent(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    with pytest.raises(NotSent):
        await broker.submit(buy(account_number="PA-OTHER"), 5.0)
    with pytest.raises(BrokerRejected) as caught:
        await broker.fetch_positions("PA-OTHER", 5.0)
    assert caught.value.code == "unknown_account"
    assert {one.path for one in wire.asked} == {"/v2/account"}


async def test_each_account_is_asked_with_its_own_keys(wire: AlpacaWire) -> None:
    async with serving() as second:
        second.say("GET", "/v2/account", told(200, account(account_number="PA-SECOND")))
        wire.say("GET", "/v2/positions", told(200, []))
        second.say("GET", "/v2/positions", told(200, []))
        both = AlpacaBroker(SystemClock(), [wire.keys(), second.keys(key_id="PKTESTSECOND")])
        await both.fetch_positions("PA-SECOND", 5.0)
        assert second.requests("GET", "/v2/positions")[0].headers["apca-api-key-id"] == "PKTESTSECOND"
        assert wire.requests("GET", "/v2/positions") == []
        assert {one.number for one in await both.fetch_accounts(5.0)} == {NUMBER, "PA-SECOND"}
        wire.say("GET", "/v2/account", told(401, {"message": "unauthorized."}))
        assert [one.number for one in await both.fetch_accounts(5.0)] == ["PA-SECOND"]
        await both.stop()


async def test_no_key_shows_in_what_is_told(wire: AlpacaWire, broker: AlpacaBroker) -> None:
    wire.say(
        "POST",
        _ORDERS,
        told(403, {"code": 40310000, "message": f"no, {SECRET} of {KEY_ID}\x00\n" + "x" * 999}),
    )
    error = await ends_as(broker)
    assert SECRET not in str(error)
    assert KEY_ID not in str(error)
    assert str(error).startswith("no, [hidden] of [hidden] x")
    assert str(error).isprintable()
    assert len(str(error)) <= 300
    assert SECRET not in repr(wire.keys())
