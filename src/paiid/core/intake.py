"""What of a request is refused before anybody reads it: too long, too many, too slow, a token in the address (A7, A9)."""

import asyncio
import re
from urllib.parse import unquote_to_bytes

from starlette.types import Message, Receive, Scope

from paiid.core.limits import (
    BODY_TIMEOUT_S,
    MAX_BODY,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_PATH,
    MAX_QUERY,
    max_body,
)
from paiid.domain.errors import Code, Problem

_WORD = re.compile(rb"token|ticket|jwt|bearer|auth|secret|passw|credential|key", re.IGNORECASE)
"""At first sight; almost no query has any of these."""
_NAME = re.compile(
    rb"token|ticket|jwt|bearer|authorization|secret|passw(?:or)?d|credential|api[_.-]?key|[_-]key\Z|\Akey\Z|\Aauth\Z",
    re.IGNORECASE,
)
"""Names of parameters that hold a credential, whatever else is around the word."""
_SHAPE = re.compile(
    rb"eyJ[A-Za-z0-9_-]{5,}\.|(?:^|[=&;])(?:pd_[A-Za-z0-9]+_[0-9a-f]{16}|pr_ses_[0-9a-z]+_|pt_[A-Za-z0-9_-]{20})",
    re.IGNORECASE,
)
"""How our own credentials look under any name."""
_IDEMPOTENCY_KEYS = (("GET", "/api/trading/intents"), ("DELETE", "/api/trading/orders"))
"""Where `key` is something else."""


def _names_credential(method: str, path: str, query: bytes) -> bool:
    for part in re.split(rb"[&;]", query):
        name = part.partition(b"=")[0].strip(b" +")
        name = name.partition(b"[")[0]
        if _NAME.search(name) and not (name == b"key" and (method, path) in _IDEMPOTENCY_KEYS):
            return True
    return False


class Intake:
    """The checks of the request line and the headers. `static_token` is API_TOKEN, which has no shape to know."""

    def __init__(self, static_token: str | None) -> None:
        self._static_token = static_token.encode() if static_token else None

    def refusal(self, scope: Scope, found: dict[bytes, bytes]) -> Problem | None:
        """Why this request goes no further, or None. `found` are the headers by name."""
        query: bytes = scope["query_string"]
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        if len(raw_path) > MAX_PATH or len(query) > MAX_QUERY:
            return Problem(
                Code.URI_TOO_LONG, f"The path may have {MAX_PATH} bytes and the query {MAX_QUERY}."
            )
        headers = scope["headers"]
        if len(headers) > MAX_HEADERS or sum([len(n) + len(v) for n, v in headers]) > MAX_HEADER_BYTES:
            return Problem(
                Code.HEADERS_TOO_LARGE, f"At most {MAX_HEADERS} headers with {MAX_HEADER_BYTES} bytes in all."
            )
        if b"%" in raw_path and not scope["path"].isprintable():
            return Problem(
                Code.INVALID_REQUEST,
                "The path has a control character, which is no part of any address here.",
            )
        length = found.get(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 9 or int(length) > MAX_BODY):
            most = max_body(scope.get("method", "GET"), scope["path"])
            if most == MAX_BODY or not length.isdigit() or len(length) > 9 or int(length) > most:
                return too_large(most)
        return self._query_refusal(scope.get("method", "GET"), scope["path"], query) if query else None

    def _query_refusal(self, method: str, path: str, query: bytes) -> Problem | None:
        plain = unquote_to_bytes(query)
        # PostgreSQL cannot hold it and C reads it as an end; no caller means it.
        if b"\0" in plain:
            return Problem(Code.INVALID_REQUEST, "The query has a NUL character.")
        if (
            (_WORD.search(plain) and _names_credential(method, path, plain))
            or _SHAPE.search(plain)
            or (self._static_token and self._static_token in plain)
        ):
            return Problem(
                Code.TOKEN_IN_QUERY,
                "Send credentials in the Authorization header (a browser opens a WebSocket with a ticket as subprotocol); "
                "an address ends up in logs and histories. Consider this one seen by others and revoke it.",
            )
        return None


def too_large(most: int = MAX_BODY) -> Problem:
    """The 413."""
    return Problem(Code.PAYLOAD_TOO_LARGE, f"A body may have at most {most} bytes.")


class Body:
    """Counts the body as it comes, up to `most` bytes, and does not wait for ever for one that drips."""

    __slots__ = ("_complete", "_deadline", "_most", "_receive", "_size", "_timeout_s")

    def __init__(self, receive: Receive, timeout_s: float = BODY_TIMEOUT_S, most: int = MAX_BODY) -> None:
        self._receive = receive
        self._most = most
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._size = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next message. Raises Problem: 413, 408."""
        if self._complete:
            return await self._receive()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                Code.BODY_TIMEOUT, f"The body did not arrive within {self._timeout_s:g} s."
            ) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._most:
                raise too_large(self._most)
            self._complete = not message.get("more_body", False)
        return message
