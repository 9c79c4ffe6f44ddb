"""How messages look on the wire: JSON, WebSocket frames (RFC 6455) and server-sent events, each made once and shared."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from paiid.core.json import decode, encode
from paiid.stream.events import Event

Style = Literal["frames", "batches", "sse"]

MOST_IN_BATCH = 256 * 1024
"""Bytes of JSON in one WebSocket message of the style `batches`; what gathered beyond it goes into another."""
_TEXT = 0x81
"""A whole text message: FIN and opcode 1."""


@lru_cache(maxsize=16_384)
def quoted(text: str) -> str:
    """A text as JSON."""
    return encode(text).decode()


def text_frame(payload: bytes) -> bytes:
    """One unmasked WebSocket text message from the server, header and all."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Message:
    """One message, and its forms for the styles of clients, each made when it is first wanted."""

    __slots__ = ("_frame", "_sse", "id", "json", "type", "whole")

    def __init__(self, type: str, json: bytes, id: str | None = None, *, whole: bool = False) -> None:
        self.type = type
        self.json = json
        self.id = id
        """Of a server-sent event: the place from which a client could go on."""
        self.whole = whole
        """Of a log: it may not be left out."""
        self._frame: bytes | None = None
        self._sse: bytes | None = None

    @property
    def frame(self) -> bytes:
        """As a WebSocket message of its own."""
        if self._frame is None:
            self._frame = text_frame(self.json)
        return self._frame

    @property
    def sse(self) -> bytes:
        """As a server-sent event. JSON as we write it has no line breaks."""
        if self._sse is None:
            head = f"event: {self.type}\nid: {self.id}\n" if self.id else f"event: {self.type}\n"
            self._sse = b"%b%b%b\n\n" % (head.encode(), b"data: ", self.json)
        return self._sse


def joined(style: Style, messages: Sequence[Message]) -> bytes:
    """What goes on the wire for these messages, in one piece."""
    if style == "frames":
        return messages[0].frame if len(messages) == 1 else b"".join([one.frame for one in messages])
    if style == "sse":
        return b"".join([one.sse for one in messages])
    if sum([len(one.json) for one in messages]) <= MOST_IN_BATCH:
        return text_frame(b"[%b]" % b",".join([one.json for one in messages]))
    return b"".join(_batches(messages))


def _batches(messages: Sequence[Message]) -> Iterable[bytes]:
    batch: list[bytes] = []
    size = 0
    for one in messages:
        if batch and size + len(one.json) > MOST_IN_BATCH:
            yield text_frame(b"[%b]" % b",".join(batch))
            batch, size = [], 0
        batch.append(one.json)
        size += len(one.json)
    yield text_frame(b"[%b]" % b",".join(batch))


def event_message(event: Event, merged: int | None, at: str, ts_event: str, *, with_id: bool) -> Message:
    """An event. `merged` only for values: how many it stands for besides itself. `at`: the instant of sending."""
    merged_field = "" if merged is None else f'"merged":{merged},'
    head = (
        f'{{"type":"{event.type}","channel":{quoted(event.channel)},"epoch":{event.epoch},'
        f'"sequence":{event.sequence},{merged_field}"ts_event":"{ts_event}","ts_sent":"{at}",'
        f'"source":{quoted(event.source)},"data":'
    )
    json = b"%b%b}" % (head.encode(), event.data)
    place = f"{event.epoch}:{event.sequence}" if with_id else None
    return Message(event.type, json, place, whole=merged is None)


def reset_message(
    channel: str,
    epoch: int | None,
    sequence: int | None,
    reason: str,
    snapshot: bytes | None,
    at: str,
    *,
    with_id: bool,
    whole: bool,
) -> Message:
    """The channel begins anew; `snapshot` is a JSON object, the state at `sequence`."""
    head = (
        f'{{"type":"reset","channel":{quoted(channel)},"epoch":{_number(epoch)},"sequence":{_number(sequence)},'
        f'"reason":{quoted(reason)},"ts_sent":"{at}","data":'
    )
    json = b"%b%b}" % (head.encode(), b"null" if snapshot is None else snapshot)
    known = with_id and epoch is not None and sequence is not None
    return Message("reset", json, f"{epoch}:{sequence}" if known else None, whole=whole)


def heartbeat_message(places: Mapping[str, tuple[int, int]], at: str) -> Message:
    """The place of each channel (epoch, sequence) that was last told."""
    inner = ",".join([f"{quoted(name)}:[{epoch},{sequence}]" for name, (epoch, sequence) in places.items()])
    return Message("heartbeat", f'{{"type":"heartbeat","channels":{{{inner}}},"ts_sent":"{at}"}}'.encode())


def plain_message(json: bytes) -> Message:
    """A message outside of all channels, from its JSON: an object with a `type`."""
    return Message(str(decode(json).get("type", "message")), json)


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)
