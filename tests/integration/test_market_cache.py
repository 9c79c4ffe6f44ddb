"""What is cached, here and at the client: one call upstream for many callers, and 304 while nothing has changed."""

import asyncio
from decimal import Decimal

import pytest

from paiid.core.clock import SystemClock
from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import AlwaysOpen
from paiid.market.service import MarketService
from tests.conftest import MakeApp
from tests.heard_feed import HeardFeed
from tests.market_world import FakeFeed, utc_us
from tests.world import App, Client

AT_REST = (
    "/api/market/quotes?symbols=AAPL",
    "/api/market/bars/AAPL?start=2026-01-05&end=2026-01-07",
    "/api/market/search?q=aapl",
    "/api/market/indices",
    "/api/market/calendar?start=2026-11-25&end=2026-11-30",
)


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """Nothing here depends on the kind of database."""
    return sqlite_url


def bar(text: str) -> Bar:
    return Bar(utc_us(f"{text} 05:00"), *[Decimal(10)] * 4, volume=Decimal(5))


def by_itself(app: App, feed: FakeFeed) -> None:
    """The app's market data without an upstream that asks the feed too."""
    app.state.market = MarketService(feed, SystemClock(), AlwaysOpen())


async def standing_still(make_app: MakeApp) -> tuple[Client, FakeFeed]:
    """Quotes from memory that do not move, and two days of bars."""
    feed = FakeFeed("AAPL", "SPY")
    for symbol in ("AAPL", "SPY"):
        feed.set(symbol, "10", "10.02", as_of_us=SystemClock().now_us() + 60_000_000)
    feed.set_bars("AAPL", Timeframe.DAY_1, bar("2026-01-05"), bar("2026-01-06"))
    return await (await make_app(feed=feed)).owner(), feed


async def test_while_nothing_has_changed_a_client_that_has_it_gets_304(make_app: MakeApp) -> None:
    caller, _ = await standing_still(make_app)
    for path in AT_REST:
        await assert_kept(caller, path)


async def assert_kept(caller: Client, path: str) -> None:
    await caller.get(path)
    first = await caller.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await caller.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b""), known
        assert (again.headers["etag"], again.headers["cache-control"]) == (tag, "private, no-cache")
        assert again.headers["x-request-id"]
    for other in ('"other"', tag.strip('"'), "", tag + "x", "W/", '"*"', "\u00ff", "," * 500):
        again = await caller._http.get(
            path,
            headers=[
                (b"authorization", f"Bearer {caller.token}".encode()),
                (b"if-none-match", other.encode("latin-1")),
            ],
        )
        assert (again.status_code, again.content) == (200, first.content), other


async def test_another_quote_is_another_tag(make_app: MakeApp) -> None:
    caller, feed = await standing_still(make_app)
    first = await caller.get(AT_REST[0])
    feed.set("AAPL", "10.01", "10.02", as_of_us=SystemClock().now_us())
    again = await caller.get(AT_REST[0], headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.json()[0]["bid"]) == (200, 10.01)


async def test_who_may_not_look_is_not_told_that_nothing_has_changed(make_app: MakeApp) -> None:
    caller, _ = await standing_still(make_app)
    for path in AT_REST:
        tag = (await caller.get(path)).headers["etag"]
        answer = await Client(caller._http, None).get(path, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.headers["cache-control"]) == (401, "no-store"), path


async def test_a_refusal_and_the_clock_are_not_kept(make_app: MakeApp) -> None:
    caller, _ = await standing_still(make_app)
    for path in ("/api/market/clock", "/api/market/quotes?symbols=ZZZZ", "/api/market/bars/ZZZZ"):
        answer = await caller.get(path, headers={"If-None-Match": "*"})
        assert answer.status_code != 304
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers


async def test_the_same_question_of_many_at_once_is_asked_upstream_once(make_app: MakeApp) -> None:
    feed = HeardFeed("AAPL")
    feed.poll_s = 60.0
    feed.set_bars("AAPL", Timeframe.DAY_1, bar("2026-01-05"))
    app = await make_app(feed=feed)
    caller = await app.owner()
    by_itself(app, feed)
    feed.calls.clear()
    feed.gate.clear()
    paths = (
        "/api/market/quotes?symbols=AAPL",
        "/api/market/bars/AAPL?start=2026-01-05",
        "/api/market/search?q=aapl",
    )
    asked = [asyncio.create_task(caller.get(path)) for path in paths for _ in range(10)]
    async with asyncio.timeout(10):
        while not (feed.calls and len(feed.asked) == 2):
            await asyncio.sleep(0.01)
    feed.gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert feed.calls == [["AAPL"]]
    assert sorted(feed.asked) == ["bars AAPL 1Day", "search aapl"]
    for path in paths:
        told = (await caller.get(path)).json()
        assert (told if isinstance(told, dict) else told[0])["cached"] is True, path
    assert (len(feed.calls), len(feed.asked)) == (1, 2)


async def test_S5_while_the_source_is_away_the_last_it_said_is_told_as_stale_with_its_age(
    make_app: MakeApp,
) -> None:
    feed = HeardFeed("AAPL")
    app = await make_app(feed=feed)
    caller = await app.owner()
    by_itself(app, feed)
    feed.set("AAPL", "10", "10.02", as_of_us=SystemClock().now_us())
    [first] = (await caller.get("/api/market/quotes?symbols=AAPL")).json()
    assert (first["stale"], "cached" in first) == (False, False)
    feed.down = "the vendor does not answer"
    await asyncio.sleep(2 * feed.poll_s)
    [told] = (await caller.get("/api/market/quotes?symbols=AAPL")).json()
    assert (told["bid"], told["stale"], told["cached"]) == (10, True, True)
    assert told["age_s"] >= 0.1
    assert told["as_of"] == first["as_of"]
    answer = await caller.get("/api/market/quotes?symbols=AAPL,MSFT")
    assert answer.status_code == 503
