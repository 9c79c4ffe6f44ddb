"""What every request passes before it is handled: keys, the rate limit, and one place that words every no."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from paiid.brokers import NotSent, OutcomeUnknown
from paiid.core.db import DatabaseUnavailable
from paiid.feeds import FeedUnavailable
from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.errors import INTERNAL, TOO_MANY, AlpacaError
from paiid.sim.alpaca.exchange import Exchange

Handler = Callable[[Exchange, SimAccount, Request], Awaitable[Response]]
_log = structlog.get_logger("paiid.sim")
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Alpaca"'}
_HTML = (
    "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n"
    "<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
MAX_BODY = 64 * 1024


class Answer(Response):
    """A JSON body."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        """Encode it."""
        return _ENCODER.encode(content)


def refusal(error: AlpacaError) -> Response:
    """The answer that an error is."""
    return Answer(error.body, error.status)


def keys_of(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Key id and secret of a request: the two headers of Alpaca, or HTTP Basic. Bearer tokens are of no account here."""
    key_id, secret = headers.get("apca-api-key-id"), headers.get("apca-api-secret-key")
    if key_id is not None or secret is not None:
        return key_id or "", secret or ""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(rest.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    key_id, _, secret = text.partition(":")
    return key_id, secret


def guarded(exchange: Exchange, handler: Handler, *, html: bool = False) -> Callable[..., Any]:
    """An endpoint for a route. `html`: without keys it answers a page, as clock and calendar do."""

    async def endpoint(request: Request) -> Response:
        keys = keys_of(request.headers)
        account = None if keys is None else exchange.accounts.find(*keys)
        if account is None:
            if html:
                return HTMLResponse(_HTML, 401, headers=_CHALLENGE)
            return Answer({"message": "unauthorized."}, 401, headers=_CHALLENGE)
        quota = exchange.rate.count(account.number)
        if quota is not None and quota.exceeded:
            response = refusal(AlpacaError(429, TOO_MANY, "rate limit exceeded"))
        else:
            response = await _handled(exchange, account, request, handler)
        if quota is not None:
            response.headers.update(quota.headers)
        return response

    return endpoint


async def _handled(exchange: Exchange, account: SimAccount, request: Request, handler: Handler) -> Response:
    try:
        return await handler(exchange, account, request)
    except AlpacaError as error:
        return refusal(error)
    except OutcomeUnknown as error:
        _log.warning("sim_outcome_unknown", path=request.url.path, error=str(error))
        return Response("504 Gateway Time-out", 504, media_type="text/plain")
    except (NotSent, DatabaseUnavailable, FeedUnavailable) as error:
        _log.warning("sim_unavailable", path=request.url.path, error=str(error))
        return refusal(AlpacaError(500, INTERNAL, "internal server error occurred"))


async def body_of(request: Request) -> bytes:
    """The body, up to 64 KiB. Raises AlpacaError 413."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                raise AlpacaError(413, 41310000, "request body is too large")
            parts.append(part)
    except ClientDisconnect:
        raise AlpacaError(400, 40010000, "request body format is invalid") from None
    return b"".join(parts)
