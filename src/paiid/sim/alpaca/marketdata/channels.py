"""What one socket of the market data stream is subscribed to: additive, subtractive, and within the plan's limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ALL",
    "ALREADY_AUTHENTICATED",
    "AUTH_FAILED",
    "AUTH_TIMEOUT",
    "CONNECTION_LIMIT",
    "ERRORS",
    "FAMILIES",
    "INSUFFICIENT_SUBSCRIPTION",
    "INVALID_SYNTAX",
    "NOT_AUTHENTICATED",
    "SLOW_CLIENT",
    "SYMBOL_LIMIT",
    "Family",
    "Refused",
    "Subscriptions",
    "changed",
]

INVALID_SYNTAX = 400
NOT_AUTHENTICATED = 401
AUTH_FAILED = 402
ALREADY_AUTHENTICATED = 403
AUTH_TIMEOUT = 404
SYMBOL_LIMIT = 405
CONNECTION_LIMIT = 406
SLOW_CLIENT = 407
INSUFFICIENT_SUBSCRIPTION = 409
INVALID_ACTION = 410
ERRORS = {
    INVALID_SYNTAX: "invalid syntax",
    NOT_AUTHENTICATED: "not authenticated",
    AUTH_FAILED: "auth failed",
    ALREADY_AUTHENTICATED: "already authenticated",
    AUTH_TIMEOUT: "auth timeout",
    SYMBOL_LIMIT: "symbol limit exceeded",
    CONNECTION_LIMIT: "connection limit exceeded",
    SLOW_CLIENT: "slow client",
    INSUFFICIENT_SUBSCRIPTION: "insufficient subscription",
    INVALID_ACTION: "invalid subscribe action for this feed",
}
ALL = "*"
MAX_SYMBOLS = 20_000
"""Names in all channels of one socket together, whatever the plan."""
_MAX_NAME = 32


class Refused(Exception):
    """A no of the stream, by its code."""

    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code])
        self.code = code

    @property
    def message(self) -> dict[str, Any]:
        """As the client is told."""
        return {"T": "error", "code": self.code, "msg": ERRORS[self.code]}


@dataclass(frozen=True, slots=True)
class Family:
    """The feeds of one kind of instrument: their channels in the order of an acknowledgement, those that come with trades
    by themselves, those whose symbols the plan counts, and those that take `*`."""

    name: str
    feeds: tuple[str, ...]
    channels: tuple[str, ...]
    with_trades: tuple[str, ...]
    counted: tuple[str, ...]
    for_all: tuple[str, ...]


FAMILIES = {
    one.name: one
    for one in (
        Family(
            "stocks",
            ("iex", "sip", "delayed_sip", "test"),
            ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds"),
            ("corrections", "cancelErrors"),
            ("trades", "quotes"),
            ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds"),
        ),
        Family(
            "options", ("indicative", "opra"), ("trades", "quotes"), (), ("trades", "quotes"), ("trades",)
        ),
    )
}
_ANYWHERE = frozenset(
    {"trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections"}
    | {"cancelErrors", "orderbooks", "news", "imbalances"}
)
"""Channels that exist in some feed: to ask for one in another feed is a mistake of its own."""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Channel to symbols, in the order in which they came."""

    channels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def wants(self, channel: str, symbol: str) -> bool:
        """Whether a message of this channel about this symbol is to be sent."""
        names = self.channels.get(channel, ())
        return symbol in names or ALL in names

    def of(self, *channels: str) -> frozenset[str]:
        """The names in these channels together."""
        return frozenset(one for channel in channels for one in self.channels.get(channel, ()))

    def message(self, family: Family) -> dict[str, Any]:
        """The acknowledgement: the whole set. Corrections and cancels of trades come with the trades."""
        told: dict[str, Any] = {"T": "subscription"}
        told.update({channel: list(self.channels.get(channel, ())) for channel in family.channels})
        told.update({channel: list(self.channels.get("trades", ())) for channel in family.with_trades})
        return told


def changed(now: Subscriptions, message: Mapping[str, Any], family: Family, most: int) -> Subscriptions:
    """The set after a subscribe or unsubscribe message; `most` symbols of trades and quotes, 0 for no limit.

    Raises Refused, and then nothing has changed.
    """
    wished = {key: value for key, value in message.items() if key != "action"}
    if not wished:
        raise Refused(INVALID_SYNTAX)
    adds = message["action"] == "subscribe"
    channels = dict(now.channels)
    for channel, names in wished.items():
        if not isinstance(names, list) or not all(_is_name(one) for one in names) or channel not in _ANYWHERE:
            raise Refused(INVALID_SYNTAX)
        if channel in family.with_trades:
            continue
        if channel not in family.channels:
            raise Refused(INVALID_ACTION)
        if adds and ALL in names and channel not in family.for_all:
            raise Refused(INVALID_ACTION)
        held = channels.get(channel, ())
        if adds:
            channels[channel] = tuple(dict.fromkeys((*held, *names)))
        else:
            gone = frozenset(names)
            channels[channel] = tuple(one for one in held if one not in gone)
    after = Subscriptions(channels)
    if adds and not _is_within(after, family, most):
        raise Refused(SYMBOL_LIMIT)
    return after


def _is_within(wanted: Subscriptions, family: Family, most: int) -> bool:
    if sum(len(names) for names in wanted.channels.values()) > MAX_SYMBOLS:
        return False
    counted = wanted.of(*family.counted)
    return most == 0 or (len(counted) <= most and ALL not in counted)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _MAX_NAME
