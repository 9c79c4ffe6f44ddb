"""One channel on this replica: what was told of it, and what waits for the next flush."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from paiid.core.instants import instant
from paiid.stream.events import Event, Place, Provider
from paiid.stream.frames import Message, event_message, reset_message

if TYPE_CHECKING:
    from paiid.stream.groups import Group
    from paiid.stream.subscriber import Subscriber

UNKNOWN = -1
"""Stands for an epoch or a sequence that the next event will tell."""
_RESUMABLE = ("quotes",)
"""Value channels whose events carry an id as server-sent events; those of logs always do."""


class Seen(NamedTuple):
    """The last of a channel that somebody was told. `generation` counts the resets of a value channel."""

    generation: int
    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True, eq=False)
class Reset:
    """A channel, or all of a prefix, begins anew behind this place."""

    channel: str
    epoch: int | None
    sequence: int | None
    reason: str
    snapshot: bytes | None = None

    @property
    def seen(self) -> Seen:
        """Where whoever was told it is, but for the generation."""
        return Seen(0, _known(self.epoch), _known(self.sequence))


class Channel:
    """State that all subscribers share. Of a value only the newest event is kept, of a log what waits to be flushed."""

    def __init__(self, name: str, provider: Provider) -> None:
        self.name = name
        self.prefix, _, self.short_name = name.partition(":")
        self.provider = provider
        self.is_log = provider.kind == "log"
        self.with_id = self.is_log or self.prefix in _RESUMABLE
        self.seen: Seen | None = None
        """What everybody who is up to date was told; None before the first subscriber was told anything."""
        self.before: Seen | None = None
        """The same before the flush that is under way."""
        self.epoch = UNKNOWN
        self.sequence = UNKNOWN
        """The newest that there is, flushed or not."""
        self.base = UNKNOWN
        """Of a value: the sequence before the first event since the last reset."""
        self.generation = 0
        self.reset: Reset | None = None
        """Of a value: the last one."""
        self.reset_waits = False
        self.newest: Event | None = None
        """Of a value: since the last reset."""
        self.items: list[Event | Reset] = []
        """Of a log: what waits."""
        self.groups: set[Group] = set()
        self.apart: set[Subscriber] = set()
        self.held: dict[int, list[Event | Reset]] = {}
        """Of a log: what came since each catch-up that is under way began."""
        self.users = 0
        self.opening: asyncio.Task[None] | None = None
        self.opened = False

    def put(self, event: Event) -> bool:
        """The newest of a value; False if it is not newer than what is known."""
        if self.epoch not in (event.epoch, UNKNOWN):
            self.begin(Reset(self.name, event.epoch, event.sequence - 1, "epoch"))
        elif event.sequence <= self.sequence:
            return False
        if self.base == UNKNOWN:
            self.base = event.sequence - 1
        self.epoch, self.sequence, self.newest = event.epoch, event.sequence, event
        return True

    def append(self, events: Iterable[Event]) -> None:
        """The next of a log. What is known already is left out; a hole that the producer made is told, not hidden."""
        for event in events:
            if self.epoch != UNKNOWN:
                if (event.epoch, event.sequence) <= (self.epoch, self.sequence):
                    continue
                if event.epoch != self.epoch:
                    self._hold(Reset(self.name, event.epoch, event.sequence - 1, "epoch"))
                elif event.sequence != self.sequence + 1:
                    self._hold(Reset(self.name, event.epoch, event.sequence - 1, "gap"))
            self.epoch, self.sequence = event.epoch, event.sequence
            self._hold(event)

    def begin(self, reset: Reset) -> None:
        """Begin anew. Of a value what waits is not told any more."""
        self.epoch, self.sequence = _known(reset.epoch), _known(reset.sequence)
        if self.is_log:
            self._hold(reset)
            return
        self.base = self.sequence
        self.generation += 1
        self.reset, self.reset_waits, self.newest = reset, True, None

    def adopt(self, place: Place) -> None:
        """Somebody was told this, and nobody was told any other place since the last reset."""
        unsaid = self.seen is None or (self.seen.sequence == UNKNOWN and not self.reset_waits)
        if unsaid and self.newest is None and not self.items and self.epoch in (UNKNOWN, place.epoch):
            self.epoch, self.sequence, self.base = place.epoch, place.sequence, place.sequence
            self.seen = Seen(self.generation, place.epoch, place.sequence)

    def _hold(self, item: Event | Reset) -> None:
        self.items.append(item)
        for held in self.held.values():
            held.append(item)

    # -- what a client gets ---------------------------------------------------------------------------

    def after_reset(self) -> Seen:
        """Where whoever was told the last reset of a value is."""
        if self.reset is None or self.newest is None:
            return Seen(self.generation, self.epoch, self.sequence)
        return Seen(self.generation, self.newest.epoch, self.base)

    def merged(self, event: Event, seen: Seen | None) -> int:
        """How many a value stands for besides itself, for somebody who has seen so much."""
        known = UNKNOWN if seen is None else seen.sequence
        return event.sequence - 1 - (self.base if known == UNKNOWN else known)

    def value_message(self, event: Event, merged: int, at: str) -> Message:
        """A value."""
        return event_message(event, merged, at, instant(event.ts_event_us) or "", with_id=self.with_id)

    def log_message(self, event: Event, at: str) -> Message:
        """An event of a log."""
        return event_message(event, None, at, instant(event.ts_event_us) or "", with_id=True)

    def reset_message(self, reset: Reset, at: str) -> Message:
        """A reset."""
        return reset_message(
            reset.channel,
            reset.epoch,
            reset.sequence,
            reset.reason,
            reset.snapshot,
            at,
            with_id=self.with_id,
            whole=self.is_log,
        )


def _known(value: int | None) -> int:
    return UNKNOWN if value is None else value
