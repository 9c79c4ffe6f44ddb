"""The HTTP edge, pure ASGI: request ids, limits, CORS, load shedding, the crash handler, one log line a request.

One class and one pass, for every layer costs each request. Order inside: id, sizes, load, origin, body.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.core.accounting import Accounting, template_of
from paiid.core.addresses import Peers
from paiid.core.clock import Clock
from paiid.core.intake import Body, Intake
from paiid.core.limits import BODY_TIMEOUT_S, max_body
from paiid.core.log import REQUEST_ID, TRACE_ID
from paiid.core.origins import Headers, Origins
from paiid.core.problems import MEDIA_TYPE, crash_problem, problem_body, problem_headers
from paiid.core.settings import Settings
from paiid.core.socket_edge import SocketEdge
from paiid.core.tracing import NO_TRACES, Tracer
from paiid.domain.errors import Code, Problem

_log = structlog.get_logger("paiid.http")

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}\Z")
_SECURITY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
_NO_STORE = (b"cache-control", b"no-store")
_NO_CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
EVENT_STREAM = b"text/event-stream"
_NEVER_TRACED = ("/api/health", "/metrics")
"""They are asked all day by programs, and say nothing of a user's work."""
_NEVER_SHED = ("/api/health", "/api/admin/kill")
"""Load never hides whether we live, nor stands between a user and the halt (contract K8)."""


def own_headers(request_id: str) -> Headers:
    """What every answer of ours carries."""
    return [(b"x-request-id", request_id.encode()), *_SECURITY]


class Edge:
    """The outermost layer of the app. It puts `request_id` and `client_address` into the scope; the
    authentication puts `user_id` there."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        accounting: Accounting,
        settings: Settings,
        body_timeout_s: float = BODY_TIMEOUT_S,
        tracer: Tracer = NO_TRACES,
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._clock = clock
        self._accounting = accounting
        self._origins = Origins(settings.allow_origin)
        self._peers = Peers(settings.trusted_proxies)
        self._intake = Intake(settings.api_token)
        self._body_timeout_s = body_timeout_s
        self._sockets = SocketEdge(
            app, clock=clock, accounting=accounting, peers=self._peers, intake=self._intake,
            request_id=self._request_id, own_headers=own_headers,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif not self._tracer.on or scope["path"].startswith(_NEVER_TRACED):
            await self._request(scope, receive, send)
        else:
            await self._traced(scope, receive, send)

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One span around it, named by the route's template: a path may hold anything."""
        theirs = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        parent = None if theirs is None else theirs.decode("latin-1")
        with self._tracer.resumed(parent, "request", method=scope["method"]) as span:
            TRACE_ID.set(span.trace_id)
            status = await self._request(scope, receive, send)
            span.set("route", template_of(scope))
            span.set("status", status)
            span.set("request_id", scope["request_id"])

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> int:
        """The whole way of one request; the status that was answered."""
        started = self._clock.monotonic_s()
        found: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_id(found)
        address = self._peers.address(scope)
        scope["request_id"], scope["client_address"] = request_id, address
        REQUEST_ID.set(request_id)
        self._accounting.began(address)

        def ended(status: int) -> None:
            took_s = self._clock.monotonic_s() - started
            self._accounting.ended(address, status, took_s * 1000)
            # A caller who has left before there was an answer is no error of ours.
            left = answer.cut_short and not answer.started
            self._accounting.count(scope, 499 if left else status, None if answer.is_stream else took_s)

        answer = _Answer(send, request_id, self._origins.answer_headers(found.get(b"origin")), ended)
        try:
            await self._serve(scope, receive, answer, found)
        except asyncio.CancelledError:
            answer.cut_short = True
            raise
        except Exception as error:  # noqa: BLE001 - the crash handler
            await _crashed(error, answer)
        finally:
            if not answer.is_stream:
                ended(answer.status)
            self._tell(scope, answer, (self._clock.monotonic_s() - started) * 1000)
        return answer.status

    async def _serve(
        self, scope: Scope, receive: Receive, answer: "_Answer", found: dict[bytes, bytes]
    ) -> None:
        refusal = self._intake.refusal(scope, found) or self._overload(scope)
        if refusal is not None:
            await answer.problem(refusal)
        elif (
            scope["method"] == "OPTIONS" and b"origin" in found and b"access-control-request-method" in found
        ):
            allowed = self._origins.allows(found[b"origin"])
            await answer.empty(204 if allowed else 403, self._origins.preflight_headers() if allowed else [])
        else:
            most = max_body(scope["method"], scope["path"])
            await self._app(scope, Body(receive, self._body_timeout_s, most).receive, answer.send)

    def _overload(self, scope: Scope) -> Problem | None:
        if not self._accounting.is_overloaded(scope["client_address"]):
            return None
        if scope["path"].startswith(_NEVER_SHED):
            return None
        return Problem(Code.OVERLOADED, "Too many requests at once; try again in a moment.")

    def _request_id(self, found: dict[bytes, bytes]) -> str:
        given = found.get(b"x-request-id")
        if given is not None and _SANE_ID.match(given):
            return given.decode()
        return self._clock.random_bytes(12).hex()

    def _tell(self, scope: Scope, answer: "_Answer", took_ms: float) -> None:
        """One line: never the query, for that is where people put what should not be kept."""
        more: dict[str, Any] = {"cut_short": True} if answer.cut_short else {}
        _log.info(
            "request",
            method=scope["method"],
            path=scope["path"][:256],
            status=answer.status,
            ms=round(took_ms, 2),
            user=scope.get("user_id"),
            **more,
        )


async def _crashed(error: Exception, answer: "_Answer") -> None:
    """Tell the caller nothing but the request's id, the log everything."""
    if isinstance(error, Problem) and not answer.started:
        await answer.problem(error)
        return
    _log.error("crash", error=type(error).__name__, exc_info=error)
    if answer.started:
        # Half an answer is on its way; only a broken connection says that the rest is missing.
        answer.cut_short = True
        raise error
    await answer.problem(crash_problem())


class _Answer:
    """Adds our headers to whatever is answered, and remembers the status. `ended` is called with it for a stream of
    events, once it begins: it is open for hours and no request under way that could be one too many."""

    __slots__ = ("_ended", "_headers", "_request_id", "_send", "cut_short", "is_stream", "started", "status")

    def __init__(self, send: Send, request_id: str, headers: Headers, ended: Callable[[int], None]) -> None:
        self._send = send
        self._request_id = request_id
        self._ended = ended
        self.is_stream = False
        self._headers = [*own_headers(request_id), *headers]
        self.status = 500
        self.started = False
        self.cut_short = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.started = True
            headers = [*message.get("headers", ()), *self._headers]
            names = [name for name, _ in headers]
            if b"cache-control" not in names:
                headers.append(_NO_STORE)
            if b"content-security-policy" not in names:
                headers.append(_NO_CONTENT)
            message["headers"] = headers
            if (b"content-type", EVENT_STREAM) in headers:
                self.is_stream = True
                self._ended(self.status)
        await self._send(message)

    async def problem(self, problem: Problem) -> None:
        """A refusal of the edge's own."""
        body = problem_body(problem, self._request_id)
        headers: Headers = [
            (name.lower().encode(), value.encode()) for name, value in problem_headers(problem).items()
        ]
        headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": problem.code.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def empty(self, status: int, headers: Headers) -> None:
        """An answer without a body."""
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": headers if status == 204 else [*headers, (b"content-length", b"0")],
            }
        )
        await self.send({"type": "http.response.body", "body": b""})
