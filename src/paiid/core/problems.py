"""Every error as an RFC 9457 answer: `application/problem+json` with a stable `type` (contract A8).

`type` is `urn:paiid:problem:` and the code of `domain/errors.py`. `detail` is always a text for people, `errors`
lists the fields that are wrong. Nothing of an exception we did not foresee is ever told.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from paiid.core.db import CommitUnknown, DatabaseUnavailable
from paiid.core.json import BODY_PROBLEM, encode
from paiid.domain.errors import Code, FieldError, Problem

_log = structlog.get_logger("paiid.problems")
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:paiid:problem:"
_MOST_ERRORS = 20
_CLOSING = frozenset({Code.PAYLOAD_TOO_LARGE, Code.BODY_TIMEOUT})
_BY_STATUS = {
    400: Code.INVALID_REQUEST,
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    408: Code.BODY_TIMEOUT,
    409: Code.CONFLICT,
    412: Code.PRECONDITION_FAILED,
    413: Code.PAYLOAD_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    422: Code.VALIDATION,
    429: Code.RATE_LIMITED,
    503: Code.OVERLOADED,
}


def problem_body(problem: Problem, request_id: str | None) -> bytes:
    """The answer's bytes."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.code.slug,
        "title": problem.code.title,
        "status": problem.code.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [
            {"field": error.field, "code": error.code, "message": error.message} for error in problem.errors
        ]
    if request_id is not None:
        body["request_id"] = request_id
    body.update(problem.extra)
    return encode(body)


def problem_headers(problem: Problem) -> dict[str, str]:
    """Headers that belong to the status, and the problem's own."""
    headers: dict[str, str] = {"cache-control": "no-store"}
    if problem.code.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="paiid"'
    if problem.code.status == 503:
        headers["Retry-After"] = "1"
    if problem.code in _CLOSING:
        # The rest of the body is still on its way; reading on would be what we refused.
        headers["Connection"] = "close"
    headers.update(problem.headers)
    return headers


def problem_response(problem: Problem, request_id: str | None) -> Response:
    """A Starlette response."""
    return Response(
        problem_body(problem, request_id),
        problem.code.status,
        problem_headers(problem),
        media_type=MEDIA_TYPE,
    )


def _request_id(request: Request) -> str | None:
    found: str | None = request.scope.get("request_id")
    return found


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error, _request_id(request))


async def _on_database(request: Request, error: Exception) -> Response:
    _log.warning("database_unavailable", reason=str(error))
    problem = Problem(
        Code.DATABASE_UNAVAILABLE,
        "The database did not confirm, so this may or may not have been done: look before you send it again."
        if isinstance(error, CommitUnknown)
        else "The database cannot be reached, so nothing was done. Send the same request again in a moment.",
    )
    return problem_response(problem, _request_id(request))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Problem):
        # FastAPI wraps whatever reading the body raises; what we said ourselves is the better answer.
        return problem_response(error.__cause__, _request_id(request))
    code = _BY_STATUS.get(
        error.status_code, Code.INTERNAL if error.status_code >= 500 else Code.INVALID_REQUEST
    )
    detail = {
        404: "There is nothing at this address; see /api/docs.",
        405: "This address does not take that method; see /api/docs.",
    }.get(error.status_code, code.title + ".")
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return problem_response(Problem(code, detail, headers=headers), _request_id(request))


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told: Problem | None = request.scope.get(BODY_PROBLEM)
    return problem_response(told or _from_validation(error.errors()), _request_id(request))


def _from_validation(found: Sequence[Mapping[str, Any]]) -> Problem:
    errors = [
        FieldError(_path((*one["loc"], *_within(one))), _code(one["type"]), _message(one))
        for one in list(found)[:_MOST_ERRORS]
    ]
    first = errors[0] if errors else FieldError("body", "invalid", "is not valid")
    detail = f"{first.field}: {first.message}"
    if len(errors) > 1:
        detail += f" (and {len(errors) - 1} more)"
    return Problem(Code.VALIDATION, detail, errors=errors)


def _path(location: Sequence[Any]) -> str:
    parts = [str(part)[:64] for part in location if part not in ("body", "query", "path", "header")]
    return ".".join(parts) or "body"


def _within(one: Mapping[str, Any]) -> list[str]:
    """Where inside the value the mistake is, when a rule over several fields says so (`trading/order_shapes`)."""
    at = one.get("ctx", {}).get("at")
    return at.split(".") if isinstance(at, str) else []


def _code(kind: str) -> str:
    return {"extra_forbidden": "unknown_field", "missing": "missing", "value_error": "invalid"}.get(
        kind, kind
    )


def _message(one: Mapping[str, Any]) -> str:
    """The reason without the input, which may hold a secret."""
    told = one.get("ctx", {}).get("words")
    if isinstance(told, str):
        return told
    if one["type"] == "extra_forbidden":
        return "there is no such field; check its spelling"
    if one["type"] == "missing":
        return "is required"
    message = str(one["msg"])
    return message.removeprefix("Value error, ")


def crash_problem() -> Problem:
    """All that a caller hears of an exception nobody foresaw; the edge logs the rest."""
    return Problem(Code.INTERNAL, "Something went wrong on our side. The request id finds it in the log.")


def install(app: FastAPI) -> None:
    """Give the app its handlers. What none of them takes reaches the edge, which is the crash handler."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(DatabaseUnavailable, _on_database)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
