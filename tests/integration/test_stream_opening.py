"""Who may open a stream, and how he says who he is (A4, A7, A9)."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog

from paiid.core import log
from paiid.stream.limits import SOCKETS_A_USER, StreamTimings
from tests.auth_world import Driven
from tests.conftest import MakeApp
from tests.world import Client
from tests.ws_world import QUICK, Streams, served, ticket_of, until

PATHS = (
    "/api/ws",
    "/api/stream/prices",
    "/api/stream/orders",
    "/api/stream/positions",
    "/api/stream/portfolio",
)
EVENTS = (
    "/api/stream/prices?symbols=AAPL",
    "/api/stream/orders",
    "/api/stream/positions",
    "/api/stream/market-indices",
)
STATIC = "static-token-static-token-static-token"


async def raw_handshake(port: int, token: str) -> tuple[int, asyncio.StreamWriter]:
    """A handshake without a client library: its status, and the connection, which stays open. On a busy machine hundreds at once
    are too many for the database's deadline: to 503 it comes again, as the answer says."""
    async with asyncio.timeout(90):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"GET /api/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
                b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer %b\r\n\r\n"
                % token.encode()
            )
            status = int((await reader.readline()).split()[1])
            if status != 503:
                return status, writer
            writer.close()
            await asyncio.sleep(random.random())


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """One database will do; tickets and rights have tests over both."""
    return sqlite_url


@pytest.fixture
async def streams(make_app: MakeApp) -> AsyncIterator[Streams]:
    app = await make_app({"allow_origin": ("https://app.example.com",), "api_token": STATIC}, clock=Driven())
    async with served(app) as one:
        yield one


@pytest.fixture
async def owner(streams: Streams) -> Client:
    return await streams.app.owner()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged."""
    kept = io.StringIO()
    before = structlog.get_config()
    log.configure("INFO")
    structlog.configure(
        logger_factory=structlog.WriteLoggerFactory(file=kept), cache_logger_on_first_use=False
    )
    yield kept
    structlog.configure(**before)


async def test_A07_a_program_opens_any_socket_with_its_header(streams: Streams, owner: Client) -> None:
    for path in PATHS:
        async with streams.socket(path, owner.token) as socket:
            first = await socket.opened()
            assert first["session"]["role"] == "owner"
            assert first["heartbeat_s"] == 15
            assert first["feed"]["status"] == "up"
            assert first["session"]["expires_at"] is not None
            await socket.say(type="ping", id=1)
            assert (await socket.hear("pong"))["id"] == 1
        await until(lambda: not list(streams.service.clients))


async def test_A07_a_browser_opens_one_with_a_ticket_and_the_ticket_is_not_echoed(
    streams: Streams, owner: Client
) -> None:
    ticket = await ticket_of(owner)
    async with streams.socket(subprotocols=["paiid.v1", f"ticket.{ticket}"]) as socket:
        assert socket.connection.subprotocol == "paiid.v1"
        assert (await socket.opened())["session"]["credential"] == "session"
    assert await streams.refused(subprotocols=["paiid.v1", f"ticket.{ticket}"]) == (401, "invalid-token")


async def test_A07_a_browser_may_say_it_in_the_first_message(streams: Streams, owner: Client) -> None:
    for word, secret in (("ticket", await ticket_of(owner)), ("token", owner.token)):
        async with streams.socket(subprotocols=["paiid.v1"]) as socket:
            await socket.say(type="auth", **{word: secret})
            assert (await socket.opened())["session"]["role"] == "owner"


async def test_A07_who_says_nothing_is_closed_in_time(make_app: MakeApp) -> None:
    app = await make_app()
    async with served(app, StreamTimings(auth_within_s=0.4)) as streams, streams.socket() as socket:
        code, heard = await socket.closed()
    assert (code, heard[0]["code"]) == (4401, "auth_required")


FIRST_WORDS: list[tuple[Any, str]] = [
    ({"type": "ping"}, "auth_required"),
    ({"type": "subscribe", "symbols": ["AAPL"]}, "auth_required"),
    ({"type": "auth", "token": "nonsense"}, "invalid_token"),
    ({"type": "auth", "ticket": "pt_" + "a" * 43}, "invalid_token"),
    ({"type": "auth", "ticket": "'; DROP TABLE users"}, "invalid_token"),
    ({"type": "auth"}, "invalid_field"),
    ([], "not_an_object"),
]


async def test_A07_who_says_anything_else_first_is_closed_at_once(streams: Streams) -> None:
    for message, word in FIRST_WORDS:
        async with streams.socket() as socket:
            await socket.connection.send(json.dumps(message))
            code, heard = await socket.closed()
        assert (code, heard[0]["code"]) == (4401, word)
    async with streams.socket() as socket:
        await socket.connection.send(b"\x00\x01")
        assert (await socket.closed())[0] == 4401
    # A client hears of the end a moment before the service has cleared up behind it.
    await until(lambda: not list(streams.service.clients))


REFUSED: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
        ("/api/ws", {"token": "nonsense"}, (401, "invalid-token")),
        ("/api/ws", {"headers": {"Authorization": "Basic eDp5"}}, (401, "unauthenticated")),
        ("/api/ws", {"subprotocols": ["paiid.v1", "ticket.nonsense"]}, (401, "invalid-token")),
        ("/api/ws", {"subprotocols": ["ticket.nonsense"]}, (400, "invalid-request")),
        ("/api/ws", {"subprotocols": ["paiid.v1", "ticket.a", "ticket.b"]}, (400, "invalid-request")),
        ("/api/ws", {"subprotocols": ["paiid.v1", "ticket.a"], "token": "x"}, (400, "invalid-request")),
        ("/api/ws", {"origin": "https://evil.example.com"}, (403, "forbidden")),
        ("/api/ws", {"origin": "null"}, (403, "forbidden")),
        ("/api/ws?batch=7", {}, (422, "validation")),
        ("/api/stream/prices?symbols=%3F", {}, (422, "validation")),
        ("/api/stream/orders?account=", {}, (422, "validation")),
        ("/api/stream/nothing", {}, (404, "not-found")),
        ("/api/health", {}, (404, "not-found")),
        ("/", {}, (404, "not-found")),
        ("/api/ws?x=" + "a" * 4096, {}, (414, "uri-too-long")),
        ("/api/ws", {"headers": {f"x-{n}": "1" for n in range(64)}}, (431, "headers-too-large")),
]  # fmt: skip


async def test_A08_a_refused_handshake_is_answered_with_a_problem(streams: Streams) -> None:
    for path, options, expected in REFUSED:
        assert await streams.refused(path, **options) == expected, (path, options)
    await until(lambda: streams.app.state.accounting.in_flight == 0)


async def test_A07_pages_of_a_listed_origin_and_of_our_own_may(streams: Streams, owner: Client) -> None:
    for origin in ("https://app.example.com", streams.url):
        async with streams.socket(token=owner.token, origin=origin) as socket:
            await socket.opened()


QUERIES = [
    "token", "access_token", "ACCESS_TOKEN", "accessToken", "ticket", "api_key", "apikey", "x-api-key", "authorization",
    "Authorization", "auth", "jwt", "key", "KEY", "password", "passwd", "secret", "client_secret", "bearer", "credentials",
    "%74oken", "refresh_token", "token[]",
]  # fmt: skip


async def test_A07_a_credential_in_the_address_is_refused_first_and_never_logged(
    streams: Streams, owner: Client, lines: io.StringIO
) -> None:
    ticket = await ticket_of(owner)
    for name in QUERIES:
        for path in (*PATHS, "/api/stream/nothing"):
            refused = await streams.refused(f"{path}?symbols=AAPL&{name}=hunter22", owner.token)
            assert refused == (400, "token-in-query"), (name, path)
        for path in ("/api/stream/prices", "/api/stream/orders", "/api/market/quotes"):
            answer = await owner.get(f"{path}?symbols=AAPL&{name}=hunter22")
            assert (answer.status_code, answer.json()["type"][18:]) == (400, "token-in-query"), (name, path)
            assert "hunter22" not in answer.text
    for value in (ticket, owner.token or "", STATIC):
        assert await streams.refused(f"/api/ws?x={value}") == (400, "token-in-query")
        assert value not in lines.getvalue()
    assert "hunter22" not in lines.getvalue()
    # Others may have written a line behind it: a look at the feed, or at how late the event loop is.
    assert "socket" in {json.loads(line)["event"] for line in lines.getvalue().splitlines()}


async def test_A07_a_ticket_is_never_logged_however_it_is_sent(
    streams: Streams, owner: Client, lines: io.StringIO
) -> None:
    ticket = await ticket_of(owner)
    async with streams.socket(subprotocols=["paiid.v1", f"ticket.{ticket}"]) as socket:
        await socket.opened()
    await until(lambda: not list(streams.service.clients))
    assert await streams.refused(subprotocols=["paiid.v1", f"ticket.{ticket}"]) == (401, "invalid-token")
    assert ticket not in lines.getvalue()
    structlog.get_logger().warning("odd", offered=f"paiid.v1, ticket.{ticket}")
    assert ticket not in lines.getvalue()


async def test_E03_the_key_of_an_intent_is_no_credential(owner: Client) -> None:
    assert (await owner.get("/api/trading/intents?key=some-key-of-mine")).status_code == 404
    assert (await owner.get("/api/trading/orders?key=some-key-of-mine")).status_code == 400


async def test_A07_the_cheap_checks_come_before_the_ticket_is_used(streams: Streams, owner: Client) -> None:
    ticket = await ticket_of(owner)
    offered = ["paiid.v1", f"ticket.{ticket}"]
    assert await streams.refused(subprotocols=offered, origin="https://evil.example.com") == (
        403,
        "forbidden",
    )
    assert await streams.refused("/api/ws?batch=9", subprotocols=offered) == (422, "validation")
    async with streams.socket(subprotocols=offered) as socket:
        await socket.opened()


async def test_A04_a_token_needs_the_scope_to_read(streams: Streams, owner: Client) -> None:
    tokens = {}
    for scope in ("read", "trade", "halt"):
        made = await owner.post("/auth/tokens", json={"name": scope, "scopes": [scope]})
        tokens[scope] = made.json()["token"]
    for scope in ("trade", "halt"):
        assert await streams.refused(token=tokens[scope]) == (403, "scope-missing")
        answer = await Client(streams.app.http, tokens[scope]).post("/api/stream/ticket")
        assert answer.status_code == 403
        async with streams.socket() as socket:
            await socket.say(type="auth", token=tokens[scope])
            assert (await socket.closed())[0] == 4403
    for token, credential in ((tokens["read"], "token"), (STATIC, "static")):
        async with streams.socket(token=token) as socket:
            assert (await socket.opened())["session"]["credential"] == credential
        ticket = await ticket_of(Client(streams.app.http, token))
        async with streams.socket(subprotocols=["paiid.v1", f"ticket.{ticket}"]) as socket:
            assert (await socket.opened())["session"]["credential"] == credential


async def test_S7_events_are_read_with_a_header_and_nothing_else(streams: Streams, owner: Client) -> None:
    for path in EVENTS:
        async with streams.events(path, owner.token) as events:
            assert events.answer.status_code == 200
            assert events.answer.headers["content-type"] == "text/event-stream"
            assert events.answer.headers["x-accel-buffering"] == "no"
            assert events.answer.headers["cache-control"] == "no-store"
            assert (await events.hear("connection"))[1]["session"]["role"] == "owner"
            assert "feed" in (await events.hear("subscription_confirmed"))[1]["channels"]
            # An open stream is no request under way: a thousand of them must not shed the rest. What was asked before it may
            # still be on its way out.
            await until(lambda: streams.app.state.accounting.in_flight == 0)
        await until(lambda: not list(streams.service.clients))
        for token in (None, "nonsense"):
            async with streams.events(path, token) as refused:
                assert refused.answer.status_code == 401
                assert refused.answer.headers["content-type"] == "application/problem+json"


async def test_S7_what_a_stream_of_events_cannot_give_is_told_before_it_opens(
    streams: Streams, owner: Client
) -> None:
    other = await streams.app.user("trader")
    foreign = f"paper-{(await other.get('/auth/me')).json()['id'].removeprefix('usr_')}"
    for path, status in (
        ("/api/stream/prices", 422),
        ("/api/stream/prices?symbols=???", 422),
        ("/api/stream/orders?account=nobody", 404),
        (f"/api/stream/positions?account={foreign}", 404),
        ("/api/stream/orders?account=" + "a" * 65, 422),
    ):
        async with streams.events(path, owner.token) as events:
            assert (path, events.answer.status_code) == (path, status)
    async with streams.events("/api/stream/orders", owner.token, origin="https://evil.example.com") as events:
        assert events.answer.status_code == 403


async def test_A09_a_user_has_so_many_streams_and_not_one_more_however_many_try(
    streams: Streams, owner: Client
) -> None:
    other = await streams.app.user("viewer")
    raw = [asyncio.create_task(raw_handshake(streams.port, owner.token or "")) for _ in range(500)]
    opened = [writer for status, writer in await asyncio.gather(*raw) if status == 101]
    assert len(opened) == SOCKETS_A_USER
    assert {task.result()[0] for task in raw} == {101, 429}
    async with streams.events("/api/stream/orders", owner.token) as events:
        assert events.answer.status_code == 429
    async with streams.socket() as socket:
        await socket.say(type="auth", token=owner.token)
        code, heard = await socket.closed()
        assert (code, heard[-1]["code"]) == (4429, "too_many_sockets")
    async with streams.socket(token=other.token) as socket:
        await socket.opened()
    for task in raw:
        task.result()[1].close()
    await until(lambda: not list(streams.service.clients))
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()


async def test_A09_streams_on_other_replicas_count(streams: Streams, owner: Client) -> None:
    user_id = (await owner.get("/auth/me")).json()["id"]
    streams.elsewhere[user_id] = SOCKETS_A_USER - 1
    async with streams.socket(token=owner.token) as socket:
        await socket.opened()
        assert await streams.refused(token=owner.token) == (429, "rate-limited")
        assert streams.service.sockets_by_user() == {user_id: 1}


async def test_A09_sockets_that_do_not_say_who_they_are_are_bounded(make_app: MakeApp) -> None:
    app = await make_app()
    async with served(app, StreamTimings(auth_within_s=30)) as streams:
        waiting = streams.service.clients._waiting
        waiting["10.0.0.1"] = 1023
        async with streams.socket():
            assert await streams.refused() == (503, "overloaded")
        await until(lambda: waiting.total() == 1023)
        waiting.clear()
        waiting["127.0.0.1"] = 64
        assert await streams.refused() == (429, "rate-limited")
        waiting.clear()


async def test_the_status_page_tells_of_feed_bus_and_the_callers_own_streams(
    streams: Streams, owner: Client
) -> None:
    viewer = await streams.app.user("viewer")
    async with streams.socket(token=owner.token) as socket:
        first = await socket.opened()
        told = (await owner.get("/api/stream/status")).json()
        assert [one["id"] for one in told["sockets"]] == [first["id"]]
        assert told["feed"]["status"] == "up"
        assert told["bus"] == {"shared": False, "up": True}
        assert (told["counts"], told["sockets_in_all"], told["draining"]) == ({"crossed": 3}, 1, False)
        seen = (await viewer.get("/api/stream/status")).json()
        assert seen["sockets"] == []
        assert not {"counts", "sockets_in_all"} & set(seen)
    assert QUICK.ticket_s == 30
