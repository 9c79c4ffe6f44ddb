"""Clients of the hub in a test's hand: sinks that read when told to, and what a client makes of what he was sent."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from paiid.stream.events import CatchUp, Event, Place


def unframed(data: bytes) -> list[str]:
    """The texts of whole unmasked WebSocket frames, one after the other."""
    texts = []
    at = 0
    while at < len(data):
        assert data[at] == 0x81, "a whole text frame"
        size, at = data[at + 1], at + 2
        assert size < 128, "a server masks nothing"
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        texts.append(data[at : at + size].decode())
        assert at + size <= len(data), "whole frames"
        at += size
    return texts


def messages_of(style: str, data: bytes) -> list[dict[str, Any]]:
    """What a client reads from bytes of the wire."""
    if style == "frames":
        return [json.loads(text) for text in unframed(data)]
    if style == "batches":
        return [message for text in unframed(data) for message in json.loads(text)]
    messages = []
    for block in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        message = json.loads(fields["data"])
        assert fields["event"] == message["type"]
        messages.append({**message, "id": fields["id"]} if "id" in fields else message)
    return messages


class FakeSink:
    """A sink whose other side reads all at once, or nothing while `stalled`."""

    def __init__(self, style: Literal["frames", "batches", "sse"] = "frames") -> None:
        self.style = style
        self.stalled = False
        self.taken = b""
        self.buffer = b""
        self.writes = 0
        self.closed: tuple[int, str] | None = None

    def write(self, data: bytes) -> None:
        """Bytes as they go on the wire."""
        assert self.closed is None, "nothing is written after the end"
        self.writes += 1
        self.buffer += data
        if not self.stalled:
            self.read()

    def read(self, count: int | None = None) -> None:
        """The other side takes some, or all."""
        count = len(self.buffer) if count is None else count
        self.taken, self.buffer = self.taken + self.buffer[:count], self.buffer[count:]

    def unsent(self) -> int:
        """What the other side has not taken."""
        return len(self.buffer)

    def close(self, code: int, reason: str) -> None:
        """The end."""
        self.closed = (code, reason)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All that was taken."""
        return messages_of(self.style, self.taken)

    def told(self, channel: str) -> list[dict[str, Any]]:
        """Of one channel."""
        return [one for one in self.messages if one.get("channel") == channel]


@dataclass
class FakeProvider:
    """A provider whose channels a test feeds: `log` has every event there ever was, by name."""

    kind: Literal["log", "value"]
    prefix: str
    epochs: dict[str, int] = field(default_factory=dict)
    logs: dict[str, list[Event]] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    before_answer: Any = None
    """An async function that runs once the state was read, before it is answered."""

    def channel(self, name: str) -> str:
        return f"{self.prefix}:{name}" if name else self.prefix

    def event(self, name: str, **data: Any) -> Event:
        """The next event of a channel, which from now on there is."""
        log = self.logs.setdefault(name, [])
        epoch = self.epochs.setdefault(name, 1)
        type_: Any = "order_update" if self.kind == "log" else "market_data"
        event = Event(
            self.channel(name),
            type_,
            epoch,
            len(log) + 1,
            1_700_000_000_000_000,
            "test",
            json.dumps({"n": len(log) + 1, **data}).encode(),
        )
        log.append(event)
        return event

    def begin(self, name: str) -> Place:
        """A new epoch."""
        self.epochs[name] = self.epochs.get(name, 1) + 1
        self.logs[name] = []
        return Place(self.epochs[name], 0)

    async def open(self, name: str) -> None:
        assert self.opened.count(name) == self.closed.count(name), "opened once until it is closed"
        self.opened.append(name)

    def close(self, name: str) -> None:
        self.closed.append(name)
        assert self.opened.count(name) == self.closed.count(name), "closed once"

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        found = self._caught(name, since)
        if self.before_answer is not None:
            await self.before_answer()
        return found

    def _caught(self, name: str, since: Place | None) -> CatchUp:
        log = self.logs.get(name, [])
        place = Place(self.epochs.get(name, 1), len(log))
        known = since is not None and since.epoch == place.epoch and 0 <= since.sequence <= place.sequence
        if self.kind == "value":
            events = log[-1:] if not (known and since == place) else []
            return CatchUp(place, None if since is None or known else "epoch", None, events)
        if since is None:
            return CatchUp(place)
        if not known:
            return CatchUp(place, "epoch", b'{"state":true}')
        return CatchUp(place, None, None, list(log[since.sequence :]))


class Reader:
    """What a client knows of each channel, checked as a careful one would: contiguous, or explicitly reset."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int | None]] = {}
        self.newest: dict[str, dict[str, Any]] = {}

    def subscribed(self, channel: str, place: Place) -> None:
        """He was told that he starts from here."""
        self.places.setdefault(channel, (place.epoch, place.sequence))

    def unsubscribed(self, channel: str) -> None:
        """What comes later is another story."""
        self.places.pop(channel, None)
        self.newest.pop(channel, None)

    def take(self, message: dict[str, Any]) -> None:
        """The next message."""
        kind = message["type"]
        if kind == "heartbeat":
            for channel, (epoch, sequence) in message["channels"].items():
                known = self.places.get(channel)
                assert known in (None, (epoch, None), (epoch, sequence)), (channel, known, message)
        elif kind == "reset":
            self._reset(message)
        elif "channel" in message:
            self._event(message)

    def _reset(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        if channel.endswith(":*"):
            mine = [one for one in self.places if one.startswith(channel[:-1])]
        else:
            mine = [channel]
        for one in mine:
            self.places[one] = (message["epoch"], message["sequence"])
            self.newest.pop(one, None)

    def _event(self, message: dict[str, Any]) -> None:
        channel, epoch, sequence = message["channel"], message["epoch"], message["sequence"]
        stands_for = 1 + message.get("merged", 0)
        assert stands_for >= 1
        known = self.places.get(channel)
        if known is not None:
            assert known[0] in (epoch, None), f"a new epoch of {channel} without a reset"
            if known[1] is not None:
                assert sequence == known[1] + stands_for, f"{channel}: {sequence} after {known[1]}"
        self.places[channel] = (epoch, sequence)
        self.newest[channel] = message["data"]
