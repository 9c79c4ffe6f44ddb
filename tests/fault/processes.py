"""Real server processes for the fault tests: started, asked, killed by pid, started again on the same data."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

OWNER = {"email": "owner@example.com", "password": "correct horse battery"}
TEST_KEY = "test-key-test-key-test-key-test-key-test-key"
_START_S = 20.0


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """One server process over one database and data directory."""

    database_url: str
    data_dir: Path
    environ: dict[str, str] = field(default_factory=dict)
    module: str = "tests.fault.server"
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None
    log: Any = None
    token: str = ""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, **extra: str) -> None:
        """Start and wait until it is ready to trade."""
        environ = {
            **{k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "PYTHONPATH", "TMPDIR")},
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
        self.log = tempfile.TemporaryFile()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", self.module, env=environ, stdout=self.log, stderr=self.log
        )
        async with httpx2.AsyncClient() as client:
            for _ in range(int(_START_S / 0.05)):
                if self.process.returncode is not None:
                    raise AssertionError(f"the server ended with {self.process.returncode}: {self.output()}")
                try:
                    if (await client.get(f"{self.url}/api/health/ready")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.05)
        raise AssertionError(f"the server did not become ready: {self.output()}")

    def output(self) -> str:
        """What it has written so far."""
        self.log.seek(0)
        text: str = self.log.read().decode(errors="replace")
        return text[-4000:]

    async def sign_in(self) -> None:
        """Get a token for the owner; it stays good over restarts."""
        async with httpx2.AsyncClient(timeout=10) as client:
            answer = await client.post(f"{self.url}/auth/login", json=OWNER)
            assert answer.status_code == 200, answer.text
            self.token = answer.json()["access_token"]

    def client(self, timeout_s: float = 15.0) -> httpx2.AsyncClient:
        """A signed-in client."""
        return httpx2.AsyncClient(
            base_url=self.url, timeout=timeout_s, headers={"Authorization": f"Bearer {self.token}"}
        )

    async def kill(self) -> None:
        """Like a power cut."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def wait_killed(self, timeout_s: float = 12.0) -> None:
        """Wait until its own fail point has killed it."""
        assert self.process is not None
        try:
            async with asyncio.timeout(timeout_s):
                code = await self.process.wait()
        except TimeoutError:
            raise AssertionError("the fail point was never reached") from None
        assert code == -signal.SIGKILL, self.output()

    async def terminate(self) -> int:
        """Ask it to end, and wait; its exit code."""
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(6):
            return await self.process.wait()


async def settle(server: Server, key: str, body: dict[str, Any], timeout_s: float = 15.0) -> httpx2.Response:
    """Send the same request under the same key until its answer is final."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    async with server.client() as client:
        while True:
            answer = await client.post("/api/trading/execute", json=body, headers={"Idempotency-Key": key})
            if answer.status_code not in (202, 409, 503):
                return answer
            assert loop.time() < end, f"never final: {answer.status_code} {answer.text}"
            await asyncio.sleep(0.1)
