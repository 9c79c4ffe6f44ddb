"""Writes every request into the ledger before anything is done about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.sim.engine.held_answer import answer_with
from paiid.sim.engine.ledger import Ledger
from paiid.sim.engine.wire import Reader

__all__ = ["CONTROL", "MAX_BODY", "SEEN", "Recorder", "Seen", "is_control", "json_said", "replayed"]

CONTROL = "/sim"
"""Where the control endpoint begins."""
SEEN = "paiid.seen"
MAX_BODY = 1 << 20
"""Bytes of a request's body."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it was written down. `body` is what it says, or its text where it says nothing."""

    seq: int
    account: str | None
    body: Any
    raw: bytes


class Recorder:
    """ASGI middleware around everything that a client of the broker can ask."""

    def __init__(self, app: ASGIApp, ledger: Ledger, reader: Reader) -> None:
        self._app = app
        self._ledger = ledger
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw = await _read(receive)
        if raw is None:
            return
        control = is_control(scope["path"])
        number = self._reader.account_of(Headers(scope=scope), scope["path"])
        body = self._said(scope, raw, control)
        if not control or scope["method"] not in ("GET", "HEAD"):
            # Reading the ledger is no news for the ledger.
            self._ledger.append(
                "control" if control else "request",
                method=scope["method"],
                path=scope["path"],
                query=_query(scope["query_string"]),
                account=number,
                body=body,
            )
        if len(raw) > MAX_BODY:
            await answer_with(send, self._reader.too_large())
            return
        scope[SEEN] = Seen(self._ledger.last_seq, number, body, raw)
        await self._app(scope, replayed(raw, receive), send)

    def _said(self, scope: Scope, raw: bytes, control: bool) -> Any:
        if len(raw) > MAX_BODY:
            return f"({len(raw)} bytes or more)"
        return json_said(raw) if control else self._reader.said(scope, raw)


def is_control(path: str) -> bool:
    """Whether a path is one of the control endpoint."""
    return path == CONTROL or path.startswith(CONTROL + "/")


def json_said(raw: bytes) -> Any:
    """What a JSON body says, its text where it is none, None where it is empty."""
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace")


def replayed(raw: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, and then what comes behind it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": raw, "more_body": False}
        return await receive()

    return again


async def _read(receive: Receive) -> bytes | None:
    """The body, at most a little more than `MAX_BODY` of it; None where the client has gone."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        if size <= MAX_BODY:
            chunks.append(chunk)
            size += len(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _query(query: bytes) -> dict[str, str]:
    pairs: Iterable[tuple[str, str]] = parse_qsl(
        query.decode("latin-1"), keep_blank_values=True, errors="replace"
    )
    return dict(pairs)
