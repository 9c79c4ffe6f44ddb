"""Today's orders, by as few requests as will do: whoever asks at the same time shares one listing (tradier.md, 6.6)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from paiid.brokers import BrokerError, BrokerOrderView, OutcomeUnknown
from paiid.brokers.tradier.day_view import DayView, Ours, looks_ours, member_of, named, view_of
from paiid.brokers.tradier.known_orders import KnownOrders
from paiid.brokers.tradier.readers import Reading, read
from paiid.brokers.tradier.refusals import judge_read, no_such_order
from paiid.brokers.tradier.sent_orders import SentOrders
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock
from paiid.domain.calendar import eastern_date
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.tradier.lists import absent, as_list
from paiid.wires.tradier.wire import LIST_CAP
from paiid.wires.values import fields_of, text_of

__all__ = ["DayList", "DayView"]

_FRESH_S = 1.0
"""How old a listing may be that somebody in the background is given."""
_BACKGROUND_WAIT_S = 0.5
"""How long a listing that nobody waits for keeps its turn while there is no place in the budget."""
_OVERTAKES_S = 1.0
"""So long an urgent listing waits for one of the background that is under way: its answer may never come."""
_MAX_PAGES = 200
_PAGE_STEP = 5
"""How many orders are on a page is told nowhere; that it is a multiple of this is all that is assumed."""
_log = structlog.get_logger("paiid.tradier")


class _Flight:
    """One listing, and those who wait for it. Before it begins it takes the urgency of its most urgent."""

    def __init__(self) -> None:
        self.priority = Priority.BACKGROUND
        self.deadline: Deadline | None = None
        self.landed: asyncio.Future[DayView] = asyncio.get_running_loop().create_future()
        # Whoever asked may be gone by the time it fails.
        self.landed.add_done_callback(lambda done: None if done.cancelled() else done.exception())

    def join(self, deadline: Deadline, priority: Priority) -> None:
        """Somebody more waits."""
        self.priority = min(self.priority, priority)
        if self.deadline is None or self.deadline.left_s < deadline.left_s:
            self.deadline = deadline

    async def result(self, deadline: Deadline) -> DayView:
        """What it shows. Raises BrokerError."""
        try:
            async with asyncio.timeout(max(0.0, deadline.left_s)):
                return await asyncio.shield(self.landed)
        except TimeoutError:
            raise OutcomeUnknown("the broker's list of orders did not come in time") from None


class DayList:
    """The order list of one account. One listing is under way and one waits for it; only an urgent one overtakes one of the
    background that hangs."""

    def __init__(self, clock: Clock, session: Session, ours: Ours = looks_ours) -> None:
        self.known = KnownOrders()
        self.sent = SentOrders(clock)
        self.latest: DayView | None = None
        self._clock = clock
        self._session = session
        self._ours = ours
        self._running: _Flight | None = None
        self._waiting: _Flight | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._hearers: list[Callable[[DayView], None]] = []
        self._as_read: dict[str, tuple[object, Reading]] = {}
        """The rows of the last listing by id, and what was read in them: most of a day's orders are told again as they were."""
        self._fits = 0
        """So many orders have been seen on a first page with nothing behind it."""
        self._has_pages = True

    def hear(self, hearer: Callable[[DayView], None]) -> None:
        """Have every listing told, whoever asked for it."""
        self._hearers.append(hearer)

    def hear_no_more(self, hearer: Callable[[DayView], None]) -> None:
        """The end of that."""
        self._hearers.remove(hearer)

    async def fetch(
        self, deadline: Deadline, *, priority: Priority, at_most_s: float | None = None
    ) -> DayView:
        """A listing that began after this call; in the background one that is at most a second old (`at_most_s`) will do.
        Raises BrokerError."""
        if at_most_s is None:
            at_most_s = _FRESH_S if priority is Priority.BACKGROUND else 0.0
        latest = self.latest
        if latest is not None and self._clock.monotonic_s() - latest.began_s < at_most_s:
            return latest
        flight = self._waiting or self._plan()
        flight.join(deadline, priority)
        return await flight.result(deadline)

    def _plan(self) -> _Flight:
        flight = self._waiting = _Flight()
        task = asyncio.create_task(self._fly(flight, self._running), name="paiid-tradier-orders")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(self, flight: _Flight, before: _Flight | None) -> None:
        try:
            while before is not None and not before.landed.done():
                await asyncio.wait({before.landed}, timeout=_OVERTAKES_S)
                if flight.priority < before.priority:
                    break
            # Who asks from here on wants a listing that begins later.
            self._waiting, self._running = None, flight
            look = await self._read_day(flight)
        except BrokerError as problem:
            flight.landed.set_exception(problem)
        except BaseException:
            flight.landed.set_exception(OutcomeUnknown("the broker's list of orders could not be read"))
            raise
        else:
            flight.landed.set_result(look)
            if self.latest is None or self.latest.began_s <= look.began_s:
                # One that was overtaken is news to nobody but those who asked for it.
                self.latest = look
                for hearer in list(self._hearers):
                    hearer(look)
        finally:
            self._waiting = None if self._waiting is flight else self._waiting
            self._running = None if self._running is flight else self._running

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- reading --------------------------------------------------------------------------------------

    async def _read_day(self, flight: _Flight) -> DayView:
        deadline = flight.deadline or Deadline(self._clock, 0.0)
        began_s, day = self._clock.monotonic_s(), eastern_date(self._clock.now_us())
        wait_s = _BACKGROUND_WAIT_S if flight.priority is Priority.BACKGROUND else None
        rows: dict[str, Any] = {}
        for page in range(1, _MAX_PAGES + 1):
            told = await self.fetch_rows({"page": str(page)}, deadline, flight.priority, wait_s)
            fresh = {_key_of(row): row for row in told if _key_of(row) not in rows}
            rows.update(fresh)
            if not fresh:
                self._learn(rows, asked=page, repeated={_key_of(row) for row in told} == rows.keys())
                break
            if page == 1 and not self._may_go_on(len(told)):
                break
        else:
            raise OutcomeUnknown("the broker's list of orders could not be read to its end")
        if page > 1 and eastern_date(self._clock.now_us()) != day:
            raise OutcomeUnknown("the day changed while the broker's list of orders was read")
        return self._look(list(rows.values()), began_s, day)

    def _may_go_on(self, count: int) -> bool:
        """Whether there may be a second page behind a first one with so many orders: each page more costs a request of the
        few, at every look."""
        return self._has_pages and (count > self._fits or (count == self._fits and count % _PAGE_STEP == 0))

    def _learn(self, rows: Mapping[str, Any], asked: int, *, repeated: bool) -> None:
        if asked == 2:
            self._fits = max(self._fits, len(rows))
            # One that gives the same again has no pages: it tells everything at once. A part of the same is what a new
            # order has pushed over from the first page.
            self._has_pages = self._has_pages and not repeated

    async def fetch_rows(
        self, query: Mapping[str, str], deadline: Deadline, priority: Priority, wait_s: float | None = None
    ) -> list[Any]:
        """One page of orders, unread. Raises BrokerError."""
        answer = await self._session.send(
            "GET",
            self._session.path("orders"),
            deadline,
            priority=priority,
            query={"includeTags": "true", **query},
            cap=LIST_CAP,
            wait_s=wait_s,
        )
        data = judge_read(answer)
        orders = fields_of(data).get("orders", data)
        if orders is data or not (isinstance(orders, dict) or absent(orders) or orders == []):
            raise OutcomeUnknown("the broker answered with no list of orders")
        return as_list(orders, "order")

    def _look(self, rows: list[Any], began_s: float, day: Any) -> DayView:
        views: list[tuple[BrokerOrderView, tuple[str, ...]]] = []
        again: set[str] = set()
        as_read: dict[str, tuple[object, Reading]] = {}
        unread = 0
        for row in rows:
            reading = self._read(row, as_read)
            if reading is None or not reading.whole:
                unread += 1
            if reading is None:
                continue
            view = self.known.take(reading)
            views.append((view, reading.aliases))
            self.sent.drop(view.client_order_id)
            if reading.unpriced:
                again.add(reading.view.broker_order_id)
        self._as_read = as_read
        doubtful = [view.broker_order_id for view, _ in views if self.sent.may_be(view)]
        if doubtful:
            # As good as not read: neither somebody else's, nor a proof that ours is not there.
            _log.warning("tradier_tag_missing", account=self._session.number, orders=doubtful)
            views = [one for one in views if one[0].broker_order_id not in doubtful]
            unread += len(doubtful)
        return view_of(views, self._ours, again=frozenset(again), unread=unread, began_s=began_s, day=day)

    def _read(self, row: object, as_read: dict[str, tuple[object, Reading]]) -> Reading | None:
        key = _key_of(row)
        before = self._as_read.get(key)
        reading = read(row, self._session.number or "") if before is None or before[0] != row else before[1]
        if reading is not None:
            as_read[key] = (row, reading)
        return reading

    # -- one order ------------------------------------------------------------------------------------

    async def fetch_by_id(
        self, broker_order_id: str, deadline: Deadline, *, priority: Priority
    ) -> BrokerOrderView | None:
        """One order, exit or leg by a request of its own; None: the account has none with this id. Raises BrokerError."""
        view = await self._fetch_root(self.known.root_of(broker_order_id), deadline, priority)
        if view is None:
            return None
        # What is told as a leg alone does not say what it hangs on, unless it names it.
        return member_of(view, broker_order_id)

    async def _fetch_root(
        self, order_id: str, deadline: Deadline, priority: Priority, *, up: bool = True
    ) -> BrokerOrderView | None:
        answer = await self._session.send(
            "GET",
            self._session.path("orders", order_id),
            deadline,
            priority=priority,
            query={"includeTags": "true"},
        )
        if no_such_order(answer):
            return None
        rows = as_list(judge_read(answer), "order")
        parent_id = text_of(fields_of(rows[0]).get("parent_id")) if rows else None
        if parent_id is not None and up and not absent(parent_id) and parent_id not in ("0", order_id):
            parent = await self._fetch_root(parent_id, deadline, priority, up=False)
            if parent is not None:
                return parent
        view = self.read_one(rows[0], self._session.number or "") if len(rows) == 1 else None
        if view is None:
            raise OutcomeUnknown("the broker's answer has no order that can be read")
        return view

    def read_one(self, row: object, account_number: str) -> BrokerOrderView | None:
        """An order that was told by itself, as what was known of it makes it; None where it cannot be read."""
        reading = read(row, account_number)
        return None if reading is None or not reading.whole else named(self.known.take(reading), self._ours)


def _key_of(row: Any) -> str:
    """Tells the orders of several pages apart; what has no id is itself."""
    return text_of(fields_of(row).get("id")) or repr(row)
