"""Tradier's wire as the layers around the simulator must know it: whose request it is, what it is about, how a no is worded."""

from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Scope

from paiid.brokers import BrokerError, BrokerOrderView
from paiid.domain.orders import Side
from paiid.sim.engine.fault_body import spoiled
from paiid.sim.engine.faults import Fault
from paiid.sim.engine.held_answer import Answer, gateway_page
from paiid.sim.engine.wire import AskedOrder, number_of
from paiid.sim.tradier.exchange import CALL_S, TradierExchange
from paiid.sim.tradier.fault_kinds import operation_of
from paiid.sim.tradier.gate import MAX_FIELDS, user_of
from paiid.sim.tradier.rate import Bucket, RateLimits

__all__ = ["TradierWire", "order_id_in"]

_SIDES: dict[str, Side] = {
    "buy": "buy",
    "buy_to_cover": "buy",
    "buy_to_open": "buy",
    "buy_to_close": "buy",
    "sell": "sell",
    "sell_short": "sell",
    "sell_to_open": "sell",
    "sell_to_close": "sell",
}
_TRADING = ("submit", "preview", "replace", "cancel")
_TEXT = ((b"content-type", b"text/plain"),)
_WITHIN = (
    "orders", "order", "leg", "positions", "position", "balances", "margin", "cash", "pdt", "profile", "account",
    "history", "event", "gainloss", "closed_position", "quotes", "quote",
)  # fmt: skip
"""Where rows lie in an answer."""


class TradierWire:
    """`engine.wire.Wire` for Tradier."""

    html = b"<!DOCTYPE html>\n<html><head><title>Tradier</title></head><body><h1>We will be right back</h1></body></html>\n"
    garbage = b'{"orders":{"order":[{"id":228\x00\xff\xfe, <<<'

    def __init__(self, exchange: TradierExchange) -> None:
        self._exchange = exchange

    def account_of(self, headers: Headers, path: str) -> str | None:
        """By the bearer token: the account of the path where the token reaches it, its first one elsewhere."""
        user = user_of(self._exchange, headers)
        if user is None:
            return None
        named = _number_in(path)
        account = None if named is None else user.account(named)
        return (account or user.accounts[0]).number

    def said(self, scope: Scope, raw: bytes) -> Any:
        """The fields of its form with those of its query; the text where it is no form."""
        if scope["method"] not in ("POST", "PUT"):
            return raw.decode("utf-8", "replace") or None
        if raw.lstrip()[:1] in (b"{", b"["):
            return raw.decode("utf-8", "replace")
        fields: dict[str, str] = {}
        for part in (scope["query_string"], raw):
            try:
                text = part.decode("utf-8", "replace")
                fields.update(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
            except ValueError:
                return raw.decode("utf-8", "replace")
        return fields or None

    def too_large(self) -> Answer:
        """A 413."""
        return Answer(413, _TEXT, b"Request body is too large.")

    def streams(self, path: str) -> bool:
        """The streams over HTTP (tradier.md 9.3)."""
        return path.rstrip("/") in ("/v1/markets/events", "/v1/accounts/events")

    def operation_of(self, scope: Scope, body: Any) -> str:
        """By method and path, and whether the form asks for a preview."""
        preview = isinstance(body, dict) and body.get("preview") == "true"
        return operation_of(scope["method"], scope["path"], preview=preview)

    def naming(self, body: Any) -> dict[str, Any]:
        """Its tag."""
        tag = body.get("tag") if isinstance(body, dict) else None
        return {} if tag is None else {"tag": tag}

    def asked(self, body: Any) -> AskedOrder:
        """A single order as a whole, of others the first symbol that they name (tradier.md 6.1)."""
        if not isinstance(body, dict):
            return AskedOrder()
        single = body.get("class") in ("equity", "option")
        places = ("option_symbol", "symbol") if single else ("symbol", "option_symbol[0]", "symbol[0]")
        named = next((body[one] for one in places if body.get(one)), None)
        symbol = None if named is None else named.upper().replace("/", ".")
        if not single:
            return AskedOrder(symbol)
        return AskedOrder(
            symbol,
            _SIDES.get(body.get("side", "")),
            number_of(body, "quantity"),
            number_of(body, "price"),
            number_of(body, "stop"),
        )

    def failure(self, status: int) -> Answer:
        """The gateway's words for 500, its page for 504, nothing at all for the others (tradier.md 4)."""
        if status == 504:
            return gateway_page()
        if status != 500:
            return Answer(status, (), b"")
        detail = {"errorcode": "datastore.ErrorWhileAccessingDataStore"}
        return Answer.of_json(500, {"fault": {"faultstring": "Datastore Error", "detail": detail}})

    def too_many(self, operation: str, reset_s: int) -> Answer:
        """A 429 with its four headers (tradier.md 2)."""
        bucket: Bucket = (
            "trading" if operation in _TRADING else "market" if operation == "data" else "standard"
        )
        limit = self._exchange.options.limits.limit(bucket) or RateLimits().limit(bucket)
        fault = {
            "faultstring": "Rate limit quota violation. Quota limit exceeded.",
            "detail": {"errorcode": "policies.ratelimit.QuotaViolation"},
        }
        return Answer.of_json(
            429,
            {"fault": fault},
            x_ratelimit_allowed=str(limit),
            x_ratelimit_used=str(limit),
            x_ratelimit_available="0",
            x_ratelimit_expiry=str(self._exchange.clock.now_us() // 1000 + reset_s * 1000),
        )

    def not_found(self, path: str) -> Answer:
        """A 401, as Tradier says it (tradier.md 6.7)."""
        return Answer(401, _TEXT, f"Unauthorized Account: {_number_in(path)}".encode())

    def canceled(self, path: str) -> Answer:
        """The request was taken (tradier.md 6.5)."""
        named = path.rstrip("/").rpartition("/")[2]
        return Answer.of_json(200, {"order": {"id": int(named), "status": "ok"}})

    def order_in(self, answer: Answer) -> str | None:
        """By the id of the order that it tells."""
        order_id = order_id_in(answer)
        return None if order_id is None else self._exchange.venue_id(order_id)

    async def order_at(self, path: str, account: str | None) -> BrokerOrderView | None:
        """By the id at the path's end; what a change of the order has made of it."""
        named = path.rstrip("/").rpartition("/")[2]
        if account is None or not (named.isascii() and named.isdigit() and len(named) < 19):
            return None
        found = self._exchange.venue_id(int(named))
        if found is None:
            return None
        try:
            return await self._exchange.venue.fetch_order_by_id(account, found, CALL_S)
        except BrokerError:
            return None

    def spoiled(self, fault: Fault, value: Any) -> Any:
        """Every row of the answer, and legs."""
        return spoiled(fault, value, _WITHIN)


def order_id_in(answer: Answer) -> int | None:
    """The id of the order that the answer to a submission tells; None where there is none."""
    body = answer.json if answer.status == 200 else None
    order = body.get("order") if isinstance(body, dict) else None
    named = order.get("id") if isinstance(order, dict) else None
    return named if isinstance(named, int) and not isinstance(named, bool) else None


def _number_in(path: str) -> str | None:
    """The account that a path names."""
    parts = path.split("/")
    return parts[3] if parts[1:3] == ["v1", "accounts"] and len(parts) > 3 and parts[3] else None
