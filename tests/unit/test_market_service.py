"""The market service: freshness, what is fetched and what is remembered, and the warning before the table ends."""

import asyncio
import json
import string
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from paiid.domain.calendar import MarketHours, hours_of
from paiid.domain.corporate import CorporateAction
from paiid.domain.quotes import Quote
from paiid.feeds import FeedUnavailable
from paiid.feeds.simulated import SimulatedFeed
from paiid.market import fetched, service
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.market.fetched import MOST_CALLS
from paiid.market.service import MarketService
from paiid.market.state import FeedState, Status
from paiid.market.views import quote_view
from tests.fake_clock import FakeClock
from tests.heard_feed import HeardFeed
from tests.market_world import SATURDAY_US, WEDNESDAY_OPEN_US, FakeFeed, utc_us

CLOSE_US = utc_us("2026-11-25 21:00")
EXTENDED_END_US = utc_us("2026-11-26 01:00")
OPTION = "AAPL261218C00265000"
RESEND_US = int(FakeFeed.resend_interval_s * 1_000_000)


def market(at_us: int, hours: str = "exchange", *symbols: str) -> tuple[MarketService, FakeFeed, FakeClock]:
    clock, feed = FakeClock(at_us), FakeFeed(*symbols)
    return MarketService(feed, clock, hours_of(hours)), feed, clock


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


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


def test_S5_out_of_hours_their_last_quote_counts_as_reference() -> None:
    one, feed, clock = market(EXTENDED_END_US - 1)
    feed.set("AAPL", "10", "10.02", as_of_us=EXTENDED_END_US - 2_000_000)
    clock.advance(0.000001)
    assert not newest(one).stale
    clock.advance(31 * 3600)
    assert not newest(one).stale
    clock.advance((utc_us("2026-11-27 09:00") - clock.now_us()) / 1_000_000)
    assert newest(one).stale, "once trading begins a quote of two days ago is no reference"


def test_S5_in_extended_hours_a_share_has_to_be_quoted_as_in_the_session() -> None:
    one, feed, clock = market(CLOSE_US + 3_600_000_000)
    feed.set("AAPL", "10", "10.02", as_of_us=CLOSE_US - 1)
    assert newest(one).stale, "the close is no reference while trading goes on"
    feed.set("AAPL", "10", "10.02", as_of_us=clock.now_us() - RESEND_US)
    assert not newest(one).stale


def test_S5_an_option_trades_in_the_regular_session_only_and_its_close_is_the_reference_after_it() -> None:
    one, feed, clock = market(CLOSE_US - 1)
    feed.set(OPTION, "1", "1.05", as_of_us=CLOSE_US - RESEND_US - 2)
    assert newest(one, OPTION).stale
    feed.set(OPTION, "1", "1.05", as_of_us=CLOSE_US - 1_000_000)
    for hours in (0, 1, 5, 16):
        clock.advance(hours * 3600)
        assert not newest(one, OPTION).stale
    clock.advance((utc_us("2026-11-27 14:30") - clock.now_us()) / 1_000_000)
    assert newest(one, OPTION).stale


async def test_what_only_the_feed_knows_is_passed_on() -> None:
    one, feed, _ = market(WEDNESDAY_OPEN_US)
    feed.list_contracts(OPTION, "AAPL261218P00265000", "AAPL270115C00265000", "BRKB261218C00505000")
    day = date(2026, 12, 18)
    assert list(await one.expirations("AAPL")) == [day, date(2027, 1, 15)]
    assert [c.symbol for c in await one.contracts("AAPL", day)] == [OPTION, "AAPL261218P00265000"]
    assert [c.underlying for c in await one.contracts("BRK.B", day)] == ["BRK.B"]
    assert list(await one.contracts("AAPL", date(2026, 12, 19))) == []
    feed.actions = [CorporateAction("AAPL", day, "split", ratio=Decimal(4))]
    assert list(await one.corporate_actions(["SPY", "AAPL"], day)) == feed.actions
    assert list(await one.corporate_actions(["SPY"], day)) == []
    found = await one.instrument(OPTION)
    assert found is not None
    assert (found.asset_class, found.contract is not None) == ("option", True)
    feed.unlist(OPTION)
    assert await one.instrument(OPTION) is None
    feed.down = "away"
    for asked in (one.expirations("AAPL"), one.contracts("AAPL", day), one.corporate_actions(["AAPL"], day)):
        with pytest.raises(FeedUnavailable, match="away"):
            await asked


def test_S5_a_feed_that_fell_silent_before_the_end_has_no_last_quote_to_refer_to() -> None:
    one, feed, _ = market(SATURDAY_US)
    friday_end_us = utc_us("2026-11-27 22:00")
    feed.set("AAPL", "10", "10.02", as_of_us=friday_end_us - RESEND_US - 1)
    assert newest(one).stale
    feed.set("AAPL", "10", "10.02", as_of_us=friday_end_us - RESEND_US)
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
        assert not newest(one, "AAPL261211C00225000").stale


async def test_only_what_is_not_in_memory_is_fetched() -> None:
    one, feed, clock = market(WEDNESDAY_OPEN_US, "exchange", "AAPL", "SPY")
    assert one.newest("AAPL") is None
    assert list(await one.quotes(["SPY", "AAPL", "ZZZZ"])) == ["SPY", "AAPL"]
    assert feed.fetched == 1
    await one.quotes(["AAPL", "SPY"])
    assert feed.fetched == 1
    feed.down = "away"
    assert list(await one.quotes(["AAPL"])) == ["AAPL"]
    clock.advance(2 * feed.poll_s)
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
    assert not {"cached", "age_s", "recorded_at"} & set(view)


@pytest.mark.parametrize("untold", ["last", "prev_close"])
def test_a_last_price_or_close_of_zero_is_none_and_so_is_the_change(untold: str) -> None:
    quote = Quote(
        "AAPL", Decimal(10), Decimal(11), Decimal(1), Decimal(1), Decimal(10), Decimal(9), WEDNESDAY_OPEN_US, 7, "hand",
    )  # fmt: skip
    view = quote_view(replace(quote, **{untold: Decimal(0)}), delayed=False)
    assert [view[name] for name in (untold, "change", "change_pct")] == [None, None, None]
    assert {view["last"], view["prev_close"]} - {None}, "the other one is told"


def test_a_quote_of_a_recording_says_when_it_was_and_one_of_a_cache_how_old_it_is() -> None:
    one = Decimal(1)
    quote = Quote("AAPL", one, one, one, one, one, one, WEDNESDAY_OPEN_US, 7, "replay", recorded_at_us=1)
    view = quote_view(quote, delayed=False, age_s=1.26)
    assert view["recorded_at"] == "1970-01-01T00:00:00.000001Z"
    assert (view["cached"], str(view["age_s"])) == (True, "1.3")


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


# -- what has to be heard: the board, and what is asked for beside it ---------------------------------


def heard(
    *symbols: str, at_us: int = WEDNESDAY_OPEN_US, state: Callable[[], FeedState] | None = None
) -> tuple[MarketService, HeardFeed, FakeClock]:
    clock, feed = FakeClock(at_us), HeardFeed(*symbols)
    return MarketService(feed, clock, hours_of("exchange"), Board(), Demand(clock), state), feed, clock


def show(one: MarketService, quote: Quote, sequence: int = 1) -> Quote:
    one.board.show(quote, 1, sequence)
    return quote


def view(one: MarketService, bodies: dict[str, bytes], symbol: str = "AAPL") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bodies[symbol])
    return found


async def test_what_the_upstream_has_shown_is_not_asked_for() -> None:
    one, feed, _ = heard("AAPL")
    quote = show(one, feed.set("AAPL", "10", "10.02"))
    assert one.newest("AAPL") is quote
    assert (await one.quotes(["AAPL"]))["AAPL"] is quote
    assert "cached" not in view(one, await one.encoded_quotes(["AAPL"]))
    assert feed.calls == []


async def test_whoever_asks_has_the_symbol_followed_if_it_exists() -> None:
    one, _, _ = heard("AAPL", "MSFT", "SPY")
    await one.quotes(["MSFT", "ZZZZ"])
    assert one.demand.asked() == ["MSFT"]
    await one.quotes(["SPY"], follow=False)
    assert one.demand.asked() == ["MSFT"], "a whole chain is not followed because somebody looked at it"
    one.newest("AAPL")
    assert one.demand.asked() == ["AAPL", "MSFT"]


async def test_a_feed_that_knows_by_itself_need_not_follow_anything() -> None:
    one, feed, _ = market(WEDNESDAY_OPEN_US)
    feed.set("AAPL", "10", "10.02")
    await one.quotes(["AAPL"])
    one.newest("AAPL")
    assert one.demand.asked() == []


async def test_many_callers_at_once_cost_one_call() -> None:
    symbols = [f"AA{letter}" for letter in string.ascii_uppercase[:20]]
    one, feed, _ = heard(*symbols)
    feed.gate.clear()
    callers = [asyncio.create_task(one.quotes([symbols[n % 20], symbols[(n + 1) % 20]])) for n in range(200)]
    await settle()
    assert len(feed.calls) == 1
    late = asyncio.create_task(one.quotes(symbols))
    await settle()
    feed.gate.set()
    answers = await asyncio.gather(*callers, late)
    assert all(len(found) == 2 for found in answers[:-1])
    assert list(answers[-1]) == symbols
    assert [sorted(call) for call in feed.calls] == [symbols]


async def test_calls_that_come_while_all_are_under_way_share_the_next() -> None:
    symbols = [f"AA{letter}" for letter in string.ascii_uppercase]
    one, feed, _ = heard(*symbols)
    feed.gate.clear()
    tasks = []
    for symbol in symbols:
        tasks.append(asyncio.create_task(one.quotes([symbol])))
        await settle()
    assert len(feed.calls) == MOST_CALLS
    feed.gate.set()
    assert [len(found) for found in await asyncio.gather(*tasks)] == [1] * len(tasks)
    assert len(feed.calls) == MOST_CALLS + 1
    assert sorted(symbol for call in feed.calls for symbol in call) == symbols


async def test_a_caller_who_goes_away_takes_nothing_from_the_others() -> None:
    one, feed, _ = heard("AAPL")
    feed.gate.clear()
    first, second = (asyncio.create_task(one.quotes(["AAPL"])) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    feed.gate.set()
    assert list(await second) == ["AAPL"]
    assert first.cancelled()
    assert len(feed.calls) == 1


async def test_when_nobody_is_left_to_hear_of_a_failure_it_is_no_error() -> None:
    one, feed, _ = heard("AAPL")
    feed.down = "away"
    feed.gate.clear()
    gone = asyncio.create_task(one.quotes(["AAPL"]))
    await settle()
    gone.cancel()
    feed.gate.set()
    await settle()
    feed.down = None
    assert list(await one.quotes(["AAPL"])) == ["AAPL"], "and the next one asks anew"


async def test_each_caller_gets_a_failure_of_his_own() -> None:
    one, feed, _ = heard("AAPL")
    feed.down = "away"
    answers = await asyncio.gather(*(one.quotes(["AAPL"]) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in answers] == ["away"] * 3
    assert len({id(error) for error in answers}) == 3
    assert len(feed.calls) == 1


async def test_a_defect_of_the_feed_reaches_who_asked_and_leaves_nothing_behind() -> None:
    one, feed, _ = heard("AAPL")
    feed.fault = ValueError("a defect")
    for _ in range(2):
        with pytest.raises(ValueError, match="a defect"):
            await one.quotes(["AAPL"])
    feed.fault = None
    assert list(await one.quotes(["AAPL"])) == ["AAPL"]


async def test_a_call_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "CALL_S", 0.02)
    one, feed, _ = heard("AAPL")
    feed.gate.clear()
    with pytest.raises(FeedUnavailable, match="in time"):
        await one.quotes(["AAPL"])
    feed.gate.set()
    assert list(await one.quotes(["AAPL"])) == ["AAPL"]


async def test_what_was_asked_for_is_kept_a_moment_and_says_so() -> None:
    one, feed, clock = heard("AAPL")
    assert "cached" not in view(one, await one.encoded_quotes(["AAPL"]))
    clock.advance(feed.poll_s * 0.9)
    again = view(one, await one.encoded_quotes(["AAPL"]))
    assert (again["cached"], again["age_s"]) == (True, pytest.approx(feed.poll_s * 0.9, abs=0.051))
    assert len(feed.calls) == 1
    clock.advance(feed.poll_s * 0.2)
    assert "cached" not in view(one, await one.encoded_quotes(["AAPL"]))
    assert len(feed.calls) == 2


async def test_that_a_symbol_is_unknown_is_kept_a_moment_too() -> None:
    one, feed, clock = heard()
    assert await one.quotes(["ZZZZ"]) == {}
    assert await one.quotes(["ZZZZ"]) == {}
    assert len(feed.calls) == 1
    clock.advance(2 * feed.poll_s)
    assert await one.quotes(["ZZZZ"]) == {}
    assert len(feed.calls) == 2


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "MOST_FETCHED", 3)
    symbols = [f"AA{letter}" for letter in "ABCDEFGH"]
    one, _, _ = heard(*symbols)
    assert list(await one.quotes(symbols)) == symbols, "what was just asked for is told all the same"
    assert len(one._fetcher._kept) == 3


async def test_E17_a_price_that_is_stale_in_memory_is_asked_for() -> None:
    one, feed, clock = heard()
    show(one, feed.set("AAPL", "10", "10.02", as_of_us=clock.now_us() - RESEND_US - 1))
    feed.set("AAPL", "11", "11.02", as_of_us=clock.now_us())
    assert newest(one).stale
    quote = (await one.quotes(["AAPL"]))["AAPL"]
    assert (quote.bid, quote.stale) == (11, False)
    assert newest(one) == quote, "from then on it is in memory"


async def test_E17_no_price_is_ever_older_than_the_rule_without_being_called_stale() -> None:
    one, feed, clock = heard("AAPL")
    feed.set("AAPL", "10", "10.02", as_of_us=clock.now_us())
    assert not (await one.quotes(["AAPL"]))["AAPL"].stale
    for down in (None, "away"):
        feed.down = down
        clock.advance(RESEND_US / 1_000_000 + 1)
        assert (await one.quotes(["AAPL"]))["AAPL"].stale
        assert newest(one).stale


async def test_while_the_feed_is_down_what_is_in_memory_is_told_as_stale_and_the_rest_is_a_failure() -> None:
    one, feed, clock = heard("AAPL")
    await one.quotes(["AAPL"])
    feed.down = "away"
    clock.advance(1)
    told = view(one, await one.encoded_quotes(["AAPL"]))
    assert (told["bid"], told["stale"], told["cached"], told["age_s"]) == (10, True, True, 1)
    with pytest.raises(FeedUnavailable, match="away"):
        await one.quotes(["AAPL", "SPY"])


async def test_an_answer_that_is_behind_the_stream_does_not_take_its_place() -> None:
    one, feed, clock = heard()
    late = feed.set("AAPL", "9", "9.02", as_of_us=clock.now_us() - 2 * RESEND_US)
    feed._memory["AAPL"] = replace(late, confirmed_us=clock.now_us())
    shown = show(one, replace(late, bid=Decimal(10), as_of_us=clock.now_us() - RESEND_US - 1))
    assert (await one.quotes(["AAPL"]))["AAPL"] == replace(shown, stale=True)


async def test_a_quote_from_a_time_to_come_is_stale_and_gives_way() -> None:
    one, feed, clock = heard()
    feed.set("AAPL", "10", "10.02", as_of_us=clock.now_us() + 3_600_000_000)
    assert (await one.quotes(["AAPL"]))["AAPL"].stale
    shown = show(one, feed.set("AAPL", "11", "11.02", as_of_us=clock.now_us()))
    assert one.newest("AAPL") is shown


async def test_S5_while_the_upstream_is_down_a_share_that_trades_is_stale_and_is_asked_for() -> None:
    status: list[Status] = ["down"]
    one, feed, clock = heard(state=lambda: FeedState(status[0], "", "hand", since_us=0, leads=True, epoch=1))
    quote = show(one, feed.set("AAPL", "10", "10.02", as_of_us=clock.now_us() - 1))
    option = show(one, feed.set(OPTION, "1", "1.02", as_of_us=clock.now_us() - 1))
    assert newest(one).stale
    assert newest(one, OPTION).stale
    feed.set("AAPL", "12", "12.02", as_of_us=clock.now_us())
    assert (await one.quotes(["AAPL"]))["AAPL"].bid == 12, "where one can still ask, the answer is good"
    status[0] = "degraded"
    assert one.newest(OPTION) is option
    status[0] = "down"
    clock.advance((EXTENDED_END_US + 1 - clock.now_us()) / 1_000_000)
    late = show(one, replace(quote, as_of_us=EXTENDED_END_US - 1))
    assert one.newest("AAPL") is late, "out of hours the last quote counts as reference"


async def test_S5_while_the_upstream_is_down_what_it_has_asked_for_itself_is_as_good_as_what_was_asked_here() -> (
    None
):
    one, feed, clock = heard(state=lambda: FeedState("down", "", "hand", since_us=0, leads=True, epoch=1))
    first = feed.set("AAPL", "10", "10.02", as_of_us=clock.now_us() - 1_000_000)
    show(one, first)
    feed._memory["AAPL"] = replace(first, confirmed_us=clock.now_us())
    assert not (await one.quotes(["AAPL"]))["AAPL"].stale
    clock.advance(0.01)
    later = show(one, replace(first, as_of_us=clock.now_us(), confirmed_us=clock.now_us()), 2)
    assert one.newest("AAPL") == later
    assert (await one.quotes(["AAPL"]))["AAPL"] == later
    clock.advance(-0.02)
    silent = show(one, replace(first, as_of_us=first.as_of_us + 1), 3)
    assert one.newest("AAPL") == replace(silent, stale=True), (
        "said before what was asked for, and not known since"
    )
    assert len(feed.calls) == 1


async def test_S5_when_another_source_takes_over_its_interval_counts() -> None:
    one, feed, clock = heard()
    show(one, feed.set("AAPL", "10", "10.02", as_of_us=clock.now_us() - RESEND_US - 1))
    assert newest(one).stale
    feed.resend_interval_s = 30.0
    assert not newest(one).stale
    feed.resend_interval_s = 5.0
    assert newest(one).stale


@pytest.mark.parametrize(
    ("source", "real"), [("simulated", False), ("replay", False), ("alpaca", True), ("tradier", True)]
)
def test_only_a_real_feed_prices_a_real_broker_and_any_feed_the_built_in_one(source: str, real: bool) -> None:
    one, feed, _ = market(WEDNESDAY_OPEN_US)
    feed.source = source
    assert one.prices_for(simulated=False) is real
    assert one.prices_for(simulated=True)


async def test_indices_are_told_as_quotes_of_what_stands_for_them() -> None:
    one, feed, _ = heard("SPY")
    told = json.loads(await one.indices())
    assert [(item["name"], item["symbol"], item["proxy"], item["bid"]) for item in told] == [
        ("S&P 500", "SPY", True, 10)
    ]
    feed.indices = ()
    assert await one.indices() == b"[]"
