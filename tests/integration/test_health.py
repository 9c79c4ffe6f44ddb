"""What a whole service says of itself: replicas that know of each other, a clock that is off, a schema that is not this
code's, a disk, a restore; and what anybody may not learn from it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from paiid.app import create_app
from paiid.core.clock import Clock, SystemClock
from paiid.core.db import make_database, statement
from paiid.core.tables import replicas, restored_accounts
from paiid.domain.terms import PLAIN
from paiid.system.checks import Watch
from paiid.system.disk import DiskCheck, Place, Room
from paiid.trading.timings import Timings
from tests.conftest import MakeApp, _running
from tests.world import App, Client, fresh_key, make_settings

BUY: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 1}
REST: dict[str, Any] = {**BUY, "type": "limit", "limit_price": 1}
MINUTES_US = 60_000_000
READY = "/api/health/ready"


class OffClock(SystemClock):
    """A machine's clock that is so far off."""

    def __init__(self, by_us: int) -> None:
        self._by_us = by_us

    def now_us(self) -> int:
        return super().now_us() + self._by_us


@asynccontextmanager
async def replica(url: str, data: Path, clock: Clock | None = None, **changes: Any) -> AsyncIterator[App]:
    """One of several over a database, each with a data directory of its own."""
    data.mkdir()
    settings = make_settings(url, data, **changes)
    application = create_app(settings, clock=clock, paper_terms=PLAIN, timings=Timings(send_window_s=5.0))
    async with _running(application), App(application, settings) as app:
        await stands(app)
        yield app


async def stands(app: App) -> None:
    """Until it has looked at orders of an earlier run."""

    async def looked() -> bool:
        return bool(app.state.desk.resolver.first_pass_done)

    await until(looked)


async def until(holds: Callable[[], Any], within_s: float = 30.0) -> Any:
    """Whatever it gives, once that is true."""
    async with asyncio.timeout(within_s):
        while not (found := await holds()):
            await asyncio.sleep(0.2)
    return found


async def check(app: App, name: str) -> dict[str, Any]:
    """One check as anybody may see it."""
    found: dict[str, Any] = (await app.anonymous.get("/api/health/ready/full")).json()["checks"][name]
    return found


async def asked_again(app: App, *names: str) -> None:
    """Ask what is asked now and then at once."""
    checks = app.state.health._checks
    # What the background has begun to ask before may still tell how it was: that is not to count as asked again.
    await checks._landed()
    for name in names:
        checks._known.pop(name, None)
    await app.state.health.probe()


def seconds_off(words: str, form: str, wanted: float) -> None:
    """What is told of a clock; it is measured by asking the database, which takes its time on a busy machine."""
    found = re.fullmatch(form, words)
    assert found is not None, words
    assert abs(float(found[1]) - wanted) < 2, words


async def ready(app: App) -> dict[str, Any]:
    answer = await app.anonymous.get(READY)
    found: dict[str, Any] = answer.json()
    assert answer.status_code == (200 if found["ready"] else 503)
    return found


async def run(app: App, sql: str, **params: Any) -> None:
    async with app.state.db.begin() as tx:
        await tx.execute(statement(text(sql)), params)


# -- several replicas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_E5_a_replica_whose_clock_is_off_is_unready_and_claims_nothing_and_the_other_trades(
    postgres_url: str, tmp_path: Path, minutes: int
) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        # The one that is off is the first, and could have all leases.
        off = await enter(
            replica(postgres_url, tmp_path / "off", OffClock(minutes * MINUTES_US), build_id="old")
        )
        good = await enter(replica(postgres_url, tmp_path / "good", build_id="new"))
        told = await ready(off)
        assert told["ready"] is False
        seconds_off(told["reason"], r"its clock is (\d+) s off the database's", 600)
        found = await check(off, "clock")
        assert found["status"] == "down"
        seconds_off(found["detail"], r"its clock is (\d+) s off the database's", 600)
        assert (await off.anonymous.get("/api/health/ready/full")).json()["status"] == "down"
        assert await ready(good) == {"ready": True}
        there, here = await off.owner(), await good.owner()
        await refused_there_and_executed_here(there, here)
        await what_else_goes_on(there, here)
        await leases_are_with_the_one_whose_clock_is_right(off, here)
        await both_are_told(good, here)
    async with AsyncExitStack() as stack:
        database = make_database(postgres_url, SystemClock())
        await database.start()
        stack.push_async_callback(database.stop)
        async with database.read() as tx:
            assert await tx.fetch(statement(replicas.select())) == [], "their rows go with them"


async def refused_there_and_executed_here(there: Client, here: Client) -> None:
    key = fresh_key()
    answer = await there.execute(BUY, key=key)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["type"].endswith("not-ready")
    assert (await here.get(f"/api/trading/intents?key={key}")).status_code == 404, "no row is left"
    dry = await there.execute(BUY, dryRun=True)
    assert (dry.status_code, dry.json()["dryRun"]) == (200, True)
    answer = await here.execute(BUY, key=key)
    assert (answer.status_code, answer.json()["accepted"]) == (200, True), answer.text


async def what_else_goes_on(there: Client, here: Client) -> None:
    (order,) = (await here.execute(REST)).json()["orders"]
    assert (await there.get(f"/api/trading/orders/{order['id']}")).json()["status"] == "NEW"
    replaced = await there.request(
        "PATCH",
        f"/api/trading/orders/{order['id']}",
        json={"qty": 2},
        headers={"Idempotency-Key": fresh_key(), "If-Match": f'"{order["version"]}"'},
    )
    assert replaced.status_code == 503, "a replace is a claim"
    assert (await there.delete(f"/api/trading/orders/{order['id']}")).status_code in (200, 202)
    assert (await here.wait_filled(order["id"]))["status"] == "CANCELED"
    halt = {"halt": True, "scope": "symbol:KO", "reason": "test"}
    assert (await there.post("/api/admin/kill", json=halt)).json()["level"] == "drained"
    assert (await here.execute({**BUY, "symbol": "KO"})).status_code == 423


async def leases_are_with_the_one_whose_clock_is_right(off: App, here: Client) -> None:
    for work in ("market-data", "paper-matching", "day-roll"):
        assert off.state.replicas.should_yield(work), "alone or not"

    async def known() -> bool:
        await asked_again(off, "replicas")
        return bool(off.state.replicas.should_yield("updates:paper"))

    await until(known)

    async def taken() -> bool:
        leases = {
            one["name"]: one["mine"] for one in (await here.get("/api/health/detailed")).json()["leases"]
        }
        return leases["market-data"] and leases["paper-matching"] and leases["updates:paper"]

    await until(taken)
    (order,) = (await here.execute(BUY)).json()["orders"]
    assert (await here.wait_filled(order["id"]))["status"] == "FILLED"


async def both_are_told(good: App, here: Client) -> None:
    await asked_again(good, "replicas")
    found = await check(good, "replicas")
    assert (found["status"], found["detail"]) == (
        "degraded",
        "2 replicas of 2 different builds: a roll is under way",
    )
    assert await ready(good) == {"ready": True}
    mine, other = (await here.get("/api/health/detailed")).json()["replicas"]
    assert (mine["self"], mine["build"], mine["state"]) == (True, "new", "ready")
    assert (other["self"], other["build"]) == (False, "old")
    assert abs(abs(other["clock_skew_seconds"]) - 600) < 5
    assert abs(mine["clock_skew_seconds"]) < 5


async def test_a_replica_that_died_is_not_counted_and_its_row_is_swept(
    postgres_url: str, tmp_path: Path
) -> None:
    async with replica(postgres_url, tmp_path / "one") as app:
        row = "INSERT INTO replicas (id, build, version, schema, started_at, seen_at, clock_skew_us, detail) VALUES (:b_id, 'x', '1', '1', 1, :b_at, 0, 'ready')"
        async with app.state.db.read() as tx:
            now_us = await tx.now_us()
        await run(app, row, b_id="rep_silent", b_at=now_us - 20_000_000)
        await run(app, row, b_id="rep_dead", b_at=now_us - 70_000_000)
        await asked_again(app, "replicas")
        found = await check(app, "replicas")
        assert (found["status"], found["detail"]) == ("up", "1 replica")
        await app.state.replicas._beat(sweep=True)
        async with app.state.db.read() as tx:
            left = {one["id"] for one in await tx.fetch(statement(replicas.select()))}
        assert left == {"rep_silent", app.state.replicas.id}


async def test_a_clock_that_is_a_little_off_is_told_and_stops_nobody(
    postgres_url: str, tmp_path: Path
) -> None:
    async with replica(postgres_url, tmp_path / "one", OffClock(-5_000_000)) as app:
        found = await check(app, "clock")
        assert found["status"] == "degraded"
        seconds_off(found["detail"], r"(\d+\.\d) s behind the database's", 5)
        assert -7 < app.state.health.figures()["clock_skew_seconds"] < -3
        assert await ready(app) == {"ready": True}
        assert (await (await app.owner()).execute(BUY)).json()["accepted"] is True
        assert app.state.replicas.should_yield("market-data") is False


# -- one process ----------------------------------------------------------------------------------------


async def test_a_schema_that_is_older_makes_us_unready_and_one_that_is_newer_does_not(
    make_app: MakeApp,
) -> None:
    app = await make_app()
    await stands(app)
    assert (await check(app, "migrations"))["detail"] == "at head"
    await run(app, "UPDATE alembic_version SET version_num = '0001'")
    await asked_again(app, "migrations")
    assert await ready(app) == {
        "ready": False,
        "reason": "the schema of the database is older than this code",
    }
    await run(app, "UPDATE alembic_version SET version_num = '9999'")
    await asked_again(app, "migrations")
    assert await ready(app) == {"ready": True}
    found = await check(app, "migrations")
    assert (found["status"], "a roll is under way" in found["detail"]) == ("degraded", True)
    assert (await app.anonymous.get("/api/health/ready/full")).json()["status"] == "degraded"


async def test_books_and_a_restore_are_told_and_stop_nobody(make_app: MakeApp) -> None:
    app = await make_app()
    await stands(app)
    await run(app, "UPDATE accounts SET reconcile_problem = 'order.unknown: of somebody@example.com'")
    async with app.state.db.begin() as tx:
        await tx.execute(
            statement(restored_accounts.insert()),
            {"account_id": "acc_x", "restore_id": "rst_x", "backup_at": 1, "restored_at": 2,
             "imported_at": None, "imported_orders": 0, "problem": None, "accepted_by": None, "accepted_at": None},
        )  # fmt: skip
    await asked_again(app, "reconcile", "restore")
    found = await check(app, "reconcile")
    assert found["status"] == "degraded"
    assert found["detail"].startswith("1 account differs from the broker's books")
    assert "example.com" not in found["detail"]
    found = await check(app, "restore")
    assert (found["status"], found["detail"]) == (
        "degraded",
        "1 account waits for the orders since the backup",
    )
    figures = app.state.health.figures()
    assert (figures["reconcile_problems"], figures["restored_accounts_waiting"]) == (1, 1)
    assert await ready(app) == {"ready": True}
    app.state.trading.begin_draining()
    assert await ready(app) == {"ready": False, "reason": "the process is ending"}


async def test_a_full_disk_of_the_database_makes_us_unready_until_there_is_room(
    sqlite_url: str, tmp_path: Path
) -> None:
    rooms = [Room(2**40, 10**6, None)]
    async with replica(sqlite_url, tmp_path / "data") as app:
        disk = DiskCheck((Place("database", tmp_path, vital=True),), lambda _: rooms[0])
        app.state.health.register("disk", Watch(disk.check))
        rooms[0] = Room(2**20, 10**6, None)
        await app.state.health.probe()
        assert await ready(app) == {"ready": False, "reason": "the disk of the database is full"}
        rooms[0] = Room(2**40, 10**6, None)
        await app.state.health.probe()
        assert await ready(app) == {"ready": True}
        owner = await app.owner()
        found = (await owner.get("/api/health/detailed")).json()
        assert found["ready"] is True
        assert {"id", "python", "database"} == set(found["build"])
        assert [one["name"] for one in found["brokers"]] == ["paper"]
        assert found["pools"]["database"]["connections"] > 0
        assert found["disk"][0]["free_bytes"] > 0
        assert found["event_loop"]["worst_lag_seconds"] >= 0
        assert [one["self"] for one in found["replicas"]] == [True]
        await tells_nothing_to_strangers(app, found)


async def tells_nothing_to_strangers(app: App, known: dict[str, Any]) -> None:
    text_of = (await app.anonymous.get("/api/health/ready/full")).text
    secrets = (known["version"], known["build"]["id"], known["replicas"][0]["id"], str(app.settings.data_dir),
               "test.db", "127.0.0.1", app.settings.owner_email, app.settings.jwt_secret_key)  # fmt: skip
    for word in secrets:
        assert str(word) not in text_of
