"""The hub: gets events of channels to many clients at once, none of which can delay another (contract S4).

It knows channels, places and clients; `delivery` writes. Design: docs/adr/0017.
"""

import asyncio
from collections.abc import Callable, Sequence

from paiid.core.clock import Clock
from paiid.core.instants import instant
from paiid.stream.catch_up import write_catch_up
from paiid.stream.channels import Channel, Reset, Seen
from paiid.stream.delivery import BEHIND_BYTES, MOST_UNSENT, TOO_SLOW, Delivery
from paiid.stream.events import CatchUp, Event, Place, Provider, Sink
from paiid.stream.frames import joined, plain_message
from paiid.stream.subscriber import Subscriber

__all__ = [
    "BEHIND_BYTES",
    "BEHIND_S",
    "FLUSH_S",
    "HEARTBEAT_S",
    "MOST_UNSENT",
    "TOO_SLOW",
    "Hub",
    "Subscriber",
]

FLUSH_S = 0.01
BEHIND_S = 5.0
HEARTBEAT_S = 15.0
SWEEP_S = 0.25
"""How often it is looked who is behind and whose heartbeat is due."""
RESTARTING = 1012
_RECONNECT_MS = (500, 3000)


class Hub:
    """Everything on one event loop. Producers `put` and `append`; consumers attach a sink and subscribe to channels."""

    def __init__(
        self,
        clock: Clock,
        *,
        flush_s: float = FLUSH_S,
        behind_s: float = BEHIND_S,
        heartbeat_s: float = HEARTBEAT_S,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self._clock = clock
        self._flush_s = flush_s
        self._heartbeat_s = heartbeat_s
        self._sweep_s = sweep_s
        self._providers: dict[str, Provider] = {}
        self._channels: dict[str, Channel] = {}
        self._subscribers: dict[Subscriber, None] = {}
        self._delivery = Delivery(clock, behind_s, heartbeat_s, self.detach)
        self.figures = self._delivery.figures
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush_timer: asyncio.Handle | None = None
        self._sweep_timer: asyncio.Handle | None = None
        self._flushed_at_s = 0.0
        self._on_flush: list[Callable[[int, int], None]] = []

    def on_flush(self, tell: Callable[[int, int], None]) -> None:
        """Be told of the beginning and the end of each flush, in microseconds since the epoch."""
        self._on_flush.append(tell)

    def register(self, prefix: str, provider: Provider) -> None:
        """Who knows the channels `prefix` or `prefix:NAME`. At most one provider a prefix."""
        if prefix in self._providers:
            raise ValueError(f"two providers of {prefix}")
        self._providers[prefix] = provider

    # -- producers, on the event loop; none of them waits -------------------------------------------

    def put(self, event: Event) -> None:
        """The newest of a value channel. Subscribers get it with the next flush, or a newer one in its place."""
        channel = self._channels.get(event.channel)
        if channel is not None and channel.put(event):
            self._delivery.dirty[channel] = None
            self._wake()

    def append(self, events: Sequence[Event]) -> None:
        """The next events of a log channel, in order and without holes."""
        if not events:
            return
        channel = self._channels.get(events[0].channel)
        if channel is not None:
            channel.append(events)
            self._delivery.dirty[channel] = None
            self._wake()

    def reset(
        self, prefix: str, place: Place | None, reason: str, snapshot: bytes | None = None, name: str = ""
    ) -> None:
        """All channels of a prefix (or the one `prefix:name`) begin anew: their subscribers get one `reset`, with the state where there is one.
        Of values, what is put next is the first of the new epoch."""
        epoch = None if place is None else place.epoch
        sequence = None if place is None else place.sequence
        alone = self._channels.get(f"{prefix}:{name}" if name else prefix)
        if name or alone is not None:
            # The only channel of a prefix without names is told under its own name.
            found = [] if alone is None else [alone]
            reset = Reset(f"{prefix}:{name}" if name else prefix, epoch, sequence, reason, snapshot)
        else:
            found = [one for key, one in self._channels.items() if key.partition(":")[0] == prefix]
            reset = Reset(f"{prefix}:*", epoch, None, reason, snapshot)
        for channel in found:
            channel.begin(reset)
            self._delivery.dirty[channel] = None
        if found:
            self.figures.resets.add(prefix)
            self._wake()

    def broadcast(self, message: bytes) -> None:
        """A message outside of all channels to everybody (JSON): `draining`."""
        self.flush()
        plain = plain_message(message)
        shared: dict[str, bytes] = {}
        for subscriber in list(self._subscribers):
            style = subscriber.sink.style
            if style not in shared:
                shared[style] = joined(style, [plain])
            self._delivery.write(subscriber, shared[style])

    def slowest_s(self) -> float:
        """For how long the client that is furthest behind has not read what it was sent; 0 where all are up to date."""
        now_s = self._clock.monotonic_s()
        debts = [one.debt.since_s for one in self._subscribers if one.debt is not None]
        return max(0.0, now_s - min(debts)) if debts else 0.0

    # -- consumers ------------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> Subscriber:
        """A new client without channels."""
        subscriber = Subscriber(sink, self._clock.monotonic_s() + self._heartbeat_s)
        self._subscribers[subscriber] = None
        return subscriber

    def detach(self, subscriber: Subscriber) -> None:
        """He is gone; may be called twice."""
        subscriber.gone = True
        subscriber.joining.clear()
        if subscriber not in self._subscribers:
            return
        del self._subscribers[subscriber]
        self._delivery.groups.leave(subscriber)
        self._delivery.waiting.pop(subscriber, None)
        channels = list(subscriber.last)
        subscriber.last, subscriber.dirty = {}, {}
        subscriber.ahead.clear()
        subscriber.channels.clear()
        for channel in channels:
            channel.apart.discard(subscriber)
            self._release(channel)

    async def subscribe(self, subscriber: Subscriber, channel: str, since: Place | None) -> Place:
        """Give him the channel: what he missed, then everything new, without a hole or a double in between. The place he starts from. Raises
        KeyError for a channel nobody provides, DatabaseUnavailable."""
        prefix, _, name = channel.partition(":")
        provider = self._providers[prefix]
        async with subscriber.turn:
            if channel in subscriber.channels:
                epoch, sequence = subscriber.places().get(channel, (0, 0))
                return Place(epoch, sequence)
            found = self._channels.get(channel)
            if found is None:
                found = self._channels[channel] = Channel(channel, provider)
            found.users += 1
            subscriber.joining.add(channel)
            held: list[Event | Reset] = []
            admitted = False
            try:
                await self._open(found)
                found.held[id(held)] = held
                generation = found.generation
                catch_up = await provider.catch_up(name, since)
                if channel in subscriber.joining:
                    await write_catch_up(self._delivery, self._clock, subscriber, found, since, catch_up)
                if channel in subscriber.joining and not subscriber.gone:
                    self._admit(subscriber, found, catch_up, generation, held)
                    admitted = True
                return catch_up.place
            finally:
                found.held.pop(id(held), None)
                subscriber.joining.discard(channel)
                if not admitted:
                    self._release(found)

    def unsubscribe(self, subscriber: Subscriber, channel: str) -> None:
        """Take it away."""
        subscriber.joining.discard(channel)
        if channel not in subscriber.channels:
            return
        self._delivery.set_apart(subscriber)
        found = self._channels[channel]
        del subscriber.last[found]
        subscriber.dirty.pop(found, None)
        subscriber.ahead.discard(found)
        subscriber.channels.discard(channel)
        found.apart.discard(subscriber)
        self._release(found)
        self._wake()

    def tell(self, subscriber: Subscriber, message: bytes) -> None:
        """A message to one client outside of all channels (JSON), after all that was written before."""
        self._delivery.write(subscriber, joined(subscriber.sink.style, [plain_message(message)]))

    async def start(self) -> None:
        """Begin to flush, and to send heartbeats."""
        self._loop = asyncio.get_running_loop()
        self._sweep_timer = self._loop.call_later(self._sweep_s, self._sweep)
        self._wake()

    async def stop(self) -> None:
        """Say `draining`, close every sink with 1012, and end."""
        jitter = int.from_bytes(self._clock.random_bytes(4), "big") % (_RECONNECT_MS[1] - _RECONNECT_MS[0])
        at = instant(self._clock.now_us())
        self.broadcast(
            f'{{"type":"draining","reconnect_after_ms":{_RECONNECT_MS[0] + jitter},"ts_sent":"{at}"}}'.encode()
        )
        for subscriber in list(self._subscribers):
            subscriber.sink.close(RESTARTING, "restarting")
            self.detach(subscriber)
        for timer in (self._flush_timer, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        self._loop = self._flush_timer = self._sweep_timer = None

    # -- inside -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write now what gathered; done by itself every `flush_s` while something gathers."""
        self._delivery.flush()
        if not self._delivery.idle:
            self._wake()

    def sweep(self) -> None:
        """Look who is behind and whose heartbeat is due; done by itself every `sweep_s`."""
        self._delivery.check(list(self._subscribers))
        if not self._delivery.idle:
            self._wake()

    def _wake(self) -> None:
        """Flush as soon as the last one is `flush_s` ago: what comes alone does not wait."""
        loop = self._loop
        if loop is None or self._flush_timer is not None:
            return
        wait_s = self._flushed_at_s + self._flush_s - loop.time()
        self._flush_timer = (
            loop.call_later(wait_s, self._flush_now) if wait_s > 0 else loop.call_soon(self._flush_now)
        )

    def _flush_now(self) -> None:
        loop = self._loop
        self._flush_timer = None
        if loop is None:
            return
        self._flushed_at_s = loop.time()
        began_us = self._clock.now_us() if self._on_flush else 0
        try:
            self._delivery.flush()
            for tell in self._on_flush:
                tell(began_us, self._clock.now_us())
        finally:
            if not self._delivery.idle:
                self._wake()

    def _sweep(self) -> None:
        loop = self._loop
        if loop is None:
            return
        self._sweep_timer = loop.call_later(self._sweep_s, self._sweep)
        self.sweep()

    async def _open(self, channel: Channel) -> None:
        """Its first subscriber is there. Goes on if he leaves meanwhile, so that a provider is never stopped half-way."""
        if channel.opened:
            return
        if channel.opening is None:
            channel.opening = asyncio.create_task(self._open_now(channel), name="paiid-open-channel")
        await asyncio.shield(channel.opening)

    async def _open_now(self, channel: Channel) -> None:
        try:
            await channel.provider.open(channel.short_name)
            channel.opened = True
        finally:
            channel.opening = None
            if channel.users == 0:
                self._drop(channel)

    def _admit(
        self,
        subscriber: Subscriber,
        channel: Channel,
        catch_up: CatchUp,
        generation: int,
        held: list[Event | Reset],
    ) -> None:
        """He has caught up; from here on he gets what the others get, without a hole."""
        place = catch_up.place
        if generation == channel.generation and not held:
            channel.adopt(place)
        self._delivery.set_apart(subscriber)
        if generation != channel.generation and place.epoch == channel.epoch:
            generation = channel.generation
        seen = Seen(generation, place.epoch, place.sequence)
        subscriber.last[channel] = seen
        subscriber.channels.add(channel.name)
        channel.apart.add(subscriber)
        if channel.is_log:
            self._delivery.tell_log(subscriber, channel, held, instant(self._clock.now_us()) or "")
        else:
            subscriber.dirty[channel] = None
        self._wake()

    def _release(self, channel: Channel) -> None:
        channel.users -= 1
        if channel.users == 0 and channel.opening is None:
            self._drop(channel)

    def _drop(self, channel: Channel) -> None:
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._delivery.dirty.pop(channel, None)
            if channel.opened:
                channel.opened = False
                channel.provider.close(channel.short_name)
