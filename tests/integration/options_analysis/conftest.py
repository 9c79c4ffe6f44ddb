"""The chain and the app that all of these tests ask."""

import pytest

from tests.analysis_world import STRIKES, AtOneInstant
from tests.conftest import MakeApp
from tests.options_world import ChainFeed, chain
from tests.world import App, Client


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """Nothing here depends on the kind of database."""
    return sqlite_url


@pytest.fixture
def feed() -> ChainFeed:
    """ACME at 100, every contract quoted a cent around what it is worth at 30 %."""
    return ChainFeed(chain(strikes=STRIKES))


@pytest.fixture
async def app(make_app: MakeApp, feed: ChainFeed) -> App:
    return await make_app({"risk_free_rate": 0.0}, feed=feed, clock=AtOneInstant())


@pytest.fixture
async def caller(app: App) -> Client:
    return await app.owner()
