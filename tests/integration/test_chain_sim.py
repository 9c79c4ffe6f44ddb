"""Option chains of the simulated Alpaca: what it tells of them, its faults, and the feed that reads them through both."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.core.migrate import migrate
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca import AlpacaDataKeys, AlpacaFeed, chain
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from paiid.sim.alpaca.app import SimApp
from paiid.sim.alpaca.fault_kinds import ALL_KINDS, CHAIN
from paiid.sim.alpaca.world import SimWish, database_url, opened
from paiid.sim.engine.serve import running
from tests.alpaca_data_stage import HandClock
from tests.market_world import WEDNESDAY_OPEN_US
from tests.sim_world import KEYS, PATIENCE_S

TICKER = "KO"
SNAPSHOTS = f"/v1beta1/options/snapshots/{TICKER}"
GREEKS = {"delta", "gamma", "theta", "vega", "rho"}


@dataclass
class World:
    """A simulator over the whole simulated market, a client of it, and the feed."""

    sim: SimApp
    client: httpx2.AsyncClient
    feed: AlpacaFeed
    day: date
    """Of a monthly expiration."""

    async def read(self, path: str = SNAPSHOTS, **query: Any) -> Any:
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def whole(self, **query: Any) -> dict[str, Any]:
        """The snapshots of the day, in one page."""
        told = await self.read(limit=1000, expiration_date=self.day, **query)
        assert told["next_page_token"] is None
        return dict(told["snapshots"])

    def fault(self, kind: str, **wish: Any) -> None:
        """Put a fault in force."""
        self.sim.faults.add({"kind": kind, **wish})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    migrate(database_url(tmp_path))
    clock = HandClock(WEDNESDAY_OPEN_US)
    async with opened(SimWish(tmp_path, rate_limit=0), clock) as sim, running(sim) as url:
        keys = AlpacaDataKeys(DEFAULT_KEY_ID, DEFAULT_SECRET, url, url.replace("http", "ws") + "/v2/iex", url)
        feed = AlpacaFeed(clock, keys, request_s=PATIENCE_S)
        async with httpx2.AsyncClient(
            base_url=url, headers=KEYS, trust_env=False, timeout=PATIENCE_S
        ) as client:
            days = await sim.data.side.market.fetch_expirations(TICKER)
            yield World(sim, client, feed, next(day for day in days[2:] if day.day >= 14 and day.day <= 21))
        await feed.stop()


async def test_a_snapshot_has_greeks_where_there_is_a_bid_and_the_day_s_volume_where_there_is_one(
    world: World,
) -> None:
    told = await world.whole()
    assert len(told) > 20
    seen = set()
    for symbol, one in told.items():
        has_bid = one["latestQuote"]["bp"] > 0
        assert ("greeks" in one, "impliedVolatility" in one) == (has_bid, has_bid)
        if has_bid:
            assert set(one["greeks"]) == GREEKS
            call = symbol[-9] == "C"
            assert 0 <= one["greeks"]["delta"] * (1 if call else -1) <= 1
            assert 0.05 < one["impliedVolatility"] < 1
        bar = one.get("dailyBar")
        if bar is not None:
            assert bar["v"] > 0
            assert bar["l"] <= bar["o"] <= bar["h"]
            assert bar["c"] == one["latestTrade"]["p"]
        seen.add((has_bid, bar is not None))
    assert len(seen) > 1
    free = await world.whole(feed="indicative")
    assert set(free) == set(told)
    assert not any("greeks" in one or "impliedVolatility" in one for one in free.values())
    later = await world.read(limit=1000, expiration_date=world.day, updated_since="2200-01-01T00:00:00Z")
    assert later == {"snapshots": {}, "next_page_token": None}


async def test_a_contract_tells_its_open_interest_and_of_which_day(world: World) -> None:
    query = {"underlying_symbols": TICKER, "expiration_date": world.day, "limit": 1000}
    rows = (await world.read("/v2/options/contracts", **query))["option_contracts"]
    assert all(row["open_interest"].isdigit() for row in rows)
    assert len({row["open_interest"] for row in rows}) > 5
    assert {row["open_interest_date"] for row in rows} == {rows[0]["close_price_date"]}
    [again] = [
        one for one in (await world.read("/v2/options/contracts", **query))["option_contracts"]
        if one["symbol"] == rows[9]["symbol"]
    ]  # fmt: skip
    assert again["open_interest"] == rows[9]["open_interest"]


async def test_pages_and_filters_tell_each_contract_once(world: World) -> None:
    told, found, token = await world.whole(), dict[str, Any](), None
    for _ in range(100):
        page = await world.read(
            limit=7, expiration_date=world.day, **({"page_token": token} if token else {})
        )
        assert not found.keys() & page["snapshots"].keys()
        found |= page["snapshots"]
        token = page["next_page_token"]
        if token is None:
            break
    assert found.keys() == told.keys()
    calls = await world.read(limit=1000, expiration_date=world.day, type="call", strike_price_gte=70)
    assert calls["snapshots"].keys() == {
        one for one in told if one[-9] == "C" and int(one[-8:]) >= 70_000
    }  # fmt: skip


async def test_a_pinned_contract_has_no_greeks_that_are_not_of_its_quote(world: World) -> None:
    symbol = next(one for one, told in (await world.whole()).items() if "greeks" in told)
    pin = {"symbol": symbol, "bid": "40.00", "ask": "40.10"}
    assert (await world.client.post("/sim/quotes", json=pin)).status_code in (200, 201)
    told = (await world.whole())[symbol]
    assert told["latestQuote"]["bp"] == 40
    assert "greeks" not in told


async def test_the_feed_reads_the_same_chain_whatever_it_is_told_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One simulator for all faults: each must cost what it is about, and nothing else."""
    plain = await world.feed.fetch_chain(TICKER, world.day, world.day)
    told = await world.whole()
    assert {row.contract.symbol for row in plain} == told.keys()
    for row in plain:
        one = told[row.contract.symbol]
        assert (row.vendor is not None) == ("greeks" in one)
        assert (row.volume is not None) == ("dailyBar" in one)
        assert row.open_interest is not None
        assert row.quote is not None
        assert row.quote.source == "alpaca"
    kinds = [kind.name for kind in ALL_KINDS.values() if kind.on == (CHAIN,)]
    assert len(kinds) == 9
    for kind in kinds:
        world.sim.faults.remove()
        if kind in ("chain_page_lost", "chain_endless"):
            world.fault(kind, rate=1)
            if kind == "chain_page_lost":
                assert await world.feed.fetch_chain(TICKER, world.day, world.day), "the first page is there"
            with monkeypatch.context() as short:
                short.setattr(chain, "PAGE", 20)
                with pytest.raises(FeedUnavailable):
                    await world.feed.fetch_chain(TICKER, world.day, world.day)
            continue
        world.fault(kind, params={"every": 3})
        spoiled = await world.feed.fetch_chain(TICKER, world.day, world.day)
        assert [row.contract for row in spoiled] == [row.contract for row in plain]
        order = sorted(row.contract.symbol for row in plain)
        hit = {symbol for n, symbol in enumerate(order) if n % 3 == 0}
        for row in spoiled:
            if row.contract.symbol in hit:
                assert_spoiled(kind, row)
            else:
                assert row.quote is not None
                assert 0 <= row.quote.bid < row.quote.ask
    world.sim.faults.remove()
    assert set(world.sim.faults.played) >= set(kinds)
    assert len(await world.feed.fetch_chain(TICKER, world.day, world.day)) == len(plain)


def assert_spoiled(kind: str, row: Any) -> None:
    quote, vendor = row.quote, row.vendor
    if kind in ("chain_nan", "chain_odd", "chain_no_greeks"):
        assert vendor is None
    if kind == "chain_negative":
        assert vendor is None or vendor.implied_volatility is None
    if kind in ("chain_nan", "chain_zero", "chain_negative"):
        assert (quote.bid, quote.ask) == (0, 0)
        assert quote.last > 0
    if kind == "chain_crossed":
        assert quote.bid > quote.ask
    if kind in ("chain_no_quote", "chain_odd"):
        assert quote is None
