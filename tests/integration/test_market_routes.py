"""GET /api/market/…: what a caller gets, in which order, and what a bad question is told."""

import asyncio
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.app import create_app
from paiid.core.clock import SystemClock
from paiid.core.settings import Settings
from paiid.feeds.replay import ReplayFeed
from paiid.feeds.simulated.listing import LISTINGS
from paiid.market.asked import MAX_SYMBOLS
from paiid.market.routes import MAX_CALENDAR_DAYS
from paiid.market.service import MarketService
from tests.conftest import MakeApp
from tests.fake_clock import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, FakeFeed, utc_us
from tests.world import App, Client, make_settings

ROUTES = (
    "/api/market/quotes?symbols=AAPL",
    "/api/market/bars/AAPL",
    "/api/market/search?q=apple",
    "/api/market/indices",
    "/api/market/clock",
    "/api/market/calendar",
)
STATIC = "static-token-static-token-static-token"


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """Nothing here depends on the kind of database."""
    return sqlite_url


@pytest.fixture
async def caller(app: App) -> Client:
    """The owner, signed in."""
    return await app.owner()


async def test_without_a_header_it_is_401_and_with_a_bad_token_too(app: App) -> None:
    for path in ROUTES:
        for client in (app.anonymous, Client(app.http, "nonsense")):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_viewer_and_a_token_with_the_scope_read_may_look(make_app: MakeApp) -> None:
    app = await make_app({"api_token": STATIC})
    viewer = await app.user("viewer")
    owner = await app.owner()
    callers = [(viewer, 200), (Client(app.http, STATIC), 200)]
    for scope, status in (("read", 200), ("trade", 403)):
        made = await owner.post("/api/auth/tokens", json={"name": scope, "scopes": [scope]})
        assert made.status_code in (200, 201), made.text
        callers.append((Client(app.http, made.json()["token"]), status))
    for path in ROUTES:
        for caller, status in callers:
            assert (await caller.get(path)).status_code == status, path


async def test_A7_a_token_in_the_query_is_refused(app: App) -> None:
    answer = await app.anonymous.get("/api/market/quotes?symbols=AAPL&access_token=abc")
    assert answer.status_code == 400


async def test_quotes_come_in_the_order_asked_with_doubles_folded(caller: Client) -> None:
    answer = await caller.get("/api/market/quotes?symbols=spy,BRK.B, AAPL,SPY,aapl")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert [item["symbol"] for item in answer.json()] == ["SPY", "BRK.B", "AAPL"]


async def test_a_quote_says_its_source_its_age_and_its_change(caller: Client) -> None:
    [item] = (await caller.get("/api/market/quotes?symbols=AAPL")).json()
    assert set(item) == {
        "symbol", "bid", "ask", "bid_size", "ask_size", "last", "prev_close", "change", "change_pct",
        "source", "as_of", "stale", "delayed",
    }  # fmt: skip
    assert (item["source"], item["stale"], item["delayed"]) == ("simulated", False, False)
    assert item["as_of"].endswith("Z")
    assert item["bid"] < item["ask"]
    assert item["change"] == pytest.approx(item["last"] - item["prev_close"])
    assert item["change_pct"] == pytest.approx(item["change"] / item["prev_close"] * 100, abs=1e-4)


async def test_every_listed_symbol_can_be_had(caller: Client) -> None:
    answer = await caller.get("/api/market/quotes", params={"symbols": ",".join(LISTINGS)})
    assert [item["symbol"] for item in answer.json()] == list(LISTINGS)


async def test_options_are_quoted_beside_shares_in_either_form_of_their_symbols(
    app: App, caller: Client
) -> None:
    market = app.state.market
    days = await market.expirations("BRK.B")
    contracts = await market.contracts("BRK.B", days[1])
    contract = contracts[len(contracts) // 2]
    answer = await caller.get(
        "/api/market/quotes", params={"symbols": f"SPY,{contract.padded},{contract.symbol.lower()}"}
    )
    assert [item["symbol"] for item in answer.json()] == ["SPY", contract.symbol]
    share, option = answer.json()
    assert set(option) == set(share)
    assert 0 <= option["bid"] < option["ask"]
    assert option["source"] == "simulated"


async def test_an_option_that_has_expired_or_is_not_listed_is_named_as_any_unknown_symbol(
    caller: Client,
) -> None:
    answer = await caller.get("/api/market/quotes?symbols=AAPL,AAPL200117C00265000,AAPL1261218C00265000")
    assert answer.status_code == 422
    assert [(e["field"], e["code"], e["message"]) for e in answer.json()["errors"]] == [
        ("symbols", "unknown_symbol", "there is no AAPL200117C00265000"),
        ("symbols", "unknown_symbol", "there is no AAPL1261218C00265000"),
    ]


async def test_an_unknown_symbol_is_named_and_nothing_is_made_up(caller: Client) -> None:
    answer = await caller.get("/api/market/quotes?symbols=AAPL,ZZZZ,SPY,QQQQQ")
    assert answer.status_code == 422
    body = answer.json()
    assert "ZZZZ, QQQQQ" in body["detail"]
    assert [(e["field"], e["code"]) for e in body["errors"]] == [("symbols", "unknown_symbol")] * 2


BAD_LISTS = {
    "missing": "",
    "empty": "symbols=",
    "a blank": "symbols=%20",
    "only a comma": "symbols=,",
    "a trailing comma": "symbols=AAPL,",
    "a Cyrillic A": "symbols=%D0%90APL",
    "a full-width A": "symbols=%EF%BC%A1APL",
    "a zero-width space": "symbols=AAPL%E2%80%8B",
    "a dotless i": "symbols=D%C4%B1S",
    "a line feed": "symbols=AAPL%0A",
    "a tab": "symbols=%09AAPL",
    "an escape": "symbols=%1B[31mAAPL",
    "bytes that are not UTF-8": "symbols=%FF%FE",
    "digits": "symbols=1234",
    "an arrow": "symbols=%3Cscript%3E",
    "too long a symbol": "symbols=AAPLAAPL",
    "an option on a day that is none": "symbols=AAPL261332C00265000",
    "an option with a strike of zero": "symbols=AAPL261218C00000000",
    "an option with a short strike": "symbols=AAPL261218C0265000",
    "an option with a Cyrillic C": "symbols=AAPL261218%D0%A100265000",
    "an option with a blank too few": "symbols=AAPL%20261218C00265000",
    "too long a list": "symbols=" + ",".join(["AAPL"] * 300),
    "a doubled field": "symbols=AAPL&symbols=SPY",
}


async def test_a_bad_list_is_a_422_that_names_the_field(caller: Client) -> None:
    for what, query in BAD_LISTS.items():
        answer = await caller.get(f"/api/market/quotes?{query}")
        assert answer.status_code == 422, what
        body = answer.json()
        assert body["type"] == "urn:paiid:problem:validation"
        assert {error["field"] for error in body["errors"]} == {"symbols"}, what
        assert all(error["message"] for error in body["errors"]), what
        assert answer.text.isascii(), "what was sent is not told back raw"
        assert "\x1b" not in body["detail"]


async def test_a_NUL_in_the_query_is_refused_before_any_route(caller: Client) -> None:
    answer = await caller.get("/api/market/quotes?symbols=AAPL%00")
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_A9_fifty_symbols_are_taken_and_one_more_is_not(make_app: MakeApp) -> None:
    symbols = [f"{first}{second}" for first in "ABCDEFG" for second in "STUVWXYZ"][: MAX_SYMBOLS + 1]
    app = await make_app(feed=FakeFeed(*symbols))
    caller = await app.owner()
    full = await caller.get("/api/market/quotes", params={"symbols": ",".join(symbols[:-1])})
    assert (full.status_code, len(full.json())) == (200, MAX_SYMBOLS)
    more = await caller.get("/api/market/quotes", params={"symbols": ",".join(symbols)})
    assert more.status_code == 422
    assert more.json()["errors"][0]["code"] == "too_many"


async def test_fifty_of_the_longest_symbols_fit_in_one_list(make_app: MakeApp) -> None:
    symbols = [f"ABCD{first}{second}261218C00265000" for first in "ABCDEFG" for second in "STUVWXYZ"][
        :MAX_SYMBOLS
    ]
    app = await make_app(feed=FakeFeed(*symbols))
    answer = await (await app.owner()).get("/api/market/quotes", params={"symbols": ",".join(symbols)})
    assert [item["symbol"] for item in answer.json()] == symbols


async def test_S5_a_silent_feed_is_told_as_stale_and_an_unreachable_one_as_503(make_app: MakeApp) -> None:
    feed = FakeFeed("AAPL")
    app = await make_app(feed=feed)
    caller = await app.owner()
    feed.set("AAPL", "10", "10.02", as_of_us=app.state.clock.now_us() - 60_000_000)
    [item] = (await caller.get("/api/market/quotes?symbols=AAPL")).json()
    assert item["stale"] is True
    feed.down = "the vendor does not answer"
    [item] = (await caller.get("/api/market/quotes?symbols=AAPL")).json()
    assert item["bid"] == 10, "what is in memory is still told"
    answer = await caller.get("/api/market/quotes?symbols=AAPL,SPY")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:paiid:problem:market-data-unavailable"
    assert "vendor does not answer" in answer.json()["detail"]
    assert answer.headers["retry-after"]


async def test_the_clock_of_a_market_that_never_closes_has_no_open_and_no_close(caller: Client) -> None:
    body = (await caller.get("/api/market/clock")).json()
    assert body["is_open"] is True
    assert body["is_extended"] is True
    assert body["next_open"] is None
    assert body["next_close"] is None
    assert body["next_roll"] > body["time"]
    assert body["source"] == "simulated"


async def test_the_clock_of_the_exchange_tells_when_it_opens(make_app: MakeApp) -> None:
    app = await make_app({"sim_hours": "exchange"})
    caller = await app.owner()
    # Only this service is put on a Saturday: the rest of the app keeps real time, or no token would be valid.
    app.state.market._clock = FakeClock(SATURDAY_US)
    body = (await caller.get("/api/market/clock")).json()
    assert body == {
        "time": "2026-11-28T17:00:00.000000Z",
        "is_open": False,
        "is_extended": False,
        "trading_day": "2026-11-30",
        "next_open": "2026-11-30T14:30:00.000000Z",
        "next_close": "2026-11-30T21:00:00.000000Z",
        "next_roll": "2026-11-30T21:00:00.000000Z",
        "source": "simulated",
    }
    app.state.market._clock = FakeClock(WEDNESDAY_OPEN_US)
    body = (await caller.get("/api/market/clock")).json()
    assert (body["is_open"], body["next_open"]) == (True, "2026-11-27T14:30:00.000000Z")
    assert body["next_close"] == "2026-11-25T21:00:00.000000Z"
    app.state.market._clock = FakeClock(utc_us("2026-11-25 23:00"))
    body = (await caller.get("/api/market/clock")).json()
    assert (body["is_open"], body["is_extended"], body["trading_day"]) == (False, True, "2026-11-27")


async def test_the_calendar_of_the_exchange_leaves_out_holidays_and_tells_early_closes(
    make_app: MakeApp,
) -> None:
    app = await make_app({"sim_hours": "exchange"})
    caller = await app.owner()
    answer = await caller.get("/api/market/calendar?start=2026-11-25&end=2026-11-30")
    assert [(day["date"], day["early_close"], day["close"]) for day in answer.json()] == [
        ("2026-11-25", False, "2026-11-25T21:00:00.000000Z"),
        ("2026-11-27", True, "2026-11-27T18:00:00.000000Z"),
        ("2026-11-30", False, "2026-11-30T21:00:00.000000Z"),
    ]
    beyond = (await caller.get("/api/market/calendar?start=2031-07-04&end=2031-07-04")).json()
    assert [day["certain"] for day in beyond] == [False]


async def test_the_calendar_of_a_market_that_never_closes_has_every_day_end_where_the_next_begins(
    caller: Client,
) -> None:
    days = (await caller.get("/api/market/calendar?start=2026-11-26&end=2026-11-29")).json()
    assert [day["date"] for day in days] == [f"2026-11-{n}" for n in (26, 27, 28, 29)]
    assert [day["close"] for day in days[:-1]] == [day["open"] for day in days[1:]]


async def test_without_dates_the_calendar_begins_today(app: App, caller: Client) -> None:
    days = (await caller.get("/api/market/calendar")).json()
    assert days[0]["date"] == app.state.market.today().isoformat()
    assert len(days) == 31


BAD_DAYS = (
    ("start=2026-02-30", "start"),
    ("start=yesterday", "start"),
    ("start=1764000000", "start"),
    ("start=2026-11-25T00:00:00Z", "start"),
    ("start=0000-01-01", "start"),
    ("start=9999-12-31", "start"),
    ("start=", "start"),
    ("start=2026-01-01%0A", "start"),
    ("start=%D9%A2026-01-01", "start"),
    ("start=2026-11-25&end=2026-11-24", "end"),
    ("start=2026-01-01&end=2027-01-02", "end"),
    ("end=1999-01-01", "end"),
    ("end=3000-01-01", "end"),
)


async def test_a_bad_calendar_question_is_a_422_that_names_the_field(caller: Client) -> None:
    for query, field in BAD_DAYS:
        answer = await caller.get(f"/api/market/calendar?{query}")
        assert answer.status_code == 422, query
        assert {error["field"] for error in answer.json()["errors"]} == {field}, query


async def test_A9_a_year_of_calendar_is_given_and_one_day_more_is_not(caller: Client) -> None:
    assert (
        date.fromisoformat("2027-01-01").toordinal() - date(2026, 1, 1).toordinal() == MAX_CALENDAR_DAYS - 1
    )
    year = await caller.get("/api/market/calendar?start=2026-01-01&end=2027-01-01")
    assert len(year.json()) == MAX_CALENDAR_DAYS
    last = await caller.get("/api/market/calendar?start=2200-01-01")
    assert [day["date"] for day in last.json()] == ["2200-01-01"]


async def test_what_is_not_built_is_absent_from_service_and_description(caller: Client) -> None:
    assert (await caller.get("/api/market/quote")).status_code == 404
    paths = (await caller.get("/api/openapi.json")).json()["paths"]
    assert {one for one in paths if one.startswith("/api/market/")} == {
        "/api/market/quotes",
        "/api/market/bars/{symbol}",
        "/api/market/search",
        "/api/market/indices",
        "/api/market/clock",
        "/api/market/calendar",
    }


async def test_other_methods_are_405(caller: Client) -> None:
    for path in ROUTES:
        assert (await caller.request("POST", path, json={})).status_code == 405, path


async def test_the_seed_of_the_settings_chooses_the_market(make_app: MakeApp) -> None:
    assert Settings().sim_seed == 1
    levels = []
    for seed in (1, 2):
        app = await make_app({"sim_seed": seed})
        [item] = (await (await app.owner()).get("/api/market/quotes?symbols=TSLA")).json()
        levels.append(item["bid"])
    assert levels[0] != levels[1]


async def test_a_recording_says_when_it_really_was_and_what_it_does_not_tell_is_null(
    make_app: MakeApp, tmp_path: Path
) -> None:
    recording = tmp_path / "recorded.csv"
    recording.write_text(
        "time_et,symbol,bid,bid_size,ask,ask_size\n"
        "2013-10-08T09:30:00,SPY,166.95,100,166.97,300\n"
        "2013-10-08T09:40:00,SPY,166.90,100,166.92,300\n"
    )
    feed = ReplayFeed(SystemClock(), recording, 1.0)
    app = await make_app(feed=feed)
    app.state.market = MarketService(feed, SystemClock(), feed.hours)
    caller = await app.owner()
    [item] = (await caller.get("/api/market/quotes?symbols=SPY")).json()
    assert (item["source"], item["bid"], item["recorded_at"]) == (
        "replay",
        166.95,
        "2013-10-08T13:30:00.000000Z",
    )
    assert [item[name] for name in ("last", "prev_close", "change", "change_pct")] == [None] * 4
    assert item["as_of"] > item["recorded_at"]
    clock = (await caller.get("/api/market/clock")).json()
    assert (clock["source"], clock["is_open"]) == ("replay", True)
    assert clock["time"] < clock["next_close"] < clock["next_open"]
    [day] = [
        one
        for one in (await caller.get("/api/market/calendar")).json()
        if one["close"] == clock["next_close"]
    ]
    assert (day["date"], day["source"]) == (clock["trading_day"], "replay")
    [bar] = (await caller.get("/api/market/bars/SPY?timeframe=1Min")).json()["bars"]
    assert (bar["open"], bar["volume"]) == (166.96, 0), "the midpoint; no trades are recorded"
    assert (await caller.get("/api/market/indices")).json() == []
    answer = await caller.get("/api/market/quotes?symbols=AAPL")
    assert answer.status_code == 422


NAMES = st.sampled_from(
    [
        "symbols",
        "timeframe",
        "start",
        "end",
        "limit",
        "q",
        "AAPL",
        "1Day",
        "2026-11-25",
        "2026-11-25T14:30:00Z",
        "100",
        "",
    ]
)
VALUES = (
    NAMES | st.text(max_size=30) | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str)
)
PATHS = ("quotes", "bars/AAPL", "bars/ZZZZ", "search", "indices", "clock", "calendar")


def test_A8_whatever_is_asked_is_answered_or_refused_in_words(
    runner: asyncio.Runner, sqlite_url: str, tmp_path: Path
) -> None:
    feed = FakeFeed("AAPL")
    app = create_app(make_settings(sqlite_url, tmp_path), feed=feed)

    @settings(max_examples=80)
    @given(
        st.sampled_from(PATHS), st.lists(st.tuples(NAMES | st.text(max_size=8), VALUES), max_size=5), VALUES
    )
    def ask(path: str, query: list[tuple[str, str]], symbol: str) -> None:
        if path == "bars/ZZZZ":
            path = "bars/" + quote(symbol, safe="", errors="surrogatepass")
        words = urlencode(query, errors="surrogatepass")
        answer = runner.run(caller.get(f"/api/market/{path}?{words}"))
        assert answer.status_code in (200, 400, 404, 414, 422), answer.text
        if answer.status_code != 200:
            told = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert told["type"].startswith("urn:paiid:problem:")
            assert isinstance(told["detail"], str)

    async def begin() -> tuple[AsyncExitStack, Client]:
        stack = AsyncExitStack()
        await stack.enter_async_context(app.router.lifespan_context(app))
        world = await stack.enter_async_context(App(app, make_settings(sqlite_url, tmp_path)))
        return stack, await world.owner()

    stack, caller = runner.run(begin())
    try:
        ask()
    finally:
        runner.run(stack.aclose())
