"""The straight way to a hot route answers exactly as the framework's own way does, whatever it is sent."""

from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response

from paiid.core.db import DatabaseUnavailable
from paiid.core.direct import Direct, NotDirect, direct_routes
from paiid.core.json import StrictModel, StrictRoute, encode
from paiid.core.problems import install
from paiid.domain.errors import Code, Problem

HOT = (("POST", "/hot/put"), ("GET", "/hot/ask"))


class Body(StrictModel):
    """What the route takes."""

    word: str
    times: int = 1


async def caller(request: Request) -> str:
    name = request.headers.get("authorization")
    if name == "database":
        raise DatabaseUnavailable("gone")
    if name is None:
        raise Problem(Code.UNAUTHENTICATED, "Say who you are.")
    return name


def router_of(calls: list[str]) -> APIRouter:
    router = APIRouter(prefix="/hot", route_class=StrictRoute)

    @router.post("/put")
    async def put(
        request: Request,
        body: Body,
        user: Annotated[str, Depends(caller)],
        key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
    ) -> Response:
        calls.append(body.word)
        if body.word == "problem":
            raise Problem(Code.CONFLICT, "It is there already.")
        if body.word == "database":
            raise DatabaseUnavailable("gone")
        return Response(encode({"word": body.word, "user": user, "key": key, "path": request.url.path}), 200)

    @router.get("/ask")
    async def ask(
        user: Annotated[str, Depends(caller)], words: Annotated[str, Query(max_length=8)]
    ) -> Response:
        calls.append(words)
        return Response(encode([words, user]), 200)

    @router.get("/one/{number}")
    async def one(number: int) -> Response:
        return Response(str(number))

    @router.get("/dict")
    async def plain() -> dict[str, int]:
        return {"a": 1}

    return router


def make(calls: list[str], *, direct: bool) -> FastAPI:
    app = FastAPI()
    router = router_of(calls)
    install(app)
    if direct:
        app.add_middleware(Direct, routes=direct_routes([router], HOT))
    app.include_router(router)
    return app


async def answer(app: FastAPI, method: str, path: str, **kw: Any) -> tuple[int, bytes, str | None]:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
        found = await client.request(method, path, **kw)
        return found.status_code, found.content, found.headers.get("content-type")


ME = {"authorization": "me"}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "kw"),
    [
        ("POST", "/hot/put", {"json": {"word": "a"}, "headers": {**ME, "Idempotency-Key": "k"}}),
        ("POST", "/hot/put", {"json": {"word": "a"}}),
        ("POST", "/hot/put", {"json": {"word": 1, "other": 2}, "headers": ME}),
        ("POST", "/hot/put", {"json": {"word": 1}}),
        ("POST", "/hot/put", {"content": b'{"word":"a","word":"b"}', "headers": {**ME, **JSON}}),
        ("POST", "/hot/put", {"content": b'{"word":', "headers": {**ME, **JSON}}),
        ("POST", "/hot/put", {"content": b'{"word":"a"}', "headers": {**ME, "content-type": "text/plain"}}),
        ("POST", "/hot/put", {"content": b'{"word":"a"}', "headers": ME}),
        ("POST", "/hot/put", {"headers": {**ME, **JSON}}),
        ("POST", "/hot/put", {"json": None, "headers": ME}),
        ("POST", "/hot/put", {"json": [1], "headers": ME}),
        ("POST", "/hot/put", {"json": {"word": "problem"}, "headers": ME}),
        ("POST", "/hot/put", {"json": {"word": "database"}, "headers": ME}),
        ("POST", "/hot/put", {"json": {"word": "a"}, "headers": {"authorization": "database"}}),
        ("GET", "/hot/put", {"headers": ME}),
        ("GET", "/hot/ask?words=a", {"headers": ME}),
        ("GET", "/hot/ask?words=a&words=b", {"headers": ME}),
        ("GET", "/hot/ask?words=far-too-long", {"headers": ME}),
        ("GET", "/hot/ask", {"headers": ME}),
        ("GET", "/hot/ask?words=a", {}),
        ("GET", "/hot/ask/", {"headers": ME}),
    ],
)
async def test_every_request_is_answered_as_the_framework_answers_it(
    method: str, path: str, kw: dict[str, Any]
) -> None:
    straight: list[str] = []
    usual: list[str] = []
    found = await answer(make(straight, direct=True), method, path, **kw)
    assert found == await answer(make(usual, direct=False), method, path, **kw)
    # And a request never calls the function twice, once on each way.
    assert straight == usual


@pytest.mark.parametrize("path", ["/hot/one/{number}", "/hot/dict"])
def test_a_route_that_needs_the_framework_is_refused_at_the_start(path: str) -> None:
    with pytest.raises(NotDirect):
        direct_routes([router_of([])], [("GET", path)])


def test_a_route_that_is_not_there_is_refused_at_the_start() -> None:
    with pytest.raises(KeyError):
        direct_routes([router_of([])], [("GET", "/hot/gone")])
