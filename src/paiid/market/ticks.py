"""What replicas tell each other of market data over the bus, and how it is read with suspicion (docs/adr/0018).

MessagePack arrays; a price goes as the text of its digits. What does not have this form raises `BadMessage`.
"""

from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from paiid.domain.quotes import Quote
from paiid.market.board import Shown
from paiid.market.state import Status

TICKS = "ticks"
LEAD = "lead"
DEMAND = "demand"

MOST_IN_MESSAGE = 512
"""Quotes, confirmations, or symbols that are gone, in one message."""
MOST_WANTED = 8192
"""Symbols of one replica's demand."""
MOST_USERS = 10_000
"""Users with sockets on one replica."""
_MOST_DIGITS = 30
_MOST_BEFORE_POINT = 16

Symbol = Annotated[str, Meta(min_length=1, max_length=24, pattern=r"^[A-Z0-9./]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Places and instants: no larger than what a browser can hold exactly."""
Text = Annotated[str, Meta(max_length=300)]


class BadMessage(ValueError):
    """Bytes that no replica of ours has sent, or none of this version."""


class Tick(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A quote with its place in the symbol's channel."""

    sequence: Count
    symbol: Symbol
    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    last: Decimal
    prev_close: Decimal
    as_of_us: Count
    source_sequence: Count
    source: Name
    stale: bool
    confirmed_us: Count
    recorded_at_us: Count | None


class Confirmed(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A quote that is still the newest; whoever has another place of this symbol has missed something."""

    symbol: Symbol
    sequence: Count
    confirmed_us: Count


class Ticks(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is new since the last batch."""

    epoch: Count
    ticks: Annotated[list[Tick], Meta(max_length=MOST_IN_MESSAGE)]
    confirmed: Annotated[list[Confirmed], Meta(max_length=MOST_IN_MESSAGE)] = []
    gone: Annotated[list[Symbol], Meta(max_length=MOST_IN_MESSAGE)] = []
    """Not followed any more."""


class Lead(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The leader is alive. `leaving`: it gives up the lease right now."""

    epoch: Count
    status: Status
    reason: Text
    source: Name
    leaving: bool = False


class Wanted(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What the clients of one replica want. `epoch`: the newest that it has heard of; `hello`: tell it the newest of all."""

    replica: Name
    epoch: Count
    hello: bool
    subscribed: Annotated[list[Symbol], Meta(max_length=MOST_WANTED)]
    asked: Annotated[list[Symbol], Meta(max_length=MOST_WANTED)]
    sockets: Annotated[dict[Name, Annotated[int, Meta(ge=0, le=100_000)]], Meta(max_length=MOST_USERS)]


M = TypeVar("M", Ticks, Lead, Wanted)
_encoder = msgspec.msgpack.Encoder()


def decode(kind: type[M], body: bytes) -> M:
    """The message of this kind. Raises BadMessage for anything else."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError, ArithmeticError):
        raise BadMessage from None


def encode(message: Ticks | Lead | Wanted) -> bytes:
    """As it goes over the bus."""
    return _encoder.encode(message)


def tick_of(shown: Shown) -> Tick:
    """For the bus."""
    quote = shown.quote
    return Tick(
        sequence=shown.sequence,
        symbol=quote.symbol,
        bid=quote.bid,
        ask=quote.ask,
        bid_size=quote.bid_size,
        ask_size=quote.ask_size,
        last=quote.last,
        prev_close=quote.prev_close,
        as_of_us=quote.as_of_us,
        source_sequence=quote.sequence,
        source=quote.source,
        stale=quote.stale,
        confirmed_us=quote.confirmed_us,
        recorded_at_us=quote.recorded_at_us,
    )


def quote_of(tick: Tick) -> Quote:
    """From the bus. Raises BadMessage for a number that is none, or has more digits than a price can."""
    if not all(
        is_plain(one)
        for one in (tick.bid, tick.ask, tick.bid_size, tick.ask_size, tick.last, tick.prev_close)
    ):
        raise BadMessage
    return Quote(
        symbol=tick.symbol,
        bid=tick.bid,
        ask=tick.ask,
        bid_size=tick.bid_size,
        ask_size=tick.ask_size,
        last=tick.last,
        prev_close=tick.prev_close,
        as_of_us=tick.as_of_us,
        sequence=tick.source_sequence,
        source=tick.source,
        stale=tick.stale,
        confirmed_us=tick.confirmed_us,
        recorded_at_us=tick.recorded_at_us,
    )


def is_plain(number: Decimal) -> bool:
    """Whether a price or size is a number of a sensible length, not below zero: `1E+999999999` would fill the memory of
    whoever writes it out."""
    sign, digits, exponent = number.as_tuple()
    return (
        isinstance(exponent, int)
        and not (sign and number)
        and exponent >= -_MOST_DIGITS
        and len(digits) <= _MOST_DIGITS
        and len(digits) + exponent <= _MOST_BEFORE_POINT
    )
