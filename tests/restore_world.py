"""What tests of backups share: a backup of a database, and the database made of it, as the commands do it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import select

from paiid.app import create_app
from paiid.brokers import BrokerAccount, BrokerOrderView, OutcomeUnknown
from paiid.cli.restore import restore_from
from paiid.core.backup_file import BackupReader, whole_file, write_backup
from paiid.core.backup_store import snapshot
from paiid.core.clock import Clock, SystemClock
from paiid.core.db import Database, make_database, statement
from paiid.core.migrate import current_head
from paiid.core.settings import Settings
from paiid.core.tables import metadata
from paiid.domain.terms import PLAIN
from paiid.trading.restored_prepare import Restored
from tests.conftest import _running
from tests.fakes import AT_US, FakeBroker
from tests.orders_world import QUICK, Trading
from tests.world import App, make_settings

NUMBER = "PA3TEST00001"
ACCOUNT = f"alpaca-paper-{NUMBER}"


async def take(url: str, path: Path, clock: Clock | None = None) -> Path:
    """A backup, beside whoever is at work there."""
    async with snapshot(url, clock or SystemClock(), current_head()) as rows:
        with whole_file(path) as out:
            await write_backup(out, rows, version="0", build="test")
    return path


async def bring_back(
    settings: Settings,
    path: Path,
    *,
    into: str | None = None,
    replacing: bool = True,
    keep_tokens: bool = False,
    clock: Clock | None = None,
) -> Restored:
    """The database of the settings, or of a URL, made of the backup."""
    chosen = settings if into is None else replace(settings, database_url=into)

    def work() -> Restored:
        with BackupReader(path) as reader:
            return restore_from(
                chosen, clock or SystemClock(), reader, replace=replacing, keep_tokens=keep_tokens
            )[0]

    return await asyncio.to_thread(work)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """The database by itself."""
    database = make_database(url, SystemClock())
    await database.start()
    try:
        yield database
    finally:
        await database.stop()


async def all_rows(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, in an order of its own."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table in metadata.sorted_tables:
        async with db.read() as tx:
            rows = await tx.fetch(statement(select(*table.columns)))
        found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


def settings_of(url: str, directory: Path) -> Settings:
    """A service whose orders go to an outside broker."""
    return make_settings(url, directory, broker="alpaca")


@asynccontextmanager
async def trading_with(settings: Settings, broker: FakeBroker, **times: float) -> AsyncIterator[Trading]:
    """The app at this broker, its owner signed in; `times` are deadlines of the test's own."""
    timings = replace(QUICK, compare_s=0.3, recompare_s=0.3, import_retry_s=0.1, **times)  # type: ignore[arg-type]
    application = create_app(settings, broker=broker, timings=timings, paper_terms=PLAIN)
    async with _running(application), App(application, settings) as app:
        yield Trading(app, broker, await app.owner())


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that must come, without keeping the machine busy meanwhile."""
    async with asyncio.timeout(25):
        while not await holds():
            await asyncio.sleep(0.1)


async def agreed(trading: Trading) -> None:
    """Until the broker's account is there, and its books agree."""

    async def there() -> bool:
        answer = await trading.owner.get(f"/api/accounts/{ACCOUNT}")
        return answer.status_code == 200 and answer.json()["reconcile_problem"] is None

    await until(there)


class Outside(FakeBroker):
    """A broker with an account that is there by itself; what it takes it remembers, whatever becomes of our ledger."""

    def __init__(self) -> None:
        super().__init__("alpaca")
        # Whatever the day of the test: what is sent after a backup is of after the backup.
        self.later_us = max(0, SystemClock().now_us() - AT_US)
        self.own = [BrokerAccount(NUMBER, Decimal(100_000), "active", False, 3)]
        self.tells = asyncio.Event()
        """Until it is set, lists of orders since an instant do not come."""
        self.tells.set()
        self.asked = 0

    async def fetch_orders_since(
        self, account_number: str, after_us: int, timeout_s: float
    ) -> Sequence[BrokerOrderView]:
        self.asked += 1
        if not self.tells.is_set():
            raise OutcomeUnknown("no answer in time")
        return await super().fetch_orders_since(account_number, after_us, timeout_s)
