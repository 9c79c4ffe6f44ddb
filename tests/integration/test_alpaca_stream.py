"""Alpaca's update stream over real sockets: what is told, what is read again, and how it comes back (contract E18)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerError, BrokerUpdate
from paiid.brokers.alpaca import AlpacaBroker
from paiid.core.clock import SystemClock
from paiid.domain.orders import OrderStatus
from tests.alpaca_wire import (
    NUMBER,
    ORDER_ID,
    QUICK,
    SECRET,
    AlpacaWire,
    account,
    bracket,
    fill,
    order,
    serving,
    spread,
    told,
)

_CAP_S = 20.0
_ACTIVITIES = "/v2/account/activities"


class Reader:
    """Reads a broker's updates in the background."""

    def __init__(self, broker: AlpacaBroker, after: int = 0) -> None:
        self.broker = broker
        self.told: list[BrokerUpdate] = []
        self._task = asyncio.create_task(self._read(after))

    async def _read(self, after: int) -> None:
        async for update in self.broker.updates(after):
            self.told.append(update)

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(_CAP_S):
            while not what():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    async def count(self, many: int) -> list[BrokerUpdate]:
        await self.until(lambda: len(self.told) >= many)
        return self.told

    @property
    def resyncs(self) -> int:
        return sum(one.resync is not None for one in self.told)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, BrokerError):
            await self._task


@pytest.fixture
async def wire() -> AsyncIterator[AlpacaWire]:
    async with serving() as one:
        yield one


@pytest.fixture
async def reader(wire: AlpacaWire) -> AsyncIterator[Reader]:
    broker = wire.broker()
    one = Reader(broker)
    yield one
    await one.stop()
    await broker.stop()


def event(kind: str, told_order: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "event": kind, "execution_id": "2f63ea93-423d-4169-b3f6-3fdafc10c418", "timestamp": "2026-10-08T14:45:10.13Z",
        "order": told_order,
    } | changes  # fmt: skip


def partly(filled: str, qty: str, kind: str = "partial_fill") -> dict[str, Any]:
    status = "filled" if kind == "fill" else "partially_filled"
    return event(
        kind, order(status=status, filled_qty=filled, filled_avg_price="65.2"), qty=qty, price="65.2"
    )


def names(updates: list[BrokerUpdate]) -> list[str]:
    return [one.execution.execution_id for one in updates if one.execution is not None]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("form", ["documented", "current"])
async def test_a_stream_begins_with_a_resync_and_tells_updates_in_either_form_and_frame(
    wire: AlpacaWire, reader: Reader, binary: bool, form: str
) -> None:
    wire.stream.binary, wire.stream.form = binary, form
    await reader.count(1)
    assert reader.told[0].resync == NUMBER
    await wire.stream.tell(event("new", order(status="new")))
    await wire.stream.tell(partly("4", "4"))
    await wire.stream.tell(partly("10.0", "6", "fill"))
    updates = await reader.count(4)
    assert [one.order and one.order.status for one in updates] == [
        None,
        OrderStatus.NEW,
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.FILLED,
    ]
    assert names(updates) == [f"{ORDER_ID}:4", f"{ORDER_ID}:10"]
    prints = [one.execution for one in updates if one.execution is not None]
    assert [(one.qty, one.price, one.side) for one in prints] == [
        (Decimal(4), Decimal("65.2"), "buy"),
        (Decimal(6), Decimal("65.2"), "buy"),
    ]
    cursors = [one.cursor for one in updates]
    assert cursors == sorted(set(cursors))
    (state,) = reader.broker.stream_state
    assert (state.connected, state.account_number, state.problem) == (True, NUMBER, None)
    assert state.last_event_us is not None
    assert not any(one.path == "/v2/orders" for one in wire.asked)


async def test_the_form_that_worked_is_tried_first_the_next_time(wire: AlpacaWire, reader: Reader) -> None:
    wire.stream.form = "current"
    await reader.count(1)
    wire.stream.drop()
    await reader.until(lambda: reader.resyncs == 2)
    assert [one["action"] for one in wire.stream.messages] == [
        "authenticate",
        "auth",
        "listen",
        "auth",
        "listen",
    ]


async def test_nothing_is_told_before_the_server_listens(wire: AlpacaWire, reader: Reader) -> None:
    wire.stream.hold_listening.clear()
    await reader.until(lambda: any(one["action"] == "listen" for one in wire.stream.messages))
    await asyncio.sleep(0.1)
    assert reader.told == []
    assert not reader.broker.stream_state[0].connected
    wire.stream.hold_listening.set()
    assert (await reader.count(1))[0].resync == NUMBER


async def test_an_answer_without_trade_updates_is_no_beginning(wire: AlpacaWire, reader: Reader) -> None:
    wire.stream.streams = []
    await reader.until(lambda: wire.stream.opened >= 2)
    assert reader.told == []
    assert "no trade updates" in str(reader.broker.stream_state[0].problem)
    wire.stream.streams = ["trade_updates"]
    await reader.count(1)


@pytest.mark.parametrize("end", ["drop", "fall_silent"])
async def test_E18_every_new_connection_says_that_something_may_be_missing(
    wire: AlpacaWire, end: str
) -> None:
    broker = wire.broker(timings=replace(QUICK, silence_s=1.0) if end == "fall_silent" else QUICK)
    reader = Reader(broker)
    await reader.count(1)
    getattr(wire.stream, end)()
    await reader.until(lambda: reader.resyncs == 2)
    await wire.stream.tell(event("new", order(status="new")))
    await reader.until(lambda: reader.told[-1].order is not None)
    assert [one.resync for one in reader.told[:2]] == [NUMBER, NUMBER]
    assert wire.stream.opened == 2
    await reader.stop()
    await broker.stop()


async def test_wrong_keys_are_told_and_tried_again_later(
    wire: AlpacaWire, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.stream.good_keys = False
    await reader.until(lambda: wire.stream.opened >= 2)
    await reader.until(lambda: "does not accept the keys" in str(reader.broker.stream_state[0].problem))
    assert [one["action"] for one in wire.stream.messages[:2]] == ["authenticate", "auth"]
    wire.stream.good_keys = True
    await reader.count(1)
    assert reader.broker.stream_state[0].problem is None
    shown = "".join(capsys.readouterr())
    assert "does not accept the keys" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("status", [429, 401, 500, 503])
async def test_a_handshake_that_is_refused_is_tried_again(
    wire: AlpacaWire, reader: Reader, status: int
) -> None:
    wire.stream.refuse_with.extend([(status, {})] * 3)
    await reader.count(1)
    assert wire.stream.opened == 1


async def test_the_stream_follows_no_redirect_with_the_keys(wire: AlpacaWire, reader: Reader) -> None:
    async with serving() as elsewhere:
        wire.stream.refuse_with.append((302, {"Location": elsewhere.stream.url}))
        await reader.count(1)
        assert elsewhere.stream.opened == 0


async def test_an_account_that_cannot_be_learned_is_asked_again(wire: AlpacaWire) -> None:
    wire.say("GET", "/v2/account", told(500), told(401, {"message": "unauthorized."}), told(200, account()))
    broker = wire.broker()
    reader = Reader(broker)
    assert (await reader.count(1))[0].resync == NUMBER
    await reader.stop()
    await broker.stop()


async def test_E18_a_print_told_twice_or_out_of_order_keeps_its_name(
    wire: AlpacaWire, reader: Reader
) -> None:
    await reader.count(1)
    for one in (partly("4", "4"), partly("4", "4"), partly("10", "6", "fill"), partly("4", "4")):
        await wire.stream.tell(one)
    assert names(await reader.count(5)) == [f"{ORDER_ID}:{at}" for at in (4, 4, 10, 4)]


async def test_E18_a_print_that_does_not_follow_on_a_known_one_is_read_again(
    wire: AlpacaWire, reader: Reader
) -> None:
    """Were `filled_qty` told as it is now, both prints of an order would get one name."""
    wire.say(
        "GET",
        f"/v2/orders/{ORDER_ID}",
        told(200, order(status="filled", filled_qty="10", filled_avg_price="65.2")),
    )
    first, second = fill(id="f-1"), fill(id="f-2", qty="6", cum_qty="10", type="fill")
    wire.say("GET", _ACTIVITIES, told(200, [first]), told(200, [first, second]))
    await reader.count(1)
    await wire.stream.tell(partly("10", "6", "fill"))
    updates = await reader.count(3)
    assert names(updates) == [f"{ORDER_ID}:4", f"{ORDER_ID}:10"]
    # The first list was shorter than what the order told, so it was asked again.
    assert len(wire.requests("GET", _ACTIVITIES)) == 2
    assert wire.requests("GET", _ACTIVITIES)[0].query["order_id"] == ORDER_ID


async def test_an_event_that_nobody_knows_has_its_order_read_again(wire: AlpacaWire, reader: Reader) -> None:
    wire.say("GET", f"/v2/orders/{ORDER_ID}", told(200, order(status="canceled")))
    await reader.count(1)
    await wire.stream.tell(event("teleported", order()))
    await wire.stream.tell(event("new", {"id": ORDER_ID}))
    updates = await reader.count(2)
    assert updates[1].order is not None
    assert updates[1].order.status is OrderStatus.CANCELED


@pytest.mark.parametrize(
    "data",
    [
        event("trade_bust", order()),
        event("trade_correct", order()),
        event("fill", {}),
        event("fill", {"id": None}),
        {"event": "fill"},
        {},
        None,
        [],
        7,
    ],
)
async def test_what_is_taken_back_or_says_nothing_asks_for_a_resync(
    wire: AlpacaWire, reader: Reader, data: Any
) -> None:
    await reader.count(1)
    await wire.stream.tell(data)
    await reader.until(lambda: reader.resyncs == 2)
    assert wire.stream.opened == 1


async def test_a_frame_that_is_no_json_asks_for_a_resync(wire: AlpacaWire, reader: Reader) -> None:
    await reader.count(1)
    await wire.stream.send("{half")
    await wire.stream.send({"stream": "something else"})
    await wire.stream.send(["x", 1, {"stream": "trade_updates", "data": event("new", order(status="new"))}])
    updates = await reader.count(3)
    assert updates[1].resync == NUMBER
    assert updates[2].order is not None


async def test_an_order_that_cannot_be_read_again_ends_in_a_resync(wire: AlpacaWire, reader: Reader) -> None:
    wire.say("GET", f"/v2/orders/{ORDER_ID}", told(500))
    await reader.count(1)
    await wire.stream.tell(event("teleported", order()))
    await reader.until(lambda: reader.resyncs == 2)
    assert len(wire.requests("GET", f"/v2/orders/{ORDER_ID}")) == 5


async def test_an_exit_is_never_told_as_an_order_of_its_own(wire: AlpacaWire, reader: Reader) -> None:
    nested = bracket(status="filled", filled_qty="10", filled_avg_price="65.25")
    profit = nested["legs"][0]
    wire.say("GET", "/v2/orders/tp-1", told(200, profit | {"status": "new"}))
    wire.say("GET", "/v2/orders", told(200, [order(id="other"), nested]))
    wire.say("GET", f"/v2/orders/{ORDER_ID}", told(200, nested))
    wire.say("GET", _ACTIVITIES, told(200, [fill(qty="10", cum_qty="10", type="fill")]))
    await reader.count(1)
    await wire.stream.tell(event("new", profit | {"status": "new"}))
    updates = await reader.count(4)
    views = [one.order for one in updates[1:]]
    assert [(one and one.broker_order_id, one and one.parent_broker_order_id) for one in views] == [
        (ORDER_ID, None),
        ("tp-1", ORDER_ID),
        ("sl-1", ORDER_ID),
    ]
    assert names(updates) == [f"{ORDER_ID}:10"]
    asked = len(wire.asked)
    # From now on the family is known: nothing has to be asked.
    await wire.stream.tell(event("canceled", nested["legs"][1] | {"status": "canceled"}))
    await wire.stream.tell(
        event("fill", profit | {"status": "filled", "filled_qty": "10"}, qty="10", price="70")
    )
    await wire.stream.tell(event("new", bracket(status="new", legs=None)))
    loss, gain, entry = [one.order for one in (await reader.count(7))[4:]]
    assert loss is not None
    assert (loss.parent_broker_order_id, loss.group_role, loss.status) == (
        ORDER_ID,
        "stop_loss",
        OrderStatus.CANCELED,
    )
    assert gain is not None
    assert (gain.parent_broker_order_id, gain.group_role) == (ORDER_ID, "take_profit")
    assert entry is not None
    assert [leg.status for leg in entry.legs] == [OrderStatus.FILLED, OrderStatus.CANCELED]
    assert len(wire.asked) == asked


async def test_an_exit_whose_parent_is_nowhere_asks_for_a_resync(wire: AlpacaWire, reader: Reader) -> None:
    profit = bracket()["legs"][0]
    wire.say("GET", "/v2/orders/tp-1", told(200, profit))
    wire.say("GET", "/v2/orders", told(200, []))
    await reader.count(1)
    await wire.stream.tell(event("new", profit))
    await reader.until(lambda: reader.resyncs == 2)
    assert all(one.order is None for one in reader.told)


async def test_a_spreads_prints_are_those_of_its_legs(
    wire: AlpacaWire, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = spread(status="filled", filled_qty="2", filled_avg_price="-0.85")
    prints = {}
    for leg, price in zip(nested["legs"], ("3.10", "2.25"), strict=True):
        leg |= {"status": "filled", "filled_qty": "2", "filled_avg_price": price}
        prints[leg["id"]] = fill(
            id=f"f-{leg['id']}",
            order_id=leg["id"],
            symbol=leg["symbol"],
            side=leg["side"],
            qty="2",
            cum_qty="2",
            price=price,
        )
    wire.say("GET", f"/v2/orders/{ORDER_ID}", told(200, nested))
    wire.say("GET", _ACTIVITIES, *(told(200, [one]) for one in prints.values()))
    await reader.count(1)
    await wire.stream.tell(
        event("fill", spread(status="filled", filled_qty="2", legs=None), qty="2", price="-0.85")
    )
    updates = await reader.count(4)
    assert [
        (one.order and one.order.broker_order_id, one.execution and one.execution.price)
        for one in updates[1:]
    ] == [
        (ORDER_ID, None),
        ("leg-1", Decimal("3.10")),
        ("leg-2", Decimal("2.25")),
    ]
    assert names(updates) == ["leg-1:2", "leg-2:2"]
    assert "alpaca_order_unusable" not in "".join(capsys.readouterr())


async def test_a_leg_that_is_told_alone_is_told_with_its_spread(wire: AlpacaWire, reader: Reader) -> None:
    leg = spread()["legs"][1]
    wire.say("GET", "/v2/orders/leg-2", told(200, leg))
    wire.say("GET", "/v2/orders", told(200, [order(id="other"), spread()]))
    wire.say("GET", f"/v2/orders/{ORDER_ID}", told(200, spread()))
    await reader.count(1)
    await wire.stream.tell(event("new", leg))
    views = [one.order for one in (await reader.count(4))[1:]]
    assert [(one and one.broker_order_id, one and one.parent_broker_order_id) for one in views] == [
        (ORDER_ID, None),
        ("leg-1", ORDER_ID),
        ("leg-2", ORDER_ID),
    ]
    # A spread has no symbol: by its leg's it would not be found.
    assert "symbols" not in wire.requests("GET", "/v2/orders")[0].query


@pytest.mark.parametrize(
    ("status", "least", "most"),
    [
        (503, (1, 1, 2, 4, 8, 15, 15), (1, 2, 4, 8, 16, 30, 30)),
        (429, (5,) * 3, (5,) * 3),
        (401, (30,) * 3, (30,) * 3),
    ],
)
async def test_pauses_grow_by_chance_to_half_a_minute(
    wire: AlpacaWire, status: int, least: tuple[int, ...], most: tuple[int, ...]
) -> None:
    pauses: list[float] = []

    class Noting(SystemClock):
        async def sleep(self, seconds: float) -> None:
            pauses.append(seconds)
            await asyncio.sleep(0)

    wire.stream.refuse_with.extend([(status, {})] * 100)
    broker = AlpacaBroker(Noting(), [wire.keys()])
    reader = Reader(broker)
    await reader.until(lambda: len(pauses) >= len(least))
    await reader.stop()
    await broker.stop()
    for pause, low, high in zip(pauses, least, most, strict=False):
        assert low <= pause <= high
    if status == 503:
        assert any(pause < high for pause, high in zip(pauses, most, strict=False))


async def test_two_accounts_are_one_stream_and_one_that_fails_does_not_hold_up_the_other(
    wire: AlpacaWire,
) -> None:
    async with serving() as second:
        second.say("GET", "/v2/account", told(200, account(account_number="PA-SECOND")))
        second.stream.good_keys = False
        broker = AlpacaBroker(SystemClock(), [wire.keys(), second.keys()], timings=QUICK)
        reader = Reader(broker, after=9_000_000_000_000_000)
        await reader.count(1)
        await wire.stream.tell(event("new", order(status="new")))
        await reader.count(2)
        second.stream.good_keys = True
        updates = await reader.count(3)
        assert [one.resync for one in updates] == [NUMBER, None, "PA-SECOND"]
        assert all(one.cursor > 9_000_000_000_000_000 for one in updates)
        assert [one.account_number for one in broker.stream_state] == [NUMBER, "PA-SECOND"]
        await reader.stop()
        await broker.stop()


async def test_a_slow_reader_makes_the_server_wait_and_loses_nothing(wire: AlpacaWire) -> None:
    broker = wire.broker(timings=replace(QUICK, ping_s=15.0, silence_s=30.0))
    updates = broker.updates(0)
    assert (await anext(updates)).resync == NUMBER
    total = 3_000

    async def flood() -> None:
        for at in range(total):
            await wire.stream.tell(event("new", order(id=f"o-{at}", status="new")))

    flooding = asyncio.create_task(flood())
    await asyncio.sleep(0.2)
    async with asyncio.timeout(_CAP_S):
        seen = [(await anext(updates)).order for _ in range(total)]
    assert [one and one.broker_order_id for one in seen] == [f"o-{at}" for at in range(total)]
    await flooding
    await updates.aclose()  # type: ignore[attr-defined]
    await broker.stop()


async def test_E18_two_readers_are_each_told_what_had_to_be_read_again(wire: AlpacaWire) -> None:
    wire.say("GET", f"/v2/orders/{ORDER_ID}", told(200, order(status="new")))
    broker = wire.broker()
    readers = [Reader(broker), Reader(broker)]
    for round_ in range(5):
        for one in readers:
            await one.count(1 + round_)
        await wire.stream.tell(event("teleported", order()))
    for one in readers:
        await one.count(6)
        assert one.resyncs == 1
        await one.stop()
    await broker.stop()


async def test_stopping_closes_the_connection_and_tells_the_reader(wire: AlpacaWire) -> None:
    broker = wire.broker()
    await broker.start()
    reader = Reader(broker)
    await reader.count(1)
    await broker.stop()
    async with asyncio.timeout(_CAP_S):
        while wire.stream.open:
            await asyncio.sleep(0.01)
    with pytest.raises(BrokerError):
        await reader.until(lambda: False)
    assert not broker.stream_state[0].connected


async def test_a_reader_that_leaves_closes_the_connection(wire: AlpacaWire, reader: Reader) -> None:
    await reader.count(1)
    assert len(wire.stream.open) == 1
    await reader.stop()
    async with asyncio.timeout(_CAP_S):
        while wire.stream.open:
            await asyncio.sleep(0.01)
