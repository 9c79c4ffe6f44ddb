"""Frames of the market data stream: JSON, or MessagePack with timestamps, out of one form of a message.

In that form `t` is microseconds since the epoch and prices are decimals. Wire facts: Alpaca's page on its market data stream, and
the MessagePack specification (timestamp extension, type -1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from paiid.domain.money import plain
from paiid.sim.alpaca.values import stamp

__all__ = ["BadFrame", "Tick", "nanos_of", "pack_frame", "packed", "read_frame", "timestamp", "written"]

_TIMESTAMP = -1
_ODD = 7919
"""As in `values.stamp`: what stands below our microseconds."""
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_FIX, _SMALL = 16, 1 << 16


class BadFrame(ValueError):
    """A client's frame that is neither JSON nor MessagePack."""


@dataclass(slots=True, eq=False)
class Tick:
    """One message of the market. `channel` is where one subscribes to it, `event` its name in a fault's wish."""

    channel: str
    event: str
    symbol: str
    body: dict[str, Any]
    _json: bytes | None = None
    _packed: bytes | None = None

    def encoded(self, packs: bool) -> bytes:
        """Its bytes without the array around; made once for all who hear it."""
        if packs:
            if self._packed is None:
                self._packed = packed(self.body)
            return self._packed
        if self._json is None:
            self._json = _ENCODER.encode(written(self.body))
        return self._json


def nanos_of(at_us: int) -> int:
    """The same instant as `values.stamp` writes, in nanoseconds."""
    return at_us * 1000 + at_us * _ODD % 1000


def written(body: dict[str, Any]) -> dict[str, Any]:
    """A message as JSON tells it: `t` as RFC 3339, decimals as numbers without zeros at their end."""
    return {key: stamp(one) if key == "t" else _number(one) for key, one in body.items()}


def packed(body: dict[str, Any]) -> bytes:
    """A message as MessagePack: `t` as a timestamp, prices as doubles, for it knows no decimals."""
    return msgspec.msgpack.encode(
        {key: timestamp(nanos_of(one)) if key == "t" else _double(one) for key, one in body.items()}
    )


def timestamp(at_ns: int) -> msgspec.msgpack.Ext:
    """MessagePack's timestamp, in the shortest of its three forms (4, 8 or 12 bytes)."""
    seconds, nanos = divmod(at_ns, 1_000_000_000)
    if nanos == 0 and 0 <= seconds < 1 << 32:
        data = seconds.to_bytes(4)
    elif 0 <= seconds < 1 << 34:
        data = (nanos << 34 | seconds).to_bytes(8)
    else:
        data = nanos.to_bytes(4) + seconds.to_bytes(8, signed=True)
    return msgspec.msgpack.Ext(_TIMESTAMP, data)


def pack_frame(parts: Sequence[bytes], packs: bool) -> bytes:
    """The array that every frame of the server is."""
    if not packs:
        return b"[" + b",".join(parts) + b"]"
    count = len(parts)
    if count < _FIX:
        head = bytes([0x90 | count])
    else:
        head = b"\xdc" + count.to_bytes(2) if count < _SMALL else b"\xdd" + count.to_bytes(4)
    return head + b"".join(parts)


def read_frame(text: str | None, raw: bytes | None, packs: bool) -> Any:
    """What a client's frame says: text is JSON, bytes are what this client chose. Raises BadFrame."""
    try:
        if text is not None:
            return msgspec.json.decode(text)
        return msgspec.msgpack.decode(raw or b"") if packs else msgspec.json.decode(raw or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame from error


def _number(value: Any) -> Any:
    return plain(value) if isinstance(value, Decimal) else value


def _double(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value
