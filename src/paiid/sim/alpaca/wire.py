"""Alpaca's wire as the layers around the simulator must know it: whose request it is, what it is about, how a no is worded."""

from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from paiid.brokers import BrokerError, BrokerOrderView
from paiid.sim.alpaca.exchange import CALL_S, Exchange
from paiid.sim.alpaca.fault_kinds import operation_of
from paiid.sim.alpaca.gate import keys_of
from paiid.sim.alpaca.ids import ORDER, venue_id
from paiid.sim.engine.fault_body import spoiled
from paiid.sim.engine.faults import Fault
from paiid.sim.engine.held_answer import Answer, gateway_page
from paiid.sim.engine.recorder import json_said
from paiid.sim.engine.wire import AskedOrder, number_of

__all__ = ["AlpacaWire"]


class AlpacaWire:
    """`engine.wire.Wire` for Alpaca."""

    html = b"<!DOCTYPE html>\n<html><head><title>Alpaca</title></head><body><h1>We will be right back</h1></body></html>\n"
    garbage = b'{"id": "61e69015-8549-4bfd-b9c3\x00\xff\xfe, <<<'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def account_of(self, headers: Headers, path: str) -> str | None:
        """By Alpaca's headers, or HTTP Basic."""
        keys = keys_of(headers)
        account = None if keys is None else self._exchange.accounts.find(*keys)
        return None if account is None else account.number

    def said(self, scope: Scope, raw: bytes) -> Any:
        """What its JSON says."""
        return json_said(raw)

    def too_large(self) -> Answer:
        """A 413."""
        return Answer.of_json(413, {"code": 40010000, "message": "request body too large"})

    def streams(self, path: str) -> bool:
        """Server-sent events."""
        return path.startswith("/v2/events")

    def operation_of(self, scope: Scope, body: Any) -> str:
        """By method and path."""
        return operation_of(scope["method"], scope["path"])

    def naming(self, body: Any) -> dict[str, Any]:
        """Its client order id."""
        named = body.get("client_order_id") if isinstance(body, dict) else None
        return {} if named is None else {"client_order_id": named}

    def asked(self, body: Any) -> AskedOrder:
        """A body may be anything; the symbol may be an asset's id."""
        named = body.get("symbol") if isinstance(body, dict) else None
        symbol = (
            (self._exchange.asset_ids.symbol_of(named) or named.upper()) if isinstance(named, str) else None
        )
        side = body.get("side") if isinstance(body, dict) else None
        return AskedOrder(
            symbol,
            side if side in ("buy", "sell") else None,
            number_of(body, "qty"),
            number_of(body, "limit_price"),
            number_of(body, "stop_price"),
        )

    def failure(self, status: int) -> Answer:
        """A gateway's page for 504, Alpaca's own words for the others."""
        if status == 504:
            return gateway_page()
        return Answer.of_json(status, {"code": 50010000, "message": "internal server error occurred"})

    def too_many(self, operation: str, reset_s: int) -> Answer:
        """A 429 with its three headers."""
        limit = self._exchange.options.rate_limit_per_minute or 200
        return Answer.of_json(
            429,
            {"code": 42910000, "message": "rate limit exceeded"},
            x_ratelimit_limit=str(limit),
            x_ratelimit_remaining="0",
            x_ratelimit_reset=str(self._exchange.clock.now_us() // 1_000_000 + reset_s),
        )

    def not_found(self, path: str) -> Answer:
        """A 404 that names the order, or not."""
        named = path.rstrip("/").rpartition("/")[2]
        message = "order not found" if ":" in named else f"order not found for {named}"
        return Answer.of_json(404, {"code": 40410000, "message": message})

    def canceled(self, path: str) -> Answer:
        """A 204."""
        return Answer(204, (), b"")

    def order_in(self, answer: Answer) -> str | None:
        """By the id of the order that it shows."""
        body = answer.json if answer.status == 200 else None
        named = body.get("id") if isinstance(body, dict) else None
        return venue_id(ORDER, named) if isinstance(named, str) else None

    async def order_at(self, path: str, account: str | None) -> BrokerOrderView | None:
        """By the id at the path's end."""
        found = venue_id(ORDER, path.rstrip("/").rpartition("/")[2])
        if found is None or account is None:
            return None
        try:
            return await self._exchange.venue.fetch_order_by_id(account, found, CALL_S)
        except BrokerError:
            return None

    def spoiled(self, fault: Fault, value: Any) -> Any:
        """Orders with their legs, and those in the answer to a `cancel_all` or `close`."""
        return spoiled(fault, value)
