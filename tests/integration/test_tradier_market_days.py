"""Days end and begin: the close that prices are compared with is that of the last session that is over."""

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest

from paiid.domain.calendar import hours_of
from paiid.domain.quotes import Quote
from tests.feed_world import ShiftedClock, feed_world, tradier_on
from tests.market_world import utc_us

DAYS = (
    ("Tuesday before the open", "2026-11-24 14:00"),
    ("Tuesday", "2026-11-24 15:00"),
    ("a minute after the close", "2026-11-24 21:01"),
    ("the evening", "2026-11-24 23:30"),
    ("New York's midnight", "2026-11-25 05:00"),
    ("the night", "2026-11-25 08:00"),
    ("Wednesday", "2026-11-25 15:00"),
    ("Wednesday's evening", "2026-11-25 22:00"),
    ("Thanksgiving", "2026-11-26 15:00"),
    ("the short day", "2026-11-27 17:59"),
    ("after its early close", "2026-11-27 18:01"),
    ("the weekend", "2026-11-28 15:00"),
    ("Monday", "2026-11-30 14:31"),
)


@pytest.mark.parametrize("hours", ["exchange", "always"])
async def test_the_close_before_is_that_of_the_last_session_that_is_over_on_every_day_and_at_every_hour(
    tmp_path: Path, template: Path, hours: Literal["exchange", "always"]
) -> None:
    clock = ShiftedClock(utc_us(DAYS[0][1]))
    async with tradier_on(tmp_path / "sim", template, clock=clock, hours=hours) as tradier:
        feed = tradier.feed(clock, hours=hours_of(hours))
        feed.follow(["AAPL"])
        events = feed.listen()
        seen = set()
        for name, at in DAYS:
            clock.set(utc_us(at))
            truth = tradier.sim.market.newest("AAPL")
            assert truth is not None
            seen.add(truth.prev_close)
            asked = (await feed.fetch_quotes(["AAPL"]))["AAPL"]
            assert asked.prev_close == truth.prev_close, name
            async with asyncio.timeout(20):
                async for event in events:
                    if isinstance(event, Quote) and event.prev_close == truth.prev_close:
                        break
        assert len(seen) > 3, "days have closes of their own"
        await events.aclose()  # type: ignore[attr-defined]
        await feed.stop()


async def test_S5_clients_see_a_day_end_and_another_begin_with_the_close_between(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    clock = ShiftedClock(utc_us("2026-11-24 20:30"))
    settings: dict[str, Any] = {"sim_hours": "exchange", "jwt_access_token_expire_minutes": 1440}
    async with tradier_on(tmp_path / "sim", template, clock=clock, hours="exchange") as tradier:
        feed = tradier.feed(clock)
        async with (
            feed_world(sqlite_url, tmp_path / "data", feed=feed, clock=clock, **settings) as world,
            world.watching("AAPL") as watcher,
        ):
            closes = []
            for at in ("2026-11-24 20:31", "2026-11-24 21:05", "2026-11-25 05:01", "2026-11-25 14:35"):
                clock.set(utc_us(at))
                close = getattr(tradier.sim.market.newest("AAPL"), "prev_close", None)
                closes.append(close)
                quote = await watcher.quote("AAPL", lambda one, close=close: one["prev_close"] == close)  # type: ignore[misc]
                assert quote["source"] == "tradier"
            assert closes[0] != closes[1] == closes[2] == closes[3]
