"""Option chains of the simulated Tradier, read by the feed and shown by the service: what is told, and what odd answers may cost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.domain.option_chain import ChainRow
from paiid.feeds import FeedUnavailable
from paiid.feeds.tradier import TradierFeed
from paiid.sim.tradier.fault_kinds import ALL_KINDS
from tests.feed_world import ShiftedClock, SteppedClock, Tradier, feed_world, tradier_keys, tradier_on
from tests.market_world import WEDNESDAY_OPEN_US
from tests.tradier_markets_world import HEADERS, PATIENCE_S

TICKER = "KO"
CHAIN_FAULTS = sorted(name for name in ALL_KINDS if name.startswith("chain_"))
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")


@dataclass
class World:
    """A simulator over the whole simulated market at an instant that stands, and the feed."""

    tradier: Tradier
    feed: TradierFeed
    day: date
    """Of a monthly expiration."""

    async def rows(self, first: date | None = None, last: date | None = None) -> dict[str, ChainRow]:
        """The chain as the feed reads it."""
        rows = await self.feed.fetch_chain(TICKER, first or self.day, last or first or self.day)
        return {row.contract.symbol: row for row in rows}

    async def told(self) -> dict[str, dict[str, Any]]:
        """The chain as the simulator tells it."""
        query = {"symbol": TICKER, "expiration": str(self.day), "greeks": "true"}
        async with httpx2.AsyncClient(
            base_url=self.tradier.url, headers=HEADERS, trust_env=False, verify=False, timeout=PATIENCE_S
        ) as client:
            answer = await client.get("/v1/markets/options/chains", params=query)
        return {one["symbol"]: one for one in answer.json()["options"]["option"]}


@asynccontextmanager
async def chains(directory: Path, template: Path, **wish: Any) -> AsyncIterator[World]:
    """At an open market's instant."""
    clock = SteppedClock(WEDNESDAY_OPEN_US)
    async with tradier_on(directory, template, clock=clock, hours="exchange", **wish) as tradier:
        feed = TradierFeed(clock, tradier_keys(tradier.url), request_s=PATIENCE_S)
        days = await feed.fetch_expirations(TICKER)
        yield World(tradier, feed, next(day for day in days[2:] if 14 <= day.day <= 21))
        await feed.stop()


@pytest.fixture
async def world(tmp_path: Path, template: Path) -> AsyncIterator[World]:
    async with chains(tmp_path / "sim", template) as one:
        yield one


async def test_a_chain_has_what_tradier_tells_of_each_contract(world: World) -> None:
    rows, told = await world.rows(), await world.told()
    assert set(rows) == set(told)
    assert len(rows) > 20
    for symbol, row in rows.items():
        one = told[symbol]
        assert row.quote is not None
        assert (row.quote.bid, row.quote.ask) == (
            Decimal(str(one["bid"] or 0)), Decimal(str(one["ask"] or 0)),
        )  # fmt: skip
        assert (row.volume, row.open_interest, row.size) == (one["volume"], one["open_interest"], 100)
        greeks = one["greeks"]
        if greeks is None:
            assert row.vendor is None
            continue
        assert row.vendor is not None
        for name in _GREEKS:
            assert getattr(row.vendor, name) == pytest.approx(greeks[name]), (symbol, name)
        assert row.vendor.implied_volatility == (greeks["mid_iv"] or None)
    assert any(row.vendor is not None for row in rows.values())
    assert any(row.vendor is None for row in rows.values()), (
        "far from the money there is no bid, and no Greeks"
    )


async def test_a_chain_of_many_days_costs_a_request_a_day_and_the_list_of_days_is_remembered(
    world: World,
) -> None:
    days = await world.feed.fetch_expirations(TICKER)
    before = len(world.tradier.ledger("request"))
    rows = await world.rows(days[0], days[4])
    assert {row.contract.expiration for row in rows.values()} == set(days[:5])
    asked = [one["path"] for one in world.tradier.ledger("request")[before:]]
    assert asked == ["/v1/markets/options/chains"] * 5


@pytest.mark.parametrize("kind", CHAIN_FAULTS)
@pytest.mark.parametrize("every", [1, 3])
async def test_odd_words_about_contracts_cost_no_other_contract_and_are_more_than_nothing_nowhere(
    world: World, kind: str, every: int
) -> None:
    sound = await world.rows()
    world.tradier.fault(kind, next=1, params={"every": every})
    rows = await world.rows()
    assert world.tradier.played(kind) == 1
    assert set(rows) == set(sound)
    spoiled = [symbol for place, symbol in enumerate(await world.told()) if place % every == 0]
    for symbol in set(sound) - set(spoiled):
        assert rows[symbol] == sound[symbol]
    for symbol in spoiled:
        _judge(kind, rows[symbol], sound[symbol])
    assert await world.rows() == sound, "the next answer counts"


def _judge(kind: str, row: ChainRow, sound: ChainRow) -> None:
    """What may be told of a contract whose words were spoiled."""
    assert row.volume is None or row.volume >= 0
    assert row.open_interest is None or row.open_interest >= 0
    if kind == "chain_crossed":
        assert sound.quote is not None
        assert row.quote is not None
        assert row.quote.ask == sound.quote.bid, "as it is told; whoever looks at it judges"
        return
    if kind == "chain_no_greeks":
        assert (row.vendor, row.quote) == (None, sound.quote)
        return
    if kind == "chain_no_quote":
        assert (row.quote, row.vendor) == (None, sound.vendor)
        return
    if row.quote is not None:
        assert row.quote.bid == row.quote.ask == 0
        assert row.quote.last >= 0
    assert row.vendor is None or row.vendor.implied_volatility is None or kind == "chain_zero"
    if kind in ("chain_nan", "chain_odd"):
        assert row.vendor is None


@pytest.mark.parametrize(
    "kind", ["refuse_before", "garbage", "html", "xml_answer", "reset_mid_body", "rate_limited"]
)
async def test_a_day_that_is_not_answered_costs_the_chain(world: World, kind: str) -> None:
    days = await world.feed.fetch_expirations(TICKER)
    world.tradier.fault(kind, on="data", next=1)
    with pytest.raises(FeedUnavailable):
        await world.rows(days[0], days[2])


async def test_a_chain_is_none_where_the_budget_is_that_of_quotes(tmp_path: Path, template: Path) -> None:
    async with chains(tmp_path / "sim", template, rate_limit=60) as world:
        days = await world.feed.fetch_expirations(TICKER)

        async def again_and_again() -> None:
            for _ in range(10):
                await world.rows(days[0], days[7])

        with pytest.raises(FeedUnavailable, match="fewer expirations"):
            await again_and_again()
        assert (await world.feed.fetch_quotes([TICKER]))[TICKER].ask > 0, "quotes have their part"
        assert set(world.tradier.statuses) == {200}, "nothing was asked for that was not to be had"


async def test_the_service_shows_tradiers_greeks_beside_its_own(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    clock = ShiftedClock(WEDNESDAY_OPEN_US)
    async with tradier_on(tmp_path / "sim", template, clock=clock, hours="exchange") as tradier:
        settings = {**tradier.settings(), "sim_hours": "exchange"}
        async with feed_world(sqlite_url, tmp_path / "data", clock=clock, **settings) as world:
            days = await world.get(f"/api/options/expirations/{TICKER}")
            day = next(one["date"] for one in days[2:] if 14 <= int(one["date"][8:]) <= 21)
            chain = await world.get(f"/api/options/chains/{TICKER}?expiration={day}")
            assert chain["source"] == "tradier"
            spot = chain["underlying_price"]
            for near in (
                min(chain[side], key=lambda one: abs(one["strike_price"] - spot))
                for side in ("calls", "puts")
            ):
                vendor = near["vendor"]
                assert abs(vendor["delta"] - near["delta"]) < Decimal("0.1"), "of the same contract and sign"
                assert vendor["theta"] < 0 < vendor["vega"]
                assert 0 < vendor["implied_volatility"] < 2
            assert any(one["vendor"] is None for one in chain["calls"]), "without a bid there are none"
            tradier.fault("chain_no_greeks", rate=1, params={"every": 1})
            other = await world.get(f"/api/options/chains/{TICKER}?expiration={days[1]['date']}")
            assert {one["vendor"] for one in other["calls"]} == {None}
