"""The market service: freshness, what is fetched and what is remembered, and the warning before the table ends."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from paiid.domain.calendar import MarketHours, hours_of
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.simulated import SimulatedFeed
from paiid.market import service
from paiid.market.service import MarketService
from paiid.market.views import quote_view
from tests.fakes import FakeClock
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, FakeFeed, utc_us

CLOSE_US = utc_us("2026-11-25 21:00")
RESEND_US = int(FakeFeed.resend_interval_s * 1_000_000)


def market(at_us: int, hours: str = "exchange", *symbols: str) -> tuple[MarketService, FakeFeed, FakeClock]:
    clock, feed = FakeClock(at_us), FakeFeed(*symbols)
    return MarketService(feed, clock, hours_of(hours)), feed, clock


def newest(one: MarketService, symbol: str = "AAPL") -> Quote:
    quote = one.newest(symbol)
    assert quote is not None
    return quote


@pytest.mark.parametrize(("age_us", "stale"), [(0, False), (RESEND_US, False), (RESEND_US + 1, True)])
@pytest.mark.parametrize("hours", ["always", "exchange"])
async def test_S5_in_a_session_a_quote_older_than_the_resend_interval_is_stale(
    hours: str, age_us: int, stale: bool
) -> None:
    one, feed, _ = market(WEDNESDAY_OPEN_US, hours)
    feed.set("AAPL", "10", "10.02", as_of_us=WEDNESDAY_OPEN_US - age_us)
    assert newest(one).stale is stale
    assert (await one.quotes(["AAPL"]))["AAPL"].stale is stale
    assert json.loads((await one.encoded_quotes(["AAPL"]))["AAPL"])["stale"] is stale


def test_S5_out_of_session_the_last_close_counts_as_reference() -> None:
    one, feed, clock = market(CLOSE_US - 1)
    feed.set("AAPL", "10", "10.02", as_of_us=CLOSE_US - 2_000_000)
    clock.advance(0.000001)
    assert not newest(one).stale
    clock.advance(40 * 3600)
    assert not newest(one).stale
    clock.advance((utc_us("2026-11-27 14:30") - clock.now_us()) / 1_000_000)
    assert newest(one).stale, "with the open a quote of two days ago is no reference"


def test_S5_a_feed_that_fell_silent_before_the_close_has_no_last_close_to_refer_to() -> None:
    one, feed, _ = market(SATURDAY_US)
    friday_close_us = utc_us("2026-11-27 18:00")
    feed.set("AAPL", "10", "10.02", as_of_us=friday_close_us - RESEND_US - 1)
    assert newest(one).stale
    feed.set("AAPL", "10", "10.02", as_of_us=friday_close_us - RESEND_US)
    assert not newest(one).stale


def test_S5_what_the_feed_itself_calls_stale_is_judged_anew() -> None:
    one, feed, _ = market(WEDNESDAY_OPEN_US)
    feed._memory["AAPL"] = replace(feed.set("AAPL", "10", "10.02"), stale=True)
    assert not newest(one).stale


@pytest.mark.parametrize("hours", ["always", "exchange"])
def test_the_simulated_market_is_never_stale(hours: str) -> None:
    clock = FakeClock(utc_us("2026-11-25 13:00"))
    kept = hours_of(hours)
    one = MarketService(SimulatedFeed(clock, kept, 1), clock, kept)
    for _ in range(400):
        clock.advance(977.13)
        assert not newest(one, "AAPL").stale


async def test_only_what_is_not_in_memory_is_fetched() -> None:
    one, feed, _ = market(WEDNESDAY_OPEN_US, "exchange", "AAPL", "SPY")
    assert one.newest("AAPL") is None
    assert list(await one.quotes(["SPY", "AAPL", "ZZZZ"])) == ["SPY", "AAPL"]
    assert feed.fetched == 1
    await one.quotes(["AAPL", "SPY"])
    assert feed.fetched == 1
    feed.down = "away"
    assert list(await one.quotes(["AAPL"])) == ["AAPL"]
    with pytest.raises(FeedUnavailable, match="away"):
        await one.quotes(["AAPL", "ZZZZ"])
    with pytest.raises(FeedUnavailable, match="away"):
        await one.instrument("AAPL")


async def test_a_quote_is_encoded_once_while_it_is_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Quote] = []
    monkeypatch.setattr(service, "quote_view", lambda q, delayed: encoded.append(q) or quote_view(q, delayed))
    one, feed, clock = market(WEDNESDAY_OPEN_US)
    feed.set("AAPL", "10", "10.02")
    bodies = {(await one.encoded_quotes(["AAPL"]))["AAPL"] for _ in range(5)}
    assert (len(bodies), len(encoded)) == (1, 1)
    feed.set("AAPL", "11", "11.02")
    assert json.loads((await one.encoded_quotes(["AAPL"]))["AAPL"])["bid"] == 11
    clock.advance(RESEND_US / 1_000_000 + 1)
    assert json.loads((await one.encoded_quotes(["AAPL"]))["AAPL"])["stale"] is True
    assert len(encoded) == 3


async def test_the_memory_for_encoded_quotes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST_KEPT", 3)
    symbols = [f"AA{letter}" for letter in "ABCDEFGH"]
    one, _, _ = market(WEDNESDAY_OPEN_US, "exchange", *symbols)
    for symbol in symbols:
        assert await one.encoded_quotes([symbol])
        assert len(one._encoded) <= 3


def test_prices_are_told_with_their_digits_and_no_more() -> None:
    quote = Quote(
        "AAPL", Decimal("10.10"), Decimal("10.20"), Decimal("1E+2"), Decimal(300), Decimal("10.20"), Decimal("9.99"),
        WEDNESDAY_OPEN_US, 7, "hand",
    )  # fmt: skip
    view = quote_view(quote, delayed=True)
    assert {name: str(view[name]) for name in ("bid", "ask", "bid_size", "change", "change_pct")} == {
        "bid": "10.1",
        "ask": "10.2",
        "bid_size": "100",
        "change": "0.21",
        "change_pct": "2.1021",
    }
    assert (view["as_of"], view["delayed"]) == ("2026-11-25T15:00:00.000000Z", True)
    without = quote_view(replace(quote, prev_close=Decimal(0)), delayed=False)
    assert [without[name] for name in ("prev_close", "change", "change_pct")] == [None, None, None]


@pytest.mark.parametrize(
    ("hours", "at", "warned"),
    [
        ("exchange", "2026-11-24 15:00", False),
        ("exchange", "2029-11-01 15:00", False),
        ("exchange", "2030-03-01 15:00", True),
        ("exchange", "2031-07-04 15:00", True),
        ("always", "2031-07-04 15:00", False),
    ],
)
async def test_the_end_of_the_holiday_table_is_told_a_year_before_and_never_stops_a_start(
    hours: str, at: str, warned: bool
) -> None:
    one, feed, _ = market(utc_us(at), hours)
    with capture_logs() as logs:
        await one.start()
    assert feed.started == 1
    assert [line["event"] for line in logs] == (["holiday_table_ends"] if warned else [])
    await one.stop()
    assert feed.started == 0


def test_the_hours_are_there_for_others() -> None:
    hours: MarketHours = hours_of("exchange")
    assert MarketService(FakeFeed(), FakeClock(), hours).hours is hours
