"""Something between us and the venue, as networks are: answers get lost, orders are slow, updates stay away."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from paiid.brokers import (
    Broker,
    BrokerAccount,
    BrokerActivity,
    BrokerExecution,
    BrokerOrder,
    BrokerOrderView,
    BrokerPosition,
    BrokerReplace,
    BrokerUpdate,
    OutcomeUnknown,
)
from paiid.core.failpoints import FailPoint, Probe


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the line. `submit_log` gets a line when an order is handed over, before anything else."""

    lose_answers: bool = False
    quiet: bool = False
    submit_delay_s: float = 0.0
    submit_log: Path | None = None

    @classmethod
    def of(cls, environ: dict[str, str]) -> Self:
        """From the environment of a server process."""
        log = environ.get("SUBMIT_LOG")
        return cls(
            bool(environ.get("LOSE_ANSWERS")),
            bool(environ.get("QUIET")),
            float(environ.get("SUBMIT_DELAY_S", "0")),
            None if log is None else Path(log),
        )


class MeddlingBroker:
    """Passes everything on to the real one, with the faults."""

    def __init__(self, inner: Broker, faults: Faults, probe: Probe) -> None:
        self._inner = inner
        self._faults = faults
        self._probe = probe
        self._unwritten: list[str] = []
        self.name = inner.name
        self.capabilities = inner.capabilities
        self.lookup_lag_s = inner.lookup_lag_s
        self.refusal_lookup_delay_s = inner.refusal_lookup_delay_s
        self.simulated = inner.simulated
        self.replays_updates = inner.replays_updates

    def order_free_in_s(self, account_number: str, *, closes: bool = False) -> float | None:
        return self._inner.order_free_in_s(account_number, closes=closes)

    @property
    def budget_left(self) -> int | None:
        return self._inner.budget_left

    async def fetch_accounts(self, timeout_s: float) -> Sequence[BrokerAccount]:
        return await self._inner.fetch_accounts(timeout_s)

    async def fetch_order_by_id(
        self, account_number: str, broker_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        return await self._inner.fetch_order_by_id(account_number, broker_order_id, timeout_s)

    async def cancel_all(self, account_number: str, timeout_s: float) -> Mapping[str, str | None]:
        return await self._inner.cancel_all(account_number, timeout_s)

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        return await self._inner.set_own_stop(account_number, stopped, timeout_s)

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        if self._faults.submit_log is not None:
            self._note(self._faults.submit_log, order.client_order_id)
        view = await self._submit_slowly(order, timeout_s)
        if not self._faults.lose_answers:
            return view
        # Where the answer is lost the sender never comes to its own point: this is the instant it stands for.
        self._probe(FailPoint.AFTER_SEND)
        raise OutcomeUnknown("the answer was lost")

    def _note(self, path: Path, client_order_id: str) -> None:
        """What cannot be written while the disk is full is written with the next line, with its own instant."""
        self._unwritten.append(f"{time.time_ns() // 1000} {client_order_id}\n")
        with suppress(OSError):
            _append(path, "".join(self._unwritten))
            self._unwritten.clear()

    async def _submit_slowly(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        """The venue takes its time before it places the order, within the caller's one deadline."""
        delay_s = self._faults.submit_delay_s
        if delay_s == 0:
            return await self._inner.submit(order, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(delay_s)
                return await self._inner.submit(order, timeout_s)
        except TimeoutError as error:
            raise OutcomeUnknown("no answer from the venue in time") from error

    async def cancel(self, account_number: str, broker_order_id: str, timeout_s: float) -> BrokerOrderView:
        view = await self._inner.cancel(account_number, broker_order_id, timeout_s)
        if self._faults.lose_answers:
            raise OutcomeUnknown("the answer was lost")
        return view

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        view = await self._inner.replace(account_number, broker_order_id, change, timeout_s)
        if not self._faults.lose_answers:
            return view
        self._probe(FailPoint.AFTER_SEND)
        raise OutcomeUnknown("the answer was lost")

    async def fetch_order(
        self, account_number: str, client_order_id: str, timeout_s: float
    ) -> BrokerOrderView | None:
        return await self._inner.fetch_order(account_number, client_order_id, timeout_s)

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> Sequence[BrokerOrderView]:
        return [] if self._faults.quiet else await self._inner.fetch_open_orders(account_number, timeout_s)

    async def fetch_orders_since(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        return await self._inner.fetch_orders_since(account_number, after_us, timeout_s)

    async def fetch_executions(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerExecution]:
        if self._faults.quiet:
            return []
        return await self._inner.fetch_executions(account_number, after_us, timeout_s)

    async def fetch_activities(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerActivity]:
        if self._faults.quiet:
            return []
        return await self._inner.fetch_activities(account_number, after_us, timeout_s)

    async def fetch_positions(self, account_number: str, timeout_s: float) -> Sequence[BrokerPosition]:
        return await self._inner.fetch_positions(account_number, timeout_s)

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        return await self._inner.fetch_account(account_number, timeout_s)

    def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        return _silence() if self._faults.quiet else self._inner.updates(after)

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()


async def _silence() -> AsyncIterator[BrokerUpdate]:
    """An update stream on which nothing ever comes."""
    await asyncio.Event().wait()
    yield NotImplemented


def _append(path: Path, line: str) -> None:
    """One write, so that lines of several processes never mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read_submits(path: Path) -> list[tuple[int, str]]:
    """(microseconds since the epoch, client order id) of every order that was handed to the venue."""
    if not path.exists():
        return []
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    return [(int(at_us), client_id) for at_us, client_id in lines]
