"""Fixtures: databases migrated once and copied for each test, the app with its lifespan, signed-in clients."""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database
from paiid.core.migrate import migrate
from tests.servers import PostgresServer, with_database
from tests.world import App, make_settings

_TEMPLATE = "paiid_template"
_URL_VARIABLE = "PAIID_TEST_POSTGRES"
_server: PostgresServer | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Start one PostgreSQL for the whole run, in the controller; workers find it by its URL."""
    global _server
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if _URL_VARIABLE in os.environ:
        # A run inside a run (`tests/planted`): the outer one has the server and its template.
        return
    given = os.environ.get("TEST_DATABASE_URL")
    if given is None:
        _server = PostgresServer()
        _server.start()
        given = _server.url
    os.environ[_URL_VARIABLE] = given
    _on_server(given, f"DROP DATABASE IF EXISTS {_TEMPLATE}", f"CREATE DATABASE {_TEMPLATE}")
    migrate(with_database(given, _TEMPLATE))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop it."""
    global _server
    if _server is not None:
        _server.remove()
        _server = None


def _on_server(url: str, *commands: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for command in commands:
                await connection.execute(command)
        finally:
            await connection.close()

    # A thread of its own: a loop may be running in this one.
    failure: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "paiid.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database of this test's own."""
    path = tmp_path / "test.db"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A migrated, empty PostgreSQL database of this test's own."""
    server = os.environ[_URL_VARIABLE]
    name = f"test_{secrets.token_hex(6)}"
    _on_server(server, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield with_database(server, name)
    _on_server(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest) -> str:
    """Both kinds in turn."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def clock() -> SystemClock:
    """Real time; tests that drive time make a `tests.fakes.FakeClock`."""
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
