"""An answer as server-sent events: whole sentences as they pass, among the streams of its user, so that it ends as those do."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from paiid.ai.answers import Answer
from paiid.ai.asked import Asked
from paiid.ai.facts import Reading
from paiid.ai.reader import Reader
from paiid.ai.service import AiService
from paiid.auth.access import bearer, request_id_of
from paiid.auth.callers import Known
from paiid.auth.service import AuthService
from paiid.core.db import DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Principal
from paiid.stream.clients import Client
from paiid.stream.service import StreamService
from paiid.stream.sinks import SseSink

_log = structlog.get_logger("paiid.ai")
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
_NORMAL = 1000


def wants_events(request: Request) -> bool:
    """Whether a stream of events is what the caller names first."""
    return (
        request.headers.get("accept", "").split(",")[0].split(";")[0].strip().lower() == "text/event-stream"
    )


def looks_again(request: Request) -> Callable[[], Awaitable[Principal]]:
    """Whom the credential of a request stands for by now. Raises Problem (401), DatabaseUnavailable."""
    auth: AuthService = request.app.state.auth
    token = bearer(request)
    return lambda: auth.authenticate(token)


class AnswerStream(Response):
    """One answer while it grows."""

    media_type = "text/event-stream"

    def __init__(self, request: Request, ai: AiService, user: Principal, known: Known, asked: Asked) -> None:
        super().__init__()
        self._request = request
        self._streams: StreamService = request.app.state.streams
        self._ai, self._user, self._known, self._asked = ai, user, known, asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem (404, 422, 429, 503), DatabaseUnavailable before the head."""
        clients = self._streams.clients
        with self._ai.places.of_user(self._user.user_id):
            reader = self._ai.reader(self._user, self._asked, looks_again(self._request))
            readings = await self._ai.read(self._asked, reader)
            with clients.reserved(self._user.user_id):
                sink = SseSink(scope)
                client = clients.enter("answer", self._known, scope.get("client_address", "unknown"), sink)
            try:
                with suppress(OSError):
                    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                    answering = asyncio.create_task(
                        self._answer(client, reader, readings), name="paiid-ai-answer"
                    )
                    try:
                        await sink.run(receive, send)
                    finally:
                        # Nobody listens any more: the model is left, and what it has used is booked.
                        answering.cancel()
                        await asyncio.gather(answering, return_exceptions=True)
            finally:
                clients.leave(client)

    async def _answer(self, client: Client, reader: Reader, readings: list[Reading]) -> None:
        clients = self._streams.clients

        def tell(event: dict[str, Any]) -> None:
            clients.tell(client, event)

        try:
            answer: Answer = await self._ai.answer(
                self._user, self._asked, reader, readings, request_id_of(self._request), tell
            )
            tell({"type": "done", "answer": answer.view()})
        except Problem as problem:
            tell(_error(problem))
        except DatabaseUnavailable:
            tell(
                _error(
                    Problem(
                        Code.DATABASE_UNAVAILABLE, "The database cannot be reached; ask again in a moment."
                    )
                )
            )
        except Exception as error:  # noqa: BLE001 - the head is sent: this is the crash handler of a stream
            _log.error("ai_answer_broke", error=type(error).__name__, exc_info=error)
            tell(_error(Problem(Code.INTERNAL, "Something went wrong on our side.")))
        clients.end(client, _NORMAL, "answered")


def _error(problem: Problem) -> dict[str, Any]:
    return {"type": "error", "code": problem.code.slug, "message": problem.detail}
