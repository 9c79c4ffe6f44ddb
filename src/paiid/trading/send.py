"""Handing one order to its broker: the only place that submits, and the only judge of what came back (E10, E11)."""

from collections.abc import Sequence

import structlog

from paiid.brokers import ORDER_WAIT_S, Broker, BrokerError, BrokerOrderView, BrokerRejected, NotSent
from paiid.core.clock import Clock
from paiid.core.failpoints import FailPoint, Probe
from paiid.domain.orders import Reason
from paiid.trading.commands import Replacing
from paiid.trading.in_place import shows
from paiid.trading.latch import Latch
from paiid.trading.order_rows import as_broker_order
from paiid.trading.prints_of_views import believable
from paiid.trading.record import Outcome
from paiid.trading.records import OrderRow
from paiid.trading.stages import Stages
from paiid.trading.timings import Timings

_log = structlog.get_logger("paiid.trading.send")


class Sender:
    """Sends an order that a committed transaction has marked, at most once."""

    def __init__(
        self, clock: Clock, latch: Latch, timings: Timings, probe: Probe, stages: Stages | None = None
    ) -> None:
        self._stages = stages or Stages(clock)
        self._clock = clock
        self._latch = latch
        self._timings = timings
        self._probe = probe

    async def send(
        self,
        broker: Broker,
        account_number: str,
        order: OrderRow,
        children: Sequence[OrderRow],
        stamp_s: float,
        replacing: Replacing | None = None,
    ) -> Outcome:
        """Place the order with what hangs on it, or put it in another's place.

        Never raises: whatever is no definite answer is an unknown outcome, cancellation included.
        """
        with self._stages.timed("send", broker=broker.name):
            outcome = await self._send(broker, account_number, order, children, stamp_s, replacing)
        self._stages.orders.add(broker.name, _state(outcome))
        return outcome

    async def _send(
        self,
        broker: Broker,
        account_number: str,
        order: OrderRow,
        children: Sequence[OrderRow],
        stamp_s: float,
        replacing: Replacing | None,
    ) -> Outcome:
        reached = False
        try:
            # It may wait as long for its place in the budget, and must then still be within the window (ADR 0026).
            if self._clock.monotonic_s() - stamp_s > self._timings.send_window_s - ORDER_WAIT_S:
                return _not_sent("the send window had passed")
            held = self._latch.holds()
            if held is not None:
                return _not_sent(f"this host is halted by its latch file: {held}")
            self._probe(FailPoint.BEFORE_SEND)
            reached = True
            deadline_s = self._timings.broker_deadline_s
            if replacing is None:
                view = await broker.submit(as_broker_order(order, children, account_number), deadline_s)
            else:
                view = await broker.replace(
                    account_number, replacing.broker_order_id, replacing.change, deadline_s
                )
            self._probe(FailPoint.AFTER_SEND)
            return Outcome(view=believable(view, broker.capabilities))
        except NotSent as problem:
            return _not_sent(str(problem))
        except BrokerRejected as refusal:
            return await self._confirm(broker, account_number, order, replacing, refusal)
        except BrokerError as problem:
            return Outcome(unknown=str(problem))
        except BaseException as error:  # noqa: BLE001 - after the claim everything else is unknown (E11)
            _log.error("send_failed", order=order.id, error=type(error).__name__)
            return (
                Outcome(unknown="the call broke off")
                if reached
                else _not_sent("the call broke off before it")
            )

    async def _confirm(
        self,
        broker: Broker,
        account_number: str,
        order: OrderRow,
        replacing: Replacing | None,
        refusal: BrokerRejected,
    ) -> Outcome:
        """A refusal is believed once a look-up a little later finds nothing."""
        try:
            await self._clock.sleep(broker.refusal_lookup_delay_s)
            found = await self._find(broker, account_number, order, replacing)
        except BaseException as error:  # noqa: BLE001 - not confirmed is not known (E11)
            return Outcome(unknown=f"a refusal could not be confirmed ({type(error).__name__})")
        if found is not None:
            _log.error("refused_order_exists", order=order.id, code=refusal.code)
            return Outcome(view=believable(found, broker.capabilities))
        return Outcome(rejected=Reason(refusal.code, refusal.message))

    async def _find(
        self, broker: Broker, account_number: str, order: OrderRow, replacing: Replacing | None
    ) -> BrokerOrderView | None:
        """The order at the broker. One that changes another where it stands is there once that one has its terms."""
        timeout_s = self._timings.broker_deadline_s
        if replacing is None or not broker.capabilities.replaces_in_place:
            return await broker.fetch_order(account_number, order.client_order_id, timeout_s)
        view = await broker.fetch_order_by_id(account_number, replacing.broker_order_id, timeout_s)
        return view if view is not None and shows(view, replacing.change) else None


def _state(outcome: Outcome) -> str:
    if outcome.view is not None:
        return "ACCEPTED"
    return "UNKNOWN" if outcome.rejected is None else "REJECTED"


def _not_sent(why: str) -> Outcome:
    return Outcome(rejected=Reason("not_sent", f"Nothing was sent to the broker: {why}."))
