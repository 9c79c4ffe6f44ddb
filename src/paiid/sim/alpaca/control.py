"""What the control endpoint of the simulated Alpaca has beside every simulator's: pairs of keys, and the plan of its market data."""

from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.brokers import BrokerError
from paiid.sim.alpaca.accounts import SIM_TERMS, BadKeys
from paiid.sim.alpaca.exchange import Exchange
from paiid.sim.alpaca.hub import Hub
from paiid.sim.alpaca.marketdata.side import FEEDS
from paiid.sim.alpaca.marketdata.stream import DataStream
from paiid.sim.alpaca.stream import TradeStream
from paiid.sim.engine.control import Table
from paiid.sim.engine.control_input import Json, Wrong, object_of, terms_of, text_of

__all__ = ["AlpacaControl"]

_PLAN = {"max_connections": 1000, "max_symbols": 20_000, "max_contracts": 20_000}
"""What can be set about the market data stream, and how far."""


@dataclass(slots=True)
class AlpacaControl:
    """`engine.control.Controlled` for Alpaca."""

    exchange: Exchange
    hub: Hub
    stream: TradeStream
    data: DataStream
    facts: dict[str, Any]
    """What `GET /sim` tells of how the simulator was started."""

    def table(self) -> Table:
        """Its own routes."""
        return [("POST", "/accounts", self.add_account), ("POST", "/data", self.set_plan)]

    def state(self) -> dict[str, Any]:
        """What it is, and who listens."""
        accounts = [
            {"account_number": one.number, "key_id": one.key_id} for one in self.exchange.accounts.all()
        ]
        return {
            **self.facts,
            "accounts": accounts,
            "stream_connections": self.stream.connections,
            "stream_listeners": self.hub.audience.counts,
            "data_connections": self.data.connections,
            "data_plan": self._plan(),
            "event_cursor": self.hub.cursor,
        }

    def pending(self) -> dict[str, int]:
        """Cancels, and updates that are still to be told."""
        return {"cancels": self.exchange.pending_work, **self.hub.busy}

    async def caught_up(self) -> bool:
        """By the venue's events."""
        return await self.hub.caught_up()

    def knows(self, account: str) -> bool:
        """By the registry."""
        return self.exchange.accounts.by_number(account) is not None

    def disconnect(self, account: str | None) -> int:
        """From the stream of order updates."""
        return self.hub.audience.disconnect(account)

    def disconnect_data(self, account: str | None) -> int:
        """From the market data stream."""
        return self.data.disconnect(account)

    async def add_account(self, request: Request) -> Response:
        """A pair of keys with an account of its own; the answer is the only place that shows the secret."""
        body = object_of(request, {"key_id", "secret", "terms"})
        clock = self.exchange.clock
        key_id = text_of(body, "key_id", "PK" + clock.random_bytes(9).hex().upper())
        secret = text_of(body, "secret", "simulated-" + clock.random_bytes(20).hex())
        terms = terms_of(body, SIM_TERMS)
        if self.exchange.accounts.find(key_id, secret) is None and any(
            one.key_id == key_id for one in self.exchange.accounts.all()
        ):
            raise Wrong("key_id", "is in use with another secret")
        try:
            account = self.exchange.accounts.add(key_id, secret, terms)
        except BadKeys as error:
            raise Wrong("key_id", str(error)) from None
        try:
            await self.exchange.open(account)
        except BrokerError as error:
            return Json({"errors": [{"field": "body", "reason": f"the venue: {error}"}]}, 503)
        return Json({"account_number": account.number, "key_id": key_id, "secret": secret}, 201)

    def _plan(self) -> dict[str, Any]:
        options = self.data.side.options
        return {
            **{name: getattr(options, name) for name in _PLAN},
            "feeds": [feed for feed in FEEDS if feed in options.feeds],
        }

    async def set_plan(self, request: Request) -> Response:
        """Set limits of the market data stream; they hold for what comes from now on."""
        body = object_of(request, {*_PLAN, "feeds"})
        wished: dict[str, Any] = {}
        for name, most in _PLAN.items():
            value = body.get(name, getattr(self.data.side.options, name))
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise Wrong(name, f"must be a whole number from 0 to {most}")
            wished[name] = value
        feeds = body.get("feeds", [*self.data.side.options.feeds])
        if not isinstance(feeds, list) or not all(feed in FEEDS for feed in feeds):
            raise Wrong("feeds", f"must be a list of: {', '.join(FEEDS)}")
        self.data.side.options = replace(self.data.side.options, **wished, feeds=frozenset(feeds))
        return Json(self._plan())
