"""One client of the hub: his sink, his channels, and what he has not been told yet."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paiid.stream.channels import Channel, Seen
from paiid.stream.events import Sink

if TYPE_CHECKING:
    from paiid.stream.groups import Group


@dataclass(slots=True)
class Debt:
    """Bytes that were unsent at an instant, and when: until they are taken the client is behind."""

    owed: int
    since_s: float


class Subscriber:
    """A client's connection and its channels. He is either up to date and in a group, and then his places are those of
    the channels; or apart, and then `last` has them."""

    def __init__(self, sink: Sink, heartbeat_at_s: float) -> None:
        self.sink = sink
        self.channels: set[str] = set()
        self.gone = False
        self.group: Group | None = None
        self.last: dict[Channel, Seen] = {}
        self.dirty: dict[Channel, None] = {}
        """Value channels whose newest, or last reset, he was not told."""
        self.ahead: set[Channel] = set()
        """Channels of which he was told more, by his catch-up, than the others yet."""
        self.joining: set[str] = set()
        """Channels that he is being given."""
        self.turn = asyncio.Lock()
        """One catch-up at a time."""
        self.debt: Debt | None = None
        self.written = 0
        """Bytes since the debt was noted."""
        self.heartbeat_at_s = heartbeat_at_s

    def places(self) -> dict[str, tuple[int, int]]:
        """What he was last told of each channel."""
        if self.group is not None:
            return self.group.places()
        return {
            channel.name: (seen.epoch, seen.sequence)
            for channel, seen in self.last.items()
            if seen.epoch >= 0 <= seen.sequence
        }
