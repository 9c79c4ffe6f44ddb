"""Fixtures: databases migrated once, and one that is as good as new for each test, the app with its lifespan, signed-in clients."""

import asyncio
import contextlib
import gc
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog
from fastapi import FastAPI

from paiid.auth import passwords
from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database
from paiid.core.migrate import migrate
from paiid.domain.terms import PLAIN
from paiid.trading.timings import Timings
from tests.lent_databases import LentDatabases, make_template
from tests.moved_clock import later_s
from tests.rewritten import fill_the_cache
from tests.servers import PostgresServer, ValkeyServer
from tests.world import App, make_settings

# No test may assert on speed: an example that takes long on a busy machine is no failure.
hypothesis.settings.register_profile("paiid", deadline=None)
hypothesis.settings.load_profile("paiid")

# As by default, but for tracebacks in full colour with all variables: one of those costs a sixth of a second, and hundreds of
# faults are logged here.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.dev.set_exc_info,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

_URL_VARIABLE = "PAIID_TEST_POSTGRES"
_server: PostgresServer | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Start one PostgreSQL for the whole run, in the controller; workers find it by its URL."""
    global _server
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if getattr(config.option, "numprocesses", None):
        fill_the_cache(config)
    # Decided here, for all workers.
    later_s()
    if _URL_VARIABLE in os.environ:
        # A run inside a run (`tests/planted`): the outer one has the server and its template.
        return
    given = os.environ.get("TEST_DATABASE_URL")
    if given is None:
        _server = PostgresServer()
        _server.start()
        given = _server.url
    os.environ[_URL_VARIABLE] = given
    make_template(given)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop it."""
    global _server
    if _server is not None:
        _server.remove()
        _server = None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After they were shuffled: the long ones first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected lives as long as the run: without this each full collection of garbage looks at all of it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _lent_databases() -> Iterator[LentDatabases]:
    databases = LentDatabases(os.environ[_URL_VARIABLE])
    yield databases
    databases.close()


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same argon2 at its least cost: nearly every test signs somebody in, and a fifth of all work would be
    hashing. Servers in processes of their own pay the full price, and so does who asks for `dear_passwords`."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "TIME_COST", 1)


_PASSWORD_COST = (passwords.MEMORY_KIB, passwords.TIME_COST)


@pytest.fixture
def dear_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashed as in production. Asked for by `usefixtures`, which comes before the app is made."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", _PASSWORD_COST[0])
    monkeypatch.setattr(passwords, "TIME_COST", _PASSWORD_COST[1])


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "paiid.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def template(_sqlite_template: Path) -> Path:
    """A migrated, empty database file."""
    return _sqlite_template


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all examples of a test."""
    with asyncio.Runner() as one:
        yield one


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database of this test's own."""
    path = tmp_path / "test.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(_lent_databases: LentDatabases) -> str:
    """A migrated, empty PostgreSQL database that is this test's own as long as it lasts."""
    return _lent_databases.lend()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey that lasts for the session; who uses it takes a prefix of the test's own."""
    given = os.environ.get("TEST_REDIS_URL")
    if given is not None:
        yield given
        return
    server = ValkeyServer()
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey of this test's own, to stop, freeze and flush."""
    server = ValkeyServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest) -> str:
    """Both kinds in turn."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def clock() -> SystemClock:
    """Real time; tests that drive time make a `tests.fake_clock.FakeClock`."""
    return SystemClock()


@pytest.fixture
async def db(db_url: str, clock: SystemClock) -> AsyncIterator[Database]:
    """An open database of either kind."""
    database = make_database(db_url, clock)
    await database.start()
    yield database
    await database.stop()


MakeApp = Callable[..., Awaitable[App]]


@pytest.fixture
async def make_app(db_url: str, tmp_path: Path) -> AsyncIterator[MakeApp]:
    """Makes the whole app over this test's database, running; keyword arguments go to `create_app`, `settings`
    is a mapping of settings to change."""
    async with AsyncExitStack() as stack:

        async def make(settings: dict[str, Any] | None = None, **parts: Any) -> App:
            from paiid.app import create_app

            chosen = make_settings(db_url, tmp_path, **(settings or {}))
            # A cash account without costs, unless a test is about margin or costs.
            parts.setdefault("paper_terms", PLAIN)
            # As long as a commit may take on a busy machine: what passes the window is not sent.
            parts.setdefault("timings", Timings(send_window_s=5.0))
            application: FastAPI = create_app(chosen, **parts)
            await stack.enter_async_context(_running(application))
            return await stack.enter_async_context(App(application, chosen))

        yield make


@contextlib.asynccontextmanager
async def _running(application: FastAPI) -> AsyncIterator[None]:
    """The lifespan in a task of its own, as a server would run it."""
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ending = asyncio.Event()

    async def live() -> None:
        try:
            async with application.router.lifespan_context(application):
                started.set_result(None)
                await ending.wait()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            else:
                raise

    task = asyncio.create_task(live())
    try:
        await started
        yield
    finally:
        ending.set()
        await task


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    """The app as a user gets it."""
    return await make_app()
