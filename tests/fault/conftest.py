"""Fixtures of the fault tests: servers as processes, none of which outlives its test."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.fault.nursery import Nursery
from tests.fault.processes import Server

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
