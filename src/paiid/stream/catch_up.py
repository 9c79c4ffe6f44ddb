"""Writes what a new subscriber missed, in portions that he reads, so that a long absence is not a flood."""

from itertools import islice

from paiid.core.clock import Clock
from paiid.core.instants import instant
from paiid.stream.channels import Channel, Reset
from paiid.stream.delivery import BEHIND_BYTES, Delivery
from paiid.stream.events import CatchUp, Place
from paiid.stream.frames import Message, joined
from paiid.stream.subscriber import Subscriber

_PORTION = 100
"""Events written before it is looked whether he reads."""
_LOOK_S = 0.01


async def write_catch_up(
    delivery: Delivery,
    clock: Clock,
    subscriber: Subscriber,
    channel: Channel,
    since: Place | None,
    catch_up: CatchUp,
) -> None:
    """A reset where he cannot go on, and the events. Returns when all is written, or he is gone: whoever does not read is closed
    for it as always."""
    delivery.flush_resets()
    messages = iter(_messages(clock, channel, since, catch_up))
    while portion := list(islice(messages, _PORTION)):
        delivery.write(subscriber, joined(subscriber.sink.style, portion), len(portion))
        while subscriber.sink.unsent() > BEHIND_BYTES and not subscriber.gone:
            await clock.sleep(_LOOK_S)
        if subscriber.gone or channel.name not in subscriber.joining:
            return


def _messages(clock: Clock, channel: Channel, since: Place | None, catch_up: CatchUp) -> list[Message]:
    place, events = catch_up.place, catch_up.events
    at = instant(clock.now_us()) or ""
    reason = catch_up.reset
    if (
        reason is None
        and since is not None
        and not since.epoch == place.epoch >= 0 <= since.sequence <= place.sequence
    ):
        # A place that this channel has never reached: a reader must not take what follows for its continuation.
        reason = "unknown_place"
    messages: list[Message] = []
    told = None if since is None else since.sequence
    if reason is not None:
        told = events[0].sequence - 1 if events else place.sequence
        reset = Reset(channel.name, place.epoch, told, reason, catch_up.snapshot)
        messages.append(channel.reset_message(reset, at))
    for event in events:
        if told is not None and event.sequence <= told:
            continue
        if channel.is_log:
            messages.append(channel.log_message(event, at))
        else:
            messages.append(
                channel.value_message(event, 0 if told is None else event.sequence - told - 1, at)
            )
        told = event.sequence
    return messages
