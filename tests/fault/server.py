"""A real server for the fault tests: the product's app with short deadlines, a fail point and a lossy broker.

Run as `python -m tests.fault.server`. The environment is the product's own, and beside it
FAIL_AT (a fail point's value: the process kills itself there), FAIL_HIT (at which pass, default 1),
LOSE_ANSWERS (1: the broker places orders but its answers are lost).
"""

import os
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn

from paiid.app import create_app
from paiid.brokers import (
    BrokerAccount,
    BrokerExecution,
    BrokerOrder,
    BrokerOrderView,
    BrokerPosition,
    BrokerUpdate,
    OutcomeUnknown,
)
from paiid.core.failpoints import FailPoint, Probe, no_probe
from paiid.core.log import configure
from paiid.core.migrate import migrate
from paiid.core.settings import load_settings
from paiid.trading.timings import Timings

FAST = Timings(
    send_window_s=0.5,
    broker_deadline_s=0.7,
    call_budget_s=5.0,
    unknown_wait_s=0.5,
    horizon_s=1.6,
    sweep_s=0.2,
    dispatch_slack_s=0.1,
    first_lookups_s=(0.1, 0.2, 0.4),
    late_lookup_s=0.5,
    watch_lookup_s=5.0,
)


def probe_from(environ: dict[str, str]) -> Probe:
    """Kills this process, as a power cut would, when the wanted point is passed for the n-th time."""
    wanted = environ.get("FAIL_AT")
    if not wanted:
        return no_probe
    left = int(environ.get("FAIL_HIT", "1"))

    def kill(point: FailPoint) -> None:
        nonlocal left
        if point.value == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return kill


class LossyBroker:
    """Passes everything on; the answer to a submit is lost after the order was placed."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.name: str = inner.name
        self.capabilities = inner.capabilities
        self.lookup_lag_s: float = inner.lookup_lag_s
        self.refusal_lookup_delay_s: float = inner.refusal_lookup_delay_s

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        await self._inner.submit(order, timeout_s)
        raise OutcomeUnknown("the answer was lost")

    async def fetch_order(self, number: str, client_id: str, timeout_s: float) -> BrokerOrderView | None:
        found: BrokerOrderView | None = await self._inner.fetch_order(number, client_id, timeout_s)
        return found

    async def cancel(self, number: str, broker_id: str, timeout_s: float) -> BrokerOrderView | None:
        await self._inner.cancel(number, broker_id, timeout_s)
        raise OutcomeUnknown("the answer was lost")

    async def fetch_open_orders(self, number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        found: Sequence[BrokerOrderView] = await self._inner.fetch_open_orders(number, timeout_s)
        return found

    async def fetch_executions(
        self, number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        found: Sequence[BrokerExecution] = await self._inner.fetch_executions(number, after_us, timeout_s)
        return found

    async def fetch_positions(self, number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        found: Sequence[BrokerPosition] = await self._inner.fetch_positions(number, timeout_s)
        return found

    async def fetch_account(self, number: str, timeout_s: float) -> BrokerAccount:
        found: BrokerAccount = await self._inner.fetch_account(number, timeout_s)
        return found

    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        stream: AsyncIterator[BrokerUpdate] = self._inner.updates(after)
        return stream

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()


def main() -> None:
    """Migrate and serve."""
    environ = dict(os.environ)
    settings = load_settings(environ)
    configure(settings.log_level)
    migrate(settings.database)
    wrap = LossyBroker if environ.get("LOSE_ANSWERS") else None
    app = create_app(settings, probe=probe_from(environ), timings=FAST, wrap_broker=wrap)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        timeout_graceful_shutdown=3,
        access_log=False,
    )


if __name__ == "__main__":
    main()
