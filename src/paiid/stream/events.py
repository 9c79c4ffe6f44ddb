"""The words of a stream: events, places in a channel, and what a channel's provider gives (docs/adr/0017)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

ChannelKind = Literal["log", "value"]
EventType = Literal["market_data", "position_update", "order_update", "portfolio_update", "trading_alert"]


@dataclass(frozen=True, slots=True)
class Place:
    """The last event of a channel that somebody has seen, or that there is."""

    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.sequence}"


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a channel. `data` is a JSON object, encoded once; instants are UTC microseconds."""

    channel: str
    type: EventType
    epoch: int
    sequence: int
    ts_event_us: int
    source: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What a new subscriber of a channel gets first. `place` is where he is afterwards: of a log the next event is +1.

    `reset` says why he cannot go on from the place he named (None: he can, or named none); `snapshot` is then the state at `place`, a JSON
    object. `events` come after it, in order, the last one at `place`: what a reader of a log missed, or the newest of a value.
    """

    place: Place
    reset: str | None = None
    snapshot: bytes | None = None
    events: Sequence[Event] = field(default=())


class Provider(Protocol):
    """Who knows the channels of one prefix; `name` is what follows the colon (empty for a channel without one)."""

    kind: ChannelKind

    async def open(self, name: str) -> None:
        """The channel has its first subscriber on this replica: begin to feed the hub. Called once until `close`."""
        ...

    def close(self, name: str) -> None:
        """It has none any more."""
        ...

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        """What a subscriber gets first; the channel is open. Raises DatabaseUnavailable."""
        ...


class Sink(Protocol):
    """The writing end of one client's connection."""

    style: Literal["frames", "batches", "sse"]
    """WebSocket messages one a frame, JSON arrays of all that gathered in a flush, or server-sent events."""

    def write(self, data: bytes) -> None:
        """Hand over bytes as they go on the wire, frame and all; never waits."""
        ...

    def unsent(self) -> int:
        """Bytes handed over that the kernel has not taken yet."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection with this WebSocket close code, after what was written; for SSE the end of the body."""
        ...
