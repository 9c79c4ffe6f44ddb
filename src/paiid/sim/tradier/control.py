"""What the control endpoint of the simulated Tradier has beside every simulator's: tokens with their accounts, and the end of a day."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paiid.brokers import BrokerError
from paiid.sim.engine.control import Table
from paiid.sim.engine.control_input import Json, Wrong, object_of, terms_of, text_of
from paiid.sim.tradier.account_stream import AccountStream
from paiid.sim.tradier.accounts import SIM_TERMS, BadToken
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.markets.stream import MarketStream

__all__ = ["TradierControl"]


@dataclass(slots=True)
class TradierControl:
    """`engine.control.Controlled` for Tradier."""

    exchange: TradierExchange
    stream: AccountStream
    markets: MarketStream
    facts: dict[str, Any]
    """What `GET /sim` tells of how the simulator was started."""

    def table(self) -> Table:
        """Its own routes."""
        return [("POST", "/accounts", self.add_account), ("POST", "/day", self.roll_day)]

    def state(self) -> dict[str, Any]:
        """What it is, and who listens."""
        return {
            **self.facts,
            "accounts": [{"account_number": one.number} for one in self.exchange.accounts.all()],
            "stream_connections": self.stream.connections,
            "data_connections": self.markets.connections,
        }

    def pending(self) -> dict[str, int]:
        """Cancels and rejections that are due, and updates that are still to be told."""
        return {"cancels": self.exchange.pending_work, **self.stream.busy}

    async def caught_up(self) -> bool:
        """By the venue's events."""
        return await self.stream.caught_up()

    def knows(self, account: str) -> bool:
        """By the registry."""
        return self.exchange.accounts.by_number(account) is not None

    def disconnect(self, account: str | None) -> int:
        """From the account stream."""
        return self.stream.disconnect(account)

    def disconnect_data(self, account: str | None) -> int:
        """From the market stream."""
        return self.markets.disconnect(account)

    async def add_account(self, request: Request) -> Response:
        """Let a token reach an account; the answer is the only place that shows the token."""
        body = object_of(request, {"token", "account", "terms"})
        token = text_of(body, "token", "simulated-" + self.exchange.clock.random_bytes(20).hex())
        number = text_of(body, "account", "") or None
        terms = terms_of(body, SIM_TERMS)
        try:
            account = self.exchange.accounts.add(token, number, terms)
        except BadToken as error:
            raise Wrong("token", str(error)) from None
        try:
            await self.exchange.open(account)
        except BrokerError as error:
            return Json({"errors": [{"field": "body", "reason": f"the venue: {error}"}]}, 503)
        return Json({"account_number": account.number, "token": token}, 201)

    async def roll_day(self, request: Request) -> Response:
        """End the day now: the list of orders is empty, and a sandbox drops what is open."""
        object_of(request, set())
        try:
            await self.exchange.roll_day()
        except BrokerError as error:
            return Json({"errors": [{"field": "body", "reason": f"the venue: {error}"}]}, 503)
        return Json({"day_started_us": self.exchange.day_started_us})
