"""One question to Tradier's market data and what its end means: an answer, or that the source is not available, in words that are
safe to show."""

from collections.abc import Mapping

import structlog

from paiid.core.clock import Clock
from paiid.feeds import FeedUnavailable
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governor, Priority, Spent
from paiid.wires.outbound import Broken, NotBegun, TooLong
from paiid.wires.tradier.lists import absent
from paiid.wires.tradier.wire import LIST_CAP, OBJECT_CAP, Answer, TradierWire
from paiid.wires.values import fields_of

__all__ = ["LIST_CAP", "OBJECT_CAP", "Asking", "container_of"]

_SLOW = 4
_PLACE_S = 1.0
"""How long a question that somebody waits for may wait for its place in the budget."""
_OF_THE_QUESTION = frozenset({400, 404})
_log = structlog.get_logger("paiid.feeds.tradier")


class Asking:
    """Questions of the bucket "market" with one token."""

    def __init__(self, clock: Clock, wire: TradierWire, request_s: float) -> None:
        self._clock = clock
        self._wire = wire
        self._request_s = request_s

    @property
    def budget(self) -> Governor:
        """Requests of the market data bucket."""
        return self._wire.governor("market")

    async def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        priority: Priority = Priority.READ,
        cap: int = OBJECT_CAP,
        slow: bool = False,
    ) -> Answer:
        """An answer of 200 that could be read, or one of 400 or 404, which says something about the question. `slow` ones have
        four times as long. Raises FeedUnavailable."""
        return await self._ask("GET", path, priority, cap, query=query, slow=slow)

    async def post(
        self, path: str, form: Mapping[str, str], *, priority: Priority = Priority.READ, cap: int = OBJECT_CAP
    ) -> Answer:
        """The same for a question whose parameters are too long for an address. Raises FeedUnavailable."""
        return await self._ask("POST", path, priority, cap, form=form)

    async def _ask(
        self,
        method: str,
        path: str,
        priority: Priority,
        cap: int,
        *,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        slow: bool = False,
    ) -> Answer:
        deadline = Deadline(self._clock, self._request_s * (_SLOW if slow else 1))
        # What can come later does not queue: it comes later.
        wait_s = 0.0 if priority is Priority.BACKGROUND else _PLACE_S
        try:
            answer = await self._wire.send(
                method, path, deadline, priority=priority, query=query, form=form, cap=cap, wait_s=wait_s
            )
        except Spent as spent:
            raise FeedUnavailable(f"Tradier's market data: {spent}") from None
        except TooLong as problem:
            _log.error("tradier_data_answer_too_long", path=path, cap=cap)
            raise FeedUnavailable(f"Tradier's market data: {problem}") from None
        except (NotBegun, Broken) as problem:
            raise FeedUnavailable(f"Tradier's market data: {problem}") from None
        return self._judge(path, answer)

    def _judge(self, path: str, answer: Answer) -> Answer:
        status = answer.status
        if status in (401, 403):
            _log.error("tradier_data_refused", keys=self._wire.keys.label, path=path, status=status)
            raise FeedUnavailable(f"Tradier does not give us these market data with our token ({status})")
        if status == 429:
            _log.warning("tradier_data_throttled", keys=self._wire.keys.label, path=path)
            raise FeedUnavailable("Tradier takes no more requests for now (429)")
        if status in _OF_THE_QUESTION:
            return answer
        if not 200 <= status < 300:
            _log.warning("tradier_data_failed", path=path, status=status)
            raise FeedUnavailable(f"Tradier's market data answered {status}")
        if not answer.readable:
            _log.error("tradier_data_unreadable", path=path)
            raise FeedUnavailable("Tradier's market data answered something unreadable")
        return answer


def container_of(answer: Answer, name: str) -> Mapping[str, object]:
    """The fields of `{"name": {…}}`; none where that is null or the text "null" (section 3). Raises FeedUnavailable for an answer
    that has no such thing: an error may come with 200."""
    told = fields_of(answer.data)
    if not answer.ok or name not in told:
        raise FeedUnavailable(f"Tradier's market data answered without {name} ({answer.status})")
    held = told[name]
    if not absent(held) and not isinstance(held, dict):
        raise FeedUnavailable(f"Tradier's market data answered {name} in a form that cannot be read")
    return fields_of(held)
