"""What ends orders by the clock where the venue does not: a sandbox's midnight, and the end of the morning for `pre`."""

from datetime import time

import structlog

from paiid.brokers import BrokerError, BrokerOrderView, BrokerRejected
from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock
from paiid.core.tasks import Background
from paiid.domain.calendar import MarketHours, eastern_date, eastern_us
from paiid.sim.tradier.accounts import Accounts
from paiid.sim.tradier.ids import Register, parse_name

__all__ = ["Night", "pre_ends_us"]

_LOOK_S = 1.0
_CALL_S = 5.0
_log = structlog.get_logger("paiid.sim")


def pre_ends_us(hours: MarketHours, placed_at_us: int) -> int:
    """When an order for the time before the session ends: at the open."""
    return hours.next_open_us(placed_at_us)


class Night:
    """Looks once a second whether something is over. `drops`: orders of another day are, as in a sandbox."""

    def __init__(
        self,
        venue: PaperBroker,
        clock: Clock,
        hours: MarketHours,
        accounts: Accounts,
        register: Register,
        *,
        drops: bool,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._hours = hours
        self._accounts = accounts
        self._register = register
        self._drops = drops
        self._background = Background(clock)

    def start(self) -> None:
        """Begin to look."""
        self._background.begin("sim-night", self._watch)

    async def stop(self) -> None:
        """End."""
        await self._background.stop()

    async def drop_all(self) -> None:
        """Cancel everything that is open at the venue. Raises BrokerError."""
        for account in self._accounts.all():
            for order in await self._venue.fetch_open_orders(account.number, _CALL_S):
                await self._cancel(order)

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except BrokerError as error:
                _log.warning("sim_night_again", error=str(error))
            await self._clock.sleep(_LOOK_S)

    async def _look(self) -> None:
        if not self._drops and self._hours.never_closes:
            return
        now_us = self._clock.now_us()
        midnight_us = eastern_us(eastern_date(now_us), time())
        for account in self._accounts.all():
            for order in await self._venue.fetch_open_orders(account.number, _CALL_S):
                if self._is_over(order, now_us, midnight_us):
                    await self._cancel(order)

    def _is_over(self, order: BrokerOrderView, now_us: int, midnight_us: int) -> bool:
        name = parse_name(order.client_order_id)
        found = None if name is None else self._register.find(name.id)
        if found is None:
            return False
        placed, _ = found
        if self._drops and placed.at_us < midnight_us:
            return True
        early = placed.duration == "pre" and not self._hours.never_closes
        return early and now_us >= pre_ends_us(self._hours, placed.at_us)

    async def _cancel(self, order: BrokerOrderView) -> None:
        try:
            await self._venue.cancel(order.account_number, order.broker_order_id, _CALL_S)
        except BrokerRejected:
            # It has ended, or ends with the order that it hangs on.
            return
