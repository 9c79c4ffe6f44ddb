"""What Alpaca's feed asks for over real sockets: quotes, bars, instruments, contracts, corporate actions, and every way to get no answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.domain.bars import Timeframe
from paiid.feeds import Feed, FeedUnavailable
from paiid.feeds.alpaca import AlpacaFeed
from tests.alpaca_data_stage import AlpacaDataStage, alpaca_data_stage, asset_row, bar_row, contract_row
from tests.alpaca_data_wire import (
    ACTIONS,
    ASSETS,
    CONTRACTS,
    OPTION_SNAPSHOTS,
    QUICK,
    SNAPSHOTS,
    STOCK_BARS,
    Number,
    answer_with,
    snapshot,
)
from tests.alpaca_wire import (
    KEY_ID,
    SECRET,
    Answer,
    Asked,
    floods,
    hangs_up,
    resets,
    resets_mid_body,
    silence,
    told,
    trickles,
)
from tests.market_world import utc_us

CONTRACT = "AAPL270115C00010000"


@pytest.fixture
async def stage() -> AsyncIterator[AlpacaDataStage]:
    async with alpaca_data_stage() as one:
        yield one


def assert_is_a_feed(feed: AlpacaFeed) -> Feed:
    """For the type checker's eyes, and ours."""
    return feed


# -- quotes -----------------------------------------------------------------------------------------


async def test_quotes_of_many_symbols_are_asked_for_in_calls_of_a_hundred(stage: AlpacaDataStage) -> None:
    names = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(230)]
    for name in names:
        stage.wire.market[name] = snapshot(1.0, 1.1, 1.05, stage.clock.now_us())
    found = await stage.feed.fetch_quotes([*names, "AAPL", "ZZZZZ", names[0]])
    assert set(found) == {*names, "AAPL"}
    calls = stage.wire.requests("GET", SNAPSHOTS)
    assert [len(one.query["symbols"].split(",")) for one in calls] == [100, 100, 32]
    assert calls[0].query["feed"] == "iex"
    assert calls[0].headers["apca-api-key-id"] == KEY_ID


async def test_a_quote_keeps_its_digits_and_says_when_it_was_confirmed(stage: AlpacaDataStage) -> None:
    at_us = stage.clock.now_us() - 40_000_000
    row = snapshot(0, 0, 0, at_us)
    row["latestQuote"] |= {"bp": Number("655.20"), "ap": Number("655.2300"), "bs": 3, "as": Number("7e1")}
    row["latestTrade"]["p"] = Number("655.210000")
    stage.wire.say("GET", SNAPSHOTS, answer_with(200, {"SPY": row}))
    before_us = stage.clock.now_us()
    quote = (await stage.feed.fetch_quotes(["SPY"]))["SPY"]
    assert (str(quote.bid), str(quote.ask), str(quote.last)) == ("655.20", "655.2300", "655.210000")
    assert (quote.bid_size, quote.ask_size) == (3, 70)
    assert quote.as_of_us == at_us
    assert before_us <= quote.confirmed_us <= stage.clock.now_us()
    assert quote.sequence == at_us


@pytest.mark.parametrize(
    ("now", "closes", "expected"),
    [
        # In the session the daily bar still grows: the close is of the day before.
        ("2026-11-25 15:00", {"2026-11-25": 10.1, "2026-11-24": 9.9}, "9.9"),
        # Before the first trade of the day the newest daily bar is of the day before.
        ("2026-11-25 13:00", {"2026-11-24": 9.9, "2026-11-23": 9.5}, "9.9"),
        # After the close it is today's, which the portfolio's day goes by.
        ("2026-11-25 21:30", {"2026-11-25": 10.1, "2026-11-24": 9.9}, "10.1"),
        # On a holiday and on a weekend it is of the last session.
        ("2026-11-26 15:00", {"2026-11-25": 10.1, "2026-11-24": 9.9}, "10.1"),
        ("2026-11-28 15:00", {"2026-11-27": 11.1, "2026-11-25": 10.1}, "11.1"),
    ],
)
async def test_the_previous_close_is_of_the_last_session_that_is_over(
    stage: AlpacaDataStage, now: str, closes: dict[str, float], expected: str
) -> None:
    stage.clock.advance((utc_us(now) - stage.clock.now_us()) / 1e6)
    stage.wire.market["SPY"] = snapshot(10.0, 10.02, 10.01, stage.clock.now_us() - 60_000_000, closes)
    quote = (await stage.feed.fetch_quotes(["SPY"]))["SPY"]
    assert quote.prev_close == Decimal(expected)


async def test_what_is_missing_or_nonsense_in_a_snapshot_is_not_told_and_never_made_up(
    stage: AlpacaDataStage,
) -> None:
    whole = snapshot(10.0, 10.02, 10.01, stage.clock.now_us())
    stage.wire.market |= {
        "A": whole | {"latestQuote": None},
        "B": whole | {"latestTrade": None, "dailyBar": None, "prevDailyBar": None},
        "C": whole | {"latestQuote": None, "latestTrade": None},
        "D": {},
        "E": None,  # type: ignore[dict-item]
        "F": whole | {"latestQuote": {"bp": "x", "ap": 1, "t": "never"}},
        "G": whole | {"latestQuote": whole["latestQuote"] | {"bp": -1}},
        "H": whole | {"latestQuote": whole["latestQuote"] | {"t": "2099-01-01T00:00:00Z"}},
        "I": [1, 2],  # type: ignore[dict-item]
    }
    found = await stage.feed.fetch_quotes(list("ABCDEFGHI"))
    assert (found["A"].bid, found["A"].ask, found["A"].last) == (0, 0, Decimal("10.01"))
    assert (found["B"].bid, found["B"].last, found["B"].prev_close) == (10, 0, 0)
    for name in "FGH":
        assert (found[name].bid, found[name].last) == (0, Decimal("10.01"))
    assert set(found) == set("ABFGH")


async def test_options_are_quoted_by_their_occ_symbols_and_the_two_kinds_are_asked_apart(
    stage: AlpacaDataStage,
) -> None:
    found = await stage.feed.fetch_quotes([CONTRACT, "AAPL", "AAPL  270115C00010000", "aapl"])
    assert list(found) == [CONTRACT, "AAPL"]
    assert found[CONTRACT].bid == Decimal("0.5")
    assert [one.query["symbols"] for one in stage.wire.requests("GET", OPTION_SNAPSHOTS)] == [CONTRACT]
    assert [one.query["symbols"] for one in stage.wire.requests("GET", SNAPSHOTS)] == ["AAPL"]


async def test_a_symbol_that_alpaca_calls_invalid_costs_only_itself(stage: AlpacaDataStage) -> None:
    real = stage.wire.routes["GET", SNAPSHOTS][0]
    stage.wire.say("GET", SNAPSHOTS, told(400, {"message": "invalid symbol: XX.YY"}), real)
    assert set(await stage.feed.fetch_quotes(["AAPL", "XX.YY"])) == {"AAPL"}
    stage.wire.say("GET", SNAPSHOTS, told(400, {"message": "invalid symbol: XX.YY"}))
    assert await stage.feed.fetch_quotes(["XX.YY"]) == {}
    stage.wire.say("GET", SNAPSHOTS, told(400, {"message": "something else"}))
    with pytest.raises(FeedUnavailable):
        await stage.feed.fetch_quotes(["AAPL", "SPY"])


async def test_too_many_symbols_at_once_are_refused(stage: AlpacaDataStage) -> None:
    names = [f"{a}{b}{c}" for a in "ABCDE" for b in "ABCDEFGHIJKLMNOPQRSTU" for c in "ABCDEFGHIJKLMNOPQRSTU"]
    with pytest.raises(FeedUnavailable):
        await stage.feed.fetch_quotes(names)
    assert stage.wire.requests("GET", SNAPSHOTS) == []


# -- no answer --------------------------------------------------------------------------------------

_HTML = "<html>unauthorized</html>"
WRONG: dict[str, Answer] = {
    "401": told(401, {"message": f"{SECRET} unauthorized."}),
    "401 as a page": told(401, _HTML),
    "403": told(403, {"message": "forbidden."}),
    "429": told(429, {"message": "too many requests."}),
    "500": told(500, _HTML),
    "504": told(504, ""),
    "a redirect": told(302, "", location="http://127.0.0.1:1/"),
    "no json": told(200, _HTML),
    "nothing": told(200, ""),
    "a list": told(200, "7"),
    "deep": told(200, "[" * 100_000),
    "a number without end": told(200, '{"AAPL": ' + "9" * 5_000 + "}"),
    "bad utf-8": told(200, '"\\ud800"'),
    "silence": silence,
    "hangs up": hangs_up,
    "resets": resets,
    "resets in the middle": resets_mid_body(),
    "trickles": trickles,
}
CALLS: dict[str, Callable[[AlpacaFeed], Awaitable[Any]]] = {
    "quotes": lambda feed: feed.fetch_quotes(["AAPL"]),
    "bars": lambda feed: feed.fetch_bars(
        "AAPL", Timeframe.DAY_1, 1_700_000_000_000_000, 1_800_000_000_000_000, 5
    ),
    "instrument": lambda feed: feed.fetch_instrument("AAPL"),
    "search": lambda feed: feed.search("a", 5),
    "expirations": lambda feed: feed.fetch_expirations("AAPL"),
    "chain": lambda feed: feed.fetch_chain("AAPL", date(2026, 12, 1), date(2027, 12, 1)),
    "dividends": lambda feed: feed.fetch_dividends("AAPL", date(2026, 12, 1), date(2027, 12, 1)),
    "actions": lambda feed: feed.fetch_corporate_actions(["AAPL"], date(2026, 2, 3)),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_no_answer_is_unavailable_in_words_that_are_safe_to_show(wrong: str) -> None:
    async with alpaca_data_stage(request_s=0.06) as stage:
        stage.wire.routes.clear()
        stage.wire.default = WRONG[wrong]
        for name, call in CALLS.items():
            with pytest.raises(FeedUnavailable) as caught:
                await call(stage.feed)
            assert not any(word in str(caught.value) for word in (SECRET, KEY_ID, "html")), name


async def test_an_answer_too_long_is_unavailable(stage: AlpacaDataStage) -> None:
    stage.wire.say("GET", f"{ASSETS}/AAPL", floods(2 << 20))
    with pytest.raises(FeedUnavailable, match="longer"):
        await stage.feed.fetch_instrument("AAPL")


async def test_nobody_there_is_unavailable(stage: AlpacaDataStage) -> None:
    feed = AlpacaFeed(SystemClock(), stage.wire.data_keys(data_url="http://127.0.0.1:1"), timings=QUICK)
    with pytest.raises(FeedUnavailable, match="could not be reached"):
        await feed.fetch_quotes(["AAPL"])
    await feed.stop()


async def test_the_budget_that_the_headers_tell_is_kept(stage: AlpacaDataStage) -> None:
    reset = str(stage.clock.now_us() // 1_000_000 + 30)
    real = stage.wire.market["AAPL"]
    stage.wire.say(
        "GET", SNAPSHOTS,
        answer_with(200, {"AAPL": real}, x_ratelimit_limit="200", x_ratelimit_remaining="1", x_ratelimit_reset=reset),
        answer_with(200, {"AAPL": real}),
    )  # fmt: skip
    await stage.feed.fetch_quotes(["AAPL"])
    assert stage.feed.requests_left == 1
    await stage.feed.fetch_quotes(["AAPL"])
    with pytest.raises(FeedUnavailable, match="budget"):
        await stage.feed.fetch_quotes(["AAPL"])
    assert len(stage.wire.requests("GET", SNAPSHOTS)) == 2
    stage.clock.advance(31)
    await stage.feed.fetch_quotes(["AAPL"])


async def test_after_a_429_nothing_is_asked_until_the_minute_is_over(stage: AlpacaDataStage) -> None:
    real = stage.wire.routes["GET", SNAPSHOTS][0]
    stage.wire.say("GET", SNAPSHOTS, told(429, {"message": "too many requests."}), real)
    for _ in range(3):
        with pytest.raises(FeedUnavailable):
            await stage.feed.fetch_quotes(["AAPL"])
    assert len(stage.wire.requests("GET", SNAPSHOTS)) == 1
    stage.clock.advance(61)
    assert await stage.feed.fetch_quotes(["AAPL"])


async def test_orders_are_left_their_part_of_the_trading_hosts_budget(stage: AlpacaDataStage) -> None:
    stage.wire.say(
        "GET", f"{ASSETS}/AAPL", answer_with(200, asset_row("AAPL"), x_ratelimit_remaining="50", x_ratelimit_limit="200")
    )  # fmt: skip
    await stage.feed.fetch_instrument("AAPL")
    with pytest.raises(FeedUnavailable, match="budget"):
        await stage.feed.fetch_instrument("SPY")
    assert await stage.feed.fetch_quotes(["SPY"]), "another host, another budget"


# -- bars -------------------------------------------------------------------------------------------


async def test_bars_are_read_page_by_page_the_newest_first_and_told_the_oldest_first(
    stage: AlpacaDataStage,
) -> None:
    start_us = utc_us("2026-11-25 15:00")
    rows = [bar_row(start_us + n * 60_000_000) for n in range(9, -1, -1)]
    stage.wire.say(
        "GET", STOCK_BARS,
        answer_with(200, {"bars": {"AAPL": rows[:4]}, "next_page_token": "p2"}),
        answer_with(200, {"bars": {"AAPL": rows[4:8]}, "next_page_token": "p3"}),
        answer_with(200, {"bars": {"AAPL": rows[8:]}, "next_page_token": None}),
    )  # fmt: skip
    end_us = start_us + 600_000_000
    bars = await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, start_us, end_us, 7)
    assert [one.start_us for one in bars] == [start_us + n * 60_000_000 for n in range(3, 10)]
    asked = [one.query for one in stage.wire.requests("GET", STOCK_BARS)]
    assert [one.get("page_token") for one in asked] == [None, "p2"], "no more pages than are needed"
    assert asked[0]["sort"] == "desc"
    assert asked[0]["adjustment"] == "raw"
    assert asked[0]["end"] == "2026-11-25T15:09:59.999999Z", "the end is inclusive at Alpaca"


async def test_a_day_begins_at_midnight_eastern_and_a_week_on_its_monday(stage: AlpacaDataStage) -> None:
    rows = [bar_row(utc_us("2026-11-25 05:00"))]
    stage.wire.say("GET", STOCK_BARS, answer_with(200, {"bars": {"AAPL": rows}, "next_page_token": None}))
    span = (utc_us("2026-10-01 00:00"), utc_us("2026-12-01 00:00"), 5)
    for timeframe, begins in (
        (Timeframe.DAY_1, "2026-11-25 05:00"),
        (Timeframe.WEEK_1, "2026-11-23 05:00"),
        (Timeframe.MONTH_1, "2026-11-01 04:00"),
    ):
        [bar] = await stage.feed.fetch_bars("AAPL", timeframe, *span)
        assert bar.start_us == utc_us(begins)
        assert (bar.volume, bar.trades, bar.vwap) == (1234, 12, Decimal("10.123456"))


async def test_bars_that_cannot_be_read_are_left_out_and_a_page_that_repeats_itself_ends_it(
    stage: AlpacaDataStage,
) -> None:
    at_us = utc_us("2026-11-25 15:00")
    good = bar_row(at_us)
    bad = [None, 7, {}, good | {"o": 0}, good | {"c": "x"}, good | {"t": "never"}, good | {"v": -1}]
    stage.wire.say(
        "GET", STOCK_BARS, answer_with(200, {"bars": {"AAPL": [*bad, good]}, "next_page_token": "again"})
    )
    bars = await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, at_us, at_us + 1, 100)
    assert [one.start_us for one in bars] == [at_us]
    assert len(stage.wire.requests("GET", STOCK_BARS)) == 2


# -- instruments ------------------------------------------------------------------------------------


async def test_an_asset_becomes_an_instrument_and_is_asked_for_once_a_day(stage: AlpacaDataStage) -> None:
    stage.wire.say(
        "GET", f"{ASSETS}/SPY", answer_with(200, asset_row("SPY", shortable=False, name="SPDR S&P 500"))
    )
    for _ in range(2):
        found = await stage.feed.fetch_instrument("SPY")
        assert found is not None
        assert (found.name, found.shortable, found.fractionable, found.tradable) == (
            "SPDR S&P 500",
            False,
            True,
            True,
        )
    assert len(stage.wire.requests("GET", f"{ASSETS}/SPY")) == 1
    stage.clock.advance(86_401)
    await stage.feed.fetch_instrument("SPY")
    assert len(stage.wire.requests("GET", f"{ASSETS}/SPY")) == 2


@pytest.mark.parametrize("row", [asset_row("SPY", **{"class": "crypto"}), asset_row("QQQ"), {}])
async def test_an_asset_that_is_no_such_stock_is_unknown(stage: AlpacaDataStage, row: Any) -> None:
    stage.wire.say("GET", f"{ASSETS}/SPY", answer_with(200, row))
    assert await stage.feed.fetch_instrument("SPY") is None


async def test_an_asset_that_is_not_active_cannot_be_traded(stage: AlpacaDataStage) -> None:
    stage.wire.say("GET", f"{ASSETS}/SPY", answer_with(200, asset_row("SPY", status="inactive")))
    found = await stage.feed.fetch_instrument("SPY")
    assert found is not None
    assert not found.tradable


async def test_the_list_of_assets_is_read_once_and_searched_in_memory(stage: AlpacaDataStage) -> None:
    assert [one.symbol for one in await stage.feed.search("spy", 5)] == ["SPY"]
    assert [one.symbol for one in await stage.feed.search("incorporated", 2)] == ["AAPL", "BRK.B"]
    assert list(await stage.feed.search("", 5)) == []
    [asked] = stage.wire.requests("GET", ASSETS)
    assert asked.query == {"status": "active", "asset_class": "us_equity"}


async def test_contracts_are_listed_to_the_last_page_with_both_bounds_said(stage: AlpacaDataStage) -> None:
    pages = [
        [contract_row("SPY261218C00700000"), contract_row("SPY261218P00700000")],
        [contract_row("SPY270115C00650000"), contract_row("SPY270115C00640000")],
    ]
    stage.wire.say(
        "GET", CONTRACTS,
        answer_with(200, {"option_contracts": pages[0], "next_page_token": "x"}),
        answer_with(200, {"option_contracts": pages[1], "next_page_token": None}),
    )  # fmt: skip
    assert list(await stage.feed.fetch_expirations("SPY")) == [date(2026, 12, 18), date(2027, 1, 15)]
    found = await stage.feed.fetch_contracts("SPY", date(2027, 1, 15))
    assert [one.strike for one in found] == [640, 650]
    assert [one.option_type for one in await stage.feed.fetch_contracts("SPY", date(2026, 12, 18))] == [
        "call",
        "put",
    ]
    asked = [one.query for one in stage.wire.requests("GET", CONTRACTS)]
    assert len(asked) == 2, "and then remembered"
    assert asked[0]["expiration_date_gte"] == "2026-11-25"
    assert asked[0]["expiration_date_lte"] > "2029"
    assert asked[1]["page_token"] == "x"


async def test_adjusted_contracts_and_those_that_are_not_on_100_shares_are_left_out(
    stage: AlpacaDataStage,
) -> None:
    rows = [
        contract_row("SPY261218C00700000"),
        contract_row("SPY1261218C00700000"),
        contract_row("SPY261218C00710000", size="150"),
        contract_row("SPY261218C00720000", multiplier="10"),
        contract_row("QQQ261218C00720000"),
        {}, None, "x", contract_row("SPY261218C00700000") | {"symbol": "nonsense"},
    ]  # fmt: skip
    stage.wire.say("GET", CONTRACTS, answer_with(200, {"option_contracts": rows, "next_page_token": None}))
    assert [one.strike for one in await stage.feed.fetch_contracts("SPY", date(2026, 12, 18))] == [700]


async def test_a_list_of_contracts_that_does_not_end_is_unavailable(stage: AlpacaDataStage) -> None:
    stage.wire.say("GET", CONTRACTS, answer_with(200, {"option_contracts": [], "next_page_token": "again"}))
    with pytest.raises(FeedUnavailable, match="end"):
        await stage.feed.fetch_expirations("SPY")


async def test_a_contract_is_known_until_the_end_of_its_last_trading_day(stage: AlpacaDataStage) -> None:
    symbol = "SPY261127C00700000"
    stage.wire.say("GET", f"{CONTRACTS}/{symbol}", answer_with(200, contract_row(symbol)))
    found = await stage.feed.fetch_instrument(symbol)
    assert found is not None
    assert found.contract is not None
    assert found.last_trade_us == utc_us("2026-11-27 18:00"), "the day after Thanksgiving closes early"
    stage.clock.advance((utc_us("2026-11-27 18:01") - stage.clock.now_us()) / 1e6)
    assert await stage.feed.fetch_instrument(symbol) is None


# -- corporate actions ------------------------------------------------------------------------------


async def test_dividends_and_splits_of_the_ex_date_are_told(stage: AlpacaDataStage) -> None:
    day = "2026-11-30"
    said = {
        "cash_dividends": [
            {"symbol": "AAPL", "rate": Number("0.26"), "ex_date": day, "process_date": "2026-12-12", "special": False},
            {"symbol": "AAPL", "rate": 0.26, "ex_date": "2026-11-29"},
            {"symbol": "MSFT", "rate": 0.75, "ex_date": day},
            {"symbol": "SPY", "rate": -1, "ex_date": day}, {"symbol": "SPY"}, None, 7,
        ],
        "forward_splits": [{"symbol": "SPY", "new_rate": 4, "old_rate": 1, "ex_date": day}],
        "reverse_splits": [
            {"symbol": "BRK.B", "new_rate": 1, "old_rate": 10, "ex_date": day},
            {"symbol": "BRK.B", "new_rate": 1, "old_rate": 0, "ex_date": day},
        ],
        "name_changes": [{"old_symbol": "X"}],
    }  # fmt: skip
    stage.wire.say("GET", ACTIONS, answer_with(200, {"corporate_actions": said, "next_page_token": None}))
    found = await stage.feed.fetch_corporate_actions(
        ["AAPL", "SPY", "BRK.B", CONTRACT, ""], date(2026, 11, 30)
    )
    assert {(one.symbol, one.kind, one.amount, one.ratio) for one in found} == {
        ("AAPL", "dividend", Decimal("0.26"), 1),
        ("SPY", "split", 0, 4),
        ("BRK.B", "split", 0, Decimal("0.1")),
    }
    [asked] = stage.wire.requests("GET", ACTIONS)
    assert asked.query["symbols"] == "AAPL,BRK.B,SPY"
    assert asked.query["start"] < day < asked.query["end"]


async def test_calls_do_not_wait_for_each_other(stage: AlpacaDataStage) -> None:
    release = asyncio.Event()
    real = stage.wire.routes["GET", ASSETS][0]

    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await real(asked, writer)

    stage.wire.say("GET", ASSETS, slowly)
    search = asyncio.create_task(stage.feed.search("a", 5))
    assert await stage.feed.fetch_quotes(["AAPL"])
    release.set()
    assert await search
