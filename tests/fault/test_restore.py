"""A database that is lost and comes back from a backup, with Alpaca's simulator as the broker: every order that was sent is
there once, whatever is retried; and SIGKILL in the middle of a restore, or of what follows it."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from paiid.cli.restore import restore_from
from paiid.core.backup import Value
from paiid.core.backup_file import BackupReader
from paiid.core.clock import SystemClock
from paiid.core.db import statement
from paiid.core.failpoints import FailPoint
from paiid.core.settings import Settings
from paiid.core.tables import install_secrets, restored_accounts
from tests.alpaca_world import BRISK, AlpacaWorld, alpaca_world
from tests.fault.lives import ONE, Life
from tests.fault.nursery import Nursery
from tests.fault.processes import settle
from tests.fault.test_alpaca_kill import ALPACA
from tests.moved_clock import away_from_midnight
from tests.restore_world import bring_back, opened, take
from tests.world import make_settings

K1, K2, K3, K4 = (f"test-key-{n}-of-restore" for n in range(4))
TIMINGS = replace(BRISK, import_retry_s=0.1)
_ADD_SECRET = statement(insert(install_secrets))
_SECRETS = statement(select(install_secrets.c.name))
_ROWS = statement(select(restored_accounts).where(restored_accounts.c.account_id != ""))


def buy(symbol: str, qty: int, **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "side": "buy", "qty": qty, **more}


async def resumed(world: AlpacaWorld) -> None:
    """Resume everything, as the owner would: when nothing stands in the way any more."""

    async def done() -> bool:
        now = (await world.owner.get("/api/admin/kill")).json()
        body = {"halt": False, "epoch": now["epoch"], "reason": "test", "scope": "global"}
        answer = await world.owner.post("/api/admin/kill", json=body)
        # 503: no turn at the database of a busy machine.
        assert answer.status_code in (200, 409, 503), answer.text
        return answer.status_code == 200

    await world.until(done)


async def test_E08_E18_an_order_made_after_the_backup_is_never_sent_again_at_alpacas_simulator(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    asked = {
        K1: buy("AAPL", 3),
        K2: buy("MSFT", 2),
        K3: buy("NVDA", 1, type="limit", limit_price=1),
        K4: buy(
            "AAPL", 2, type="limit", limit_price=1, order_class="bracket",
            take_profit={"limit_price": 999}, stop_loss={"stop_price": 0.5},
        ),
    }  # fmt: skip
    told: dict[str, list[dict[str, Any]]] = {}
    async with alpaca_world(sqlite_url, tmp_path, template, timings=TIMINGS) as world:
        told[K1] = await world.execute(asked[K1], key=K1)
        await world.until_status(told[K1][0]["id"], "FILLED")
        file = await take(sqlite_url, tmp_path / "backup.zip")
        for key in (K2, K3, K4):
            told[key] = await world.execute(asked[key], key=key)
            assert told[key][0]["state"] == "ACCEPTED", told[key]
        await world.until_status(told[K2][0]["id"], "FILLED")
        sold = await world.execute({"symbol": "AAPL", "side": "sell", "qty": 1})
        await world.until_status(sold[0]["id"], "FILLED")
        # One that nothing but the list of all orders tells of any more.
        gone = await world.owner.delete(f"/api/trading/orders/{told[K3][0]['id']}")
        # 200 where the stream has told of it before the answer.
        assert gone.status_code in (200, 202), gone.text
        await world.until_status(told[K3][0]["id"], "CANCELED")
    settings = make_settings(sqlite_url, tmp_path, broker="alpaca")
    await bring_back(settings, file)
    async with alpaca_world(sqlite_url, tmp_path, template, timings=TIMINGS) as world:
        async with world.db.read() as tx:
            (row,) = await tx.fetch(_ROWS)
        assert row["imported_at"] is not None, "the books do not agree before the orders are here"
        await resumed(world)
        for key, order in asked.items():
            (again,) = await world.execute(order, key=key)
            assert again["broker_order_id"] == told[key][0]["broker_order_id"], key
        assert Decimal(str((await world.execute(buy("MSFT", 1)))[0]["qty"])) == 1
        # The referee counts: nothing was sent or accepted twice, and nothing there is unknown here.
        await world.end()


class DiesAtTable(BackupReader):
    """A process that restores, and is killed when it comes to a table."""

    table = ""

    def rows(self, table: str) -> Iterator[list[list[Value]]]:
        for batch in super().rows(table):
            if table == self.table:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


class DiesWhenAsked(SystemClock):
    """The same when it has written all rows, and asks for the time to go on."""

    def now_us(self) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def killed(settings: Settings, file: Path, table: str | None) -> None:
    """Restore in a process of its own, which is killed on the way."""
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            kind = type("Dies", (DiesAtTable,), {"table": table})
            clock = SystemClock() if table is not None or settings.on_postgres else DiesWhenAsked()
            with kind(file) as reader:
                restore_from(settings, clock, reader, replace=True, keep_tokens=False)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_restore_that_is_killed_leaves_what_was_there_and_the_next_one_succeeds(
    sqlite_url: str, postgres_url: str, tmp_path: Path, template: Path
) -> None:
    file = asyncio.run(take(sqlite_url, tmp_path / "backup.zip"))
    for url, points in ((sqlite_url, ("halt_epoch", None)), (postgres_url, ("halt_epoch",))):
        asyncio.run(add_note(url, "of-before"))
        before = asyncio.run(notes(url))
        settings = make_settings(url, tmp_path)
        for point in points:
            killed(settings, file, point)
            assert asyncio.run(notes(url)) == before == ["of-before"]
        with BackupReader(file) as reader:
            restore_from(settings, SystemClock(), reader, replace=True, keep_tokens=False)
        assert asyncio.run(notes(url)) == []
    left = sorted(one.name for one in tmp_path.iterdir() if one.suffix != ".zip")
    assert not [name for name in left if "restoring" in name], left


async def add_note(url: str, name: str) -> None:
    """Something that a restore takes away."""
    async with opened(url) as db, db.begin() as tx:
        await tx.execute(_ADD_SECRET, {"name": name, "value": "test", "created_at": 1})


async def notes(url: str) -> list[str]:
    async with opened(url) as db, db.read() as tx:
        return [row["name"] for row in await tx.fetch(_SECRETS)]


async def test_E08_K08_a_server_that_is_killed_while_it_imports_goes_on_in_its_next_life(
    nursery: Nursery, tmp_path: Path, template: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'lost.db'}"
    shutil.copy(template, tmp_path / "lost.db")
    life, clock = Life(ALPACA, nursery, tmp_path, url), away_from_midnight()
    server = life.server
    try:
        await server.start()
        await server.sign_in()
        async with server.client() as client, asyncio.timeout(60):
            while not any(
                one["broker"] == "alpaca" and one["reconcile_problem"] is None
                for one in (await client.get("/api/accounts")).json()
            ):
                await asyncio.sleep(0.2)
            file = await take(url, tmp_path / "backup.zip", clock)
            first = await settle(client, K2, ONE)
            assert first.status_code == 200, first.text
        await server.kill()
        await bring_back(make_settings(url, server.data_dir), file, clock=clock)
        # Nothing else tells of the order, so that the first merge is that of the import.
        server.launch(FAIL_AT=FailPoint.IN_MERGE.value, QUIET="1")
        await server.wait_killed_at(FailPoint.IN_MERGE)
        await server.start()
        await server.sign_in()
        async with server.client() as client, asyncio.timeout(60):
            while True:
                now = (await client.get("/api/admin/kill")).json()
                body = {"halt": False, "epoch": now["epoch"], "reason": "test", "scope": "global"}
                if (await client.post("/api/admin/kill", json=body)).status_code == 200:
                    break
                await asyncio.sleep(0.3)
            again = await settle(client, K2, ONE)
        told = [answer.json()["orders"][0]["broker_order_id"] for answer in (first, again)]
        assert told[0] == told[1]
        await life.agree()
    finally:
        await life.end()
