"""The HTTP edge, pure ASGI: request ids, limits on everything a stranger can send, CORS, accounting, one log line.

One class and one pass, for every layer costs each request. Order inside: id, sizes, origin, in-flight, body.
"""

import asyncio
import ipaddress
import re
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.core.clock import Clock
from paiid.core.problems import MEDIA_TYPE, problem_body, problem_headers
from paiid.domain.errors import Code, Problem

_log = structlog.get_logger("paiid.http")

MAX_BODY = 64 * 1024
MAX_PATH = 1024
MAX_QUERY = 4096
MAX_HEADERS = 64
MAX_HEADER_BYTES = 16 * 1024
MAX_IN_FLIGHT = 1024
BODY_TIMEOUT_S = 10.0
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}\Z")
_TOKEN_IN_QUERY = re.compile(
    rb"(?:^|&)(?:access_token|refresh_token|token|api_token|api_key|apikey|authorization|jwt|bearer)="
    rb"|eyJ[A-Za-z0-9_-]{5,}\.|(?:^|[=&])pd_[A-Za-z0-9]+_[0-9a-f]{16}",
    re.IGNORECASE,
)
_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = b"authorization, content-type, idempotency-key, if-match, x-request-id"
_EXPOSED = b"x-request-id, location, retry-after, idempotency-replayed, ratelimit-limit, ratelimit-remaining, ratelimit-reset"
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class Accounting:
    """Counts of requests, in bounded memory: the last 2,048 durations and the last minute's starts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.total = 0
        self.errors = 0
        self.in_flight = 0
        self.durations_ms: deque[float] = deque(maxlen=2048)
        self._minutes: deque[tuple[int, int]] = deque(maxlen=2)

    def began(self) -> None:
        """A request has come."""
        self.total += 1
        self.in_flight += 1
        minute = int(self._clock.monotonic_s() // 60)
        if self._minutes and self._minutes[-1][0] == minute:
            self._minutes[-1] = (minute, self._minutes[-1][1] + 1)
        else:
            self._minutes.append((minute, 1))

    def ended(self, status: int, took_ms: float) -> None:
        """A request was answered."""
        self.in_flight -= 1
        self.durations_ms.append(took_ms)
        if status >= 500:
            self.errors += 1

    def per_minute(self) -> int:
        """Requests of the last whole minute, or of this one if it is the first."""
        return self._minutes[0][1] if self._minutes else 0

    def percentile_ms(self, share: float) -> float:
        """A percentile of recent durations in milliseconds; 0 without any."""
        ordered = sorted(self.durations_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Edge:
    """The outermost layer of the app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        accounting: Accounting,
        origins: Sequence[str],
        proxies: Sequence[str],
    ) -> None:
        self._app = app
        self._clock = clock
        self._accounting = accounting
        self._origins = {origin.encode() for origin in origins}
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic_s()
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        found = dict(headers)
        request_id = self._request_id(found)
        scope["request_id"] = request_id
        scope["client_address"] = self._address(scope, found)
        answer = _Answer(send, self._answer_headers(request_id, found))
        self._accounting.began()
        try:
            refusal = self._refuse(scope, headers, found)
            if refusal is not None:
                await answer.problem(refusal, request_id)
            elif (
                b"origin" in found
                and scope["method"] == "OPTIONS"
                and b"access-control-request-method" in found
            ):
                await self._preflight(answer, found)
            else:
                await self._app(scope, _Body(receive).receive, answer.send)
        finally:
            took_ms = (self._clock.monotonic_s() - started) * 1000
            self._accounting.ended(answer.status, took_ms)
            _log.info(
                "request",
                method=scope["method"],
                path=scope["path"][:256],
                status=answer.status,
                ms=round(took_ms, 2),
                request_id=request_id,
                user=scope.get("user_id"),
            )

    def _request_id(self, found: dict[bytes, bytes]) -> str:
        given = found.get(b"x-request-id")
        if given is not None and _SANE_ID.match(given):
            return given.decode()
        return self._clock.random_bytes(12).hex()

    def _address(self, scope: Scope, found: dict[bytes, bytes]) -> str:
        """The peer's address; a forwarding header counts only from a trusted proxy (contract A5)."""
        peer = scope.get("client")
        address: str = peer[0] if peer else "unknown"
        if not self._proxies or b"x-forwarded-for" not in found:
            return address
        hops = [hop.strip() for hop in found[b"x-forwarded-for"].decode("latin-1").split(",")]
        # From the right: each hop is believed only as far as the one that told it is trusted.
        while hops and self._trusted(address):
            candidate = hops.pop()
            try:
                ipaddress.ip_address(candidate)
            except ValueError:
                break
            address = candidate
        return address

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)

    def _refuse(
        self, scope: Scope, headers: list[tuple[bytes, bytes]], found: dict[bytes, bytes]
    ) -> Problem | None:
        query: bytes = scope["query_string"]
        if (
            len(scope["raw_path"] if scope.get("raw_path") else scope["path"]) > MAX_PATH
            or len(query) > MAX_QUERY
        ):
            return Problem(
                Code.URI_TOO_LONG, f"The path may have {MAX_PATH} bytes and the query {MAX_QUERY}."
            )
        if len(headers) > MAX_HEADERS or sum(len(n) + len(v) for n, v in headers) > MAX_HEADER_BYTES:
            return Problem(
                Code.HEADERS_TOO_LARGE, f"At most {MAX_HEADERS} headers with {MAX_HEADER_BYTES} bytes in all."
            )
        if query and _TOKEN_IN_QUERY.search(query):
            return Problem(
                Code.TOKEN_IN_QUERY,
                "Send tokens in the Authorization header; an address ends up in logs and histories. "
                "Consider this token seen by others and revoke it.",
            )
        length = found.get(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 9 or int(length) > MAX_BODY):
            return _too_large()
        if self._accounting.in_flight > MAX_IN_FLIGHT:
            return Problem(Code.OVERLOADED, "Too many requests at once; try again in a moment.")
        return None

    def _answer_headers(self, request_id: str, found: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", request_id.encode()), *_SECURITY]
        if self._origins:
            headers.append((b"vary", b"origin"))
            origin = found.get(b"origin")
            if origin is not None and self._allows(origin):
                headers.append((b"access-control-allow-origin", b"*" if b"*" in self._origins else origin))
                headers.append((b"access-control-expose-headers", _EXPOSED))
        return headers

    def _allows(self, origin: bytes) -> bool:
        """The exact list (contract A6); the origin `null` of sandboxed pages is nobody's."""
        return origin != b"null" and (origin in self._origins or b"*" in self._origins)

    async def _preflight(self, answer: "_Answer", found: dict[bytes, bytes]) -> None:
        if not self._allows(found[b"origin"]):
            await answer.plain(403, [])
            return
        await answer.plain(
            204,
            [
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", _REQUEST_HEADERS),
                (b"access-control-max-age", b"600"),
            ],
        )


def _too_large() -> Problem:
    return Problem(Code.PAYLOAD_TOO_LARGE, f"A body may have at most {MAX_BODY} bytes.")


class _Body:
    """Counts the body as it comes, and does not wait for ever for a slow one."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0
        self._complete = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                message = await self._receive()
        except TimeoutError:
            raise Problem(Code.BODY_TIMEOUT, "The body did not arrive in time.") from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > MAX_BODY:
                raise _too_large()
            self._complete = not message.get("more_body", False)
        return message


class _Answer:
    """Adds our headers to whatever is answered, and remembers the status."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self._headers]}
        await self._send(message)

    async def problem(self, problem: Problem, request_id: str) -> None:
        body = problem_body(problem, request_id)
        headers: list[tuple[bytes, bytes]] = [
            (name.lower().encode(), value.encode()) for name, value in problem_headers(problem).items()
        ]
        headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        if problem.code is Code.PAYLOAD_TOO_LARGE or problem.code is Code.BODY_TIMEOUT:
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": problem.code.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def plain(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        start: dict[str, Any] = {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"0")],
        }
        await self.send(start)
        await self.send({"type": "http.response.body", "body": b""})
