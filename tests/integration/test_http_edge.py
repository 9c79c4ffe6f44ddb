"""The HTTP edge in front of the whole app: what it adds to every answer, and what never gets past it (A6, A7, A8, A9)."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import StreamingResponse

from paiid.core import log
from paiid.core.accounting import Accounting
from paiid.core.clock import SystemClock
from paiid.core.db import CommitUnknown, DatabaseUnavailable
from paiid.core.json import JsonDecimal, StrictModel, StrictRoute
from paiid.core.middleware import Edge
from paiid.core.problems import install
from paiid.core.settings import Settings
from tests.world import App

ORIGIN = "https://app.example.com"


class Order(StrictModel):
    """A body with the kinds of fields that orders have."""

    symbol: str
    qty: JsonDecimal
    note: str | None = None


def edge_app(settings: Settings | None = None, *, body_timeout_s: float = 5.0) -> FastAPI:
    """A small app behind the real edge, with routes that misbehave."""
    router = APIRouter(route_class=StrictRoute)

    @router.post("/orders")
    async def orders(request: Request, body: Order) -> dict[str, str]:
        return {"qty": str(body.qty), "address": request.scope["client_address"]}

    @router.post("/optional")
    async def optional(request: Request, body: Order | None = None) -> dict[str, bool]:
        return {"read": body is not None}

    @router.get("/crash")
    async def crash() -> None:
        raise RuntimeError("the secret of the house is hunter22")

    @router.get("/database")
    async def database() -> None:
        raise DatabaseUnavailable("PostgreSQL: host db.internal")

    @router.get("/unsure")
    async def unsure() -> None:
        raise CommitUnknown("lost")

    @router.get("/address/{name}")
    async def address(request: Request, name: str) -> dict[str, str]:
        return {"address": request.scope["client_address"]}

    @router.get("/half")
    async def half() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"one"
            raise RuntimeError("two never comes")

        return StreamingResponse(body())

    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(router)
    install(app)
    clock = SystemClock()
    app.state.accounting = Accounting(clock)
    app.add_middleware(
        Edge,
        clock=clock,
        accounting=app.state.accounting,
        settings=settings or Settings(),
        body_timeout_s=body_timeout_s,
    )
    return app


def edge(settings: Settings | None = None, **more: float) -> App:
    """The same with a client."""
    return App(edge_app(settings, **more), settings or Settings())


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    log.configure("INFO", ["static-token-of-the-test"])
    # A logger keeps the configuration it was first used with; another test may have used this one.
    monkeypatch.setattr("paiid.core.middleware._log", structlog.get_logger("paiid.http"))
    yield stream
    structlog.reset_defaults()


async def test_every_answer_carries_a_request_id_and_the_security_headers() -> None:
    async with edge() as app:
        for path in ("/address/x", "/nowhere", "/crash", "/database"):
            answer = await app.http.get(path)
            assert answer.headers["x-request-id"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-123", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("two words", False),
        ('"><x', False),
        ("", False),
    ],
)
async def test_a_sane_request_id_of_the_caller_is_kept_and_any_other_is_replaced(
    given: str, kept: bool
) -> None:
    async with edge() as app:
        answer = await app.http.get("/nowhere", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is kept
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_A08_every_error_is_a_problem_with_a_stable_type() -> None:
    async with edge() as app:
        for path, status, slug in (
            ("/nowhere", 404, "not-found"),
            ("/orders", 405, "method-not-allowed"),
            ("/crash", 500, "internal"),
            ("/database", 503, "database-unavailable"),
            ("/unsure", 503, "database-unavailable"),
        ):
            answer = await app.http.get(path)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            body = answer.json()
            assert body["type"] == f"urn:paiid:problem:{slug}"
            assert body["status"] == status
            assert isinstance(body["detail"], str)
            assert isinstance(body["title"], str)
            assert ("retry-after" in answer.headers) is (status == 503)


async def test_an_unsure_commit_never_claims_that_nothing_was_done() -> None:
    async with edge() as app:
        assert "nothing was done" in (await app.http.get("/database")).json()["detail"]
        assert "may or may not" in (await app.http.get("/unsure")).json()["detail"]


async def test_A08_a_crash_tells_nothing_but_the_id_that_finds_it_in_the_log(lines: io.StringIO) -> None:
    async with edge() as app:
        answer = await app.http.get("/crash", headers={"x-request-id": "find-me"})
    assert "hunter22" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.json()["request_id"] == "find-me"
    logged = [json.loads(line) for line in lines.getvalue().splitlines()]
    crash = next(line for line in logged if line["event"] == "crash")
    assert crash["request_id"] == "find-me"
    assert "RuntimeError" in crash["exception"]
    assert [line["status"] for line in logged if line["event"] == "request"] == [500]


async def test_half_an_answer_ends_as_a_broken_connection_and_not_as_a_whole_one() -> None:
    sent: list[dict[str, object]] = []
    coming = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, object]:
        for message in coming:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "path": "/half", "raw_path": b"/half", "query_string": b"", "headers": [], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "scheme": "http", "root_path": "",
    }  # fmt: skip
    with pytest.raises(RuntimeError):
        await edge_app()(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 200
    assert not any(m["type"] == "http.response.body" and not m.get("more_body") for m in sent)


@pytest.mark.parametrize(
    ("body", "headers", "status", "slug"),
    [
        (b'{"symbol":"A","qty":1}', {"content-type": "text/plain"}, 415, "unsupported-media-type"),
        (
            b'{"symbol":"A","qty":1}',
            {"content-type": "application/vnd.x+json"},
            415,
            "unsupported-media-type",
        ),
        (b'{"symbol":"A","qty":1}', {}, 415, "unsupported-media-type"),
        (b'{"symbol":"A","qty":1}', {"content-type": "application/json; charset=latin-1"}, 415, None),
        (b"\x1f\x8b", {"content-type": "application/json", "content-encoding": "gzip"}, 415, None),
        (b'{"symbol":"A","qty":1,"qty":2}', None, 400, "duplicate-json-key"),
        (b'{"symbol":"A","qty":NaN}', None, 400, "invalid-json"),
        (b'{"symbol":"A","qty":Infinity}', None, 400, "invalid-json"),
        (b'{"symbol":"A","qty":1e309}', None, 400, "invalid-json"),
        (b'{"symbol":"\\u0000","qty":1}', None, 400, "invalid-json"),
        (b'{"symbol":"\\ud800","qty":1}', None, 400, "invalid-json"),
        (b"[" * 10_000, None, 400, "body-too-deep"),
        (b'{"symbol":"A","qty":"1"}', None, 422, "validation"),
        (b'{"symbol":"A","qty":true}', None, 422, "validation"),
        (b'{"symbol":"A","qty":null}', None, 422, "validation"),
        (b'{"symbol":"A","qty":[]}', None, 422, "validation"),
        (b'{"symbol":"A","qty":1,"extra":1}', None, 422, "validation"),
        (b'{"symbol":1,"qty":1}', None, 422, "validation"),
        (b"[]", None, 422, "validation"),
        (b"null", None, 422, "validation"),
        (b"", None, 422, "validation"),
    ],
)
async def test_A08_a_body_that_is_not_exactly_what_is_meant_is_refused(
    body: bytes, headers: dict[str, str] | None, status: int, slug: str | None
) -> None:
    async with edge() as app:
        sent = {"content-type": "application/json"} if headers is None else headers
        answer = await app.http.post("/orders", content=body, headers=sent)
        assert answer.status_code == status, answer.text
        if slug is not None:
            assert answer.json()["type"].endswith(slug)
        if status == 422:
            first = answer.json()["errors"][0]
            assert set(first) == {"field", "code", "message"}


async def test_A08_a_body_that_cannot_be_read_is_never_taken_for_one_left_out() -> None:
    async with edge() as app:
        json_type = {"content-type": "application/json"}
        assert (await app.http.post("/optional", content=b"{", headers=json_type)).status_code == 400
        assert (await app.http.post("/optional", content=b"{}", headers={})).status_code == 415
        assert (await app.http.post("/optional")).json() == {"read": False}


async def test_a_number_arrives_with_exactly_the_digits_sent() -> None:
    async with edge() as app:
        answer = await app.http.post(
            "/orders",
            content=b'{"symbol":"A","qty":0.100000001}',
            headers={"content-type": "application/json"},
        )
        assert answer.json()["qty"] == "0.100000001"


async def test_A06_an_origin_of_the_list_is_answered_and_no_other_is_reflected() -> None:
    async with edge(Settings(allow_origin=(ORIGIN,))) as app:
        for origin, allowed in (
            (ORIGIN, True),
            ("https://evil.example", False),
            (ORIGIN + ".evil.example", False),
            ("http://app.example.com", False),
            ("null", False),
        ):
            plain = await app.http.get("/address/x", headers={"origin": origin})
            assert plain.headers.get("access-control-allow-origin") == (ORIGIN if allowed else None)
            assert plain.headers["vary"].lower() == "origin"
            preflight = await app.http.options(
                "/orders", headers={"origin": origin, "access-control-request-method": "POST"}
            )
            assert preflight.status_code == (204 if allowed else 403)
            assert preflight.headers.get("access-control-allow-origin") == (ORIGIN if allowed else None)
            assert ("access-control-allow-methods" in preflight.headers) is allowed
            assert "access-control-allow-credentials" not in preflight.headers


async def test_A06_without_a_list_no_origin_is_allowed_and_with_a_star_still_not_null() -> None:
    async with edge() as app:
        answer = await app.http.options(
            "/orders", headers={"origin": ORIGIN, "access-control-request-method": "POST"}
        )
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    async with edge(Settings(allow_origin=("*",))) as app:
        answer = await app.http.get("/address/x", headers={"origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == "*"
        answer = await app.http.get("/address/x", headers={"origin": "null"})
        assert "access-control-allow-origin" not in answer.headers


async def test_an_error_reaches_the_page_of_an_allowed_origin_too() -> None:
    async with edge(Settings(allow_origin=(ORIGIN,))) as app:
        answer = await app.http.get("/crash", headers={"origin": ORIGIN})
        assert answer.status_code == 500
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_A06_a_page_may_send_and_read_every_header_that_a_route_of_ours_takes_or_gives() -> None:
    asked = {"authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "last-event-id"}
    async with edge(Settings(allow_origin=(ORIGIN,))) as app:
        preflight = await app.http.options(
            "/address/x", headers={"origin": ORIGIN, "access-control-request-method": "GET"}
        )
        assert asked <= set(preflight.headers["access-control-allow-headers"].split(", "))
        answer = await app.http.get("/address/x", headers={"origin": ORIGIN})
        given = {"etag", "location", "retry-after", "idempotency-replayed", "x-request-id"}
        assert given <= set(answer.headers["access-control-expose-headers"].split(", "))


@pytest.mark.parametrize(
    "query",
    [
        "token=abc",
        "access_token=abc",
        "x=1&api_key=abc",
        "API-KEY=abc",
        "%74oken=abc",
        "q=eyJhbGciOiJIUzI1NiJ9.e30.x",
        "q=pd_01abcdef_0123456789abcdef0123456789abcdef",
        "q=static-token-of-the-test",
        "q=static%2Dtoken-of-the-test",
    ],
)
async def test_A07_a_token_in_the_query_is_refused_and_never_logged(query: str, lines: io.StringIO) -> None:
    async with edge(Settings(api_token="static-token-of-the-test")) as app:
        answer = await app.http.get(f"/address/x?{query}")
    assert answer.status_code == 400
    assert answer.json()["type"].endswith("token-in-query")
    assert query.split("=")[1] not in answer.text + lines.getvalue()


async def test_the_query_and_known_secrets_stay_out_of_the_log(lines: io.StringIO) -> None:
    async with edge() as app:
        await app.http.get("/address/static-token-of-the-test?note=private", headers={"x-request-id": "seen"})
    line = json.loads(lines.getvalue())
    assert "private" not in lines.getvalue()
    assert "static-token-of-the-test" not in lines.getvalue()
    assert (line["method"], line["status"], line["request_id"]) == ("GET", 200, "seen")
    assert line["ms"] >= 0


@pytest.mark.parametrize("path", ["/address/%00", "/address/a%0Ab", "/address/x?q=%00"])
async def test_control_characters_in_the_address_are_refused(path: str) -> None:
    async with edge() as app:
        answer = await app.http.get(path)
        assert answer.status_code == 400
        assert answer.json()["type"].endswith("invalid-request")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ((), "1.2.3.4", "127.0.0.1"),
        (("10.0.0.0/8",), "1.2.3.4", "127.0.0.1"),
        (("127.0.0.1",), "1.2.3.4", "1.2.3.4"),
        (("127.0.0.1",), "9.9.9.9, 1.2.3.4", "1.2.3.4"),
        (("127.0.0.1", "10.0.0.0/8"), "6.6.6.6, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
        (("127.0.0.1",), "not an address", "127.0.0.1"),
        (("127.0.0.1",), "2001:db8::1", "2001:db8::1"),
        (("127.0.0.1",), "", "127.0.0.1"),
    ],
)
async def test_A05_a_forwarding_header_counts_only_from_a_trusted_proxy(
    proxies: tuple[str, ...], forwarded: str, address: str
) -> None:
    async with edge(Settings(trusted_proxies=proxies)) as app:
        answer = await app.http.get("/address/x", headers={"x-forwarded-for": forwarded})
        assert answer.json()["address"] == address


async def test_A09_a_body_that_drips_is_cut_off_in_time() -> None:
    async def drips() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    async with edge(body_timeout_s=0.1) as app:
        answer = await asyncio.wait_for(
            app.http.post("/orders", content=drips(), headers={"content-type": "application/json"}), 5
        )
        assert answer.status_code == 408
        assert answer.headers["connection"] == "close"


async def test_A09_too_many_requests_at_once_are_shed_but_never_health_or_the_halt() -> None:
    application = edge_app()
    accounting: Accounting = application.state.accounting
    for _ in range(512):
        accounting.began("127.0.0.1")
    async with App(application, Settings()) as app:
        answer = await app.http.get("/address/x")
        assert answer.status_code == 503
        assert answer.json()["type"].endswith("overloaded")
        assert answer.headers["retry-after"] == "1"
        assert (await app.http.get("/api/health/liveness")).status_code == 404
        assert (await app.http.get("/api/admin/kill")).status_code == 404
    for _ in range(512):
        accounting.ended("127.0.0.1", 200, 1.0)
    assert accounting.in_flight == 0
    async with App(application, Settings()) as app:
        assert (await app.http.get("/address/x")).status_code == 200
