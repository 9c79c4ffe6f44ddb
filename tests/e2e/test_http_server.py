"""A real server against clients that dawdle, flood, or send anything but HTTP, over raw sockets (A9).

Run as `python -m tests.e2e.test_http_server` it is that server: the product's own, with the waits that QUICK names.
"""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.ports import free_port
from tests.world import OWNER_EMAIL, PASSWORD, TEST_KEY

GET = b"GET /api/health HTTP/1.1\r\nhost: x\r\n\r\n"
WAIT_S = 30.0
QUICK_S = 0.7
ROOM = 12
"""Connections of the quick server."""


@dataclass
class Reply:
    """One answer off the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def slug(self) -> str:
        """The stable code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self.headers
        assert self.headers["x-request-id"]
        return str(json.loads(self.body)["type"]).removeprefix("urn:paiid:problem:")


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> bool:
        """Send; False where the other end has hung up."""
        if self.writer.is_closing() or self.reader.at_eof():
            return False
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        return True

    async def reply(self) -> Reply | None:
        """The next answer; None where the connection was closed without one."""
        async with asyncio.timeout(WAIT_S):
            try:
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            except ConnectionError:
                return None
            except asyncio.IncompleteReadError as ended:
                if ended.partial:
                    raise
                return None
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Reply(int(head[0].split()[1]), headers, body)

    async def is_closed(self) -> bool:
        """Whether the other end closes, without a further byte."""
        return await self.reply() is None

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


_lines: list[Line] = []


@pytest.fixture(autouse=True)
async def _hang_up() -> AsyncIterator[None]:
    yield
    while _lines:
        _lines.pop().close()


async def line(server: "Server") -> Line:
    """A new connection; it is closed with the test."""
    one = Line(*await asyncio.open_connection("127.0.0.1", server.port))
    _lines.append(one)
    return one


async def ask(server: "Server", data: bytes = GET) -> Reply | None:
    """One request on a connection of its own."""
    one = await line(server)
    await one.send(data)
    found = await one.reply()
    one.close()
    return found


class Server:
    """A server process of our own."""

    def __init__(self, data_dir: Path, **environ: str) -> None:
        self.port = free_port()
        self.log = data_dir / "server.log"
        self.environ = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "JWT_SECRET_KEY": TEST_KEY,
            "OWNER_EMAIL": OWNER_EMAIL,
            "OWNER_PASSWORD": PASSWORD,
            **environ,
        }

    def run(self) -> Iterator["Server"]:
        """Start it, wait until it answers, end it."""
        with self.log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.test_http_server"],
                env=self.environ,
                stdout=out,
                stderr=out,
            )
        try:
            for _ in range(1200):
                assert process.poll() is None, self.log.read_text()
                try:
                    with socket.create_connection(("127.0.0.1", self.port)) as one:
                        one.sendall(GET)
                        if one.recv(12) == b"HTTP/1.1 200":
                            break
                except ConnectionError:
                    time.sleep(0.05)
            yield self
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product as it is."""
    yield from Server(tmp_path_factory.mktemp("server")).run()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same with waits a test can sit out, and with room for few connections."""
    yield from Server(tmp_path_factory.mktemp("quick"), QUICK="1").run()


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The product on a host that lets a process open 320 files."""
    yield from Server(tmp_path_factory.mktemp("poor"), FILES="320").run()


async def test_A09_a_slow_loris_is_told_and_cut_off_and_hurts_nobody_meanwhile(server: Server) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    silent = await line(server)
    drips = [await line(server) for _ in range(50)]
    dripping = True

    async def drip() -> None:
        for one in drips:
            await one.send(b"GET /api/health HTTP/1.1\r\nhost: x\r\n")
        while dripping:
            for one in drips:
                await one.send(b"x-more: 1\r\n")
            await asyncio.sleep(0.5)

    task = asyncio.create_task(drip())
    other = await ask(server)
    assert other is not None
    assert other.status == 200
    for one in drips:
        answer = await one.reply()
        assert answer is not None
        assert (answer.status, answer.slug) == (408, "request-timeout")
        assert answer.headers["connection"] == "close"
        assert await one.is_closed()
    assert await silent.is_closed(), "who said nothing is told nothing"
    assert loop.time() - began >= 9.5, "nobody is cut off before his time"
    dripping = False
    await task
    after = await ask(server)
    assert after is not None
    assert after.status == 200


async def test_A09_a_head_past_its_limit_is_431_and_closed(server: Server) -> None:
    one = await line(server)
    begin = b"GET /api/health HTTP/1.1\r\nhost: x\r\nx-long: "
    await one.send(begin + b"a" * (32 * 1024 - len(begin)))
    other = await ask(server)
    assert other is not None
    assert not one.reader.at_eof(), "at the limit it still waits"
    await one.send(b"a")
    answer = await one.reply()
    assert answer is not None
    assert (answer.status, answer.slug) == (431, "headers-too-large")
    assert await one.is_closed()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"GET /api/health HTTP/9.9\r\nhost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /api/health HTTP/1.1\r\nhost : x\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_A08_what_is_no_http_is_a_problem_too(server: Server, garbage: bytes) -> None:
    answer = await ask(server, garbage)
    assert answer is not None
    assert (answer.status, answer.slug) == (400, "invalid-request")


LOGIN = b'{"email":"owner@example.com","password":"wrong-password"}'
SIGN_IN = (
    b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(LOGIN), LOGIN)
)


@pytest.mark.parametrize("follows", [b"\x00\x01 no http\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 600_000])
async def test_A09_garbage_behind_a_request_is_never_answered_in_its_place(
    server: Server, follows: bytes
) -> None:
    one = await line(server)
    await one.send(SIGN_IN + follows)
    answer = await one.reply()
    assert answer is not None
    assert (answer.status, answer.slug) == (401, "invalid-credentials")
    second = await one.reply()
    assert second is None or second.status == 431


async def test_A09_who_sends_too_many_requests_ahead_gets_the_first_answers_and_no_more(
    server: Server,
) -> None:
    one = await line(server)
    await one.send(GET * 16)
    for _ in range(16):
        answer = await one.reply()
        assert answer is not None
        assert answer.status == 200
    await one.send(GET * 200)
    count = 0
    while (answer := await one.reply()) is not None:
        assert answer.status == 200
        count += 1
    assert count == 17, "one that is being answered and sixteen that wait"


async def test_A09_a_body_that_nobody_awaits_does_not_keep_a_connection(quick: Server) -> None:
    one = await line(quick)
    await one.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
    answer = await one.reply()
    assert answer is not None
    assert answer.status == 404
    for _ in range(int(QUICK_S / 0.1) + 3):
        await one.send(b" ")
        await asyncio.sleep(0.1)
    assert await one.is_closed()


async def test_A09_a_connection_that_ends_its_body_late_and_falls_silent_is_closed(quick: Server) -> None:
    one = await line(quick)
    await one.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n")
    answer = await one.reply()
    assert answer is not None
    assert answer.status == 404
    await one.send(b"{}")
    assert await one.is_closed()
    two = await line(quick)
    await two.send(GET)
    assert await two.reply() is not None
    await two.send(b"\r\n")
    assert await two.reply() is not None, "an empty line is the beginning of a request that never comes: 408"
    assert await two.is_closed()


@pytest.mark.parametrize("part", [b"x-trailer: " + b"a" * 4000 + b"\r\n", b"1;" + b"e" * 4000 + b"\r\n \r\n"])
async def test_A09_trailers_and_chunk_marks_cannot_be_sent_without_end(quick: Server, part: bytes) -> None:
    one = await line(quick)
    await one.send(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    if part.startswith(b"x"):
        await one.send(b"0\r\n")
    answer = await one.reply()
    assert answer is not None
    assert answer.status == 404
    sent = 0
    while await one.send(part):
        sent += len(part)
        assert sent < 50_000_000, "it is read without end"
    assert await one.is_closed(), "one request gets one answer"
    other = await ask(quick)
    assert other is not None
    assert other.status == 200


async def test_A09_connections_past_the_limit_are_refused_and_the_others_go_on(quick: Server) -> None:
    held = []
    async with asyncio.timeout(WAIT_S):
        while len(held) < ROOM:
            one = await line(quick)
            await one.send(GET)
            answer = await one.reply()
            # Connections of the test before may still be closing.
            if answer is not None and answer.status == 200:
                held.append(one)
    refused = await ask(quick, b"")
    assert refused is not None
    assert (refused.status, refused.slug) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    await held[0].send(GET)
    answer = await held[0].reply()
    assert answer is not None
    assert answer.status == 200
    held[1].close()
    async with asyncio.timeout(WAIT_S):
        # Until the room that came free is given away.
        while (answer := await ask(quick)) is None or answer.status != 200:
            await asyncio.sleep(0.02)


async def test_A09_where_few_files_may_be_open_connections_leave_the_service_its_own(poor: Server) -> None:
    held = [await line(poor) for _ in range(80)]
    for one in held:
        await one.send(GET)
    answers = [await one.reply() for one in held]
    statuses = [answer.status for answer in answers if answer is not None]
    assert statuses.count(200) == 320 - 256
    assert set(statuses) == {200, 503}, "who is refused while he sends may hear of it by a reset alone"
    await held[0].send(SIGN_IN)
    answer = await held[0].reply()
    assert answer is not None
    assert answer.status == 401, "the database still works"


async def test_a_client_that_thinks_between_two_requests_keeps_his_connection(server: Server) -> None:
    one = await line(server)
    for pause_s in (0.0, 0.3, 1.0):
        await asyncio.sleep(pause_s)
        for half in (GET[:20], GET[20:]):
            await one.send(half)
            await asyncio.sleep(0.05)
        answer = await one.reply()
        assert answer is not None
        assert (answer.status, answer.headers.get("connection")) == (200, None)


def main() -> None:
    """Serve."""
    if "FILES" in os.environ:
        files = int(os.environ["FILES"])
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if "QUICK" not in os.environ:
        sys.argv = ["paiid", "serve", "--migrate"]
        from paiid.cli import main as paiid_main

        paiid_main()
        return
    import uvicorn

    from paiid.app import create_app
    from paiid.cli.httpserver import GuardedProtocol
    from paiid.cli.serve import server_config
    from paiid.core.log import configure
    from paiid.core.migrate import migrate
    from paiid.core.settings import load_settings

    class Quick(GuardedProtocol):
        head_timeout_s = QUICK_S
        body_timeout_s = QUICK_S
        max_connections = ROOM

        def __init__(self, *args: Any, **kw: Any) -> None:
            super().__init__(*args, **kw)
            self.timeout_keep_alive = 6

    settings = load_settings(os.environ)
    configure(settings.log_level)
    migrate(settings.database)
    config = server_config(create_app(settings), Quick)
    config.host, config.port = settings.host, settings.port
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
