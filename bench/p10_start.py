"""P10: the start of `paiid serve` on a database that is there: until the first ready, its CPU, its memory; against everything imported
at once, and against the least that such a service must import."""

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import Say, Series, goal, ratio, ratio_row, row
from bench.processes import ROOT, START_S, Process
from bench.servers import TEST_KEY
from bench.service import OWNER
from cluster.ports import free_port

CHAIN = "AAPL"
_MIB = 1_048_576
_LOOK_S = 0.01
_CORE = "import asyncio, uvloop, fastapi, uvicorn, pydantic, sqlalchemy.ext.asyncio, asyncpg, jwt, structlog, msgspec"
_EAGER = (
    "import anthropic, httpx2, numpy, prometheus_client, pygments.lexers, redis.asyncio, rich.console, rich.traceback, "
    "scipy.optimize, scipy.special, scipy.stats, sentry_sdk, structlog\n"
    "import opentelemetry.exporter.otlp.proto.http.trace_exporter, opentelemetry.sdk.trace.export\n"
    "import sys; sys.argv = ['paiid', 'serve']\n"
    "from paiid.cli import main; main()"
)


class _Way:
    """One way of starting the service."""

    def __init__(self, name: str, arguments: list[str], directory: Path) -> None:
        self.name = name
        self.wall, self.cpu = Series(name, "s to ready"), Series(name, "s CPU")
        self.memory, self.used = Series(name, "MiB"), Series(name, "MiB after sign-in and a chain")
        self._arguments = arguments
        self._directory = directory
        self._environ = {
            "DATA_DIR": str(directory / "data"),
            "JWT_SECRET_KEY": TEST_KEY,
            "OWNER_EMAIL": OWNER["email"],
            "OWNER_PASSWORD": OWNER["password"],
            "TESTING": "true",
            "LOG_LEVEL": "WARNING",
        }

    def migrate(self) -> None:
        """The database is there before anything is measured, and has its owner."""
        environ = {**self._environ, "PORT": str(free_port())}
        Process("p10-migrate", ["-m", "paiid", "migrate"], self._directory, environ).wait_end(START_S)

    def start(self, *, count: bool = True) -> None:
        """One life of it. Raises RuntimeError."""
        port = free_port()
        began = time.perf_counter()
        process = Process(self.name, self._arguments, self._directory, {**self._environ, "PORT": str(port)})
        try:
            while _ask(port, "GET", "/api/health/ready")[0] != 200:
                if time.perf_counter() - began > START_S:
                    raise RuntimeError(f"{self.name} does not become ready: {process.output()}")
                time.sleep(_LOOK_S)
            wall_s, cpu_s, memory = time.perf_counter() - began, process.cpu_s(), process.memory()
            if count:
                self.wall.add(wall_s)
                self.cpu.add(cpu_s)
                self.memory.add(memory / _MIB)
                _use(port)
                self.used.add(process.memory() / _MIB)
        finally:
            process.stop()


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    say("P10 start of `paiid serve`, warm, SQLite")
    ours = _Way("paiid serve", ["-m", "paiid", "serve"], directory)
    eager = _Way("paiid serve, everything imported eagerly", ["-c", _EAGER], directory)
    core = Series("core imports", "s CPU")
    ours.migrate()
    for way in (ours, eager):
        way.start(count=False)
    for _ in range(rounds):
        core.add(_core_cpu_s())
        for way in (ours, eager):
            way.start()
    row(say, "limit", "framework, database and log imported", core)
    row(say, "peer", eager.name, eager.wall, eager.cpu, eager.memory, eager.used)
    row(say, "ours", ours.name, ours.wall, ours.cpu, ours.memory, ours.used)
    ratio_row(say, ratio("eager / ours, CPU", eager.cpu.values, ours.cpu.values))
    ratio_row(say, ratio("eager / ours, memory", eager.memory.values, ours.memory.values))
    ratio_row(say, ratio("ours / core imports, CPU", ours.cpu.values, core.values))
    met = [
        goal(say, "ready", ours.wall, 2.0, at_most=True),
        goal(say, "memory when ready", ours.memory, 120.0, at_most=True),
    ]
    return all(met)


def _core_cpu_s() -> float:
    """CPU seconds of a Python that imports the core and ends."""
    code = f"{_CORE}\nimport time; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout)


def _use(port: int) -> None:
    """Sign in, and ask for a chain with its Greeks. Raises RuntimeError."""
    status, answer = _ask(port, "POST", "/auth/login", OWNER)
    if status != 200:
        raise RuntimeError(f"sign-in: {status} {answer!r}")
    token = json.loads(answer)["access_token"]
    status, answer = _ask(port, "GET", f"/api/options/expirations/{CHAIN}", token=token)
    if status == 200:
        expiration = json.loads(answer)[3]["date"]
        status, answer = _ask(
            port, "GET", f"/api/options/chains/{CHAIN}?expiration={expiration}", token=token
        )
    if status != 200:
        raise RuntimeError(f"chain: {status} {answer!r}")


def _ask(
    port: int, method: str, path: str, body: object = None, token: str | None = None
) -> tuple[int, bytes]:
    """Status 0 where nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()
