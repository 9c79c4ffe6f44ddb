"""Fixtures of the fault tests: servers as processes, none of which outlives its test."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.fault.nursery import Nursery
from tests.fault.processes import Server
from tests.fault.stream_fleet import Fleet, built

MakeServer = Callable[..., Server]


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """One for the whole run of a test process."""
    found = Nursery()
    yield found
    found.close()


@pytest.fixture
async def make_server(nursery: Nursery, tmp_path: Path) -> AsyncIterator[MakeServer]:
    """Makes a server, not started: database URL, the name of its data directory, its environment."""
    made: list[Server] = []

    def make(database_url: str, name: str = "data", **environ: str) -> Server:
        server = Server(nursery, database_url, tmp_path / name, environ)
        made.append(server)
        return server

    yield make
    for server in made:
        await server.kill()


@pytest.fixture(scope="module")
def fleet_of_module(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three replicas that the tests of a module share, with a database and a bus of their own."""
    with built(nursery, tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture
async def fleet(fleet_of_module: Fleet) -> AsyncIterator[Fleet]:
    """All replicas alive; who listened to them in a test is gone after it."""
    await fleet_of_module.start()
    yield fleet_of_module
    await fleet_of_module.hang_up()
