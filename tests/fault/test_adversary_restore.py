"""What an adversary of backup and restore has found: ways in which a key that was used since the backup would have bought
again, and files and neighbours that would have spoilt a backup."""

import asyncio
import zipfile
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select

from paiid.brokers import BrokerAccount, BrokerPosition, OutcomeUnknown
from paiid.core.backup import BATCH_BYTES, BackupError
from paiid.core.backup_file import BackupReader, whole_file
from paiid.core.backup_store import snapshot
from paiid.core.clock import SystemClock
from paiid.core.db import statement
from paiid.core.db.connect import postgres_dsn
from paiid.core.migrate import current_head
from paiid.core.tables import restored_accounts
from paiid.domain.errors import Problem
from paiid.domain.identity import SYSTEM
from paiid.domain.orders import OrderStatus
from paiid.trading.restored import accept_unimported
from tests.halt_world import audit_actions
from tests.integration.test_backup import damaged, verify, with_rows
from tests.integration.test_backup_restore import K2, LIMIT, back_dated, pending, resume
from tests.orders_world import Trading
from tests.restore_world import (
    ACCOUNT,
    Outside,
    agreed,
    bring_back,
    opened,
    settings_of,
    take,
    trading_with,
    until,
)

HOUR_US = 3_600_000_000
OTHER = "PA3TEST00002"
OTHER_ACCOUNT = f"alpaca-paper-{OTHER}"
_BACKUP_AT = statement(select(restored_accounts.c.backup_at).where(restored_accounts.c.account_id == ""))


def ended(broker: Outside, at_us: int) -> None:
    """All of the broker's orders were canceled, and were made at this time: nothing but the list of all tells of them."""
    broker.orders = {
        key: replace(one, submitted_at_us=at_us, updated_at_us=at_us, status=OrderStatus.CANCELED)
        for key, one in broker.orders.items()
    }


async def resumed(trading: Trading) -> None:
    async def done() -> bool:
        return (await resume(trading)).status_code == 200

    await until(done)


def waits_for_words(trading: Trading, words: str) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return words in ((await pending(trading))["problem"] or "")

    return told


async def test_E08_a_key_used_in_what_was_the_default_account_then_finds_its_order(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Which account is the default went back in time; the order is where it was sent."""
    broker, settings = Outside(), settings_of(sqlite_url, tmp_path)
    broker.own.append(BrokerAccount(OTHER, Decimal(100_000), "active", False, 3))
    async with trading_with(settings, broker) as trading:

        async def other_agrees() -> bool:
            answer = await trading.owner.get(f"/api/accounts/{OTHER_ACCOUNT}")
            return answer.json().get("reconcile_problem", "") is None

        async def choose(account: str) -> None:
            chosen = await trading.owner.post("/api/settings", json={"default_account": account})
            assert chosen.status_code == 200, chosen.text

        await agreed(trading)
        await until(other_agrees)
        await choose(ACCOUNT)
        file = await take(sqlite_url, tmp_path / "backup.zip")
        await choose(OTHER_ACCOUNT)
        first = (await trading.owner.execute(LIMIT, key=K2)).json()
        assert first["accepted"] is True, first
    ended(broker, SystemClock().now_us())
    await bring_back(settings, file)
    asks = broker.fetch_orders_since

    async def silent(number: str, after_us: int, timeout_s: float) -> Any:
        if number == OTHER:
            raise OutcomeUnknown("no answer in time")
        return await asks(number, after_us, timeout_s)

    broker.fetch_orders_since = silent  # type: ignore[method-assign]
    async with trading_with(settings, broker) as trading:
        # The other account stays halted by itself, and its orders are not known yet.
        halted = await trading.owner.post(
            "/api/admin/kill", json={"halt": True, "reason": "test", "scope": f"account:{OTHER_ACCOUNT}"}
        )
        assert halted.status_code == 200, halted.text
        await resumed(trading)
        answer = await trading.owner.execute(LIMIT, key=K2)
        assert (answer.status_code, answer.json()["accounts"]) == (503, [OTHER_ACCOUNT])
        broker.fetch_orders_since = asks  # type: ignore[method-assign]

        async def answered() -> bool:
            return (await trading.owner.execute(LIMIT, key=K2)).status_code == 200

        await until(answered)
        again = (await trading.owner.execute(LIMIT, key=K2)).json()
        assert again["account"] == OTHER_ACCOUNT
        assert again["orders"][0]["broker_order_id"] == first["orders"][0]["broker_order_id"]
        other_call = await trading.owner.execute(LIMIT, key=K2, account=ACCOUNT)
        assert other_call.status_code == 422
        assert len(broker.submitted) == 1


async def test_E08_K08_books_that_begin_after_the_backup_hide_no_key(sqlite_url: str, tmp_path: Path) -> None:
    """At a broker that tells no prints, what had ended before the books began is not in them."""
    broker, settings, away = Outside(), settings_of(sqlite_url, tmp_path), asyncio.Event()
    broker.capabilities = replace(broker.capabilities, tells_prints=False)
    holds = broker.fetch_positions

    async def positions(number: str, timeout_s: float) -> list[BrokerPosition]:
        if away.is_set():
            raise OutcomeUnknown("no answer in time")
        return await holds(number, timeout_s)

    broker.fetch_positions = positions  # type: ignore[method-assign]
    away.set()
    async with trading_with(settings, broker) as trading:

        async def there() -> bool:
            return (await trading.owner.get(f"/api/accounts/{ACCOUNT}")).status_code == 200

        await until(there)
        file = await take(sqlite_url, tmp_path / "backup.zip")
        away.clear()
        await agreed(trading)
        assert (await trading.owner.execute(LIMIT, key=K2)).json()["accepted"] is True
    ended(broker, SystemClock().now_us())
    await bring_back(settings, file)
    broker.tells.clear()
    async with trading_with(settings, broker) as trading:

        async def begun() -> bool:
            return "account.opening_balances" in [action for action, _, _ in await audit_actions(trading.db)]

        await until(begun)
        broker.tells.set()
        await until(waits_for_words(trading, "began after the backup"))
        assert (await trading.owner.execute(LIMIT, key=K2)).status_code == 503
        assert (await resume(trading)).status_code == 409
        assert len(broker.submitted) == 1


@pytest.mark.parametrize(
    ("clock_off_h", "ordered_h", "ends_with_day"),
    [(0, -1, False), (0, -1, True), (72, 0, False)],
    ids=["slow", "slow, and a list of one day", "days ahead"],
)
async def test_E08_a_clock_that_was_wrong_at_the_backup_hides_no_key(
    sqlite_url: str, tmp_path: Path, clock_off_h: int, ordered_h: int, ends_with_day: bool
) -> None:
    broker, settings = Outside(), settings_of(sqlite_url, tmp_path)
    async with trading_with(settings, broker) as trading:
        await agreed(trading)
        file = back_dated(await take(sqlite_url, tmp_path / "backup.zip"), -clock_off_h * HOUR_US)
        assert (await trading.owner.execute(LIMIT, key=K2)).json()["accepted"] is True
    ended(broker, SystemClock().now_us() + ordered_h * HOUR_US)
    await bring_back(settings, file)
    broker.capabilities = replace(broker.capabilities, lists_end_with_day=ends_with_day)
    async with trading_with(settings, broker) as trading:

        async def is_here() -> bool:
            rows = (await trading.owner.get(f"/api/trading/orders?account={ACCOUNT}")).json()["data"]
            return "fake-1" in [one["broker_order_id"] for one in rows]

        await until(is_here)
        if not ends_with_day:
            await resumed(trading)
            again = await trading.owner.execute(LIMIT, key=K2)
            assert again.json()["orders"][0]["broker_order_id"] == "fake-1", again.text
        assert len(broker.submitted) == 1


async def test_E08_K08_more_orders_of_one_instant_than_a_page_holds_are_no_end_of_the_list(
    sqlite_url: str, tmp_path: Path
) -> None:
    broker, settings = Outside(), settings_of(sqlite_url, tmp_path)
    async with trading_with(settings, broker) as trading:
        await agreed(trading)
        file = await take(sqlite_url, tmp_path / "backup.zip")
        assert (await trading.owner.execute(LIMIT, key=K2)).json()["accepted"] is True
    (own,) = broker.orders.values()
    others = [replace(own, broker_order_id=f"other-{n}", client_order_id=f"other-{n}") for n in range(100)]
    broker.orders = {one.broker_order_id: one for one in (*others, own)}
    ended(broker, SystemClock().now_us())
    broker.order_page = 100
    await bring_back(settings, file)
    async with opened(sqlite_url) as db:
        # Too early: what its broker does tell would stay unknown as well.
        with pytest.raises(Problem, match="No server has asked"):
            await accept_unimported(db, SystemClock(), ACCOUNT, "test", SYSTEM)
    async with trading_with(settings, broker) as trading:
        await until(waits_for_words(trading, "more orders of one instant"))
        assert (await trading.owner.execute(LIMIT, key=K2)).status_code == 503
        assert (await resume(trading)).status_code == 409
        assert len(broker.submitted) == 1


async def test_E08_an_account_that_was_lost_by_an_earlier_restore_waits_for_what_that_one_has_lost(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = settings_of(sqlite_url, tmp_path)
    first = back_dated(await take(sqlite_url, tmp_path / "first.zip"), 48 * HOUR_US)
    await bring_back(settings, first)
    with BackupReader(first) as reader:
        lost_us = reader.manifest.taken_at_us
    second = await take(sqlite_url, tmp_path / "second.zip")
    await bring_back(settings, second)
    async with opened(sqlite_url) as db, db.read() as tx:
        row = await tx.fetch_one(_BACKUP_AT)
    assert row is not None
    assert row["backup_at"] == lost_us


async def test_a_table_that_is_made_anew_beside_a_backup_is_not_read_as_an_empty_one(
    postgres_url: str,
) -> None:
    """As a migration of another version does it, or a restore: to an older snapshot the new table has no rows."""
    other = await asyncpg.connect(postgres_dsn(postgres_url))
    try:
        async with snapshot(postgres_url, SystemClock(), current_head()) as rows:
            await other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await other.execute("ALTER TABLE halt_epoch ALTER COLUMN epoch TYPE numeric")
            found = [one async for some in rows.rows("halt_epoch") for one in some]
        assert len(found) == 1
        with pytest.raises(BackupError, match="run `paiid migrate`"):
            async with snapshot(postgres_url, SystemClock(), "9999"):
                pass
    finally:
        await other.close()


async def test_tables_of_something_else_are_not_dropped(postgres_url: str, tmp_path: Path) -> None:
    file = await take(postgres_url, tmp_path / "backup.zip")
    other = await asyncpg.connect(postgres_dsn(postgres_url))
    try:
        await other.execute("DROP TABLE alembic_version")
        with pytest.raises(BackupError, match="something else"):
            await bring_back(settings_of(postgres_url, tmp_path), file)
        assert await other.fetchval("SELECT count(*) FROM halt_epoch") == 1
    finally:
        await other.close()


async def test_a_hostile_file_takes_no_more_memory_than_some_rows(sqlite_url: str, tmp_path: Path) -> None:
    file = await take(sqlite_url, tmp_path / "backup.zip")
    rows = [["x" * (BATCH_BYTES // 8), str(n), 1] for n in range(20)]
    long = damaged(file, tmp_path / "long.zip", with_rows(rows))
    with BackupReader(long) as reader:
        sizes = [len(some) for some in reader.rows("install_secrets")]
    assert (sum(sizes), max(sizes)) == (20, 8)
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "odd.zip", "w") as odd:
        for name in archive.namelist():
            odd.writestr(name, archive.read(name), zipfile.ZIP_LZMA)
    with pytest.raises(BackupError, match="compressed"):
        verify(tmp_path / "odd.zip")


def write_beside(path: Path, alone: bool) -> None:
    """Another process makes the same backup, unless there is one already."""
    with whole_file(path.with_name("other.zip") if not alone else path) as one:
        one.write(b"o")
        if not alone:
            with whole_file(path.with_name("other.zip")) as fast:
                fast.write(b"fast")
        one.write(b"ne")


def test_a_backup_is_written_through_no_link_and_by_nobody_else_at_once(tmp_path: Path) -> None:
    path, victim = tmp_path / "backup.zip", tmp_path / "victim"
    victim.write_bytes(b"theirs")
    (tmp_path / "backup.zip.partial").symlink_to(victim)
    for error in (None, "exists already"):
        # Two at once: both write a file of their own, and the first one to end has the name.
        with pytest.raises(BackupError, match=error) if error else nullcontext():
            write_beside(path, error is None)
    assert (path.read_bytes(), victim.read_bytes()) == (b"one", b"theirs")
