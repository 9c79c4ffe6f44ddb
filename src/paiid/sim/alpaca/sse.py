"""Order updates as server-sent events (`GET /v2/events/trades`, used by the Go SDK), with a replay of what was missed.

Each event is the data of a trade update with `at` and `event_id`. Ids sort as text in the order of the events.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.errors import AlpacaError
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.hub import Hub
from paiid.sim.engine.audience import Message, Subscription
from paiid.sim.engine.connection import connection_of, taken

__all__ = ["EventStream", "event_id"]

_HEARTBEAT_S = 10.0
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z", re.ASCII)
_INDEX_BITS = 16
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


def event_id(cursor: int, index: int) -> str:
    """26 characters as a ULID has them; of the venue's event number and the place among what that event makes."""
    number = cursor << _INDEX_BITS | index
    return "".join(_CROCKFORD[number >> 5 * place & 31] for place in reversed(range(26)))


@dataclass(frozen=True, slots=True)
class _Window:
    """Which events are asked for; instants in microseconds. Without a beginning there is no replay."""

    since_us: int | None
    until_us: int | None
    since_id: str | None
    until_id: str | None

    @property
    def replays(self) -> bool:
        """Whether it begins in the past."""
        return self.since_us is not None or self.since_id is not None

    @property
    def ends(self) -> bool:
        """Whether it has an end."""
        return self.until_us is not None or self.until_id is not None

    def has_begun(self, message: Message) -> bool:
        """Whether this event is not before its beginning."""
        return not (
            (self.since_us is not None and message.at_us < self.since_us)
            or (self.since_id is not None and event_id(message.cursor, message.index) <= self.since_id)
        )

    def has_ended(self, message: Message) -> bool:
        """Whether this event is behind its end."""
        return (self.until_us is not None and message.at_us > self.until_us) or (
            self.until_id is not None and event_id(message.cursor, message.index) > self.until_id
        )


@dataclass(slots=True)
class EventStream:
    """The endpoint, for callers whose keys are checked. `close_all` ends every answer that is under way."""

    hub: Hub
    _ending: set[asyncio.Event] = field(default_factory=set)

    def close_all(self) -> None:
        """End every stream."""
        for one in list(self._ending):
            one.set()

    async def __call__(self, exchange: Exchange, account: SimAccount, request: Request) -> Response:
        """The answer. Raises AlpacaError for a beginning or an end that cannot be read."""
        window = _window(request)
        headers = {"cache-control": "no-cache"}
        events = self._events(exchange, account, window, request)
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    async def _events(
        self, exchange: Exchange, account: SimAccount, window: _Window, request: Request
    ) -> AsyncIterator[bytes]:
        connection = connection_of(request.scope)
        ending = asyncio.Event()

        def cut() -> None:
            if connection is not None:
                connection.reset()
            ending.set()

        subscription = Subscription(account.number, cut, lambda: None)
        exchange.ledger.append("events_begin", account=account.number)
        self._ending.add(ending)
        # Joined before the past is read, and the past is read up to this mark: nothing is missed and nothing told twice.
        self.hub.audience.join(subscription)
        mark = self.hub.mark()
        try:
            yield b": welcome\n\n"
            if window.replays:
                for message in await self.hub.replay(account.number, mark):
                    if window.has_ended(message):
                        return
                    if window.has_begun(message):
                        yield _frame(message)
            while not (window.until_us is not None and exchange.clock.now_us() > window.until_us):
                heard, found = await _next(subscription, ending)
                if heard and found is None:
                    await taken(connection, exchange.clock)
                    cut()
                if ending.is_set() or (found is not None and window.has_ended(found)):
                    return
                if found is None:
                    yield b": heartbeat\n\n"
                elif window.has_begun(found):
                    yield _frame(found)
                    found.sent.set()
        finally:
            self._ending.discard(ending)
            self.hub.audience.leave(subscription)


async def _next(subscription: Subscription, ending: asyncio.Event) -> tuple[bool, Message | None]:
    """Whether there was anything for a while before the stream is to end, and what: None is to be cut off."""
    getting = asyncio.ensure_future(subscription.queue.get())
    leaving = asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({getting, leaving}, timeout=_HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
        return (True, getting.result()) if getting.done() else (False, None)
    finally:
        getting.cancel()
        leaving.cancel()


def _frame(message: Message) -> bytes:
    body = {
        "at": message.data["timestamp"],
        "event_id": event_id(message.cursor, message.index),
        **message.data,
    }
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _window(request: Request) -> _Window:
    query = request.query_params
    ids = {name: query.get(name) for name in ("since_id", "until_id")}
    for name, one in ids.items():
        if one is not None and not _ID.match(one):
            raise _malformed(name)
    since, until = _instant(query.get("since"), "since"), _instant(query.get("until"), "until")
    if since is not None and ids["since_id"] is not None:
        raise AlpacaError(400, 40010000, "only one of since and since_id is accepted")
    if (until is not None or ids["until_id"] is not None) and since is None and ids["since_id"] is None:
        raise AlpacaError(400, 40010000, "until needs since, and until_id needs since_id")
    return _Window(since, until, ids["since_id"], ids["until_id"])


def _instant(text: str | None, name: str) -> int | None:
    """A date or RFC 3339 as microseconds since the epoch."""
    if text is None:
        return None
    try:
        # A plus in a query that nobody has quoted is a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+"))
    except ValueError:
        raise _malformed(name) from None
    if moment.tzinfo is None:
        if not _DAY.match(text.strip()):
            raise _malformed(name)
        moment = moment.replace(tzinfo=UTC)
    past: Any = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return int(past.total_seconds() * 1_000_000)


def _malformed(name: str) -> AlpacaError:
    return AlpacaError(400, 40010000, f"{name} is malformed")
