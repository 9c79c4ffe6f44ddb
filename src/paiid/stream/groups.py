"""Clients that are up to date and want the same: they get the same bytes, joined once."""

from collections.abc import Iterable

from paiid.stream.channels import Channel
from paiid.stream.frames import Message, Style
from paiid.stream.subscriber import Subscriber


class Group:
    """Clients with the same channels and the same style."""

    def __init__(self, style: Style, channels: Iterable[Channel]) -> None:
        self.style = style
        self.channels = list(channels)
        self.pending: list[Message] = []
        """Of the flush that is under way."""
        self._members: dict[Subscriber, None] = {}
        self._listed: tuple[Subscriber, ...] | None = None

    @property
    def members(self) -> tuple[Subscriber, ...]:
        """A copy: whoever is written to may leave meanwhile."""
        if self._listed is None:
            self._listed = tuple(self._members)
        return self._listed

    def places(self) -> dict[str, tuple[int, int]]:
        """What each member was last told of each channel."""
        return {
            channel.name: (channel.seen.epoch, channel.seen.sequence)
            for channel in self.channels
            if channel.seen is not None and channel.seen.epoch >= 0 <= channel.seen.sequence
        }

    def add(self, subscriber: Subscriber) -> None:
        """One more."""
        self._members[subscriber] = None
        self._listed = None

    def remove(self, subscriber: Subscriber) -> bool:
        """One fewer; whether nobody is left."""
        del self._members[subscriber]
        self._listed = None
        return not self._members


class Groups:
    """All of them, by what they want."""

    def __init__(self) -> None:
        self._found: dict[tuple[Style, frozenset[str]], Group] = {}

    def join(self, subscriber: Subscriber) -> None:
        """He is up to date: from now on he gets what his group gets."""
        key = (subscriber.sink.style, frozenset(subscriber.channels))
        group = self._found.get(key)
        if group is None:
            group = self._found[key] = Group(subscriber.sink.style, subscriber.last)
            for channel in group.channels:
                channel.groups.add(group)
        for channel in group.channels:
            channel.apart.discard(subscriber)
        group.add(subscriber)
        subscriber.group = group
        subscriber.last = {}

    def leave(self, subscriber: Subscriber, *, in_flush: bool = False) -> None:
        """He is apart from now on, at the places of his group, or at those before the flush that is under way."""
        group = subscriber.group
        if group is None:
            return
        for channel in group.channels:
            seen = channel.before if in_flush and channel.before is not None else channel.seen
            if seen is not None:
                subscriber.last[channel] = seen
                channel.apart.add(subscriber)
        subscriber.group = None
        if group.remove(subscriber):
            del self._found[(group.style, frozenset([channel.name for channel in group.channels]))]
            for channel in group.channels:
                channel.groups.discard(group)
