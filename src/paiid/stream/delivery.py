"""Writes what gathered to all clients: the same bytes to those who are up to date, the newest to those who read again.

No await in here, and nothing per client and message: a flush joins bytes once a group and hands them to each transport.
"""

from collections import Counter
from collections.abc import Callable

from paiid.core.clock import Clock
from paiid.core.instants import instant
from paiid.stream.channels import UNKNOWN, Channel, Reset, Seen
from paiid.stream.events import Event, Place
from paiid.stream.figures import StreamFigures
from paiid.stream.frames import Message, heartbeat_message, joined
from paiid.stream.groups import Group, Groups
from paiid.stream.subscriber import Debt, Subscriber

TOO_SLOW = 4408
BEHIND_BYTES = 64 * 1024
"""Unsent bytes beyond which a client gets no more values until he has read."""
MOST_UNSENT = 512 * 1024
"""Unsent bytes beyond which a client is closed: what is never left out has grown too much."""
APART_A_FLUSH = 2000
"""Messages made for single clients in one flush; the other clients are not kept waiting for more."""


class Delivery:
    """The channels that have news, the groups, and the clients who are apart."""

    def __init__(
        self, clock: Clock, behind_s: float, heartbeat_s: float, lose: Callable[[Subscriber], None]
    ) -> None:
        self._clock = clock
        self._behind_s = behind_s
        self._heartbeat_s = heartbeat_s
        self._lose = lose
        self.figures = StreamFigures()
        self.groups = Groups()
        self.dirty: dict[Channel, None] = {}
        self.waiting: dict[Subscriber, None] = {}
        """Clients who are apart, and have something to get or are up to date again."""
        self._single: dict[tuple[int, int], Message] = {}
        """Messages of this flush for single clients, some of whom may have missed the same."""

    @property
    def idle(self) -> bool:
        """Whether the next flush would do nothing."""
        return not self.dirty and not self.waiting

    def flush_resets(self) -> None:
        """Write what gathered if channels begin anew: what follows is about their new life."""
        if any(channel.reset_waits for channel in self.dirty):
            self.flush()

    def set_apart(self, subscriber: Subscriber) -> None:
        """From now on he gets messages of his own, until he is up to date."""
        self.groups.leave(subscriber)
        self.waiting[subscriber] = None

    def flush(self) -> None:
        """Write what gathered."""
        at = instant(self._clock.now_us()) or ""
        self._rejoin()
        dirty, self.dirty = self.dirty, {}
        touched: dict[Group, None] = {}
        for channel in dirty:
            channel.before = channel.seen
        said: dict[Reset, Message] = {}
        for channel in dirty:
            if channel.reset_waits:
                self._gather_reset(channel, said, touched, at)
        for channel in dirty:
            if channel.is_log:
                self._gather_log(channel, said, touched, at)
            else:
                self._gather_value(channel, touched, at)
        for group in touched:
            self._write_group(group, dirty)
        for channel in dirty:
            channel.before = None
        if self.waiting:
            self._flush_apart(at)

    # -- those who are up to date -----------------------------------------------------------------------

    def _gather_reset(
        self, channel: Channel, said: dict[Reset, Message], touched: dict[Group, None], at: str
    ) -> None:
        """One message to each group, also where it is about many channels."""
        reset = channel.reset
        assert reset is not None
        message = said.get(reset)
        if message is None:
            message = said[reset] = channel.reset_message(reset, at)
        for group in channel.groups:
            if message not in group.pending:
                group.pending.append(message)
                touched[group] = None
        channel.reset_waits = False
        seen = reset.seen
        channel.seen = Seen(channel.generation, seen.epoch, seen.sequence)

    def _gather_value(self, channel: Channel, touched: dict[Group, None], at: str) -> None:
        event, seen = channel.newest, channel.seen
        if event is not None and (
            seen is None or event.epoch != seen.epoch or event.sequence > seen.sequence
        ):
            if channel.groups:
                merged = channel.merged(event, seen)
                message = channel.value_message(event, merged, at)
                for group in channel.groups:
                    group.pending.append(message)
                    touched[group] = None
                    if merged > 0:
                        self.figures.merged.add(n=merged * len(group.members))
            channel.seen = Seen(channel.generation, event.epoch, event.sequence)
        for subscriber in channel.apart:
            subscriber.dirty[channel] = None
            self.waiting[subscriber] = None

    def _gather_log(
        self, channel: Channel, said: dict[Reset, Message], touched: dict[Group, None], at: str
    ) -> None:
        items, channel.items = channel.items, []
        for item in items:
            if isinstance(item, Event):
                message = channel.log_message(item, at)
                channel.seen = Seen(0, item.epoch, item.sequence)
            else:
                message = said.get(item) or channel.reset_message(item, at)
                said[item] = message
                channel.seen = item.seen
            for group in channel.groups:
                if message.type != "reset" or message not in group.pending:
                    group.pending.append(message)
                    touched[group] = None
        for subscriber in list(channel.apart):
            self.tell_log(subscriber, channel, items, at)
            self.waiting[subscriber] = None

    def _write_group(self, group: Group, dirty: dict[Channel, None]) -> None:
        pending, group.pending = group.pending, []
        data = joined(group.style, pending)
        written = 0
        for subscriber in group.members:
            sink = subscriber.sink
            if sink.unsent() > BEHIND_BYTES:
                self._fall_behind(subscriber, pending, dirty)
            else:
                sink.write(data)
                written += 1
        self.figures.events.add(group.style, n=written * len(pending))
        self.figures.bytes.add(group.style, n=written * len(data))

    def _fall_behind(
        self, subscriber: Subscriber, pending: list[Message], dirty: dict[Channel, None]
    ) -> None:
        """He gets what may not be left out; the newest of the rest once he has read."""
        self.groups.leave(subscriber, in_flush=True)
        self.waiting[subscriber] = None
        for channel in dirty:
            if channel not in subscriber.last:
                continue
            if not channel.is_log:
                subscriber.dirty[channel] = None
            elif channel.seen is not None:
                subscriber.last[channel] = channel.seen
        kept = [message for message in pending if message.whole]
        if kept:
            self.write(subscriber, joined(subscriber.sink.style, kept), len(kept))
        self._note_debt(subscriber)

    # -- those who are apart ----------------------------------------------------------------------------

    def _rejoin(self) -> None:
        """Whoever was told everything, and has read it, is one of many again."""
        for subscriber in list(self.waiting):
            if subscriber.dirty:
                continue
            if subscriber.ahead:
                del self.waiting[subscriber]
            elif subscriber.sink.unsent() == 0:
                del self.waiting[subscriber]
                subscriber.debt = None
                self.groups.join(subscriber)

    def _flush_apart(self, at: str) -> None:
        left = APART_A_FLUSH
        self._single.clear()
        for subscriber in list(self.waiting):
            if left <= 0:
                break
            if not subscriber.dirty or subscriber.sink.unsent() > BEHIND_BYTES:
                continue
            messages = self._newest(subscriber, at)
            left -= len(messages)
            if messages:
                self.write(subscriber, joined(subscriber.sink.style, messages), len(messages))
            if subscriber in self.waiting:
                # Whoever was served goes behind those who were not.
                del self.waiting[subscriber]
                self.waiting[subscriber] = None
        self._single.clear()

    def _newest(self, subscriber: Subscriber, at: str) -> list[Message]:
        """All that he was not told of values, resets first."""
        wide = self._wide_resets(subscriber)
        resets: dict[Reset, Message] = {}
        messages: list[Message] = []
        for channel in subscriber.dirty:
            seen, event = subscriber.last[channel], channel.newest
            reset = None
            if seen.generation != channel.generation and channel.reset is not None:
                reset = channel.reset
                if reset.channel != channel.name and reset not in wide:
                    reset = Reset(channel.name, reset.epoch, reset.sequence, reset.reason)
            elif event is not None and seen.epoch not in (event.epoch, UNKNOWN):
                reset = Reset(channel.name, event.epoch, channel.base, "epoch")
            if reset is not None:
                if reset not in resets:
                    resets[reset] = channel.reset_message(reset, at)
                seen = channel.after_reset()
            if event is not None and event.sequence > seen.sequence:
                messages.append(self._single_value(channel, event, seen, at))
                seen = Seen(channel.generation, event.epoch, event.sequence)
            self._place(subscriber, channel, seen)
        subscriber.dirty.clear()
        return [*resets.values(), *messages]

    def _wide_resets(self, subscriber: Subscriber) -> set[Reset]:
        """Those of a whole prefix that he missed for each of its channels: for some of them only it would be too much to say."""
        missed: Counter[Reset] = Counter()
        for channel in subscriber.dirty:
            if subscriber.last[channel].generation != channel.generation and channel.reset is not None:
                missed[channel.reset] += 1
        if not missed:
            return set()
        held = Counter([channel.prefix for channel in subscriber.last])
        return {reset for reset, count in missed.items() if count == held[reset.channel.partition(":")[0]]}

    def _single_value(self, channel: Channel, event: Event, seen: Seen, at: str) -> Message:
        merged = channel.merged(event, seen)
        if merged > 0:
            self.figures.merged.add(n=merged)
        key = (id(event), merged)
        message = self._single.get(key)
        if message is None:
            message = self._single[key] = channel.value_message(event, merged, at)
        return message

    def _place(self, subscriber: Subscriber, channel: Channel, seen: Seen) -> None:
        """This is what he was last told."""
        subscriber.last[channel] = seen
        if seen != channel.seen and seen.generation == channel.generation and seen.sequence != UNKNOWN:
            channel.adopt(Place(seen.epoch, seen.sequence))
        if seen == channel.seen:
            subscriber.ahead.discard(channel)
        else:
            subscriber.ahead.add(channel)

    def tell_log(self, subscriber: Subscriber, channel: Channel, items: list[Event | Reset], at: str) -> None:
        """Those of these that come after what he was told."""
        seen = subscriber.last[channel]
        messages: list[Message] = []
        for item in items:
            if isinstance(item, Reset):
                if item.sequence is not None and item.epoch is not None and item.seen[1:] <= seen[1:]:
                    continue
                messages.append(channel.reset_message(item, at))
                seen = item.seen
                continue
            if (item.epoch, item.sequence) <= seen[1:]:
                continue
            if seen.epoch != UNKNOWN and (item.epoch, item.sequence) != (seen.epoch, seen.sequence + 1):
                hole = Reset(channel.name, item.epoch, item.sequence - 1, "gap")
                messages.append(channel.reset_message(hole, at))
            messages.append(channel.log_message(item, at))
            seen = Seen(0, item.epoch, item.sequence)
        self._place(subscriber, channel, seen)
        if messages:
            self.write(subscriber, joined(subscriber.sink.style, messages), len(messages))

    def write(self, subscriber: Subscriber, data: bytes, count: int = 1) -> None:
        """To one client, whatever he has read; beyond the bound he is closed. `count` messages are in it."""
        if subscriber.gone:
            return
        self.figures.events.add(subscriber.sink.style, n=count)
        self.figures.bytes.add(subscriber.sink.style, n=len(data))
        subscriber.sink.write(data)
        subscriber.written += len(data)
        if subscriber.sink.unsent() > MOST_UNSENT:
            self._close(subscriber)

    # -- from time to time --------------------------------------------------------------------------------

    def check(self, subscribers: list[Subscriber]) -> None:
        """Close whoever has not read for too long, and send the heartbeats that are due."""
        now_s = self._clock.monotonic_s()
        at = instant(self._clock.now_us()) or ""
        shared: dict[Group, bytes] = {}
        for subscriber in subscribers:
            if subscriber.gone:
                continue
            unsent = subscriber.sink.unsent()
            if unsent:
                self._check_debt(subscriber, unsent, now_s)
            else:
                subscriber.debt = None
            if now_s >= subscriber.heartbeat_at_s and not subscriber.gone:
                subscriber.heartbeat_at_s = now_s + self._heartbeat_s
                if unsent <= BEHIND_BYTES:
                    self._beat(subscriber, shared, at)

    def _beat(self, subscriber: Subscriber, shared: dict[Group, bytes], at: str) -> None:
        group = subscriber.group
        data = None if group is None else shared.get(group)
        if data is None:
            data = joined(subscriber.sink.style, [heartbeat_message(subscriber.places(), at)])
            if group is not None:
                shared[group] = data
        self.write(subscriber, data)

    def _check_debt(self, subscriber: Subscriber, unsent: int, now_s: float) -> None:
        """He is behind while bytes that were unsent at an instant still are."""
        debt = subscriber.debt
        if debt is None:
            self.set_apart(subscriber)
            self._note_debt(subscriber)
        elif unsent <= subscriber.written:
            # All that was owed then has been taken; what is unsent now came later.
            self._note_debt(subscriber)
        elif now_s - debt.since_s >= self._behind_s:
            self._close(subscriber)

    def _note_debt(self, subscriber: Subscriber) -> None:
        subscriber.debt = Debt(subscriber.sink.unsent(), self._clock.monotonic_s())
        subscriber.written = 0

    def _close(self, subscriber: Subscriber) -> None:
        if not subscriber.gone:
            self.figures.closed.add(str(TOO_SLOW))
            subscriber.sink.close(TOO_SLOW, "too slow")
            self._lose(subscriber)
