"""Orders of days that are over, where the provider still tells them: asked seldom, for it is not made for polling (ADR 0025)."""

import asyncio
from datetime import date, timedelta
from typing import Any

import structlog

from paiid.brokers import BrokerOrderView, BrokerRejected
from paiid.brokers.tradier.day_view import Ours, looks_ours, member_of, named
from paiid.brokers.tradier.listing import DayList
from paiid.brokers.tradier.readers import read
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock
from paiid.domain.calendar import eastern_date
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.values import fields_of, text_of

_DAYS = 30
"""The filtered list spans at most a month (section 6.6)."""
_AGAIN_S = 600.0
_MAX_PAGES = 40
_log = structlog.get_logger("paiid.tradier")


class PastOrders:
    """The orders of the last month that have ended, kept for a while."""

    def __init__(self, clock: Clock, session: Session, day_list: DayList, ours: Ours = looks_ours) -> None:
        self._clock = clock
        self._session = session
        self._day_list = day_list
        self._ours = ours
        self._ended: dict[str, BrokerOrderView] = {}
        self._asked_s: float | None = None
        self._asked_on: date | None = None
        self._lock = asyncio.Lock()

    async def find(self, broker_order_id: str, deadline: Deadline) -> BrokerOrderView | None:
        """The end of an order, exit or leg as it is told now; None: it is not told, which proves nothing. Raises BrokerError."""
        async with self._lock:
            await self._refresh(deadline)
        view = self._ended.get(broker_order_id)
        return None if view is None else member_of(view, broker_order_id)

    async def _refresh(self, deadline: Deadline) -> None:
        today = eastern_date(self._clock.now_us())
        now_s = self._clock.monotonic_s()
        if self._asked_on == today and self._asked_s is not None and now_s - self._asked_s < _AGAIN_S:
            return
        try:
            rows = await self._fetch(today, deadline)
        except BrokerRejected as refusal:
            if refusal.code in ("rate_limited", "invalid_credentials"):
                raise
            # It is not offered everywhere.
            _log.info("tradier_past_orders_not_told", reason=str(refusal))
            rows = []
        self._asked_s, self._asked_on = now_s, today
        self._ended = {}
        for row in rows:
            reading = read(row, self._session.number or "")
            if reading is None or reading.unpriced or reading.view.status not in TERMINAL_STATUSES:
                continue
            view = named(reading.view, self._ours)
            for one in (*reading.aliases, *(leg.broker_order_id for leg in view.legs), view.broker_order_id):
                self._ended[one] = view

    async def _fetch(self, today: date, deadline: Deadline) -> list[Any]:
        query = {
            "filter": "all",
            "start": (today - timedelta(days=_DAYS)).isoformat(),
            "end": today.isoformat(),
        }
        rows: dict[str, Any] = {}
        for page in range(1, _MAX_PAGES + 1):
            told = await self._day_list.fetch_rows(
                {**query, "page": str(page)}, deadline, Priority.BACKGROUND
            )
            fresh = {
                key: row for row in told if (key := text_of(fields_of(row).get("id"))) and key not in rows
            }
            if not fresh:
                return list(rows.values())
            rows.update(fresh)
        # What is not told proves nothing, so that what was told is of use without the rest.
        _log.warning("tradier_past_orders_too_many", account=self._session.number, read=len(rows))
        return list(rows.values())
