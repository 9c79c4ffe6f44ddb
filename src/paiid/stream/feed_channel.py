"""The channel `feed`: everybody hears how market data come to this replica, and whether replicas hear each other (S5)."""

from collections.abc import Callable

from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.json import encode
from paiid.market.state import FeedState
from paiid.stream.events import CatchUp, ChannelKind, Event, Place
from paiid.stream.hub import Hub
from paiid.stream.views import bus_view, feed_view

PREFIX = "feed"


class FeedChannel:
    """Provider of `feed`: a value with an epoch of this replica's, for each replica has a state of its own."""

    kind: ChannelKind = "value"

    def __init__(self, hub: Hub, clock: Clock, state: Callable[[], FeedState], bus: Bus) -> None:
        self._hub = hub
        self._clock = clock
        self._state = state
        self._bus = bus
        self._epoch = clock.now_us()
        self._sequence = 1
        self._told = self._data()
        self._at_us = clock.now_us()
        bus.on_change(lambda _: self.changed())

    def changed(self, *_: object) -> None:
        """Look at feed and bus again, and tell what is new. Cheap; on the event loop."""
        data = self._data()
        if data != self._told:
            self._told, self._at_us = data, self._clock.now_us()
            self._sequence += 1
            self._hub.put(self._event())

    async def open(self, name: str) -> None:
        """The state is there already. Raises KeyError for a name: there is one feed."""
        if name:
            raise KeyError(name)

    def close(self, name: str) -> None:
        """It goes on being watched."""

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        """The newest, always: what the state was meanwhile does not matter any more."""
        self.changed()
        reset = "epoch" if since is not None and since.epoch != self._epoch else None
        return CatchUp(Place(self._epoch, self._sequence), reset, None, [self._event()])

    def _event(self) -> Event:
        source = self._state().source
        return Event(PREFIX, "trading_alert", self._epoch, self._sequence, self._at_us, source, self._told)

    def _data(self) -> bytes:
        return encode({"event": "feed", "feed": feed_view(self._state()), "bus": bus_view(self._bus)})
