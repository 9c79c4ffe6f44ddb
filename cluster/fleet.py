"""The cluster: database and bus, the replicas over them, the balancer before them; begun, rolled and ended in order."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cluster.balancer import Balancer, Target
from cluster.home import ClusterError, Home, identity
from cluster.replicas import Replica, Spawn, ended, spawn
from cluster.servers import PostgresServer, ServerMissing, ValkeyServer

MIGRATE_S = 60.0
POSTGRES_S = 1.5
_LOOK_S = 0.5
_MOST_LOG_BYTES = 64_000_000
_LOOPBACK = "127.0.0.1"
_OURS = ("PYTHONDONTWRITEBYTECODE", "OWNER_PASSWORD", "JWT_SECRET_KEY_PREVIOUS")
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is to run. `environ` is the user's; what the cluster says itself goes before it. Ports of 0 are free ones."""

    home: Path
    environ: Mapping[str, str]
    host: str = _LOOPBACK
    port: int = 8000
    replicas: int = 3
    replica_ports: tuple[int, ...] = ()
    spawn: Spawn = spawn
    say: Callable[[str], None] = print
    changes: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Settings of single replicas, by their number from 0."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Of the replicas: those behind the balancer's, unless they are named."""
        return self.replica_ports or tuple(self.port + 1 + at for at in range(self.replicas))


class Cluster:
    """All of it, on one event loop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.home = Home(plan.home)
        self.targets = [Target(f"replica-{at + 1}", port) for at, port in enumerate(plan.ports)]
        trusted = [one.strip() for one in plan.environ.get("TRUSTED_PROXIES", "").split(",") if one.strip()]
        self.balancer = Balancer(self.targets, trusted=trusted, say=plan.say)
        self.replicas: list[Replica] = []
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None
        self.rolls = 0
        self.rolled = 0
        self._rolling = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The one address of all replicas."""
        host = f"[{self.plan.host}]" if ":" in self.plan.host else self.plan.host
        return f"http://{host}:{self.balancer.port or self.plan.port}"

    # -- begin --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything, until every replica is ready. Raises ClusterError; whatever has begun is ended by `stop`."""
        plan, home = self.plan, self.home
        home.prepare()
        for name in home.end_orphans():
            plan.say(f"{name} was left over from a cluster that was killed; it has been ended")
        _require_free(plan)
        home.turn_logs()
        self._tell()
        try:
            self.postgres = PostgresServer(
                durable=True,
                data=home.database(os.geteuid() == 0),
                password=home.secret("postgres-password"),
            )
            await _whole(self.postgres.start)
            self._tell()
            self.valkey = ValkeyServer(password=home.secret("valkey-password"))
            await _whole(self.valkey.start)
        except (ServerMissing, RuntimeError, OSError) as error:
            raise ClusterError(f"database or bus cannot be started: {error}") from None
        self._tell()
        environ = self._environ()
        home.tell_environ({name: environ[name] for name in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET_KEY")})
        await self._migrate(environ)
        for at, target in enumerate(self.targets):
            own = {
                **environ,
                "PORT": str(target.port),
                "DATA_DIR": str(home.path / target.name),
                **plan.changes.get(at, {}),
            }
            replica = Replica(
                target, own, home.log(target.name), self.balancer, plan.spawn, plan.say, self._tell
            )
            self.replicas.append(replica)
            replica.launch()
        await asyncio.gather(*(one.ready() for one in self.replicas))
        try:
            await self.balancer.listen(plan.host, plan.port)
        except OSError as error:
            raise ClusterError(_in_use(plan.host, plan.port, error)) from None
        self._watching = asyncio.create_task(self._watch())

    def _environ(self) -> dict[str, str]:
        """Of every process of the service."""
        assert self.postgres is not None
        assert self.valkey is not None
        given = self.plan.environ
        proxies = [one for one in (_LOOPBACK, given.get("TRUSTED_PROXIES", "").strip()) if one]
        return {
            **{name: value for name, value in given.items() if name not in _OURS},
            "HOST": _LOOPBACK,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.valkey.url,
            "JWT_SECRET_KEY": given.get("JWT_SECRET_KEY") or self.home.secret("jwt-secret"),
            "OWNER_PASSWORD": given.get("OWNER_PASSWORD") or self.home.secret("owner-password"),
            # The balancer says who asks.
            "TRUSTED_PROXIES": ",".join(proxies),
        }

    async def _migrate(self, environ: Mapping[str, str]) -> None:
        log = self.home.log("migrate")
        child = self.plan.spawn(
            ["migrate"], {**environ, "DATA_DIR": str(self.home.path), "PORT": "8000"}, log
        )
        if not await ended(child, MIGRATE_S) or child.poll() != 0:
            told = log.read_text(errors="replace")[-1500:].strip()
            raise ClusterError(f"the database cannot be brought up to this version:\n{told}")

    # -- while it runs ------------------------------------------------------------------------------

    async def roll(self) -> None:
        """Migrate, then end and start the replicas one after the other, each ready before the next. Raises ClusterError where one does
        not become ready: the others go on as they are."""
        async with self._rolling:
            self.rolls += 1
            self._tell()
            self.plan.say("rolling: the replicas restart one after the other")
            try:
                await self._migrate(self._environ())
                for replica in self.replicas:
                    await replica.restart()
            except ClusterError as error:
                self._tell(roll_failed=str(error))
                raise
            self.rolled += 1
            self._tell()
            self.plan.say("rolled: every replica has been restarted and is ready")

    async def _watch(self) -> None:
        """Database and bus live, too."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for name, server in (("PostgreSQL", self.postgres), ("Valkey", self.valkey)):
                if server is not None and server.died:
                    self.plan.say(f"{name} has ended; it starts again")
                    try:
                        await _whole(server.start)
                    except (RuntimeError, OSError) as error:
                        self.plan.say(f"{name} cannot be started: {error}")
            self.home.cut_logs(_MOST_LOG_BYTES)
            self._tell_if_new()

    def _state(self) -> dict[str, Any]:
        children = {one.name: identity(one.child.pid) for one in self.replicas if one.child is not None}
        for name, server in (("postgres", self.postgres), ("valkey", self.valkey)):
            with contextlib.suppress(RuntimeError):
                if server is not None:
                    children[name] = identity(server.pid)
        pid, created = identity(os.getpid())
        return {
            "pid": pid,
            "created": created,
            "url": self.url,
            "replicas": {one.name: one.port for one in self.targets},
            "children": children,
            "rolls": self.rolls,
            "rolled": self.rolled,
        }

    def _tell(self, **more: object) -> None:
        self._told = self._state()
        self.home.tell({**self._told, **more})

    def _tell_if_new(self) -> None:
        if self._state() != self._told:
            self._tell()

    # -- the end ------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End everything within 8 s: the replicas first, who finish what they have begun, then bus and database."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(*(one.stop() for one in self.replicas))
        await self.balancer.close()
        if self.valkey is not None:
            await _whole(self.valkey.remove)
        if self.postgres is not None:
            await _whole(self.postgres.stop_gently, POSTGRES_S)
            await _whole(self.postgres.remove)
        self.home.release()


def _require_free(plan: Plan) -> None:
    """Raises ClusterError naming the first address that is taken."""
    wanted = [(plan.host, plan.port), *((_LOOPBACK, port) for port in plan.ports)]
    for host, port in wanted:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except (OSError, OverflowError) as error:
                raise ClusterError(_in_use(host, port, error)) from None


def _in_use(host: str, port: int, error: Exception) -> str:
    why = "it is in use" if getattr(error, "errno", None) == 98 else str(error)
    return f"cannot listen on {host} port {port}: {why}; set PORT to another, the replicas take the ports behind it"


async def _whole(work: Callable[..., T], *args: Any) -> T:
    """Blocking work in a thread, to its end even if we are cancelled: a process it starts must not be forgotten."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


async def run(plan: Plan, until: Callable[[Cluster], Awaitable[None]]) -> None:
    """A cluster for as long as `until` takes. Raises ClusterError."""
    cluster = Cluster(plan)
    try:
        await cluster.start()
        await until(cluster)
    finally:
        await cluster.stop()
