"""The hub step by step, with a clock and sinks in the test's hand."""

import asyncio
import json

import pytest

from paiid.stream.delivery import BEHIND_BYTES, MOST_UNSENT
from paiid.stream.events import Event, Place
from paiid.stream.hub import BEHIND_S, HEARTBEAT_S, TOO_SLOW, Hub, Subscriber
from tests.fake_clock import FakeClock
from tests.stream_world import FakeProvider, FakeSink


class World:
    """A hub that is flushed by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = Hub(self.clock)
        self.quotes = FakeProvider("value", "quotes")
        self.accounts = FakeProvider("log", "account")
        self.hub.register("quotes", self.quotes)
        self.hub.register("account", self.accounts)

    async def client(self, *channels: str, sink: FakeSink | None = None) -> tuple[FakeSink, Subscriber]:
        sink = sink or FakeSink()
        subscriber = self.hub.attach(sink)
        for channel in channels:
            await self.hub.subscribe(subscriber, channel, None)
        self.flush()
        return sink, subscriber

    def flush(self) -> None:
        self.hub.flush()
        self.hub.flush()

    def put(self, name: str, count: int = 1, **data: object) -> None:
        for _ in range(count):
            self.hub.put(self.quotes.event(name, **data))

    def append(self, name: str, count: int = 1, **data: object) -> None:
        self.hub.append([self.accounts.event(name, **data) for _ in range(count)])

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.hub.sweep()


@pytest.fixture
def world() -> World:
    return World()


async def test_S4_a_value_is_conflated_and_tells_how_many_it_stands_for(world: World) -> None:
    sink, _ = await world.client("quotes:A")
    world.put("A", 3)
    world.flush()
    world.put("A")
    world.flush()
    told = sink.told("quotes:A")
    assert [(one["sequence"], one["merged"], one["data"]["n"]) for one in told] == [(3, 2, 3), (4, 0, 4)]


async def test_S1_a_log_is_told_whole_and_in_order(world: World) -> None:
    sink, _ = await world.client("account:a")
    world.append("a", 3)
    world.append("a", 2)
    world.flush()
    assert [one["sequence"] for one in sink.told("account:a")] == [1, 2, 3, 4, 5]
    assert "merged" not in sink.messages[0]


async def test_those_who_want_the_same_get_the_same_bytes_in_one_write(world: World) -> None:
    sinks = [(await world.client("quotes:A", "quotes:B"))[0] for _ in range(3)]
    before = [sink.writes for sink in sinks]
    world.put("A")
    world.put("B")
    world.flush()
    assert [sink.writes - number for sink, number in zip(sinks, before, strict=True)] == [1, 1, 1]
    assert sinks[0].taken == sinks[1].taken == sinks[2].taken


async def test_S4_a_slow_client_gets_fewer_values_but_the_newest_and_keeps_nobody_waiting(
    world: World,
) -> None:
    slow, _ = await world.client("quotes:A", "quotes:B")
    quick, _ = await world.client("quotes:A", "quotes:B")
    slow.stalled = True
    for _ in range(20):
        world.put("A", pad="x" * 20_000)
        world.put("B", pad="x" * 20_000)
        world.flush()
    assert slow.unsent() < BEHIND_BYTES + 50_000, "bounded by what there is, not by how often"
    assert [one["sequence"] for one in quick.told("quotes:A")] == list(range(1, 21))
    slow.stalled = False
    slow.read()
    world.flush()
    for channel in ("quotes:A", "quotes:B"):
        told = slow.told(channel)
        assert told[-1]["sequence"] == 20
        assert sum(1 + one["merged"] for one in told) == 20
        assert len(told) < 6


async def test_S4_a_slow_client_is_up_to_date_again_once_he_has_read(world: World) -> None:
    slow, subscriber = await world.client("quotes:A")
    slow.stalled = True
    for _ in range(5):
        world.put("A", pad="x" * 40_000)
        world.flush()
    assert subscriber.group is None
    slow.stalled = False
    slow.read()
    world.flush()
    assert subscriber.group is not None


async def test_S4_account_events_are_never_left_out_for_who_is_slow(world: World) -> None:
    slow, _ = await world.client("quotes:A", "account:a")
    slow.stalled = True
    for _ in range(8):
        world.put("A", pad="x" * 40_000)
        world.append("a")
        world.flush()
    slow.stalled = False
    slow.read()
    assert [one["sequence"] for one in slow.told("account:a")] == list(range(1, 9))


async def test_S4_account_events_beyond_the_bound_close_the_client(world: World) -> None:
    slow, _ = await world.client("account:a")
    slow.stalled = True
    for _ in range(40):
        world.append("a", pad="x" * 20_000)
        world.flush()
    assert slow.closed == (TOO_SLOW, "too slow")
    assert slow.unsent() < MOST_UNSENT + 25_000
    assert world.accounts.closed == ["a"]


@pytest.mark.parametrize("unsent", [100, 200_000])
async def test_S4_a_client_five_seconds_behind_is_closed_with_4408(world: World, unsent: int) -> None:
    slow, _ = await world.client("quotes:A")
    slow.stalled = True
    world.put("A", pad="x" * unsent)
    world.flush()
    world.after(0.25)
    world.after(BEHIND_S - 0.5)
    assert slow.closed is None
    world.after(0.6)
    assert slow.closed == (4408, "too slow")


async def test_S4_a_client_who_reads_slowly_but_reads_stays(world: World) -> None:
    slow, _ = await world.client("quotes:A")
    slow.stalled = True
    for _ in range(60):
        world.put("A", pad="x" * 20_000)
        world.flush()
        world.after(0.5)
        slow.read(15_000)
    assert slow.closed is None
    for _ in range(11):
        world.after(0.5)
    assert slow.closed is not None, "until he stops"


async def test_S2_what_happens_during_a_catch_up_is_neither_lost_nor_doubled(world: World) -> None:
    await world.client("account:a")
    world.append("a", 2)
    gate = asyncio.Event()
    world.accounts.before_answer = gate.wait
    sink = FakeSink()
    subscriber = world.hub.attach(sink)
    joining = asyncio.create_task(world.hub.subscribe(subscriber, "account:a", Place(1, 0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.append("a", 2)
    world.flush()
    world.append("a")
    gate.set()
    assert await joining == Place(1, 2)
    world.append("a")
    world.flush()
    assert [one["sequence"] for one in sink.told("account:a")] == [1, 2, 3, 4, 5, 6]


async def test_S2_a_place_that_cannot_be_resumed_is_an_explicit_reset_with_the_state(world: World) -> None:
    world.append("a", 2)
    sink = FakeSink()
    subscriber = world.hub.attach(sink)
    await world.hub.subscribe(subscriber, "account:a", Place(1, 99))
    (reset,) = sink.messages
    assert (reset["type"], reset["epoch"], reset["sequence"], reset["data"]) == (
        "reset",
        1,
        2,
        {"state": True},
    )
    assert reset["reason"] == "epoch"


async def test_S2_a_long_absence_is_told_in_portions_that_are_read(world: World) -> None:
    world.append("a", 1500, pad="x" * 1000)
    sink = FakeSink()
    subscriber = world.hub.attach(sink)
    sink.stalled = True
    joining = asyncio.create_task(world.hub.subscribe(subscriber, "account:a", Place(1, 0)))
    most = 0
    while not joining.done():
        await asyncio.sleep(0)
        most = max(most, sink.unsent())
        sink.read(50_000)
    world.flush()
    sink.read()
    assert sink.closed is None
    assert most < MOST_UNSENT
    assert [one["sequence"] for one in sink.told("account:a")] == list(range(1, 1501))


async def test_S6_a_new_epoch_is_one_reset_for_a_whole_prefix(world: World) -> None:
    sink, _ = await world.client("quotes:A", "quotes:B")
    world.put("A", 5)
    world.flush()
    for name in ("A", "B"):
        world.quotes.epochs[name] = 7
        world.quotes.logs[name] = []
    world.hub.reset("quotes", Place(7, 0), "leader")
    world.put("A", 2)
    world.flush()
    reset, event = sink.messages[-2:]
    assert (reset["type"], reset["channel"], reset["epoch"], reset["reason"]) == (
        "reset",
        "quotes:*",
        7,
        "leader",
    )
    assert (event["epoch"], event["sequence"]) == (7, 2)


async def test_S6_quotes_of_another_epoch_are_never_told_as_a_continuation(world: World) -> None:
    sink, _ = await world.client("quotes:A")
    world.put("A")
    world.flush()
    world.hub.put(Event("quotes:A", "market_data", 9, 4, 0, "test", b"{}"))
    world.flush()
    assert [one["type"] for one in sink.messages[-2:]] == ["reset", "market_data"]


async def test_a_log_with_a_hole_says_so(world: World) -> None:
    sink, _ = await world.client("account:a")
    world.append("a")
    world.accounts.event("a")
    world.append("a")
    world.flush()
    assert [(one["type"], one["sequence"]) for one in sink.messages] == [
        ("order_update", 1),
        ("reset", 2),
        ("order_update", 3),
    ]


async def test_what_is_old_is_not_told_again(world: World) -> None:
    sink, _ = await world.client("quotes:A", "account:a")
    first, log = world.quotes.event("A"), [world.accounts.event("a")]
    world.hub.put(first)
    world.hub.append(log)
    world.flush()
    world.hub.put(first)
    world.hub.append(log)
    world.flush()
    assert len(sink.messages) == 2


async def test_S3_a_heartbeat_tells_the_last_place_of_each_channel(world: World) -> None:
    sink, _ = await world.client("quotes:A", "account:a")
    world.put("A", 2)
    world.append("a", 3)
    world.flush()
    world.after(HEARTBEAT_S - 1)
    assert sink.messages[-1]["type"] != "heartbeat"
    world.after(1.5)
    assert sink.messages[-1]["type"] == "heartbeat"
    assert sink.messages[-1]["channels"] == {"quotes:A": [1, 2], "account:a": [1, 3]}
    world.after(HEARTBEAT_S)
    assert [one["type"] for one in sink.messages[-2:]] == ["heartbeat", "heartbeat"]


async def test_a_channel_is_open_while_somebody_has_it(world: World) -> None:
    _, first = await world.client("quotes:A")
    _, second = await world.client("quotes:A")
    assert world.quotes.opened == ["A"]
    world.hub.unsubscribe(first, "quotes:A")
    assert world.quotes.closed == []
    world.hub.detach(second)
    world.hub.detach(second)
    assert world.quotes.closed == ["A"]


async def test_who_leaves_while_a_channel_opens_leaves_nothing_behind(world: World) -> None:
    gate = asyncio.Event()

    async def slow_open(name: str) -> None:
        await gate.wait()
        world.quotes.opened.append(name)

    world.quotes.open = slow_open  # type: ignore[method-assign]
    subscriber = world.hub.attach(FakeSink())
    joining = asyncio.create_task(world.hub.subscribe(subscriber, "quotes:A", None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    world.hub.detach(subscriber)
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (world.quotes.opened, world.quotes.closed) == (["A"], ["A"])


async def test_a_channel_taken_away_during_its_catch_up_stays_away(world: World) -> None:
    gate = asyncio.Event()
    world.quotes.before_answer = gate.wait
    sink = FakeSink()
    subscriber = world.hub.attach(sink)
    joining = asyncio.create_task(world.hub.subscribe(subscriber, "quotes:A", None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    world.hub.unsubscribe(subscriber, "quotes:A")
    gate.set()
    await joining
    world.put("A")
    world.flush()
    assert sink.messages == []
    assert world.quotes.closed == ["A"]


async def test_nobody_provides_an_unknown_channel(world: World) -> None:
    with pytest.raises(KeyError):
        await world.hub.subscribe(world.hub.attach(FakeSink()), "weather:A", None)


async def test_a_provider_that_fails_is_asked_again_by_the_next(world: World) -> None:
    async def broken() -> None:
        raise RuntimeError("away")

    world.quotes.before_answer = broken
    subscriber = world.hub.attach(FakeSink())
    with pytest.raises(RuntimeError):
        await world.hub.subscribe(subscriber, "quotes:A", None)
    assert world.quotes.closed == ["A"]
    world.quotes.before_answer = None
    await world.hub.subscribe(subscriber, "quotes:A", None)
    assert subscriber.channels == {"quotes:A"}


async def test_the_started_hub_flushes_by_itself_and_its_stop_says_when_to_come_again(world: World) -> None:
    sink, subscriber = await world.client("quotes:A")
    await world.hub.start()
    world.put("A")
    async with asyncio.timeout(2):
        while not sink.told("quotes:A"):
            await asyncio.sleep(0.001)
    world.hub.tell(subscriber, b'{"type":"pong"}')
    await world.hub.stop()
    assert [one["type"] for one in sink.messages] == ["market_data", "pong", "draining"]
    assert 500 <= sink.messages[-1]["reconnect_after_ms"] <= 3000
    assert sink.closed == (1012, "restarting")
    assert json.loads(json.dumps(sink.messages))


async def test_S6_what_is_subscribed_after_a_change_of_epoch_is_not_taken_back_by_it(world: World) -> None:
    sink, subscriber = await world.client("quotes:A")
    for name in ("A", "B"):
        world.quotes.epochs[name] = 7
    world.hub.reset("quotes", Place(7, 0), "leader")
    world.quotes.event("B")
    await world.hub.subscribe(subscriber, "quotes:B", None)
    world.flush()
    assert [one["channel"] for one in sink.messages] == ["quotes:*", "quotes:B"]
