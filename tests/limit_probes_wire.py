"""The probes of docs/limits.md that need a real socket, or the counters of the edge."""

import asyncio
from typing import Any

import httpx2

from paiid.cli.httpserver import GuardedProtocol
from paiid.core.limits import BODY_TIMEOUT_S, HEAD_TIMEOUT_S
from paiid.core.middleware import Edge
from tests.limit_probes import JSON, Outcome, Probed, outcome, probe

SCALE = 5
"""Seconds of the table are this many times shorter here; what is sent at once must come in time on a slow machine as well."""
GET = b"GET /api/health HTTP/1.1\r\nhost: x\r\n\r\n"


async def _talk(port: int, *parts: bytes, answers: int = 1) -> list[Outcome]:
    """Send over a raw socket; each answer that comes, and `closed` where the connection ends instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found: list[Outcome] = []
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        for _ in range(answers):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            found.append(outcome(httpx2.Response(int(head[0].split()[1]), headers=headers, content=body)))
    except (asyncio.IncompleteReadError, ConnectionError):
        found.append("closed")
    finally:
        writer.close()
    return found


class _Held:
    """Stands for a connection that somebody else holds."""

    def shutdown(self) -> None:
        """Nothing to shut."""


@probe("connections")
async def _connections(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    server, port = await probed.server(GuardedProtocol)
    found = []
    for held in (limit - 1, limit):
        server.server_state.connections.clear()
        server.server_state.connections.update(_Held() for _ in range(held))  # type: ignore[misc]
        found += await _talk(port, GET)
    server.server_state.connections.clear()
    await server.shutdown()
    return found[0], found[1]


@probe("head-seconds")
async def _head_seconds(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    assert GuardedProtocol.head_timeout_s == HEAD_TIMEOUT_S == limit

    class Quick(GuardedProtocol):
        head_timeout_s = HEAD_TIMEOUT_S / SCALE

    server, port = await probed.server(Quick)
    found = [(await _talk(port, GET))[0], (await _talk(port, GET[:-2]))[0]]
    await server.shutdown()
    return found[0], found[1]


@probe("head-bytes")
async def _head_bytes(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    class Quick(GuardedProtocol):
        head_timeout_s = HEAD_TIMEOUT_S / SCALE

    server, port = await probed.server(Quick)
    begin = b"GET /api/health HTTP/1.1\r\nhost: x\r\nx-long: "
    found = [(await _talk(port, begin + b"a" * (size - len(begin))))[0] for size in (limit, limit + 1)]
    await server.shutdown()
    return found[0], found[1]


@probe("pipelined")
async def _pipelined(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    server, port = await probed.server(GuardedProtocol)
    found = [
        (await _talk(port, GET * (1 + ahead), answers=2 + ahead if ahead > limit else 1 + ahead))[-1]
        for ahead in (limit, limit + 1)
    ]
    await server.shutdown()
    return found[0], found[1]


@probe("body-on-wire")
async def _body_on_wire(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    server, port = await probed.server(GuardedProtocol)
    begin = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    found = []
    for size in (limit, limit + 1):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begin)
        await reader.readuntil(b"}")
        writer.write(b"1;" + b"e" * (size - 2))
        await writer.drain()
        try:
            # That nothing comes is seen after a moment; what must come is waited for.
            async with asyncio.timeout(0.5 if size == limit else 5.0):
                ended = await reader.read(1) == b""
        except TimeoutError:
            ended = False
        except ConnectionError:
            ended = True
        found.append("closed" if ended else "goes on")
        writer.close()
    await server.shutdown()
    return found[0], found[1]


@probe("body-seconds")
async def _body_seconds(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    assert limit == BODY_TIMEOUT_S
    edge = Edge(
        probed.app.application,
        clock=probed.app.state.clock,
        accounting=probed.accounting,
        settings=probed.app.settings,
        body_timeout_s=limit / SCALE,
    )

    async def body(*, ends: bool) -> Any:
        yield b"{}" if ends else b"{"
        if not ends:
            await asyncio.sleep(30)

    async def ask(*, ends: bool) -> Outcome:
        transport = httpx2.ASGITransport(app=edge)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as http:
            return outcome(await http.post("/auth/login", content=body(ends=ends), headers=JSON))

    return await ask(ends=True), await ask(ends=False)


@probe("in-flight")
async def _in_flight(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    return await _shed(probed, [f"10.0.{n // 250}.{n % 250}" for n in range(limit)])


@probe("in-flight-address")
async def _in_flight_address(probed: Probed, limit: int) -> tuple[Outcome, Outcome]:
    return await _shed(probed, ["127.0.0.1"] * limit)


async def _shed(probed: Probed, addresses: list[str]) -> tuple[Outcome, Outcome]:
    found = []
    for under_way in (addresses[1:], addresses):
        for address in under_way:
            probed.accounting.began(address)
        found.append(outcome(await probed.owner.get("/auth/me")))
        assert (await probed.owner.get("/api/health")).status_code == 200
        assert (await probed.owner.get("/api/admin/kill")).status_code == 200
        for address in under_way:
            probed.accounting.ended(address, 200, 1.0)
    return found[0], found[1]
