"""The simulated data host over HTTP: newest quotes and trades, snapshots, bars page by page, and its refusals."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.domain.bars import Bar, Timeframe
from paiid.sim.alpaca.exchange import SimOptions
from paiid.sim.alpaca.values import instant_of
from tests.sim_world import KEYS, HandMarket, SimWorld, simulated

MINUTE_US = 60_000_000
START_US = 1_795_500_000_000_000 // MINUTE_US * MINUTE_US
CALL = "AAPL291221C00100000"


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path) as one:
        yield one


def bar(number: int, price: int = 100) -> Bar:
    """The bar of a minute behind the beginning."""
    low, high = Decimal(price), Decimal(price) + 1
    return Bar(START_US + number * MINUTE_US, low, high, low, high, Decimal(1500), Decimal("100.5"), 12)


def instant(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def read(world: SimWorld, path: str, **query: str) -> Any:
    answer = await world.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_newest_quote_is_the_one_orders_fill_at(world: SimWorld) -> None:
    world.show("149.98", "150.02")
    told = await read(world, "/v2/stocks/quotes/latest", symbols="AAPL,zzzz", feed="iex")
    assert list(told["quotes"]) == ["AAPL"]
    quote = told["quotes"]["AAPL"]
    assert (quote["bp"], quote["ap"], quote["bs"], quote["c"], quote["z"]) == (
        149.98,
        150.02,
        1_000_000,
        ["R"],
        "C",
    )
    assert (await world.post("one")).status_code == 200
    assert (await world.has_status("one", "filled"))["filled_avg_price"] == "150.02"
    alone = await read(world, "/v2/stocks/AAPL/quotes/latest", feed="iex")
    assert alone == {"symbol": "AAPL", "quote": quote}


async def test_a_pinned_quote_is_newer_than_the_one_before(world: SimWorld) -> None:
    before = (await read(world, "/v2/stocks/AAPL/quotes/latest"))["quote"]
    pin = {"symbol": "AAPL", "bid": "120.00", "ask": "120.10", "bid_size": 300, "ask_size": 200}
    await world.client.post("/sim/quotes", json=pin)
    quote = (await read(world, "/v2/stocks/AAPL/quotes/latest"))["quote"]
    assert (quote["bp"], quote["ap"], quote["bs"], quote["as"]) == (120.0, 120.1, 300, 200)
    assert instant_of(quote["t"], "t") > instant_of(before["t"], "t")
    trade = (await read(world, "/v2/stocks/trades/latest", symbols="AAPL"))["trades"]["AAPL"]
    assert (trade["p"], trade["t"]) == (120.05, quote["t"])
    assert (await read(world, "/v2/stocks/AAPL/quotes/latest"))["quote"] == quote


async def test_a_snapshot_has_what_is_known_and_leaves_out_the_rest(world: SimWorld) -> None:
    now_us = SystemClock().now_us()
    world.hand.bars["AAPL", Timeframe.MINUTE_1] = [Bar(now_us - 5, *[Decimal(9)] * 4, Decimal(7))]
    world.hand.bars["AAPL", Timeframe.DAY_1] = [
        Bar(now_us - n, *[Decimal(n)] * 4, Decimal(7)) for n in (30, 20)
    ]
    world.show("10.00", "10.10", "MSFT")
    told = await read(world, "/v2/stocks/snapshots", symbols="AAPL,MSFT,NONE")
    assert set(told) == {"AAPL", "MSFT"}
    assert set(told["MSFT"]) == {"latestTrade", "latestQuote"}
    assert (told["AAPL"]["minuteBar"]["c"], told["AAPL"]["dailyBar"]["c"]) == (9, 20)
    assert told["AAPL"]["prevDailyBar"]["c"] == 30
    alone = await read(world, "/v2/stocks/MSFT/snapshot")
    assert alone == {"symbol": "MSFT", **told["MSFT"]}
    assert (await read(world, "/v2/stocks/AAPL/bars/latest"))["bar"]["c"] == 9
    assert list((await read(world, "/v2/stocks/bars/latest", symbols="AAPL,MSFT"))["bars"]) == ["AAPL"]


async def pages(world: SimWorld, path: str, **query: str) -> list[Any]:
    """The bars of every page."""
    found = []
    while True:
        told = await read(world, path, **query)
        found.append(told["bars"])
        if told["next_page_token"] is None:
            return found
        query["page_token"] = told["next_page_token"]


async def test_bars_are_paged_by_symbol_and_then_by_time_without_gap_or_double(world: SimWorld) -> None:
    world.hand.bars["AAPL", Timeframe.MINUTE_1] = [bar(n) for n in range(5)]
    world.hand.bars["MSFT", Timeframe.MINUTE_1] = [bar(n, 50) for n in (1, 3)]
    asked = {"timeframe": "1Min", "start": instant(START_US), "end": instant(START_US + 4 * MINUTE_US)}
    for limit in ("1", "2", "3", "5", "7", "1000"):
        for sort in ("asc", "desc"):
            told = await pages(world, "/v2/stocks/bars", symbols="MSFT,AAPL", limit=limit, sort=sort, **asked)
            assert all(sum(map(len, page.values())) <= int(limit) for page in told)
            rows = [(symbol, one["t"]) for page in told for symbol, bars in page.items() for one in bars]
            expected = [("AAPL", instant(START_US + n * MINUTE_US)) for n in range(5)]
            later = [("MSFT", instant(START_US + n * MINUTE_US)) for n in (1, 3)]
            if sort == "desc":
                expected, later = expected[::-1], later[::-1]
            assert rows == expected + later, (limit, sort)
    told = await read(world, "/v2/stocks/AAPL/bars", **asked)
    assert told["bars"][0] == {
        "t": instant(START_US), "o": 100, "h": 101, "l": 100, "c": 101, "v": 1500, "n": 12, "vw": 100.5,
    }  # fmt: skip
    assert (await read(world, "/v2/stocks/NONE/bars", **asked))["bars"] == []


async def test_years_without_trading_are_passed_over_on_one_page(world: SimWorld) -> None:
    far = 40 * 366 * 1440
    world.hand.bars["AAPL", Timeframe.MINUTE_1] = [bar(-far), bar(0)]
    asked = 0

    async def counted(*what: Any) -> Any:
        nonlocal asked
        asked += 1
        return await HandMarket.fetch_bars(world.hand, *what)

    world.hand.fetch_bars = counted  # type: ignore[method-assign]
    told = await pages(
        world, "/v2/stocks/AAPL/bars", start=instant(START_US - far * MINUTE_US), limit="5", timeframe="1T"
    )
    assert [one["t"] for page in told for one in page] == [
        instant(START_US - far * MINUTE_US),
        instant(START_US),
    ]
    assert (len(told), asked < 60) == (1, True)
    assert (await read(world, "/v2/stocks/AAPL/bars", start="1901-01-01"))["next_page_token"] is None


WRONG = [
    ("/v2/stocks/quotes/latest", {}, "symbols is required"),
    ("/v2/stocks/quotes/latest", {"symbols": "A PPL"}, "invalid symbol"),
    ("/v2/stocks/quotes/latest", {"symbols": CALL}, "invalid symbol"),
    ("/v2/stocks/quotes/latest", {"symbols": "AAPL", "feed": "nyse"}, "invalid feed"),
    ("/v2/stocks/quotes/latest", {"symbols": "AAPL", "currency": "EUR"}, "invalid currency"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "timeframe": "7Sec"}, "invalid timeframe"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "timeframe": "7Min"}, "invalid timeframe"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "adjustment": "none"}, "invalid adjustment"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "start": "yesterday"}, "invalid start"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "start": "2026-11-02", "end": "2026-11-01"}, "end should not be before start"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "limit": "10001"}, "invalid limit: must be 1 to 10000"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "sort": "up"}, "invalid sort"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "page_token": "!"}, "invalid page_token"),
    ("/v2/stocks/bars", {"symbols": "AAPL", "page_token": "QUFQTHwxZTk="}, "invalid page_token"),
    ("/v1beta1/options/snapshots", {"symbols": "AAPL"}, "invalid symbol"),
    ("/v1beta1/options/snapshots", {"symbols": CALL, "feed": "iex"}, "invalid feed"),
    ("/v1beta1/options/snapshots/AAPL", {"type": "both"}, "invalid type"),
    ("/v1/corporate-actions", {"types": "party"}, "invalid types"),
    ("/v1/corporate-actions", {"start": "2020-01-01", "end": "2026-01-01"}, "at most 370 days at a time"),
]  # fmt: skip


async def test_a_query_that_cannot_be_understood_is_a_400_in_words(world: SimWorld) -> None:
    for path, query, message in WRONG:
        answer = await world.client.get(path, params=query)
        told = (answer.status_code, answer.json())
        assert told == (400, {"code": 40010001, "message": message}), (path, query)
    answer = await world.client.get("/v2/stocks/NONE/quotes/latest")
    assert (answer.status_code, answer.json()["code"]) == (404, 40410000)
    many = ",".join(f"{a}{b}{c}" for a in "ABCDEFGH" for b in "ABCDEFGH" for c in "ABCDEFGH")
    answer = await world.client.get("/v2/stocks/quotes/latest", params={"symbols": many})
    assert answer.json()["message"] == "too many symbols: at most 500"


async def test_without_good_keys_the_data_host_forbids(world: SimWorld) -> None:
    for keys in ({}, {**KEYS, "APCA-API-SECRET-KEY": "wrong"}):
        world.client.headers = keys  # type: ignore[assignment]
        answer = await world.client.get("/v2/stocks/quotes/latest", params={"symbols": "AAPL"})
        assert (answer.status_code, answer.json()) == (403, {"message": "forbidden."})


async def test_the_data_host_counts_for_itself_and_says_so(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path, options=SimOptions(rate_limit_per_minute=2)) as world:
        path = "/v2/stocks/quotes/latest?symbols=AAPL"
        answers = [await world.client.get(path) for _ in range(5)]
        limited = next(one for one in answers if one.status_code == 429)
        assert limited.json()["code"] == 42910000
        assert limited.headers["x-ratelimit-remaining"] == "0"
        assert answers[0].headers["x-ratelimit-limit"] == "2"
        assert (await world.client.get("/v2/account")).status_code == 200


async def test_faults_of_requests_are_played_on_market_data(world: SimWorld) -> None:
    path = "/v2/stocks/quotes/latest?symbols=AAPL"
    await world.fault("rate_limited", on="data")
    await world.fault("refuse_before", on="data", params={"status": 500})
    await world.fault("garbage", on="data")
    assert (await world.client.get("/v2/account")).status_code == 200
    assert [(await world.client.get(path)).status_code for _ in range(4)] == [429, 500, 200, 200]
    await world.fault("slow", on="data", params={"before_ms": 1})
    assert (await world.client.get(path)).status_code == 200
    assert [one["fault_kind"] for one in await world.ledger("fault")] == [
        "rate_limited", "refuse_before", "garbage", "slow",
    ]  # fmt: skip
