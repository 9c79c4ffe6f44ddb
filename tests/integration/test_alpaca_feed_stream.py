"""Alpaca's data stream over real sockets: what is told, what breaks, and that no break is hidden."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.quotes import Quote
from paiid.feeds import FeedEvent, Heard, Lost
from paiid.feeds.alpaca import AlpacaFeed
from tests.alpaca_data_stage import AlpacaDataStage, alpaca_data_stage
from tests.alpaca_data_wire import OPTION_SNAPSHOTS, QUICK, SNAPSHOTS, quote, snapshot, trade
from tests.alpaca_wire import KEY_ID, SECRET, told

PATIENCE_S = 15.0
"""Only guards against hanging."""
CONTRACT = "AAPL270115C00010000"


class Ear:
    """Whoever listens to a feed; everything that came is in `events`."""

    def __init__(self, events: AsyncIterator[FeedEvent]) -> None:
        self._source = events
        self.events: list[FeedEvent] = []

    async def until(self, told_enough: Callable[[FeedEvent], Any]) -> Any:
        """The first event from here on that satisfies."""
        async with asyncio.timeout(PATIENCE_S):
            async for event in self._source:
                self.events.append(event)
                if told_enough(event):
                    return event
        raise AssertionError("the feed ended")

    async def quote(self, symbol: str, **wanted: str) -> Quote:
        """The next quote of a symbol in which these fields have these values."""

        def fits(event: FeedEvent) -> bool:
            return (
                isinstance(event, Quote)
                and event.symbol == symbol
                and all(getattr(event, name) == Decimal(value) for name, value in wanted.items())
            )

        found: Quote = await self.until(fits)
        return found

    async def heard(self) -> None:
        """The next sign of life."""
        await self.until(lambda event: isinstance(event, Heard))

    async def lost(self) -> str:
        """Why the connection was lost, once it is."""
        found: Lost = await self.until(lambda event: isinstance(event, Lost))
        return found.reason


@pytest.fixture
async def stage() -> AsyncIterator[AlpacaDataStage]:
    async with alpaca_data_stage() as one:
        yield one


@asynccontextmanager
async def listening(feed: AlpacaFeed, *symbols: str) -> AsyncIterator[Ear]:
    feed.follow(symbols)
    async with aclosing(feed.listen()) as events:  # type: ignore[type-var]
        yield Ear(events)


async def until(fact: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not fact():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("packed", [False, True], ids=["json", "msgpack"])
async def test_quotes_trades_and_the_previous_close_become_one_quote_with_exact_digits(packed: bool) -> None:
    async with alpaca_data_stage(packed=packed) as stage:
        stage.wire.market["AAPL"] = snapshot(655.2, 655.22, 655.21, stage.clock.now_us())
        async with listening(stage.feed, "AAPL") as ear:
            first = await ear.quote("AAPL", last="655.21")
            assert (str(first.bid), str(first.ask), first.prev_close) == ("655.2", "655.22", Decimal("9.9"))
            assert first.source == "alpaca"
            assert first.confirmed_us >= first.as_of_us
            await until(lambda: stage.wire.data_stream.subscribed == {"AAPL"})
            at_us = stage.clock.now_us()
            await stage.wire.data_stream.send(quote("AAPL", 0.1, 1.005, at_us, sizes=(3, 700)))
            second = await ear.quote("AAPL", bid="0.1")
            assert (str(second.bid), str(second.ask)) == ("0.1", "1.005")
            assert (second.bid_size, second.ask_size, second.last) == (3, 700, Decimal("655.21"))
            assert second.as_of_us == at_us
            await stage.wire.data_stream.send(trade("AAPL", 0.3, at_us + 1, "@", "F"))
            third = await ear.quote("AAPL", last="0.3")
            assert (third.bid, third.prev_close) == (Decimal("0.1"), Decimal("9.9"))
            assert first.sequence < second.sequence < third.sequence
        asked_for = stage.wire.data_stream.headers[0]["content-type"]
        assert asked_for == ("application/msgpack" if packed else "application/json")


async def test_a_trade_that_is_not_the_price_now_changes_no_last_price(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        at_us = stage.clock.now_us()
        for condition in ("W", "P", "Z", "U", "4"):
            await stage.wire.data_stream.send(trade("AAPL", 99.0, at_us, condition))
        await stage.wire.data_stream.send(trade("AAPL", 10.5, at_us, "@", "I"))
        assert (await ear.quote("AAPL", last="10.5")).last == Decimal("10.5")
        assert not any(isinstance(one, Quote) and one.last == 99 for one in ear.events)


async def test_before_any_trade_there_is_no_last_price(stage: AlpacaDataStage) -> None:
    stage.wire.market["SPY"] = snapshot(10.0, 10.02, None, stage.clock.now_us())
    async with listening(stage.feed, "SPY") as ear:
        assert (await ear.quote("SPY")).last == 0


async def test_older_words_that_come_late_change_nothing(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        at_us = stage.clock.now_us()
        await stage.wire.data_stream.send(quote("AAPL", 20.0, 20.1, at_us))
        await stage.wire.data_stream.send(quote("AAPL", 19.0, 19.1, at_us - 1_000_000))
        await stage.wire.data_stream.send(quote("AAPL", 21.0, 21.1, at_us + 1))
        await ear.quote("AAPL", bid="21")
        told_bids = [one.bid for one in ear.events if isinstance(one, Quote)]
        assert 19 not in told_bids
        sequences = [one.sequence for one in ear.events if isinstance(one, Quote)]
        assert sequences == sorted(sequences)


async def test_a_correction_makes_it_ask_what_the_last_price_is(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        at_us = stage.clock.now_us()
        await stage.wire.data_stream.send(trade("AAPL", 77.0, at_us))
        before = await ear.quote("AAPL", last="77")
        await stage.wire.data_stream.send({"T": "x", "S": "AAPL", "i": 1, "x": "V", "p": 77.0, "s": 1, "a": "C", "t": "2026-11-25T15:00:00Z", "z": "B"})  # fmt: skip
        after = await ear.quote("AAPL", last="10.02")
        assert after.sequence > before.sequence
        assert after.as_of_us >= before.as_of_us


async def test_following_is_told_in_differences_over_one_connection(stage: AlpacaDataStage) -> None:
    server = stage.wire.data_stream
    async with listening(stage.feed, "AAPL", "SPY") as ear:
        await ear.heard()
        await until(lambda: server.subscribed == {"AAPL", "SPY"})
        stage.feed.follow(["SPY", "BRK.B"])
        await until(lambda: server.subscribed == {"SPY", "BRK.B"})
        stage.feed.follow([])
        await until(lambda: server.subscribed == set())
        assert server.actions() == [
            ("subscribe", ("AAPL", "SPY")),
            ("unsubscribe", ("AAPL",)),
            ("subscribe", ("BRK.B",)),
            ("unsubscribe", ("BRK.B", "SPY")),
        ]
        assert (server.opened, server.most_open) == (1, 1)


async def test_a_symbol_that_is_followed_later_is_told_at_once(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        stage.feed.follow(["AAPL", "SPY"])
        assert (await ear.quote("SPY")).bid == 10
        stage.feed.follow(["SPY"])
        await until(lambda: stage.wire.data_stream.subscribed == {"SPY"})
        ear.events.clear()
        await stage.wire.data_stream.send(quote("AAPL", 50.0, 50.1, stage.clock.now_us()))
        await stage.wire.data_stream.send(quote("SPY", 60.0, 60.1, stage.clock.now_us()))
        await ear.quote("SPY", bid="60")
        assert not any(isinstance(one, Quote) and one.bid == 50 for one in ear.events)


async def test_after_a_reconnection_each_symbol_followed_is_told_anew(stage: AlpacaDataStage) -> None:
    server = stage.wire.data_stream
    async with listening(stage.feed, "AAPL", "SPY") as ear:
        await ear.quote("AAPL")
        await until(lambda: server.subscribed == {"AAPL", "SPY"})
        server.drop()
        assert "lost" in await ear.lost()
        await ear.heard()
        missing = {"AAPL", "SPY"}
        while missing:
            missing.discard((await ear.until(lambda event: isinstance(event, Quote))).symbol)
        await until(lambda: server.subscribed == {"AAPL", "SPY"})
        assert (server.opened, server.most_open, stage.feed.connections) == (2, 1, 2)


async def test_S5_a_connection_that_falls_silent_is_lost_and_another_is_opened() -> None:
    async with alpaca_data_stage(timings=replace(QUICK, silence_s=0.3)) as stage:
        server = stage.wire.data_stream
        async with listening(stage.feed, "AAPL") as ear:
            await ear.quote("AAPL")
            # On a slow machine it may have been lost before, and be opened anew just now.
            await until(lambda: server.open)
            server.fall_silent()
            assert "silent" in await ear.lost()
            await ear.heard()
            assert server.opened >= 2


async def test_S5_while_nothing_happens_there_are_signs_of_life(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed) as ear:
        for _ in range(5):
            await ear.heard()
    assert stage.feed.heartbeat_s <= 4


def test_the_heartbeat_holds_with_the_timings_that_are_used() -> None:
    from paiid.feeds.alpaca import StreamTimings

    timings = StreamTimings()
    assert timings.ping_s + timings.silence_s < AlpacaFeed.heartbeat_s <= 4
    assert timings.confirm_s * 2 < AlpacaFeed.resend_interval_s


ERRORS = {
    401: "authenticated", 402: "keys", 404: "in time", 406: "another connection", 407: "slow", 408: "not open", 409: "subscription",
    411: "scope", 500: "fault", 599: "refused",
}  # fmt: skip


async def test_each_error_of_the_stream_is_a_loss_in_our_own_words_and_then_another_try(
    stage: AlpacaDataStage,
) -> None:
    stage.wire.data_stream.refuse_auth_with.extend(ERRORS)
    async with listening(stage.feed, "AAPL") as ear:
        for code, word in ERRORS.items():
            reason = await ear.lost()
            assert word in reason
            assert str(code) in reason
            assert "secret" not in reason
        await ear.quote("AAPL")
    assert stage.wire.data_stream.opened == len(ERRORS) + 1


@pytest.mark.parametrize(("code", "least_s"), [(402, "slow_pause_s"), (409, "slow_pause_s"), (406, "crowded_pause_s"), (500, "first_pause_s")])  # fmt: skip
async def test_it_is_never_hot_and_what_will_not_help_soon_is_tried_slowly(code: int, least_s: str) -> None:
    pauses: list[float] = []

    async with alpaca_data_stage() as stage:
        real = stage.clock.sleep

        async def noted(seconds: float) -> None:
            pauses.append(seconds)
            await real(seconds / 20)

        stage.clock.sleep = noted  # type: ignore[method-assign]
        stage.wire.data_stream.refuse_auth_with.extend([code] * 4)
        async with listening(stage.feed) as ear:
            for _ in range(4):
                await ear.lost()
            await ear.heard()
    tried = pauses[:4]
    assert all(one >= getattr(QUICK, least_s) / 2 for one in tried)
    assert len(set(tried)) == 4, "by chance, so that not all come at once"
    if code == 500:
        assert tried[3] > tried[0], "growing"


async def test_a_refused_handshake_is_a_loss_and_a_redirect_is_not_followed(stage: AlpacaDataStage) -> None:
    statuses = (301, 401, 403, 429, 500, 503)
    stage.wire.data_stream.refuse_handshake_with.extend(statuses)
    async with listening(stage.feed, "AAPL") as ear:
        for status in statuses:
            assert str(status) in await ear.lost()
        await ear.quote("AAPL")


async def test_nobody_there_is_a_loss_until_somebody_is(stage: AlpacaDataStage) -> None:
    feed = AlpacaFeed(stage.clock, stage.wire.data_keys(stream_url="ws://127.0.0.1:1/v2/iex"), timings=QUICK)
    async with listening(feed, "AAPL") as ear:
        assert "could not be reached" in await ear.lost()
        assert "could not be reached" in await ear.lost()
    await feed.stop()


async def test_keys_that_are_not_answered_are_a_loss() -> None:
    async with alpaca_data_stage(timings=replace(QUICK, reply_s=0.5)) as stage:
        stage.wire.data_stream.deaf = True
        async with listening(stage.feed, "AAPL") as ear:
            assert "in time" in await ear.lost()
            stage.wire.data_stream.deaf = False
            await ear.quote("AAPL")


async def test_a_subscription_that_is_not_answered_is_a_loss() -> None:
    async with alpaca_data_stage(timings=replace(QUICK, reply_s=0.5)) as stage:
        async with listening(stage.feed) as ear:
            await ear.heard()
            stage.wire.data_stream.deaf = True
            stage.feed.follow(["AAPL"])
            assert "does not answer" in await ear.lost()


async def test_too_many_symbols_lower_the_number_and_the_rest_is_asked_for(stage: AlpacaDataStage) -> None:
    stage.wire.data_stream.most_symbols = 1
    async with listening(stage.feed, "AAPL", "BRK.B", "SPY") as ear:
        await ear.heard()
        await until(lambda: stage.feed.most_streamed == 1)
        await until(lambda: stage.wire.data_stream.subscribed == {"AAPL"})
        missing = {"AAPL", "BRK.B", "SPY"}
        while missing:
            missing.discard((await ear.until(lambda event: isinstance(event, Quote))).symbol)
        stage.move()
        await ear.quote("SPY", bid="10.01")
        await ear.quote("SPY")
        assert stage.wire.data_stream.opened == 1


async def test_a_symbol_that_refuses_the_whole_subscription_is_found_and_left_out(
    stage: AlpacaDataStage,
) -> None:
    server = stage.wire.data_stream
    # Three are refused together, then one alone, which is therefore it; the other two are taken.
    server.refuse_subscribe_with.extend([400, 400])
    async with listening(stage.feed, "AAPL", "BRK.B", "SPY") as ear:
        await ear.heard()
        await until(lambda: server.subscribed == {"BRK.B", "SPY"})
        assert await ear.quote("AAPL"), "it is asked for instead"
        assert server.opened == 1


async def test_a_symbol_that_the_acknowledgement_leaves_out_is_asked_for(stage: AlpacaDataStage) -> None:
    stage.wire.data_stream.unknown = {"SPY"}
    async with listening(stage.feed, "AAPL", "SPY") as ear:
        await ear.heard()
        await until(lambda: stage.wire.data_stream.subscribed == {"AAPL"})
        stage.move()
        await ear.quote("SPY", bid="10.01")
        await ear.heard()
        assert stage.wire.data_stream.opened == 1
        assert len(stage.wire.data_stream.actions()) == 1, "and is not asked of the stream again and again"


async def test_options_are_asked_for_while_the_stream_is_there(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, CONTRACT, "AAPL") as ear:
        first = await ear.quote(CONTRACT)
        second = await ear.quote(CONTRACT)
        assert second.sequence == first.sequence
        assert second.confirmed_us > first.confirmed_us
        stage.wire.options[CONTRACT] = snapshot(0.6, 0.62, 0.61, stage.clock.now_us())
        third = await ear.quote(CONTRACT, bid="0.6")
        assert third.sequence > second.sequence
        assert stage.wire.data_stream.subscribed == {"AAPL"}


async def test_S5_a_quiet_symbol_is_confirmed_by_asking_and_not_by_silence(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "SPY") as ear:
        first = await ear.quote("SPY")
        later = await ear.quote("SPY")
        assert later.sequence == first.sequence
        assert later.confirmed_us > first.confirmed_us
        stage.wire.say("GET", SNAPSHOTS, told(500, "no"))
        asked = len(stage.wire.requests("GET", SNAPSHOTS))
        await until(lambda: len(stage.wire.requests("GET", SNAPSHOTS)) > asked + 1)
        # An answer that was on its way when there were none any more is told before this.
        await ear.heard()
        confirmed = [one.confirmed_us for one in ear.events if isinstance(one, Quote)]
        ear.events.clear()
        await ear.heard()
        assert [
            one for one in ear.events if isinstance(one, Quote) and one.confirmed_us > max(confirmed)
        ] == []
        assert not any(isinstance(one, Lost) for one in ear.events), "the stream itself is there"


async def test_a_stream_that_is_open_but_tells_nothing_is_given_up(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")

        async def market_goes_on() -> None:
            while True:
                stage.clock.advance(30)
                stage.wire.market["AAPL"] = snapshot(11.0, 11.02, 11.01, stage.clock.now_us() - 10_000_000)
                await asyncio.sleep(0.05)

        task = asyncio.create_task(market_goes_on())
        try:
            assert "tells nothing" in await ear.lost()
        finally:
            task.cancel()


MALFORMED: list[str | bytes] = ["", "nonsense", "[", "{}", "null", "[null, 1, []]", '[{"T":"q"}]', '[{"T":"q","S":"AAPL","bp":"x","ap":1,"t":"2026-11-25T15:00:00Z"}]',
     '[{"T":"q","S":"AAPL","bp":1e999999,"ap":1,"t":"2026-11-25T15:00:00Z"}]', '[{"T":"q","S":"AAPL","bp":-1,"ap":1,"t":"2026-11-25T15:00:00Z"}]',
     '[{"T":"q","S":"AAPL","bp":"NaN","ap":1,"t":"2026-11-25T15:00:00Z"}]', '[{"T":"q","S":"AAPL","bp":1,"ap":2,"t":"yesterday"}]',
     '[{"T":"t","S":"AAPL","p":0,"t":"2026-11-25T15:00:00Z"}]', "[" * 50_000, b"\x91\x81\xa1", b"\xff\xfe", b"\xdd\xff\xff\xff\xff",
     '[{"T":"t","S":"AAPL","p":1e9999999999999999999999,"t":"2026-11-25T15:00:00Z"}]']  # fmt: skip


async def test_what_arrives_malformed_is_counted_and_dropped_and_the_stream_goes_on(
    stage: AlpacaDataStage,
) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        newest = await ear.quote("AAPL")
        for n, frame in enumerate(MALFORMED):
            dropped = stage.feed.dropped
            await stage.wire.data_stream.send_raw(frame)
            good = quote("AAPL", 33.0 + n, 50.1, stage.clock.now_us())
            bad = {"T": "q", "S": "AAPL", "bp": [], "t": 5}
            await stage.wire.data_stream.send(bad, good)
            after = await ear.quote("AAPL", bid=str(33 + n))
            assert after.sequence > newest.sequence
            newest = after
            assert stage.feed.dropped >= dropped + 2, frame[:100]
        assert not any(isinstance(one, Lost) for one in ear.events)
    assert stage.wire.data_stream.opened == 1


async def test_kinds_of_message_that_nobody_asked_for_are_no_defect(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        bar = {"T": "b", "S": "AAPL", "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, "t": "2026-11-25T15:00:00Z"}
        await stage.wire.data_stream.send(
            bar, {"T": "n", "headline": "x"}, quote("AAPL", 33.0, 33.1, stage.clock.now_us())
        )
        await ear.quote("AAPL", bid="33")
        assert stage.feed.dropped == 0


async def test_a_frame_too_long_costs_the_connection_and_nothing_else(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        await stage.wire.data_stream.send_raw("[" + " " * (5 << 20) + "]")
        assert "lost" in await ear.lost()
        await ear.quote("AAPL")


async def test_a_slow_reader_gets_the_newest_and_memory_stays_bounded(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL", "SPY") as ear:
        await ear.quote("AAPL")
        await until(lambda: stage.wire.data_stream.subscribed == {"AAPL", "SPY"})
        at_us = stage.clock.now_us()
        for n in range(500):
            await stage.wire.data_stream.send(quote("AAPL", 100 + n, 101 + n, at_us + n))
        outbox = stage.feed._outbox
        assert outbox is not None
        await until(lambda: "AAPL" in outbox._quotes and outbox._quotes["AAPL"].bid == 599)
        assert len(outbox._quotes) <= 2
        assert (await ear.quote("AAPL")).bid == 599


async def test_one_listener_at_a_time_and_stop_ends_it(stage: AlpacaDataStage) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        with pytest.raises(RuntimeError):
            await anext(stage.feed.listen())
        async with asyncio.timeout(PATIENCE_S):
            await stage.feed.stop()
        with pytest.raises(AssertionError, match="ended"):
            await ear.until(lambda event: isinstance(event, Lost))
    await until(lambda: not stage.wire.data_stream.open)


async def test_neither_keys_nor_their_words_are_in_any_log_or_event(
    stage: AlpacaDataStage, capsys: pytest.CaptureFixture[str]
) -> None:
    server = stage.wire.data_stream
    server.refuse_auth_with.extend([402, 406])
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
    stage.wire.say("GET", OPTION_SNAPSHOTS, told(401, {"message": f"{SECRET} is wrong"}))
    said = capsys.readouterr()
    everything = said.out + said.err + json.dumps([repr(one) for one in ear.events])
    assert "alpaca_data_stream_lost" in everything
    assert SECRET not in everything
    assert KEY_ID not in everything
    assert "none of ours" not in everything
    assert SECRET not in repr(stage.wire.data_keys())
    assert KEY_ID not in repr(stage.wire.data_keys())


async def test_a_defect_of_ours_costs_a_connection_and_never_the_feed(
    stage: AlpacaDataStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(stage.feed, "AAPL") as ear:
        await ear.quote("AAPL")
        with monkeypatch.context() as broken:
            broken.setattr(stage.feed._listener._book, "note_sides", lambda symbol, sides: 1 // 0)
            await stage.wire.data_stream.send(quote("AAPL", 33.0, 33.1, stage.clock.now_us()))
            assert "broke" in await ear.lost()
        await ear.quote("AAPL")
