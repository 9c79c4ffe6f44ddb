"""A cluster in a test's hands: the code of `make cluster` on a loop of its own, its replicas forked by the nursery."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cluster.fleet import Cluster, Plan
from cluster.ports import free_port
from cluster.replicas import Child, Replica
from cluster.servers import PostgresServer, ValkeyServer
from tests.fault.nursery import Nursery
from tests.fault.processes import OWNER, Server
from tests.world import TEST_KEY

T = TypeVar("T")
REPLICAS = 3
WITHIN_S = 30.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


class _Forked:
    """A child of the nursery."""

    def __init__(self, pid: int, exit_file: Path) -> None:
        self.pid = pid
        self._exit_file = exit_file

    def poll(self) -> int | None:
        return int(self._exit_file.read_text()) if self._exit_file.exists() else None

    def send_signal(self, number: int, /) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class _Spawner:
    """Forks what `make cluster` would start; `serve` with the short deadlines of the fault tests."""

    def __init__(self, nursery: Nursery, home: Path) -> None:
        self._nursery = nursery
        self._home = home
        self._count = 0

    def __call__(self, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> Child:
        self._count += 1
        exit_file = self._home / f"exit-{self._count}"
        if list(arguments) == ["serve"]:
            Path(environ["DATA_DIR"]).mkdir(exist_ok=True)
            return _Forked(self._nursery.launch(dict(environ), log, exit_file), exit_file)
        streams = (Path(os.devnull), log, log)
        return _Forked(self._nursery.launch_command(arguments, dict(environ), streams, exit_file), exit_file)


class Door(Server):
    """The balancer, for whoever otherwise asks a server."""

    @property
    def running(self) -> bool:
        return True


class ClusterWorld:
    """One running cluster, asked from any loop."""

    def __init__(self, nursery: Nursery, home: Path, **environ: str) -> None:
        self.home = home
        self.said: list[str] = []
        self.submits = home / "submits"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cluster", daemon=True)
        self._thread.start()
        given = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
        settings = {
            "TESTING": "true",
            "LOG_LEVEL": "WARNING",
            "JWT_SECRET_KEY": TEST_KEY,
            "OWNER_EMAIL": OWNER["email"],
            "OWNER_PASSWORD": OWNER["password"],
            "BROKER_DEADLINE_S": "3",
            "STREAM_HEARTBEAT_S": "1.0",
            "SUBMIT_LOG": str(self.submits),
        }
        plan = Plan(
            home / "cluster",
            {**given, **settings, **environ},
            port=0,
            replicas=REPLICAS,
            replica_ports=tuple(free_port() for _ in range(REPLICAS)),
            spawn=_Spawner(nursery, home),
            say=self.said.append,
        )
        self.cluster = self.do(_made(plan))
        try:
            self.do(self.cluster.start())
        except BaseException:
            self.close()
            raise
        self.servers = [
            Server(nursery, self.database_url, home, port=one.port) for one in self.cluster.targets
        ]
        self.door = Door(nursery, self.database_url, home, port=self.cluster.balancer.port)

    # -- its loop -----------------------------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the cluster's loop and wait; for fixtures."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The same from a test's own loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """End everything."""
        try:
            self.do(self.cluster.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
            self.cluster.home.remove_database()

    # -- what it is made of -------------------------------------------------------------------------

    @property
    def database_url(self) -> str:
        """The one database."""
        return self.postgres.url

    @property
    def postgres(self) -> PostgresServer:
        """It runs."""
        assert self.cluster.postgres is not None
        return self.cluster.postgres

    @property
    def valkey(self) -> ValkeyServer:
        """The bus."""
        assert self.cluster.valkey is not None
        return self.cluster.valkey

    def replica(self, at: int) -> Replica:
        """One of them, by its number from 0."""
        return self.cluster.replicas[at]

    def pid(self, at: int) -> int:
        """Of the process that is this replica now."""
        child = self.replica(at).child
        assert child is not None
        return child.pid

    async def sign_in(self) -> None:
        """Once for all: full price is paid for a password here."""
        if not self.door.token:
            await self.door.sign_in()
            for one in self.servers:
                one.token = self.door.token

    async def all_ready(self) -> None:
        """Every replica says so, and the balancer knows."""
        await until(lambda: all(one.ready and not one.out for one in self.cluster.targets), "all are ready")


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str, within_s: float = WITHIN_S) -> None:
    """Wait for what must come."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = holds()
                if found if isinstance(found, bool) else await found:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it never came: {what}") from None


async def _made(plan: Plan) -> Cluster:
    return Cluster(plan)


@contextlib.contextmanager
def built(nursery: Nursery, home: Path, **environ: str) -> Iterator[ClusterWorld]:
    """A cluster, ready; ended afterwards."""
    world = ClusterWorld(nursery, home, **environ)
    try:
        yield world
    finally:
        world.close()
