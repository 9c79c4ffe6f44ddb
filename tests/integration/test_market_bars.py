"""GET /api/market/bars/…: which bars a caller gets, and what a bad question is told."""

from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.bars import Bar, Timeframe
from tests.conftest import MakeApp
from tests.heard_feed import HeardFeed
from tests.market_world import FakeFeed, utc_us
from tests.world import App, Client

OPTION = "AAPL261218C00265000"


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """Nothing here depends on the kind of database."""
    return sqlite_url


@pytest.fixture
async def caller(app: App) -> Client:
    """The owner, signed in, before the simulated market."""
    return await app.owner()


def day(text: str, close: str = "10.50", **more: Any) -> Bar:
    """A day in January 2026, when midnight Eastern is 05:00 UTC."""
    return Bar(
        utc_us(f"{text} 05:00"),
        open=Decimal("10"),
        high=Decimal("11.00"),
        low=Decimal("9.5"),
        close=Decimal(close),
        volume=Decimal("1200"),
        **more,
    )


async def at_hand(make_app: MakeApp) -> tuple[Client, HeardFeed]:
    """A feed with five days of AAPL, and its owner."""
    feed = HeardFeed("AAPL", "MSFT")
    days = [day(f"2026-01-{n:02}", close=f"10.{n}0") for n in (5, 6, 7, 8)]
    feed.set_bars("AAPL", Timeframe.DAY_1, *days, day("2026-01-09", vwap=Decimal("10.25"), trades=7))
    feed.list_contracts(OPTION)
    app = await make_app(feed=feed)
    return await app.owner(), feed


async def test_a_bar_has_its_prices_with_their_digits_and_no_more(make_app: MakeApp) -> None:
    caller, _ = await at_hand(make_app)
    body = (await caller.get("/api/market/bars/aapl?start=2026-01-08&end=2026-01-10")).json()
    assert body.pop("as_of").endswith("Z")
    assert body == {
        "symbol": "AAPL",
        "timeframe": "1Day",
        "bars": [
            {
                "t": "2026-01-08T05:00:00.000000Z",
                "open": 10,
                "high": 11,
                "low": 9.5,
                "close": 10.8,
                "volume": 1200,
                "vwap": None,
                "trades": None,
            },
            {
                "t": "2026-01-09T05:00:00.000000Z",
                "open": 10,
                "high": 11,
                "low": 9.5,
                "close": 10.5,
                "volume": 1200,
                "vwap": 10.25,
                "trades": 7,
            },
        ],
        "source": "hand",
    }


WINDOWS = (
    ("start=2026-01-06&end=2026-01-09", [6, 7, 8]),
    ("start=2026-01-06T05:00:00Z&end=2026-01-09T05:00:00Z", [6, 7, 8]),
    ("start=2026-01-06T05:00:00.000001Z&end=2026-01-09T05:00:00.000001Z", [7, 8, 9]),
    ("start=2026-01-06T00:00:00-05:00&end=2026-01-09T06:00:00%2B01:00", [6, 7, 8]),
    ("start=2026-01-06t05:00:00z&end=2026-01-09", [6, 7, 8]),
    ("start=2026-01-01&limit=2", [8, 9]),
    ("start=2026-01-01&end=2026-01-08&limit=2", [6, 7]),
    ("start=2026-01-01&end=2200-01-01", [5, 6, 7, 8, 9]),
    ("end=2026-01-08", [5, 6, 7]),
    ("start=2026-01-10&end=2026-01-11", []),
    ("start=2199-01-01", []),
)


async def test_the_newest_bars_that_begin_in_the_window_come_oldest_first(make_app: MakeApp) -> None:
    caller, _ = await at_hand(make_app)
    for window, days in WINDOWS:
        answer = await caller.get(f"/api/market/bars/AAPL?{window}")
        assert answer.status_code == 200, answer.text
        assert [int(bar["t"][8:10]) for bar in answer.json()["bars"]] == days, window


async def test_a_client_pages_back_with_the_oldest_bar_it_has(caller: Client) -> None:
    whole = (await caller.get("/api/market/bars/AAPL?timeframe=1Hour&limit=30&end=2026-11-25")).json()["bars"]
    paged: list[dict[str, Any]] = []
    end = "2026-11-25"
    for _ in range(3):
        path = f"/api/market/bars/AAPL?timeframe=1Hour&limit=10&end={end}"
        page = (await caller.get(path)).json()["bars"]
        paged, end = page + paged, page[0]["t"]
    assert paged == whole


async def test_the_simulated_market_has_bars_of_every_timeframe(caller: Client) -> None:
    for timeframe in Timeframe:
        body = (await caller.get(f"/api/market/bars/SPY?timeframe={timeframe.value}&limit=5")).json()
        assert (body["timeframe"], body["source"]) == (timeframe.value, "simulated")
        assert len(body["bars"]) == 5, timeframe
        for bar in body["bars"]:
            assert 0 < bar["low"] <= min(bar["open"], bar["close"])
            assert bar["high"] >= max(bar["open"], bar["close"])
        starts = [bar["t"] for bar in body["bars"]]
        assert starts == sorted(set(starts))


async def test_without_a_question_it_is_the_last_hundred_days(caller: Client) -> None:
    body = (await caller.get("/api/market/bars/AAPL")).json()
    assert (body["timeframe"], len(body["bars"])) == ("1Day", 100)


async def test_an_unknown_symbol_is_a_404_and_one_without_bars_an_empty_list(make_app: MakeApp) -> None:
    caller, _ = await at_hand(make_app)
    answer = await caller.get("/api/market/bars/ZZZZ")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:paiid:problem:not-found")
    assert (await caller.get("/api/market/bars/MSFT")).json()["bars"] == []


async def test_a_source_that_has_no_bars_of_an_option_says_so(make_app: MakeApp) -> None:
    caller, feed = await at_hand(make_app)
    answer = await caller.get(f"/api/market/bars/{OPTION}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "no_bars"
    assert "options" in answer.json()["detail"]
    assert (await caller.get("/api/market/bars/AAPL261218C00266000")).status_code == 404
    feed.set_bars(OPTION, Timeframe.DAY_1, day("2026-01-09"))
    path = f"/api/market/bars/{OPTION}?start=2026-01-09"
    assert len((await caller.get(path)).json()["bars"]) == 1


BAD = {
    "no symbol": ("1234", "", "symbol"),
    "a symbol too long": ("AAPLAAPL", "", "symbol"),
    "a look-alike": ("%D0%90APL", "", "symbol"),
    "far too long": ("A" * 25, "", "symbol"),
    "an option on a day that is none": ("AAPL261332C00265000", "", "symbol"),
    "no timeframe": ("AAPL", "timeframe=1min", "timeframe"),
    "an empty timeframe": ("AAPL", "timeframe=", "timeframe"),
    "a limit of none": ("AAPL", "limit=0", "limit"),
    "a limit that is text": ("AAPL", "limit=all", "limit"),
    "a limit with a fraction": ("AAPL", "limit=1.5", "limit"),
    "a limit of many digits": ("AAPL", "limit=" + "9" * 400, "limit"),
    "a day that is none": ("AAPL", "start=2026-02-30", "start"),
    "a time without its zone": ("AAPL", "start=2026-01-09T05:00:00", "start"),
    "a plus that became a blank": ("AAPL", "end=2026-01-09T05:00:00+01:00", "end"),
    "an hour that is none": ("AAPL", "end=2026-01-09T25:00:00Z", "end"),
    "a zone that is none": ("AAPL", "end=2026-01-09T05:00:00%2B99:00", "end"),
    "a number": ("AAPL", "end=1767934800", "end"),
    "an empty end": ("AAPL", "end=", "end"),
    "before time": ("AAPL", "start=0001-01-01", "start"),
    "before time, by zone": ("AAPL", "start=0001-01-01T00:00:00%2B23:59", "start"),
    "after time, by zone": ("AAPL", "end=9999-12-31T23:59:59-23:59", "end"),
    "after time": ("AAPL", "end=2200-01-02", "end"),
    "digits of another script": ("AAPL", "start=%D9%A2026-01-01", "start"),
    "a line feed": ("AAPL", "start=2026-01-09%0A", "start"),
    "the wrong way round": ("AAPL", "start=2026-01-09&end=2026-01-08", "end"),
    "nothing between": ("AAPL", "start=2026-01-09&end=2026-01-09", "end"),
}


async def test_a_bad_question_is_a_422_that_names_the_field(caller: Client) -> None:
    for what, (symbol, query, field) in BAD.items():
        answer = await caller.get(f"/api/market/bars/{symbol}?{query}")
        assert answer.status_code == 422, what
        errors = answer.json()["errors"]
        assert {error["field"] for error in errors} == {field}, what
        assert all(error["message"] for error in errors), what


async def test_while_the_feed_is_down_it_is_a_503_with_the_reason(make_app: MakeApp) -> None:
    feed = FakeFeed("AAPL")
    feed.down = "the vendor does not answer"
    app = await make_app(feed=feed)
    answer = await (await app.owner()).get("/api/market/bars/AAPL")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:paiid:problem:market-data-unavailable")
    assert "vendor does not answer" in answer.json()["detail"]
