"""The edge in front of WebSockets: the checks of a request before the upgrade, refusals in words, one log line a socket."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.core.accounting import Accounting
from paiid.core.addresses import Peers
from paiid.core.clock import Clock
from paiid.core.intake import Intake
from paiid.core.problems import MEDIA_TYPE, crash_problem, problem_body, problem_headers
from paiid.domain.errors import Code, Problem

_log = structlog.get_logger("paiid.http")
_CRASHED = 1011

Headers = list[tuple[bytes, bytes]]


class SocketGone(Exception):
    """The client has left while it was being told something."""


async def refuse_socket(send: Send, problem: Problem, request_id: str | None) -> None:
    """Answer a handshake with a problem instead of the upgrade."""
    body = problem_body(problem, request_id)
    headers: Headers = [
        (name.lower().encode(), value.encode()) for name, value in problem_headers(problem).items()
    ]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    start = {"type": "websocket.http.response.start", "status": problem.code.status, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})


class SocketEdge:
    """Around the app, for WebSockets alone. It puts `request_id` and `client_address` into the scope; a handshake counts
    as a request that is under way until it is answered, an open socket does not."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        accounting: Accounting,
        peers: Peers,
        intake: Intake,
        request_id: Callable[[dict[bytes, bytes]], str],
        own_headers: Callable[[str], Headers],
    ) -> None:
        self._app = app
        self._clock = clock
        self._accounting = accounting
        self._peers = peers
        self._intake = intake
        self._request_id = request_id
        self._own_headers = own_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket to its end."""
        started_s = self._clock.monotonic_s()
        found: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_id(found)
        address = self._peers.address(scope)
        scope["request_id"], scope["client_address"] = request_id, address
        self._accounting.began(address)

        def answered(status: int) -> None:
            # A socket is no error of ours, and how long it stays open is no duration of an answer.
            took_ms = (self._clock.monotonic_s() - started_s) * 1000
            self._accounting.ended(address, status, took_ms)
            self._accounting.count(scope, status, None)

        answer = _Answer(send, self._own_headers(request_id), answered)
        try:
            await self._serve(scope, receive, answer, found)
        except asyncio.CancelledError:
            raise
        except SocketGone:
            answer.gone = True
        except Exception as error:  # noqa: BLE001 - the crash handler
            _log.error("crash", error=type(error).__name__, exc_info=error)
            await answer.crash(request_id)
        finally:
            if not answer.started:
                answered(499)
            self._tell(scope, answer, (self._clock.monotonic_s() - started_s) * 1000)

    async def _serve(
        self, scope: Scope, receive: Receive, answer: "_Answer", found: dict[bytes, bytes]
    ) -> None:
        problem = self._intake.refusal(scope, found)
        if problem is None and self._accounting.is_overloaded(scope["client_address"]):
            problem = Problem(Code.OVERLOADED, "Too many requests at once; try again in a moment.")
        if problem is not None:
            await refuse_socket(answer.send, problem, scope["request_id"])
            return
        await self._app(scope, receive, answer.send)
        if not answer.started and not answer.gone:
            # Nobody was responsible: the address is none.
            gone = Problem(Code.NOT_FOUND, "There is no stream at this address; see docs/streams.md.")
            await refuse_socket(answer.send, gone, scope["request_id"])

    def _tell(self, scope: Scope, answer: "_Answer", took_ms: float) -> None:
        """One line: never the query, never what a client offered as subprotocol."""
        more: dict[str, Any] = {} if answer.code is None else {"code": answer.code}
        _log.info(
            "socket",
            path=scope["path"][:256],
            status=answer.status,
            ms=round(took_ms, 2),
            user=scope.get("user_id"),
            **more,
        )


class _Answer:
    """Adds our headers to whatever a handshake is answered with, and remembers how it went."""

    __slots__ = ("_answered", "_headers", "_send", "code", "gone", "started", "status")

    def __init__(self, send: Send, headers: Headers, answered: Callable[[int], None]) -> None:
        self._send = send
        self._headers = headers
        self._answered = answered
        self.started = False
        self.gone = False
        self.status: int | None = None
        self.code: int | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" and not self.started:
            # The framework's word for an address that is none; `SocketEdge` says it better.
            return
        if kind in ("websocket.accept", "websocket.http.response.start"):
            self.started = True
            self.status = 101 if kind == "websocket.accept" else message["status"]
            self._answered(self.status)
            message["headers"] = [*message.get("headers", ()), *self._headers]
        elif kind == "websocket.close":
            self.code = message.get("code", 1000)
        try:
            await self._send(message)
        except OSError:
            # The server's word for it.
            raise SocketGone from None

    async def crash(self, request_id: str) -> None:
        """The least that can still be said."""
        # It may be closed already, or have gone meanwhile.
        with suppress(SocketGone, RuntimeError):
            if not self.started:
                await refuse_socket(self.send, crash_problem(), request_id)
            else:
                await self.send({"type": "websocket.close", "code": _CRASHED})
