"""Real server processes for the fault tests: started, asked, killed by pid, started again on the same data."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from cluster.ports import free_port
from paiid.core.failpoints import FailPoint
from tests.fault.nursery import Nursery
from tests.world import OWNER_EMAIL, PASSWORD, TEST_KEY

OWNER = {"email": OWNER_EMAIL, "password": PASSWORD}
EXECUTE = "/api/trading/execute"
DISK_IS_FULL = "not one byte can be written from here on"
"""The last that a server says before it is so."""
MARKER = "died-at"
_START_S = 60.0
_POLL_S = 0.02
_NOT_FINAL = (202, 409, 503)


@dataclass
class Server:
    """One server process over one database and data directory; it may live several times."""

    nursery: Nursery
    database_url: str
    data_dir: Path
    environ: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    pid: int = 0
    token: str = ""
    _lives: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """All that its lives have written."""
        return self.data_dir / "server.log"

    @property
    def _exit_file(self) -> Path:
        return self.data_dir / f"exit-{self._lives}"

    async def start(self, **extra: str) -> None:
        """Start and wait until it is ready to trade."""
        self.launch(**extra)
        async with httpx2.AsyncClient(timeout=_START_S, verify=False) as client:
            for _ in range(int(_START_S / _POLL_S)):
                assert self.running, f"the server ended: {self.output()}"
                with contextlib.suppress(httpx2.TransportError):
                    if (await client.get(f"{self.url}/api/health/ready")).status_code == 200:
                        return
                await asyncio.sleep(_POLL_S)
        raise AssertionError(f"the server did not become ready: {self.output()}")

    def launch(self, **extra: str) -> None:
        """Start and wait for nothing: it may die before it is ready."""
        assert not self.running
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / MARKER).unlink(missing_ok=True)
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        environ = {
            **{name: value for name, value in os.environ.items() if name in kept},
            "DATABASE_URL": self.database_url,
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "JWT_SECRET_KEY": TEST_KEY,
            "OWNER_EMAIL": OWNER["email"],
            "OWNER_PASSWORD": OWNER["password"],
            "TESTING": "true",
            "LOG_LEVEL": "WARNING",
            **self.environ,
            **extra,
        }
        self._lives += 1
        self.pid = self.nursery.launch(environ, self.log, self._exit_file)

    @property
    def running(self) -> bool:
        """Whether a process of it lives."""
        return self._lives > 0 and not self._exit_file.exists()

    def output(self) -> str:
        """The end of what it has written."""
        return self.log.read_text(errors="replace")[-4000:]

    async def sign_in(self) -> None:
        """Get a token for the owner; it stays good over restarts, and on every replica."""
        async with httpx2.AsyncClient(timeout=30, verify=False) as client:
            answer = await client.post(f"{self.url}/auth/login", json=OWNER)
            assert answer.status_code == 200, answer.text
            self.token = answer.json()["access_token"]

    def client(self, timeout_s: float = 30.0, connections: int = 100) -> httpx2.AsyncClient:
        """A signed-in client."""
        return httpx2.AsyncClient(
            base_url=self.url,
            # No TLS here, and the certificates take longer to load than most questions to be answered.
            verify=False,
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {self.token}"},
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    def signal(self, number: signal.Signals) -> None:
        """Send this one process a signal."""
        assert self.pid > 0, "it was never started, and 0 would be our own group"
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """Like a power cut."""
        if self.running:
            self.signal(signal.SIGKILL)
            await self.wait()

    async def wait(self, timeout_s: float = 60.0) -> int:
        """Until it has ended; its exit code, negative for a signal. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self.running:
                await asyncio.sleep(_POLL_S)
        return int(self._exit_file.read_text())

    async def wait_killed_at(self, point: FailPoint) -> None:
        """Wait until it has died, of this fail point and of nothing else."""
        try:
            code = await self.wait()
        except TimeoutError:
            raise AssertionError(f"{point} was never reached: {self.output()}") from None
        assert code == -signal.SIGKILL, self.output()
        assert (self.data_dir / MARKER).read_text() == point.value


async def execute(client: httpx2.AsyncClient, key: str, body: dict[str, Any]) -> httpx2.Response:
    """One request for orders."""
    return await client.post(EXECUTE, json=body, headers={"Idempotency-Key": key})


async def taken(client: httpx2.AsyncClient, key: str, body: dict[str, Any]) -> httpx2.Response:
    """The same request until it is taken: one that finds no turn at the database of a busy machine has done nothing."""
    while (answer := await execute(client, key, body)).status_code == 503:
        await asyncio.sleep(0.1)
    return answer


async def settle(
    client: httpx2.AsyncClient, key: str, body: dict[str, Any], timeout_s: float = 60.0
) -> httpx2.Response:
    """Send the same request under the same key until its answer is final."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while True:
        answer = await execute(client, key, body)
        if answer.status_code not in _NOT_FINAL:
            return answer
        assert loop.time() < end, f"never final: {answer.status_code} {answer.text}"
        await asyncio.sleep(0.1)
