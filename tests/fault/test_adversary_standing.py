"""Against what stands still while everything else moves: a clock that is set, a directory that is removed, an address that looks like
another's, a crowd at the door, and what replicas tell each other that they should not."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.auth.throttle import REGISTER_OVERALL
from paiid.core.clock import SystemClock
from paiid.core.configured import configured_bus
from paiid.core.db import make_database
from paiid.core.redis_store import RedisStore
from paiid.core.shared import Claimed, Link, SharedCache
from paiid.domain.bars import Timeframe
from paiid.domain.calendar import ExchangeHours
from paiid.domain.corporate import CorporateAction
from paiid.market.service import MarketService
from paiid.options.chains import ChainReader
from paiid.options.given import Given
from paiid.options.pool import PricingPool
from paiid.system.disk import DiskCheck, Place
from paiid.trading.desk import load_secret, load_shared_secret
from tests.bus_world import until
from tests.conftest import MakeApp
from tests.fake_clock import FakeClock
from tests.heard_feed import HeardFeed
from tests.integration.test_health import BUY, READY, asked_again, replica
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import NEAR, ChainFeed, chain
from tests.restore_world import bring_back, take
from tests.shared_world import a_secret
from tests.world import PASSWORD, App, fresh_key, make_settings

HOUR_US = 3_600_000_000


@pytest.fixture(params=["sqlite"])
def db_url(request: pytest.FixtureRequest) -> str:
    """One kind will do where a test does not name the other."""
    url: str = request.getfixturevalue("sqlite_url")
    return url


# -- a clock that is set ----------------------------------------------------------------------------------


class SetClock(SystemClock):
    """Somebody sets it."""

    by_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.by_us


async def test_E5_E14_a_clock_that_is_set_stops_claims_at_once_and_hides_nothing_that_was_done(
    postgres_url: str, tmp_path: Path
) -> None:
    clock = SetClock()
    async with replica(postgres_url, tmp_path / "one", clock) as app:
        owner, key = await app.owner(), fresh_key()
        done = await owner.execute(BUY, key=key)
        assert (done.status_code, done.json()["accepted"]) == (200, True)
        for hours in (14, -14):
            # Nobody has measured anything yet.
            clock.by_us = hours * HOUR_US
            there, fresh = await app.owner(), fresh_key()
            refused = await there.execute(BUY, key=fresh)
            assert refused.status_code == 503, refused.text
            assert refused.json()["type"].endswith("not-ready")
            answer = await app.anonymous.get(READY)
            assert answer.status_code == 503
            # 14 hours, give or take what a busy machine keeps the answer of the database.
            told = re.fullmatch(r"its clock is (\d+) s off the database's", answer.json()["reason"])
            assert told is not None, answer.text
            assert abs(int(told[1]) - 50_400) <= 10, answer.text
            assert (await there.get(f"/api/trading/intents?key={fresh}")).status_code == 404
            # Who lost his answer is told what became of it, and not that nothing was sent.
            again = await there.execute(BUY, key=key)
            assert (again.status_code, again.content) == (200, done.content)
            assert again.headers["idempotency-replayed"] == "true"
            reused = await there.execute({**BUY, "qty": 2}, key=key)
            assert reused.status_code == 422
            clock.by_us = 0
            assert (await app.anonymous.get(READY)).status_code == 200
            assert (await owner.execute(BUY, key=fresh)).status_code == 200


async def test_K06_a_replica_whose_clock_is_off_leaves_flattening_to_another(
    postgres_url: str, tmp_path: Path
) -> None:
    clock = SetClock()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        good = await enter(replica(postgres_url, tmp_path / "good"))
        off = await enter(replica(postgres_url, tmp_path / "off", clock))
        here, there = await good.owner(), await off.owner()
        (order,) = (await here.execute(BUY)).json()["orders"]
        assert (await here.wait_filled(order["id"]))["status"] == "FILLED"
        clock.by_us = 60_000_000
        body = {"halt": True, "reason": "out", "flatten": True}
        told = await there.post("/api/admin/kill", json=body)
        assert "flatten" in told.json()["receipt"]["pending"], told.text

        async def is_flat() -> bool:
            held: list[Any] = (await here.get("/api/portfolio/positions")).json()
            return held == []

        async with asyncio.timeout(60):
            while not await is_flat():
                await asyncio.sleep(0.1)


# -- a directory that is removed --------------------------------------------------------------------------


async def test_E17_where_the_directory_of_the_database_is_gone_we_are_unready_and_no_figure_is_made_up(
    tmp_path: Path,
) -> None:
    gone, there = tmp_path / "gone", tmp_path / "there"
    gone.mkdir()
    there.mkdir()
    vital = DiskCheck([Place("database", gone, vital=True), Place("data directory", there, vital=False)])
    assert (await vital.check()).unready is None
    shutil.rmtree(gone)
    found = await vital.check()
    assert (found.status, found.detail) == ("down", "database: it is not there")
    assert found.unready == "the directory of the database is gone"
    assert found.figures["disk_free_bytes"] > 0

    other = DiskCheck([Place("data directory", gone, vital=False)])
    gone.write_text("a file where a directory should be")
    found = await other.check()
    assert (found.status, found.unready, dict(found.figures)) == ("degraded", None, {}), (
        "0 would wake somebody"
    )


async def test_E5_E17_nothing_is_claimed_in_a_file_that_somebody_has_removed_or_replaced(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app = await make_app()
    owner, key = await app.owner(), fresh_key()
    done = await owner.execute(BUY, key=key)
    assert done.status_code == 200
    file, aside = tmp_path / "test.db", tmp_path / "aside.db"
    # As who tidies up does it, or who copies a backup over a server that runs.
    for put_there in (lambda: None, lambda: shutil.copy(aside, file)):
        file.rename(aside)
        put_there()
        await asked_again(app, "disk")
        refused = await owner.execute(BUY)
        assert refused.status_code == 503, refused.text
        assert "removed or replaced" in refused.json()["detail"]
        assert (await app.anonymous.get(READY)).json()["reason"] == (
            "the file of the database was removed or replaced"
        )
        assert (await owner.execute(BUY, key=key)).content == done.content
        aside.rename(file)
        await asked_again(app, "disk")
        assert (await owner.execute(BUY)).status_code == 200
        assert (await app.anonymous.get(READY)).status_code == 200


# -- strangers at the door --------------------------------------------------------------------------------


@pytest.fixture
async def open_app(make_app: MakeApp) -> App:
    return await make_app({"trusted_proxies": ("127.0.0.1",)})


async def register(app: App, email: str, number: int, **more: Any) -> int:
    """From an address that belongs to that number."""
    told = json.dumps({"email": email, "password": PASSWORD, **more})
    headers = {"content-type": "application/json", "x-forwarded-for": f"10.7.{number // 250}.{number % 250}"}
    return (await app.http.post("/auth/register", content=told, headers=headers)).status_code


async def test_A05_nobody_registers_under_an_address_that_looks_like_anothers(open_app: App) -> None:
    app, owner = open_app, await open_app.owner()
    await owner.post("/api/users/registration", json={"open": True})
    # Composed, decomposed, and in wide letters it is one address; what is invisible is in none.
    same = [
        "jos\u00e9@example.com",
        "jose\u0301@example.com",
        "\uff2aos\u00e9@example.com",
        "JOS\u00c9@example.com",
    ]
    odd = [
        "ow\u200bner@example.com",
        "\ufeffowner@example.com",
        "o\u00adwner@example.com",
        "owner@exam\u202eple.com",
    ]
    assert [await register(app, one, number) for number, one in enumerate(same)] == [202] * 4
    assert [await register(app, one, number) for number, one in enumerate(odd, 10)] == [422] * 4
    users = [one["email"] for one in (await owner.get("/api/users")).json()["data"]]
    assert users == ["owner@example.com", "jos\u00e9@example.com"]
    for one in same:
        await app.sign_in(one)
    made = await owner.post("/api/users/invites", json={"email": "zo\u00eb@example.com"})
    assert await register(app, "zoe\u0308@example.com", 20, invite=made.json()["code"]) == 202
    await app.sign_in("zo\u00eb@example.com")


async def test_A05_a_crowd_at_the_door_shuts_out_nobody_who_was_invited(open_app: App) -> None:
    app, owner = open_app, await open_app.owner()
    made = await owner.post("/api/users/invites", json={"email": "guest@example.com"})
    code = made.json()["code"]
    per_s, burst = REGISTER_OVERALL[0] / 60, REGISTER_OVERALL[1]
    crowd: list[int] = []
    # Whoever asks slowly must ask more often, for tokens come back meanwhile.
    while 429 not in crowd:
        empty_s = time.monotonic()
        crowd.append(await register(app, "somebody@example.com", len(crowd)))
    assert crowd[:burst] == [403] * burst
    assert set(crowd) == {403, 429}
    refused = [
        await register(app, email, 2000 + number, **invite)
        for number, (email, invite) in enumerate(
            [
                ("guest@example.com", {}),
                ("guest@example.com", {"invite": "inv_" + "A" * 43}),
                ("other@example.com", {"invite": code}),
                ("no address", {"invite": code}),
            ]
        )
    ]
    # A token comes back each second; each of the others finds none.
    came_back = 1 + int((time.monotonic() - empty_s) * per_s)
    assert set(refused) <= {403, 422, 429}, refused
    assert refused.count(429) >= len(refused) - came_back, refused
    assert await register(app, "guest@example.com", 2200, invite=code) == 202
    await app.sign_in("guest@example.com")


# -- what replicas tell each other ------------------------------------------------------------------------


@asynccontextmanager
async def link_to(url: str, secret: bytes) -> AsyncIterator[Link]:
    """A connection of one replica."""
    store = RedisStore(url, SystemClock(), deadline_s=1.0, break_s=0.05)
    await store.start()
    try:
        await until(lambda: store.up)
        yield Link(store, secret)
    finally:
        await store.stop()


async def test_a_rehearsal_of_a_restore_is_not_heard_by_the_service_that_runs_on(
    make_app: MakeApp, tmp_path: Path, valkey_url: str
) -> None:
    running = await make_app({"redis_url": valkey_url})
    backup = await take(running.settings.database, tmp_path / "backup.zip")
    copy = make_settings(f"sqlite:///{tmp_path / 'copy.db'}", tmp_path, redis_url=valkey_url)
    await bring_back(copy, backup)
    async with AsyncExitStack() as stack:
        found: list[list[bytes]] = []
        restored = []
        for settings in (running.settings, copy, copy):
            database = make_database(settings.database, SystemClock())
            await database.start()
            stack.push_async_callback(database.stop)
            secret = await load_secret(database, SystemClock())
            restored.append(secret)
            bus = configured_bus(settings, SystemClock(), await load_shared_secret(database, secret))
            heard: list[bytes] = []
            bus.subscribe("test", heard.append)
            found.append(heard)
            await bus.start()
            stack.push_async_callback(bus.stop)
            await until(lambda bus=bus: bus.up)  # type: ignore[misc]
        assert restored[0] == restored[1], "order ids are made of it"
        bus.publish("test", b"a word")
        await until(lambda: found[1] == [b"a word"])
        assert found[0] == []


class ToldChain(ChainFeed):
    """A chain that is asked for over the network."""

    source = "tradier"


async def test_a_rate_that_was_implied_with_other_dividends_is_nobody_elses(valkey_url: str) -> None:
    clock = FakeClock(WEDNESDAY_OPEN_US)
    paid = CorporateAction("ACME", NEAR - timedelta(days=20), "dividend", Decimal(5))
    pool = PricingPool()
    try:
        async with link_to(valkey_url, a_secret()) as link:
            rates: dict[str, float] = {}
            for name, given in (("none", Given()), ("paid", Given(dividends={"ACME": (paid,)}))):
                market = MarketService(
                    ToldChain(chain(rate=0.04)),
                    clock,
                    ExchangeHours(),
                    cache=SharedCache(link, clock, "test"),
                )
                found = await ChainReader(market, clock, given, pool).load("ACME")
                assert found.assumptions is not None
                rates[name] = found.assumptions.expirations[0].rate.value
    finally:
        await pool.stop()
    assert rates["none"] != rates["paid"], "the settings of the one are not those of the other"


async def test_S05_bars_of_another_replica_take_nothing_back(valkey_url: str) -> None:
    clock = FakeClock(WEDNESDAY_OPEN_US)
    secret = a_secret()
    async with link_to(valkey_url, secret) as link, link_to(valkey_url, secret) as alone:
        await alone.store.stop()
        one, other = (
            MarketService(HeardFeed("AAPL"), clock, ExchangeHours(), cache=SharedCache(way, clock, "test"))
            for way in (link, alone)
        )
        await one.bars("AAPL", Timeframe.MINUTE_1, None, None, 500)
        clock.advance(1.5)
        newest = await other.bars("AAPL", Timeframe.MINUTE_1, None, None, 10)
        assert newest.as_of_us == clock.now_us()
        # Now it hears the first again, and asks for more than it has.
        other.shared._cache = SharedCache(link, clock, "test")
        clock.advance(0.5)
        many = await other.bars("AAPL", Timeframe.MINUTE_1, None, None, 500)
        assert many.as_of_us >= newest.as_of_us


class OddStore:
    """A server that answers, and nothing that makes sense."""

    up, failing, took = True, {}, None  # type: ignore[var-annotated]

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def ask(self, *commands: Any) -> list[Any]:
        return [self.answer] * len(commands)


@pytest.mark.parametrize(
    "answer", [None, b"OK", [], [2], [2, b""], [None], [2, None, None], 7, [b"2", b"x", 1]]
)
async def test_an_answer_that_makes_no_sense_is_none(answer: Any) -> None:
    cache = SharedCache(Link(OddStore(answer), a_secret()), FakeClock(), "test")  # type: ignore[arg-type]
    assert isinstance(await cache.find("key", 1.0), Claimed)
