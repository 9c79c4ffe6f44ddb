"""A straight way to the few routes that are asked all the time, past the framework's router and dependency solver.

Finding a route and solving its dependencies costs more than placing an order does. A route that is simple enough is
taken apart once, at the start; a request that is as it should be is then answered by calling its dependencies and
its function. Whatever is out of the ordinary (a parameter missing, a body that cannot be read or does not validate)
goes the framework's way with the body played again, so there is one place that says what was wrong.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, get_type_hints

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.core.json import decode, require_json
from paiid.domain.errors import Problem

_UNSUPPORTED = (
    "path_params", "cookie_params", "websocket_param_name", "http_connection_param_name", "response_param_name",
    "background_tasks_param_name", "security_scopes_param_name",
)  # fmt: skip


class NotDirect(TypeError):
    """The route uses something that only the framework knows how to fill in."""


class _Route:
    """One route taken apart. Raises NotDirect."""

    def __init__(self, route: APIRoute) -> None:
        dependant = route.dependant
        if any(getattr(dependant, name) for name in _UNSUPPORTED) or len(dependant.body_params) > 1:
            raise NotDirect(f"{route.path} has a parameter that is not supported here")
        if get_type_hints(route.endpoint).get("return") is not Response:
            raise NotDirect(f"{route.path} leaves its answer to the framework")
        for field in dependant.header_params:
            if field.field_info.is_required() or field.field_info.annotation != (str | None):
                raise NotDirect(f"{route.path} has a header that is not an optional text")
        self._call: Callable[..., Awaitable[Response]] = route.endpoint
        self._request_name = dependant.request_param_name
        self._headers = [(field.name, field.alias) for field in dependant.header_params]
        self._queries = dependant.query_params
        self._body = dependant.body_params[0] if dependant.body_params else None
        self._dependencies: list[tuple[str, Callable[[Request], Awaitable[Any]]]] = []
        for one in dependant.dependencies:
            takes = [one.path_params, one.query_params, one.header_params, one.body_params, one.dependencies]
            if any(takes) or any(getattr(one, name) for name in _UNSUPPORTED) or one.call is None:
                raise NotDirect(f"{route.path} depends on something that takes more than the request")
            if (
                one.name is None
                or one.request_param_name is None
                or not inspect.iscoroutinefunction(one.call)
            ):
                raise NotDirect(f"{route.path} depends on something that is no coroutine of the request")
            self._dependencies.append((one.name, one.call))

    @property
    def takes_body(self) -> bool:
        """Whether a body belongs to it."""
        return self._body is not None

    async def answer(self, request: Request, body: bytes) -> Response | None:
        """The answer; None for a request that is out of the ordinary, of which nothing has been done yet."""
        given: dict[str, Any] = {}
        if self._request_name is not None:
            given[self._request_name] = request
        for name, alias in self._headers:
            given[name] = request.headers.get(alias)
        # The caller comes before his words, as in the framework: no header is 401, always.
        for name, depend in self._dependencies:
            given[name] = await depend(request)
        for field in self._queries:
            text = request.query_params.get(field.alias)
            if text is None:
                return None
            given[field.name], errors = field.validate(text, {}, loc=("query", field.alias))
            if errors:
                return None
        if self._body is not None:
            try:
                require_json(request.headers)
                value = decode(body)
            except Problem:
                return None
            given[self._body.name], errors = self._body.validate(value, {}, loc=("body",))
            if errors:
                return None
        return await self._call(**given)


class Direct:
    """The layer between the edge and the framework; `routes` by (method, exact path)."""

    def __init__(self, app: ASGIApp, *, routes: Mapping[tuple[str, str], _Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        # These paths have no parameters: the path is the template.
        scope["paiid.route"] = scope["path"]
        replay = _Replay(receive)
        body = await replay.read() if route.takes_body else b""
        if body is None:
            await self._app(scope, replay.receive, send)
            return
        request = Request(scope, replay.receive)
        try:
            response = await route.answer(request, body)
        except Exception as error:
            handle = _handler(scope["app"], error)
            if handle is None:
                raise
            response = await handle(request, error)
        if response is None:
            await self._app(scope, replay.receive, send)
        else:
            await response(scope, replay.receive, send)


class _Replay:
    """Reads a body and can play it again, its failure too."""

    __slots__ = ("_error", "_messages", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []
        self._error: Problem | None = None

    async def read(self) -> bytes | None:
        """The whole body; None where it could not be read or is empty."""
        body = b""
        while True:
            try:
                message = await self._receive()
            except Problem as error:
                self._error = error
                return None
            self._messages.append(message)
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return body or None

    async def receive(self) -> Message:
        """What was read, then what comes."""
        if self._messages:
            return self._messages.pop(0)
        if self._error is not None:
            raise self._error
        return await self._receive()


def _handler(app: FastAPI, error: Exception) -> Callable[[Request, Exception], Awaitable[Response]] | None:
    """What the app has said shall answer such an error."""
    handlers: Mapping[Any, Any] = app.exception_handlers
    for kind in type(error).__mro__:
        if kind in handlers and kind is not Exception:
            found: Callable[[Request, Exception], Awaitable[Response]] = handlers[kind]
            return found
    return None


def direct_routes(
    routers: Iterable[APIRouter], wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], _Route]:
    """The routes at these (method, path). Raises NotDirect for one that is too much for here, KeyError for none."""
    found = {
        (method, route.path): route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    return {key: _Route(found[key]) for key in wanted}
