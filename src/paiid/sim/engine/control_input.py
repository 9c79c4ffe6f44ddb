"""How the control endpoint reads what a script asks for: fields by name and bounds, and a word on what is wrong with one."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paiid.domain.terms import AccountTerms
from paiid.sim.engine.recorder import SEEN

__all__ = ["Json", "Wrong", "decimal_of", "local", "object_of", "terms_of", "text_of", "whole_of"]

_MAX_CASH = Decimal(1_000_000_000)
_BOOLS = ("margin", "fees", "impact")
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Json(Response):
    """A JSON body."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200) -> None:
        super().__init__(content, status_code)

    def render(self, content: Any) -> bytes:
        """Encode it."""
        return _ENCODER.encode(content)


class Wrong(Exception):
    """A body or query that cannot be used: which field, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def local(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for clients on this machine, and not for the pages that a browser here shows."""

    async def endpoint(request: Request) -> Response:
        if not _is_loopback(request):
            return Json(
                {"errors": [{"field": "client", "reason": "the control endpoint answers this machine only"}]},
                403,
            )
        try:
            return await work(request)
        except Wrong as error:
            return Json({"errors": [{"field": error.field, "reason": error.reason}]}, 422)

    return endpoint


def _is_loopback(request: Request) -> bool:
    if request.client is None or "origin" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def object_of(request: Request, known: set[str]) -> dict[str, Any]:
    """The body: an object with no other fields than these, or nothing at all. Raises Wrong."""
    seen = request.scope[SEEN]
    if not seen.raw:
        return {}
    try:
        body = msgspec.json.decode(seen.raw)
    except (msgspec.DecodeError, RecursionError):
        raise Wrong("body", "is no JSON") from None
    if not isinstance(body, dict):
        raise Wrong("body", "must be an object")
    for name in body:
        if name not in known:
            raise Wrong(name, f"no such field; there are: {', '.join(sorted(known))}")
    return body


def terms_of(body: dict[str, Any], default: AccountTerms) -> AccountTerms:
    """The field `terms`, what it does not say as `default` has it. Raises Wrong."""
    wished = body.get("terms", {})
    if not isinstance(wished, dict):
        raise Wrong("terms", "must be an object")
    known = {one.name for one in fields(AccountTerms)}
    for name in wished:
        if name not in known:
            raise Wrong(f"terms.{name}", f"no such field; there are: {', '.join(sorted(known))}")
    margin, fees, impact = (_bool(wished, name, getattr(default, name)) for name in _BOOLS)
    level = wished.get("options_level", default.options_level)
    if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= 3:
        raise Wrong("terms.options_level", "must be 0, 1, 2 or 3")
    cash, improvement, zero = default.starting_cash, default.price_improvement_pct, Decimal(0)
    return AccountTerms(
        starting_cash=decimal_of(wished, "starting_cash", cash, zero, _MAX_CASH, where="terms."),
        margin=margin,
        options_level=level,
        fees=fees,
        impact=impact,
        price_improvement_pct=decimal_of(
            wished, "price_improvement_pct", improvement, zero, Decimal(50), where="terms."
        ),
    )  # fmt: skip


def text_of(body: dict[str, Any], name: str, default: str) -> str:
    """A text. Raises Wrong."""
    value = body.get(name, default)
    if not isinstance(value, str):
        raise Wrong(name, "must be a text")
    return value


def _bool(wished: dict[str, Any], name: str, default: bool) -> bool:
    value = wished.get(name, default)
    if not isinstance(value, bool):
        raise Wrong(f"terms.{name}", "must be true or false")
    return value


def decimal_of(
    body: dict[str, Any], name: str, default: Decimal | None, least: Decimal, most: Decimal, where: str = ""
) -> Decimal:
    """A number, as a JSON number or a text. Raises Wrong."""
    value = body.get(name, default)
    reason = f"must be a number from {least} to {most} with at most 6 decimals"
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise Wrong(where + name, reason)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise Wrong(where + name, reason) from None
    if not number.is_finite() or not least <= number <= most or number != round(number, 6):
        raise Wrong(where + name, reason)
    return number


def whole_of(text: str, name: str, least: int, most: int) -> int:
    """A whole number of a query. Raises Wrong."""
    if not text.isascii() or not text.isdigit() or len(text) > 15 or not least <= int(text) <= most:
        raise Wrong(name, f"must be a whole number from {least} to {most}")
    return int(text)
