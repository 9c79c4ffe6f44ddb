"""A simulated Alpaca's REST side in one process, over a market in a test's hand."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
from starlette.applications import Starlette

from paiid.brokers import BrokerOrderView
from paiid.domain.calendar import eastern_date
from paiid.domain.instruments import Instrument, is_option
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.quotes import Quote
from paiid.domain.terms import AccountTerms
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET, SIM_TERMS, Accounts, SimAccount
from paiid.sim.alpaca.exchange import Exchange, SimOptions
from paiid.sim.alpaca.routes import fallback, routes
from tests.paper_live import Street, Venue, until
from tests.paper_world import Market

KEYS = {"APCA-API-KEY-ID": DEFAULT_KEY_ID, "APCA-API-SECRET-KEY": DEFAULT_SECRET}
SHARES = ("AAPL", "MSFT", "F")
_HALF_A_DAY_US = 43_200_000_000
STRIKES = (90, 95, 100, 105, 110)


class ListedMarket:
    """The hand's quotes as a market of three shares, with options on AAPL that expire on two days."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self.odd: dict[str, Instrument] = {}
        """Shares that are listed otherwise than the rest."""
        today = eastern_date(market.clock.now_us())
        self.expirations = (_friday(today), _friday(today + timedelta(days=60)))

    def newest(self, symbol: str) -> Quote | None:
        return self._market.quote_of(symbol)

    def activity(self, symbol: str) -> None:
        """It knows of none."""

    def instruments(self) -> Sequence[Instrument]:
        plain = {
            symbol: Instrument(symbol, f"{symbol} Inc.", "stock", fractionable=True) for symbol in SHARES
        }
        return list({**plain, **self.odd}.values())

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        if not is_option(symbol):
            return next((one for one in self.instruments() if one.symbol == symbol), None)
        contract = find_contract(symbol)
        if contract is None or contract not in self._contracts():
            return None
        return Instrument(symbol, contract.name, "option", contract=contract)

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        return {one: quote for one in symbols if (quote := self.newest(one)) is not None}

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        return self.expirations if symbol == "AAPL" else ()

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        return [one for one in self._contracts() if symbol == "AAPL" and one.expiration == expiration]

    def _contracts(self) -> list[OptionContract]:
        return [
            OptionContract.of("AAPL", kind, Decimal(strike), day)
            for day in self.expirations
            for strike in STRIKES
            for kind in ("call", "put")
        ]


def _friday(day: date) -> date:
    """The first Friday after a day, for which no exchange holiday matters here."""
    return day + timedelta(days=(4 - day.weekday()) % 7 or 7)


@dataclass
class Book:
    """A ledger and a book of faults that keep what they are told."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    hidden: bool = False
    delay_s: float = 0.01

    def append(self, kind: str, **fields: Any) -> None:
        self.entries.append({"kind": kind, **fields})

    def hides(self, order_id: str, submitted_at_us: int) -> bool:
        return self.hidden

    def cancel_delay_s(self, order: BrokerOrderView) -> float:
        return self.delay_s

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.entries if one["kind"] == kind]


class SimWorld:
    """The exchange with its market, and a client with the default pair of keys."""

    def __init__(
        self, street: Street, venue: Venue, exchange: Exchange, book: Book, market: ListedMarket
    ) -> None:
        self.street, self.venue, self.exchange, self.book, self.market = street, venue, exchange, book, market
        app = Starlette(routes=[*routes(exchange), fallback()])
        self.transport = httpx.ASGITransport(app=app)
        self.client = self.client_of(KEYS)

    def client_of(self, headers: dict[str, str]) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self.transport, base_url="http://sim", headers=headers)

    async def account(self, name: str, terms: AccountTerms) -> tuple[SimAccount, httpx.AsyncClient]:
        """Another account on terms of its own, and its client."""
        account = self.exchange.accounts.add(f"PKTEST{name}", f"test-secret-{name}", terms)
        await self.exchange.open(account)
        headers = {"APCA-API-KEY-ID": account.key_id, "APCA-API-SECRET-KEY": account.secret}
        return account, self.client_of(headers)

    def contract(self, kind: str = "call", strike: int = 100, expiration: int = 1) -> str:
        day = self.market.expirations[expiration]
        return OptionContract.of("AAPL", kind, Decimal(strike), day).symbol

    def show(
        self, bid: str, ask: str, size: int = 10_000, *, symbol: str = "AAPL", stale: bool = False
    ) -> None:
        self.street.show(bid, ask, size, symbol=symbol, stale=stale)

    async def place(self, *, status: int = 200, client: httpx.AsyncClient | None = None, **body: Any) -> Any:
        """Post an order: a limit order for the day to buy 10 AAPL at 100, unless told otherwise."""
        asked: dict[str, Any] = {
            "symbol": "AAPL", "side": "buy", "qty": "10", "type": "limit", "limit_price": "100.00",
            "time_in_force": "day",
        }  # fmt: skip
        asked = {name: value for name, value in {**asked, **body}.items() if value is not None}
        answer = await (client or self.client).post("/v2/orders", json=asked)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path: str, *, status: int = 200, client: httpx.AsyncClient | None = None) -> Any:
        answer = await (client or self.client).get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def order(self, order_id: str, *, nested: bool = False) -> Any:
        return await self.get(f"/v2/orders/{order_id}" + ("?nested=true" if nested else ""))

    async def until_status(self, order_id: str, *statuses: str) -> Any:
        """The order once it has one of these statuses."""

        async def ask() -> Any:
            told = await self.order(order_id, nested=True)
            return told if told["status"] in statuses else None

        return await until(ask)

    async def hold(self, qty: int = 10, symbol: str = "AAPL", **body: Any) -> Any:
        """Buy at the market, and wait until it is there."""
        told = await self.place(symbol=symbol, qty=str(qty), type="market", limit_price=None, **body)
        return await self.until_status(told["id"], "filled")


@asynccontextmanager
async def sim_world(url: str, data_dir: Path, **options: Any) -> AsyncIterator[SimWorld]:
    """A simulated Alpaca that matches. The market shows AAPL at 99 to 101."""
    settings = SimOptions(**{"rate_limit_per_minute": 0, **options})
    async with Street(url, SIM_TERMS) as street:
        # The trading day began hours ago and ends in hours.
        street.market.hours.roll_us = street.clock.now_us() + _HALF_A_DAY_US
        venue = await street.venue()
        market, book = ListedMarket(street.market), Book()
        exchange = Exchange(
            venue=venue.broker, db=venue.db, market=market, hours=street.market.hours, clock=street.clock,
            accounts=Accounts(data_dir, street.clock), ledger=book, faults=book, options=settings,
        )  # fmt: skip
        await exchange.start()
        world = SimWorld(street, venue, exchange, book, market)
        try:
            yield world
        finally:
            await exchange.stop()
