"""Cancels that were promised with a 204 and that the venue carries out a moment later."""

import asyncio
from collections.abc import Iterable

import structlog

from paiid.brokers import BrokerError, BrokerRejected
from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock

_CALL_S = 5.0
_PAUSE_S = 0.1
_DRAIN_S = 3.0
_ATTEMPTS = 50
_log = structlog.get_logger("paiid.sim")


class PendingCancels:
    """Promised cancels by the venue's order id. A clean stop carries them all out; a kill loses them, as it loses what
    is in the memory of any server."""

    def __init__(self, venue: PaperBroker, clock: Clock) -> None:
        self._venue = venue
        self._clock = clock
        self._pending: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._requested_at_us: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, order_id: object) -> bool:
        return order_id in self._pending

    def requested_at_us(self, order_id: str) -> int | None:
        """When the cancel of this order was promised; None where none is pending."""
        return self._requested_at_us.get(order_id)

    def promise(self, account_number: str, order_id: str, delay_s: float) -> None:
        """Cancel this order (the venue's id) after `delay_s`; a second promise for it changes nothing."""
        if order_id in self._pending:
            return
        hurry = asyncio.Event()
        task = asyncio.create_task(
            self._keep(account_number, order_id, delay_s, hurry), name="paiid-sim-cancel"
        )
        self._pending[order_id] = (task, hurry)
        self._requested_at_us[order_id] = self._clock.now_us()

    async def drain(self, order_ids: Iterable[str] | None = None) -> None:
        """Carry them out now: those of these orders, or all. Waits for them, but not for ever."""
        wanted = list(self._pending) if order_ids is None else order_ids
        waiting = [self._pending[one] for one in wanted if one in self._pending]
        for _, hurry in waiting:
            hurry.set()
        if waiting:
            await asyncio.wait([task for task, _ in waiting], timeout=_DRAIN_S)

    async def stop(self) -> None:
        """Carry out all of them; what the venue does not take in time is lost, and said so."""
        await self.drain()
        for order_id, (task, _) in list(self._pending.items()):
            _log.error("sim_cancel_lost", order_id=order_id)
            task.cancel()

    async def _keep(self, account_number: str, order_id: str, delay_s: float, hurry: asyncio.Event) -> None:
        try:
            await self._wait(delay_s, hurry)
            for _ in range(_ATTEMPTS):
                try:
                    await self._venue.cancel(account_number, order_id, _CALL_S)
                except BrokerRejected:
                    # It filled or ended first: nothing is left to cancel.
                    return
                except BrokerError as error:
                    _log.warning("sim_cancel_again", order_id=order_id, error=str(error))
                    await self._clock.sleep(_PAUSE_S)
                else:
                    return
            _log.error("sim_cancel_lost", order_id=order_id)
        finally:
            del self._pending[order_id]
            self._requested_at_us.pop(order_id, None)

    async def _wait(self, seconds: float, hurry: asyncio.Event) -> None:
        """Sleep, or until a stop is in a hurry."""
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        hurried = asyncio.ensure_future(hurry.wait())
        try:
            await asyncio.wait({sleeping, hurried}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            hurried.cancel()
