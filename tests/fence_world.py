"""What the tests of the fence share: a broker with a stop of its own, and a server's halt service over it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from paiid.brokers import BrokerAccount, OutcomeUnknown
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.halts import Receipt, Scope
from paiid.trading.cancel import Cancels
from paiid.trading.halt import HaltService, HaltView
from paiid.trading.halt_sweep import Sweeper
from paiid.trading.latch import Latch
from paiid.trading.timings import Timings
from tests.fakes import FakeBroker

Hook = Callable[[str, bool], Awaitable[None]]


class StoppingBroker(FakeBroker):
    """A broker with a stop of its own, which it shows in the account; `calls` are all settings, in order."""

    capabilities = replace(FakeBroker.capabilities, own_stop=True)

    def __init__(self, name: str = "fake") -> None:
        super().__init__(name)
        self.calls: list[tuple[str, bool]] = []
        self.shown_late: set[str] = set()
        """Accounts that show a stop which is not there any more."""
        self.before: Hook | None = None
        """Runs before a setting reaches the broker; may raise."""
        self.after: Hook | None = None
        """Runs after it; may raise, and then the setting has been made all the same."""

    async def set_own_stop(self, account_number: str, stopped: bool, timeout_s: float) -> bool:
        self.calls.append((account_number, stopped))
        if self.before is not None:
            await self.before(account_number, stopped)
        was = await super().set_own_stop(account_number, stopped, timeout_s)
        if self.after is not None:
            await self.after(account_number, stopped)
        return was

    async def fetch_account(self, account_number: str, timeout_s: float) -> BrokerAccount:
        if self.stop_error is not None:
            raise self.stop_error
        told = await super().fetch_account(account_number, timeout_s)
        return replace(told, suspended=account_number in self.suspended | self.shown_late)

    def fail_for(self, number: str, *, stopped: bool) -> None:
        """Settings of this kind get no answer in this account, and are not made."""

        async def before(account_number: str, wanted: bool) -> None:
            if (account_number, wanted) == (number, stopped):
                raise OutcomeUnknown("no answer in time")

        self.before = before


class Replica:
    """One server's halt service with its background work. `stop` ends it as a crash would: nothing is tidied."""

    def __init__(self, db: Database, clock: Clock, directory: Path, broker: FakeBroker, cap_s: float) -> None:
        brokers: Any = {broker.name: broker}
        trading: Any = None
        cancels = Cancels(db, clock, Timings(), brokers, lambda _: None, lambda _: None)
        sweeper = Sweeper(db, clock, brokers, cancels, trading, 1.0)
        self.halts = HaltService(db, clock, Latch(directory), sweeper, cap_s=cap_s)

    async def receipt(self, scope: str) -> Receipt:
        """The scope's latest receipt."""
        view = await self.halts.view(Scope.parse(scope))
        assert view.receipt is not None
        return view.receipt

    async def until(self, scope: str, holds: Callable[[Receipt], bool], timeout_s: float = 20.0) -> Receipt:
        """The scope's latest receipt once it is as it must become."""
        async with asyncio.timeout(timeout_s):
            while not holds(receipt := await self.receipt(scope)):
                await asyncio.sleep(0.02)
        return receipt


class Replicas:
    """Makes replicas that share one database and one broker."""

    def __init__(self, db: Database, clock: Clock, directory: Path, broker: StoppingBroker) -> None:
        self._parts = (db, clock, directory)
        self.db = db
        self.clock = clock
        self.broker = broker
        self._made: list[Replica] = []

    def make(self, *, cap_s: float = 10.0, broker: FakeBroker | None = None) -> Replica:
        """A server that has not begun its background work."""
        made = Replica(*self._parts, broker or self.broker, cap_s)
        self._made.append(made)
        return made

    async def start(self, *, cap_s: float = 10.0) -> Replica:
        """A running server."""
        made = self.make(cap_s=cap_s)
        await made.halts.start()
        return made

    async def stop(self) -> None:
        """End them all."""
        for one in self._made:
            await one.halts.stop()


@asynccontextmanager
async def replicas_over(
    db: Database, clock: Clock, directory: Path, broker: StoppingBroker
) -> AsyncIterator[Replicas]:
    """Ends what was made."""
    replicas = Replicas(db, clock, directory, broker)
    try:
        yield replicas
    finally:
        await replicas.stop()


def outcomes(view: HaltView | Receipt) -> dict[str, str]:
    """Account -> what has become of the broker's stop in it."""
    receipt = view if isinstance(view, Receipt) else view.receipt
    assert receipt is not None
    return {one.account_id: one.outcome for one in receipt.fences}
