"""What Tradier's feed asks for over real sockets: quotes, instruments, chains, bars; and what becomes of every kind of answer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.bars import Bar, Timeframe
from paiid.domain.calendar import eastern_us
from paiid.domain.option_chain import VendorGreeks
from paiid.feeds import FeedUnavailable
from paiid.feeds.tradier import TradierFeed
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Governors, Priority
from tests.alpaca_data_stage import SocketClock
from tests.market_world import WEDNESDAY_OPEN_US, utc_us
from tests.tradier_data_stage import (
    CHAINS,
    EXPIRATIONS,
    HISTORY,
    LOOKUP,
    QUOTES,
    SEARCH,
    TIMESALES,
    TOKEN,
    TradierDataStage,
    be_silent,
    hang_up,
    row,
    say,
    tradier_data_stage,
    until,
    values,
)

CALL, PUT, ADJUSTED = "AAPL270115C00010000", "AAPL270115P00010000", "AAPL1270115C00010000"
FIRST, SECOND = date(2026, 12, 18), date(2027, 1, 15)
GREEKS = {
    "delta": 0.312, "gamma": 0.0081, "theta": -0.0412, "vega": 1.0321, "rho": 0.6012, "phi": -0.611, "bid_iv": 0.1421,
    "mid_iv": 0.1432, "ask_iv": 0.1443, "smv_vol": 0.143, "updated_at": "2026-10-09 19:59:04",
}  # fmt: skip


@pytest.fixture
async def stage() -> AsyncIterator[TradierDataStage]:
    async with tradier_data_stage() as one:
        yield one


# -- quotes -------------------------------------------------------------------------------------------


async def test_a_quote_has_the_digits_that_were_sent_and_its_own_time(stage: TradierDataStage) -> None:
    at_us = stage.clock.now_us() - 5_000_000
    text = (
        '{"quotes":{"quote":{"symbol":"AAPL","type":"stock","bid":655.10,"ask":655.20000000,"bidsize":4,"asksize":7.0,"last":655.21,'
        f'"bid_date":{at_us // 1000 - 900},"ask_date":{at_us // 1000},"trade_date":{at_us // 1000 - 1},"prevclose":"654.19","close":null}}}}}}'
    )
    stage.server.script(QUOTES, say(text))
    found = (await stage.feed.fetch_quotes(["AAPL"]))["AAPL"]
    assert (str(found.bid), found.ask, str(found.last)) == ("655.10", Decimal("655.2"), "655.21")
    assert values(found.bid_size, found.ask_size, found.prev_close) == (400, 700, Decimal("654.19"))
    assert found.as_of_us == at_us // 1000 * 1000
    assert found.confirmed_us > found.as_of_us
    assert found.source == "tradier"


async def test_unknown_symbols_are_left_out_and_what_is_no_symbol_is_not_asked(
    stage: TradierDataStage,
) -> None:
    found = await stage.feed.fetch_quotes(["SPY", "ZZZZ", "", "aapl", "A/B", "BRK.B", "AAPL\0"])
    assert list(found) == ["SPY", "BRK.B"]
    assert stage.server.requests(QUOTES)[0].told["symbols"] == "SPY,ZZZZ,BRK/B"
    assert await stage.feed.fetch_quotes(["ZZZZ"]) == {}
    asked = len(stage.server.asked)
    assert await stage.feed.fetch_quotes(["", "aapl"]) == {}
    assert len(stage.server.asked) == asked


async def test_a_side_that_is_null_is_none_and_nothing_at_all_is_no_quote(stage: TradierDataStage) -> None:
    at_us = stage.clock.now_us()
    stage.server.market |= {
        "A": row("A", None, 11, at_us, last=None),
        "B": row("B", None, None, at_us, last=None),
        "C": row("C", 10, 11, 0, trade_date=0),
        "D": row("D", 10, 11, at_us, prevclose=None),
    }
    found = await stage.feed.fetch_quotes(list("ABCD"))
    assert set(found) == {"A", "D"}
    assert values(found["A"].bid, found["A"].bid_size, found["A"].ask, found["A"].last) == (0, 0, 11, 0)
    assert found["D"].prev_close == 0


async def test_many_symbols_are_a_form_and_few_an_address(stage: TradierDataStage) -> None:
    names = [f"{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(300)]
    at_us = stage.clock.now_us()
    stage.server.market |= {name: row(name, 10, 11, at_us) for name in names}
    assert len(await stage.feed.fetch_quotes(names)) == 300
    await stage.feed.fetch_quotes(names[:5])
    asked = stage.server.requests(QUOTES)
    assert [(one.method, len(one.told["symbols"].split(","))) for one in asked] == [
        ("POST", 256),
        ("POST", 44),
        ("GET", 5),
    ]
    assert asked[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert all(one.headers["authorization"] == f"Bearer {TOKEN}" for one in asked)
    with pytest.raises(FeedUnavailable):
        await stage.feed.fetch_quotes(
            [f"X{a}{b}{c}" for a in "ABCDEFGHIJKLM" for b in "ABCDEFGHIJKLMNOP" for c in "ABCDEFGHIJKL"]
        )


async def test_callers_of_the_same_moment_share_a_request(stage: TradierDataStage) -> None:
    found = await asyncio.gather(
        *(stage.feed.fetch_quotes([symbol]) for symbol in ("AAPL", "SPY", "AAPL", "BRK.B")),
        stage.feed.fetch_instrument("SPY"),
    )
    assert [set(one) for one in found[:4] if isinstance(one, dict)] == [
        {"AAPL"},
        {"SPY"},
        {"AAPL"},
        {"BRK.B"},
    ]
    assert len(stage.server.requests(QUOTES)) == 1


async def test_a_caller_who_goes_away_ends_no_call_of_another(stage: TradierDataStage) -> None:
    released = asyncio.Event()

    async def held(asked: Any, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await stage.server._told_quotes(asked, writer)

    stage.server.script(QUOTES, held)
    gone = asyncio.create_task(stage.feed.fetch_quotes(["AAPL"]))
    stays = asyncio.create_task(stage.feed.fetch_quotes(["AAPL"]))
    await until(lambda: stage.server.requests(QUOTES))
    gone.cancel()
    await asyncio.wait([gone])
    released.set()
    assert set(await stays) == {"AAPL"}


async def test_stop_ends_what_is_asked_for_and_leaves_nothing_behind(stage: TradierDataStage) -> None:
    waiting = asyncio.create_task(stage.feed.fetch_quotes(["AAPL"]))
    # The call is made, and has not begun.
    await asyncio.sleep(0)
    await stage.feed.stop()
    with pytest.raises(FeedUnavailable, match="stopped"):
        await waiting
    assert set(await stage.feed.fetch_quotes(["AAPL"])) == {"AAPL"}


async def test_the_previous_close_is_that_of_the_last_session_that_is_over() -> None:
    told = {"prevclose": 9.0, "close": 10.0}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("2026-11-25 15:00", told, "9"),  # in session
        ("2026-11-25 21:05", told, "10"),  # after the close, which is told
        (
            "2026-11-25 21:05",
            {"prevclose": 9.0, "close": None},
            "0",
        ),  # after the close, which is not told yet
        ("2026-11-26 15:00", told, "10"),  # on the holiday
        ("2026-11-27 12:00", {"prevclose": 10.0, "close": None}, "10"),  # before the next session
    ]
    for at, closes, wanted in cases:
        async with tradier_data_stage(clock=SocketClock(utc_us(at))) as stage:
            stage.server.market["AAPL"] = row("AAPL", 10, 11, utc_us(at)) | closes
            assert (await stage.feed.fetch_quotes(["AAPL"]))["AAPL"].prev_close == Decimal(wanted), at


async def test_a_previous_close_does_not_outlive_the_next_close() -> None:
    clock = SocketClock(utc_us("2026-11-25 20:59:30"))
    async with tradier_data_stage(clock=clock) as stage:
        assert (await stage.feed.fetch_quotes(["AAPL"]))["AAPL"].prev_close == Decimal("9.9")
        stage.move(60)
        assert (await stage.feed.fetch_quotes(["AAPL"]))["AAPL"].prev_close == 0


ANSWERS = [
    (say("", 500), "500"),
    (say("", 503), "503"),
    (say("Invalid Access Token", 401), "token"),
    (say("", 403), "token"),
    (say({"fault": {"faultstring": "Quota"}}, 429), "429"),
    (say("<quotes/>"), "unreadable"),
    (say(""), "unreadable"),
    (say([]), "without quotes"),
    (say({"errors": {"error": "no"}}), "without quotes"),
    (say({"quotes": 7}), "cannot be read"),
    (say("no", 400), "without quotes"),
    (say("Moved", 302), "302"),
    (hang_up, "connection failed"),
]


@pytest.mark.parametrize(("answer", "word"), ANSWERS)
async def test_an_answer_of_no_use_is_unavailable_in_words_without_the_token(
    stage: TradierDataStage, answer: Any, word: str
) -> None:
    stage.server.script(QUOTES, answer)
    with pytest.raises(FeedUnavailable) as caught:
        await stage.feed.fetch_quotes(["AAPL"])
    assert word in str(caught.value)
    assert TOKEN not in str(caught.value)
    # After a 429 nothing may be asked for a minute.
    stage.clock.advance(61)
    stage.server.script(QUOTES, stage.server._told_quotes)
    assert set(await stage.feed.fetch_quotes(["AAPL"])) == {"AAPL"}


@pytest.mark.parametrize(
    "nothing", [{"quotes": None}, {"quotes": "null"}, {"quotes": {}}, {"quotes": {"quote": "null"}}]
)
async def test_nothing_is_told_in_several_ways(stage: TradierDataStage, nothing: Any) -> None:
    stage.server.script(QUOTES, say(nothing))
    assert await stage.feed.fetch_quotes(["AAPL"]) == {}


async def test_no_answer_in_time_is_unavailable() -> None:
    async with tradier_data_stage(request_s=0.05) as stage:
        stage.server.script(QUOTES, be_silent)
        with pytest.raises(FeedUnavailable, match="in time"):
            await stage.feed.fetch_quotes(["AAPL"])


async def test_a_spent_budget_is_unavailable_and_shared_with_whoever_has_the_token() -> None:
    clock = SocketClock()
    governors = Governors(clock)
    async with tradier_data_stage(clock=clock, governors=governors) as stage:
        market = governors.of("tradier market", TOKEN, 120)
        for _ in range(market.left_for(Priority.READ)):
            await market.admit(Priority.READ, Deadline(clock, 1))
        with pytest.raises(FeedUnavailable, match="budget"):
            await stage.feed.fetch_quotes(["AAPL"])
        assert stage.server.asked == []


# -- instruments and search ---------------------------------------------------------------------------


async def test_instruments_are_what_their_quote_says_they_are(stage: TradierDataStage) -> None:
    at_us = stage.clock.now_us()
    stage.server.market |= {
        "SPX": row("SPX", None, None, at_us, type="index", last=6500),
        "ODD": row("ODD", 1, 2, at_us, type="novelty"),
        CALL: row(CALL, 0.5, 0.52, at_us),
        PUT: row(PUT, 0.5, 0.52, at_us, contract_size=10),
    }
    stock = await stage.feed.fetch_instrument("BRK.B")
    assert stock is not None
    assert (stock.symbol, stock.name, stock.asset_class, stock.tradable) == (
        "BRK.B",
        "BRK/B Incorporated",
        "stock",
        True,
    )
    index = await stage.feed.fetch_instrument("SPX")
    assert index is not None
    assert not index.tradable
    option = await stage.feed.fetch_instrument(CALL)
    assert option is not None
    assert option.contract is not None
    assert values(option.asset_class, option.contract.strike, option.last_trade_us) == (
        "option",
        10,
        eastern_us(SECOND, time(16)),
    )
    for symbol in (PUT, "ODD", "ZZZZ", "AAPL261124C00010000", "aapl", ""):
        assert await stage.feed.fetch_instrument(symbol) is None
    asked = len(stage.server.requests(QUOTES))
    await stage.feed.fetch_instrument("BRK.B")
    assert len(stage.server.requests(QUOTES)) == asked, "it is remembered"


async def test_search_puts_names_and_symbols_in_our_order(stage: TradierDataStage) -> None:
    def found(*pairs: tuple[str, str, str]) -> Any:
        rows = [
            {"symbol": symbol, "exchange": "Q", "type": kind, "description": name}
            for symbol, name, kind in pairs
        ]
        return {"securities": {"security": rows[0] if len(rows) == 1 else rows}}

    stage.server.script(
        SEARCH, say(found(("MSFT", "Brk of Microsoft", "stock"), ("BRK/A", "Berkshire A", "stock")))
    )
    stage.server.script(
        LOOKUP,
        say(
            found(
                ("BRK/B", "Berkshire B", "stock"),
                ("BRKX", "Index", "index"),
                ("BRK", "Brk", "etf"),
                ("BRK/A", "Berkshire A", "stock"),
            )
        ),
    )
    told = await stage.feed.search("brk", 10)
    assert [one.symbol for one in told] == ["BRK", "BRK.A", "BRK.B", "MSFT"]
    assert len(await stage.feed.search("brk", 2)) == 2
    stage.server.script(SEARCH, say({"securities": None}))
    stage.server.script(LOOKUP, say({"securities": "null"}))
    assert list(await stage.feed.search("zz", 10)) == []
    asked = len(stage.server.asked)
    for text in ("", " ", "\0"):
        assert list(await stage.feed.search(text, 10)) == []
    assert list(await stage.feed.search("a", 0)) == []
    assert len(stage.server.asked) == asked


# -- options ------------------------------------------------------------------------------------------


def list_options(stage: TradierDataStage) -> None:
    at_us = stage.clock.now_us()
    first = "AAPL261218C00010000"
    stage.server.chains = {
        ("AAPL", "2026-12-18"): [row(first, 0.4, 0.42, at_us)],
        ("AAPL", "2027-01-15"): [
            row(PUT, None, None, at_us, last=None, greeks=None, volume=None, open_interest=None),
            row(ADJUSTED, 1, 2, at_us, greeks="null"),
            row(CALL, 0.5, 0.52, at_us, greeks=GREEKS, volume=12.0),
            row("MSFT270115C00010000", 1, 2, at_us),
            row("AAPL270116C00010000", 1, 2, at_us),
        ],
    }  # fmt: skip


async def test_a_chain_has_all_roots_in_order_with_the_vendors_own_greeks(stage: TradierDataStage) -> None:
    list_options(stage)
    assert list(await stage.feed.fetch_expirations("AAPL")) == [FIRST, SECOND]
    asked = stage.server.requests(EXPIRATIONS)[0].told
    assert (asked["includeAllRoots"], asked["expirationType"]) == ("true", "true")
    rows = await stage.feed.fetch_chain("AAPL", date.min, date.max)
    assert [one.contract.symbol for one in rows] == ["AAPL261218C00010000", CALL, ADJUSTED, PUT]
    call, adjusted, put = rows[1:]
    assert call.quote is not None
    assert values(call.quote.bid, call.quote.bid_size, call.quote.prev_close) == (
        Decimal("0.5"),
        1,
        Decimal("9.9"),
    )
    assert (call.volume, call.open_interest, call.size) == (12, 5121, 100)
    assert call.vendor == VendorGreeks(0.1432, 0.312, 0.0081, -0.0412, 1.0321, 0.6012)
    assert (adjusted.size, adjusted.vendor) == (None, None)
    assert (put.quote, put.volume, put.open_interest, put.vendor) == (None, None, None, None)
    assert [one.told["greeks"] for one in stage.server.requests(CHAINS)] == ["true", "true"]


async def test_a_volatility_of_zero_is_none(stage: TradierDataStage) -> None:
    list_options(stage)
    at_us = stage.clock.now_us()
    told = GREEKS | {"mid_iv": 0.0, "bid_iv": 0.0}
    stage.server.chains["AAPL", "2027-01-15"] = [row(CALL, 0, 0.05, at_us, greeks=told)]
    (call,) = await stage.feed.fetch_chain("AAPL", SECOND, SECOND)
    assert call.vendor is not None
    assert (call.vendor.implied_volatility, call.vendor.delta) == (None, 0.312)
    assert call.quote is not None
    assert values(call.quote.bid, call.quote.ask) == (0, Decimal("0.05"))


async def test_contracts_are_the_standard_ones_and_remembered(stage: TradierDataStage) -> None:
    list_options(stage)
    assert [one.symbol for one in await stage.feed.fetch_contracts("AAPL", SECOND)] == [CALL, PUT]
    await stage.feed.fetch_contracts("AAPL", SECOND)
    assert len(stage.server.requests(CHAINS)) == 1
    assert list(await stage.feed.fetch_contracts("AAPL", date(2027, 1, 16))) == []
    assert len(stage.server.requests(CHAINS)) == 1, "where nothing is listed nothing is asked"


async def test_what_has_no_options_has_none(stage: TradierDataStage) -> None:
    for told in ({"expirations": None}, {"expirations": "null"}, {"expirations": {"date": "2026-12-18"}}):
        stage.server.script(EXPIRATIONS, say(told))
        days = await stage.feed.fetch_expirations("SPY")
        assert list(days) == ([FIRST] if isinstance(told["expirations"], dict) else [])
        stage.clock.advance(61)
    stage.server.script(EXPIRATIONS, say("Invalid parameter, symbol: is not valid.", 400))
    assert list(await stage.feed.fetch_expirations("ZZZZ")) == []
    assert list(await stage.feed.fetch_chain("ZZZZ", date.min, date.max)) == []
    for symbol in ("", "aapl", CALL):
        assert list(await stage.feed.fetch_expirations(symbol)) == []


async def test_class_shares_are_asked_for_with_a_slash(stage: TradierDataStage) -> None:
    stage.server.chains["BRK/B", "2027-01-15"] = [row("BRKB270115C00400000", 1, 2, stage.clock.now_us())]
    (one,) = await stage.feed.fetch_chain("BRK.B", SECOND, SECOND)
    assert one.contract.underlying == "BRK.B"


async def test_a_chain_that_fails_in_part_fails(stage: TradierDataStage) -> None:
    list_options(stage)
    stage.server.script(CHAINS, stage.server._told_chain, say("", 500))
    with pytest.raises(FeedUnavailable):
        await stage.feed.fetch_chain("AAPL", date.min, date.max)


async def test_a_chain_that_the_budget_cannot_pay_for_is_not_begun_and_leaves_room_for_quotes() -> None:
    governors = Governors(clock := SocketClock())
    async with tradier_data_stage(clock=clock, governors=governors) as stage:
        rows: dict[tuple[str, str], list[dict[str, Any]]] = {
            ("AAPL", f"2027-{1 + n // 28:02d}-{1 + n % 28:02d}"): [] for n in range(100)
        }
        stage.server.chains |= rows
        day = say(
            {"expirations": {"date": [day for _, day in rows]}},
            x_ratelimit_allowed="120",
            x_ratelimit_available="119",
        )
        stage.server.script(EXPIRATIONS, day)
        with pytest.raises(FeedUnavailable, match="100 expirations"):
            await stage.feed.fetch_chain("AAPL", date.min, date.max)
        assert stage.server.requests(CHAINS) == []
        assert len(await stage.feed.fetch_quotes(["AAPL"])) == 1


# -- bars ---------------------------------------------------------------------------------------------


def told_bar(day: str, close: Any = 10.2) -> dict[str, Any]:
    return {"date": day, "open": 10.0, "high": 10.5, "low": 9.5, "close": close, "volume": 1.0e6}


async def test_days_are_bars_from_midnight_eastern_and_today_is_left_out(stage: TradierDataStage) -> None:
    days = ["2026-11-23", "2026-11-24", "2026-11-25"]
    stage.server.script(HISTORY, say({"history": {"day": [told_bar(day) for day in days]}}))
    start_us = eastern_us(date(2026, 11, 1), time())
    bars = await stage.feed.fetch_bars("AAPL", Timeframe.DAY_1, start_us, stage.clock.now_us(), 10)
    assert [one.start_us for one in bars] == [eastern_us(date.fromisoformat(day), time()) for day in days[:2]]
    assert bars[0] == Bar(
        bars[0].start_us,
        Decimal("10.0"),
        Decimal("10.5"),
        Decimal("9.5"),
        Decimal("10.2"),
        Decimal(1_000_000),
    )
    asked = stage.server.requests(HISTORY)[0].told
    assert asked == {"symbol": "AAPL", "interval": "daily", "start": "2026-11-01", "end": "2026-11-25"}
    assert len(await stage.feed.fetch_bars("AAPL", Timeframe.DAY_1, start_us, stage.clock.now_us(), 1)) == 1


async def test_today_is_a_bar_once_its_session_is_over() -> None:
    for at, count in (("2026-11-25 21:00", 1), ("2026-11-25 20:59", 0)):
        async with tradier_data_stage(clock=SocketClock(utc_us(at))) as stage:
            stage.server.script(HISTORY, say({"history": {"day": told_bar("2026-11-25")}}))
            bars = await stage.feed.fetch_bars("AAPL", Timeframe.DAY_1, 0, utc_us("2026-11-26 12:00"), 10)
            assert len(bars) == count, at


async def test_weeks_and_months_begin_on_their_first_day(stage: TradierDataStage) -> None:
    for timeframe, first in ((Timeframe.WEEK_1, date(2026, 11, 9)), (Timeframe.MONTH_1, date(2026, 11, 1))):
        stage.server.script(HISTORY, say({"history": {"day": told_bar("2026-11-13")}}))
        (bar,) = await stage.feed.fetch_bars("BRK.B", timeframe, 0, stage.clock.now_us(), 10)
        assert bar.start_us == eastern_us(first, time())
    assert {one.told["interval"] for one in stage.server.requests(HISTORY)} == {"weekly", "monthly"}


def told_times(*walls: str, volume: Any = 100, **more: Any) -> dict[str, Any]:
    rows = [
        {"time": wall, "timestamp": utc_us(f"{wall[:10]} {wall[11:16]}") // 1_000_000 + 5 * 3600, "price": 10.1, "open": 10.0 + n,
         "high": 12.0 + n, "low": 9.0 - n, "close": 11.0 + n, "volume": volume, "vwap": 10.0 + n, **more}
        for n, wall in enumerate(walls)
    ]  # fmt: skip
    return {"series": {"data": rows if len(rows) != 1 else rows[0]}}


async def test_minutes_are_asked_for_in_eastern_time(stage: TradierDataStage) -> None:
    stage.server.script(TIMESALES, say(told_times("2026-11-25T09:30:00", "2026-11-25T09:31:00")))
    start_us = utc_us("2026-11-25 14:30")
    bars = await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, start_us, WEDNESDAY_OPEN_US, 10)
    assert [one.start_us for one in bars] == [start_us, start_us + 60_000_000]
    assert values(bars[1].open, bars[1].high, bars[1].low, bars[1].close, bars[1].vwap) == (11, 13, 8, 12, 11)
    (asked,) = stage.server.requests(TIMESALES)
    assert asked.told == {
        "symbol": "AAPL", "interval": "1min", "start": "2026-11-25 09:30", "end": "2026-11-25 09:59", "session_filter": "all",
    }  # fmt: skip


async def test_longer_bars_are_put_together_from_quarters_of_an_hour(stage: TradierDataStage) -> None:
    walls = [f"2026-11-24T{hour:02d}:{minute:02d}:00" for hour in (10, 11) for minute in (0, 15, 30, 45)]
    stage.server.script(TIMESALES, say(told_times(*walls)))
    start_us, end_us = utc_us("2026-11-24 15:30"), utc_us("2026-11-24 17:00")
    for timeframe, count in ((Timeframe.MINUTE_30, 3), (Timeframe.HOUR_1, 1), (Timeframe.HOUR_4, 0)):
        bars = await stage.feed.fetch_bars("AAPL", timeframe, start_us, end_us, 10)
        assert len(bars) == count, timeframe
    (hour,) = await stage.feed.fetch_bars("AAPL", Timeframe.HOUR_1, start_us, end_us, 10)
    assert values(hour.start_us, hour.open, hour.close, hour.high, hour.low) == (
        utc_us("2026-11-24 16:00"),
        14,
        18,
        19,
        2,
    )
    assert values(hour.volume, hour.vwap) == (400, Decimal("15.5"))
    assert stage.server.requests(TIMESALES)[-1].told["start"] == "2026-11-24 10:00", (
        "from where its bar begins"
    )


async def test_further_back_than_extended_hours_go_only_the_sessions_are_asked_for(
    stage: TradierDataStage,
) -> None:
    stage.server.script(TIMESALES, say({"series": None}))
    await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, 0, stage.clock.now_us(), 10)
    told = [
        (one.told["session_filter"], one.told["start"], one.told["end"])
        for one in stage.server.requests(TIMESALES)
    ]
    assert told == [
        ("open", "2026-11-06 00:00", "2026-11-15 23:59"),
        ("all", "2026-11-16 00:00", "2026-11-25 10:00"),
    ]
    stage.server.asked.clear()
    await stage.feed.fetch_bars(
        CALL, Timeframe.MINUTE_15, utc_us("2026-11-24 15:00"), stage.clock.now_us(), 10
    )
    assert [one.told["session_filter"] for one in stage.server.requests(TIMESALES)] == ["open"]


async def test_a_start_that_is_out_of_range_is_asked_again_from_where_tradier_begins(
    stage: TradierDataStage,
) -> None:
    refused = say("Invalid parameter, start: must be on or after 2026-11-20 00:00:00", 400)
    stage.server.script(TIMESALES, refused, say(told_times("2026-11-20T10:00:00")))
    bars = await stage.feed.fetch_bars(
        "AAPL", Timeframe.MINUTE_5, utc_us("2026-11-18 15:00"), stage.clock.now_us(), 10
    )
    assert len(bars) == 1
    assert [one.told["start"] for one in stage.server.requests(TIMESALES)] == [
        "2026-11-18 10:00",
        "2026-11-20 00:00",
    ]


async def test_bars_of_no_use_are_left_out_and_nothing_is_none(stage: TradierDataStage) -> None:
    for broken in (
        {"open": "NaN"},
        {"close": None},
        {"high": 1},
        {"volume": -1},
        {"volume": None},
        {"low": 0},
    ):
        stage.server.script(TIMESALES, say(told_times("2026-11-25T09:30:00", **broken)))
        start_us = utc_us("2026-11-25 14:30")
        assert (
            list(await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, start_us, WEDNESDAY_OPEN_US, 9))
            == []
        )
    empty: tuple[Any, ...] = ({"series": "null"}, {"series": {}})
    for nothing in empty:
        stage.server.script(TIMESALES, say(nothing))
        assert list(await stage.feed.fetch_bars("AAPL", Timeframe.MINUTE_1, 0, WEDNESDAY_OPEN_US, 9)) == []
    stage.server.script(HISTORY, say({"history": None}))
    assert list(await stage.feed.fetch_bars("AAPL", Timeframe.DAY_1, 0, WEDNESDAY_OPEN_US, 9)) == []
    asked = len(stage.server.asked)
    assert list(await stage.feed.fetch_bars("aapl", Timeframe.DAY_1, 0, WEDNESDAY_OPEN_US, 9)) == []
    assert list(await stage.feed.fetch_bars("AAPL", Timeframe.DAY_1, 5, 5, 9)) == []
    assert len(stage.server.asked) == asked


async def test_dividends_and_splits_are_not_told(stage: TradierDataStage) -> None:
    assert list(await stage.feed.fetch_dividends("AAPL", date.min, date.max)) == []
    assert list(await stage.feed.fetch_corporate_actions(["AAPL"], FIRST)) == []
    assert stage.server.asked == []


async def test_the_sandbox_is_late_and_asked_half_as_often() -> None:
    async with tradier_data_stage(sandbox=True) as stage:
        assert isinstance(stage.feed, TradierFeed)
        assert (stage.feed.poll_s, stage.feed.delayed) == (4.0, True)
    async with tradier_data_stage() as stage:
        assert (stage.feed.poll_s, stage.feed.delayed) == (2.0, False)
