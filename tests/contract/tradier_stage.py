"""A `TradierBroker` for each of two accounts on real sockets, over a simulated Tradier whose market is in a test's hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from paiid.brokers import Broker
from paiid.brokers.tradier import TradierBroker, TradierKeys, TradierTimings
from paiid.sim.engine.market import SimMarket
from paiid.sim.engine.serve import running
from paiid.sim.tradier.accounts import SIM_TERMS, Accounts
from paiid.sim.tradier.app import SimApp, create_sim
from paiid.sim.tradier.exchange import SimOptions
from paiid.sim.tradier.rate import RateLimits
from tests.alpaca_stage import _VenueMarket
from tests.contract.stages import DAY_US, Manners, StreetStage
from tests.paper_live import Street, Venue, until
from tests.sim_tradier_world import NOON_US, SetClock
from tests.sim_world import HandMarket

ACCOUNTS = ("me", "bob")
QUICK = TradierTimings(
    working_s=0.1,
    woken_working_s=0.2,
    idle_s=0.2,
    nudged_s=(0.02, 0.1),
    gap_s=0.02,
    again_s=(0.02, 0.05, 0.1),
    first_pause_s=0.02,
    longest_pause_s=0.2,
    refused_pause_s=0.1,
)
PLENTY = 100_000
"""Requests a minute: the suite asks as often as it likes, and the headers are told."""
_HALF_A_DAY_US = DAY_US // 2
_TO_THE_MORNING_US = DAY_US * 3 // 4


class NoonStreet(Street):
    """A street on which it is noon, and whose clock a test can set."""

    def __init__(self, url: str) -> None:
        super().__init__(url, SIM_TERMS)
        self.clock: SetClock = SetClock(NOON_US)
        hand: Any = self.clock
        self.market.clock = hand
        self.show("99.00", "101.00")
        # The trading day ends at midnight.
        self.market.hours.roll_us = NOON_US + _HALF_A_DAY_US


class TradierStage(StreetStage):
    """The contract suite's stage over the simulator. Each account has a token, and so a broker, of its own."""

    manners = Manners(
        ids_are_unique=False,
        names_exits=False,
        tells_blocks=False,
        tells_what_has_ended=True,
        activities_come_overnight=True,
    )

    def __init__(
        self, street: NoonStreet, venue: Venue, base: str, brokers: dict[str, TradierBroker]
    ) -> None:
        super().__init__(street, brokers["me"], venue.db, frozenset({"me"}))
        self._noon, self._venue, self._base, self._brokers = street, venue, base, brokers
        self.adapter = brokers["me"]

    async def wire(self, method: str, path: str) -> httpx2.Response:
        """A request of our own behind the path of the account `me`, past the broker: what is really said there."""
        headers = {"authorization": f"Bearer {_token_of('me')}", "accept": "application/json"}
        async with httpx2.AsyncClient(trust_env=False, verify=False, headers=headers) as client:
            return await client.request(method, f"{self._base}/v1/accounts/me{path}")

    def of(self, account: str) -> Broker:
        """The broker of this account's token."""
        return self._brokers[account]

    def beginnings(self) -> int:
        """Looking at the list begins at once, and again when the account stream is there."""
        connected = self.adapter.stream_state[0].connected
        return 1 if connected else 2

    async def next_day(self) -> None:
        """On to the next morning; the venue's day ends at midnight."""
        self._noon.clock.set(self._noon.clock.now_us() + _TO_THE_MORNING_US)

    async def pay_dividend(self, account: str, symbol: str, amount: str) -> None:
        """It is told the next morning: the history is of the night before."""
        await self._book_dividend(self._venue.broker, account, symbol, amount)
        await self.next_day()


def _token_of(name: str) -> str:
    return f"test-token-of-{name}"


@asynccontextmanager
async def tradier_stage(
    url: str, data_dir: Path, dialect: Callable[[SimApp], Any] | None = None, **options: Any
) -> AsyncIterator[TradierStage]:
    """The adapters over a simulator of their own. `options` are more of `SimOptions`; `dialect` puts something between the
    socket and the simulator."""
    street = NoonStreet(url)
    async with street:
        accounts = Accounts(data_dir, street.clock)
        for name in ACCOUNTS:
            accounts.add(_token_of(name), name)
        hours: Any = street.market.hours
        market = SimMarket(HandMarket(street.market), partial_rate=0.0, check_sizes=True)
        seen: Any = _VenueMarket(street.market, market)
        venue = Venue(url, seen, "sim", street.clock, SIM_TERMS)
        try:
            await venue.start()
            await until(venue.matches)
            database: Any = venue.db
            sim = create_sim(
                venue=venue.broker, db=database, market=market, hours=hours, clock=street.clock,
                data_dir=data_dir, options=SimOptions(**{"limits": RateLimits.of(PLENTY), **options}),
            )  # fmt: skip
            async with running(sim if dialect is None else dialect(sim)) as base:
                brokers = {name: _broker(street, base, name) for name in ACCOUNTS}
                try:
                    yield TradierStage(street, venue, base, brokers)
                finally:
                    for broker in brokers.values():
                        await broker.stop()
        finally:
            await venue.stop()


def _broker(street: NoonStreet, base: str, name: str) -> TradierBroker:
    """The suite's names are no tags of the service's making, and count as such."""
    hours: Any = street.market.hours
    keys = TradierKeys(_token_of(name), f"{base}/v1", base.replace("http", "ws", 1) + "/v1", account_id=name)
    return TradierBroker(
        street.clock,
        keys,
        lookup_lag_s=0.05,
        refusal_lookup_delay_s=0.01,
        timings=QUICK,
        hours=hours,
        ours=lambda tag: True,
    )
