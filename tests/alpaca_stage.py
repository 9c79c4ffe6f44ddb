"""An `AlpacaBroker` with two accounts on real sockets, over a simulated Alpaca whose market is in a test's hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from paiid.brokers import BrokerOrderView
from paiid.brokers.alpaca import AlpacaBroker, AlpacaKeys, StreamTimings
from paiid.core.clock import SystemClock
from paiid.sim.alpaca.accounts import FILE, SIM_TERMS, SimAccount
from paiid.sim.alpaca.app import SimApp, create_sim
from paiid.sim.alpaca.exchange import SimOptions
from paiid.sim.alpaca.stream import StreamOptions
from paiid.sim.engine.market import SimMarket
from paiid.sim.engine.serve import running
from tests.contract.stages import DAY_US, StreetStage
from tests.paper_live import Street, Venue, until
from tests.paper_world import Market
from tests.sim_world import HandMarket

ACCOUNTS = ("me", "bob")
QUICK = StreamTimings(first_pause_s=0.02, longest_pause_s=0.2, reread_pause_s=0.02)
PLENTY = 100_000
"""Requests a minute: the suite asks as often as it likes, and the headers are told."""


class _VenueMarket:
    """The hand's market as the venue behind the simulator must see it: through the simulator's own view of it."""

    def __init__(self, hand: Market, shown: SimMarket) -> None:
        self.hours = hand.hours
        self.mark_of = hand.mark_of
        self.close_of = hand.close_of
        self.actions_of = hand.actions_of
        self.quote_of = shown.newest


@dataclass
class AlpacaWorld:
    """A simulator that runs at `url`. Before anything is shown, AAPL is 99.00 to 101.00."""

    street: Street
    venue: Venue
    sim: SimApp
    url: str

    def broker(self, url: str | None = None, stream_url: str | None = None, **options: Any) -> AlpacaBroker:
        """The adapter with a pair of keys for each account; the addresses may be somebody's in between."""
        api = url or self.url
        stream = stream_url or self.url.replace("http", "ws") + "/stream"
        keys = [AlpacaKeys("paper", *_keys_of(name), api, stream) for name in ACCOUNTS]
        settings = {"lookup_lag_s": 0.05, "refusal_lookup_delay_s": 0.01, "timings": QUICK} | options
        return AlpacaBroker(SystemClock(), keys, **settings)


def _keys_of(name: str) -> tuple[str, str]:
    return f"PKTEST{name.upper()}", f"test-secret-{name}"


def _write_accounts(data_dir: Path) -> None:
    """Accounts whose numbers are the names that the suite uses; the simulator would make some up."""
    accounts = [SimAccount(*_keys_of(name), name, 0) for name in ACCOUNTS]
    (data_dir / FILE).write_bytes(msgspec.json.encode({"accounts": accounts}))


@asynccontextmanager
async def alpaca_world(
    url: str,
    data_dir: Path,
    stream: StreamOptions | None = None,
    dialect: Callable[[SimApp], Any] | None = None,
    **options: Any,
) -> AsyncIterator[AlpacaWorld]:
    """A simulator over the database at `url`, gone at the end. Prints are as large as what the hand shows.

    `dialect` puts something between the socket and the simulator.
    """
    _write_accounts(data_dir)
    settings = SimOptions(**{"rate_limit_per_minute": PLENTY, **options})
    async with Street(url, SIM_TERMS) as street:
        # The trading day began hours ago and ends in hours.
        street.market.hours.roll_us = street.clock.now_us() + DAY_US // 2
        market = SimMarket(HandMarket(street.market), partial_rate=0.0, check_sizes=True)
        seen: Any = _VenueMarket(street.market, market)
        venue = Venue(url, seen, "sim", street.clock, SIM_TERMS)
        try:
            await venue.start()
            await until(venue.matches)
            database: Any = venue.db
            sim = create_sim(
                venue=venue.broker, db=database, market=market, hours=street.market.hours, clock=street.clock,
                data_dir=data_dir, options=settings, stream_options=stream,
            )  # fmt: skip
            async with running(sim if dialect is None else dialect(sim)) as base:
                yield AlpacaWorld(street, venue, sim, base)
        finally:
            await venue.stop()


class AlpacaStage(StreetStage):
    """The contract suite's stage over the simulator."""

    def __init__(self, world: AlpacaWorld, broker: AlpacaBroker) -> None:
        super().__init__(world.street, broker, world.venue.db, frozenset(ACCOUNTS))
        self._sim = world.sim
        self._latency_us = world.sim.exchange.options.latency_ms * 1000

    async def _filled(self, view: BrokerOrderView, qty: Decimal) -> None:
        """And until its stream has told it: who begins to listen then hears nothing of it."""
        await super()._filled(view, qty)
        await until(self._sim.hub.caught_up)

    async def settle(self, view: BrokerOrderView) -> None:
        """Until it is no `pending_new` any more."""

        async def is_live() -> bool:
            return self._street.clock.now_us() > view.submitted_at_us + self._latency_us

        await until(is_live)


@asynccontextmanager
async def alpaca_stage(url: str, data_dir: Path) -> AsyncIterator[AlpacaStage]:
    """The adapter over a simulator of its own."""
    async with alpaca_world(url, data_dir) as world:
        broker = world.broker()
        try:
            yield AlpacaStage(world, broker)
        finally:
            await broker.stop()
