"""Tradier's feed against the simulated Tradier: another hand's reading of the same documents, with its whole market and its faults."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.domain.bars import Timeframe
from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, FeedUnavailable, Heard, Lost
from paiid.feeds.tradier import TradierFeed, TradierKeys, Transport
from paiid.sim.tradier.markets.side import MarketOptions
from tests.feed_world import TRADIER_PACE, Tradier, tradier_keys, tradier_on
from tests.tradier_data_stage import QUICK
from tests.tradier_markets_world import until

PATIENCE_S = 20.0
"""Only guards against hanging."""
TRANSPORTS: tuple[Transport, ...] = ("websocket", "http")


@pytest.fixture
async def tradier(tmp_path: Path, template: Path) -> AsyncIterator[Tradier]:
    async with tradier_on(tmp_path / "sim", template, markets=MarketOptions(poll_s=0.005)) as one:
        yield one


def feed_of(tradier: Tradier, **options: Any) -> TradierFeed:
    return TradierFeed(SystemClock(), tradier_keys(tradier.url), **({"timings": QUICK} | options))


@asynccontextmanager
async def listening(feed: TradierFeed, *symbols: str) -> AsyncIterator[Callable[..., Any]]:
    """`await until(fits)`: the next event that fits."""
    feed.follow(symbols)
    async with aclosing(feed.listen()) as events:  # type: ignore[type-var]

        async def next_that(fits: Callable[[FeedEvent], Any]) -> Any:
            async with asyncio.timeout(PATIENCE_S):
                async for event in events:
                    if fits(event):
                        return event
            raise AssertionError("the feed ended")

        yield next_that
    await feed.stop()


def is_quote(symbol: str) -> Callable[[FeedEvent], bool]:
    return lambda event: isinstance(event, Quote) and event.symbol == symbol


def asks(symbol: str, ask: Decimal) -> Callable[[FeedEvent], bool]:
    return lambda event: isinstance(event, Quote) and (event.symbol, event.ask) == (symbol, ask)


async def test_everything_that_is_asked_is_answered(tradier: Tradier) -> None:
    feed = feed_of(tradier)
    found = await feed.fetch_quotes(["AAPL", "SPY", "BRK.B", "ZZZZZ"])
    assert set(found) == {"AAPL", "SPY", "BRK.B"}
    assert all(0 < one.bid <= one.ask and one.last > 0 for one in found.values())
    instrument = await feed.fetch_instrument("BRK.B")
    assert instrument is not None
    assert instrument.tradable
    assert (await feed.search("aapl", 3))[0].symbol == "AAPL"
    days = await feed.fetch_expirations("SPY")
    assert len(days) > 3
    contracts = await feed.fetch_contracts("SPY", days[1])
    contract = contracts[len(contracts) // 2]
    assert (await feed.fetch_quotes([contract.symbol]))[contract.symbol].ask > 0
    option = await feed.fetch_instrument(contract.symbol)
    assert option is not None
    assert option.contract == contract
    now_us = SystemClock().now_us()
    for timeframe in (Timeframe.MINUTE_1, Timeframe.HOUR_1, Timeframe.DAY_1, Timeframe.WEEK_1):
        bars = await feed.fetch_bars("AAPL", timeframe, now_us - 40 * 86_400_000_000, now_us, 20)
        assert len(bars) > 3, timeframe
        assert all(one.low <= one.open <= one.high for one in bars)
    assert set(tradier.statuses) == {200}
    await feed.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_quotes_are_streamed_and_what_is_followed_takes_the_place_of_what_was(
    tradier: Tradier, transport: Transport
) -> None:
    feed = feed_of(tradier, transport=transport)
    async with listening(feed, "AAPL", "BRK.B") as next_that:
        await next_that(is_quote("BRK.B"))
        first = await next_that(is_quote("AAPL"))
        ask = tradier.pin("AAPL", "200.05")
        later = await next_that(asks("AAPL", ask))
        assert later.sequence > first.sequence
        feed.follow(["SPY"])
        await next_that(is_quote("SPY"))
        ask = tradier.pin("SPY", "600.05")
        await next_that(asks("SPY", ask))
        await until(lambda: tradier.ledger("data_subscribe")[-1]["symbols"] == 1)
        sessions = [one["outcome"] for one in tradier.ledger("market_session")]
        assert set(sessions) == {"created"}, "ours is closed before another is asked for"
        if transport == "websocket":
            assert len(sessions) == feed.connections == 1, "the set is told on the same socket"
        assert feed.dropped == 0


async def test_forty_symbols_and_contracts_are_told_over_one_stream(tradier: Tradier) -> None:
    feed = feed_of(tradier)
    shares = [one.symbol for one in await feed.search("a", 40)][:24]
    day = (await feed.fetch_expirations("SPY"))[2]
    contracts = [one.symbol for one in (await feed.fetch_contracts("SPY", day))[20:36]]
    wanted = [*shares, *contracts]
    async with listening(feed, *wanted) as next_that:
        left = set(wanted)
        while left:
            left.discard((await next_that(lambda event: isinstance(event, Quote))).symbol)
        ask = tradier.pin(contracts[0], "9.05")
        await next_that(asks(contracts[0], ask))
        assert feed.connections == 1


async def test_spoiled_ticks_leave_a_stream_that_only_grows(tradier: Tradier) -> None:
    feed = feed_of(tradier)
    async with listening(feed, "AAPL", "SPY", "QQQ", "NVDA", "TSLA") as next_that:
        newest = await next_that(is_quote("AAPL"))
        for fault in (
            "frame_garbage", "message_unknown", "quote_duplicated", "quote_reordered", "quote_time", "quote_burst", "quote_zero",
        ):  # fmt: skip
            before = tradier.played(fault)
            tradier.fault(fault, on="ticks", next=3)
            while tradier.played(fault) < before + 3:
                event = await next_that(lambda event: isinstance(event, Quote | Lost))
                assert isinstance(event, Quote), "the connection stays"
                if event.symbol == "AAPL":
                    assert event.sequence >= newest.sequence
                    assert event.as_of_us >= newest.as_of_us
                    newest = event
        # Each was seen for what it was; what was played last may still be on its way.
        await until(lambda: all(feed.counts.get(one) for one in ("duplicate", "backward", "no_price")))
        assert feed.dropped > 0


async def test_sizes_are_shares_whether_they_are_asked_for_or_streamed(tradier: Tradier) -> None:
    """Tradier counts shares in hundreds and contracts one by one; the market below knows better."""
    feed = feed_of(tradier)
    day = (await feed.fetch_expirations("SPY"))[2]
    contract = (await feed.fetch_contracts("SPY", day))[20].symbol
    for symbol in ("AAPL", contract):
        tradier.sim.market.pin(symbol, Decimal("9.00"), Decimal("9.05"), Decimal(400), Decimal(700))
        quote = (await feed.fetch_quotes([symbol]))[symbol]
        assert (quote.bid_size, quote.ask_size) == (Decimal(400), Decimal(700))
    async with listening(feed, "AAPL", contract) as next_that:
        for symbol in ("AAPL", contract):
            await next_that(is_quote(symbol))
            tradier.sim.market.pin(symbol, Decimal("8.00"), Decimal("8.05"), Decimal(500), Decimal(800))
            quote = await next_that(asks(symbol, Decimal("8.05")))
            assert (quote.bid_size, quote.ask_size) == (Decimal(500), Decimal(800))


async def test_a_stream_that_is_mute_and_answers_pings_is_made_up_for_by_asking(tradier: Tradier) -> None:
    feed = feed_of(tradier, timings=replace(QUICK, mute_s=3600.0))
    async with listening(feed, "AAPL", "SPY") as next_that:
        await next_that(is_quote("AAPL"))
        tradier.fault("silent", on="ticks", next=1)
        await until(lambda: tradier.played("silent") == 1)
        for price in ("200.05", "200.06"):
            await next_that(asks("AAPL", tradier.pin("AAPL", price)))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_place_that_another_program_holds_is_waited_for_and_everything_asked_for_meanwhile(
    tradier: Tradier, transport: Transport
) -> None:
    first, second = feed_of(tradier), feed_of(tradier, transport=transport)
    async with listening(first, "AAPL") as next_of_first:
        await next_of_first(is_quote("AAPL"))
        async with listening(second, "AAPL") as next_of_second:
            assert (
                "another market session"
                in (await next_of_second(lambda event: isinstance(event, Lost))).reason
            )
            for price in ("200.05", "200.06"):
                await next_of_second(asks("AAPL", tradier.pin("AAPL", price)))
            assert second.connections == 0, "polled"
            refused = [one for one in tradier.ledger("market_session") if one["outcome"] != "created"]
            assert refused
            await first.stop()
            await until(lambda: second.connections == 1)
            await next_of_second(asks("AAPL", tradier.pin("AAPL", "200.07")))
            assert first.connections == 1, "whoever came first was never thrown out"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_session_that_is_lost_when_the_stream_opens_costs_one_more(
    tradier: Tradier, transport: Transport
) -> None:
    tradier.fault("session_lost", next=2)
    feed = feed_of(tradier, transport=transport)
    async with listening(feed, "AAPL") as next_that:
        assert "session" in (await next_that(lambda event: isinstance(event, Lost))).reason
        await until(lambda: tradier.played("session_lost") == 2)
        await next_that(asks("AAPL", tradier.pin("AAPL", "200.05")))
        await until(lambda: sum(tradier.sim.markets.connections.values()) == 1)
        created = [one for one in tradier.ledger("market_session") if one["outcome"] == "created"]
        assert len(created) == 3, "an id that was refused is not used again"


@pytest.mark.parametrize("kind", ["disconnect", "silent"])
async def test_a_stream_that_is_cut_or_deaf_is_replaced_and_everything_told_anew(
    tradier: Tradier, kind: str
) -> None:
    feed = feed_of(tradier, timings=TRADIER_PACE)
    async with listening(feed, "AAPL", "SPY") as next_that:
        await next_that(is_quote("AAPL"))
        params = {"params": {"deaf": True}} if kind == "silent" else {}
        tradier.fault(kind, on="ticks", next=1, **params)
        await next_that(lambda event: isinstance(event, Lost))
        left = {"AAPL", "SPY"}
        while left:
            left.discard((await next_that(lambda event: isinstance(event, Quote))).symbol)
        # At this pace a machine that stands still for a second loses one more.
        await until(lambda: feed.connections >= 2)
        await next_that(asks("AAPL", tradier.pin("AAPL", "200.05")))


async def test_a_stream_that_is_closed_in_good_order_is_opened_again(tradier: Tradier) -> None:
    """As Tradier does at night."""
    feed = feed_of(tradier)
    async with listening(feed, "AAPL") as next_that:
        await next_that(is_quote("AAPL"))
        tradier.sim.markets.close_all()
        await until(lambda: feed.connections >= 2)
        await next_that(asks("AAPL", tradier.pin("AAPL", "200.05")))


async def test_the_sandbox_has_no_stream_and_is_asked_in_one_request_a_round(
    tmp_path: Path, template: Path
) -> None:
    async with tradier_on(tmp_path / "sandbox", template, sandbox=True) as tradier:
        feed = feed_of(tradier, sandbox=True)
        assert feed.delayed
        wanted = ("AAPL", "SPY", "QQQ", "BRK.B")
        async with listening(feed, *wanted) as next_that:
            left = set(wanted)
            while left:
                quote = await next_that(lambda event: isinstance(event, Quote))
                left.discard(quote.symbol)
                assert quote.as_of_us < SystemClock().now_us() - 890_000_000, "a quarter of an hour old"
                assert quote.confirmed_us > SystemClock().now_us() - 60_000_000
            assert feed.connections == 0
        assert not tradier.ledger("market_session")


async def test_a_sandbox_that_nobody_told_of_is_polled_after_its_stream_was_refused(
    tmp_path: Path, template: Path
) -> None:
    async with tradier_on(tmp_path / "sandbox", template, sandbox=True) as tradier:
        feed = feed_of(tradier)
        async with listening(feed, "AAPL") as next_that:
            assert "403" in (await next_that(lambda event: isinstance(event, Lost))).reason
            await next_that(is_quote("AAPL"))
            await next_that(lambda event: isinstance(event, Heard))


async def test_a_wrong_token_is_told_as_such_and_never_shown(tradier: Tradier) -> None:
    token = "wrong-token-0000000000000000000000"
    keys = replace(tradier_keys(tradier.url), token=token)
    assert isinstance(keys, TradierKeys)
    feed = TradierFeed(SystemClock(), keys, timings=QUICK)
    with pytest.raises(FeedUnavailable, match="token") as refused:
        await feed.fetch_quotes(["AAPL"])
    assert token not in str(refused.value)
    async with listening(feed, "AAPL") as next_that:
        reason = (await next_that(lambda event: isinstance(event, Lost))).reason
        assert "401" in reason
        assert token not in reason


async def test_the_null_of_a_collection_may_be_a_text(tradier: Tradier) -> None:
    feed = feed_of(tradier)
    for text in (True, False):
        tradier.sim.exchange.null_text = text
        fresh = feed_of(tradier)
        assert list(await fresh.fetch_expirations("ZZZZZ")) == []
        assert list(await fresh.search("no such thing", 5)) == []
        now_us = SystemClock().now_us()
        for timeframe in (Timeframe.MINUTE_1, Timeframe.DAY_1):
            assert list(await fresh.fetch_bars("ZZZZZ", timeframe, now_us - 10**12, now_us, 5)) == []
        assert set(await fresh.fetch_quotes(["AAPL", "ZZZZZ"])) == {"AAPL"}
        await fresh.stop()
    await feed.stop()


@pytest.mark.parametrize(
    "kind",
    [
        "garbage",
        "html",
        "xml_answer",
        "refuse_before",
        "reset_mid_body",
        "answer_lost",
        "rate_limited",
        "huge",
    ],
)
async def test_an_answer_of_no_use_is_said_to_be_one_and_the_next_counts(tradier: Tradier, kind: str) -> None:
    feed = feed_of(tradier)
    tradier.fault(kind, on="data", next=1)
    with pytest.raises(FeedUnavailable):
        await feed.fetch_quotes(["AAPL"])
    if kind != "rate_limited":
        assert (await feed.fetch_quotes(["AAPL"]))["AAPL"].ask > 0
    await feed.stop()
