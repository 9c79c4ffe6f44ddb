"""The simulated Tradier's market stream: what is told of the market, over a WebSocket and over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from paiid.domain.calendar import AlwaysOpen, ExchangeHours
from paiid.sim.engine.books import ListedFeed
from paiid.sim.engine.serve import running
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT
from paiid.sim.tradier.markets.side import MarketOptions
from tests.sim_tradier_world import simulated
from tests.tradier_ear import Ear, hearing
from tests.tradier_markets_world import (
    PATIENCE_S,
    SEED,
    MarketsWorld,
    SetClock,
    client_of,
    eastern,
    in_hand,
    markets,
    until,
)

CALL = "AAPL291221C00100000"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MarketsWorld]:
    async with in_hand(tmp_path) as one:
        yield one


async def test_at_first_come_the_quote_and_the_summary_and_then_a_trade_with_each_new_price(
    world: MarketsWorld,
) -> None:
    async with hearing(world) as ear:
        first = [await ear.hear(), await ear.hear()]
        assert first == [
            {
                "type": "quote", "symbol": "AAPL", "bid": 99, "bidsz": 4, "bidexch": "Q", "biddate": _ms(world),
                "ask": 101, "asksz": 4, "askexch": "P", "askdate": _ms(world),
            },
            {"type": "summary", "symbol": "AAPL", "prevClose": "99.0"},
        ]  # fmt: skip
        await world.shown(150)
        told = [await ear.hear() for _ in range(4)]
    seq = told[1]["seq"]
    assert told == [
        {
            "type": "trade", "symbol": "AAPL", "exch": "Q", "price": "150.0", "size": "100", "cvol": "100",
            "date": _ms(world), "last": "150.0",
        },
        {
            "type": "timesale", "symbol": "AAPL", "exch": "Q", "bid": "150.0", "ask": "150.1", "last": "150.0",
            "size": "100", "date": _ms(world), "seq": seq, "flag": "", "cancel": False, "correction": False,
            "session": "normal",
        },
        {"type": "summary", "symbol": "AAPL", "open": "150.0", "high": "150.0", "low": "150.0", "prevClose": "99.0"},
        {
            "type": "quote", "symbol": "AAPL", "bid": 150, "bidsz": 4, "bidexch": "Q", "biddate": _ms(world),
            "ask": 150.1, "asksz": 4, "askexch": "P", "askdate": _ms(world),
        },
    ]  # fmt: skip
    assert isinstance(seq, int)


def _ms(world: MarketsWorld) -> str:
    """When the newest quote is said to be from."""
    look = world.stream.tape.told("AAPL") or world.side.looks.look("AAPL")
    assert look is not None
    return str(look.at_ms)


async def test_prices_of_quotes_are_written_as_numbers_with_a_point(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote"]) as ear:
        assert '"bid":99.0,"bidsz":4,' in await ear.frame()


async def test_a_filter_lets_only_these_events_through(world: MarketsWorld) -> None:
    for events in (["trade"], ["timesale", "summary"], ["quote"]):
        await until(lambda: world.stream.connections == {})
        async with hearing(world, events=events) as ear:
            await until(lambda: world.stream.tape.told("AAPL"))
            await world.shown(200, 201)
            heard: set[str] = set()
            while not heard >= set(events):
                heard.add((await ear.hear())["type"])
            assert heard == set(events)
        world.show("99.00", "101.00")


async def test_contracts_are_heard_with_their_size_in_contracts(world: MarketsWorld) -> None:
    world.show("1.05", "0.00", CALL, size=40)
    async with hearing(world, CALL, events=["quote", "trade"]) as ear:
        first = await ear.next("quote")
        assert (first["symbol"], first["bidsz"], first["ask"], first["asksz"]) == (CALL, 40, 0, 0)
        world.show("1.10", "1.20", CALL, size=40)
        trade = await ear.next("trade")
        assert (trade["exch"], trade["price"], trade["size"]) == ("Z", "1.1", "1")


@pytest.mark.parametrize(
    ("at", "event", "session"),
    [("08:00", "tradex", "pre"), ("12:00", "trade", "normal"), ("18:00", "tradex", "post")],
)
async def test_outside_the_regular_session_trades_are_told_as_tradex(
    tmp_path: Path, at: str, event: str, session: str
) -> None:
    at_us = eastern("2026-10-09", at)
    async with in_hand(tmp_path, at_us=at_us, hours=ExchangeHours()) as world:
        async with hearing(world, events=["trade", "tradex", "timesale"]) as ear:
            await until(lambda: world.stream.tape.told("AAPL"))
            await world.shown(150)
            assert [(await ear.hear())["type"] for _ in range(1)] == [event]
            assert (await ear.next("timesale"))["session"] == session


async def test_the_last_tick_of_a_quiet_symbol_is_told_again(world: MarketsWorld) -> None:
    async with hearing(world, events=["quote", "trade"]) as ear:
        first = await ear.next("quote")
        world.clock.ahead_s += 20
        assert await ear.next("quote") == first
        await world.shown(150)
        told = [await ear.hear(), await ear.hear()]
        world.clock.ahead_s += 20
        assert [await ear.hear(), await ear.hear()] == told


async def test_behind_a_roll_the_summary_is_another_one(tmp_path: Path) -> None:
    hours, at_us = ExchangeHours(), eastern("2026-10-09", "15:59")
    async with (
        in_hand(tmp_path, at_us=at_us, hours=hours) as world,
        hearing(world, events=["summary", "quote"]) as ear,
    ):
        assert (await ear.next("summary"))["prevClose"] == "99.0"
        await world.shown(150)
        assert (await ear.next("summary"))["high"] == "150.0"
        world.clock.stands_at_us = eastern("2026-10-12", "09:31")
        told = await ear.next("summary")
        assert told == {"type": "summary", "symbol": "AAPL", "prevClose": "150.0"}


async def test_a_client_that_reads_nothing_is_cut_off_and_holds_nobody_up(tmp_path: Path) -> None:
    async with in_hand(tmp_path, options=MarketOptions(poll_s=0.002, max_queue=50)) as world:
        world.fault("quote_burst", next=100, params={"quotes": 20_000})
        async with hearing(world, events=["quote"]) as ear:
            world.show("150.00", "150.10")
            assert await ear.is_closed()
        await until(lambda: world.stream.connections == {})


async def test_the_market_at_its_own_pace_is_heard(tmp_path: Path) -> None:
    """Over the simulated market: shares and contracts tick, whatever the time of day."""
    clock, hours = SetClock(), AlwaysOpen()
    async with markets(ListedFeed(clock, hours, SEED), tmp_path, clock, hours) as world:
        [first, *_] = await world.market.fetch_expirations("SPY")
        spot = world.market.newest("SPY")
        assert spot is not None
        contracts = await world.market.fetch_contracts("SPY", first)
        near = min(contracts, key=lambda one: abs(one.strike - spot.mid)).symbol
        async with (
            running(world.app) as url,
            client_of(httpx2.AsyncHTTPTransport(verify=False), url) as client,
        ):
            world.client, before = client, world.client
            await before.aclose()
            async with hearing(world, "SPY", near) as ear:
                heard: dict[tuple[str, str], list[dict[str, Any]]] = {}
                wanted = {("quote", "SPY"), ("quote", near), ("summary", "SPY")}
                while not heard.keys() >= wanted or any(
                    len(heard["quote", one]) < 2 for one in ("SPY", near)
                ):
                    told = await ear.hear()
                    heard.setdefault((told["type"], told["symbol"]), []).append(told)
    for symbol in ("SPY", near):
        quotes = heard["quote", symbol]
        assert int(quotes[1]["biddate"]) > int(quotes[0]["biddate"])
        assert all(one["bid"] < one["ask"] for one in quotes)
    assert {"open", "high", "low", "prevClose"} <= heard["summary", "SPY"][0].keys()


# -- over HTTP --------------------------------------------------------------------------------------


async def _lines(answer: httpx2.Response) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        yield line


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_over_http_lines_of_json_come_without_a_token(world: MarketsWorld, method: str) -> None:
    world.show("500.00", "500.10", "BRK.B")
    asked = {
        "sessionid": await world.session(),
        "symbols": "AAPL,BRK/B,ZZZZ",
        "filter": "quote",
        "linebreak": "true",
    }
    where = {"params": asked} if method == "GET" else {"data": asked}
    async with httpx2.AsyncClient(base_url=world.client.base_url, timeout=PATIENCE_S) as client:
        async with client.stream(method, "/v1/markets/events", **where) as answer:  # type: ignore[arg-type]
            assert answer.status_code == 200
            lines = _lines(answer)
            told = [json.loads(await anext(lines)) for _ in range(3)]
            assert told[0] == {"error": "ZZZZ is not a valid symbol"}
            assert [one["symbol"] for one in told[1:]] == ["AAPL", "BRK/B"]
            assert world.stream.connections == {DEFAULT_ACCOUNT: 1}
            await world.shown(150)
            assert json.loads(await anext(lines))["bid"] == 150
    await until(lambda: world.stream.connections == {})
    assert await world.session()


async def test_over_http_objects_follow_each_other_without_anything_between(world: MarketsWorld) -> None:
    asked = {"sessionid": await world.session(), "symbols": "AAPL", "filter": "quote,summary"}
    async with world.client.stream("GET", "/v1/markets/events", params=asked) as answer:
        text, parts = "", answer.aiter_text()
        while text.count("}") < 2:
            text += await anext(parts)
    assert text.startswith('{"type":"quote"')
    assert '}{"type":"summary"' in text
    assert "\n" not in text


async def test_over_http_a_quiet_stream_ends_and_lines_keep_it_company_until_then(tmp_path: Path) -> None:
    options = MarketOptions(poll_s=0.002, idle_s=2.0, blank_s=0.02, resend_s=3600)
    async with in_hand(tmp_path, options=options) as world:
        asked = {
            "sessionid": await world.session(),
            "symbols": "AAPL",
            "filter": "quote",
            "linebreak": "true",
        }
        async with world.client.stream("GET", "/v1/markets/events", params=asked) as answer:
            lines = [line async for line in _lines(answer)]
        assert json.loads(lines[0])["symbol"] == "AAPL"
        assert len(lines) > 1
        assert set(lines[1:]) == {""}


async def test_over_http_what_is_wrong_is_told(world: MarketsWorld) -> None:
    session = await world.session()
    for wrong, text in (
        ({"sessionid": session}, "Invalid parameter, symbols is required."),
        (
            {"sessionid": session, "symbols": "AAPL", "filter": "gossip"},
            "Invalid parameter, gossip is not a valid filter.",
        ),
        (
            {"sessionid": session, "symbols": "AAPL", "linebreak": "7"},
            "Invalid parameter, linebreak is not valid.",
        ),
    ):
        answer = await world.client.get("/v1/markets/events", params=wrong)
        assert (answer.status_code, answer.text) == (400, text)
    answer = await world.client.get(
        "/v1/markets/events", params={"sessionid": "test-none", "symbols": "AAPL"}
    )
    assert answer.json() == {"error": "invalid session"}


# -- within the whole simulator ---------------------------------------------------------------------


async def test_the_whole_simulator_streams_both_ways_with_faults_from_its_control_endpoint(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with simulated(sqlite_url, tmp_path) as sim:
        fault = {"kind": "too_many_sessions"}
        assert (await sim.client.post("/sim/faults", json=fault)).status_code == 201
        refused = await sim.client.post("/v1/markets/events/session")
        assert (refused.status_code, refused.json()["errors"]["error"]) == (
            400,
            "too many sessions requested",
        )
        told = (await sim.client.post("/v1/markets/events/session")).json()["stream"]
        asked = {"sessionid": told["sessionid"], "symbols": "AAPL", "filter": "quote", "linebreak": "true"}
        async with sim.client.stream("POST", told["url"], data=asked) as answer:
            # It arrives while the answer goes on: nothing holds it back.
            assert json.loads(await anext(answer.aiter_lines()))["symbol"] == "AAPL"
        await until(lambda: sim.sim.markets.connections == {})
        told = (await sim.client.post("/v1/markets/events/session")).json()["stream"]
        async with connect(told["url"].replace("http", "ws"), proxy=None) as socket:
            ear = Ear(socket)
            await ear.say({"symbols": ["AAPL"], "sessionid": told["sessionid"], "filter": ["quote"]})
            assert (await ear.next("quote"))["symbol"] == "AAPL"
            assert (
                await sim.client.post("/sim/faults", json={"kind": "disconnect", "on": "ticks"})
            ).status_code == 201
            sim.show("150.00", "150.10")
            assert await ear.is_closed()
        answer = await sim.client.get("/v1/markets/quotes", params={"symbols": "AAPL"})
        assert answer.json()["quotes"]["quote"]["bid"] == 150
