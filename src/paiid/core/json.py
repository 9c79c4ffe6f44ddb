"""JSON as strict as money needs it: exact numbers, no field twice, no surprises, a clear no (contract A8)."""

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from starlette.datastructures import Headers

from paiid.core.limits import MAX_DEPTH, MAX_DIGITS
from paiid.domain.errors import Code, Problem

BODY_PROBLEM = "paiid.body_problem"
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_UNREADABLE = object()
"""Fits no model, so that a body that could not be read is never taken for one that was left out."""
_KEEP = b'{}[]"\\'
_DROP = bytes(sorted(set(range(256)) - set(_KEEP)))


def encode(value: Any) -> bytes:
    """JSON with exact decimals as numbers."""
    return _ENCODER.encode(value)


def decode(body: bytes) -> Any:
    """Parse strictly: integers stay int, other numbers become Decimal.

    Raises Problem (400) for anything but one JSON value in UTF-8 without NaN or Infinity, without a field named
    twice, nested at most 16 deep, with numbers of at most 40 digits.
    """
    _refuse_depth(body)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(Code.INVALID_JSON, f"The body is not UTF-8 (byte {error.start}).") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Problem(
            Code.INVALID_JSON,
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if "\\u" in text:
        _refuse_odd_characters(value)
    return value


def _too_deep() -> Problem:
    return Problem(Code.BODY_TOO_DEEP, f"The body may be nested at most {MAX_DEPTH} deep.")


def _refuse_depth(body: bytes) -> None:
    """Before the parser recurses: only quotes, backslashes and brackets matter, and most bodies have few."""
    marks = body.translate(None, _DROP)
    if marks.count(b"{") + marks.count(b"[") <= MAX_DEPTH:
        return
    depth = 0
    quoted = escaped = False
    for mark in body:
        if quoted:
            if escaped:
                escaped = False
            elif mark == 0x5C:
                escaped = True
            elif mark == 0x22:
                quoted = False
        elif mark == 0x22:
            quoted = True
        elif mark in (0x7B, 0x5B):
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep()
        elif mark in (0x7D, 0x5D):
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Problem(
                    Code.DUPLICATE_JSON_KEY, f"The field {name[:64]!r} is there twice; send it once."
                )
            seen.add(name)
    return value


def _decimal(text: str) -> Decimal:
    if len(text) > MAX_DIGITS:
        raise Problem(Code.INVALID_JSON, f"A number may have at most {MAX_DIGITS} characters.")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Problem(Code.INVALID_JSON, "A number is out of range.") from None
    # 1e999999 is three bytes of exponent and a gigabyte of digits.
    if value and not -MAX_DIGITS < value.adjusted() < MAX_DIGITS:
        raise Problem(Code.INVALID_JSON, "A number is out of range.")
    return value if value else Decimal(0)


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Problem(Code.INVALID_JSON, f"A number may have at most {MAX_DIGITS} characters.")
    return int(text)


def _constant(text: str) -> Any:
    raise Problem(Code.INVALID_JSON, f"{text} is not a JSON number.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_int=_integer, parse_constant=_constant
)


def _refuse_odd_characters(value: Any) -> None:
    """What only an escape can bring in: half a surrogate pair is no character, and no database column of
    PostgreSQL can hold a NUL."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in item):
                raise Problem(Code.INVALID_JSON, "A text has a NUL or half a surrogate pair; leave it out.")
        elif isinstance(item, dict):
            stack.extend(item.keys())
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _exact(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError("must be a JSON number, without quotes")
    return Decimal(value)


JsonDecimal = Annotated[Decimal, BeforeValidator(_exact), WithJsonSchema({"type": "number"})]
"""A JSON number with exactly the digits sent; a text, a boolean or null is refused."""


class StrictModel(BaseModel):
    """A body: no unknown fields, no conversions, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def require_json(headers: Headers) -> None:
    """Raises Problem (415) unless the body is said to be JSON in UTF-8, not compressed."""
    kind, _, parameters = headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip().strip('"')
    if kind.strip() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise Problem(
            Code.UNSUPPORTED_MEDIA_TYPE, "Send the body as JSON with content-type: application/json."
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the body as it is, without content-encoding.")


class _StrictRequest(Request):
    """Parses with `decode`. A bad body is told after the caller is known: no header is 401, always."""

    async def body(self) -> bytes:
        body = await super().body()
        if body and BODY_PROBLEM not in self.scope:
            try:
                require_json(self.headers)
            except Problem as problem:
                self.scope[BODY_PROBLEM] = problem
        return body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            try:
                if BODY_PROBLEM in self.scope:
                    raise self.scope[BODY_PROBLEM]
                self._json = decode(body)
            except Problem as problem:
                self.scope[BODY_PROBLEM] = problem
                self._json = _UNREADABLE
        return self._json


class StrictRoute(APIRoute):
    """A route whose body is parsed strictly; use as `APIRouter(route_class=StrictRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, given a request that parses strictly."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict
