"""Alpaca's requests and their budget: who goes first, who is asked again, and that broker and feed count together (docs/adr/0026)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from paiid.brokers import ORDER_WAIT_S, BrokerError, BrokerOrder, BrokerRejected, BrokerReplace, NotSent
from paiid.brokers.alpaca import AlpacaBroker, AlpacaKeys
from paiid.brokers.alpaca.wire import Wire
from paiid.core.clock import SystemClock
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca import AlpacaDataKeys, AlpacaFeed
from paiid.wires.alpaca.wire import DEFAULT_LIMIT, data_budget, trading_budget
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governor, Governors, Priority
from tests.alpaca_wire import KEY_ID, NUMBER, ORDER_ID, SECRET, AlpacaWire, Asked, head, order, serving, told

_ORDERS = "/v2/orders"
_BY_ID = f"/v2/orders/{ORDER_ID}"
_POSITIONS = "/v2/positions"
_SNAPSHOTS = "/v2/stocks/snapshots"


@pytest.fixture
async def wire() -> AsyncIterator[AlpacaWire]:
    async with serving() as one:
        one.say("POST", _ORDERS, told(200, order()))
        one.say("GET", _BY_ID, told(200, order()))
        one.say("GET", _POSITIONS, told(200, []))
        one.say("DELETE", _BY_ID, told(204))
        yield one


@pytest.fixture
def governors() -> Governors:
    return Governors(SystemClock())


@pytest.fixture
def budget(governors: Governors) -> Governor:
    return trading_budget(governors, KEY_ID)


@pytest.fixture
async def broker(wire: AlpacaWire, governors: Governors) -> AsyncIterator[AlpacaBroker]:
    one = wire.broker(governors=governors)
    await one.fetch_accounts(5.0)
    yield one
    await one.stop()


@pytest.fixture
async def feed(wire: AlpacaWire, governors: Governors) -> AsyncIterator[AlpacaFeed]:
    keys = AlpacaDataKeys(KEY_ID, SECRET, data_url=wire.url, stream_url=wire.stream.url, trading_url=wire.url)
    one = AlpacaFeed(SystemClock(), keys, governors=governors)
    yield one
    await one.stop()


def make(**changes: object) -> BrokerOrder:
    fields: dict[str, object] = {
        "account_number": NUMBER, "client_order_id": "r1-0001", "symbol": "XYZ", "side": "buy", "qty": Decimal(10),
        "type": "limit", "time_in_force": "day", "limit_price": Decimal("65.25"),
    }  # fmt: skip
    return BrokerOrder(**(fields | changes))  # type: ignore[arg-type]


def in_s(seconds: float) -> str:
    """The reset as the header tells it."""
    return str(int(time.time() + seconds))


async def refused(broker: AlpacaBroker, order: BrokerOrder) -> NotSent:
    """An order for which there is no place."""
    with pytest.raises(NotSent) as caught:
        await broker.submit(order, 5.0)
    return caught.value


async def test_an_exit_goes_where_an_entry_does_not_and_a_cancel_where_neither_does(
    wire: AlpacaWire, broker: AlpacaBroker, budget: Governor
) -> None:
    budget.learn(left=40)
    words = str(await refused(broker, make()))
    told_s = re.fullmatch(
        r"the budget of 200 requests a minute \(alpaca trading\) is spent; try again in (\d+) s", words
    )
    assert told_s, words
    # Rounded up: what has passed since it was learned is not in it.
    assert 40 < int(told_s[1]) <= 60
    await broker.submit(make(side="sell"), 5.0)
    budget.learn(left=20)
    await refused(broker, make(side="sell"))
    await broker.cancel(NUMBER, ORDER_ID, 5.0)
    assert len(wire.requests("POST", _ORDERS)) == 1
    assert len(wire.requests("DELETE", _BY_ID)) == 1
    counts = budget.counts
    assert (counts[Priority.ENTRY].refused, counts[Priority.EXIT].refused) == (1, 1)
    assert (counts[Priority.EXIT].admitted, counts[Priority.CANCEL].admitted) == (1, 1)


async def test_a_replace_for_which_there_is_no_place_was_not_sent(
    wire: AlpacaWire, broker: AlpacaBroker, budget: Governor
) -> None:
    budget.learn(left=20)
    for change in (
        BrokerReplace("r1-0002", limit_price=Decimal(60)),
        BrokerReplace("r1-0002", qty=Decimal(5)),
    ):
        with pytest.raises(NotSent, match="try again"):
            await broker.replace(NUMBER, ORDER_ID, change, 5.0)
    assert wire.requests("PATCH", _BY_ID) == wire.requests("GET", _BY_ID) == []


async def test_an_order_waits_a_moment_for_its_place_and_no_longer(
    wire: AlpacaWire, broker: AlpacaBroker, budget: Governor
) -> None:
    budget.window.hear("another", [(60.0 - ORDER_WAIT_S / 2, DEFAULT_LIMIT)], 0)
    await broker.submit(make(), 5.0)
    assert len(wire.requests("POST", _ORDERS)) == 1
    # So much longer than an order waits that it is not over on a slow machine before the order is asked for.
    budget.window.hear("another", [(60.0 - 15 * ORDER_WAIT_S, DEFAULT_LIMIT)], 0)
    await refused(broker, make())
    assert len(wire.requests("POST", _ORDERS)) == 1


async def test_a_429_on_a_cancel_or_a_read_is_asked_again_once_there_is_a_place(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    no = told(429, {"message": "too many requests."}, x_ratelimit_reset=in_s(1), x_ratelimit_remaining="0")
    wire.say("DELETE", _BY_ID, no, told(204))
    await broker.cancel(NUMBER, ORDER_ID, 60.0)
    assert len(wire.requests("DELETE", _BY_ID)) == 2
    wire.say("GET", _BY_ID, no, told(200, order()))
    assert await broker.fetch_order_by_id(NUMBER, ORDER_ID, 60.0) is not None
    assert len(wire.requests("GET", _BY_ID)) == 2


async def test_a_429_that_outlasts_the_deadline_is_a_no_and_is_not_asked_again(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("GET", _BY_ID, told(429, None))
    wire.say("DELETE", _BY_ID, told(429, None))
    with pytest.raises(BrokerRejected) as caught:
        await broker.fetch_order_by_id(NUMBER, ORDER_ID, 5.0)
    assert caught.value.code == "rate_limited"
    with pytest.raises(NotSent, match="try again"):
        await broker.cancel(NUMBER, ORDER_ID, 0.2)
    assert len(wire.requests("GET", _BY_ID)) == 1
    assert wire.requests("DELETE", _BY_ID) == [], "it takes nothing for a minute"


async def test_E11_a_cancel_whose_time_ends_with_a_429_is_no_word_about_the_order(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    """It is neither refused nor in doubt: it stands, and is asked for again."""
    wire.say("DELETE", _BY_ID, told(429, None))
    with pytest.raises(NotSent, match="nothing was cancelled"):
        await broker.cancel(NUMBER, ORDER_ID, 2.5)
    assert len(wire.requests("DELETE", _BY_ID)) == 1


async def test_E11_a_429_on_an_order_is_a_no_and_it_is_never_sent_again(
    wire: AlpacaWire, broker: AlpacaBroker
) -> None:
    wire.say("POST", _ORDERS, told(429, None, x_ratelimit_reset=in_s(1)), told(200, order()))
    with pytest.raises(BrokerRejected) as caught:
        await broker.submit(make(), 10.0)
    assert caught.value.code == "rate_limited"
    wire.say("PATCH", _BY_ID, told(429, None, x_ratelimit_reset=in_s(1)), told(200, order()))
    with pytest.raises(BrokerError):
        await broker.replace(NUMBER, ORDER_ID, BrokerReplace("r1-0002", limit_price=Decimal(60)), 10.0)
    assert len(wire.requests("POST", _ORDERS)) == 1
    assert len(wire.requests("PATCH", _BY_ID)) <= 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_E11_what_can_make_an_order_is_not_sent_again_however_long_there_is_time(
    wire: AlpacaWire, governors: Governors, method: str
) -> None:
    one, clock = Wire(wire.keys(), governors), SystemClock()
    wire.say(method, _ORDERS, told(429, None, x_ratelimit_reset=in_s(1)), told(200, order()))
    with pytest.raises(BrokerRejected):
        await one.send(method, _ORDERS, Deadline(clock, 60.0), priority=Priority.CANCEL, body={})
    assert len(wire.requests(method, _ORDERS)) == 1
    await one.close()


async def test_broker_and_feed_pay_from_one_budget_at_the_trading_host_and_the_feed_comes_last(
    wire: AlpacaWire, broker: AlpacaBroker, feed: AlpacaFeed, budget: Governor, governors: Governors
) -> None:
    asset = {"symbol": "AAPL", "class": "us_equity", "status": "active", "tradable": True}
    wire.say("GET", "/v2/assets/AAPL", told(200, asset))
    wire.say("GET", _SNAPSHOTS, told(200, {}))
    before = budget.left
    assert await feed.fetch_instrument("AAPL") is not None
    assert broker.budget_left == budget.left == before - 1
    await feed.fetch_quotes(["AAPL"])
    assert budget.left == before - 1, "market data are another host's"
    assert data_budget(governors, KEY_ID).left == DEFAULT_LIMIT - 1
    budget.learn(left=50)
    with pytest.raises(FeedUnavailable, match="budget"):
        await feed.fetch_instrument("SPY")
    await broker.fetch_order_by_id(NUMBER, ORDER_ID, 5.0)


async def test_two_pairs_of_keys_are_two_budgets_of_which_the_least_counts(wire: AlpacaWire) -> None:
    governors = Governors(SystemClock())
    other = AlpacaKeys("paper", "PKTEST0000000000KEY2", SECRET, wire.url, wire.stream.url)
    broker = AlpacaBroker(SystemClock(), [wire.keys(), other], governors=governors)
    trading_budget(governors, other.key_id).learn(left=7)
    assert broker.budget_left == 7
    assert [one.name for one in governors.all()] == ["alpaca trading", "alpaca trading 2"]
    await broker.stop()


@pytest.mark.parametrize("value", ["", "x", "-5", "1e99", "9" * 100, "nan"])
async def test_headers_that_make_no_sense_are_ignored(
    wire: AlpacaWire, broker: AlpacaBroker, budget: Governor, value: str
) -> None:
    names = ("x_ratelimit_limit", "x_ratelimit_remaining", "x_ratelimit_reset")
    before = budget.left
    wire.say("GET", _POSITIONS, told(200, [], **dict.fromkeys(names, value)))
    await broker.fetch_positions(NUMBER, 5.0)
    assert (budget.left, budget.limit) == (before - 1, DEFAULT_LIMIT)
    wire.say("GET", _POSITIONS, told(429, [], **dict.fromkeys(names, value)))
    with pytest.raises(BrokerError):
        await broker.fetch_positions(NUMBER, 5.0)
    assert budget.left == 0


async def test_what_the_headers_tell_counts_even_where_the_body_breaks_off(
    wire: AlpacaWire, broker: AlpacaBroker, budget: Governor
) -> None:
    async def breaks_off(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, 1000, x_ratelimit_remaining="3") + b"[")
        await writer.drain()
        writer.close()

    wire.say("GET", _POSITIONS, breaks_off)
    with pytest.raises(BrokerError):
        await broker.fetch_positions(NUMBER, 5.0)
    assert budget.left == 3
