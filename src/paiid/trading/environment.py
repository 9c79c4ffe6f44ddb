"""The accounts of the environment (contract A10): found at the brokers whose keys are set, opened once, for the owners."""

from collections.abc import Callable, Mapping

import structlog

from paiid.accounts.service import AccountService
from paiid.brokers import Broker, BrokerError
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.stream.journal import Told, nobody
from paiid.trading import store
from paiid.trading.opening import open_balances

_log = structlog.get_logger("paiid.trading.environment")
_RETRY_S = 5.0
_EVERY_S = 300.0


class EnvironmentAccounts:
    """Looks for accounts at each broker until it has answered, and now and then again: keys may be changed there."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        brokers: Mapping[str, Broker],
        accounts: AccountService,
        timeout_s: float,
        opened: Callable[[str], None],
        told: Told = nobody,
    ) -> None:
        """`opened` hears the name of a broker at which an account was opened, `told` of the events that this wrote."""
        self._told = told
        self._opened = opened
        self._db = db
        self._clock = clock
        self._brokers = brokers
        self._accounts = accounts
        self._timeout_s = timeout_s
        self.problems: dict[str, str] = {}
        """Broker -> why its accounts are not known yet."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for name, broker in self._brokers.items():
                await self._look(name, broker)
            await self._clock.sleep(_RETRY_S if self.problems else _EVERY_S)

    async def _look(self, name: str, broker: Broker) -> None:
        try:
            await self.find(broker)
        except (BrokerError, DatabaseUnavailable) as problem:
            if self.problems.get(name) != str(problem):
                _log.error("broker_accounts_unknown", broker=name, reason=str(problem))
            self.problems[name] = str(problem)
            return
        self.problems.pop(name, None)

    async def find(self, broker: Broker) -> list[str]:
        """Ids of the accounts that are there by themselves; one that is new is opened with what it holds.

        Raises BrokerError, DatabaseUnavailable.
        """
        found = [
            await self._accounts.open_environment_account(broker.name, one)
            for one in await broker.fetch_accounts(self._timeout_s)
        ]
        async with self._db.read() as tx:
            rows = await store.load_accounts(tx, found)
        for account_id in found:
            if await open_balances(self._db, self._clock, broker, rows[account_id], self._timeout_s):
                self._told([account_id])
                self._opened(broker.name)
        return found
