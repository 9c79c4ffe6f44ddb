"""Fixtures of the integration tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import Clock
from paiid.core.db import Database, make_database
from paiid.trading.halt import HaltService
from paiid.trading.latch import Latch
from tests.auth_world import Driven, MakeWorld, World
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.halt_world import add_account, add_user
from tests.orders_world import QUICK, Trading


@pytest.fixture
def broker() -> FakeBroker:
    """A broker that accepts everything unless told otherwise."""
    return FakeBroker()


@pytest.fixture
async def trading(make_app: MakeApp, broker: FakeBroker) -> Trading:
    """The whole app over the fake broker, with short deadlines."""
    app = await make_app(broker=broker, timings=QUICK)
    return Trading(app, broker, await app.owner())


@pytest.fixture
async def make_world(db_url: str, tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """Worlds that share one database: replicas."""
    async with AsyncExitStack() as stack:

        async def make(*, start: bool = True, data_dir: Path | None = None, **settings: Any) -> World:
            clock = Driven()
            db = make_database(db_url, clock)
            await db.start()
            stack.push_async_callback(db.stop)
            world = World(db, clock, data_dir or tmp_path, **settings)
            stack.push_async_callback(world.auth.stop)
            if start:
                await world.auth.start()
            return world

        yield make


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """One replica, started."""
    made: World = await make_world()
    return made


@pytest.fixture
async def peopled_db(db: Database, clock: Clock) -> Database:
    """An owner, a trader and a viewer with two accounts."""
    await add_user(db, clock, "own1", "owner")
    await add_user(db, clock, "usr1", "trader")
    await add_user(db, clock, "view1", "viewer")
    await add_account(db, clock, "acc1", "usr1")
    await add_account(db, clock, "acc2", "own1")
    return db


@pytest.fixture
def latch(tmp_path: Path) -> Latch:
    return Latch(tmp_path / "data")


@pytest.fixture
def service(peopled_db: Database, clock: Clock, latch: Latch) -> HaltService:
    return HaltService(peopled_db, clock, latch, None)
