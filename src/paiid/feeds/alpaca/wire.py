"""One GET at Alpaca and what its end means: an answer, or that the source is not available, in words that are safe to show."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import structlog

from paiid.core.clock import Clock
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca.keys import AlpacaDataKeys
from paiid.feeds.alpaca.values import digits_of, text_of
from paiid.wires.alpaca.wire import AlpacaWire
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governor, Priority, Spent
from paiid.wires.outbound import Broken, NotBegun, Reply, TooLong
from paiid.wires.values import fields_of

OBJECT_CAP = 1 << 20
LIST_CAP = 16 << 20
ASSETS_CAP = 48 << 20
"""All assets were about 8 MB in 2026."""
_THREAD_FROM = 256 << 10
"""Longer answers are parsed beside the event loop."""
_MOST_CONNECTIONS = 4
_IDLE_S = 20.0
_log = structlog.get_logger("paiid.feeds.alpaca")
_DECODER = msgspec.json.Decoder(float_hook=digits_of)


@dataclass(frozen=True, slots=True)
class Answer:
    """A body that could be read; `status` 200, or one of the three that say something about the question: 400, 404, 422.
    Numbers with a point in it are Decimal, with the digits as sent."""

    status: int
    data: object

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == 200

    @property
    def message(self) -> str:
        """The other side's words; for reading, never for showing."""
        return text_of(fields_of(self.data).get("message")) or ""


class Wire:
    """The connections to one host, whose budget is the governor's; all that is asked here has the one priority."""

    def __init__(
        self,
        clock: Clock,
        keys: AlpacaDataKeys,
        base_url: str,
        governor: Governor,
        *,
        priority: Priority,
        request_s: float = 4.0,
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._governor = governor
        self._priority = priority
        self._request_s = request_s
        self._wire = AlpacaWire(
            keys.key,
            keys.secret,
            base_url,
            governor,
            most_connections=_MOST_CONNECTIONS,
            most_idle=_MOST_CONNECTIONS,
            idle_s=_IDLE_S,
        )

    @property
    def limit(self) -> int:
        """Requests a minute, to all who ask with these keys."""
        return self._governor.limit

    @property
    def left(self) -> int:
        """Requests that may still be made from here in this minute."""
        return self._governor.left_for(self._priority)

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, cap: int = OBJECT_CAP, slow: bool = False
    ) -> Answer:
        """One request within its deadline; `slow` ones have five times as long. Raises FeedUnavailable, at once where the budget is
        spent: whoever asks has another source, or comes again."""
        deadline = Deadline(self._clock, self._request_s * (5 if slow else 1))
        try:
            reply = await self._wire.send(
                "GET", path, deadline, priority=self._priority, query=query, cap=cap, wait_s=0.0
            )
        except Spent:
            raise FeedUnavailable(
                f"the budget of {self.limit} requests a minute at Alpaca is spent for now"
            ) from None
        except TooLong:
            _log.error("alpaca_data_answer_too_long", path=path, cap=cap)
            raise FeedUnavailable(f"Alpaca's answer is longer than {cap} bytes") from None
        except (NotBegun, Broken) as problem:
            raise FeedUnavailable(f"Alpaca's market data could not be reached ({problem})") from None
        return await self._judge(path, reply)

    async def _judge(self, path: str, reply: Reply) -> Answer:
        status, content = reply.status, reply.content
        if status in (401, 403):
            _log.error("alpaca_data_refused", keys=self._keys.label, path=path, status=status)
            raise FeedUnavailable(f"Alpaca does not give us these market data with our keys ({status})")
        if status == 429:
            _log.warning("alpaca_data_throttled", keys=self._keys.label, path=path)
            raise FeedUnavailable("Alpaca takes no more requests for now (429)")
        if status not in (200, 400, 404, 422):
            _log.warning("alpaca_data_failed", path=path, status=status)
            raise FeedUnavailable(f"Alpaca's market data answered {status}")
        try:
            if len(content) < _THREAD_FROM:
                return Answer(status, _DECODER.decode(content))
            return Answer(status, await asyncio.to_thread(_DECODER.decode, content))
        except (msgspec.DecodeError, RecursionError, ValueError):
            if status != 200:
                return Answer(status, None)
            _log.error("alpaca_data_unreadable", path=path, length=len(content))
            raise FeedUnavailable("Alpaca's market data answered something unreadable") from None

    async def close(self) -> None:
        """Close every connection; the next request opens new ones."""
        await self._wire.close()
