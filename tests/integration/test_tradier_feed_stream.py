"""Tradier's market stream over real sockets: what is told, what breaks, and that no break is hidden."""

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
from paiid.feeds.tradier import StreamTimings, TradierFeed, TradierKeys
from tests.alpaca_data_stage import SocketClock
from tests.market_world import WEDNESDAY_OPEN_US, utc_us
from tests.tradier_data_stage import (
    CLOCK,
    PATIENCE_S,
    QUICK,
    QUOTES,
    SESSION,
    TOKEN,
    TradierDataStage,
    quote,
    row,
    say,
    trade,
    tradier_data_stage,
    until,
    values,
)

CONTRACT = "AAPL270115C00010000"
EVENING_US = utc_us("2026-11-25 22:30")
"""After the close, in extended hours."""


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

    @property
    def losses(self) -> list[str]:
        """All that were told so far."""
        return [one.reason for one in self.events if isinstance(one, Lost)]

    def quotes(self, symbol: str) -> list[Quote]:
        """All of a symbol so far."""
        return [one for one in self.events if isinstance(one, Quote) and one.symbol == symbol]


@asynccontextmanager
async def listening(feed: TradierFeed, *symbols: str) -> AsyncIterator[Ear]:
    feed.follow(symbols)
    async with aclosing(feed.listen()) as events:  # type: ignore[type-var]
        yield Ear(events)


@asynccontextmanager
async def followed(*symbols: str, **options: Any) -> AsyncIterator[tuple[TradierDataStage, Ear]]:
    """Somebody listens, the stream was told the symbols, and each was told once."""
    async with tradier_data_stage(**options) as stage, listening(stage.feed, *symbols) as ear:
        await ear.heard()
        missing = set(symbols) - {one.symbol for one in ear.events if isinstance(one, Quote)}
        while missing:
            missing.discard((await ear.until(lambda event: isinstance(event, Quote))).symbol)
        await until(lambda: stage.stream.subscribed)
        yield stage, ear


def later(stage: TradierDataStage, seconds: float = 1) -> int:
    """Some instant since what was told last that has whole milliseconds and is not ahead of anybody's clock."""
    stage.clock.advance(seconds)
    return (stage.clock.now_us() - 200_000) // 1000 * 1000


BOTH = pytest.mark.parametrize("http", [False, True], ids=["websocket", "http"])


# -- what is told -------------------------------------------------------------------------------------


@BOTH
async def test_quotes_and_trades_become_one_quote_with_exact_digits_and_shares(http: bool) -> None:
    async with followed("AAPL", http=http) as (stage, ear):
        at_us = later(stage)
        await stage.stream.send(quote("AAPL", "1.0E-4", 1.005, at_us, sizes=(3, 7)))
        second = await ear.quote("AAPL", ask="1.005")
        assert (second.bid, str(second.ask)) == (Decimal("0.0001"), "1.005")
        assert values(second.bid_size, second.ask_size) == (300, 700)
        assert (second.last, second.prev_close, second.as_of_us) == (Decimal("10.02"), Decimal("9.9"), at_us)
        await stage.stream.send(trade("AAPL", "0.30", at_us + 1000))
        third = await ear.quote("AAPL", last="0.3")
        assert (third.bid, third.as_of_us) == (Decimal("0.0001"), at_us + 1000)
        assert second.sequence < third.sequence
        payload = stage.stream.payloads[0]
        assert payload["filter"] == ["quote", "trade", "tradex", "summary"]
        assert "authorization" not in stage.server.requests("/v1/markets/events")[0].headers if http else True


@BOTH
async def test_class_shares_have_a_slash_on_the_stream_and_contracts_their_own_sizes(http: bool) -> None:
    async with tradier_data_stage(http=http) as stage:
        stage.server.market[CONTRACT] = row(CONTRACT, 0.5, 0.52, stage.clock.now_us())
        async with listening(stage.feed, "BRK.B", CONTRACT) as ear:
            await ear.quote(CONTRACT)
            await until(lambda: stage.stream.subscribed == {"BRK/B", CONTRACT})
            at_us = later(stage)
            await stage.stream.send(
                quote("BRK/B", 480, 481, at_us), quote(CONTRACT, 0.6, 0.62, at_us, sizes=(40, 5))
            )
            assert (await ear.quote("BRK.B", bid="480")).bid_size == 100
            assert (await ear.quote(CONTRACT, bid="0.6")).bid_size == 40


async def test_trades_without_price_or_size_and_regular_ones_of_tradex_change_no_last_price() -> None:
    async with followed("AAPL") as (stage, ear):
        at_us = later(stage)
        await stage.stream.send(
            trade("AAPL", "99", at_us, size="0"),
            trade("AAPL", "0", at_us),
            trade("AAPL", "null", at_us),
            trade("AAPL", "98", at_us, kind="tradex"),
            trade("AAPL", "97", at_us, kind="timesale"),
            quote("AAPL", 20, 20.1, at_us + 1000),
        )
        assert (await ear.quote("AAPL", bid="20")).last == Decimal("10.02")
        await stage.stream.send(trade("AAPL", "10.5", at_us + 2000))
        assert (await ear.quote("AAPL", last="10.5")).bid == 20


async def test_a_symbol_is_told_once_it_was_asked_for_and_then_with_what_the_stream_has_told() -> None:
    async with tradier_data_stage() as stage:
        released = asyncio.Event()

        async def held(asked: Any, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            await stage.server._told_quotes(asked, writer)

        stage.server.script(QUOTES, held)
        async with listening(stage.feed, "AAPL") as ear:
            await ear.heard()
            await until(lambda: stage.stream.subscribed == {"AAPL"})
            await stage.stream.send(quote("AAPL", 20, 20.1, later(stage)))
            for _ in range(5):
                await ear.heard()
            assert ear.quotes("AAPL") == [], "half a quote is none"
            released.set()
            first = await ear.quote("AAPL")
            assert values(first.bid, first.prev_close) == (20, Decimal("9.9"))


async def test_outside_of_the_regular_session_tradex_is_the_last_price() -> None:
    async with followed("AAPL", clock=SocketClock(EVENING_US)) as (stage, ear):
        await stage.stream.send(trade("AAPL", "10.7", later(stage), kind="tradex"))
        assert (await ear.quote("AAPL", last="10.7")).bid == 10


async def test_older_words_that_come_late_change_nothing_and_of_one_second_the_later_word_counts() -> None:
    async with followed("AAPL") as (stage, ear):
        at_us = later(stage, 5) // 1_000_000 * 1_000_000
        await stage.stream.send(
            quote("AAPL", 20, 20.1, at_us),
            quote("AAPL", 19, 19.1, at_us - 1_000_000),
            quote("AAPL", 20.5, 20.6, at_us),
            quote("AAPL", 21, 21.1, at_us),
        )
        await ear.quote("AAPL", bid="21")
        assert Decimal(19) not in {one.bid for one in ear.quotes("AAPL")}
        sequences = [one.sequence for one in ear.quotes("AAPL")]
        assert sequences == sorted(sequences)
        assert stage.feed.counts["backward"] == 1


async def test_S5_a_quote_that_is_told_again_confirms_that_there_is_nothing_newer() -> None:
    async with followed("AAPL", timings=replace(QUICK, confirm_s=60.0)) as (stage, ear):
        at_us = later(stage)
        await stage.stream.send(quote("AAPL", 20, 20.1, at_us))
        first = await ear.quote("AAPL", bid="20")
        asked = len(stage.server.requests(QUOTES))
        stage.clock.advance(20)
        await stage.stream.send(quote("AAPL", 20, 20.1, at_us))
        again = await ear.quote("AAPL", bid="20")
        assert (again.as_of_us, again.sequence) == (first.as_of_us, first.sequence)
        assert again.confirmed_us >= first.as_of_us + 19_000_000
        assert len(stage.server.requests(QUOTES)) == asked


async def test_S5_what_the_stream_does_not_tell_is_confirmed_by_asking() -> None:
    async with followed("AAPL", "SPY") as (_, ear):
        first = await ear.quote("SPY")
        later = await ear.until(
            lambda event: isinstance(event, Quote) and event.confirmed_us > first.confirmed_us
        )
        assert later.as_of_us <= first.as_of_us


@BOTH
async def test_garbage_costs_only_itself(http: bool) -> None:
    async with followed("AAPL", http=http) as (stage, ear):
        at_us = later(stage)
        for junk in (
            "no json\n",
            '{"type":"quote"\n',
            "[1,2]\n",
            '{"type":"quote","symbol":7}\n',
            '{"a":' * 5000 + "\n",
            "\n",
        ):
            await stage.stream.send_raw(junk)
        await stage.stream.send_raw(b"\xff\xfe\n" if http else "\0\n")
        await stage.stream.send(
            {"type": "quote", "symbol": "AAPL", "bid": None, "ask": [1]},
            {"type": "novelty", "symbol": "AAPL"},
        )
        await stage.stream.send(quote("AAPL", 20, 20.1, at_us))
        await ear.quote("AAPL", bid="20")
        assert stage.feed.dropped >= 4
        assert (ear.losses, stage.stream.opened) == ([], 1)


async def test_http_pieces_may_be_cut_anywhere_and_need_no_ends_of_lines() -> None:
    async with followed("AAPL", http=True) as (stage, ear):
        at_us = later(stage)
        messages = [quote("AAPL", 20 + n, 20.1 + n, at_us + n * 1000) for n in range(8)]
        body = "".join(json.dumps(one) + ("\n" if n % 2 else "") for n, one in enumerate(messages)).encode()
        for at in range(0, len(body), 7):
            await stage.stream.send_raw(body[at : at + 7])
        last = await ear.quote("AAPL", bid="27")
        assert last.as_of_us == at_us + 7000
        assert stage.feed.dropped == 0


# -- what is followed ---------------------------------------------------------------------------------


async def test_a_change_replaces_the_whole_set_on_the_same_socket() -> None:
    async with followed("AAPL", "SPY") as (stage, ear):
        stage.feed.follow(["SPY", "BRK.B"])
        await until(lambda: stage.stream.subscribed == {"SPY", "BRK/B"})
        assert await ear.quote("BRK.B"), "and what is new is told at once"
        stage.feed.follow([])
        await until(lambda: len(stage.stream.payloads) == 3)
        assert stage.stream.sets() == [("AAPL", "SPY"), ("SPY", "BRK/B"), ("SPY",)]
        assert stage.stream.payloads[-1]["filter"] == ["summary"], "nobody is followed: the least there is"
        assert {one["sessionid"] for one in stage.stream.payloads} == {"session-0"}
        assert (stage.stream.opened, ear.losses) == (1, [])


async def test_what_is_no_longer_followed_is_not_told() -> None:
    async with followed("AAPL", "SPY") as (stage, ear):
        stage.feed.follow(["SPY"])
        at_us = later(stage)
        await stage.stream.send(quote("AAPL", 50, 50.1, at_us), quote("SPY", 60, 60.1, at_us))
        await ear.quote("SPY", bid="60")
        assert Decimal(50) not in {one.bid for one in ear.quotes("AAPL")}


async def test_once_the_session_is_too_old_a_change_takes_a_new_one_and_meanwhile_is_asked_for() -> None:
    timings = replace(QUICK, session_s=0.0, renew_s=0.5)
    async with followed("AAPL", timings=timings) as (stage, ear):
        stage.feed.follow(["AAPL", "SPY"])
        assert await ear.quote("SPY")
        await until(lambda: stage.stream.subscribed == {"AAPL", "SPY"})
        assert [one["sessionid"] for one in stage.stream.payloads] == ["session-0", "session-1"]
        assert (stage.stream.opened, stage.stream.most_open) == (2, 1), "ours is closed first"
        at_us = later(stage)
        await stage.stream.send(quote("SPY", 60, 60.1, at_us))
        await ear.quote("SPY", bid="60")
        stage.feed.follow(["SPY"])
        await until(lambda: stage.stream.subscribed == {"SPY"})
        assert ear.losses == [], "what we wish ourselves is no loss"


async def test_by_http_a_change_takes_a_new_session() -> None:
    async with followed("AAPL", http=True) as (stage, ear):
        stage.feed.follow(["AAPL", "SPY"])
        await until(lambda: stage.stream.subscribed == {"AAPL", "SPY"})
        assert [one["sessionid"] for one in stage.stream.payloads] == ["session-0", "session-1"]
        assert stage.stream.most_open == 1
        assert await ear.quote("SPY")


async def test_a_symbol_that_the_stream_does_not_take_is_left_out_and_asked_for() -> None:
    async with tradier_data_stage() as stage:
        stage.stream.bad_symbols = {"SPY"}
        async with listening(stage.feed, "AAPL", "SPY") as ear:
            await ear.heard()
            await until(lambda: stage.stream.subscribed == {"AAPL"})
            stage.move()
            await ear.quote("SPY", bid="10.01")
            assert (stage.stream.opened, stage.stream.sets()) == (1, [("AAPL", "SPY"), ("AAPL",)])


# -- sessions -----------------------------------------------------------------------------------------


async def test_another_session_of_this_user_is_waited_for_and_meanwhile_all_is_asked_for() -> None:
    async with tradier_data_stage() as stage:
        full = say({"errors": {"error": "too many sessions requested"}}, 400)
        stage.stream.refuse_session_with.extend([full] * 1000)
        async with listening(stage.feed, "AAPL") as ear:
            assert "no place" in await ear.lost()
            await ear.quote("AAPL")
            stage.move()
            await ear.quote("AAPL", bid="10.01")
            assert stage.stream.refuse_session_with, "it is still refused"
            stage.stream.refuse_session_with.clear()
            await until(lambda: stage.stream.subscribed == {"AAPL"})
            await ear.heard()
            assert len(ear.losses) == 1, "while it can be asked for it is there"


@pytest.mark.parametrize("http", [False, True], ids=["websocket", "http"])
async def test_a_session_that_is_not_taken_is_never_used_again(http: bool) -> None:
    async with tradier_data_stage(http=http) as stage:
        stage.stream.refuse_id = 2
        async with listening(stage.feed, "AAPL") as ear:
            assert "session" in await ear.lost()
            await until(lambda: stage.stream.subscribed == {"AAPL"})
            assert stage.stream.payloads[0]["sessionid"] == "session-2"


async def test_a_refused_handshake_keeps_the_session_that_nobody_has_seen() -> None:
    async with tradier_data_stage() as stage:
        stage.stream.refuse_handshake_with.extend([503, 301, 500])
        async with listening(stage.feed, "AAPL") as ear:
            for status in (503, 301, 500):
                assert str(status) in await ear.lost()
            await until(lambda: stage.stream.subscribed)
            assert len(stage.server.requests(SESSION)) == 1


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        (say({"fault": {"faultstring": "Invalid Access Token"}}, 401), "401"),
        (say("", 503), "503"),
        (say({"stream": {}}), "no session"),
        (say({"stream": "null"}), "no session"),
        (say("<xml/>"), "200"),
        (say([]), "no session"),
        (say({"errors": {"error": TOKEN}}, 500), "500"),
    ],
)
async def test_no_session_is_a_loss_in_our_own_words_and_then_another_try(refusal: Any, word: str) -> None:
    async with tradier_data_stage() as stage:
        stage.stream.refuse_session_with.append(refusal)
        async with listening(stage.feed, "AAPL") as ear:
            reason = await ear.lost()
            assert word in reason
            assert TOKEN not in reason
            await until(lambda: stage.stream.subscribed)


async def test_nobody_there_is_a_loss_until_somebody_is() -> None:
    feed = TradierFeed(
        SocketClock(), TradierKeys(TOKEN, "http://127.0.0.1:1/v1", "ws://127.0.0.1:1/v1"), timings=QUICK
    )
    async with listening(feed, "AAPL") as ear:
        assert "could not be reached" in await ear.lost()
        assert "could not be reached" in await ear.lost()
    await feed.stop()


# -- what breaks --------------------------------------------------------------------------------------


@BOTH
async def test_after_a_reconnection_each_symbol_followed_is_told_anew(http: bool) -> None:
    async with followed("AAPL", "SPY", http=http) as (stage, ear):
        stage.server.market["SPY"] = row("SPY", 33, 34, later(stage))
        stage.stream.drop()
        assert "lost" in await ear.lost() or http
        missing = {"AAPL", "SPY"}
        while missing:
            missing.discard((await ear.until(lambda event: isinstance(event, Quote))).symbol)
        await ear.quote("SPY", bid="33")
        await until(lambda: stage.stream.subscribed == {"AAPL", "SPY"})
        assert (stage.stream.opened, stage.stream.most_open, stage.feed.connections) == (2, 1, 2)
        assert len({one["sessionid"] for one in stage.stream.payloads}) == 2


async def test_S5_a_connection_that_answered_pings_and_falls_silent_is_lost() -> None:
    async with followed("AAPL", timings=replace(QUICK, silence_s=0.5)) as (stage, ear):
        # The first signs of life were pongs.
        await ear.heard()
        await ear.heard()
        stage.stream.fall_silent()
        assert "silent" in await ear.lost()
        # Its session is still held at the other side, which sees nothing either.
        stage.move()
        await ear.quote("AAPL", bid="10.01")
        stage.stream.drop()
        await until(lambda: stage.stream.opened >= 2)


async def test_S5_by_http_a_silent_stream_is_there_while_tradier_answers_and_no_longer() -> None:
    async with followed("AAPL", http=True) as (stage, ear):
        for _ in range(3):
            await ear.heard()
        assert ear.losses == []
        asked = len(stage.server.requests(QUOTES))
        await until(lambda: len(stage.server.requests(QUOTES)) > asked + 2)
        stage.server.script(QUOTES, say("", 503))
        assert "503" in await ear.lost()


async def test_S5_while_nothing_is_followed_there_are_signs_of_life() -> None:
    async with followed() as (stage, ear):
        for _ in range(5):
            await ear.heard()
        assert stage.server.requests(CLOCK) == [], "a pong is enough"
        assert ear.losses == []


@pytest.mark.parametrize("http", [False, True], ids=["websocket", "http"])
async def test_an_open_stream_that_tells_nothing_while_there_is_news_is_replaced(http: bool) -> None:
    timings = replace(QUICK, mute_s=8.0)
    async with followed("AAPL", "SPY", http=http, timings=timings) as (stage, ear):
        stage.clock.advance(2)
        # Only who is asked tells it.
        stage.server.market["AAPL"] = row("AAPL", 44, 45, later(stage))
        stage.clock.advance(10)
        assert "tells nothing" in await ear.lost() or http
        await until(lambda: stage.stream.opened >= 2)


async def test_a_stream_that_tells_nothing_for_long_is_replaced_ever_more_rarely() -> None:
    timings = replace(QUICK, mute_s=0.3, longest_mute_s=60.0)
    async with followed("AAPL", timings=timings) as (stage, ear):
        for _ in range(3):
            assert "long time" in await ear.lost()
        await until(lambda: stage.stream.opened >= 4)
        assert stage.feed._listener is not None
        assert stage.feed._listener._tally.mute_s >= 2.4


async def test_at_night_silence_is_no_fault() -> None:
    night_us = utc_us("2026-11-26 04:00")
    async with followed("AAPL", clock=SocketClock(night_us), timings=replace(QUICK, mute_s=0.05)) as (
        stage,
        ear,
    ):
        for _ in range(20):
            await ear.heard()
        assert (ear.losses, stage.stream.opened) == ([], 1)


@pytest.mark.parametrize(
    ("at_us", "seconds"), [(WEDNESDAY_OPEN_US, 3700.0), (EVENING_US, QUICK.night_s)], ids=["day", "night"]
)
async def test_a_connection_that_has_become_old_is_replaced_without_a_loss(
    at_us: int, seconds: float
) -> None:
    by_day = seconds < QUICK.night_s
    timings = replace(QUICK, mute_s=1e9, longest_s=3600.0 if by_day else QUICK.longest_s)
    async with followed("AAPL", clock=SocketClock(at_us), timings=timings) as (stage, ear):
        stage.clock.advance(seconds)
        await until(lambda: stage.stream.opened == 2)
        await ear.quote("AAPL")
        assert values(ear.losses, stage.stream.most_open) == ([], 1)


async def test_a_session_of_ours_that_the_other_side_still_holds_is_no_loss_but_a_moment() -> None:
    async with followed("AAPL", timings=replace(QUICK, mute_s=1e9, longest_s=3600.0)) as (stage, ear):
        stage.stream.refuse_session_with.append(say("too many sessions requested", 400))
        stage.clock.advance(3700)
        await until(lambda: stage.stream.opened == 2)
        await ear.quote("AAPL")
        assert values(ear.losses, len(stage.server.requests(SESSION))) == ([], 3)


async def test_while_rest_fails_the_stream_goes_on_and_what_it_tells_is_told() -> None:
    async with tradier_data_stage() as stage:
        stage.server.script(QUOTES, say("", 500))
        async with listening(stage.feed, "AAPL") as ear:
            await ear.heard()
            await until(lambda: stage.stream.subscribed == {"AAPL"})
            await stage.stream.send(quote("AAPL", 20, 20.1, later(stage)))
            assert (await ear.quote("AAPL", bid="20")).prev_close == 0
            assert ear.losses == []


async def test_there_is_one_listener_and_after_it_another() -> None:
    async with followed("AAPL") as (stage, _ear):
        with pytest.raises(RuntimeError):
            await anext(stage.feed.listen())
    async with tradier_data_stage() as stage:
        for _ in range(2):
            async with listening(stage.feed, "AAPL") as ear:
                await ear.quote("AAPL")


async def test_stop_ends_listening_within_a_second() -> None:
    async with followed("AAPL") as (stage, ear):
        await stage.feed.stop()
        async with asyncio.timeout(PATIENCE_S):
            assert [one async for one in ear._source if isinstance(one, Lost)] == []
        await until(lambda: not stage.stream.open)


# -- where there is no stream -------------------------------------------------------------------------


async def test_the_sandbox_is_asked_in_one_request_for_all_and_never_for_a_session() -> None:
    async with tradier_data_stage(sandbox=True) as stage:
        assert stage.feed.delayed
        names = [chr(65 + n // 26) + chr(65 + n % 26) for n in range(60)]
        at_us = stage.clock.now_us()
        stage.server.market |= {name: row(name, 10, 11, at_us - 900_000_000) for name in names}
        async with listening(stage.feed, *names) as ear:
            found = {(await ear.until(lambda event: isinstance(event, Quote))).symbol for _ in names}
            assert found == set(names)
            rounds = stage.server.requests(QUOTES)
            assert all((one.method, len(one.told["symbols"].split(","))) == ("POST", 60) for one in rounds)
            told = ear.quotes(names[0])[0]
            assert told.as_of_us == (at_us - 900_000_000) // 1000 * 1000, "the quote's own time"
            assert told.confirmed_us >= at_us
            await ear.heard()
            stage.server.script(QUOTES, say("", 503))
            assert "503" in await ear.lost()
            stage.server.script(QUOTES, stage.server._told_quotes)
            await ear.heard()
        assert stage.server.requests(SESSION) == []


async def test_S5_the_sandbox_shows_signs_of_life_while_nothing_is_followed() -> None:
    async with tradier_data_stage(sandbox=True) as stage, listening(stage.feed) as ear:
        for _ in range(3):
            await ear.heard()
        assert len(stage.server.requests(CLOCK)) >= 3


async def test_a_symbol_that_is_new_is_asked_for_without_waiting_for_the_next_round() -> None:
    async with tradier_data_stage(sandbox=True, timings=replace(QUICK, poll_s=3600.0)) as stage:
        async with listening(stage.feed, "AAPL") as ear:
            await ear.quote("AAPL")
            stage.feed.follow(["AAPL", "SPY"])
            await ear.quote("SPY")


def test_the_heartbeat_and_the_budget_hold_with_the_timings_that_are_used() -> None:
    timings = StreamTimings()
    assert timings.ping_s + timings.silence_s < TradierFeed.heartbeat_s <= 4
    assert timings.proof_s + 1 < TradierFeed.heartbeat_s
    assert timings.poll_s + 1 < TradierFeed.heartbeat_s
    assert timings.confirm_s * 2 < TradierFeed.resend_interval_s
    assert timings.session_s < 300
    # Of the sandbox's 60 a minute, a quarter is kept from what can come later; and half is left to who asks.
    assert 60 / timings.poll_s <= 0.5 * 60
    assert 60 / timings.round_s <= 0.25 * 120
