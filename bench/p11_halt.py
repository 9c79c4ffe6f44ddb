"""P11: a halt: how soon it is effective on one process under load, and how soon all three replicas of a cluster tell of it, with the bus
and without it."""

import asyncio
import http.client
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from bench.figures import Say, Series, goal, row
from bench.load import open_loop
from bench.processes import Process
from bench.servers import TEST_KEY
from bench.service import ACCEPTED, ORDER, OWNER, Service, execute
from cluster.fleet import Cluster, Plan
from cluster.ports import free_port
from cluster.servers import PostgresServer, with_database

PER_S = 200
KILL = "/api/admin/kill"
SCOPE = "symbol:PEP"
"""Takes the gate as any scope does, and leaves the orders of the load alone."""
ARMS_S = 0.02
"""Between two halts."""
_PATIENCE_S = 10.0


class _Line:
    """One kept connection that arms and resumes."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._token = token

    def ask(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        self._connection.request("POST", path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        return answer.status, found

    def halt(self, **wish: object) -> dict[str, Any]:
        """Raises RuntimeError where it is not done."""
        status, answer = self.ask(KILL, {"scope": SCOPE, "reason": "bench", **wish})
        if status != 200:
            raise RuntimeError(f"halt: {status} {answer}")
        return answer

    def arm(self) -> float:
        """Halt and resume; milliseconds until the halt was answered."""
        began = time.perf_counter()
        epoch = self.halt(halt=True)["epoch"]
        took_ms = (time.perf_counter() - began) * 1000
        self.halt(halt=False, epoch=epoch)
        return took_ms

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    say(f"P11 halt, {PER_S} orders/s beside it on one process")
    say("  told is the whole request: the commit, which is `effective`, and the answer behind it")
    return all([*_one_process(say, directory, seconds, rounds), *_replicas(say, directory, seconds, rounds)])


# -- one process ------------------------------------------------------------------------------------------


def _one_process(say: Say, directory: Path, seconds: float, rounds: int) -> list[bool]:
    server = PostgresServer(durable=True)
    services: list[Service] = []
    met = []
    try:
        server.start()
        urls = {
            "SQLite": f"sqlite:///{directory}/p11.db",
            "PostgreSQL": with_database(server.url, "postgres"),
        }
        for name, url in urls.items():
            services.append(Service(f"p11-{name.lower()}", url, directory))
        for one in services:
            one.wait_ready()
            one.settled()
        figures = {name: Series(name, "ms p50") for name in urls}
        took: dict[str, list[float]] = {name: [] for name in urls}
        for _ in range(rounds):
            for name, one in zip(urls, services, strict=True):
                spell = sorted(_arms_under_load(one, directory, seconds))
                figures[name].add(spell[len(spell) // 2])
                took[name] += spell
        for name, p50 in figures.items():
            _, p99, worst = _quantiles(took[name])
            row(say, "ours", f"{len(took[name])} halts answered, {name}", p50, p99, worst)
            met.append(goal(say, f"effective on one process, {name}, p99", p99, 50.0, at_most=True))
    finally:
        for one in services:
            one.process.stop()
        server.remove()
    return met


def _arms_under_load(service: Service, directory: Path, seconds: float) -> list[float]:
    """Milliseconds of each halt while orders come, which they do from a process of their own. Raises RuntimeError."""
    token = service.sign_in()
    line = _Line(service.port, token)
    arguments = ["-m", "bench.p11_halt", str(service.port), str(seconds)]
    load = Process("p11-load", arguments, directory, {"BENCH_TOKEN": token})
    took = []
    try:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            took.append(line.arm())
            time.sleep(ARMS_S)
        load.wait_end(seconds + _PATIENCE_S * 3)
    finally:
        load.stop()
        line.close()
    return took


# -- three replicas ---------------------------------------------------------------------------------------


def _replicas(say: Say, directory: Path, seconds: float, rounds: int) -> list[bool]:
    return asyncio.run(_over_replicas(say, directory, seconds, rounds))


async def _over_replicas(say: Say, directory: Path, seconds: float, rounds: int) -> list[bool]:
    names = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    environ = {
        **kept,
        "TESTING": "true",
        "LOG_LEVEL": "WARNING",
        "JWT_SECRET_KEY": TEST_KEY,
        "OWNER_EMAIL": OWNER["email"],
        "OWNER_PASSWORD": OWNER["password"],
    }
    ports = tuple(free_port() for _ in range(3))
    plan = Plan(directory / "cluster", environ, port=0, replica_ports=ports, say=lambda _: None)
    cluster = Cluster(plan)
    try:
        await cluster.start()
        token = await _signed_in(ports[0])
        up, down = await _with_and_without_bus(cluster, ports, token, rounds, max(5, int(seconds * 5)))
    finally:
        await cluster.stop()
        cluster.home.remove_database()
    known, enforced = up
    row(say, "ours", "known to clients of all 3 replicas, bus up", *_quantiles(known))
    row(say, "ours", "refused by another replica at once, bus up", *_share(enforced))
    row(say, "ours", "known to clients of all 3 replicas, bus down", *_quantiles(down[0]))
    row(say, "ours", "refused by another replica at once, bus down", *_share(down[1]))
    worst = Series("known", "ms")
    worst.add(sorted(known)[min(len(known) - 1, int(len(known) * 0.99))])
    return [
        goal(say, "known to all replicas through the bus, p99", worst, 250.0, at_most=True),
        goal(say, "enforced at once, bus up", _share(enforced)[0], 100.0),
        goal(say, "enforced at once, bus down", _share(down[1])[0], 100.0),
    ]


Found = tuple[list[float], list[bool]]
"""Milliseconds until the last client knew, and whether the next order was refused at another replica; of each halt."""


async def _with_and_without_bus(
    cluster: Cluster, ports: tuple[int, ...], token: str, rounds: int, count: int
) -> tuple[Found, Found]:
    """`count` halts a round with the bus, and in the end as many as a round without it."""
    listeners = [_Ear(port, token) for port in ports]
    lines = [_Line(port, token) for port in ports]
    assert cluster.valkey is not None
    try:
        for one in listeners:
            await one.begin()
        await _until(lambda: all(one.bus for one in listeners))
        up: Found = ([], [])
        for _ in range(rounds):
            await _halts(listeners, lines, count, up)
        cluster.valkey.stop()
        await _until(lambda: not any(one.bus for one in listeners))
        down: Found = ([], [])
        await _halts(listeners, lines, count, down)
        return up, down
    finally:
        for one in listeners:
            await one.end()
        for line in lines:
            line.close()


async def _halts(listeners: list["_Ear"], lines: list[_Line], count: int, into: Found) -> None:
    for number in range(count):
        began = time.perf_counter()
        answer = await asyncio.to_thread(lines[number % 3].halt, halt=True)
        order = {**ORDER, "symbol": SCOPE.partition(":")[2]}
        body = {"requestId": f"bench-{time.time_ns()}", "orders": [order]}
        status, _ = await asyncio.to_thread(lines[(number + 1) % 3].ask, "/api/trading/execute", body)
        into[1].append(status == 423)
        epoch = answer["epoch"]
        await _until(lambda epoch=epoch: all(epoch in one.heard for one in listeners))  # type: ignore[misc]
        into[0].append((max(one.heard[epoch] for one in listeners) - began) * 1000)
        await asyncio.to_thread(lines[number % 3].halt, halt=False, epoch=epoch)
        await asyncio.sleep(ARMS_S)


class _Ear:
    """A WebSocket at one replica that notes when it hears of which halt, and whether replicas hear each other."""

    def __init__(self, port: int, token: str) -> None:
        self.heard: dict[int, float] = {}
        self.bus = False
        self._port, self._token = port, token
        self._connection: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Connect and listen."""
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"ws://127.0.0.1:{self._port}/api/ws"
        self._connection = await connect(url, additional_headers=headers, compression=None, proxy=None)
        self._task = asyncio.create_task(self._listen(self._connection))

    async def end(self) -> None:
        """Hang up."""
        if self._task is not None and self._connection is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._connection.close()

    async def _listen(self, connection: ClientConnection) -> None:
        while True:
            message = json.loads(await connection.recv())
            now = time.perf_counter()
            channel = str(message.get("channel"))
            if channel.startswith("halts") and "data" in message:
                for one in message["data"].get("halts", ()):
                    self.heard.setdefault(one["epoch"], now)
            elif channel.startswith("feed") and "data" in message:
                self.bus = message["data"]["bus"]["up"]


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.001)


async def _signed_in(port: int) -> str:
    def ask() -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/auth/login", json.dumps(OWNER), {"Content-Type": "application/json"})
        return str(json.loads(connection.getresponse().read())["access_token"])

    return await asyncio.to_thread(ask)


def _quantiles(values: list[float]) -> list[Series]:
    ordered = sorted(values)
    shares = (("ms p50", 0.5), ("ms p99", 0.99), ("ms max", 1.0))
    return [
        Series("known", unit, [ordered[min(len(ordered) - 1, int(len(ordered) * share))]])
        for unit, share in shares
    ]


def _share(values: list[bool]) -> list[Series]:
    return [Series("refused", "%", [100.0 * sum(values) / len(values)])]


if __name__ == "__main__":
    # The load beside the halts of one process.
    open_loop(
        int(sys.argv[1]), execute(os.environ["BENCH_TOKEN"]), PER_S, float(sys.argv[2]), ACCEPTED
    ).require_right("orders")
