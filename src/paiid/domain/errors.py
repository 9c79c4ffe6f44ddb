"""The one catalogue of errors a caller can meet: stable code, title, HTTP status, typed fields.

`core/problems.py` alone turns them into RFC 9457 answers. Risk refusals are results (`domain/risk.py`),
not errors: they are part of an order's answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Code(Enum):
    """(stable code, HTTP status, title)."""

    INVALID_REQUEST = ("invalid-request", 400, "The request cannot be understood")
    INVALID_JSON = ("invalid-json", 400, "The body is not valid JSON")
    DUPLICATE_JSON_KEY = ("duplicate-json-key", 400, "The body names a field twice")
    BODY_TOO_DEEP = ("body-too-deep", 400, "The body is nested too deeply")
    TOKEN_IN_QUERY = ("token-in-query", 400, "A token must not stand in the address")
    IDEMPOTENCY_KEY_MISSING = ("idempotency-key-missing", 400, "An idempotency key is required")
    IDEMPOTENCY_KEY_INVALID = ("idempotency-key-invalid", 400, "The idempotency key is malformed")
    IDEMPOTENCY_KEY_CONFLICT = ("idempotency-key-conflict", 400, "Two different idempotency keys")
    UNAUTHENTICATED = ("unauthenticated", 401, "Sign in first")
    INVALID_CREDENTIALS = ("invalid-credentials", 401, "Wrong e-mail address or password")
    INVALID_TOKEN = ("invalid-token", 401, "The token is not valid")
    REFRESH_REUSED = ("refresh-token-reused", 401, "The refresh token was used before")
    FORBIDDEN = ("forbidden", 403, "Not allowed")
    SCOPE_MISSING = ("scope-missing", 403, "The token does not have this scope")
    NOT_FOUND = ("not-found", 404, "Not found")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The method is not allowed here")
    CONFLICT = ("conflict", 409, "The state does not allow it")
    IDEMPOTENCY_IN_FLIGHT = ("idempotency-in-flight", 409, "The same request is still being executed")
    DELIVERY_TAKEN = ("delivery-taken", 409, "The delivery was taken already")
    HALT_EPOCH_MOVED = ("halt-epoch-moved", 409, "The halt has changed since")
    RESUME_REFUSED = ("resume-refused", 409, "Trading cannot be resumed yet")
    REQUEST_TIMEOUT = ("request-timeout", 408, "The request did not arrive in time")
    BODY_TIMEOUT = ("body-timeout", 408, "The body did not arrive in time")
    PRECONDITION_FAILED = ("precondition-failed", 412, "It has changed since you have seen it")
    PAYLOAD_TOO_LARGE = ("payload-too-large", 413, "The body is too large")
    URI_TOO_LONG = ("uri-too-long", 414, "The address is too long")
    UNSUPPORTED_MEDIA_TYPE = ("unsupported-media-type", 415, "The body must be application/json")
    VALIDATION = ("validation", 422, "Some fields are not valid")
    IDEMPOTENCY_KEY_REUSED = ("idempotency-key-reused", 422, "The key was used for another request")
    TRADING_HALTED = ("trading-halted", 423, "Trading is halted")
    PRECONDITION_REQUIRED = ("precondition-required", 428, "Say which version you have seen")
    RATE_LIMITED = ("rate-limited", 429, "Too many requests")
    HEADERS_TOO_LARGE = ("headers-too-large", 431, "The headers are too large")
    INTERNAL = ("internal", 500, "Something went wrong on our side")
    DATABASE_UNAVAILABLE = ("database-unavailable", 503, "The database cannot be reached")
    SHUTTING_DOWN = ("shutting-down", 503, "The service is shutting down")
    NOT_READY = ("not-ready", 503, "The service is not ready yet")
    MARKET_DATA_UNAVAILABLE = ("market-data-unavailable", 503, "Market data cannot be had")
    BROKER_UNAVAILABLE = ("broker-unavailable", 503, "The broker did not confirm it")
    NOT_CONFIGURED = ("not-configured", 503, "This is not set up here")
    OVERLOADED = ("overloaded", 503, "Too much at once")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: its path (`orders.0.qty`), a stable code, and how to mend it."""

    field: str
    code: str
    message: str


class Problem(Exception):
    """An error with an answer. `detail` says what was wrong and how to mend it; never a secret."""

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{code.slug}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def invalid_field(field: str, code: str, message: str) -> Problem:
    """A 422 about exactly one field."""
    return Problem(Code.VALIDATION, message, errors=[FieldError(field, code, message)])


def not_found(what: str) -> Problem:
    """A 404 that does not tell whether the thing exists for somebody else."""
    return Problem(Code.NOT_FOUND, f"There is no such {what}, or it is not yours to see.")
