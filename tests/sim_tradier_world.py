"""A simulated Tradier on a real socket, over a market in a test's hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from paiid.brokers.paper import PaperBroker
from paiid.core.clock import SystemClock
from paiid.core.db import make_database
from paiid.core.leases import Leases
from paiid.domain.calendar import AlwaysOpen, MarketHours, eastern_date, eastern_us
from paiid.domain.instruments import Instrument, is_option
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.terms import AccountTerms
from paiid.sim.engine.market import SimMarket
from paiid.sim.engine.serve import running
from paiid.sim.tradier.account_stream import AccountStreamOptions
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN, SIM_TERMS
from paiid.sim.tradier.app import SimApp, create_sim
from paiid.sim.tradier.exchange import SimOptions
from paiid.sim.tradier.rate import RateLimits
from tests.paper_world import Market
from tests.sim_world import HandMarket

PATIENCE_S = 20.0
"""Only guards against hanging."""
NOON_US = eastern_us(date(2026, 10, 5), time(12))
"""A Monday, hours from the roll of the day and from midnight."""
NO_LIMITS = RateLimits.of(0)
SHARES = ("AAPL", "MSFT", "F", "BRK.B")


class SetClock(SystemClock):
    """The machine's clock, which a test can set to another instant; waiting takes as long as it takes."""

    def __init__(self, at_us: int | None = None) -> None:
        self._ahead_us = 0 if at_us is None else at_us - super().now_us()
        self._later_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self._later_s

    def set(self, at_us: int) -> None:
        """Go on from this instant."""
        moved_us = at_us - self.now_us()
        self._ahead_us += moved_us
        self._later_s += max(0.0, moved_us / 1_000_000)


def noon() -> SetClock:
    """A clock that begins at `NOON_US`."""
    return SetClock(NOON_US)


class HandHours(AlwaysOpen):
    """Hours that a test opens and closes."""

    never_closes = False

    def __init__(self) -> None:
        super().__init__()
        self.open = True

    def is_open(self, at_us: int) -> bool:
        return self.open

    def is_extended(self, at_us: int) -> bool:
        return self.open


class ListedMarket(HandMarket):
    """The hand's quotes, with options on AAPL that expire on one Friday."""

    def __init__(self, market: Market, clock: SystemClock) -> None:
        super().__init__(market)
        self.odd: dict[str, Instrument] = {}
        """Shares that are listed otherwise than the rest."""
        today = eastern_date(clock.now_us())
        self.expiration = today + timedelta(days=(4 - today.weekday()) % 7 or 7) + timedelta(days=28)

    def instruments(self) -> Sequence[Instrument]:
        plain = {one: Instrument(one, f"{one} Inc.", "stock", fractionable=True) for one in SHARES}
        return list({**plain, **self.odd}.values())

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        if not is_option(symbol):
            return next((one for one in self.instruments() if one.symbol == symbol), None)
        contract = find_contract(symbol)
        if contract is None or self.newest(symbol) is None:
            return None
        return Instrument(symbol, contract.name, "option", contract=contract)

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        return (self.expiration,) if symbol == "AAPL" else ()


class Listener:
    """A client of the account stream."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def hear(self) -> Any:
        """The next message."""
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await self.socket.recv())

    async def order(self, status: str) -> dict[str, Any]:
        """The next order event with this status; others before it are passed over."""
        while True:
            event: dict[str, Any] = await self.hear()
            if event.get("event") == "order" and event["status"] == status:
                return event


class TradierWorld:
    """A simulator that runs, and a client of it with the default token."""

    def __init__(
        self,
        sim: SimApp,
        url: str,
        client: httpx2.AsyncClient,
        market: Market,
        hand: ListedMarket,
        clock: SetClock,
    ) -> None:
        self.sim, self.url, self.client = sim, url, client
        self.market, self.hand, self.clock = market, hand, clock
        self.account = DEFAULT_ACCOUNT

    # -- the market ---------------------------------------------------------------------------------

    def show(self, bid: str, ask: str, symbol: str = "AAPL") -> None:
        """The next quote."""
        self.market.show(symbol, Decimal(bid), Decimal(1000), Decimal(ask), Decimal(1000))

    def contract(self, kind: str = "call", strike: int = 100) -> str:
        """The symbol of a contract on AAPL."""
        return OptionContract.of("AAPL", kind, Decimal(strike), self.hand.expiration).symbol

    # -- requests -----------------------------------------------------------------------------------

    @property
    def orders_path(self) -> str:
        return f"/v1/accounts/{self.account}/orders"

    async def send(self, method: str, path: str, form: dict[str, Any] | None = None) -> httpx2.Response:
        """A request with a form."""
        fields = None if form is None else {name: str(one) for name, one in form.items() if one is not None}
        return await self.client.request(method, path, data=fields)

    async def post(self, **form: Any) -> httpx2.Response:
        """Post an order: a limit order for the day to buy ten AAPL at 100, unless told otherwise."""
        return await self.send("POST", self.orders_path, {**_ORDER, **form})

    async def place(self, **form: Any) -> int:
        """Post an order that is taken; its number."""
        return await self.taken({**_ORDER, **form})

    async def taken(self, form: dict[str, Any]) -> int:
        """Post a form that is taken; the number of the order."""
        answer = await self.send("POST", self.orders_path, form)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert "order" in told, told
        assert told["order"]["status"] == "ok"
        order_id: int = told["order"]["id"]
        return order_id

    async def refused(self, form: dict[str, Any]) -> list[str]:
        """Post a form that is refused for a matter of business; the errors."""
        answer = await self.send("POST", self.orders_path, form)
        assert answer.status_code == 200, answer.text
        errors = answer.json()["errors"]["error"]
        return [errors] if isinstance(errors, str) else list(errors)

    async def get(self, path: str) -> Any:
        """The answer to a GET that works."""
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def order(self, order_id: int, *, tags: bool = True) -> dict[str, Any]:
        """An order as it is told."""
        found: dict[str, Any] = (
            await self.get(f"{self.orders_path}/{order_id}?includeTags={str(tags).lower()}")
        )["order"]
        return found

    async def orders(self, query: str = "includeTags=true") -> list[dict[str, Any]]:
        """The list, whatever its shape."""
        told = (await self.get(f"{self.orders_path}?{query}"))["orders"]
        rows = [] if told in (None, "null") else told["order"]
        return rows if isinstance(rows, list) else [rows]

    async def until_status(self, order_id: int, *statuses: str) -> dict[str, Any]:
        """The order once it has one of these statuses."""

        async def ask() -> dict[str, Any] | None:
            told = await self.order(order_id)
            return told if told["status"] in statuses else None

        found: dict[str, Any] = await until(ask)
        return found

    async def hold(self, quantity: int = 10, symbol: str = "AAPL", **form: Any) -> dict[str, Any]:
        """Buy at the market, and wait until it is there."""
        number = await self.place(symbol=symbol, quantity=quantity, type="market", price=None, **form)
        return await self.until_status(number, "filled")

    # -- the stream ---------------------------------------------------------------------------------

    async def session(self) -> dict[str, str]:
        """A new session of the account stream."""
        answer = await self.send("POST", "/v1/accounts/events/session")
        assert answer.status_code == 200, answer.text
        stream: dict[str, str] = answer.json()["stream"]
        return stream

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Listener]:
        """A client that has said nothing yet."""
        url = self.url.replace("http", "ws") + "/v1/accounts/events"
        async with connect(url, proxy=None) as socket:
            yield Listener(socket)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """A client that hears the order events of the account. What a test leaves unread keeps nothing behind it from arriving, such
        as the answer to a ping."""
        session = await self.session()
        async with connect(session["url"], proxy=None, max_queue=None) as socket:
            payload = {"events": ["order"], "sessionid": session["sessionid"], "excludeAccounts": []}
            await socket.send(json.dumps(payload))

            async def is_heard() -> bool:
                return self.sim.stream.connections.get(self.account, 0) > 0

            await until(is_heard)
            yield Listener(socket)

    async def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        self.sim.faults.add({"kind": kind, **wish})


_ORDER: dict[str, Any] = {
    "class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "10", "type": "limit", "price": "100.00",
    "duration": "day",
}  # fmt: skip


async def until(told: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is a yes of some kind; that answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await told()
            if answer:
                return answer
            await asyncio.sleep(0.01)


@asynccontextmanager
async def simulated(
    url: str,
    data_dir: Path,
    *,
    stream: AccountStreamOptions | None = None,
    hours: MarketHours | None = None,
    clock: SetClock | None = None,
    terms: AccountTerms = SIM_TERMS,
    check_sizes: bool = False,
    matching: bool = True,
    **options: Any,
) -> AsyncIterator[TradierWorld]:
    """A simulator over the database at `url`, gone at the end. AAPL is 99.00 to 101.00. Without a clock the
    time is now, which may be a moment before the day ends."""
    async with AsyncExitStack() as stack:
        clock, hours = clock or SetClock(), hours or AlwaysOpen()
        hand = Market(clock=clock)  # type: ignore[arg-type]
        listed = ListedMarket(hand, clock)
        market = SimMarket(listed, partial_rate=0.0, check_sizes=check_sizes)
        db = make_database(url, clock)
        await db.start()
        stack.push_async_callback(db.stop)
        venue = PaperBroker(db, clock, market.newest, hours, Leases(db, "sim"), terms=terms)
        await venue.start()
        stack.push_async_callback(venue.stop)
        hand.show("AAPL", Decimal("99.00"), Decimal(1000), Decimal("101.00"), Decimal(1000))
        sim = create_sim(
            venue=venue, db=db, market=market, hours=hours, clock=clock, data_dir=data_dir,
            options=SimOptions(**{"limits": NO_LIMITS, **options}), stream_options=stream,
        )  # fmt: skip
        base = await stack.enter_async_context(running(sim))
        headers = {"Authorization": f"Bearer {DEFAULT_TOKEN}", "Accept": "application/json"}
        client = await stack.enter_async_context(
            httpx2.AsyncClient(
                base_url=base, headers=headers, trust_env=False, verify=False, timeout=PATIENCE_S
            )
        )

        async def matches() -> bool:
            return venue.is_matching

        if matching:
            await until(matches)
        yield TradierWorld(sim, base, client, hand, listed, clock)
