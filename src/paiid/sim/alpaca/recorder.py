"""Writes every request into the ledger before anything is done about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paiid.sim.alpaca.accounts import Accounts, SimAccount
from paiid.sim.alpaca.gate import keys_of
from paiid.sim.alpaca.ledger import Ledger

__all__ = ["CONTROL", "SEEN", "Recorder", "Seen", "account_of"]

CONTROL = "/sim"
"""Where the control endpoint begins."""
SEEN = "paiid.seen"
MAX_BODY = 1 << 20
"""Bytes of a request's body."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it was written down. `body` is what its JSON says, or its text where it is none."""

    seq: int
    account: str | None
    body: Any
    raw: bytes


def account_of(accounts: Accounts, headers: Headers) -> SimAccount | None:
    """The account whose keys a request carries, in Alpaca's headers or as HTTP Basic; None for none or wrong ones."""
    keys = keys_of(headers)
    return None if keys is None else accounts.find(*keys)


class Recorder:
    """ASGI middleware around everything that a client of Alpaca can ask."""

    def __init__(self, app: ASGIApp, ledger: Ledger, accounts: Accounts) -> None:
        self._app = app
        self._ledger = ledger
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw = await _read(receive)
        if raw is None:
            return
        control = is_control(scope["path"])
        account = account_of(self._accounts, Headers(scope=scope))
        number = None if account is None else account.number
        body = _parsed(raw)
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
            refusal = JSONResponse({"code": 40010000, "message": "request body too large"}, 413)
            await refusal(scope, receive, send)
            return
        scope[SEEN] = Seen(self._ledger.last_seq, number, body, raw)
        await self._app(scope, replayed(raw, receive), send)


def is_control(path: str) -> bool:
    """Whether a path is one of the control endpoint."""
    return path == CONTROL or path.startswith(CONTROL + "/")


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


def _parsed(raw: bytes) -> Any:
    if not raw:
        return None
    if len(raw) > MAX_BODY:
        return f"({len(raw)} bytes or more)"
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace")


def _query(query: bytes) -> dict[str, str]:
    pairs: Iterable[tuple[str, str]] = parse_qsl(
        query.decode("latin-1"), keep_blank_values=True, errors="replace"
    )
    return dict(pairs)
