"""What every request passes before it is handled: the token, the limits, and one place that words every answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from paiid.brokers import NotSent, OutcomeUnknown
from paiid.core.db import DatabaseUnavailable
from paiid.feeds import FeedUnavailable
from paiid.sim.tradier.accounts import SimAccount, SimUser
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.rate import Bucket
from paiid.sim.tradier.shapes import Told, encode, some, unfolded
from paiid.sim.tradier.xml import to_xml

__all__ = [
    "BusinessError",
    "TradierError",
    "account_of",
    "answer",
    "fault_answer",
    "guarded",
    "params_of",
    "token_of",
    "user_of",
]

Handler = Callable[[TradierExchange, SimUser, Request], Awaitable[Told | Response]]
MAX_BODY = 64 * 1024
MAX_FIELDS = 500
BACKEND = "An error occurred while communicating with the backend."
_FORM = "application/x-www-form-urlencoded"
_log = structlog.get_logger("paiid.sim")


class TradierError(Exception):
    """A no in plain text, whatever the client accepts (tradier.md, sections 4 and 6.7)."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class BusinessError(Exception):
    """A no in the form of `errors`: 200 for an order that is not taken (tradier.md, section 6.3)."""

    def __init__(self, *errors: str, status: int = 200) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors
        self.status = status


def token_of(headers: Mapping[str, str]) -> str | None:
    """The bearer token of a request."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def user_of(exchange: TradierExchange, headers: Mapping[str, str]) -> SimUser | None:
    """Who asks; None without a token and for one that is not known."""
    token = token_of(headers)
    return None if token is None else exchange.accounts.find(token)


def account_of(exchange: TradierExchange, user: SimUser, request: Request) -> SimAccount:
    """The account of the path. Raises TradierError 401 for one that the token does not reach."""
    number = request.path_params["account_id"]
    account = user.account(number)
    if account is None:
        raise unauthorized(number)
    return account


def unauthorized(number: str) -> TradierError:
    """What is said of another's account, and of an order that there is not."""
    return TradierError(401, f"Unauthorized Account: {number}")


def fault_answer(status: int, faultstring: str, errorcode: str) -> Response:
    """A no of the gateway in front of Tradier."""
    body = {"fault": {"faultstring": faultstring, "detail": {"errorcode": errorcode}}}
    return Response(encode(body), status, media_type="application/json")


def answer(request: Request, told: Told, *, null_text: bool) -> Response:
    """In JSON for those who ask for it, in XML for all others."""
    value = unfolded(told.value, null_text=null_text)
    if "application/json" in request.headers.get("accept", "").lower():
        return Response(encode(value), told.status, media_type="application/json;charset=UTF-8")
    return Response(to_xml(value), told.status, media_type="application/xml;charset=UTF-8")


def guarded(exchange: TradierExchange, handler: Handler, bucket: Bucket) -> Callable[..., Any]:
    """An endpoint for a route, counted in this bucket of its token."""

    async def endpoint(request: Request) -> Response:
        user = user_of(exchange, request.headers)
        if user is None:
            return fault_answer(401, "Invalid Access Token", "keymanagement.service.invalid_access_token")
        quota = exchange.rates.count(user.token, bucket)
        if quota is not None and quota.exceeded:
            response = fault_answer(
                429, "Rate limit quota violation. Quota limit exceeded.", "policies.ratelimit.QuotaViolation"
            )
        else:
            response = await _handled(exchange, user, request, handler)
        if quota is not None:
            response.headers.update(quota.headers)
        return response

    return endpoint


async def _handled(exchange: TradierExchange, user: SimUser, request: Request, handler: Handler) -> Response:
    try:
        told = await handler(exchange, user, request)
    except TradierError as error:
        return Response(error.text, error.status, media_type="text/plain")
    except BusinessError as error:
        told = Told({"errors": {"error": some(error.errors)}}, error.status)
    except OutcomeUnknown as error:
        _log.warning("sim_outcome_unknown", path=request.url.path, error=str(error))
        return Response("", 504, media_type="text/plain")
    except (NotSent, DatabaseUnavailable, FeedUnavailable) as error:
        _log.warning("sim_unavailable", path=request.url.path, error=str(error))
        return Response(BACKEND, 500, media_type="text/plain")
    if isinstance(told, Response):
        return told
    return answer(request, told, null_text=exchange.null_text)


async def params_of(request: Request) -> dict[str, str]:
    """What is asked: the query and, over it, the form of the body; of a name given twice the last one counts.

    Raises TradierError for a body that is no form, or too large.
    """
    params = dict(request.query_params)
    if request.method in ("GET", "DELETE"):
        return params
    body = await _body_of(request)
    if not body:
        return params
    kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    if kind != _FORM or body.lstrip()[:1] in (b"{", b"["):
        raise TradierError(400, "Invalid request body: parameters are form-encoded.")
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError:
        raise TradierError(400, "Invalid request body: parameters are form-encoded.") from None
    return {**params, **dict(pairs)}


async def _body_of(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                raise TradierError(413, "Request body is too large.")
            parts.append(part)
    except ClientDisconnect:
        raise TradierError(400, "Invalid request body: it ended too early.") from None
    return b"".join(parts)
