"""Whatever happens, each client's story of each channel is contiguous or explicitly reset, and ends with the newest."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid.stream.events import Place
from paiid.stream.hub import Hub
from paiid.stream.subscriber import Subscriber
from tests.fake_clock import FakeClock
from tests.stream_world import FakeProvider, FakeSink, Reader, messages_of

NAMES = ("A", "B", "C")
PREFIXES = ("quotes", "account")
STYLES: tuple[Literal["frames", "batches", "sse"], ...] = ("frames", "batches", "sse", "frames")
PAD = "x" * 30_000
"""Three of these unread make a client slow."""


class Recorder(FakeSink):
    """A sink that keeps its story: what was written, and what the test did meanwhile."""

    def __init__(self, style: Literal["frames", "batches", "sse"]) -> None:
        super().__init__(style)
        self.story: list[Any] = []

    def write(self, data: bytes) -> None:
        self.story.extend(messages_of(self.style, data))
        super().write(data)


@dataclass
class Player:
    """One client."""

    sink: Recorder
    subscriber: Subscriber
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


STEP = st.one_of(
    st.tuples(
        st.just("event"), st.sampled_from(PREFIXES), st.sampled_from(NAMES), st.integers(1, 3), st.booleans()
    ),
    st.tuples(st.just("flush")),
    st.tuples(st.just("stall"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("read"), st.integers(0, 3), st.integers(1, 50_000)),
    st.tuples(
        st.just("subscribe"),
        st.integers(0, 3),
        st.sampled_from(PREFIXES),
        st.sampled_from(NAMES),
        st.sampled_from(["new", "resume", "forged"]),
    ),
    st.tuples(st.just("unsubscribe"), st.integers(0, 3), st.sampled_from(PREFIXES), st.sampled_from(NAMES)),
    st.tuples(st.just("epoch"), st.sampled_from(PREFIXES), st.sampled_from(NAMES), st.booleans()),
    st.tuples(st.just("epochs")),
    st.tuples(st.just("hold"), st.booleans()),
    st.tuples(st.just("time"), st.sampled_from([0.3, 1.0, 16.0])),
)


class Play:
    """A hub with a provider of values and one of logs, and four clients."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = Hub(self.clock)
        self.providers = {
            "quotes": FakeProvider("value", "quotes"),
            "account": FakeProvider("log", "account"),
        }
        self.gate = asyncio.Event()
        self.gate.set()
        for prefix, provider in self.providers.items():
            provider.before_answer = self.gate.wait
            self.hub.register(prefix, provider)
        self.players = []
        for style in STYLES:
            sink = Recorder(style)
            self.players.append(Player(sink, self.hub.attach(sink)))

    async def step(self, step: tuple[Any, ...]) -> None:
        name, *rest = step
        await getattr(self, name)(*rest)
        # Long enough for a subscription that is not held to be through.
        for _ in range(6):
            await asyncio.sleep(0)

    async def event(self, prefix: str, name: str, count: int, big: bool) -> None:
        events = [self.providers[prefix].event(name, pad=PAD if big else "") for _ in range(count)]
        if prefix == "account":
            self.hub.append(events)
        else:
            for event in events:
                self.hub.put(event)

    async def flush(self) -> None:
        self.hub.flush()

    async def stall(self, who: int, stalled: bool) -> None:
        sink = self.players[who].sink
        sink.stalled = stalled
        if not stalled:
            sink.read()

    async def read(self, who: int, count: int) -> None:
        self.players[who].sink.read(count)

    async def subscribe(self, who: int, prefix: str, name: str, how: str) -> None:
        player = self.players[who]
        player.tasks.append(asyncio.create_task(self._subscribe(player, f"{prefix}:{name}", how)))

    async def _subscribe(self, player: Player, channel: str, how: str) -> None:
        if player.subscriber.gone or channel in player.subscriber.channels | player.subscriber.joining:
            return
        since = None
        if how != "new":
            prefix, _, name = channel.partition(":")
            provider = self.providers[prefix]
            known = len(provider.logs.get(name, []))
            since = Place(provider.epochs.get(name, 1), known // 2 if how == "resume" else 10**12)
        player.sink.story.append(("from", channel, since))
        place = await self.hub.subscribe(player.subscriber, channel, since)
        if channel in player.subscriber.channels:
            player.sink.story.append(("subscribed", channel, place))

    async def unsubscribe(self, who: int, prefix: str, name: str) -> None:
        player = self.players[who]
        self.hub.unsubscribe(player.subscriber, f"{prefix}:{name}")
        player.sink.story.append(("unsubscribed", f"{prefix}:{name}"))

    async def epoch(self, prefix: str, name: str, known: bool) -> None:
        place = self.providers[prefix].begin(name)
        self.hub.reset(prefix, place if known else None, "test", b"{}" if known else None, name)

    async def epochs(self) -> None:
        provider = self.providers["quotes"]
        highest = max([*provider.epochs.values(), 1]) + 1
        for name in NAMES:
            provider.epochs[name] = highest - 1
            provider.begin(name)
        self.hub.reset("quotes", Place(highest, 0), "leader")

    async def hold(self, held: bool) -> None:
        if held:
            self.gate.clear()
        else:
            self.gate.set()

    async def time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.hub.sweep()

    async def finish(self) -> None:
        self.gate.set()
        for player in self.players:
            player.sink.stalled = False
            player.sink.read()
        for _ in range(4):
            for _ in range(20):
                await asyncio.sleep(0)
            self.hub.flush()
        for player in self.players:
            await asyncio.gather(*player.tasks)
        self.hub.flush()
        self.hub.flush()


def check(play: Play, player: Player) -> None:
    """Read the story again, as the client would."""
    reader = Reader()
    for word in player.sink.story:
        if isinstance(word, dict):
            reader.take(word)
        elif word[0] == "from":
            if word[2] is not None and word[2].sequence < 10**12:
                reader.subscribed(word[1], word[2])
        elif word[0] == "subscribed":
            reader.subscribed(word[1], word[2])
        else:
            reader.unsubscribed(word[1])
    if player.sink.closed:
        return
    for channel in player.subscriber.channels:
        prefix, _, name = channel.partition(":")
        provider = play.providers[prefix]
        log = provider.logs.get(name, [])
        epoch, sequence = reader.places[channel]
        if log:
            assert (epoch, sequence) == (log[-1].epoch, len(log)), f"{channel} does not end with the newest"
            if channel in reader.newest:
                assert reader.newest[channel]["n"] == len(log)
        else:
            assert sequence in (0, None)
    alone = player.subscriber.group is None and player.subscriber.channels
    assert not alone, "who has read everything is up to date"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(STEP, max_size=40))
def test_S2_S4_every_story_is_contiguous_or_reset_and_ends_with_the_newest(
    steps: list[tuple[Any, ...]],
) -> None:
    async def run() -> None:
        play = Play()
        for step in steps:
            await play.step(step)
        await play.finish()
        for player in play.players:
            try:
                check(play, player)
            except AssertionError:
                print("STEPS", steps)
                raise
        for player in play.players:
            play.hub.detach(player.subscriber)
        for provider in play.providers.values():
            assert sorted(provider.opened) == sorted(provider.closed), "every channel was closed again"

    asyncio.run(run())
