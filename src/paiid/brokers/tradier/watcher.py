"""Looks at the order list when there is reason to, and tells what has changed in it."""

import asyncio
from collections.abc import Callable, Iterator

import structlog

from paiid.brokers import BrokerError, BrokerOrderView, BrokerUpdate
from paiid.brokers.tradier.connection import TradierTimings
from paiid.brokers.tradier.day_view import DayView
from paiid.brokers.tradier.listing import DayList
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority

__all__ = ["Watcher", "pause_between"]

_CLOCKS_US = 600_000_000
"""More than the broker's clock and ours may differ by."""
_MAX_EXTRA_LOOKS = 16
_MAX_OFFERED = 1_000
_LOST_S = 60.0
"""After no look has come to anything for this long, what happened meanwhile has to be fetched."""
_log = structlog.get_logger("paiid.tradier")


class Watcher:
    """One reader's looks. Whatever anybody has listed or read is told, so that few looks are its own."""

    def __init__(
        self,
        clock: Clock,
        session: Session,
        day_list: DayList,
        timings: TradierTimings,
        streams: Callable[[], bool],
    ) -> None:
        """`streams` says whether the account stream wakes us now."""
        self._clock = clock
        self._session = session
        self._day_list = day_list
        self._timings = timings
        self._streams = streams
        self._told: dict[str, BrokerOrderView] = {}
        self._working: frozenset[str] = frozenset()
        self._first = True
        self._news: DayView | None = None
        self._offered: list[BrokerOrderView] = []
        self._resync = False
        self._stirred = asyncio.Event()
        self._extra: list[float] = []
        self._regular_s = 0.0
        self._looked_s = -_LOST_S
        self._tries = 0
        self._failing_since_s: float | None = None

    # -- what stirs it --------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Look soon, and once more a little later."""
        now_s = self._clock.monotonic_s()
        self._look_at(*(now_s + pause_s for pause_s in self._timings.nudged_s))

    def wake(self) -> None:
        """Look now."""
        self._look_at(self._clock.monotonic_s())

    def resync(self) -> None:
        """The stream has begun (again): what was before it has to be fetched."""
        self._resync = True
        self.wake()

    def offer(self, view: BrokerOrderView) -> None:
        """Somebody has looked this order up. One that the list has is told from the list alone, whose looks come one after the
        other: what was read for the look-up may be older than the newest of them."""
        latest = self._day_list.latest
        if latest is not None and latest.by_id(view.broker_order_id) is not None:
            return
        self._offered = [*self._offered[-_MAX_OFFERED:], view]
        self._stirred.set()

    def heard(self, look: DayView) -> None:
        """Somebody has listed the orders."""
        self._news = look
        self._stirred.set()

    def _look_at(self, *times_s: float) -> None:
        self._extra = sorted([*self._extra, *times_s])[:_MAX_EXTRA_LOOKS]
        self._stirred.set()

    # -- the loop -------------------------------------------------------------------------------------

    async def run(self, queue: "asyncio.Queue[BrokerUpdate]", after: int) -> None:
        """Tell a resync, then what changes, until cancelled. `after` is the instant of the last update that was read."""
        number = await self._learn()
        await queue.put(BrokerUpdate(0, None, resync=number))
        self._day_list.hear(self.heard)
        try:
            while True:
                await self._look()
                await self._tell_news(queue, after)
                await self._wait(queue, after)
        finally:
            self._day_list.hear_no_more(self.heard)

    async def _learn(self) -> str:
        pause_s = self._timings.first_pause_s
        while True:
            try:
                deadline = Deadline(self._clock, self._timings.request_s)
                return await self._session.learn_number(deadline, priority=Priority.BACKGROUND)
            except BrokerError as problem:
                _log.warning("tradier_account_unknown", reason=str(problem))
                await self._clock.sleep(pause_s)
                pause_s = min(2 * pause_s, self._timings.longest_pause_s)

    async def _look(self) -> None:
        """One listing of our own, which is heard like anybody's."""
        began_s = self._looked_s = self._clock.monotonic_s()
        self._extra = [at_s for at_s in self._extra if at_s > began_s]
        deadline = Deadline(self._clock, self._timings.request_s)
        try:
            look = await self._day_list.fetch(deadline, priority=Priority.BACKGROUND, at_most_s=0.0)
        except BrokerError as problem:
            if self._failing_since_s is None:
                _log.warning("tradier_look_failed", account=self._session.number, reason=str(problem))
                self._failing_since_s = began_s
            self._tries += 1
            pause_s = min(self._timings.working_s * 2 ** min(self._tries - 1, 8), self._timings.idle_s)
        else:
            if self._failing_since_s is not None and began_s - self._failing_since_s >= _LOST_S:
                self._resync = True
            self._failing_since_s = None
            self._tries = self._tries + 1 if look.again else 0
            pause_s = self._pause_after(look)
        self._regular_s = self._clock.monotonic_s() + pause_s

    def _pause_after(self, look: DayView) -> float:
        """Until the next look that nothing asks for: sooner while something works, later while the budget is small."""
        timings = self._timings
        if look.again:
            if self._tries == len(timings.again_s):
                _log.error(
                    "tradier_fill_without_price", account=self._session.number, orders=sorted(look.again)
                )
            return timings.again_s[min(self._tries, len(timings.again_s)) - 1]
        working = any(
            one.status not in TERMINAL_STATUSES for view in look.views for one in (view, *view.legs)
        )
        if not working:
            return timings.idle_s
        return pause_between(timings, woken=self._streams(), left=self._left())

    async def _wait(self, queue: "asyncio.Queue[BrokerUpdate]", after: int) -> None:
        """Until the next look is due; what others have seen meanwhile is told at once."""
        while True:
            self._stirred.clear()
            await self._tell_news(queue, after)
            left_s = self._due_s() - self._clock.monotonic_s()
            if left_s <= 0:
                return
            waits = (
                asyncio.ensure_future(self._stirred.wait()),
                asyncio.ensure_future(self._clock.sleep(left_s)),
            )
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()

    def _due_s(self) -> float:
        """When the next look is: what is asked for in between is not looked at one by one."""
        if not self._extra:
            return self._regular_s
        left = self._left()
        gap_s = max(self._timings.gap_s, 12.0 / left if left else self._timings.idle_s)
        return min(self._regular_s, max(self._extra[0], self._looked_s + gap_s))

    def _left(self) -> int:
        return self._session.wire.governor("standard").left_for(Priority.BACKGROUND)

    # -- telling --------------------------------------------------------------------------------------

    async def _tell_news(self, queue: "asyncio.Queue[BrokerUpdate]", after: int) -> None:
        look, self._news = self._news, None
        offered, self._offered = self._offered, []
        if look is not None:
            for update in self._changes(look, after):
                await queue.put(update)
        for view in offered:
            for update in self._change(view):
                await queue.put(update)
        if self._resync:
            self._resync = False
            await queue.put(BrokerUpdate(0, None, resync=self._session.number))

    def _changes(self, look: DayView, after: int) -> Iterator[BrokerUpdate]:
        # What the list knows no more was told for the last time.
        self._told = {order_id: view for order_id, view in self._told.items() if order_id in look.ids}
        working = frozenset(
            view.broker_order_id for view in look.views if view.status not in TERMINAL_STATUSES
        )
        if any(order_id not in look.ids for order_id in self._working):
            # It has ended unseen, or was forgotten at midnight: who keeps the books must ask.
            self._resync = True
        self._working = working
        for view in look.views:
            if self._first and _is_over(view) and not 0 < after - _CLOCKS_US <= view.updated_at_us:
                # It ended before this reader began, who fetches by himself what of that he needs.
                self._told[view.broker_order_id] = view
            yield from self._change(view)
        self._first = False

    def _change(self, view: BrokerOrderView) -> Iterator[BrokerUpdate]:
        """An order that is not as it was told last, then what hangs on it and is not."""
        before = self._told.get(view.broker_order_id)
        if before == view:
            return
        self._told[view.broker_order_id] = view
        yield BrokerUpdate(0, view)
        legs = {leg.broker_order_id: leg for leg in (() if before is None else before.legs)}
        for leg in view.legs:
            if legs.get(leg.broker_order_id) != leg:
                yield BrokerUpdate(0, leg)


def pause_between(timings: TradierTimings, *, woken: bool, left: int) -> float:
    """Seconds between two looks while an order works. With the requests that are `left` spread over a minute, half of them stay
    for those who ask for other things."""
    usual_s = timings.woken_working_s if woken else timings.working_s
    return max(usual_s, min(timings.idle_s, 120.0 / left if left else timings.idle_s))


def _is_over(view: BrokerOrderView) -> bool:
    return all(one.status in TERMINAL_STATUSES for one in (view, *view.legs))
