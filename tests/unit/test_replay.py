"""The replay feed: plays what was recorded, in order, at its time, once, and makes nothing up."""

import csv
import gzip
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import time
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.domain.bars import INTRADAY, Timeframe, bar_start_us
from paiid.domain.calendar import eastern_date, eastern_us
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, Heard
from paiid.feeds import replay as replay_module
from paiid.feeds.replay import ReplayError, ReplayFeed
from tests.fake_clock import FakeClock
from tests.market_world import WEDNESDAY_OPEN_US, utc_us

HEADER = "time_et,symbol,bid,bid_size,ask,ask_size"
ROWS = (
    "2013-10-08T09:30:00,SPY,166.95,100,167.55,100",
    "2013-10-08T09:30:00,BAC,13.8,1000,13.91,1000",
    "2013-10-08T09:30:10,SPY,167.00,300,167.10,200",
    "2013-10-08T09:30:10.500,SPY,167.01,300,167.11,200",
    "2013-10-08T09:31:00,SPY,167.20,100,0,0",
    "2013-10-08T09:31:30,BAC,13.85,1,13.90,2",
)
FIRST_US = utc_us("2013-10-08 13:30")
END_US = FIRST_US + 90_000_000


def written(folder: Path, *rows: str, header: str = HEADER, name: str = "some.csv") -> Path:
    text = "\n".join([header, *rows]) + "\n"
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def playing(folder: Path, *rows: str, speed: float = 1.0) -> tuple[ReplayFeed, FakeClock]:
    clock = FakeClock(WEDNESDAY_OPEN_US)
    return ReplayFeed(clock, written(folder, *(rows or ROWS)), speed), clock


async def quotes_of(stream: AsyncIterator[FeedEvent], count: int) -> list[Quote]:
    found: list[Quote] = []
    async for event in stream:
        if isinstance(event, Quote):
            found.append(event)
        if len(found) == count:
            break
    return found


# -- the play ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["some.csv", "some.csv.gz"])
async def test_a_quote_is_played_at_its_time_and_says_when_it_really_was(tmp_path: Path, name: str) -> None:
    clock = FakeClock(WEDNESDAY_OPEN_US)
    feed = ReplayFeed(clock, written(tmp_path, *ROWS, name=name), speed=1)
    first = feed.newest("SPY")
    assert first is not None
    assert (first.bid, first.bid_size, first.ask, first.ask_size) == (
        Decimal("166.95"), 100, Decimal("167.55"), 100,
    )  # fmt: skip
    assert (first.as_of_us, first.recorded_at_us) == (WEDNESDAY_OPEN_US, FIRST_US)
    assert (first.last, first.prev_close) == (0, 0), "a recording of quotes does not tell them"
    assert (first.source, first.stale) == ("replay", False)
    clock.advance(9.999)
    assert feed.newest("SPY") == first
    clock.advance(0.001)
    second = feed.newest("SPY")
    assert second is not None
    assert (second.bid, second.as_of_us) == (Decimal("167.00"), clock.now_us())
    assert second.sequence > first.sequence
    clock.advance(0.5)
    assert (await feed.fetch_quotes(["SPY", "BAC", "AAPL"])).keys() == {"SPY", "BAC"}
    third = feed.newest("SPY")
    assert third is not None
    assert third.recorded_at_us == FIRST_US + 10_500_000
    await feed.stop()


async def test_at_speed_sixty_a_recorded_minute_takes_a_second(tmp_path: Path) -> None:
    feed, clock = playing(tmp_path, speed=60)
    clock.advance(1)
    quote = feed.newest("SPY")
    assert quote is not None
    assert quote.recorded_at_us == FIRST_US + 60_000_000
    assert quote.as_of_us == WEDNESDAY_OPEN_US + 1_000_000
    assert (quote.ask, quote.ask_size) == (0, 0), "no ask was recorded, so there is none"


@pytest.mark.parametrize("speed", [0.5, 1, 60, 100_000])
async def test_the_stream_has_every_recorded_row_in_order_at_any_speed(tmp_path: Path, speed: float) -> None:
    feed, _ = playing(tmp_path, speed=speed)
    feed.follow(["BAC", "SPY", "AAPL"])
    async with aclosing(feed.listen()) as stream:
        assert isinstance(await anext(stream), Heard)
        seen = await quotes_of(stream, len(ROWS))
        assert isinstance(await anext(stream), Heard), "then it stands still, and lives"
    wanted = list(csv.DictReader([HEADER, *ROWS]))
    assert [(one.symbol, str(one.bid), str(one.ask_size)) for one in seen] == [
        (row["symbol"], row["bid"], row["ask_size"]) for row in wanted
    ]
    sequences = [one.sequence for one in seen]
    assert sequences == sorted(set(sequences))


async def test_rows_that_come_due_while_the_reader_is_away_are_not_left_out(tmp_path: Path) -> None:
    rows = [f"2013-10-08T09:30:{n % 60:02d}.{n:04d},SPY,{100 + n / 100:.2f},1,101,1" for n in range(60)]
    feed, clock = playing(tmp_path, *rows)
    feed.follow(["SPY"])
    async with aclosing(feed.listen()) as stream:
        await quotes_of(stream, 1)
        clock.advance(3600)
        assert feed.newest("SPY") is not None
        assert [str(one.bid) for one in await quotes_of(stream, 59)] == [
            f"{100 + n / 100:.2f}" for n in range(1, 60)
        ]


async def test_a_reader_who_is_far_behind_loses_the_oldest_and_memory_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "MOST_WAITING", 3)
    feed, clock = playing(tmp_path)
    feed.follow(["SPY", "BAC"])
    async with aclosing(feed.listen()) as stream:
        await quotes_of(stream, 1)
        clock.advance(3600)
        feed.newest("SPY")
        assert [one.recorded_at_us for one in await quotes_of(stream, 3)] == [
            FIRST_US + seconds * 500_000 for seconds in (21, 120, 180)
        ]
        assert isinstance(await anext(stream), Heard)


async def test_the_play_is_once_and_then_the_last_quotes_stand_and_the_market_is_closed(
    tmp_path: Path,
) -> None:
    feed, clock = playing(tmp_path)
    hours, start_us = feed.hours, clock.now_us()
    assert not hours.is_open(start_us - 1)
    assert hours.is_open(start_us)
    clock.advance(90)
    last = feed.newest("BAC")
    assert last is not None
    assert hours.is_open(last.as_of_us), "the last quote can be traded on"
    clock.advance(1)
    assert not hours.is_open(clock.now_us())
    for _ in range(5):
        clock.advance(86_400)
        assert not hours.is_open(clock.now_us())
        assert feed.newest("BAC") == last


async def test_numbers_go_on_growing_when_the_process_is_started_again(tmp_path: Path) -> None:
    feed, clock = playing(tmp_path, speed=60)
    clock.advance(60)
    last = feed.newest("BAC")
    again = ReplayFeed(clock, tmp_path / "some.csv", 60).newest("BAC")
    assert last is not None
    assert again is not None
    assert again.sequence > last.sequence
    assert again.as_of_us > last.as_of_us


async def test_a_symbol_whose_first_row_is_yet_to_come_is_known_but_has_no_quote(tmp_path: Path) -> None:
    feed, clock = playing(tmp_path, ROWS[0], "2013-10-08T09:35:00,KO,38,1,39,1")
    instrument = await feed.fetch_instrument("KO")
    assert instrument is not None
    assert (instrument.symbol, instrument.name) == ("KO", "KO"), "a recording knows no company names"
    assert feed.newest("KO") is None
    assert await feed.fetch_quotes(["KO"]) == {}
    assert [one.symbol for one in await feed.search("k", 5)] == ["KO"]
    clock.advance(300)
    assert feed.newest("KO") is not None


async def test_how_old_a_quote_may_be_follows_from_the_recording_and_the_speed(tmp_path: Path) -> None:
    assert playing(tmp_path, speed=60)[0].resend_interval_s == 5
    assert playing(tmp_path, speed=9)[0].resend_interval_s == 15, "BAC goes without a row for 90 s"
    assert playing(tmp_path, speed=0.1)[0].resend_interval_s == 60


async def test_a_small_disorder_is_played_as_it_stands_in_the_file(tmp_path: Path) -> None:
    feed, clock = playing(
        tmp_path, ROWS[0], "2013-10-08T09:30:20,SPY,2,1,3,1", "2013-10-08T09:30:15,SPY,4,1,5,1"
    )
    clock.advance(20)
    quote = feed.newest("SPY")
    assert quote is not None
    assert (quote.bid, quote.as_of_us) == (4, clock.now_us())
    assert quote.recorded_at_us == FIRST_US + 15_000_000


async def test_a_file_that_is_spoilt_after_the_start_ends_the_play_and_nothing_else(tmp_path: Path) -> None:
    many = [f"2013-10-08T09:30:{n // 100:02d},SPY,{n + 1},1,{n + 2},1" for n in range(6000)]
    feed, clock = playing(tmp_path, *many)
    assert feed.newest("SPY") is not None
    with (tmp_path / "some.csv").open("r+") as file:
        file.truncate(len(HEADER) + 160_000)
    clock.advance(3600)
    quote = (await feed.fetch_quotes(["SPY"]))["SPY"]
    assert 1 <= quote.bid <= 6000
    assert feed.newest("SPY") == quote


# -- bars -------------------------------------------------------------------------------------------


async def test_bars_are_of_the_midpoint_and_only_of_what_has_been_played(tmp_path: Path) -> None:
    feed, clock = playing(tmp_path)
    clock.advance(10.5)
    [bar] = await feed.fetch_bars("SPY", Timeframe.MINUTE_1, 0, clock.now_us(), 10)
    assert bar.start_us == WEDNESDAY_OPEN_US
    assert (bar.open, bar.high, bar.low, bar.close) == (
        Decimal("167.25"), Decimal("167.25"), Decimal("167.05"), Decimal("167.06"),
    )  # fmt: skip
    assert (bar.volume, bar.vwap, bar.trades) == (0, None, None)
    clock.advance(100)
    assert len(await feed.fetch_bars("SPY", Timeframe.MINUTE_1, 0, clock.now_us(), 10)) == 1, (
        "one side is no mid"
    )
    assert len(await feed.fetch_bars("BAC", Timeframe.MINUTE_1, 0, clock.now_us(), 10)) == 2
    assert len(await feed.fetch_bars("BAC", Timeframe.MINUTE_1, 0, clock.now_us(), 1)) == 1


async def test_longer_bars_are_the_aggregate_of_minutes_and_begin_on_the_clock(tmp_path: Path) -> None:
    rows = [
        f"2013-10-08T{9 + n // 60:02d}:{n % 60:02d}:07,SPY,{100 + n % 37},1,{102 + n % 37},1"
        for n in range(400)
    ]
    feed, clock = playing(tmp_path, *rows)
    clock.advance(400 * 60)
    minutes = await feed.fetch_bars("SPY", Timeframe.MINUTE_1, 0, clock.now_us(), 1000)
    assert len(minutes) == 400
    for timeframe in Timeframe:
        bars = await feed.fetch_bars("SPY", timeframe, 0, clock.now_us(), 1000)
        assert [bar.start_us for bar in bars] == sorted(
            {bar_start_us(timeframe, one.start_us) for one in minutes}
        )
        assert max(bar.high for bar in bars) == max(bar.high for bar in minutes)
        assert (bars[0].open, bars[-1].close) == (minutes[0].open, minutes[-1].close)
        assert len(bars) < 400 or timeframe is Timeframe.MINUTE_1
        assert len(bars) <= 7 or timeframe in INTRADAY


# -- what is wrong with a file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("2013-10-08T09:30:05,SPY,1,1,2", "line 3: 5 fields"),
        ("", "line 3: 0 fields"),
        ("yesterday,SPY,1,1,2,1", "line 3: time_et"),
        ("2013-10-08T09:30:05Z,SPY,1,1,2,1", "line 3: time_et"),
        ("2013-10-08T09:30:05-04:00,SPY,1,1,2,1", "line 3: time_et"),
        ("2013-10-08T09:30:99,SPY,1,1,2,1", "line 3: time_et"),
        ("2013-10-08,SPY,1,1,2,1", "line 3: time_et"),
        ("2013-13-08T09:30:05,SPY,1,1,2,1", "line 3: time_et"),
        ("2013-10-08T09:28:00,SPY,1,1,2,1", "line 3: more than a minute earlier"),
        ("2013-10-08T09:30:05,spy,1,1,2,1", "line 3: symbol"),
        ("2013-10-08T09:30:05,AAPL261218C00265000,1,1,2,1", "line 3: symbol"),
        ("2013-10-08T09:30:05,\u0410APL,1,1,2,1", "line 3: symbol"),
        ("2013-10-08T09:30:05,SPY,-1,1,2,1", "line 3: bid is"),
        ("2013-10-08T09:30:05,SPY,NaN,1,2,1", "line 3: bid is"),
        ("2013-10-08T09:30:05,SPY,1,1e99,2,1", "line 3: bid_size is"),
        ("2013-10-08T09:30:05,SPY,1,1,one,1", "line 3: ask is"),
        ("2013-10-08T09:30:05,SPY,1,1,2,0.00000000001", "line 3: ask_size has"),
        ("2013-10-08T09:30:05,SPY,1,1,2," + "1" * 5000, "cannot be read behind line 2"),
    ],
)
def test_a_bad_row_stops_the_start_and_is_named_by_its_line(tmp_path: Path, row: str, wanted: str) -> None:
    path = written(tmp_path, ROWS[0], row, ROWS[2])
    with pytest.raises(ReplayError, match=wanted):
        ReplayFeed(FakeClock(), path, 1)


def test_a_file_that_is_no_recording_stops_the_start(tmp_path: Path) -> None:
    for name, content in {
        "header.csv": b"time,symbol\n",
        "empty.csv": b"",
        "bare.csv": HEADER.encode() + b"\n",
        "noise.csv": b"\xff\xfe\x00\x01",
        "noise.csv.gz": b"not gzip at all",
        "cut.csv.gz": gzip.compress(("\n".join([HEADER, *ROWS])).encode())[:-12],
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ReplayError):
            ReplayFeed(FakeClock(), path, 1)
    with pytest.raises(ReplayError, match="FileNotFoundError"):
        ReplayFeed(FakeClock(), tmp_path / "nowhere.csv", 1)


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf"), 100_001])
def test_a_speed_without_sense_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        ReplayFeed(FakeClock(), written(tmp_path, *ROWS), speed)


# -- a real recording ---------------------------------------------------------------------------------

RECORDED = os.environ.get("PAIID_RECORDED_DATA")


def rows_of(path: Path) -> Sequence[dict[str, str]]:
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(RECORDED is None, reason="PAIID_RECORDED_DATA does not name a folder of recorded data")
async def test_a_recorded_day_of_four_symbols_is_played_row_by_row() -> None:
    path = Path(RECORDED or "") / "quotes_20131008_1m.csv.gz"
    wanted = rows_of(path)
    clock = FakeClock(WEDNESDAY_OPEN_US)
    feed = ReplayFeed(clock, path, speed=3600)
    symbols = sorted({row["symbol"] for row in wanted})
    feed.follow(symbols)
    async with aclosing(feed.listen()) as stream:
        seen = await quotes_of(stream, len(wanted))
    told = [(one.symbol, one.bid, one.bid_size, one.ask, one.ask_size, one.recorded_at_us) for one in seen]
    assert told == [
        (
            row["symbol"],
            *(Decimal(row[name]) for name in ("bid", "bid_size", "ask", "ask_size")),
            recorded_us(row["time_et"]),
        )
        for row in wanted
    ]
    assert all(one.as_of_us <= clock.now_us() for one in seen)


def recorded_us(text: str) -> int:
    day, clock_time = text.split("T")
    return eastern_us(eastern_date(utc_us(f"{day} 12:00")), time.fromisoformat(clock_time))
