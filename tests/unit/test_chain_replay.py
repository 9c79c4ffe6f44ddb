"""Recorded option chains: they stand still, say when they were, and have what the file has and nothing else."""

import gzip
import os
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.core.settings import SettingsError, load_settings
from paiid.domain.quotes import Quote
from paiid.feeds.configured import configured_feed
from paiid.feeds.replay import ReplayError, ReplayFeed
from paiid.wires.governor import Governors
from tests.fake_clock import FakeClock
from tests.market_world import WEDNESDAY_OPEN_US, utc_us

CHAIN = "expiration,right,strike,bid,bid_size,ask,ask_size,open_interest"
DAILY = "date,open,high,low,close,volume"
PLAYED = "time_et,symbol,bid,bid_size,ask,ask_size"
CLOSE_US = utc_us("2014-06-06 20:00")
ROWS = (
    "2014-06-21,put,645.0,11.5,7,11.7,9,2001",
    "2014-06-21,call,650.0,9.1,3,9.3,4,",
    "2014-06-21,call,645.0,,0,11.9,20,15",
    "2014-06-06,call,700.0,0.01,5,0.01,100,1184",
    "2016-01-15,put,960.0,339.65,36,335.65,41,4",
)
DAYS = (
    "2014-06-05,646.25,649.35,642.61,647.35,10445282",
    "2014-06-06,650.0,651.25,644.48,645.57,12116671",
    "2014-06-09,92.69,93.88,91.75,93.7,72875948",
)


def written(folder: Path, name: str, header: str, *rows: str) -> Path:
    path = folder / name
    text = "\n".join([header, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def chain_file(folder: Path, *rows: str, name: str = "chain_aapl_20140606.csv") -> Path:
    return written(folder, name, CHAIN, *(rows or ROWS))


def daily_file(folder: Path, *rows: str, name: str = "daily_aapl.csv") -> Path:
    return written(folder, name, DAILY, *(rows or DAYS))


def together(*paths: Path) -> Path:
    return Path(",".join(map(str, paths)))


def feed_of(*paths: Path) -> tuple[ReplayFeed, FakeClock]:
    clock = FakeClock(WEDNESDAY_OPEN_US)
    return ReplayFeed(clock, together(*paths), 1), clock


@pytest.mark.parametrize("suffix", ["", ".gz"])
async def test_a_chain_is_told_as_it_was_at_the_close_of_its_day(tmp_path: Path, suffix: str) -> None:
    feed, clock = feed_of(
        chain_file(tmp_path, name=f"chain_aapl_20140606.csv{suffix}"),
        daily_file(tmp_path, name=f"daily_aapl.csv{suffix}"),
    )
    assert list(await feed.fetch_expirations("AAPL")) == [
        date(2014, 6, 6),
        date(2014, 6, 21),
        date(2016, 1, 15),
    ]
    rows = await feed.fetch_chain("AAPL", date.min, date.max)
    told = [
        (
            row.contract.symbol,
            row.quote.bid,
            row.quote.bid_size,
            row.quote.ask,
            row.quote.ask_size,
            row.open_interest,
        )
        for row in rows
        if row.quote is not None
    ]
    assert told == [
        ("AAPL140606C00700000", Decimal("0.01"), 5, Decimal("0.01"), 100, 1184),
        ("AAPL140621C00645000", 0, 0, Decimal("11.9"), 20, 15),
        ("AAPL140621P00645000", Decimal("11.5"), 7, Decimal("11.7"), 9, 2001),
        ("AAPL140621C00650000", Decimal("9.1"), 3, Decimal("9.3"), 4, None),
        ("AAPL160115P00960000", Decimal("339.65"), 36, Decimal("335.65"), 41, 4),
    ]
    for _ in range(2):
        for row in rows:
            quote = row.quote
            assert quote is not None
            assert (quote.recorded_at_us, quote.as_of_us) == (CLOSE_US, WEDNESDAY_OPEN_US)
            assert (quote.last, quote.prev_close, quote.source, quote.stale) == (0, 0, "replay", False)
            assert (row.volume, row.open_interest_day, row.vendor, row.size) == (None, None, None, 100)
            assert feed.newest(row.contract.symbol) == quote
        clock.advance(86_400)
    assert await feed.fetch_chain("AAPL", date(2014, 6, 7), date(2015, 1, 1)) == rows[1:4]
    assert [one.symbol[-9] for one in await feed.fetch_contracts("AAPL", date(2014, 6, 21))] == [
        "C",
        "P",
        "C",
    ]
    assert list(await feed.fetch_dividends("AAPL", date.min, date.max)) == []


async def test_the_underlying_costs_what_the_daily_bars_say_and_without_them_nobody_knows(
    tmp_path: Path,
) -> None:
    feed, _ = feed_of(chain_file(tmp_path), daily_file(tmp_path))
    share = feed.newest("AAPL")
    assert share is not None
    assert (share.last, share.prev_close, share.recorded_at_us) == (
        Decimal("645.57"),
        Decimal("647.35"),
        CLOSE_US,
    )
    assert (share.bid, share.ask) == (0, 0), "a close is no quote"
    alone, _ = feed_of(chain_file(tmp_path))
    assert alone.newest("AAPL") is None
    assert await alone.fetch_quotes(["AAPL"]) == {}
    assert await alone.fetch_instrument("AAPL") is not None
    assert len(await alone.fetch_chain("AAPL", date.min, date.max)) == 5
    later, _ = feed_of(chain_file(tmp_path), daily_file(tmp_path, *DAYS[2:]))
    assert later.newest("AAPL") is None, "another day's close is not its price"
    first, _ = feed_of(chain_file(tmp_path), daily_file(tmp_path, *DAYS[1:]))
    share = first.newest("AAPL")
    assert share is not None
    assert (share.last, share.prev_close) == (Decimal("645.57"), 0)


async def test_a_recorded_contract_is_known_and_cannot_be_traded(tmp_path: Path) -> None:
    feed, clock = feed_of(chain_file(tmp_path))
    found = await feed.fetch_instrument("AAPL140621C00650000")
    assert found is not None
    assert (found.asset_class, found.tradable) == ("option", False)
    assert found.last_trade_us == utc_us("2014-06-20 20:00"), "a Saturday's contracts end on the Friday"
    assert await feed.fetch_instrument("AAPL140621C00655000") is None
    assert [one.symbol for one in await feed.search("a", 9)] == ["AAPL"]
    feed.follow(["AAPL140621C00650000", "AAPL"])
    async with aclosing(feed.listen()) as stream:
        seen = [await anext(stream) for _ in range(2)]
    assert [one.symbol for one in seen if isinstance(one, Quote)] == ["AAPL140621C00650000"]
    assert feed.hours.is_open(clock.now_us() - 60_000_000) is False
    clock.advance(2)
    assert not feed.hours.is_open(clock.now_us()), "nothing moves any more"
    await feed.stop()


async def test_a_chain_stands_still_beside_quotes_that_are_played(tmp_path: Path) -> None:
    played = written(
        tmp_path,
        "some.csv",
        PLAYED,
        "2013-10-08T09:30:00,SPY,166,1,167,1",
        "2013-10-08T09:31:00,SPY,168,1,169,1",
    )
    feed, clock = feed_of(played, chain_file(tmp_path), daily_file(tmp_path))
    for bid in (166, 168):
        share, option = feed.newest("SPY"), feed.newest("AAPL140621C00650000")
        assert share is not None
        assert option is not None
        assert (share.bid, option.bid, option.as_of_us) == (bid, Decimal("9.1"), WEDNESDAY_OPEN_US)
        clock.advance(60)
    assert [one.symbol for one in await feed.search("", 9)] == []
    assert list(await feed.fetch_expirations("SPY")) == []
    with pytest.raises(ReplayError, match="SPY has quotes that are played and a chain"):
        feed_of(played, chain_file(tmp_path, name="chain_spy_20140606.csv"))


def test_a_chain_that_cannot_be_read_is_refused_with_the_line(tmp_path: Path) -> None:
    good = ROWS[0]
    wrong = {
        "": "no rows behind the header",
        "2014-06-21,put,645.0,11.5,7,11.7,9": "line 2: 7 fields instead of 8",
        good.replace("2014-06-21", "2014-06-31"): "line 2: expiration is not a day",
        good.replace(
            "2014-06-21", "2014-06-05"
        ): "line 2: expiration is not a day such as 2014-06-21 from 2014-06-06 on",
        good.replace("2014-06-21", "20140621"): "line 2: expiration",
        good.replace("put", "Put"): "line 2: an option is a call or a put",
        good.replace("645.0", "0"): "line 2: a strike is over 0",
        good.replace("645.0", "645.00001"): "line 2: a strike is no finer",
        good.replace("645.0", "nan"): "line 2: strike is not a number",
        good.replace("11.5", "NaN"): "line 2: bid is not a number",
        good.replace("11.5", "-1"): "line 2: bid is not a number",
        good.replace("11.7", "1e99"): "line 2: ask is not a number",
        good.replace(",7,", ",x,"): "line 2: bid_size is not a number",
        good.replace("2001", "20.5"): "line 2: open_interest is not a whole number",
        good.replace("2001", "-1"): "line 2: open_interest is not a number",
        f"{good}\n{good}": "line 3: the contract is there already",
    }
    for rows, words in wrong.items():
        path = chain_file(tmp_path, *([rows] if rows else ()))
        if not rows:
            path.write_text(CHAIN + "\n")
        with pytest.raises(ReplayError, match=words):
            feed_of(path)


def test_the_name_of_a_file_must_say_what_the_file_does_not(tmp_path: Path) -> None:
    for name, words in {
        "aapl.csv": "named by its ticker and day",
        "chain_aapl.csv": "named by its ticker and day",
        "chain_aapl_20140607.csv": "no trading day",
        "chain_aapl_20141340.csv": "no trading day",
        "chain_toolong_20140606.csv": "no ticker",
    }.items():
        with pytest.raises(ReplayError, match=words):
            feed_of(chain_file(tmp_path, name=name))
    for name, rows, words in (
        ("days.csv", DAYS, "named by their ticker"),
        ("daily_aapl.csv", (DAYS[1], DAYS[0]), "line 3: date"),
        ("daily_aapl.csv", (DAYS[0].replace("2014-06-05", "today"),), "line 2: date"),
        ("daily_aapl.csv", (DAYS[0].replace("647.35", "x"),), "line 2: close is not a number"),
    ):
        with pytest.raises(ReplayError, match=words):
            feed_of(chain_file(tmp_path), daily_file(tmp_path, *rows, name=name))


def test_files_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    played = [
        written(tmp_path, name, PLAYED, "2013-10-08T09:30:00,SPY,166,1,167,1") for name in ("a.csv", "b.csv")
    ]
    chain, daily = chain_file(tmp_path), daily_file(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    for paths, words in (
        (played, "b.csv: one file of quotes can be played, and a.csv is there"),
        ([chain, chain_file(other)], "chain_aapl_20140606.csv: there is another file of AAPL"),
        ([chain, daily, daily_file(other)], "daily_aapl.csv: there is another file of AAPL"),
        ([daily], "the daily bars of AAPL"),
        ([chain, tmp_path / "nowhere.csv"], r"nowhere.csv: the file cannot be read .*FileNotFoundError"),
        ([chain] * 65, "1 to 64 files"),
    ):
        with pytest.raises(ReplayError, match=words):
            feed_of(*paths)


async def test_the_setting_names_one_file_or_several(tmp_path: Path) -> None:
    odd = tmp_path / "a,b"
    odd.mkdir()
    chain, daily = chain_file(odd), daily_file(odd)
    environ = {"MARKET_DATA": "replay", "DATA_DIR": str(tmp_path)}
    settings = load_settings(environ | {"REPLAY_FILE": str(chain)})
    feed, _ = configured_feed(settings, FakeClock(), Governors(FakeClock()))
    assert len(await feed.fetch_expirations("AAPL")) == 3, (
        "a comma in the name of a single file is part of it"
    )
    chain, daily = chain_file(tmp_path), daily_file(tmp_path)
    settings = load_settings(environ | {"REPLAY_FILE": f"{chain}, {daily}"})
    feed, hours = configured_feed(settings, FakeClock(), Governors(FakeClock()))
    assert feed.newest("AAPL") is not None
    assert hours.is_open(FakeClock().now_us())
    for wrong in (f"{chain},{tmp_path / 'nowhere.csv'}", f"{chain},{'x' * 5000}", ","):
        with pytest.raises(SettingsError, match="REPLAY_FILE"):
            load_settings(environ | {"REPLAY_FILE": wrong})


RECORDED = os.environ.get("PAIID_RECORDED_DATA")


@pytest.mark.skipif(RECORDED is None, reason="PAIID_RECORDED_DATA does not name a folder of recorded data")
async def test_the_recorded_chain_of_apple_is_there_to_the_last_contract() -> None:
    folder = Path(RECORDED or "")
    feed, _ = feed_of(folder / "chain_aapl_20140606.csv.gz", folder / "daily_aapl.csv.gz")
    rows = await feed.fetch_chain("AAPL", date.min, date.max)
    assert len(rows) == 2352
    assert len(await feed.fetch_expirations("AAPL")) == 13
    assert sum(row.quote is not None and row.quote.bid == 0 for row in rows) == 157
    assert sum(row.open_interest is None for row in rows) == 30
    assert [row.order for row in rows] == sorted(row.order for row in rows)
    share = feed.newest("AAPL")
    assert share is not None
    assert share.last == Decimal("645.57")
